//! CloudWatch Logs Insights: what a query means, and its answer over events in any number.
//!
//! StartQuery parses a [`Query`] once and makes a [`Run`] of it, of which each thread that reads a part of the log has a
//! part; each event is pushed once, the parts are merged, and the run is finished. Any order will do; newest first is
//! cheapest, as rows that come too late are not made at all. [`Query::needle`] says which blocks of the log need not be
//! read. GetLogRecord and GetLogGroupFields ask [`discover::all`] for the fields of an event.
//!
//! | file | concept |
//! |---|---|
//! | `lex`, `parse` | from text to passes, and what names mean on the way |
//! | `run`, `rows`, `groups`, `front` | passes over events: which rows are kept, what is counted |
//! | `expression`, `function`, `value`, `moment` | what an expression is worth for a row |
//! | `stats`, `sketch` | aggregations |
//! | `discover`, `json` | the fields of an event |
//! | `extract` | `parse` |
//! | `needle`, `pointer` | what a matching message must have; where a record is |
//!
//! **Invariants.** What is held does not grow with the number of events: a cut keeps so many rows or groups, of so many
//! bytes. An answer does not depend on the order of the events, nor on how they were parted among runs, but for the
//! last digits of sums and where memory was short. Evaluating fails never: what has no sense is a missing value.
//!
//! Follows "CloudWatch Logs Insights language query syntax" of the user guide. Not yet, and refused: `pattern`, `diff`,
//! `anomaly`, `SOURCE`, joins and subqueries, `lookup` and the other commands of 2026, `parse` by `logfmt` and `csv`, and
//! the functions that `function` lists. `limit any` is any rows, `unmask` shows what is there, `filterIndex` is a filter.

pub mod discover;
mod expression;
mod extract;
mod front;
mod function;
mod groups;
mod json;
mod lex;
mod limits;
mod moment;
mod needle;
mod parse;
pub mod pointer;
mod rows;
mod run;
mod sketch;
mod stats;
#[cfg(test)]
mod tests;
mod value;

pub use lex::Malformed;
pub use limits::{LIMIT_MAX, QUERY_CHARS_MAX};
pub use needle::{Needle, Search};
pub use run::Run;

/// A query that was read and makes sense.
#[derive(Debug, Clone)]
pub struct Query {
    passes: Vec<run::Pass>,
    wanted: discover::Wanted,
    /// Of the answer, the names of what the last pass keeps.
    columns: Vec<String>,
    is_aggregate: bool,
    needle: Option<Needle>,
}

/// A log event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub message: &'a str,
    pub timestamp_ms: i64,
    pub ingestion_ms: i64,
    pub stream: &'a str,
    /// As `@log` has it: `account:group`.
    pub log: &'a str,
    /// Where it is, for `@ptr`. No other event of the query has the same.
    pub pointer: u128,
}

/// What a query knows beside its events: `now()`, and the range that it looks at.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub now_ms: i64,
    pub start_ms: i64,
    pub end_ms: i64,
}

/// What a run may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The API's own `limit`: rows of the answer.
    pub rows_max: usize,
    pub groups_max: usize,
    /// About what kept rows or groups hold together.
    pub bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Cells of a name and a value, in order; what has no value has no cell.
    pub rows: Vec<Vec<(String, String)>>,
    /// Events that passed the filters before the first cut.
    pub matched: u64,
    /// Memory was short: the last rows or groups are not there.
    pub is_cut: bool,
}

impl Query {
    pub fn parse(text: &str) -> Result<Query, Malformed> {
        parse::query(text)
    }

    /// What every event that passes the filters must have in its raw message, if something is known.
    pub fn needle(&self) -> Option<&Needle> {
        self.needle.as_ref()
    }

    /// Whether rows are counts, which have no pointer.
    pub fn is_aggregate(&self) -> bool {
        self.is_aggregate
    }
}
