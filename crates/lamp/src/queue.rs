//! `lamp queue`: what is in queues, and what is done to them.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cli::reading::{self, Of};
use crate::cli::steering::{Named, Peek, Queue, Redrive};
use crate::config;
use crate::control::{Request, Whose};
use crate::logs::shown;
use crate::reading::{ask, print};
use crate::steering::Asked;
use crate::table;

/// How often it is asked how far a redrive has come.
const LOOKS_EVERY: Duration = Duration::from_millis(200);
/// Of a message's body, on a line.
const BODY_CHARS_MAX: usize = 100;

pub fn run(command: Queue) -> Result<(), Box<dyn Error>> {
    match command {
        Queue::Ls(of) => list(of),
        Queue::Peek(options) => peek(options),
        Queue::Tail(named) => tail(named),
        Queue::Redrive(options) => redrive(options),
        Queue::Purge(Named { queue, of }) => {
            let (whose, is_json) = (whose(&of.whose), of.json);
            let dir = config::data_dir(of.place)?;
            let Some(done) = steer(&dir, Asked::Purge { whose, queue: queue.clone() })? else { return Ok(()) };
            print(is_json, &done, |_| format!("{queue} is empty.\n"))
        }
        Queue::Freeze(named) => freeze(named, true),
        Queue::Thaw(named) => freeze(named, false),
    }
}

/// Whom the flags mean.
pub fn whose(given: &reading::Whose) -> Whose {
    Whose { account: given.account, region: given.region() }
}

pub fn steer(dir: &Path, asked: Asked) -> Result<Option<Value>, Box<dyn Error>> {
    ask(dir, &Request::Steer(asked), |_| Ok(()))
}

/// A number of things.
pub fn counted(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => shown(text),
        other => other.to_string(),
    }
}

fn list(of: Of) -> Result<(), Box<dyn Error>> {
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let Some(told) = steer(&dir, Asked::Queues { whose })? else { return Ok(()) };
    print(of.json, &told, |told| {
        let heads = ["QUEUE", "WAITING", "IN FLIGHT", "DELAYED", "OLDEST", "STATE", "DEAD LETTERS TO"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(told["queues"].as_array().into_iter().flatten().map(row));
        match rows.len() {
            1 => "There is no queue; --region and --account name another place.\n".to_owned(),
            _ => table::lines(&rows),
        }
    })
}

fn row(queue: &Value) -> Vec<String> {
    let state = if queue["is_frozen"] == true { "frozen" } else { "open" };
    let dead_letters = queue["dead_letters_to"].as_str().and_then(|arn| arn.rsplit(':').next());
    let cell = |name: &str| text(&queue[name]);
    vec![
        cell("name"),
        cell("waiting"),
        cell("in_flight"),
        cell("delayed"),
        cell("oldest"),
        state.to_owned(),
        dead_letters.unwrap_or("-").to_owned(),
    ]
}

fn peek(options: Peek) -> Result<(), Box<dyn Error>> {
    let Peek { limit, named: Named { queue, of } } = options;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let Some(told) = steer(&dir, Asked::Messages { whose, queue: queue.clone(), after: None, limit: limit.into() })?
    else {
        return Ok(());
    };
    print(of.json, &told, |told| match told["messages"].as_array() {
        Some(messages) if !messages.is_empty() => {
            let cut =
                if told["is_cut"] == true { "There are more, which are too much to be shown at once.\n" } else { "" };
            messages.iter().map(line).chain([cut.to_owned()]).collect()
        }
        _ => format!("{queue} is empty.\n"),
    })
}

/// A message on a line: when it was sent, how it stands, how it begins.
fn line(message: &Value) -> String {
    let state = match (message["state"].as_str(), message["receives"].as_u64()) {
        (Some(state), Some(0) | None) => state.to_owned(),
        (Some(state), Some(receives)) => format!("{state}, received {receives} ×"),
        _ => String::new(),
    };
    let group = message["group"].as_str().map(|group| format!(" [{}]", shown(group))).unwrap_or_default();
    let body = shown(message["body"].as_str().unwrap_or_default());
    let start: String = body.chars().take(BODY_CHARS_MAX).collect();
    let more = if start.len() < body.len() { "…" } else { "" };
    format!("{}  {}  ({state}){group}  {start}{more}\n", text(&message["sent"]), text(&message["id"]))
}

fn tail(named: Named) -> Result<(), Box<dyn Error>> {
    let Named { queue, of } = named;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let take = |message: Value| {
        let text = if of.json { format!("{message}\n") } else { line(&message) };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    ask(&dir, &Request::Tail { whose, queue }, take).map(drop)
}

fn redrive(options: Redrive) -> Result<(), Box<dyn Error>> {
    let Redrive { to, named: Named { queue, of } } = options;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let asked = Asked::Redrive { whose: whose.clone(), queue: queue.clone(), to };
    let Some(mut told) = steer(&dir, asked)? else { return Ok(()) };
    let is_watched = io::stderr().is_terminal();
    let count = |told: &Value, name: &str| told[name].as_u64().unwrap_or_default();
    while told["Status"] == "RUNNING" {
        sleep(LOOKS_EVERY);
        let asked = Asked::Move { whose: whose.clone(), queue: queue.clone() };
        let Some(next) = steer(&dir, asked)? else { return Ok(()) };
        told = next;
        if is_watched {
            let (moved, all) = ("ApproximateNumberOfMessagesMoved", "ApproximateNumberOfMessagesToMove");
            eprint!("\r{} of {} moved", count(&told, moved), count(&told, all));
        }
    }
    if is_watched {
        eprintln!();
    }
    let moved = count(&told, "ApproximateNumberOfMessagesMoved");
    match told["Status"].as_str() {
        Some("FAILED") => {
            let reason = text(&told["FailureReason"]);
            Err(format!("move all of {queue}: {reason}; {moved} were moved. --to names where the others are to go")
                .into())
        }
        _ => print(of.json, &told, |_| format!("{} of {queue} moved.\n", counted(moved, "message"))),
    }
}

fn freeze(named: Named, is_frozen: bool) -> Result<(), Box<dyn Error>> {
    let Named { queue, of } = named;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    let Some(told) = steer(&dir, Asked::FreezeQueue { whose, queue: queue.clone(), is_frozen })? else {
        return Ok(());
    };
    print(of.json, &told, |told| {
        let waiting = counted(told["waiting"].as_u64().unwrap_or_default(), "message");
        match is_frozen {
            true => format!("{queue} is frozen with {waiting} waiting: it takes more, and gives none.\n"),
            false => format!("{queue} gives its messages again: {waiting} waiting.\n"),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_a_line_whatever_it_says() {
        let mut message = json!({
            "id": "i", "sent": "2026-01-01T00:00:00.000Z", "state": "in flight", "receives": 2, "group": "g",
            "body": format!("a\nb\u{1b}[2J{}", "x".repeat(200)),
        });
        let told = line(&message);
        assert!(
            told.starts_with("2026-01-01T00:00:00.000Z  i  (in flight, received 2 ×) [g]  a\\nb\\u{1b}[2Jxx"),
            "{told}"
        );
        assert!(told.ends_with("x…\n") && told.lines().count() == 1);
        message["receives"] = 0.into();
        assert!(line(&message).contains("(in flight)"));
    }
}
