//! Who starts next: places for instances that are being started, handed out in turns.
//!
//! Each share (what has turns of its own: a function) has a line. The next place goes to a share
//! that holds none, else to the one whose last turn is longest ago, and in it to who came first. The last free place is
//! for a share that holds none, so that no share alone takes all of them. Those that nobody waits for are shares of their
//! own, and hold a few of the places together.
//!
//! Places that are held for long keep those waiting that hold some, since more at once would only make all slow, but not a
//! share that holds none: for each of them such a share gets one more, up to as many again.
//!
//! Shares are of groups (accounts), which take turns first: the turns of a group's shares lie as far behind each other as if
//! it was served alone among all groups, so that many shares gain it nothing.
//!
//! A share's first waits no longer than one turn of the others of its group, nor a group's than one of each other group. A step
//! costs the logarithm of how much waits.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use super::table::{Id, Names, Table};

/// So many places, how many of them those hold together that nobody waits for, and how many are held for long before only
/// shares that hold none get another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    pub most: usize,
    pub ahead_max: usize,
    pub long_max: usize,
}

/// What has turns of its own.
pub trait Turns: Hash + Eq + Clone {
    type Group: Ord + Copy;

    fn group(&self) -> Self::Group;
}

pub struct Line<K: Turns, T> {
    places: Places,
    /// Those with somebody in line, or with a place.
    shares: Table<Share<K, T>>,
    names: Names<(K, bool), Share<K, T>>,
    asked: Lane<K, T>,
    ahead: Lane<K, T>,
    /// Places that are held for long.
    long: usize,
    /// Counts whoever comes.
    numbers: u64,
    /// The last turn that anybody had, and the last that a group's shares have had or will have. Groups that have shares.
    turn: u64,
    groups: BTreeMap<K::Group, Group>,
}

#[derive(Default)]
struct Group {
    shares: usize,
    turn: u64,
}

/// Shares with somebody in line, the next one first, and the places that are taken.
struct Lane<K, T> {
    next: BTreeSet<Standing<K, T>>,
    taken: usize,
}

/// Whether it holds a place, and when it had its last turn.
type Standing<K, T> = (bool, u64, Id<Share<K, T>>);

pub struct Share<K, T> {
    name: (K, bool),
    waiting: BTreeMap<u64, T>,
    held: usize,
    turn: u64,
}

/// Somebody in line, and the place that it gets.
pub struct Ticket<K, T> {
    share: Id<Share<K, T>>,
    number: u64,
    is_long: bool,
}

impl<K: Turns, T: Copy> Line<K, T> {
    pub fn new(places: Places) -> Line<K, T> {
        let lane = || Lane { next: BTreeSet::new(), taken: 0 };
        Line {
            places,
            shares: Table::default(),
            names: Names::default(),
            asked: lane(),
            ahead: lane(),
            long: 0,
            numbers: 0,
            turn: 0,
            groups: BTreeMap::new(),
        }
    }

    /// Puts somebody in line; `is_ahead` if nobody waits for it.
    pub fn enter(&mut self, key: K, is_ahead: bool, who: T) -> Ticket<K, T> {
        self.numbers = self.numbers.saturating_add(1);
        let number = self.numbers;
        let name = (key, is_ahead);
        let share = match self.names.get(&name) {
            Some(share) => share,
            None => {
                let turn = self.next_turn(name.0.group());
                let group = self.groups.entry(name.0.group()).or_default();
                group.shares = group.shares.saturating_add(1);
                let row = Share { name: name.clone(), waiting: BTreeMap::new(), held: 0, turn };
                let share = self.shares.add(row);
                self.names.insert(name, share);
                share
            }
        };
        self.change(share, |row| {
            row.waiting.insert(number, who);
        });
        Ticket { share, number, is_long: false }
    }

    /// It has no place, and needs none any more.
    pub fn leave(&mut self, ticket: Ticket<K, T>) {
        self.change(ticket.share, |row| {
            row.waiting.remove(&ticket.number);
        });
    }

    /// Who may have a place now, the first first: so many at most, one of each share.
    pub fn candidates(&self, most: usize) -> Vec<T> {
        let waiting =
            self.next_shares(most).into_iter().filter_map(|share| self.shares[share].waiting.first_key_value());
        waiting.map(|(_, who)| *who).collect()
    }

    /// Gives one of them its place.
    pub fn take(&mut self, ticket: Ticket<K, T>) {
        let row = &self.shares[ticket.share];
        let group = row.name.0.group();
        self.turn = self.turn.max(row.turn);
        let turn = self.next_turn(group);
        self.change(ticket.share, |row| {
            row.held = row.held.saturating_add(1);
            row.turn = turn;
            row.waiting.remove(&ticket.number);
        });
    }

    /// Lets others come first, up to one turn of theirs: one of the candidates cannot use its place yet.
    pub fn postpone(&mut self, ticket: Ticket<K, T>) {
        let turn = self.next_turn(self.shares[ticket.share].name.0.group());
        self.change(ticket.share, |row| row.turn = turn);
    }

    fn next_shares(&self, most: usize) -> Vec<Id<Share<K, T>>> {
        // Where there is no place for who holds none, there is none for anybody.
        if !self.is_free(false) {
            return Vec::new();
        }
        let ahead = if self.ahead.taken < self.places.ahead_max { most } else { 0 };
        let ahead = self.ahead.next.iter().take(ahead);
        let mut next: Vec<_> = self.asked.next.iter().take(most).chain(ahead).collect();
        next.sort_unstable();
        let next = next.into_iter().filter(|(holds, ..)| self.is_free(*holds)).take(most);
        next.map(|(.., share)| *share).collect()
    }

    /// Whether there is a place for a share that holds some, or none.
    fn is_free(&self, holds: bool) -> bool {
        let Places { most, long_max, .. } = self.places;
        let taken = self.asked.taken.saturating_add(self.ahead.taken);
        if holds {
            self.long < long_max && taken.saturating_add(1) < most
        } else {
            taken < most.saturating_add(self.long.min(most))
        }
    }

    /// It has its place for long.
    pub fn prolong(&mut self, ticket: Ticket<K, T>) -> Ticket<K, T> {
        if !ticket.is_long {
            self.long = self.long.saturating_add(1);
        }
        Ticket { is_long: true, ..ticket }
    }

    /// It needs its place no more.
    pub fn give_back(&mut self, ticket: Ticket<K, T>) {
        if ticket.is_long {
            self.long = self.long.saturating_sub(1);
        }
        self.change(ticket.share, |row| row.held = row.held.saturating_sub(1));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let is_empty = |lane: &Lane<K, T>| lane.next.is_empty() && lane.taken == 0;
        self.shares.len() == 0
            && self.groups.is_empty()
            && self.names.len() == 0
            && self.long == 0
            && is_empty(&self.asked)
            && is_empty(&self.ahead)
    }

    /// Behind all turns of its own group, and not before anybody's that is over.
    fn next_turn(&mut self, group: K::Group) -> u64 {
        let group = self.groups.entry(group).or_default();
        group.turn = group.turn.max(self.turn).saturating_add(1);
        group.turn
    }

    /// Changes a share, and what follows from it. One that is nothing any more goes.
    fn change<R>(&mut self, share: Id<Share<K, T>>, change: impl FnOnce(&mut Share<K, T>) -> R) -> R {
        let row = &mut self.shares[share];
        let lane = if row.name.1 { &mut self.ahead } else { &mut self.asked };
        lane.next.remove(&row.standing(share));
        lane.taken = lane.taken.saturating_sub(row.held);
        let result = change(row);
        lane.taken = lane.taken.saturating_add(row.held);
        if !row.waiting.is_empty() {
            lane.next.insert(row.standing(share));
        } else if row.held == 0
            && let Some(row) = self.shares.remove(share)
        {
            self.names.remove(&row.name);
            let group = row.name.0.group();
            if let Some(left) = self.groups.get_mut(&group) {
                left.shares = left.shares.saturating_sub(1);
                if left.shares == 0 {
                    self.groups.remove(&group);
                }
            }
        }
        result
    }
}

impl<K, T> Share<K, T> {
    fn standing(&self, share: Id<Share<K, T>>) -> Standing<K, T> {
        (self.held > 0, self.turn, share)
    }
}

impl<K, T> Ticket<K, T> {
    pub fn is_long(&self) -> bool {
        self.is_long
    }
}

// By hand, because a derive would ask the same of what it is for.
impl<K, T> Clone for Ticket<K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, T> Copy for Ticket<K, T> {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const PLACES: Places = Places { most: 4, ahead_max: 2, long_max: 1 };

    impl Turns for char {
        /// Capitals are another's.
        type Group = bool;

        fn group(&self) -> bool {
            self.is_uppercase()
        }
    }

    impl Turns for u8 {
        type Group = ();

        fn group(&self) {}
    }

    impl<K: Turns, T: Copy> Line<K, T> {
        /// Hands out a place, if there is one for anybody.
        fn next(&mut self) -> Option<T> {
            let share = *self.next_shares(1).first()?;
            let (number, who) = self.shares[share].waiting.first_key_value().map(|(number, who)| (*number, *who))?;
            assert!(self.candidates(1).len() == 1);
            self.take(Ticket { share, number, is_long: false });
            Some(who)
        }
    }

    /// Who gets a place now, in order. Everybody is named by a share and a number.
    fn hand_out(line: &mut Line<char, (char, u32)>) -> Vec<(char, u32)> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn others_have_their_turn_whoever_came_first() {
        let mut line = Line::new(PLACES);
        let floods: Vec<_> = (0..100).map(|number| line.enter('a', false, ('a', number))).collect();
        assert_eq!(hand_out(&mut line), [('a', 0), ('a', 1), ('a', 2)], "the last place is for somebody else");
        let first = line.enter('b', false, ('b', 0));
        assert_eq!(hand_out(&mut line), [('b', 0)], "at once");
        let _c: Vec<_> = (0..2).map(|number| line.enter('c', false, ('c', number))).collect();
        assert_eq!(hand_out(&mut line), []);
        line.give_back(floods[0]);
        assert_eq!(hand_out(&mut line), [('c', 0)], "who has none comes before who came first");
        line.give_back(floods[1]);
        line.give_back(first);
        assert_eq!(hand_out(&mut line), [('a', 3)], "then whose turn is longest ago");
        line.leave(floods[4]);
        line.give_back(floods[3]);
        assert_eq!(hand_out(&mut line), [('c', 1)]);
        line.give_back(floods[2]);
        assert_eq!(hand_out(&mut line), [('a', 5)]);
    }

    #[test]
    fn many_shares_gain_a_group_nothing() {
        let mut line = Line::new(Places { most: 2, ahead_max: 1, long_max: 1 });
        let enter = |line: &mut Line<_, _>, keys: &str| -> BTreeMap<_, _> {
            keys.chars().map(|key| (key, line.enter(key, false, (key, 0)))).collect()
        };
        let mut tickets = enter(&mut line, "abcdefghijklmnopqrstuvwxyz");
        assert_eq!(hand_out(&mut line), [('a', 0), ('b', 0)]);
        tickets.extend(enter(&mut line, "ABC"));
        let mut served = "a".to_owned();
        while served.len() < 8 {
            line.give_back(tickets[&served.chars().next_back().unwrap()]);
            served.extend(hand_out(&mut line).iter().map(|(key, _)| key));
        }
        assert_eq!(served, "acAdBeCf", "each in turn");
    }

    #[test]
    fn who_cannot_use_a_place_lets_others_pass() {
        let mut line = Line::new(PLACES);
        let tickets: Vec<_> = "abcdef".chars().map(|key| line.enter(key, false, key)).collect();
        line.enter('g', true, 'g');
        assert_eq!(line.candidates(3), ['a', 'b', 'c']);
        line.postpone(tickets[0]);
        line.postpone(tickets[1]);
        assert_eq!(line.candidates(9), ['c', 'd', 'e', 'f', 'g', 'a', 'b']);
        for at in [3, 0, 2, 4] {
            line.take(tickets[at]);
        }
        assert_eq!(line.candidates(9), [], "all places are taken");
        line.give_back(tickets[3]);
        assert_eq!(line.candidates(9), ['f', 'g', 'b']);
    }

    #[test]
    fn who_takes_long_keeps_those_waiting_that_hold_some() {
        let mut line = Line::new(PLACES);
        let flood: Vec<_> = (0..10).map(|number| line.enter('a', false, ('a', number))).collect();
        assert_eq!(hand_out(&mut line), [('a', 0), ('a', 1), ('a', 2)]);
        let long: Vec<_> = flood[..3].iter().map(|ticket| line.prolong(*ticket)).collect();
        line.give_back(long[0]);
        line.give_back(long[1]);
        assert_eq!(hand_out(&mut line), [], "one still takes long");
        let _others: Vec<_> = "bcdefgh".chars().map(|key| line.enter(key, false, (key, 0))).collect();
        assert_eq!(hand_out(&mut line), [('b', 0), ('c', 0), ('d', 0), ('e', 0)], "one more for the long one");
        let again = line.prolong(long[2]);
        line.give_back(again);
        assert_eq!(hand_out(&mut line), []);
    }

    #[test]
    fn those_that_nobody_waits_for_hold_a_few() {
        let mut line = Line::new(PLACES);
        let ahead: Vec<_> = (0..10).map(|number| line.enter('a', true, ('a', number))).collect();
        let _other = line.enter('b', true, ('b', 0));
        assert_eq!(hand_out(&mut line), [('a', 0), ('b', 0)]);
        let asked = line.enter('a', false, ('a', 99));
        assert_eq!(hand_out(&mut line), [('a', 99)], "it is asked for as well, and that is another share");
        line.give_back(ahead[0]);
        line.give_back(asked);
        assert_eq!(hand_out(&mut line), [('a', 1)]);
    }

    /// Whoever is in line: its number, its share, and what it was given.
    type Waiting = (u32, (u8, bool), Ticket<u8, u32>);

    #[derive(Debug, Clone)]
    enum Step {
        Enter(u8, bool),
        Leave(prop::sample::Index),
        GiveBack(prop::sample::Index),
        Prolong(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u8, prop::bool::weighted(0.3)).prop_map(|(key, is_ahead)| Step::Enter(key, is_ahead)),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            3 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
            1 => any::<prop::sample::Index>().prop_map(Step::Prolong),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Places are never too many nor idle without need, a share is served in its own order, and a share that comes
        /// waits for one turn of the others at most.
        #[test]
        fn turns_are_fair_in_any_order(
            most in 1..5_usize, ahead_max in 1..3_usize, long_max in 1..4_usize,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut line = Line::new(Places { most, ahead_max, long_max });
            let mut waiting: Vec<Waiting> = Vec::new();
            let mut holding: Vec<((u8, bool), Ticket<u8, u32>)> = Vec::new();
            // Whom each share in line has seen get a place since it was first in line for its next one.
            let mut seen: BTreeMap<(u8, bool), VecDeque<(u8, bool)>> = BTreeMap::new();
            for (number, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Enter(key, is_ahead) => {
                        waiting.push((number, (key, is_ahead), line.enter(key, is_ahead, number)));
                        seen.entry((key, is_ahead)).or_default();
                    }
                    Step::Leave(pick) if !waiting.is_empty() => {
                        let (_, share, ticket) = waiting.remove(pick.index(waiting.len()));
                        line.leave(ticket);
                        if waiting.iter().all(|(_, other, _)| *other != share) {
                            seen.remove(&share);
                        }
                    }
                    Step::GiveBack(pick) if !holding.is_empty() => {
                        line.give_back(holding.swap_remove(pick.index(holding.len())).1);
                    }
                    Step::Prolong(pick) if !holding.is_empty() => {
                        let at = pick.index(holding.len());
                        let (_, ticket) = &mut holding[at];
                        *ticket = line.prolong(*ticket);
                    }
                    Step::Leave(_) | Step::GiveBack(_) | Step::Prolong(_) => {}
                }
                let long = holding.iter().filter(|(_, ticket)| ticket.is_long).count();
                let extended = most + long.min(most);
                while let Some(got) = line.next() {
                    let at = waiting.iter().position(|(number, _, _)| *number == got).unwrap();
                    let (_, share, ticket) = waiting.remove(at);
                    prop_assert!(waiting.iter().all(|(number, other, _)| *other != share || *number > got));
                    let held = |share: (u8, bool)| holding.iter().filter(|(other, _)| *other == share).count();
                    prop_assert!(holding.len() < extended);
                    prop_assert!(held(share) == 0 || (holding.len() + 1 < most && long < long_max));
                    let ahead = holding.iter().filter(|((_, is_ahead), _)| *is_ahead).count();
                    prop_assert!(!share.1 || ahead < ahead_max);
                    seen.remove(&share);
                    for (other, turns) in &mut seen {
                        // Who holds a place waits for those that hold none; those ahead for each other.
                        if held(*other) == 0 && (!other.1 || ahead < ahead_max) {
                            prop_assert!(!turns.contains(&share), "{share:?} twice while {other:?} waits");
                            turns.push_back(share);
                        }
                    }
                    holding.push((share, ticket));
                    if waiting.iter().any(|(_, other, _)| *other == share) {
                        seen.insert(share, VecDeque::new());
                    }
                }
                let ahead = holding.iter().filter(|((_, is_ahead), _)| *is_ahead).count();
                let is_new = |share: &(u8, bool)| holding.iter().all(|(other, _)| other != share);
                let may = waiting.iter().filter(|(_, share, _)| !share.1 || ahead < ahead_max);
                let (mut new, mut old) = (0, 0);
                may.for_each(|(_, share, _)| *if is_new(share) { &mut new } else { &mut old } += 1);
                prop_assert!(new == 0 || holding.len() >= extended);
                prop_assert!(old == 0 || holding.len() + 1 >= most || long >= long_max);
            }
            waiting.into_iter().for_each(|(_, _, ticket)| line.leave(ticket));
            holding.into_iter().for_each(|(_, ticket)| line.give_back(ticket));
            prop_assert!(line.is_empty());
        }
    }
}
