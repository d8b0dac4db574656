//! What a query, and an event of somebody else's making, may ask of us.

/// AWS's, of `queryString`.
pub const QUERY_CHARS_MAX: usize = 10_000;
/// AWS's, of `limit`, and of the API's own.
pub const LIMIT_MAX: usize = 100_000;
/// AWS's: `stats` in a query.
pub const STATS_MAX: usize = 2;
/// AWS's: fields found in an event.
pub const FIELDS_MAX: usize = 200;

/// Commands of a query; each may begin a pass over the rows so far.
pub const COMMANDS_MAX: usize = 100;
/// Parentheses, calls and signs within each other: the parser and what evaluates recurse so deep.
pub const NESTING_MAX: usize = 32;
/// Parts of all expressions together, so what a query does for an event.
pub const NODES_MAX: usize = 2_000;
/// Regular expressions of a query, and what one of them may hold, compiled.
pub const PATTERNS_MAX: usize = 50;
pub const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Objects and arrays of an event within each other; what lies deeper ends the discovery.
pub const JSON_DEPTH_MAX: usize = 64;
/// Rows that `unnest` and `parse … multi` make of an event, all together.
pub const ROWS_PER_EVENT_MAX: usize = 1_000;
/// A text that a function makes; a longer one is no value, else a few `concat` fill the memory.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Elements that `split` makes.
pub const ELEMENTS_MAX: usize = 1_000;

/// Distinct values are counted one by one up to here, and from there on by a sketch of so many hashes, within 3 %.
pub const DISTINCT_MAX: usize = 1_024;
/// Numbers are kept one by one up to here, and from there on in a sketch, for percentiles within 1 %.
pub const EXACT_MAX: usize = 256;
/// Values that `values` shows.
pub const VALUES_MAX: usize = 100;
