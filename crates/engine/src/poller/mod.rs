//! Reading a source for a function: how much is gathered before the function is called, how many calls run at once, how
//! long a call that it does not take is tried again, and ([`report`]) what it is done with.

pub mod report;

use std::time::Duration;

use base::Timestamp;

/// Calls that run at once at first, and at most, and how many more a second, as on AWS.
const CALLS_FIRST: usize = 5;
pub const CALLS_MAX: usize = 1_250;
const CALLS_MORE: usize = 5;
const GROWS_EVERY: Duration = Duration::from_secs(1);
/// How long nothing is read after a call was refused for want of room, at first and at most.
const RESTS_FIRST: Duration = Duration::from_secs(1);
const RESTS_MAX: Duration = Duration::from_secs(60);
/// How long after a refusal the same call is tried again, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// A function that takes no longer than this finds its next events read already, so many at most. What waits longer for a
/// call that may begin is left to others.
const QUICK: Duration = Duration::from_millis(50);
const AHEAD_MAX: usize = 128;
const WAITS_MAX: Duration = Duration::from_secs(1);
/// What one call may be given.
pub const BATCH_BYTES_MAX: usize = 6 * 1024 * 1024;

/// How many calls run at once: more while there is more to read, fewer where the function does not take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub width: usize,
    max: usize,
    grows_at: Timestamp,
    rest: Duration,
    /// Nothing is read before.
    pub rests_until: Timestamp,
    /// How long a call takes, as it was lately.
    takes: Option<Duration>,
}

impl Scale {
    pub fn new(now: Timestamp, max: Option<usize>) -> Self {
        let max = max.unwrap_or(CALLS_MAX);
        let width = CALLS_FIRST.min(max);
        let (rest, rests_until) = (RESTS_FIRST, Timestamp::default());
        Self { width, max, grows_at: now.plus(GROWS_EVERY), rest, rests_until, takes: None }
    }

    /// What was read for calls waited too long: the function is not as quick as it was.
    pub fn is_late(&mut self) {
        self.took(WAITS_MAX);
    }

    /// A call took so long.
    pub fn took(&mut self, time: Duration) {
        let before = self.takes.unwrap_or(time);
        self.takes = Some(before.saturating_mul(7).saturating_add(time).div_f32(8.0));
    }

    /// How many events may be read now: what fills the batches of so many calls that may begin, and what those that run
    /// will soon make room for. What comes in order comes batch by batch.
    pub fn room<E>(&self, gather: &Gather<E>, free: usize, is_ordered: bool) -> usize {
        let (batch, held) = (gather.limits.events, gather.events.len());
        let is_ahead = !is_ordered && gather.bytes < gather.limits.bytes;
        let (free, ahead) = (if is_ordered { free.min(1) } else { free }, if is_ahead { self.ahead(batch) } else { 0 });
        let room = batch.saturating_mul(free).saturating_add(ahead).saturating_sub(held);
        // A few are not worth a reading while nobody waits for them.
        if free > 0 && held < batch || room >= batch.min(ahead).max(1) { room } else { 0 }
    }

    /// How many events are read ahead of the calls that take them.
    fn ahead(&self, batch: usize) -> usize {
        let is_quick = self.takes.is_some_and(|takes| takes <= QUICK);
        if is_quick { batch.saturating_mul(self.width).min(AHEAD_MAX) } else { 0 }
    }

    /// As many run as may, and there is more to read.
    pub fn full(&mut self, now: Timestamp) {
        if now >= self.grows_at {
            self.width = self.width.saturating_add(CALLS_MORE).min(self.max);
            self.grows_at = now.plus(GROWS_EVERY);
        }
    }

    /// The function took a call.
    pub fn taken(&mut self) {
        self.rest = RESTS_FIRST;
    }

    /// The function failed. One that fails now and then grows faster than this makes it shrink; one that always does is called
    /// one after the other in the end.
    pub fn failed(&mut self) {
        self.taken();
        self.width = self.width.saturating_sub(1).max(1);
    }

    /// The function took no call; so many others run.
    pub fn refused(&mut self, now: Timestamp, running: usize) {
        self.width = self.width.saturating_div(2).min(running).max(1);
        self.grows_at = now.plus(self.rest).plus(GROWS_EVERY);
        self.rests_until = now.plus(self.rest);
        self.rest = self.rest.saturating_mul(2).min(RESTS_MAX);
    }
}

/// A call that the function did not take, and that is tried again as long as nobody else is given its events.
#[derive(Debug)]
pub struct Refused {
    again_after: Duration,
}

impl Default for Refused {
    fn default() -> Self {
        Self { again_after: AGAIN_AFTER }
    }
}

impl Refused {
    /// It was refused, once more perhaps: how long it waits. Nothing if there would be no time left to answer; the source
    /// gives its events again then.
    pub fn again_after(&mut self, now: Timestamp, ours_until: Timestamp) -> Option<Duration> {
        let wait = self.again_after;
        self.again_after = wait.saturating_mul(2).min(AGAIN_AFTER_MAX);
        (now.plus(wait).plus(wait) < ours_until).then_some(wait)
    }
}

/// When what was gathered goes to the function.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub events: usize,
    pub bytes: usize,
    pub window: Duration,
}

/// What waits for calls: of one that may be called, and of the next where that is full.
#[derive(Debug)]
pub struct Gather<E> {
    limits: Limits,
    events: Vec<(E, usize)>,
    bytes: usize,
    since: Option<Timestamp>,
}

impl<E> Gather<E> {
    pub fn new(limits: Limits) -> Self {
        Self { limits, events: Vec::new(), bytes: 0, since: None }
    }

    /// How many more one call takes.
    fn room(&self) -> usize {
        self.limits.events.saturating_sub(self.events.len())
    }

    /// Whether it waits for longer than the next call that may begin should take.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| now.since(due) >= WAITS_MAX)
    }

    pub fn add(&mut self, now: Timestamp, event: E, bytes: usize) {
        self.since.get_or_insert(now);
        self.bytes = self.bytes.saturating_add(bytes);
        self.events.push((event, bytes));
    }

    pub fn events(&self) -> impl Iterator<Item = &E> {
        self.events.iter().map(|(event, _)| event)
    }

    /// When what is there goes, full or not; nothing is there to go if there is no such time.
    pub fn due(&self) -> Option<Timestamp> {
        let since = self.since?;
        let is_full = self.room() == 0 || self.bytes >= self.limits.bytes;
        Some(if is_full { since } else { since.plus(self.limits.window) })
    }

    /// What one call is given, which is one event at least, how large it ever is.
    pub fn take(&mut self) -> Vec<E> {
        let mut bytes = 0_usize;
        let fits = |(_, event_bytes): &&(E, usize)| {
            bytes = bytes.saturating_add(*event_bytes);
            bytes <= self.limits.bytes
        };
        let count =
            self.events.iter().take(self.limits.events).take_while(fits).count().clamp(1, self.events.len().max(1));
        let rest = self.events.split_off(count.min(self.events.len()));
        self.bytes = rest.iter().fold(0, |bytes, (_, event_bytes)| bytes.saturating_add(*event_bytes));
        self.since = self.since.filter(|_| !rest.is_empty());
        std::mem::replace(&mut self.events, rest).into_iter().map(|(event, _)| event).collect()
    }

    /// All that waits, for no call.
    pub fn take_all(&mut self) -> Vec<E> {
        (self.bytes, self.since) = (0, None);
        std::mem::take(&mut self.events).into_iter().map(|(event, _)| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn more_calls_run_while_there_is_more_and_fewer_where_they_are_refused() {
        let mut scale = Scale::new(at(0), None);
        scale.full(at(0));
        assert_eq!(scale.width, 5);
        (1..60).for_each(|second| scale.full(at(second)));
        assert_eq!(scale.width, 300);
        scale.refused(at(60), 7);
        assert_eq!((scale.width, scale.rests_until), (7, at(61)));
        scale.refused(at(61), 0);
        assert_eq!((scale.width, scale.rests_until), (1, at(63)));
        scale.full(at(63));
        assert_eq!(scale.width, 1);
        scale.taken();
        scale.full(at(64));
        assert_eq!(scale.width, 6);
        scale.refused(at(64), 6);
        assert_eq!(scale.rests_until, at(65));
        assert_eq!(Scale::new(at(0), Some(2)).width, 2);
        // A failure a second among many does not hold it up.
        let mut scale = Scale::new(at(0), None);
        (1..=100).for_each(|second| {
            scale.full(at(second));
            scale.failed();
        });
        assert_eq!(scale.width, 405);
        (0..1_000).for_each(|_| scale.failed());
        assert_eq!(scale.width, 1);
    }

    #[test]
    fn a_quick_function_finds_its_next_events_read() {
        let gather = |held: usize, events, each: usize| {
            let mut gather = Gather::new(Limits { events, bytes: 1_000, window: Duration::ZERO });
            (0..held).for_each(|at| gather.add(Timestamp::default(), at, each));
            gather
        };
        let mut scale = Scale::new(at(0), None);
        assert_eq!([0, 1, 5].map(|free| scale.room(&gather(0, 10, 1), free, false)), [0, 10, 50], "nobody knows yet");
        scale.took(Duration::from_millis(2));
        assert_eq!([0, 1].map(|free| scale.room(&gather(0, 10, 1), free, false)), [50, 60]);
        assert_eq!([0, 1, 5].map(|free| scale.room(&gather(0, 10, 1), free, true)), [0, 10, 10]);
        // What is there counts, and what is heavy is enough.
        assert_eq!([40, 41, 50].map(|held| scale.room(&gather(held, 10, 1), 0, false)), [10, 0, 0]);
        assert_eq!(scale.room(&gather(10, 10, 100), 0, false), 0);
        // Of great batches little is read ahead.
        assert_eq!([0, 1].map(|held| scale.room(&gather(held, 10_000, 1), 0, false)), [128, 0]);
        scale.is_late();
        assert_eq!(scale.room(&gather(0, 10, 1), 0, false), 0);
        (0..23).for_each(|_| scale.took(Duration::from_millis(2)));
        assert_eq!(scale.room(&gather(0, 1, 1), 0, false), 5);
        let waits = gather(1, 10, 1);
        assert!(!waits.is_stale(Timestamp::default().plus(Duration::from_millis(999))));
        assert!(waits.is_stale(Timestamp::default().plus(WAITS_MAX)));
    }

    #[test]
    fn a_refused_call_is_tried_again_until_its_events_are_others() {
        let tries = |hidden_for: i64| {
            let (mut refused, mut now, mut tries) = (Refused::default(), at(0), vec![0]);
            while let Some(wait) = refused.again_after(now, at(hidden_for)) {
                now = now.plus(wait);
                tries.push(now.as_secs());
            }
            tries
        };
        assert_eq!(tries(30), [0, 1, 3, 7, 15]);
        assert_eq!(tries(180), [0, 1, 3, 7, 15, 31, 61, 91, 121]);
        assert_eq!(tries(2), [0], "who is asked needs time to answer");
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_has_waited() {
        let mut gather = Gather::new(Limits { events: 3, bytes: 100, window: Duration::from_secs(5) });
        assert_eq!((gather.due(), gather.room()), (None, 3));
        gather.add(at(1), 'a', 10);
        assert_eq!((gather.due(), gather.room()), (Some(at(6)), 2));
        assert_eq!(gather.take(), ['a']);
        gather.add(at(2), 'b', 91);
        assert_eq!(gather.due(), Some(at(7)));
        gather.add(at(3), 'c', 1);
        gather.add(at(4), 'd', 1);
        assert_eq!((gather.due(), gather.room()), (Some(at(2)), 0), "it is full");
        assert_eq!((gather.take(), gather.due()), (vec!['b', 'c', 'd'], None));
        gather.add(at(5), 'e', 1_000);
        assert_eq!((gather.due(), gather.take()), (Some(at(5)), vec!['e']), "one alone goes as it is");
    }

    #[test]
    fn what_does_not_fit_into_a_call_waits_for_the_next() {
        let mut gather = Gather::new(Limits { events: 9, bytes: 100, window: Duration::from_secs(5) });
        [('a', 60), ('b', 60), ('c', 40), ('d', 1)]
            .into_iter()
            .for_each(|(event, bytes)| gather.add(at(1), event, bytes));
        assert_eq!((gather.due(), gather.take()), (Some(at(1)), vec!['a']));
        assert_eq!((gather.due(), gather.take()), (Some(at(1)), vec!['b', 'c']));
        assert_eq!((gather.due(), gather.room()), (Some(at(6)), 8));
        assert_eq!((gather.take_all(), gather.due(), gather.take()), (vec!['d'], None, vec![]));
    }
}
