//! What functions used and what it cost, as the server tells it: at `/_lamp/usage` and to `lamp cost`; and what they do right
//! now, to `lamp top`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AwsError, Clock, Region, Timestamp};
use clap::ValueEnum;
use engine::price::Prices;
use metrics::Metrics;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use services::live::{Live, MINUTE, Row};
use services::usage::{self, Month, Usage, Used};
use store::Scope;
use wire::percent::{Plus, decode_text};

use crate::cli::reading::Since;
use crate::control::Whose;

/// What can be asked.
#[derive(Clone)]
pub struct Books {
    pub metrics: Metrics,
    pub prices: Prices,
    pub live: Arc<Live>,
    pub clock: Arc<dyn Clock>,
    pub functions: Option<Arc<runtime::Runtime>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub whose: Whose,
    pub since: Timestamp,
    pub until: Timestamp,
    pub by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Function,
    Day,
    Month,
}

impl By {
    pub fn word(self) -> &'static str {
        match self {
            By::Function => "function",
            By::Day => "day",
            By::Month => "month",
        }
    }
}

impl Books {
    /// What was used in some time, and what the month of its end costs.
    pub async fn usage(&self, asked: &Asked) -> Result<Value, AwsError> {
        let scope = asked.whose.scope();
        let now = self.clock.now();
        let (month, read, from) = self.month(&scope, asked.until, now).await?;
        // Reading is what takes time: whole days of the month are read already.
        let is_read = asked.since == usage::day_of(asked.since)
            && asked.since >= from
            && (asked.until == usage::day_of(asked.until) || asked.until >= now);
        let usage = match is_read {
            true => read.within((asked.since, asked.until)),
            false => {
                let span = (asked.since, asked.until);
                Usage::read(&self.metrics, &scope, span).await.map_err(AwsError::from)?
            }
        };
        let rows: Vec<Value> = rows(&usage, asked.by)
            .into_iter()
            .map(|(name, used)| {
                let mut row = as_json(&used);
                row.insert(asked.by.word().to_owned(), name.into());
                row.into()
            })
            .collect();
        Ok(json!({
            "account": asked.whose.account.as_str(),
            "region": asked.whose.region.as_str(),
            "since": asked.since.iso8601(),
            "until": asked.until.iso8601(),
            "by": asked.by.word(),
            "rows": rows,
            "total": as_json(&usage.total()),
            "is_cut": usage.is_cut,
            "month": month_as_json(&month),
        }))
    }

    /// The month that `until` is the end of, or within.
    async fn month(
        &self,
        scope: &Scope,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(Month, Usage, Timestamp), AwsError> {
        let last = until.minus(std::time::Duration::from_secs(1));
        let start = usage::month_start(&usage::month_name(last)).unwrap_or(last);
        usage::month((&self.metrics, &self.prices), scope, start, now).await
    }

    /// Understands the query of `/_lamp/usage`; the error fits "failed to ...".
    pub fn asked(&self, query: &str) -> Result<Asked, String> {
        let now = self.clock.now();
        let whose = Whose { account: base::AccountId::ZERO, region: Region::default() };
        let since = usage::month_start(&usage::month_name(now)).unwrap_or(now);
        let mut asked = Asked { whose, since, until: now, by: By::Function };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                decode_text(value, Plus::Literal).ok_or_else(|| format!("understand {name}: it is no UTF-8"))?;
            let wrong = |what: &str| format!("understand {name}={value}: it takes {what}");
            let moment = || value.parse().map(|since: Since| since.moment(now)).map_err(|error: String| wrong(&error));
            match name {
                "since" => asked.since = moment()?,
                "until" => asked.until = moment()?,
                "by" => asked.by = By::from_str(&value, false).map_err(|_| wrong("day, month or function"))?,
                "region" => asked.whose.region = value.parse().map_err(|_| wrong("a region, such as us-east-1"))?,
                "account" => asked.whose.account = value.parse().map_err(|_| wrong("an account of twelve digits"))?,
                _ => return Err(format!("understand {name}: it takes since, until, by, region and account")),
            }
        }
        Ok(asked)
    }

    /// What functions do right now.
    pub fn top(&self) -> Value {
        let now = self.clock.now();
        let snapshot = self.live.snapshot(now);
        let instances = self.functions.as_ref().map(|functions| functions.instances()).unwrap_or_default();
        let of = |row: &Row| {
            let whose = (row.account, row.region.clone().unwrap_or_default(), row.function.clone());
            instances.get(&whose).copied().unwrap_or_default()
        };
        let rows: Vec<Value> = snapshot.rows.iter().map(|row| row_as_json(row, of(row))).collect();
        json!({ "time": now.iso8601_millis(), "functions": rows, "left_out": snapshot.left_out })
    }
}

fn rows(usage: &Usage, by: By) -> Vec<(String, Used)> {
    let date = |day: Timestamp| day.iso8601().get(..10).unwrap_or_default().to_owned();
    match by {
        By::Function => {
            let of = |(name, days): (&String, &BTreeMap<Timestamp, Used>)| (name.clone(), usage::sum(days.values()));
            let mut rows: Vec<_> = usage.functions.iter().map(of).collect();
            rows.sort_by(|(_, a), (_, b)| b.cost.total_cmp(&a.cost));
            rows
        }
        By::Day => usage.days().into_iter().map(|(day, used)| (date(day), used)).collect(),
        By::Month => {
            let mut months: BTreeMap<String, Used> = BTreeMap::new();
            for (day, used) in usage.days() {
                months.entry(usage::month_name(day)).or_default().merge(&used);
            }
            months.into_iter().collect()
        }
    }
}

fn as_json(used: &Used) -> Map<String, Value> {
    let value = json!({
        "invocations": used.invocations.round() as u64,
        "errors": used.errors.round() as u64,
        "cold_starts": used.cold_starts.round() as u64,
        "cold_share": used.cold_share(),
        "billed_ms": used.billed_ms,
        "gb_seconds": used.gb_seconds,
        "cpu_ms": used.cpu_ms,
        "cpu_share": used.cpu_share(),
        "memory_mb": used.memory_mb.get(),
        "memory_used_mb": used.memory_used_mb.get(),
        "memory_share": used.memory_share(),
        "cost": used.cost,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn month_as_json(month: &Month) -> Value {
    let forecast = month.forecast.map(|(forecast, beyond_free)| {
        json!({
            "cost": forecast.expected,
            "cost_beyond_free": beyond_free,
            "low": forecast.range.map(|(low, _)| low),
            "high": forecast.range.map(|(_, high)| high),
            "days_seen": forecast.days_seen,
        })
    });
    json!({
        "month": month.name,
        "cost": month.cost,
        "cost_beyond_free": month.cost_beyond_free,
        "forecast": forecast,
    })
}

fn row_as_json(row: &Row, instances: u32) -> Value {
    let minute = &row.minute;
    json!({
        "account": row.account.as_str(),
        "region": row.region.as_ref().map(Region::as_str),
        "function": row.function,
        "invocations": minute.invocations,
        "rate": minute.invocations as f64 / MINUTE.as_secs_f64(),
        "errors": minute.errors,
        "throttles": minute.throttles,
        "cold_starts": minute.cold_starts,
        "p50_ms": minute.p50_ms,
        "p99_ms": minute.p99_ms,
        "at_once": minute.at_once,
        "instances": instances,
        "memory_mb": row.memory_mb,
        "memory_peak_bytes": minute.memory_peak_bytes,
        "cost_per_hour": minute.cost * 3_600.0 / MINUTE.as_secs_f64(),
        "invocations_since_start": row.totals.invocations,
    })
}

#[cfg(test)]
mod tests {
    use base::ManualClock;
    use store::Store;

    use super::*;

    async fn books() -> Books {
        let clock: Arc<dyn Clock> =
            Arc::new(ManualClock::at(Timestamp::parse_iso8601("2026-11-20T12:00:00Z").unwrap()));
        let metrics = Metrics::open(&Store::memory(clock.clone()), clock.clone()).await.unwrap();
        let live = Arc::new(Live::new(clock.now(), Prices::default()));
        Books { metrics, prices: Prices::default(), live, clock, functions: None }
    }

    #[tokio::test]
    async fn a_query_says_when_and_by_what() {
        let books = books().await;
        let at = |text: &str| Timestamp::parse_iso8601(text).unwrap();
        let default = books.asked("").unwrap();
        assert_eq!((default.since, default.until), (at("2026-11-01T00:00:00Z"), at("2026-11-20T12:00:00Z")));
        let asked = books.asked("since=2026-10-01&until=1h&by=day&region=eu-west-1&account=123456789012").unwrap();
        assert_eq!((asked.since, asked.until), (at("2026-10-01T00:00:00Z"), at("2026-11-20T11:00:00Z")));
        assert_eq!((asked.by, asked.whose.region.as_str()), (By::Day, "eu-west-1"));
        assert_eq!(books.asked("since=2026-10-01T00%3A00%3A00Z").unwrap().since, at("2026-10-01T00:00:00Z"));
        for bad in ["by=week", "since=soon", "account=1", "what=1", "since=%ff"] {
            assert!(books.asked(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn who_used_nothing_is_told_so() {
        let books = books().await;
        let told = books.usage(&books.asked("by=month").unwrap()).await.unwrap();
        assert_eq!((told["rows"].as_array().unwrap().len(), told["total"]["cost"].as_f64()), (0, Some(0.0)));
        assert_eq!(
            (told["month"]["month"].as_str(), told["month"]["forecast"]["cost"].as_f64()),
            (Some("2026-11"), Some(0.0))
        );
        assert_eq!(told["total"]["cold_share"], Value::Null);
    }
}
