//! The shell of a courier, which takes asynchronous events to their function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use engine::events::pace::Pace;
use engine::events::retry::{self, Attempt, Policy, Reason, Verdict};
use engine::events::shards::{COMMON, Lengths, SHARDS, Shard};
use engine::events::turns::{Turn, Turns};
use engine::lineage::{self, FunctionId, INVOCATIONS_MAX};

use crate::bugs::Bug;
use crate::disk::{Batch, Commit, Event, Key, Reply, Row};
use crate::queues::DEAD;
use crate::world::{Step, World};

/// When an event is due, and its id.
type Place = (Timestamp, u32);

/// Rows read at once.
const STEP: usize = 4;
/// Bodies of dead letters of events, which are known by it.
pub const EVENT_BODIES: u32 = 1_000_000;

pub struct Courier {
    is_there: bool,
    is_looking: bool,
    bell: BTreeMap<Shard, Place>,
    running: BTreeSet<Key>,
    /// How the attempts ended whose ends are being written.
    ends: BTreeMap<Key, Attempt>,
    pace: Pace,
    turns: Turns,
    after: BTreeMap<Shard, Place>,
    lengths: Lengths,
    carries_at: Option<Timestamp>,
}

/// What the function will have done with an event.
#[derive(Debug, Clone, Copy)]
pub struct Outcome(pub Attempt);

impl Courier {
    pub fn new(now: Timestamp) -> Self {
        Self {
            is_there: false,
            is_looking: false,
            bell: BTreeMap::new(),
            running: BTreeSet::new(),
            ends: BTreeMap::new(),
            pace: Pace::new(now),
            turns: Turns::default(),
            after: BTreeMap::new(),
            lengths: Lengths::default(),
            carries_at: None,
        }
    }
}

fn function() -> FunctionId {
    FunctionId::of("arn:aws:lambda:us-east-1:000000000000:function:f")
}

impl World {
    pub fn send_event(&mut self, id: u32, header: String) {
        if !self.is_up {
            return self.after(Duration::from_secs(1), Step::SendEvent(id, header));
        }
        let now = self.clock();
        let shard = self.courier.lengths.enter(&format!("tenant-{}", id % 4));
        let event = Event { received: now, failures: 0, hold_ups: 0, header };
        let batch = vec![(Key::Event(shard, (now, id)), Some(Row::Event(event)))];
        self.commit(Commit { batch, changes: Vec::new(), reply: Reply::EventKept(id) });
    }

    /// The store tells of an event.
    pub fn ring(&mut self, key: Key) {
        let Key::Event(shard, place) = key else { return };
        if !self.courier.is_there {
            let now = self.clock();
            let lengths = std::mem::take(&mut self.courier.lengths);
            self.courier = Courier { is_there: true, lengths, ..Courier::new(now) };
        }
        let earliest = self.courier.bell.entry(shard).or_insert(place);
        *earliest = place.min(*earliest);
        self.after(Duration::ZERO, Step::Carry);
    }

    pub fn look_everywhere(&mut self) {
        for key in self.first_of_each() {
            if let Key::Event(shard, _) = key {
                self.courier.lengths.find(shard);
            }
            self.ring(key);
        }
    }

    fn first_of_each(&self) -> Vec<Key> {
        let first = |shard| self.events_of(shard, None).next().map(|(key, _)| key);
        (0..=COMMON.max(SHARDS)).filter_map(first).collect()
    }

    fn events_of(&self, shard: Shard, after: Option<Place>) -> impl Iterator<Item = (Key, Timestamp)> {
        let from = after.unwrap_or((Timestamp::from_micros(i64::MIN), 0));
        let range = self.disk.range(Key::Event(shard, from)..Key::Event(shard, (Timestamp::from_micros(i64::MAX), 0)));
        range.filter_map(move |(key, _)| match key {
            Key::Event(_, place) if Some(*place) != after => Some((*key, place.0)),
            _ => None,
        })
    }

    fn carry_at(&mut self, due: Timestamp) {
        let wait = self.wait_until(due);
        let at = self.now.plus(wait);
        if self.courier.carries_at.is_none_or(|known| known > at || known <= self.now) {
            self.courier.carries_at = Some(at);
            self.after(wait, Step::Carry);
        }
    }

    /// Starts what is due, and waits for what comes next.
    pub fn carry(&mut self) {
        if !self.courier.is_there || self.courier.is_looking {
            return;
        }
        self.hear();
        let now = self.clock();
        if self.courier.pace.rests_until > now {
            let until = self.courier.pace.rests_until;
            return self.carry_at(until);
        }
        loop {
            let width = self.courier.pace.width;
            match self.courier.turns.next(now, width) {
                Turn::Take(shard, most) => self.start_of(now, shard, most.min(STEP)),
                Turn::Full => {
                    self.courier.pace.full(now);
                    return self.carry_at(now.plus(Duration::from_secs(1)));
                }
                Turn::Wait(Some(next)) => return self.carry_at(next),
                Turn::Wait(None) if !self.courier.running.is_empty() => return,
                Turn::Wait(None) => {
                    self.courier.is_looking = true;
                    let (found, takes) = (self.first_of_each(), self.micros(50_000));
                    return self.after(takes, Step::Looked { found });
                }
            }
        }
    }

    fn hear(&mut self) {
        let Courier { bell, turns, after, .. } = &mut self.courier;
        for (shard, place) in std::mem::take(bell) {
            turns.expect(shard, place.0);
            if after.get(&shard).is_some_and(|after| place <= *after) {
                after.remove(&shard);
            }
        }
    }

    pub fn on_looked(&mut self, found: &[Key]) {
        let courier = &mut self.courier;
        courier.is_looking = false;
        courier.after.clear();
        for key in found {
            if let Key::Event(shard, (due, _)) = key {
                courier.turns.expect(*shard, *due);
            }
        }
        let may_go = courier.bell.is_empty() || self.has(Bug::LosesWakeUps);
        if found.is_empty() && may_go {
            self.courier = Courier::new(self.clock());
            return;
        }
        self.carry();
    }

    fn start_of(&mut self, now: Timestamp, shard: Shard, most: usize) {
        let after = self.courier.after.get(&shard).copied();
        let rows: Vec<_> = self.events_of(shard, after).take(most + 1).collect();
        let has_more = rows.len() > most;
        for (key, due) in rows.into_iter().take(most) {
            if due > now {
                return self.courier.turns.taken(shard, Some(due));
            }
            if let Key::Event(_, place) = key {
                self.courier.after.insert(shard, place);
            }
            if self.courier.running.insert(key) {
                self.courier.turns.started(shard);
                self.attempt(key);
            }
        }
        if !has_more {
            self.courier.turns.taken(shard, None);
            let running = self.courier.turns.running_of(shard);
            self.courier.lengths.count(shard, running);
        }
    }

    fn attempt(&mut self, key: Key) {
        let (Key::Event(_, (due, id)), Some(Row::Event(event))) = (key, self.disk.get(&key).cloned()) else { return };
        if retry::is_too_old(self.policy(), self.clock().since(event.received)) {
            return self.after(Duration::ZERO, Step::Attempt(key, Outcome(Attempt::TooLate)));
        }
        self.check_attempt(id, due);
        let depth = lineage::invocations(&event.header, function());
        let is_poison = self.oracle.event(id).is_poison;
        let attempt = match () {
            () if depth >= INVOCATIONS_MAX => Attempt::Looped,
            () if self.is_hostile && self.draws(3) => Attempt::HeldUp,
            () if is_poison || (self.is_hostile && self.draws(5)) => Attempt::Failed,
            () => Attempt::Succeeded,
        };
        let slow = if self.draws(6) { 30_000_000 } else { 500_000 };
        let takes = self.micros(slow);
        self.after(takes, Step::Attempt(key, Outcome(attempt)));
    }

    pub fn on_attempt(&mut self, key: Key, Outcome(attempt): Outcome) {
        let (Key::Event(shard, (_, id)), Some(Row::Event(mut event))) = (key, self.disk.get(&key).cloned()) else {
            return;
        };
        let now = self.clock();
        self.ran(id, attempt, &event.header);
        self.attempt_ended(id);
        let spends =
            if self.has(Bug::ThrottleSpendsARetry) && attempt == Attempt::HeldUp { Attempt::Failed } else { attempt };
        let (policy, age) = (self.policy(), now.since(event.received));
        let mut batch: Batch = vec![(key, None)];
        match retry::decide(policy, age, event.failures, event.hold_ups, spends) {
            Verdict::Done => self.courier.lengths.leave(shard),
            Verdict::GiveUp(reason) => {
                self.courier.lengths.leave(shard);
                self.given_up(id, reason, age);
                return self.bury(key, id, attempt, batch);
            }
            Verdict::Again(wait) => {
                match spends {
                    Attempt::Failed => (event.failures, event.hold_ups) = (event.failures + 1, 0),
                    _ => event.hold_ups += 1,
                }
                batch.push((Key::Event(shard, (now.plus(wait), id)), Some(Row::Event(event))));
            }
        }
        self.courier.ends.insert(key, attempt);
        self.commit(Commit { batch, changes: Vec::new(), reply: Reply::Attempted(key) });
    }

    /// The function has run, or has not. What it sends, it sends as any client.
    fn ran(&mut self, id: u32, attempt: Attempt, header: &str) {
        if !matches!(attempt, Attempt::Succeeded | Attempt::Failed) {
            return;
        }
        let depth = self.check_ran(id, attempt);
        if attempt == Attempt::Succeeded && self.oracle.event(id).goes_on {
            let next = self.oracle.new_event(depth + 1);
            self.after(Duration::from_millis(10), Step::SendEvent(next, lineage::extend(header, function())));
        }
    }

    /// The event goes where dead letters go.
    fn bury(&mut self, key: Key, id: u32, attempt: Attempt, mut batch: Batch) {
        let (added, rows) = self.admit(DEAD, None, None, Duration::ZERO, EVENT_BODIES + id);
        self.courier.ends.insert(key, attempt);
        if self.has(Bug::DeadLetterInACommitOfItsOwn) {
            self.commit(Commit { batch, changes: Vec::new(), reply: Reply::Attempted(key) });
            return self.commit(Commit { batch: rows, changes: vec![added], reply: Reply::Nobody });
        }
        batch.extend(rows);
        self.commit(Commit { batch, changes: vec![added], reply: Reply::Attempted(key) });
    }

    /// An attempt's end is on the disk: who looks there may try again before the courier hears of it, or after a crash.
    pub fn end_is_kept(&mut self, key: Key) {
        if let (Key::Event(_, (_, id)), Some(attempt)) = (key, self.courier.ends.get(&key)) {
            self.oracle.event(id).last = Some(*attempt);
        }
    }

    /// It is written down how an attempt ended, or could not be.
    pub fn attempted(&mut self, key: Key, is_written: bool) {
        let (Key::Event(shard, _), now) = (key, self.clock()) else { return };
        let ended = self.courier.ends.remove(&key).filter(|_| is_written);
        self.courier.running.remove(&key);
        self.courier.turns.ended(shard);
        let running = self.courier.running.len();
        self.courier.pace.ended(now, running, ended);
        if ended.is_none() {
            self.courier.after.remove(&shard);
            self.courier.turns.expect(shard, now);
        }
        self.after(Duration::ZERO, Step::Carry);
    }

    fn policy(&self) -> Policy {
        Policy { age_max: self.rules.age_max, ..Policy::default() }
    }

    fn given_up(&mut self, id: u32, reason: Reason, age: Duration) {
        let (failures, age_max) = (self.oracle.event(id).failures, self.rules.age_max);
        let is_right = match reason {
            Reason::RetriesExhausted => failures > Policy::default().retries_max,
            Reason::EventAgeExceeded => age.saturating_add(Duration::from_secs(300)) > age_max,
            Reason::RecursiveInvocation => self.oracle.event(id).depth >= INVOCATIONS_MAX,
            Reason::ZeroReservedConcurrency => false,
        };
        if !is_right {
            self.oracle.broke(format!("event {id} is given up by {reason:?} after {failures} failures and {age:?}"));
        }
    }
}
