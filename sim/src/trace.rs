//! The trace: what each function was asked for in each minute of a day, how long it ran, and what it held.
//!
//! The form is that of the Azure Functions 2019 data set (Azure Public Dataset, CC-BY; Shahrad et al., "Serverless in the
//! Wild", 2020), in samples whose three files name the same functions in the same order.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::chance::Chance;

pub struct Traced {
    pub minutes: Vec<u32>,
    pub millis: Percentiles,
    pub mib: Percentiles,
}

impl Traced {
    /// When within a minute this function, the `number`th of its trace, is called: spread by chance, in no order.
    pub fn arrivals(&self, number: usize, minute: usize, seed: u64) -> impl Iterator<Item = Duration> {
        let mut chance = Chance::new(seed, (number as u64) << 20 | minute as u64);
        let count = self.minutes.get(minute).copied().unwrap_or(0);
        (0..count).map(move |_| Duration::from_micros(chance.below(60_000_000)))
    }
}

/// A distribution: percents, and the value that so many are not above.
pub struct Percentiles(Vec<(f64, f64)>);

impl Percentiles {
    pub fn new(points: &[(u32, f64)]) -> Percentiles {
        Percentiles(points.iter().map(|(percent, value)| (f64::from(*percent), *value)).collect())
    }

    /// A value, in a straight line between its neighbours.
    pub fn draw(&self, chance: &mut Chance) -> f64 {
        let at = chance.fraction() * 100.0;
        let mut before = None;
        for (percent, value) in &self.0 {
            if *percent >= at {
                let Some((low, base)) = before else { return *value };
                return base + (value - base) * (at - low) / (percent - low);
            }
            before = Some((*percent, *value));
        }
        before.map_or(0.0, |(_, value)| value)
    }
}

pub fn read(dir: &Path) -> Result<Vec<Traced>> {
    let invocations = rows(dir, "inv1350.csv")?;
    let durations = rows(dir, "run1350.csv")?;
    let memory = rows(dir, "mem1350.csv")?;
    if invocations.len() != durations.len() || invocations.len() != memory.len() {
        bail!("read the trace: its files do not name the same functions");
    }
    let mut functions = Vec::new();
    for ((invocations, durations), memory) in invocations.iter().zip(&durations).zip(&memory) {
        // In the files: function, owner, application; owner, application, function; owner, application.
        if invocations.first() != durations.get(2) {
            bail!("read the trace: its files do not name the functions in the same order");
        }
        let minutes = invocations.iter().skip(3).map(|count| count.parse()).collect::<Result<_, _>>();
        functions.push(Traced {
            minutes: minutes.context("read the invocations of a minute")?,
            millis: percentiles(durations.get(7..).unwrap_or_default(), &[0, 1, 25, 50, 75, 99, 100])?,
            mib: percentiles(memory.get(4..).unwrap_or_default(), &[1, 5, 25, 50, 75, 95, 99, 100])?,
        });
    }
    Ok(functions)
}

fn percentiles(values: &[String], percents: &[u32]) -> Result<Percentiles> {
    let values = values.iter().map(|value| value.parse::<f64>()).collect::<Result<Vec<_>, _>>();
    let values = values.context("read a percentile")?;
    if values.len() != percents.len() {
        bail!("read the trace: a line has {} percentiles instead of {}", values.len(), percents.len());
    }
    Ok(Percentiles::new(&percents.iter().copied().zip(values).collect::<Vec<_>>()))
}

/// The lines behind the head.
fn rows(dir: &Path, file: &str) -> Result<Vec<Vec<String>>> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_drawn_between_percentiles() {
        let percentiles = Percentiles::new(&[(0, 10.0), (50, 20.0), (100, 100.0)]);
        let mut chance = Chance::new(1, 1);
        let mut drawn: Vec<f64> = (0..10_000).map(|_| percentiles.draw(&mut chance)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!(drawn[0] >= 10.0 && drawn[9_999] <= 100.0);
        assert!((drawn[5_000] - 20.0).abs() < 2.0 && (drawn[7_500] - 60.0).abs() < 4.0, "{}", drawn[5_000]);
    }

    #[test]
    fn a_trace_is_read_or_refused() {
        let dir = std::env::temp_dir().join(format!("sim-trace-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("inv1350.csv"), "F,O,A,1,2\nf,o,a,3,4\n").unwrap();
        fs::write(dir.join("run1350.csv"), "O,A,F\no,a,f,1,1,1,1,0,1,2,3,4,5,6\n").unwrap();
        fs::write(dir.join("mem1350.csv"), "O,A\no,a,1,1,1,2,3,4,5,6,7,8\n").unwrap();
        let read_all = read(&dir).unwrap();
        assert_eq!((read_all.len(), &read_all[0].minutes), (1, &vec![3, 4]));
        fs::write(dir.join("run1350.csv"), "O,A,F\no,a,g,1,1,1,1,0,1,2,3,4,5,6\n").unwrap();
        assert!(read(&dir).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
