//! CloudWatch metrics without the store: what a point holds, what is asked of it, how long it is kept, and what alarms
//! make of it.
//!
//! `services` keeps points and alarms in its tables and calls this with what it has read; no table is read here, and
//! nothing is validated that AWS refuses by name: that is the operation's.
//!
//! | module | concept |
//! |---|---|
//! | `sketch` | quantiles of a stated error in little space, mergeable |
//! | `aggregate` | what one point holds: count, sum, extremes, sketch |
//! | `statistic` | what one asks of a point: `Average`, `p99.9`, `TM(10%:90%)` |
//! | `retention` | how fine a point of some age is kept, and rolling up |
//! | `window` | the buckets that a range and a period make |
//! | `alarm` | metric alarms and composite alarms |
//! | `real`, `number` | numbers as few bytes, and as AWS prints them |
//!
//! **Invariants.** Every value here is finite. Bytes from outside are decoded without trust: the worst that they do is
//! to be refused. Merging loses nothing but the last bits of sums, so points may be merged in any order.
//!
//! Not yet: alarms on an anomaly detection band.

pub mod aggregate;
pub mod alarm;
pub mod number;
pub mod real;
pub mod retention;
pub mod sketch;
pub mod statistic;
pub mod window;
