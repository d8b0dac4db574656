//! Event patterns: which events EventBridge's rules, pipes, and Lambda's event source mappings let pass.
//!
//! ```text
//! {"detail": {"state": ["running", {"prefix": "stop"}], "cpu": [{"numeric": [">", 90]}]}}
//! ```
//!
//! A pattern is parsed once and tried on every event. All its fields have to hold, each by one of its alternatives;
//! `$or` lists objects of which one has to hold. Of many patterns, those that an event holds are looked up ([`Set`]).
//!
//! | file | concept |
//! |---|---|
//! | `token` | the pattern's JSON, and places in it for errors |
//! | `branch` | objects and `$or`: the fields that have to hold together |
//! | `expression` | `{"anything-but": …}` and the other comparisons, as they are written |
//! | `comparison`, `number`, `address`, `wildcard` | what a value is compared with |
//! | `content` | what a record carries as text |
//! | `event` | finding a field's values in an event |
//! | `set`, `sign` | many patterns, and by what they are looked up |
//!
//! **Invariants.** Whoever wrote them, a pattern takes bounded space, and trying it on an event takes time that is linear
//! in the event for each field, wildcards included. No event and no pattern is recursed into beyond `limits`.
//!
//! Follows "Event patterns" of the EventBridge user guide and "Event filtering" of Lambda's, and where those are silent
//! the engine that AWS published, Event Ruler; what AWS was seen to answer is in the tests. AWS gives no number for how
//! complex wildcards may be (`limits`), and takes text behind a pattern's end, which is refused here.

mod address;
mod branch;
mod comparison;
mod content;
mod event;
mod expression;
mod limits;
#[cfg(test)]
mod model;
mod number;
#[cfg(test)]
mod property;
mod set;
mod sign;
#[cfg(test)]
mod tests;
mod token;
mod wildcard;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use branch::Branch;
pub use content::content;
pub use set::Set;
use token::Tokens;

/// A pattern, ready to be tried.
#[derive(Debug, Clone)]
pub struct Pattern {
    branches: Vec<Branch>,
}

/// Why a pattern is none. It is displayed as EventBridge gives the reason, behind `Event pattern is not valid. Reason: `;
/// Lambda says `Invalid filter pattern definition.` of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, Malformed> {
        if text.len() > limits::PATTERN_BYTES_MAX {
            return Err(Malformed::new("Rule is too complex".to_owned()));
        }
        Ok(Pattern { branches: branch::read(&mut Tokens::new(text))? })
    }

    /// Whether the event, which has to be an object, holds the pattern.
    pub fn matches(&self, event: &Value) -> bool {
        self.branches.iter().any(|branch| event::holds(event, branch))
    }

    /// Whether it asks for what is in a field of events.
    pub fn goes_into(&self, field: &str) -> bool {
        let is_in = |path: &str| path.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
        self.branches.iter().flat_map(BTreeMap::keys).any(|path| is_in(path))
    }
}

impl Malformed {
    fn new(reason: String) -> Malformed {
        Malformed(reason)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Malformed {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
