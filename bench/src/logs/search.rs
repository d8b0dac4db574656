//! How fast a gigabyte of log is searched, by patterns and by queries of Logs Insights, beside programs that look for the
//! same in one file with the same lines. What both find must be the same, or the case fails.

use std::path::Path;

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::client::Logs;
use super::filling::{Filled, events, fill};
use super::lines::{RARE, TIMED_OUT};
use super::programs::{has, numbers};
use crate::peer::Peer;
use crate::rounds::{median, rounds, timed, undisturbed};

const ROUNDS: usize = 3;
/// Reports of the platform are looked for in groups of functions.
const GROUP: &str = "/aws/lambda/bench-search";

/// Of two means of the same numbers, which are printed with so many digits.
const MEAN_TOLERANCE: f64 = 1e-6;

enum Way {
    /// A filter pattern: how many events match.
    Pattern(String),
    /// A query: the sum of field `n` over its rows, and field `mean` if it has one.
    Query(String),
}

/// One search: what it finds here, and what a program prints that finds the same.
struct Search {
    name: &'static str,
    way: Way,
    program: Vec<String>,
}

pub fn run() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("lines");
    let lamp = Peer::lamp()?;
    let filled = fill(lamp.port, GROUP, &path, events())?;
    println!(
        "{:<26}{:>10}{:>10}{:>10}   {:<6}{:>10}{:>10}{:>15}",
        "", "events", "ms", "GB/s", "beside", "ms", "GB/s", "lamp's / its"
    );
    let mut logs = Logs::of(lamp.port)?;
    for search in searches() {
        compare(&mut logs, &search, &filled, &path)?;
    }
    Ok(())
}

fn searches() -> Vec<Search> {
    let search = |name, way, program: &[&str]| Search {
        name,
        way,
        program: program.iter().map(|word| (*word).to_owned()).collect(),
    };
    let pattern = |text: &str| Way::Pattern(text.to_owned());
    let query = |text: &str| Way::Query(text.to_owned());
    let filter = |shape: &str| format!("filter @message like {shape} | stats count(*) as n by bin(1m)");
    vec![
        search("a rare term", pattern(&format!("\"{RARE}\"")), &["grep", "-cF", RARE]),
        search("a regular expression", pattern(&format!("%{TIMED_OUT}%")), &["grep", "-cE", TIMED_OUT]),
        search(
            "{ $.status = 500 }",
            pattern("{ $.status = 500 }"),
            &[
                "jq",
                "-nR",
                r#"reduce (inputs | fromjson? | select(type == "object" and .status == 500)) as $x (0; . + 1)"#,
            ],
        ),
        search("like /x/ by minute", query(&filter(&format!("/{TIMED_OUT}/"))), &["grep", "-cE", TIMED_OUT]),
        search(
            "parse, mean",
            query(r#"parse @message "took * ms" as took | stats count(took) as n, avg(took) as mean"#),
            &[
                "awk",
                "match($0, /took [0-9]+ ms/) { n++; sum += substr($0, RSTART + 5) + 0 } END { printf \"%d %.9f\", n, sum / n }",
            ],
        ),
        search(
            "mean of @duration",
            query("stats count(@duration) as n, avg(@duration) as mean"),
            &["awk", "/^REPORT / { n++; sum += $5 } END { printf \"%d %.9f\", n, sum / n }"],
        ),
    ]
}

/// Both in turn, several rounds; medians.
fn compare(logs: &mut Logs, search: &Search, filled: &Filled, path: &Path) -> Result<()> {
    let program: Vec<&str> = search.program.iter().map(String::as_str).collect();
    let name = program.first().copied().unwrap_or_default();
    if !has(name) {
        bail!("find {name}, which {} is compared with", search.name);
    }
    let (mut ours, mut theirs, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds(ROUNDS) {
        let (here, ms) = undisturbed(|| timed(|| look(logs, &search.way, filled)))?;
        ours.push(ms);
        let (there, ms) = undisturbed(|| timed(|| numbers(&program, path)))?;
        theirs.push(ms);
        if !is_same(&here, &there) {
            bail!("find by {} what {name} finds: {here:?}, not {there:?}", search.name);
        }
        found = here;
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let speed = |ms: f64| filled.bytes as f64 / 1e6 / ms;
    println!(
        "{:<26}{:>10.0}{ours:>10.0}{:>10.2}   {name:<6}{theirs:>10.0}{:>10.2}{:>15.2}",
        search.name,
        found.first().copied().unwrap_or(f64::NAN),
        speed(ours),
        speed(theirs),
        theirs / ours
    );
    Ok(())
}

/// How many events there are, and their mean where it is asked for.
fn look(logs: &mut Logs, way: &Way, filled: &Filled) -> Result<Vec<f64>> {
    match way {
        Way::Pattern(pattern) => Ok(vec![logs.count(GROUP, pattern)? as f64]),
        Way::Query(query) => {
            let found = logs.query(GROUP, query, filled.window)?;
            let mut values = vec![found.sum("n")];
            if query.ends_with("as mean") {
                values.push(found.sum("mean"));
            }
            Ok(values)
        }
    }
}

/// Whether both found the same, and found anything.
fn is_same(here: &[f64], there: &[f64]) -> bool {
    let is_near = |(one, other): (&f64, &f64)| (one - other).abs() <= MEAN_TOLERANCE * other.abs();
    here.len() == there.len() && here.iter().zip(there).all(is_near) && here.first().is_some_and(|count| *count >= 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_must_be_the_same_and_something() {
        assert!(is_same(&[3.0], &[3.0]) && is_same(&[3.0, 12.5], &[3.0, 12.500_000_1]));
        assert!(!is_same(&[3.0], &[4.0]) && !is_same(&[0.0], &[0.0]) && !is_same(&[3.0], &[3.0, 1.0]));
        assert!(!is_same(&[3.0, 12.5], &[3.0, 12.6]));
    }
}
