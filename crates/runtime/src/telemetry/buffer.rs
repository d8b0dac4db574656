//! When a subscriber's next batch is due, and what is dropped: decided without I/O, clock or tasks.
//!
//! A batch is due when one of the subscriber's limits is reached, or at a flush. One is on its way at a time; what
//! comes meanwhile is kept up to twice the limits, and counted beyond.

use base::Timestamp;

use super::subscription::Buffering;

#[derive(Debug)]
pub struct Buffer {
    limits: Buffering,
    events: Vec<String>,
    bytes: usize,
    /// When the oldest event came.
    since: Option<Timestamp>,
    wants_flush: bool,
    is_sending: bool,
    dropped: Dropped,
}

/// What did not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    pub records: u64,
    pub bytes: u64,
}

impl Dropped {
    pub fn one(bytes: usize) -> Dropped {
        Dropped { records: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    pub fn and(self, other: Dropped) -> Dropped {
        Dropped { records: self.records.saturating_add(other.records), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Buffer {
    pub fn new(limits: Buffering) -> Buffer {
        Buffer {
            limits,
            events: Vec::new(),
            bytes: 0,
            since: None,
            wants_flush: false,
            is_sending: false,
            dropped: Dropped::default(),
        }
    }

    pub fn push(&mut self, now: Timestamp, event: String) {
        let bytes = self.bytes.saturating_add(event.len());
        let is_room = self.events.len() < self.limits.items_max.saturating_mul(2)
            && (self.events.is_empty() || bytes <= self.limits.bytes_max.saturating_mul(2));
        if !is_room {
            return self.missed(Dropped::one(event.len()));
        }
        self.since.get_or_insert(now);
        self.bytes = bytes;
        self.events.push(event);
    }

    /// Something never came here.
    pub fn missed(&mut self, dropped: Dropped) {
        self.dropped = self.dropped.and(dropped);
    }

    /// What is there goes as soon as it can.
    pub fn flush(&mut self) {
        self.wants_flush = !self.events.is_empty();
    }

    /// Neither kept nor on its way.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.is_sending
    }

    /// When `take` will have something although nothing else happens.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.is_sending { None } else { self.since.map(|since| since.plus(self.limits.timeout)) }
    }

    /// The next batch, if it is due; it is on its way then, until `sent`.
    pub fn take(&mut self, now: Timestamp) -> Option<Vec<String>> {
        let is_full = self.events.len() >= self.limits.items_max || self.bytes >= self.limits.bytes_max;
        let is_late = self.deadline().is_some_and(|deadline| deadline <= now);
        if self.is_sending || self.events.is_empty() || !(is_full || is_late || self.wants_flush) {
            return None;
        }
        self.is_sending = true;
        self.wants_flush = false;
        self.since = None;
        self.bytes = 0;
        Some(std::mem::take(&mut self.events))
    }

    /// The batch is done with: taken, or lost. What was missed since the last time is told now, when there is room for
    /// the telling.
    pub fn sent(&mut self, lost: Dropped) -> Option<Dropped> {
        self.is_sending = false;
        let dropped = std::mem::take(&mut self.dropped).and(lost);
        (dropped.records > 0).then_some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn buffer() -> Buffer {
        Buffer::new(Buffering { items_max: 3, bytes_max: 10, timeout: Duration::from_millis(100) })
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_batch_goes_by_count_bytes_time_or_flush() {
        let mut buffer = buffer();
        buffer.push(at(0), "a".into());
        assert_eq!((buffer.deadline(), buffer.take(at(99))), (Some(at(100)), None));
        assert_eq!(buffer.take(at(100)).unwrap(), ["a"]);
        buffer.push(at(100), "b".into());
        assert_eq!((buffer.deadline(), buffer.take(at(900))), (None, None), "one is on its way");
        assert_eq!(buffer.sent(Dropped::default()), None);
        buffer.push(at(101), "c".into());
        assert_eq!(buffer.take(at(102)), None);
        buffer.flush();
        assert_eq!(buffer.take(at(102)).unwrap(), ["b", "c"]);
        buffer.sent(Dropped::default());
        buffer.push(at(103), "0123456789".into());
        assert_eq!(buffer.take(at(103)).unwrap().len(), 1);
        buffer.sent(Dropped::default());
        (0..3).for_each(|_| buffer.push(at(104), "d".into()));
        assert_eq!(buffer.take(at(104)).unwrap().len(), 3);
        buffer.sent(Dropped::default());
        assert!(buffer.is_empty());
        let lost = Dropped { records: 3, bytes: 3 };
        assert_eq!(buffer.sent(lost), Some(lost));
    }

    proptest! {
        /// Whatever comes and however slow the taker: what is kept is bounded, and all is delivered or counted.
        #[test]
        fn nothing_is_lost_uncounted(steps in prop::collection::vec((0..4_u8, 1..30_usize), 0..200)) {
            let mut buffer = buffer();
            let (mut pushed, mut taken, mut dropped, mut is_out, mut now) = (0, 0, 0, false, 0);
            for (step, size) in steps {
                now += 10;
                match step {
                    0 | 1 => {
                        buffer.push(at(now), "x".repeat(size));
                        pushed += 1;
                    }
                    2 => buffer.flush(),
                    _ if is_out => {
                        is_out = false;
                        dropped += buffer.sent(Dropped::default()).map_or(0, |dropped| dropped.records);
                    }
                    _ => {}
                }
                if let Some(batch) = buffer.take(at(now)) {
                    prop_assert!(!is_out && batch.len() <= 6);
                    prop_assert!(batch.len() == 1 || batch.iter().map(String::len).sum::<usize>() <= 20);
                    is_out = true;
                    taken += batch.len();
                }
            }
            dropped += buffer.sent(Dropped::default()).map_or(0, |dropped| dropped.records);
            buffer.flush();
            taken += buffer.take(at(now)).map_or(0, |batch| batch.len());
            prop_assert_eq!(pushed, taken + usize::try_from(dropped).unwrap());
        }
    }
}
