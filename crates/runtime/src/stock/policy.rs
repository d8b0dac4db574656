//! How many parked rooms of which kind are held: decided without I/O, clock or chance.
//!
//! A kind that somebody wanted is held `per_kind` times, and more often while it is wanted more often: as many as are
//! wanted in `AHEAD`. A kind that nobody has wanted or expected for `KEPT_FOR` is held no more.
//!
//! All together are `total_max` at most, heavy ones counted several times. Of these, the kinds that were wanted lately have their `per_kind` first, then what
//! more they need, those that are wanted most often in front; then come the kinds that are only expected, or were wanted
//! long ago. Among equals, groups take turns: each has its last-wanted kind served before any has its second.
//!
//! Invariant: no more rooms are made at once, and none are held beyond, what was asked for here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long demand counts: the time after which a want weighs half.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// What is wanted in so much time is held ahead.
const AHEAD: Duration = Duration::from_secs(1);
/// How long ago a want is, at most, that goes before what is only expected.
const LATELY: Duration = Duration::from_secs(60);
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
    /// Kinds of which one is made at the same time.
    pub making_max: u32,
}

/// What can be held.
pub trait Shelved: Ord + Clone {
    /// What kinds have in common that stand in for each other, more or less: together they are no more than one.
    type Group: Ord;

    fn group(&self) -> Self::Group;

    /// How many of all that may be held one of this kind counts for.
    fn weight(&self) -> u32 {
        1
    }
}

#[derive(Debug)]
pub struct Policy<K> {
    limits: Limits,
    shelves: BTreeMap<K, Shelf>,
    /// Kinds that are known no more, until somebody takes them away.
    gone: Vec<K>,
}

#[derive(Debug, Default)]
struct Shelf {
    held: u32,
    making: u32,
    /// Wants, each weighing less as time goes by, up to `touched`.
    demand: f64,
    wanted: Option<Duration>,
    /// When it was wanted or expected last.
    touched: Duration,
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

impl<K: Shelved> Policy<K> {
    pub fn new(limits: Limits) -> Self {
        Self { limits, shelves: BTreeMap::new(), gone: Vec::new() }
    }

    /// One of this kind is wanted now. Whether one is held, which counts as gone from here on.
    pub fn take(&mut self, now: Duration, kind: &K) -> bool {
        let Some(shelf) = self.shelf(now, kind) else { return false };
        shelf.demand += 1.0;
        shelf.wanted = Some(now);
        self.take_another(kind)
    }

    /// The one that was taken is of no use. Whether there is another, which counts as gone from here on.
    pub fn take_another(&mut self, kind: &K) -> bool {
        let Some(shelf) = self.shelves.get_mut(kind) else { return false };
        let has = shelf.held > 0;
        shelf.held = shelf.held.saturating_sub(1);
        has
    }

    /// One that was held is of no use any more.
    pub fn lost(&mut self, kind: &K) {
        self.take_another(kind);
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
        self.limits.per_kind = 0;
        self.gone.extend(std::mem::take(&mut self.shelves).into_keys());
    }

    /// Kinds that are known no more: dropping one may take long, so it is the caller's to do.
    pub fn take_gone(&mut self) -> Vec<K> {
        std::mem::take(&mut self.gone)
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
        let forgotten = self.shelves.extract_if(.., |_, shelf| shelf.is_empty() && shelf.is_forgotten(now));
        self.gone.extend(forgotten.map(|(kind, _)| kind));
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
        let making = self.shelves.values().map(|shelf| shelf.making).fold(0, u32::saturating_add);
        if making >= self.limits.making_max {
            return Next::Wait(self.wakeup(now));
        }
        let lacking = targets.into_iter().find_map(|(kind, target)| {
            let shelf = self.shelves.get_mut(&kind)?;
            let is_lacking = shelf.making == 0 && shelf.held < target && shelf.rests_until <= now;
            is_lacking.then(|| {
                shelf.making = shelf.making.saturating_add(1);
                kind
            })
        });
        lacking.map_or_else(|| Next::Wait(self.wakeup(now)), Next::Make)
    }

    /// Forgets the kind of which there is none that nobody wanted for longest, where there are too many.
    fn make_room(&mut self) {
        while self.shelves.len() >= KINDS_MAX {
            let empty = self.shelves.iter().filter(|(_, shelf)| shelf.is_empty());
            let Some(oldest) = empty.min_by_key(|(_, shelf)| shelf.touched).map(|(kind, _)| kind.clone()) else {
                return;
            };
            self.gone.extend(self.shelves.remove_entry(&oldest).map(|(kind, _)| kind));
        }
    }

    /// How many are to be held of each kind, those that are to be made first in front.
    fn targets(&self, now: Duration) -> Vec<(K, u32)> {
        let mut left = self.limits.total_max;
        let mut share = |kind: &K, wanted: u32| {
            let share = wanted.min(left.checked_div(kind.weight()).unwrap_or(left));
            left = left.saturating_sub(share.saturating_mul(kind.weight()));
            share
        };
        let base = self.limits.per_kind.min(self.limits.per_kind_max);
        let (over, known): (Vec<_>, Vec<_>) = self.shelves.iter().partition(|(_, shelf)| shelf.is_forgotten(now));
        let (wanted, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, shelf)| shelf.is_wanted(now));
        let mut targets: Vec<_> =
            in_turns(wanted).into_iter().map(|(kind, shelf)| (kind, shelf, share(kind, base))).collect();
        let mut busiest: Vec<_> = targets.iter_mut().collect();
        busiest.sort_by(|(_, one, _), (_, other, _)| other.demand_at(now).total_cmp(&one.demand_at(now)));
        for (kind, shelf, target) in busiest {
            let more = shelf.target(now, self.limits).saturating_sub(base);
            *target = target.saturating_add(share(kind, more));
        }
        targets.extend(in_turns(others).into_iter().map(|(kind, shelf)| (kind, shelf, share(kind, base))));
        targets.extend(over.into_iter().map(|(kind, shelf)| (kind, shelf, 0)));
        targets.into_iter().map(|(kind, _, target)| (kind.clone(), target)).collect()
    }

    /// When something changes by itself: a rest is over, a kind is forgotten, or demand has gone down.
    fn wakeup(&self, now: Duration) -> Option<Duration> {
        let of = |shelf: &Shelf| {
            let is_busy = shelf.held > self.limits.per_kind;
            let times = [
                (shelf.rests_until > now).then_some(shelf.rests_until),
                Some(shelf.touched.saturating_add(KEPT_FOR)),
                shelf.wanted.map(|wanted| wanted.saturating_add(LATELY)).filter(|until| *until > now),
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
            self.shelves.insert(kind.clone(), Shelf { touched: now, ..Shelf::default() });
        }
        let shelf = self.shelves.get_mut(kind)?;
        shelf.demand = shelf.demand_at(now);
        shelf.touched = now;
        Some(shelf)
    }
}

/// The kind that was wanted last first, but of no group a second one before each other has its first.
fn in_turns<'s, K: Shelved>(mut kinds: Vec<(&'s K, &'s Shelf)>) -> Vec<(&'s K, &'s Shelf)> {
    kinds.sort_by_key(|(_, shelf)| Reverse(shelf.touched));
    let mut turns = BTreeMap::<K::Group, u32>::new();
    let turn = |(kind, shelf): (&'s K, &'s Shelf)| {
        let turn = turns.entry(kind.group()).or_default();
        *turn = turn.saturating_add(1);
        (*turn, kind, shelf)
    };
    let mut kinds: Vec<_> = kinds.into_iter().map(turn).collect();
    kinds.sort_by_key(|(turn, ..)| *turn);
    kinds.into_iter().map(|(_, kind, shelf)| (kind, shelf)).collect()
}

impl Shelf {
    fn is_empty(&self) -> bool {
        self.held == 0 && self.making == 0
    }

    fn is_wanted(&self, now: Duration) -> bool {
        self.wanted.is_some_and(|wanted| now.saturating_sub(wanted) < LATELY)
    }

    fn is_forgotten(&self, now: Duration) -> bool {
        self.is_over || now.saturating_sub(self.touched) >= KEPT_FOR
    }

    fn demand_at(&self, now: Duration) -> f64 {
        let half_lives = now.saturating_sub(self.touched).as_secs_f64() / HALF_LIFE.as_secs_f64();
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

    const LIMITS: Limits = Limits { per_kind: 2, per_kind_max: 8, total_max: 10, making_max: 3 };

    /// Small and large of a letter are a group.
    impl Shelved for char {
        type Group = char;

        fn group(&self) -> char {
            self.to_ascii_lowercase()
        }

        fn weight(&self) -> u32 {
            if *self == 'J' { 3 } else { 1 }
        }
    }

    impl Shelved for u8 {
        type Group = u8;

        fn group(&self) -> u8 {
            *self / 10
        }
    }

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
    fn what_is_expected_takes_nothing_from_what_is_wanted() {
        let mut policy = Policy::new(LIMITS);
        for now in 0..100 {
            policy.take(at(now * 250), &'p');
        }
        policy.take(at(25_000), &'q');
        assert_eq!(fill(&mut policy, at(25_000)), "qqpppppp");
        for kind in 'a'..'h' {
            policy.expect(at(25_000), &kind);
        }
        assert_eq!(fill(&mut policy, at(25_000)), "aa", "what is left");
        for now in 0..8 {
            policy.take(at(25_000 + now * 10), &'p');
        }
        assert!(!fill(&mut policy, at(25_100)).contains("-q"));
        // Long after, what is expected is as good as what was wanted once.
        for kind in 'a'..'f' {
            policy.expect(at(90_000), &kind);
        }
        assert!(fill(&mut policy, at(90_000)).contains("-q-q"));
    }

    #[test]
    fn many_kinds_of_one_group_leave_room_for_the_others() {
        let mut policy = Policy::new(LIMITS);
        policy.take(at(0), &50);
        for kind in 0..8_u8 {
            policy.take(at(1_000 + u64::from(kind)), &kind);
        }
        let targets = policy.targets(at(2_000)).into_iter().filter(|(_, target)| *target > 0);
        assert_eq!(targets.collect::<Vec<_>>(), [(7, 2), (50, 2), (6, 2), (5, 2), (4, 2)]);
    }

    #[test]
    fn a_heavy_kind_counts_for_several() {
        let mut policy = Policy::new(LIMITS);
        for now in 0..100 {
            policy.take(at(now * 250), &'J');
        }
        assert_eq!(fill(&mut policy, at(25_000)), "JJJ", "nine of ten");
        policy.take(at(25_010), &'p');
        assert_eq!(fill(&mut policy, at(25_010)), "-Jpp");
        let mut policy = Policy::new(Limits { total_max: 2, ..LIMITS });
        policy.take(at(0), &'J');
        assert_eq!(fill(&mut policy, at(0)), "", "there is no place for one");
    }

    #[test]
    fn a_slow_kind_keeps_no_other_waiting() {
        let mut policy = Policy::new(Limits { making_max: 2, ..LIMITS });
        for kind in ['p', 'q', 'r'] {
            policy.take(at(0), &kind);
        }
        assert_eq!(policy.next(at(0)), Next::Make('p'));
        assert_eq!(policy.next(at(0)), Next::Make('q'));
        assert!(matches!(policy.next(at(0)), Next::Wait(_)), "a few at once");
        policy.made(&'q');
        assert_eq!(policy.next(at(0)), Next::Make('q'), "while the first is being made still");
        policy.made(&'q');
        assert_eq!(policy.next(at(0)), Next::Make('r'));
        policy.made(&'r');
        assert_eq!(policy.next(at(0)), Next::Make('r'));
        policy.made(&'r');
        assert!(matches!(policy.next(at(0)), Next::Wait(_)), "one of a kind at a time");
        policy.made(&'p');
        assert_eq!(policy.next(at(0)), Next::Make('p'));
    }

    #[test]
    fn kinds_that_are_known_no_more_are_handed_back() {
        let mut policy = Policy::new(LIMITS);
        policy.expect(at(0), &'p');
        policy.forget(&'p');
        assert_eq!((policy.next(at(0)), policy.take_gone()), (Next::Wait(None), vec!['p']));
        policy.expect(at(0), &'q');
        policy.clear();
        assert_eq!((policy.take_gone(), policy.take_gone()), (vec!['q'], vec![]));
        policy.expect(at(0), &'r');
        assert_eq!((policy.next(at(0)), policy.take_gone()), (Next::Wait(None), vec![]), "nor anything after");
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
                // Two of one group.
                let kind = kind * 7;
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
                        Next::Make(kind) => {
                            making.push(kind);
                            prop_assert!(making.len() <= LIMITS.making_max as usize);
                        }
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
