//! When lines happened. What a runtime writes to the log pipe says so itself; a line of standard output happened when it was
//! read, at the latest.
//!
//! Invariant: no line is of a time before its invocation began, nor to come, nor before the line before it: whatever a
//! function says, the lines of an invocation stay between its START and its END.

use base::Timestamp;

use super::Instance;
use crate::environment::{Event, Source};
use crate::logs::Written;

impl Instance {
    /// Lets the log have these lines.
    pub(super) async fn write(&mut self, lines: &mut Vec<Written>) {
        for (line, time) in self.timed(lines) {
            self.line_time = Some(time);
            self.step(Event::Output(line.source, line.text)).await;
        }
        self.line_time = None;
    }

    /// These lines, each with its time.
    fn timed(&mut self, lines: &mut Vec<Written>) -> Vec<(Written, Timestamp)> {
        let earliest = self.line_before.max(self.since);
        let times = times(lines, earliest, self.clock.now());
        self.line_before = times.last().copied().unwrap_or(earliest);
        lines.drain(..).zip(times).collect()
    }
}

/// Times from `earliest` on, to `now` at most.
fn times(lines: &[Written], earliest: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    // What was printed before a line that knows its time is not later than that.
    let mut latest = now;
    let mut times: Vec<Timestamp> = Vec::with_capacity(lines.len());
    for line in lines.iter().rev() {
        latest = latest.min(line.time.unwrap_or(latest));
        times.push(if line.source == Source::Function { latest } else { now });
    }
    times.reverse();
    let mut before = earliest.min(now);
    for time in &mut times {
        before = before.max(*time);
        *time = before;
    }
    times
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn line(time: Option<i64>) -> Written {
        Written { source: Source::Function, text: "x".into(), time: time.map(at) }
    }

    #[test]
    fn lines_have_their_own_times_and_printed_ones_fit_between() {
        let lines = [line(None), line(Some(20)), line(None), line(Some(30)), line(None)];
        assert_eq!(times(&lines, at(10), at(90)), [20, 20, 30, 30, 90].map(at));
        assert_eq!(times(&[line(Some(5)), line(Some(95))], at(10), at(90)), [10, 90].map(at), "none is forged");
    }

    proptest! {
        #[test]
        fn times_rise_within_the_invocation(said in prop::collection::vec(prop::option::of(any::<i64>()), 0..20)) {
            let lines: Vec<_> = said.into_iter().map(line).collect();
            let times = times(&lines, at(10), at(90));
            prop_assert!(times.is_sorted() && times.iter().all(|time| (at(10)..=at(90)).contains(time)));
        }
    }
}
