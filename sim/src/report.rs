//! What a run came to, and the table of all.

use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    pub policy: String,
    /// Zero: without end.
    pub memory_gib: u64,
    pub asked: u64,
    pub warm: u64,
    pub cold: u64,
    pub throttled: u64,
    /// Of those that ran.
    pub cold_percent: f64,
    /// What callers waited for starts.
    pub cold_seconds: f64,
    pub instances_mean: f64,
    pub instances_peak: usize,
    pub memory_mean_gib: f64,
    pub memory_peak_gib: f64,
    /// Memory of instances that had nothing to do.
    pub idle_gib_hours: f64,
    /// Started ahead; asked for; ended without.
    pub expected: u64,
    pub expected_used: u64,
    pub expected_wasted: u64,
    /// Of all that was decided, and when, in hexadecimal digits.
    pub hash: String,
}

pub fn print(rows: &[Row]) {
    println!(
        "| host | policy | cold % | waited s | 429 % | instances mean/peak | GiB mean/peak | idle GiB·h | ahead used/wasted | hash |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let host = if row.memory_gib == 0 { "no end".to_owned() } else { format!("{} GiB", row.memory_gib) };
        println!(
            "| {host} | {} | {:.2} | {:.0} | {:.2} | {:.0}/{} | {:.1}/{:.1} | {:.0} | {}/{} | {} |",
            row.policy,
            row.cold_percent,
            row.cold_seconds,
            100.0 * row.throttled as f64 / row.asked.max(1) as f64,
            row.instances_mean,
            row.instances_peak,
            row.memory_mean_gib,
            row.memory_peak_gib,
            row.idle_gib_hours,
            row.expected_used,
            row.expected_wasted,
            row.hash,
        );
    }
}
