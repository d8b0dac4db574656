//! What a pattern, and an event of somebody else's making, may ask of us.

/// Longest pattern. The APIs that take patterns refuse shorter ones than this in their own words before.
pub const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Objects and arrays of a pattern within each other: the parser recurses so deep.
pub const PATTERN_DEPTH_MAX: usize = 128;
/// AWS's: ways to take one branch of each `$or`.
pub const BRANCHES_MAX: usize = 1_000;
/// Fields of all branches together, so what a pattern holds and how much it looks at.
pub const FIELDS_MAX: usize = 50_000;
/// How many beginnings of a field's wildcards one text may fit at once. AWS gives no number: of what is recorded it took
/// 7, and refused 10.
pub const COMPLEXITY_MAX: usize = 9;
/// Sets of such beginnings that are looked at to find the largest.
pub const COMPLEXITY_STEPS_MAX: usize = 20_000;

/// Objects and arrays of an event within each other; what lies deeper is not there for a pattern.
pub const EVENT_DEPTH_MAX: usize = 128;
