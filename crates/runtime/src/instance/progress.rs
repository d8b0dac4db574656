//! Whether an init computes: one that sleeps, or waits for an answer from somewhere, keeps nobody from starting.

use std::time::Duration;

use tokio::time::Instant;

use super::Instance;
use crate::limits::{
    INIT_COMPUTES_FROM_PERCENT, INIT_LOOKED_AT_EVERY, INIT_LOOKED_AT_LATER_EVERY, INIT_LOOKED_AT_OFTEN, INIT_LOOKS_MAX,
};

#[derive(Debug, Default)]
pub struct Progress {
    /// When it is looked at next.
    due: Option<Instant>,
    /// When it was looked at last, and what it had had of a processor by then.
    last: Option<(Instant, Duration)>,
    looks: u32,
}

impl Progress {
    /// A program starts. Extensions may have been at it before.
    pub fn begin(&mut self, now: Instant) {
        if self.looks == 0 {
            self.due = now.checked_add(INIT_LOOKED_AT_EVERY);
        }
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what it has had of a processor; nothing, where the host does not count that. Whether it waits.
    pub fn look(&mut self, now: Instant, used: Option<Duration>) -> bool {
        self.looks = self.looks.saturating_add(1);
        let before = self.last.replace((now, used.unwrap_or_default()));
        let pause = if self.looks < INIT_LOOKED_AT_OFTEN { INIT_LOOKED_AT_EVERY } else { INIT_LOOKED_AT_LATER_EVERY };
        self.due = now.checked_add(pause).filter(|_| used.is_some() && self.looks < INIT_LOOKS_MAX);
        let waits = used.zip(before).is_some_and(|(used, (then, had))| {
            let least = now.saturating_duration_since(then).saturating_mul(INIT_COMPUTES_FROM_PERCENT) / 100;
            used.saturating_sub(had) < least
        });
        if waits {
            self.due = None;
        }
        waits
    }
}

impl Instance {
    pub(super) fn look_at_init(&mut self) {
        let used = self.sandbox.usage().ok().and_then(|usage| usage.cpu);
        if self.progress.look(Instant::now(), used) {
            self.home.waits();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_gets_next_to_nothing_of_a_processor_waits() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let micros = |micros| Some(Duration::from_micros(micros));
        let mut progress = Progress::default();
        assert_eq!(progress.due(), None);
        progress.begin(at(0));
        assert_eq!(progress.due(), Some(at(20)));
        // How long a program took to get there is unknown at first.
        assert!(!progress.look(at(20), micros(100)));
        // One of many on a busy host.
        assert!(!progress.look(at(40), micros(100 + 500)));
        assert_eq!(progress.due(), Some(at(60)));
        assert!(progress.look(at(60), micros(100 + 500 + 300)));
        progress.begin(at(70));
        assert_eq!(progress.due(), None, "others may start already");

        let mut progress = Progress::default();
        progress.begin(at(0));
        assert!(!progress.look(at(20), None));
        assert_eq!(progress.due(), None, "the host does not count");
        let mut progress = Progress::default();
        progress.begin(at(0));
        let looks = (1..1_000).take_while(|look| {
            progress.look(at(look * 20), micros(look * 20_000));
            progress.due().is_some()
        });
        assert_eq!(looks.count(), INIT_LOOKS_MAX as usize - 1);
    }
}
