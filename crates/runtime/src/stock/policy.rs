//! How many parked rooms of which kind are held: decided without I/O, clock or chance.
//!
//! A kind that somebody wanted is held `per_kind` times, and more often while it is wanted more often: as many as are
//! wanted in `AHEAD`. A kind that nobody has wanted for `KEPT_FOR` is held no more. All together are `total_max` at most,
//! of which the kinds that were wanted last have theirs first.
//!
//! Invariant: no more rooms are made at once, and none are held beyond, what was asked for here.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long demand counts: the time after which a want weighs half.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// What is wanted in so much time is held ahead.
const AHEAD: Duration = Duration::from_secs(1);
/// How long a kind is held that nobody wants.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// Kinds that are known. Those that are held are far fewer.
const KINDS_MAX: usize = 256;
/// How long a kind rests of which one could not be made, at first and at most.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a kind that was wanted, however rarely. None: nothing is parked.
    pub per_kind: u32,
    /// Of one kind, however often it is wanted.
    pub per_kind_max: u32,
    pub total_max: u32,
}

#[derive(Debug)]
pub struct Policy<K> {
    limits: Limits,
    shelves: BTreeMap<K, Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    held: u32,
    making: u32,
    /// Wants, each weighing less as time goes by, up to `wanted`.
    demand: f64,
    wanted: Duration,
    failures: u32,
    /// Nobody can want it any more.
    is_over: bool,
    rests_until: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// One more, which counts as being made from here on.
    Make(K),
    /// One fewer, which counts as gone from here on.
    Discard(K),
    /// Nothing until then, unless something happens.
    Wait(Option<Duration>),
}

impl<K: Ord + Clone> Policy<K> {
    pub fn new(limits: Limits) -> Self {
        Self { limits, shelves: BTreeMap::new() }
    }

    /// One of this kind is wanted now. Whether one is held, which counts as gone from here on.
    pub fn take(&mut self, now: Duration, kind: &K) -> bool {
        let Some(shelf) = self.shelf(now, kind) else { return false };
        shelf.demand += 1.0;
        self.take_another(kind)
    }

    /// The one that was taken is of no use. Whether there is another, which counts as gone from here on.
    pub fn take_another(&mut self, kind: &K) -> bool {
        let Some(shelf) = self.shelves.get_mut(kind) else { return false };
        let has = shelf.held > 0;
        shelf.held = shelf.held.saturating_sub(1);
        has
    }

    /// One of this kind may be wanted soon.
    pub fn expect(&mut self, now: Duration, kind: &K) {
        self.shelf(now, kind);
    }

    /// Nobody will want one of this kind again.
    pub fn forget(&mut self, kind: &K) {
        if let Some(shelf) = self.shelves.get_mut(kind) {
            shelf.is_over = true;
        }
    }

    /// Nothing is held any more, nor will be.
    pub fn clear(&mut self) {
        self.shelves.clear();
    }

    /// One that `Make` asked for is there.
    pub fn made(&mut self, kind: &K) {
        if let Some(shelf) = self.shelves.get_mut(kind) {
            shelf.making = shelf.making.saturating_sub(1);
            shelf.held = shelf.held.saturating_add(1);
            shelf.failures = 0;
        }
    }

    /// One that `Make` asked for could not be made.
    pub fn failed(&mut self, now: Duration, kind: &K) {
        if let Some(shelf) = self.shelves.get_mut(kind) {
            shelf.making = shelf.making.saturating_sub(1);
            let rest = REST_FIRST.saturating_mul(1 << shelf.failures.min(16)).min(REST_MAX);
            shelf.failures = shelf.failures.saturating_add(1);
            shelf.rests_until = now.saturating_add(rest);
        }
    }

    /// What to do next. To be asked again after each that is done, and when something has happened.
    pub fn next(&mut self, now: Duration) -> Next<K> {
        self.shelves.retain(|_, shelf| shelf.held > 0 || shelf.making > 0 || !shelf.is_forgotten(now));
        let targets = self.targets(now);
        let over =
            targets.iter().find(|(kind, target)| self.shelves.get(kind).is_some_and(|shelf| shelf.held > *target));
        if let Some((kind, _)) = over {
            let kind = kind.clone();
            if let Some(shelf) = self.shelves.get_mut(&kind) {
                shelf.held = shelf.held.saturating_sub(1);
            }
            return Next::Discard(kind);
        }
        let lacking = targets.into_iter().find_map(|(kind, target)| {
            let shelf = self.shelves.get_mut(&kind)?;
            let is_lacking = shelf.held.saturating_add(shelf.making) < target && shelf.rests_until <= now;
            is_lacking.then(|| {
                shelf.making = shelf.making.saturating_add(1);
                kind
            })
        });
        lacking.map_or_else(|| Next::Wait(self.wakeup(now)), Next::Make)
    }

    /// Forgets the kind of which there is none that nobody wanted for longest, where there are too many.
    fn make_room(&mut self) {
        let is_empty = |shelf: &Shelf| shelf.held == 0 && shelf.making == 0;
        while self.shelves.len() >= KINDS_MAX {
            let empty = self.shelves.iter().filter(|(_, shelf)| is_empty(shelf));
            let Some(oldest) = empty.min_by_key(|(_, shelf)| shelf.wanted).map(|(kind, _)| kind.clone()) else {
                return;
            };
            self.shelves.remove(&oldest);
        }
    }

    /// How many are to be held of each kind, the kind that was wanted last first.
    fn targets(&self, now: Duration) -> Vec<(K, u32)> {
        let mut shelves: Vec<_> = self.shelves.iter().collect();
        shelves.sort_by_key(|(_, shelf)| std::cmp::Reverse(shelf.wanted));
        let mut left = self.limits.total_max;
        let target = |(kind, shelf): (&K, &Shelf)| {
            let target = if shelf.is_forgotten(now) { 0 } else { shelf.target(now, self.limits) }.min(left);
            left = left.saturating_sub(target);
            (kind.clone(), target)
        };
        shelves.into_iter().map(target).collect()
    }

    /// When something changes by itself: a rest is over, a kind is forgotten, or demand has gone down.
    fn wakeup(&self, now: Duration) -> Option<Duration> {
        let of = |shelf: &Shelf| {
            let is_busy = shelf.held > self.limits.per_kind;
            let times = [
                (shelf.rests_until > now).then_some(shelf.rests_until),
                Some(shelf.wanted.saturating_add(KEPT_FOR)),
                is_busy.then(|| now.saturating_add(HALF_LIFE)),
            ];
            times.into_iter().flatten().min()
        };
        self.shelves.values().filter_map(of).min()
    }

    fn shelf(&mut self, now: Duration, kind: &K) -> Option<&mut Shelf> {
        if self.limits.per_kind == 0 {
            return None;
        }
        if !self.shelves.contains_key(kind) {
            self.make_room();
            self.shelves.insert(kind.clone(), Shelf { wanted: now, ..Shelf::default() });
        }
        let shelf = self.shelves.get_mut(kind)?;
        shelf.demand = shelf.demand_at(now);
        shelf.wanted = now;
        Some(shelf)
    }
}

impl Shelf {
    fn is_forgotten(&self, now: Duration) -> bool {
        self.is_over || now.saturating_sub(self.wanted) >= KEPT_FOR
    }

    fn demand_at(&self, now: Duration) -> f64 {
        let half_lives = now.saturating_sub(self.wanted).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.demand * 0.5_f64.powf(half_lives)
    }

    fn target(&self, now: Duration, limits: Limits) -> u32 {
        // Of a steady stream, the weights of all wants add up to those of so much time.
        let remembered = HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2;
        let wanted = self.demand_at(now) / remembered * AHEAD.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let wanted = wanted.round() as u32;
        limits.per_kind.saturating_add(wanted).min(limits.per_kind_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_kind: 2, per_kind_max: 8, total_max: 10 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Makes all that is wanted, and tells how many of each.
    fn fill(policy: &mut Policy<char>, now: Duration) -> String {
        let mut made = String::new();
        loop {
            match policy.next(now) {
                Next::Make(kind) => {
                    policy.made(&kind);
                    made.push(kind);
                }
                Next::Discard(kind) => made.extend(['-', kind]),
                Next::Wait(_) => return made,
            }
        }
    }

    #[test]
    fn what_was_wanted_once_is_held_for_an_hour() {
        let mut policy = Policy::new(LIMITS);
        assert_eq!(policy.next(at(0)), Next::Wait(None));
        assert!(!policy.take(at(0), &'p'));
        assert_eq!(fill(&mut policy, at(0)), "pp");
        assert!(policy.take(at(10), &'p') && policy.take(at(20), &'p') && !policy.take(at(30), &'p'));
        assert_eq!(fill(&mut policy, at(30)), "ppp", "the third of some wants in no time");
        assert_eq!(fill(&mut policy, at(60_000)), "-p");
        policy.expect(at(1_000_000), &'n');
        policy.expect(at(1_000_000), &'o');
        assert_eq!(fill(&mut policy, at(1_000_000)), "nnoo");
        policy.forget(&'o');
        assert_eq!(fill(&mut policy, at(1_000_000)), "-o-o", "at once");
        assert_eq!(fill(&mut policy, at(3_600_030)), "-p-p");
        assert_eq!(fill(&mut policy, at(4_600_000)), "-n-n");
        assert!(policy.shelves.is_empty());
    }

    #[test]
    fn more_is_held_of_what_is_wanted_more_often_within_limits() {
        let mut policy = Policy::new(LIMITS);
        for now in 0..100 {
            policy.take(at(now * 250), &'p');
        }
        assert_eq!(fill(&mut policy, at(25_000)), "pppppp", "four a second, and the two that are always there");
        for now in 0..1_000 {
            policy.take(at(25_000 + now), &'q');
        }
        // The limit of a kind, and what that leaves for others.
        assert_eq!(fill(&mut policy, at(26_000)), "-p-p-p-pqqqqqqqq");
        let none = Limits { per_kind: 0, ..LIMITS };
        let mut policy = Policy::new(none);
        assert!(!policy.take(at(0), &'p'));
        assert_eq!(policy.next(at(0)), Next::Wait(None));
    }

    #[test]
    fn what_cannot_be_made_rests_longer_and_longer() {
        let mut policy = Policy::new(LIMITS);
        policy.expect(at(0), &'p');
        assert_eq!(policy.next(at(0)), Next::Make('p'));
        policy.failed(at(0), &'p');
        assert_eq!(policy.next(at(999)), Next::Wait(Some(at(1_000))));
        assert_eq!(policy.next(at(1_000)), Next::Make('p'));
        policy.failed(at(1_000), &'p');
        assert_eq!(policy.next(at(1_000)), Next::Wait(Some(at(3_000))));
        assert_eq!(fill(&mut policy, at(3_000)), "pp");
    }

    /// Whatever happens, what is held and being made stays within the limits, and nothing is forgotten that is held.
    #[test]
    fn limits_hold_in_any_order() {
        use proptest::prelude::*;
        proptest!(|(steps in prop::collection::vec((0..5_u8, 0..4_u8, 0..5_000_u64), 0..200))| {
            let mut policy = Policy::new(LIMITS);
            let (mut now, mut making, mut held) = (0, Vec::new(), BTreeMap::<u8, u32>::new());
            for (step, kind, later) in steps {
                now += later;
                match step {
                    0 => {
                        let has = policy.take(at(now), &kind);
                        prop_assert_eq!(has, held.get(&kind).is_some_and(|held| *held > 0));
                        if has {
                            *held.entry(kind).or_default() -= 1;
                        }
                    }
                    1 => policy.expect(at(now), &kind),
                    2 => if let Some(kind) = making.pop() {
                        policy.made(&kind);
                        *held.entry(kind).or_default() += 1;
                    },
                    3 => if let Some(kind) = making.pop() {
                        policy.failed(at(now), &kind);
                    },
                    _ => match policy.next(at(now)) {
                        Next::Make(kind) => making.push(kind),
                        Next::Discard(kind) => {
                            let held = held.entry(kind).or_default();
                            prop_assert!(*held > 0);
                            *held -= 1;
                        }
                        Next::Wait(until) => prop_assert!(until.is_none_or(|until| until > at(now))),
                    },
                }
                for held in held.values() {
                    prop_assert!(*held <= LIMITS.per_kind_max);
                }
            }
        });
    }
}
