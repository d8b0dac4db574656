//! A cut that keeps rows: the first or the last so many in the order of `sort`, one for each key of `dedup`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Limits;
use super::expression::{Expr, Ref, Row};
use super::front::Front;
use super::limits::LIMIT_MAX;
use super::stats::Moment;
use super::value::{Key, Value};

/// Which rows stay, and in which order.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The strongest first.
    pub sort: Vec<Sort>,
    pub limit: Option<usize>,
    /// The last ones stay, not the first.
    pub is_tail: bool,
    /// Any of the rows will do.
    pub is_any: bool,
    pub dedup: Vec<Expr>,
}

#[derive(Debug, Clone)]
pub struct Sort {
    pub by: Expr,
    pub is_descending: bool,
}

/// The place of a row: by what is sorted, then the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rank {
    keys: Vec<(Key, bool)>,
    moment: Moment,
    is_tail: bool,
}

#[derive(Debug)]
struct Kept {
    values: Vec<Value<'static>>,
    /// What no other kept row has, if rows are told apart.
    identity: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Rows {
    front: Front<Rank, Kept>,
    /// Which row is kept of those that are alike.
    seen: BTreeMap<Vec<u8>, Rank>,
}

impl Ord for Rank {
    fn cmp(&self, other: &Rank) -> Ordering {
        let mut pairs = self.keys.iter().zip(&other.keys);
        let by_keys = pairs.find_map(|((left, is_descending), (right, _))| {
            let order = if *is_descending { right.cmp(left) } else { left.cmp(right) };
            Some(order).filter(|order| order.is_ne())
        });
        let order = by_keys.unwrap_or_else(|| other.moment.cmp(&self.moment));
        if self.is_tail { order.reverse() } else { order }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Rank) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Rank {
    fn bytes(&self) -> usize {
        self.keys.iter().map(|(key, _)| key.bytes()).fold(size_of::<Rank>(), usize::saturating_add)
    }
}

impl Rows {
    /// `rows_max` is of the answer; a cut in the midst of a query knows only its own limit.
    pub fn new(order: &Order, limits: &Limits, is_answer: bool) -> Rows {
        let most = order.limit.unwrap_or(LIMIT_MAX).min(if is_answer { limits.rows_max } else { LIMIT_MAX });
        Rows { front: Front::new(most, limits.bytes_max), seen: BTreeMap::new() }
    }

    pub fn add<'a>(&mut self, order: &'a Order, keeps: &[Ref], row: &Row<'_, 'a>, moment: Moment) {
        let key = |sort: &'a Sort| (Key::of(&sort.by.value(row)), sort.is_descending);
        let rank = Rank { keys: order.sort.iter().map(key).collect(), moment, is_tail: order.is_tail };
        if !self.front.admits(&rank) {
            return;
        }
        let identity = identity(&order.dedup, row);
        let values = keeps.iter().map(|at| row.get(*at).into_owned()).collect();
        self.put(rank, Kept { values, identity });
    }

    fn put(&mut self, rank: Rank, kept: Kept) {
        if let Some(identity) = &kept.identity {
            match self.seen.get(identity) {
                Some(before) if *before <= rank => return,
                Some(before) => {
                    self.front.remove(before);
                }
                None => {}
            }
            self.seen.insert(identity.clone(), rank.clone());
        }
        let told_apart = kept.identity.as_ref().map_or(0, |identity| identity.len().saturating_add(rank.bytes()));
        let bytes = kept.values.iter().map(Value::bytes).fold(rank.bytes(), usize::saturating_add);
        self.front.put(rank, kept, bytes.saturating_add(told_apart));
        while let Some((_, gone)) = self.front.spill() {
            if let Some(identity) = gone.identity {
                self.seen.remove(&identity);
            }
        }
    }

    /// Empty ones for a part of the rows, which these will join.
    pub fn part(&self) -> Rows {
        Rows { front: self.front.part(), seen: BTreeMap::new() }
    }

    pub fn join(&mut self, other: Rows) {
        for (rank, kept, _) in self.front.absorb(other.front) {
            self.put(rank, kept);
        }
        while let Some((_, gone)) = self.front.spill() {
            if let Some(identity) = gone.identity {
                self.seen.remove(&identity);
            }
        }
    }

    /// More rows change nothing that matters.
    pub fn is_enough(&self, order: &Order) -> bool {
        order.is_any && order.dedup.is_empty() && order.limit.is_some_and(|limit| self.front.len() >= limit)
    }

    pub fn is_short(&self) -> bool {
        self.front.is_short()
    }

    pub fn finish(self, order: &Order) -> Vec<Vec<Value<'static>>> {
        let values = self.front.into_values().map(|kept| kept.values);
        if order.is_tail { values.rev().collect() } else { values.collect() }
    }
}

/// `None` where a key is missing: such rows are all kept.
fn identity<'a>(dedup: &'a [Expr], row: &Row<'_, 'a>) -> Option<Vec<u8>> {
    let mut identity = Vec::new();
    for expr in dedup {
        let value = expr.value(row);
        value.as_text()?;
        value.encode(&mut identity);
    }
    Some(identity).filter(|_| !dedup.is_empty())
}
