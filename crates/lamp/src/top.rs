//! `lamp top`: what functions do right now, a line a function.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::termios::{isatty, tcgetwinsize};
use serde_json::Value;

use crate::cli::reading::Top;
use crate::config;
use crate::control::Request;
use crate::reading;
use crate::table::{self, dollars};

const EVERY: Duration = Duration::from_secs(1);
/// The cursor to the first place, and all behind it away.
const CLEAR: &str = "\x1b[H\x1b[J";

pub fn run(options: Top) -> Result<(), Box<dyn Error>> {
    let dir = config::data_dir(options.place)?;
    let is_screen = isatty(rustix::stdio::stdout());
    // A file has no use for one table after another; a program that reads JSON has.
    let is_once = options.once || !(is_screen || options.json);
    loop {
        let Some(text) = look(&dir, options.json, is_screen && !is_once)? else { return Ok(()) };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if is_once {
            return Ok(());
        }
        sleep(EVERY);
    }
}

fn look(dir: &Path, is_json: bool, is_screen: bool) -> Result<Option<String>, Box<dyn Error>> {
    let Some(told) = reading::ask(dir, &Request::Top, |_| Ok(()))? else { return Ok(None) };
    if is_json {
        return Ok(Some(format!("{told}\n")));
    }
    let text = as_text(&told);
    if !is_screen {
        return Ok(Some(text));
    }
    // What does not fit would push away what is above it.
    let size = tcgetwinsize(rustix::stdio::stdout()).ok();
    let known = |count: u16| if count == 0 { usize::MAX } else { count.into() };
    let (rows, columns) = size.map_or((usize::MAX, usize::MAX), |size| (known(size.ws_row), known(size.ws_col)));
    let cut = |line: &str| line.chars().take(columns).collect::<String>();
    let lines: Vec<String> = text.lines().take(rows.saturating_sub(1).max(3)).map(cut).collect();
    Ok(Some(format!("{CLEAR}{}\n", lines.join("\n"))))
}

fn as_text(told: &Value) -> String {
    let mut functions: Vec<&Value> = told["functions"].as_array().into_iter().flatten().collect();
    functions.sort_by_key(|row| std::cmp::Reverse(row["invocations"].as_u64()));
    let sum = |name: &str| functions.iter().filter_map(|row| row[name].as_f64()).fold(0.0, |sum, one| sum + one);
    let mut text = format!(
        "{}  functions: {}  {:.1} calls/s  {}/h  within the last minute\n\n",
        told["time"].as_str().unwrap_or_default(),
        functions.len(),
        sum("rate"),
        dollars(sum("cost_per_hour"))
    );
    let heads = [
        "FUNCTION",
        "CALLS/S",
        "ERRORS",
        "THROTTLED",
        "COLD",
        "P50",
        "P99",
        "AT ONCE",
        "INSTANCES",
        "MEMORY",
        "COST/H",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(functions.iter().map(|row| cells(row)));
    text.push_str(&table::lines(&rows));
    if functions.is_empty() {
        text.push_str("No function has run since the server began.\n");
    }
    text
}

fn cells(row: &Value) -> Vec<String> {
    const MB: u64 = 1_048_576;
    let count = |name: &str| row[name].as_u64().unwrap_or_default().to_string();
    let number = |name: &str| row[name].as_f64().unwrap_or_default();
    let held = row["memory_peak_bytes"].as_u64().map_or_else(|| "-".to_owned(), |bytes| bytes.div_ceil(MB).to_string());
    vec![
        row["function"].as_str().unwrap_or_default().to_owned(),
        format!("{:.1}", number("rate")),
        count("errors"),
        count("throttles"),
        count("cold_starts"),
        millis(row["p50_ms"].as_f64()),
        millis(row["p99_ms"].as_f64()),
        count("at_once"),
        count("instances"),
        match row["memory_mb"].as_u64() {
            Some(0) | None => format!("{held} MB"),
            Some(all) => format!("{held}/{all} MB"),
        },
        dollars(number("cost_per_hour")),
    ]
}

fn millis(took: Option<f64>) -> String {
    match took {
        None => "-".to_owned(),
        Some(took) if took < 10.0 => format!("{took:.1} ms"),
        Some(took) if took < 10_000.0 => format!("{took:.0} ms"),
        Some(took) => format!("{:.0} s", took / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_that_run_most_come_first() {
        let row = |function: &str, invocations: u64, p50: Option<f64>| {
            json!({
                "function": function, "invocations": invocations, "rate": invocations as f64 / 60.0, "errors": 1, "throttles": 0,
                "cold_starts": 2, "p50_ms": p50, "p99_ms": p50.map(|took| took * 100.0), "at_once": 3, "instances": 4, "memory_mb": 128,
                "memory_peak_bytes": p50.map(|_| 6_246_400), "cost_per_hour": 0.5,
            })
        };
        let functions = [row("idle", 0, None), row("busy", 600, Some(5.25))];
        let told = json!({ "time": "2026-11-22T12:00:00.000Z", "functions": functions, "left_out": 0 });
        let expected = "\
2026-11-22T12:00:00.000Z  functions: 2  10.0 calls/s  $1.00/h  within the last minute

FUNCTION  CALLS/S  ERRORS  THROTTLED  COLD     P50     P99  AT ONCE  INSTANCES    MEMORY  COST/H
busy         10.0       1          0     2  5.2 ms  525 ms        3          4  6/128 MB   $0.50
idle          0.0       1          0     2       -       -        3          4  -/128 MB   $0.50
";
        assert_eq!(as_text(&told), expected);
        assert!(as_text(&json!({ "functions": [] })).ends_with("since the server began.\n"));
        assert_eq!([Some(12.3), Some(900_000.0)].map(millis), ["12 ms", "900 s"]);
    }
}
