//! What an invocation leaves behind, with what only its sandbox, the clock and the dispatcher know of it.

use std::time::Duration;

use base::record::Record;

use super::Instance;

/// What all that ran in a sandbox has had of a processor, at the moments that count. Nothing, where the host does not tell.
#[derive(Debug, Default)]
pub struct Used {
    /// When it was stopped where it stands. It has had no more since.
    rested: Option<Duration>,
    /// When the invocation in hand began.
    began: Option<Duration>,
    /// When the last one was over.
    ended: Option<Duration>,
}

impl Used {
    /// It stands still. Looking now saves it when the next invocation waits.
    pub fn rests(&mut self, used: Option<Duration>) {
        self.rested = used;
    }

    /// It may run again.
    pub fn forget(&mut self) {
        self.rested = None;
    }

    /// An invocation begins.
    pub fn begins(&mut self, used: impl FnOnce() -> Option<Duration>) {
        self.began = self.rested.take().or_else(used);
    }

    /// It is over. What was used meanwhile.
    pub fn ends(&mut self, used: Option<Duration>) -> Option<Duration> {
        self.ended = used;
        Some(used?.saturating_sub(self.began.take()?))
    }

    /// As the last invocation left it.
    pub fn by_now(&self) -> Option<Duration> {
        self.ended
    }
}

impl Instance {
    /// Has it kept what becomes of the invocation in hand, with what only its sandbox, the clock and the dispatcher know.
    pub(super) fn keep_record(&mut self, mut record: Record) {
        let now = self.clock.now();
        match &mut record {
            Record::Started(_) => {
                self.since = now;
                self.used.begins(|| self.sandbox.cpu_time());
            }
            Record::Ended(ended) => {
                ended.began = self.since;
                ended.cpu = self.used.ends(self.sandbox.cpu_time());
                ended.at_once = self.ask.map(|(given, _)| given.at_once).unwrap_or_default();
            }
        }
        self.telemetry.record(&self.log, now, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_has_what_was_used_while_it_ran() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let mut used = Used::default();
        used.begins(|| millis(100));
        assert_eq!(used.ends(millis(130)), millis(30));
        assert_eq!(used.by_now(), millis(130));
        used.rests(millis(131));
        used.begins(|| panic!("it stood still"));
        assert_eq!(used.ends(millis(140)), millis(9), "what came after the last one is nobody's");
        used.rests(millis(141));
        used.forget();
        used.begins(|| millis(150));
        assert_eq!(used.ends(millis(150)), millis(0));
        used.begins(|| None);
        assert_eq!(used.ends(millis(160)), None);
        used.begins(|| millis(160));
        assert_eq!(used.ends(None), None, "the host does not tell");
        assert_eq!(used.by_now(), None);
    }
}
