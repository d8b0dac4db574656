//! What every match contains: the literals by which the few messages that can match are found among gigabytes.
//!
//! Invariant: a text that matches contains one of a pattern's needles, if the pattern has any. So of things that hold
//! together the best set does, and of alternatives all sets are needed, or there is none.

use memchr::memmem::Finder;

/// More would cost more than trying every message.
const NEEDLES_MAX: usize = 4;

/// A set of literals while a pattern is read; without any, nothing is known.
#[derive(Debug, Clone, Default)]
pub struct Needles {
    literals: Vec<String>,
    /// How seldom they are likely to be met: values are seldomer than names, which all messages of an application
    /// have, and long ones seldomer than short ones.
    rank: (bool, usize),
}

impl Needles {
    pub fn value(literal: &str) -> Needles {
        Needles::one(literal, true)
    }

    pub fn name(literal: &str) -> Needles {
        Needles::one(literal, false)
    }

    fn one(literal: &str, is_value: bool) -> Needles {
        if literal.is_empty() {
            return Needles::default();
        }
        Needles { literals: vec![literal.to_owned()], rank: (is_value, literal.len()) }
    }

    /// Where all of them hold.
    pub fn all(sets: impl Iterator<Item = Needles>) -> Needles {
        sets.filter(|set| !set.literals.is_empty()).max_by_key(|set| set.rank).unwrap_or_default()
    }

    /// Where one of them holds.
    pub fn any(sets: impl Iterator<Item = Needles>) -> Needles {
        sets.reduce(Needles::or).unwrap_or_default()
    }

    pub fn or(mut self, other: Needles) -> Needles {
        let count = self.literals.len().saturating_add(other.literals.len());
        if self.literals.is_empty() || other.literals.is_empty() || count > NEEDLES_MAX {
            return Needles::default();
        }
        self.literals.extend(other.literals);
        Needles { literals: self.literals, rank: self.rank.min(other.rank) }
    }

    pub fn finders(&self) -> Vec<Finder<'static>> {
        self.literals.iter().map(|literal| Finder::new(literal).into_owned()).collect()
    }
}

/// The places of a block that messages which match may be at, in their order.
///
/// The caller asks for the first place from 0 on, tries the message which that place is within, asks for the next one
/// from that message's end on, and so forth. Whatever it does not come by does not match. The block is searched once,
/// as long as it asks further and further on.
#[derive(Debug)]
pub struct Candidates<'a> {
    block: &'a [u8],
    searches: Vec<Search<'a>>,
}

#[derive(Debug)]
struct Search<'a> {
    needle: &'a Finder<'static>,
    /// The first place that was not passed yet.
    next: Option<usize>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(block: &'a [u8], needles: &'a [Finder<'static>]) -> Candidates<'a> {
        let searches = needles.iter().map(|needle| Search { needle, next: needle.find(block) }).collect();
        Candidates { block, searches }
    }

    /// The first place from `at` on. Without needles that is `at` itself, as long as there is anything behind it.
    pub fn next_from(&mut self, at: usize) -> Option<usize> {
        if self.searches.is_empty() {
            return (at < self.block.len()).then_some(at);
        }
        let block = self.block;
        self.searches.iter_mut().filter_map(|search| search.next_from(block, at)).min()
    }
}

impl Search<'_> {
    fn next_from(&mut self, block: &[u8], at: usize) -> Option<usize> {
        if self.next.is_some_and(|next| next < at) {
            let found = block.get(at..).and_then(|rest| self.needle.find(rest));
            self.next = found.map(|place| place.saturating_add(at));
        }
        self.next
    }
}
