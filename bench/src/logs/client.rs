//! A client of CloudWatch Logs over one connection.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::load::Client;
use crate::peer::signed_for;

/// Between two looks at a query that runs.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a query may take.
const LOOKS_MAX: usize = 100_000;
/// Pages of one search. A search of 200 MB is a few, unless it finds much.
const PAGES_MAX: usize = 100_000;

pub struct Logs {
    port: u16,
    client: Client,
}

/// What a query of Logs Insights found.
pub struct Found {
    rows: Vec<Value>,
}

/// A signed request, byte for byte; good for fifteen minutes.
pub fn request(port: u16, operation: &str, body: &str) -> Result<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
    headers.insert("x-amz-target", HeaderValue::from_str(&format!("Logs_20140328.{operation}"))?);
    signed_for("logs", port, headers, Method::POST, "/", body)
}

/// The body of `PutLogEvents`.
pub fn put(group: &str, stream: &str, events: &[Value]) -> String {
    json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events }).to_string()
}

/// Fails if some of a batch's events were refused; the answer is one to `PutLogEvents`.
pub fn check_all_taken(body: &[u8]) -> Result<()> {
    let answer: Value = serde_json::from_slice(body).context("read what PutLogEvents answered")?;
    if !answer["rejectedLogEventsInfo"].is_null() {
        bail!("put log events: {answer}");
    }
    Ok(())
}

impl Logs {
    pub fn of(port: u16) -> Result<Self> {
        Ok(Self { port, client: Client::new(port)? })
    }

    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value> {
        let answer = self.client.send(&request(self.port, operation, &body.to_string())?)?;
        answer.check().with_context(|| format!("call {operation}"))?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("read what {operation} answered"))
    }

    pub fn make_group(&mut self, group: &str) -> Result<()> {
        self.call("CreateLogGroup", &json!({ "logGroupName": group })).map(drop)
    }

    pub fn make_stream(&mut self, group: &str, stream: &str) -> Result<()> {
        self.call("CreateLogStream", &json!({ "logGroupName": group, "logStreamName": stream })).map(drop)
    }

    pub fn put(&mut self, group: &str, stream: &str, events: &[Value]) -> Result<()> {
        let answer = self.client.send(&request(self.port, "PutLogEvents", &put(group, stream, events))?)?;
        answer.check().context("put log events")?;
        check_all_taken(&answer.body)
    }

    /// Shows all events of a group that match a pattern, page by page.
    pub fn filter(&mut self, group: &str, pattern: &str, mut see: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut body = json!({ "logGroupName": group, "filterPattern": pattern });
        for _ in 0..PAGES_MAX {
            let page = self.call("FilterLogEvents", &body)?;
            for event in page["events"].as_array().into_iter().flatten() {
                see(event["message"].as_str().context("read an event's message")?)?;
            }
            if page["nextToken"].is_null() {
                return Ok(());
            }
            body["nextToken"] = page["nextToken"].clone();
        }
        bail!("search {group}: there is always one more page");
    }

    /// How many events of a group match a pattern.
    pub fn count(&mut self, group: &str, pattern: &str) -> Result<u64> {
        let mut count = 0;
        self.filter(group, pattern, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Runs a query of Logs Insights over the events between two times, in seconds.
    pub fn query(&mut self, group: &str, query: &str, (from, to): (i64, i64)) -> Result<Found> {
        let body = json!({ "logGroupName": group, "startTime": from, "endTime": to, "queryString": query });
        let started = self.call("StartQuery", &body)?;
        for _ in 0..LOOKS_MAX {
            let found = self.call("GetQueryResults", &json!({ "queryId": started["queryId"] }))?;
            match found["status"].as_str() {
                Some("Complete") => {
                    return Ok(Found { rows: found["results"].as_array().cloned().unwrap_or_default() });
                }
                Some("Scheduled" | "Running") => std::thread::sleep(LOOK_EVERY),
                _ => bail!("query {group}: {found}"),
            }
        }
        bail!("query {group}: it took too long");
    }
}

impl Found {
    /// The sum of a field over all rows.
    pub fn sum(&self, field: &str) -> f64 {
        let cells = self.rows.iter().filter_map(Value::as_array).flatten();
        let of_it = cells.filter(|cell| cell["field"] == field);
        of_it.filter_map(|cell| cell["value"].as_str()?.parse::<f64>().ok()).sum()
    }
}
