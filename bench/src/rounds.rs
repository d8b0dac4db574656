//! How figures are taken: times, rounds whose median counts, and samples that the machine did not disturb.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

/// A sample during which a hypervisor took more than this share of the machine's time is dropped.
const STEAL_MAX: f64 = 0.05;
/// How often it is taken; the last one counts, whatever it is.
const TRIES: usize = 4;

/// Fewer events than these measure nothing.
const EVENTS_MIN: u64 = 10;

/// What `run` gives, and how many milliseconds it took.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
pub fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    let done = run()?;
    Ok((done, start.elapsed().as_secs_f64() * 1e3))
}

/// A sample that no hypervisor disturbed, if one can be had.
pub fn undisturbed<T>(mut sample: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        if let Some(taken) = undisturbed_once(&mut sample)? {
            return Ok(taken);
        }
    }
    sample()
}

/// A sample that cannot be taken again; none if a hypervisor disturbed it.
pub fn undisturbed_once<T>(sample: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let before = CpuTimes::read()?;
    let taken = sample()?;
    let after = CpuTimes::read()?;
    let share = (after.stolen - before.stolen) / (after.all - before.all).max(1.0);
    if share > STEAL_MAX {
        eprintln!("bench: a sample is dropped: {:.0} % of the machine's time was stolen", share * 100.0);
    }
    Ok((share <= STEAL_MAX).then_some(taken))
}

/// The middle of `values`; not a number if there are none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that `share` of the sorted `values` are not above.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// How many rounds a case takes: as many as it is made for, unless somebody only tries it out.
pub fn rounds(usual: usize) -> usize {
    let told = std::env::var("LAMP_BENCH_ROUNDS").ok().and_then(|count| count.parse().ok());
    told.map_or(usual, |count: usize| count.clamp(1, usual))
}

/// How many events or messages a case takes that is made for many: `LAMP_BENCH_EVENTS` if somebody only tries it out.
pub fn events(usual: u64) -> u64 {
    let told = std::env::var("LAMP_BENCH_EVENTS").ok().and_then(|count| count.parse().ok());
    told.map_or(usual, |count: u64| count.clamp(EVENTS_MIN.min(usual), usual))
}

/// A figure for a table; a dash where there is none.
pub fn shown(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}

/// Ticks of all processors since the machine started.
struct CpuTimes {
    all: f64,
    stolen: f64,
}

impl CpuTimes {
    fn read() -> Result<CpuTimes> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user.
        let ticks: Vec<f64> = text.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
        Ok(CpuTimes { all: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_measured_is_left_out_of_the_median() {
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0]), 2.0);
        assert_eq!(shown(median([]), 1), "-");
        assert_eq!(shown(1.25, 1), "1.2");
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| percentile(&values, share)), [1.0, 51.0, 100.0, 100.0]);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
