//! The first of what comes, in some order, within a number and a size: what a log's millions of rows leave in memory.
//!
//! **Invariant:** what is held is all that came before the bar, the first of what was let go. So the order in which
//! things come changes nothing, and halves are joined without a difference.

use std::borrow::Borrow;
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Front<K, V> {
    held: BTreeMap<K, (V, usize)>,
    bar: Option<K>,
    /// What comes behind it is of no use to the one that this is to be [absorbed](Front::absorb) by.
    useful: Option<K>,
    count_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Something was let go because all together was too large.
    is_short: bool,
}

impl<K: Ord + Clone, V> Front<K, V> {
    pub fn new(count_max: usize, bytes_max: usize) -> Front<K, V> {
        Front { held: BTreeMap::new(), bar: None, useful: None, count_max, bytes: 0, bytes_max, is_short: false }
    }

    /// An empty one for a part of what comes, which this will absorb.
    pub fn part(&self) -> Front<K, V> {
        let last = self.held.last_key_value().filter(|_| self.held.len() >= self.count_max).map(|(last, _)| last);
        let useful = self.bar.as_ref().into_iter().chain(last).min().cloned();
        Front { useful, ..Front::new(self.count_max, self.bytes_max) }
    }

    /// Whether it would stay for now.
    pub fn admits(&self, key: &K) -> bool {
        let is_full = self.held.len() >= self.count_max;
        self.useful.as_ref().is_none_or(|useful| key <= useful)
            && self.bar.as_ref().is_none_or(|bar| key < bar)
            && !(is_full && self.held.last_key_value().is_none_or(|(last, _)| last < key))
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.held.get_mut(key).map(|(value, _)| value)
    }

    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some((_, bytes)) = self.held.insert(key, (value, bytes)) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (value, bytes) = self.held.remove(key)?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(value)
    }

    /// What is held under the key became larger.
    pub fn grow<Q: Ord + ?Sized>(&mut self, key: &Q, by: usize)
    where
        K: Borrow<Q>,
    {
        if by > 0
            && let Some((_, bytes)) = self.held.get_mut(key)
        {
            *bytes = bytes.saturating_add(by);
            self.bytes = self.bytes.saturating_add(by);
        }
    }

    /// Lets go one that is too much. Call it until there is none.
    pub fn spill(&mut self) -> Option<(K, V)> {
        let (last, _) = self.held.last_key_value()?;
        let is_barred = self.bar.as_ref().is_some_and(|bar| last >= bar);
        let is_large = self.bytes > self.bytes_max && self.held.len() > 1;
        if !is_barred && !is_large && self.held.len() <= self.count_max {
            return None;
        }
        if !is_barred {
            self.bar = Some(last.clone());
            self.is_short |= is_large;
        }
        let (key, (value, bytes)) = self.held.pop_last()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some((key, value))
    }

    /// Takes over where another one let go, and gives what that held. What is too much is to be spilled afterwards.
    pub fn absorb(&mut self, other: Front<K, V>) -> impl Iterator<Item = (K, V, usize)> + use<K, V> {
        self.bar = match (self.bar.take(), other.bar) {
            (Some(own), Some(others)) => Some(own.min(others)),
            (own, others) => own.or(others),
        };
        self.is_short |= other.is_short;
        other.held.into_iter().map(|(key, (value, bytes))| (key, value, bytes))
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_short(&self) -> bool {
        self.is_short
    }

    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.held.into_values().map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNT_MAX: usize = 8;
    const BYTES_MAX: usize = 100;

    fn put(front: &mut Front<u16, u16>, key: u16, bytes: usize) {
        if front.admits(&key) {
            front.put(key, key, bytes);
        }
        while front.spill().is_some() {}
    }

    fn absorb(front: &mut Front<u16, u16>, other: Front<u16, u16>) {
        for (key, _, bytes) in front.absorb(other) {
            put(front, key, bytes);
        }
        while front.spill().is_some() {}
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_beginning_of_all(
            sizes in prop::collection::btree_map(0..500_u16, 1..60_usize, 0..40),
            order in any::<u16>(),
            parts in prop::collection::vec(0..3_usize, 40),
        ) {
            let mut items: Vec<(u16, usize)> = sizes.iter().map(|(key, bytes)| (*key, *bytes)).collect();
            items.sort_by_key(|(key, _)| key.wrapping_mul(order | 1).rotate_left(7));
            let mut fronts = [(); 3].map(|()| Front::new(COUNT_MAX, BYTES_MAX));
            for (at, ((key, bytes), part)) in items.iter().zip(&parts).enumerate() {
                // What comes late knows what the first one has by then.
                if at == items.len() / 2 {
                    let late = fronts[0].part();
                    let early = std::mem::replace(&mut fronts[2], late);
                    absorb(&mut fronts[1], early);
                }
                put(&mut fronts[*part], *key, *bytes);
            }
            let [mut whole, second, third] = fronts;
            absorb(&mut whole, second);
            absorb(&mut whole, third);
            let mut total = 0;
            let mut fits = |(index, (_, bytes)): &(usize, (&u16, &usize))| {
                total += **bytes;
                *index == 0 || *index < COUNT_MAX && total <= BYTES_MAX
            };
            let expected: Vec<u16> = sizes.iter().enumerate().take_while(&mut fits).map(|(_, (key, _))| *key).collect();
            prop_assert_eq!(whole.into_values().collect::<Vec<_>>(), expected);
        }
    }
}
