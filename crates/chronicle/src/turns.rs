//! Turns: whose work comes next, where many share what there is little of.
//!
//! Who waits with work gets one piece done, and stands at the end then. So somebody with very much waits as long as everybody
//! else, and nobody waits for all that another one has.
//!
//! Events are [`wait`](Turns::wait) and [`done`](Turns::done); [`take`](Turns::take) pieces after each of them
//! until there is none. **Invariant:** no more is at work than may be, of all together and of each; what may be at work
//! is, if anybody has it.

use std::collections::{BTreeMap, VecDeque};

pub struct Turns<K, W> {
    /// Who waits, the one whose turn it is first, with what there is to do, of which there is something.
    waiting: VecDeque<(K, VecDeque<W>)>,
    at_work: BTreeMap<K, usize>,
    all_max: usize,
    each_max: usize,
}

impl<K: Clone + Ord, W> Turns<K, W> {
    /// So many pieces may be at work at once: of all together, and of each.
    pub fn new(all_max: usize, each_max: usize) -> Turns<K, W> {
        Turns { waiting: VecDeque::new(), at_work: BTreeMap::new(), all_max, each_max }
    }

    /// Somebody has work.
    pub fn wait(&mut self, who: K, work: W) {
        match self.waiting.iter_mut().find(|(other, _)| *other == who) {
            Some((_, works)) => works.push_back(work),
            None => self.waiting.push_back((who, VecDeque::from([work]))),
        }
    }

    /// What is to be done now, and whose it is. It is at work until it is [`done`](Turns::done).
    pub fn take(&mut self) -> Option<(K, W)> {
        if self.at_work.values().sum::<usize>() >= self.all_max {
            return None;
        }
        let may = |(who, _): &(K, VecDeque<W>)| self.at_work.get(who).is_none_or(|count| *count < self.each_max);
        let (who, mut works) = self.waiting.remove(self.waiting.iter().position(may)?)?;
        let work = works.pop_front()?;
        if !works.is_empty() {
            self.waiting.push_back((who.clone(), works));
        }
        let count = self.at_work.entry(who.clone()).or_default();
        *count = count.saturating_add(1);
        Some((who, work))
    }

    /// A piece of somebody's is done.
    pub fn done(&mut self, who: &K) {
        if let Some(count) = self.at_work.get_mut(who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.at_work.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that may be done now.
    fn taken(turns: &mut Turns<char, u8>) -> String {
        std::iter::from_fn(|| turns.take()).map(|(who, work)| format!("{who}{work} ")).collect()
    }

    #[test]
    fn who_waits_gets_one_piece_at_a_time() {
        let mut turns = Turns::new(1, 1);
        (1..=3).for_each(|work| turns.wait('a', work));
        turns.wait('b', 1);
        turns.wait('c', 1);
        let mut order = taken(&mut turns);
        for _ in 0..5 {
            let who = order.chars().nth_back(2).unwrap();
            turns.done(&who);
            order += &taken(&mut turns);
        }
        assert_eq!(order, "a1 b1 c1 a2 a3 ");
    }

    #[test]
    fn one_alone_leaves_room_for_others() {
        let mut turns = Turns::new(3, 2);
        (1..=4).for_each(|work| turns.wait('a', work));
        assert_eq!(taken(&mut turns), "a1 a2 ");
        (1..=2).for_each(|work| turns.wait('b', work));
        assert_eq!(taken(&mut turns), "b1 ");
        turns.done(&'b');
        assert_eq!(taken(&mut turns), "b2 ", "a has as much as it may");
        turns.done(&'a');
        assert_eq!(taken(&mut turns), "a3 ");
    }

    proptest! {
        #[test]
        fn everything_is_done_once_in_order_and_never_too_much_at_once(
            steps in prop::collection::vec(prop::option::of(0..4_u8), 1..80),
            all_max in 1..4_usize,
            each_max in 1..4_usize,
        ) {
            let mut turns = Turns::new(all_max, each_max);
            let (mut at_work, mut waiting): (Vec<u8>, Vec<Vec<usize>>) = (Vec::new(), vec![Vec::new(); 4]);
            let drain = std::iter::repeat_n(&None, steps.len());
            for (number, step) in steps.iter().chain(drain).enumerate() {
                match step {
                    Some(who) => {
                        turns.wait(*who, number);
                        waiting[usize::from(*who)].push(number);
                    }
                    None if at_work.is_empty() => {}
                    None => turns.done(&at_work.remove(number % at_work.len())),
                }
                while let Some((who, work)) = turns.take() {
                    prop_assert_eq!(waiting[usize::from(who)].remove(0), work);
                    at_work.push(who);
                }
                let of = |who: u8| at_work.iter().filter(|other| **other == who).count();
                prop_assert!(at_work.len() <= all_max && (0..4).all(|who| of(who) <= each_max));
                let is_idle = (0..4).any(|who| !waiting[usize::from(who)].is_empty() && of(who) < each_max);
                prop_assert!(!is_idle || at_work.len() == all_max);
            }
            prop_assert!(waiting.iter().all(Vec::is_empty));
        }

        /// Nobody is passed twice by another one.
        #[test]
        fn nobody_waits_for_two_pieces_of_another(counts in prop::collection::vec(1..9_usize, 2..6)) {
            let mut turns = Turns::new(1, 1);
            for (who, count) in counts.iter().enumerate() {
                (0..*count).for_each(|work| turns.wait(who, work));
            }
            let mut done = vec![0_usize; counts.len()];
            while let Some((who, _)) = turns.take() {
                turns.done(&who);
                done[who] += 1;
                let mut behind = done.iter().zip(&counts).filter(|(done, count)| done < count);
                prop_assert!(behind.all(|(others, _)| others + 1 >= done[who]));
            }
            prop_assert_eq!(done, counts);
        }
    }
}
