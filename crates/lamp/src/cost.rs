//! `lamp cost`: what functions used, and what it would have cost at AWS.

use std::error::Error;
use std::fmt::Write as _;

use base::{Clock, SystemClock};
use serde_json::Value;
use services::usage;

use crate::cli::reading::Cost;
use crate::config;
use crate::control::{Request, Whose};
use crate::reading;
use crate::table::{self, dollars, percent};
use crate::usage::Asked;

pub fn run(options: Cost) -> Result<(), Box<dyn Error>> {
    let whose = Whose { account: options.of.whose.account, region: options.of.whose.region() };
    let name = options.month.unwrap_or_else(|| usage::month_name(SystemClock.now()));
    let since = usage::month_start(&name)
        .ok_or_else(|| format!("understand the month {name:?}: it takes one such as 2026-11"))?;
    let asked = Asked { whose, since, until: usage::month_after(since), by: options.by };
    let dir = config::data_dir(options.of.place)?;
    let Some(told) = reading::ask(&dir, &Request::Usage(asked), |_| Ok(()))? else { return Ok(()) };
    reading::print(options.of.json, &told, as_text)
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_default()
}

fn as_text(told: &Value) -> String {
    let (by, month) = (told["by"].as_str().unwrap_or_default(), &told["month"]);
    let word = |name: &str| told[name].as_str().unwrap_or_default();
    let mut text = format!(
        "{}, {} of account {}\n\n",
        month["month"].as_str().unwrap_or_default(),
        word("region"),
        word("account")
    );
    let heads = ["CALLS", "ERRORS", "COLD", "GB-S", "CPU", "MEMORY", "COST"].map(str::to_owned);
    let mut rows = vec![[by.to_uppercase()].into_iter().chain(heads).collect()];
    for row in told["rows"].as_array().into_iter().flatten() {
        rows.push(cells(row[by].as_str().unwrap_or_default(), row));
    }
    rows.push(cells("total", &told["total"]));
    text.push_str(&table::lines(&rows));
    if told["is_cut"].as_bool() == Some(true) {
        text.push_str("There are more functions than these.\n");
    }
    let beyond = |value: &Value| dollars(number(value, "cost_beyond_free"));
    let _ =
        writeln!(text, "\nAt AWS's prices {}; beyond its free tier {}.", dollars(number(month, "cost")), beyond(month));
    let forecast = &month["forecast"];
    if forecast.is_object() {
        let range = match (forecast["low"].as_f64(), forecast["high"].as_f64()) {
            (Some(low), Some(high)) => format!(" ({} to {} in four months of five)", dollars(low), dollars(high)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "By the end of the month, as the last {:.1} days were: {}{range}; beyond the free tier {}.",
            number(forecast, "days_seen"),
            dollars(number(forecast, "cost")),
            beyond(forecast)
        );
    }
    text
}

fn cells(name: &str, used: &Value) -> Vec<String> {
    let count = |name: &str| format!("{:.0}", number(used, name));
    let share = |name: &str| percent(used[name].as_f64());
    vec![
        name.to_owned(),
        count("invocations"),
        count("errors"),
        share("cold_share"),
        format!("{:.3}", number(used, "gb_seconds")),
        share("cpu_share"),
        share("memory_share"),
        dollars(number(used, "cost")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_a_bill() {
        let used = json!({
            "function": "hello", "invocations": 3.0, "errors": 0.0, "cold_share": 1.0 / 3.0, "gb_seconds": 0.0075,
            "cpu_share": 0.5, "memory_share": null, "cost": 0.000_000_7,
        });
        let told = json!({
            "by": "function", "region": "us-east-1", "account": "000000000000", "rows": [used], "total": used, "is_cut": false,
            "month": {
                "month": "2026-11", "cost": 10.0, "cost_beyond_free": 0.0,
                "forecast": { "cost": 20.0, "cost_beyond_free": 1.0, "low": 18.0, "high": 22.0, "days_seen": 9.5 },
            },
        });
        let expected = "\
2026-11, us-east-1 of account 000000000000

FUNCTION  CALLS  ERRORS  COLD   GB-S  CPU  MEMORY          COST
hello         3       0   33%  0.007  50%       -  $0.000000700
total         3       0   33%  0.007  50%       -  $0.000000700

At AWS's prices $10.00; beyond its free tier $0.
By the end of the month, as the last 9.5 days were: $20.00 ($18.00 to $22.00 in four months of five); beyond the free tier $1.00.
";
        assert_eq!(as_text(&told), expected);
    }
}
