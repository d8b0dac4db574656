//! A cut that counts: the groups of a `stats`, by their keys.

use std::cmp::Ordering;

use super::expression::{Expr, Origin, Row};
use super::front::Front;
use super::stats::{Aggregate, Moment, Tally};
use super::value::{Key, Value};
use super::{Limits, Window};

#[derive(Debug, Clone)]
pub struct Grouping {
    pub keys: Vec<Expr>,
    pub aggregates: Vec<Aggregate>,
    /// What is shown, made of the results of the aggregates.
    pub outputs: Vec<Expr>,
    /// The first key is a period, and the newest one comes first.
    pub is_newest_first: bool,
}

#[derive(Debug)]
struct Group {
    keys: Vec<Value<'static>>,
    tallies: Vec<Tally>,
}

#[derive(Debug)]
pub struct Groups {
    front: Front<Vec<u8>, Group>,
    /// The key of the row at hand, kept for its memory.
    key: Vec<u8>,
    /// A group was let go, or not taken.
    is_short: bool,
}

impl Groups {
    pub fn new(limits: &Limits) -> Groups {
        Groups { front: Front::new(limits.groups_max, limits.bytes_max), key: Vec::new(), is_short: false }
    }

    /// Empty ones for a part of the rows, which these will join.
    pub fn part(&self) -> Groups {
        Groups { front: self.front.part(), key: Vec::new(), is_short: false }
    }

    pub fn add<'a>(&mut self, grouping: &'a Grouping, row: &Row<'_, 'a>, moment: Moment) {
        let keys: Vec<Value<'_>> = grouping.keys.iter().map(|key| key.value(row)).collect();
        self.key.clear();
        keys.iter().for_each(|key| key.encode(&mut self.key));
        let mut bytes = 0_usize;
        if let Some(group) = self.front.get_mut(self.key.as_slice()) {
            bytes = group.add(grouping, row, moment);
        } else if self.front.admits(&self.key) {
            let tallies = grouping.aggregates.iter().map(|aggregate| Tally::new(aggregate.kind)).collect();
            let mut group = Group { keys: keys.into_iter().map(Value::into_owned).collect(), tallies };
            group.add(grouping, row, moment);
            let bytes = group.bytes().saturating_add(self.key.len());
            self.front.put(self.key.clone(), group, bytes);
        } else {
            self.is_short = true;
        }
        self.front.grow(self.key.as_slice(), bytes);
        self.spill();
    }

    fn spill(&mut self) {
        while self.front.spill().is_some() {
            self.is_short = true;
        }
    }

    pub fn join(&mut self, grouping: &Grouping, other: Groups) {
        self.is_short |= other.is_short;
        for (key, group, bytes) in self.front.absorb(other.front) {
            match self.front.get_mut(&key) {
                None => self.front.put(key, group, bytes),
                Some(own) => {
                    let pairs = own.tallies.iter_mut().zip(group.tallies);
                    for ((tally, others), aggregate) in pairs.zip(&grouping.aggregates) {
                        tally.join(aggregate.kind, others);
                    }
                    self.front.grow(&key, bytes);
                }
            }
            self.spill();
        }
        self.spill();
    }

    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Rows of keys and outputs, in the order of the keys.
    pub fn finish(self, grouping: &Grouping, window: &Window) -> Vec<Vec<Value<'static>>> {
        let mut rows: Vec<(Vec<Key>, Vec<Value<'static>>)> = Vec::with_capacity(self.front.len());
        for group in self.front.into_values() {
            let results = group.tallies.iter().zip(&grouping.aggregates);
            let results: Vec<Value<'static>> = results.map(|(tally, aggregate)| tally.result(aggregate.kind)).collect();
            let origin = Origin::Kept(&results);
            let row = Row { origin: &origin, window, made: Vec::new() };
            let outputs = grouping.outputs.iter().map(|output| output.value(&row).into_owned());
            let keys = group.keys.iter().map(Key::of).collect();
            rows.push((keys, group.keys.iter().cloned().chain(outputs).collect()));
        }
        rows.sort_by(|(left, _), (right, _)| {
            let order = left.cmp(right);
            if grouping.is_newest_first { Ordering::reverse(order) } else { order }
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

impl Group {
    /// Says how much more it holds than before.
    fn add<'a>(&mut self, grouping: &'a Grouping, row: &Row<'_, 'a>, moment: Moment) -> usize {
        let mut more = 0_usize;
        for (tally, aggregate) in self.tallies.iter_mut().zip(&grouping.aggregates) {
            let value = aggregate.of.as_ref().map_or(Value::truth(true), |expr| expr.value(row));
            more = more.saturating_add(tally.add(aggregate.kind, value, moment));
        }
        more
    }

    fn bytes(&self) -> usize {
        let keys = self.keys.iter().map(Value::bytes).fold(0, usize::saturating_add);
        self.tallies.iter().map(Tally::bytes).fold(keys, usize::saturating_add)
    }
}
