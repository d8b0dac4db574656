//! From which of a function's lines of events the next is taken: from the one of which the fewest run, so that a full one
//! holds up no other.
//!
//! What runs cannot be stopped for the sake of others. So a line that may be a tenant's never has more than its share of
//! what may run, also while no other wants it: whoever comes finds room.

use std::collections::BTreeMap;

use base::Timestamp;

use super::shards::{COMMON, Shard};

/// What one line may have of all that runs. A tenant has four, and others have the other half.
const SHARE: usize = 8;

/// Lines, and who was served when.
#[derive(Debug, Default)]
pub struct Turns {
    lines: BTreeMap<Shard, Line>,
    turn: u64,
    running: usize,
}

#[derive(Debug, Default)]
struct Line {
    running: usize,
    /// When there may be something to take.
    due: Option<Timestamp>,
    served: u64,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Take from here, so many at most.
    Take(Shard, usize),
    /// As many run as may.
    Full,
    /// The next is due then; nobody knows of one if there is no such time.
    Wait(Option<Timestamp>),
}

impl Turns {
    /// There may be something to take from then on.
    pub fn expect(&mut self, shard: Shard, due: Timestamp) {
        let line = self.lines.entry(shard).or_default();
        line.due = Some(line.due.map_or(due, |known| known.min(due)));
    }

    /// All that is due in a line was taken; the next is due then, if there is any.
    pub fn taken(&mut self, shard: Shard, next: Option<Timestamp>) {
        self.lines.entry(shard).or_default().due = next;
        self.forget_idle(shard);
    }

    pub fn started(&mut self, shard: Shard) {
        let line = self.lines.entry(shard).or_default();
        line.running = line.running.saturating_add(1);
        self.running = self.running.saturating_add(1);
    }

    pub fn ended(&mut self, shard: Shard) {
        if let Some(line) = self.lines.get_mut(&shard) {
            line.running = line.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.forget_idle(shard);
    }

    /// How many run, of all and of one line.
    pub fn running(&self) -> usize {
        self.running
    }

    pub fn running_of(&self, shard: Shard) -> usize {
        self.lines.get(&shard).map_or(0, |line| line.running)
    }

    /// What is to be done where so many may run at once.
    pub fn next(&mut self, now: Timestamp, width: usize) -> Turn {
        let room = width.saturating_sub(self.running);
        let ready = || self.lines.iter().filter(|(_, line)| line.due.is_some_and(|due| due <= now));
        let waiting = ready().count();
        if waiting == 0 {
            return Turn::Wait(self.lines.values().filter_map(|line| line.due).min());
        }
        let room_of = |shard: Shard, line: &Line| share(shard, width).saturating_sub(line.running).min(room);
        let may = ready().filter(|(shard, line)| room_of(**shard, line) > 0);
        let Some((shard, line)) = may.min_by_key(|(_, line)| (line.running, line.served)) else { return Turn::Full };
        let most = room.checked_div(waiting).unwrap_or_default().max(1).min(room_of(*shard, line));
        let shard = *shard;
        self.turn = self.turn.saturating_add(1);
        let turn = self.turn;
        self.lines.entry(shard).or_default().served = turn;
        Turn::Take(shard, most)
    }

    fn forget_idle(&mut self, shard: Shard) {
        if self.lines.get(&shard).is_some_and(|line| line.running == 0 && line.due.is_none()) {
            self.lines.remove(&shard);
        }
    }
}

fn share(shard: Shard, width: usize) -> usize {
    if shard == COMMON { width } else { width.div_ceil(SHARE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Takes all that may run.
    fn fill(turns: &mut Turns, now: Timestamp, width: usize) -> Vec<(Shard, usize)> {
        let mut took = Vec::new();
        while let Turn::Take(shard, most) = turns.next(now, width) {
            (0..most).for_each(|_| turns.started(shard));
            took.push((shard, most));
        }
        took
    }

    #[test]
    fn a_line_alone_is_taken_from_as_much_as_may_run() {
        let mut turns = Turns::default();
        assert_eq!(turns.next(at(0), 5), Turn::Wait(None));
        turns.expect(COMMON, at(1));
        assert_eq!(turns.next(at(0), 5), Turn::Wait(Some(at(1))));
        assert_eq!(fill(&mut turns, at(1), 5), [(COMMON, 5)]);
        assert_eq!(turns.next(at(1), 5), Turn::Full);
        turns.ended(COMMON);
        assert_eq!(turns.next(at(1), 5), Turn::Take(COMMON, 1));
        turns.taken(COMMON, Some(at(9)));
        assert_eq!(turns.next(at(1), 5), Turn::Wait(Some(at(9))));
    }

    #[test]
    fn whoever_comes_beside_a_backlog_finds_room() {
        let mut turns = Turns::default();
        let noisy = [3, 17, 40, 41];
        noisy.iter().for_each(|shard| turns.expect(*shard, at(0)));
        fill(&mut turns, at(0), 100);
        assert_eq!((turns.running(), turns.next(at(0), 100)), (4 * 13, Turn::Full));
        turns.expect(5, at(0));
        assert_eq!(turns.next(at(0), 100), Turn::Take(5, 9));
        // Where little may run: what ends makes room for those first who have nothing.
        let mut turns = Turns::default();
        noisy.iter().for_each(|shard| turns.expect(*shard, at(0)));
        fill(&mut turns, at(0), 4);
        turns.expect(5, at(0));
        assert_eq!(turns.next(at(0), 4), Turn::Full);
        turns.ended(3);
        assert_eq!(turns.next(at(0), 4), Turn::Take(5, 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Sent { shard: Shard, events: usize },
        Take,
        End(usize),
        Width(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0..6_u8, 1..30_usize).prop_map(|(shard, events)| {
                Step::Sent { shard: if shard == 5 { COMMON } else { shard }, events }
            }),
            6 => Just(Step::Take),
            4 => any::<usize>().prop_map(Step::End),
            1 => (1..40_usize).prop_map(Step::Width),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// Who waits is served before any other is served twice, no more runs than may, and nothing is forgotten.
        #[test]
        fn all_lines_are_served_in_turn(steps in prop::collection::vec(step(), 1..200)) {
            let (mut turns, mut width) = (Turns::default(), 8);
            let mut lines: BTreeMap<Shard, usize> = BTreeMap::new();
            let mut running: Vec<Shard> = Vec::new();
            for step in steps {
                match step {
                    Step::Sent { shard, events } => {
                        turns.expect(shard, at(0));
                        *lines.entry(shard).or_default() += events;
                    }
                    Step::Width(wide) => width = wide,
                    Step::End(_) if running.is_empty() => {}
                    Step::End(which) => {
                        let shard = running.swap_remove(which % running.len());
                        turns.ended(shard);
                    }
                    Step::Take => {
                        let of = |shard: Shard| running.iter().filter(|other| **other == shard).count();
                        let may: Vec<Shard> =
                            lines.keys().copied().filter(|shard| of(*shard) < share(*shard, width)).collect();
                        match turns.next(at(0), width) {
                            Turn::Take(shard, most) => {
                                prop_assert!(may.contains(&shard) && most >= 1);
                                prop_assert!(running.len() + most <= width && of(shard) + most <= share(shard, width));
                                prop_assert!(may.iter().all(|other| of(*other) >= of(shard)), "another has fewer");
                                let there = lines.get_mut(&shard).unwrap();
                                let took = most.min(*there);
                                *there -= took;
                                if *there == 0 {
                                    lines.remove(&shard);
                                    turns.taken(shard, None);
                                }
                                running.extend((0..took).map(|_| shard));
                                (0..took).for_each(|_| turns.started(shard));
                            }
                            Turn::Full => prop_assert!(running.len() >= width || may.is_empty()),
                            Turn::Wait(next) => prop_assert!(next.is_none() && lines.is_empty()),
                        }
                    }
                }
                prop_assert_eq!(turns.running(), running.len());
            }
        }
    }
}
