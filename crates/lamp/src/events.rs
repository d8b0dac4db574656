//! `lamp events`: what becomes of a function's asynchronous invocations.

use std::error::Error;

use serde_json::Value;

use crate::cli::steering::Events;
use crate::config;
use crate::queue::{counted, steer, text, whose};
use crate::reading::print;
use crate::steering::Asked;
use crate::table;

/// Of an error, on a line.
const ERROR_CHARS_MAX: usize = 60;

pub fn run(options: Events) -> Result<(), Box<dyn Error>> {
    let Events { function, limit, redrive, ids, of } = options;
    let (whose, dir) = (whose(&of.whose), config::data_dir(of.place)?);
    if redrive {
        let id = |id: &String| id.parse().map_err(|_| format!("understand {id}: it is no event's id"));
        let ids = ids.iter().map(id).collect::<Result<_, _>>()?;
        let asked = Asked::RedriveEvents { whose, function: function.clone(), ids };
        let Some(told) = steer(&dir, asked)? else { return Ok(()) };
        let count = told["redriven"].as_u64().unwrap_or_default();
        return print(of.json, &told, |_| format!("Tried again: {} of {function}.\n", counted(count, "dead event")));
    }
    let Some(told) = steer(&dir, Asked::Events { whose, function, limit })? else { return Ok(()) };
    print(of.json, &told, as_text)
}

fn as_text(told: &Value) -> String {
    let more = if told["is_cut"] == true { " or more" } else { "" };
    let counts = ["waiting", "running", "retrying", "dead"].map(|state| match state {
        "waiting" => format!("{}{more} waiting", told[state]),
        _ => format!("{} {state}", told[state]),
    });
    let mut text = format!("{}: {}\n", crate::queue::text(&told["function"]), counts.join(", "));
    let mut rows = vec![["EVENT", "STATE", "AGE", "ATTEMPTS", "NEXT", "LAST ERROR"].map(str::to_owned).to_vec()];
    rows.extend(told["events"].as_array().into_iter().flatten().map(row));
    if rows.len() > 1 {
        // The last column is to the left, too.
        let wide = rows.iter().filter_map(|row| row.last()).map(|cell| cell.chars().count()).max().unwrap_or(0);
        rows.iter_mut().filter_map(|row| row.last_mut()).for_each(|cell| *cell = format!("{cell:wide$}"));
        text.push('\n');
        text.push_str(&table::lines(&rows));
    }
    text
}

fn row(event: &Value) -> Vec<String> {
    let age = event["age_seconds"].as_f64().unwrap_or_default();
    let error: String = text(&event["last_error"]).chars().take(ERROR_CHARS_MAX).collect();
    let error = match event["reason"].as_str() {
        Some(reason) => format!("{reason}: {error}"),
        None => error,
    };
    let cell = |name: &str| text(&event[name]);
    vec![cell("id"), cell("state"), span(age), cell("attempts"), cell("next"), error]
}

/// A time in the largest unit that says enough.
fn span(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.1}s"),
        ..3_600.0 => format!("{:.0}m", seconds / 60.0),
        ..86_400.0 => format!("{:.1}h", seconds / 3_600.0),
        _ => format!("{:.1}d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_see_how_events_stand() {
        let event = |state: &str| {
            json!({
                "id": "0", "state": state, "age_seconds": 90.0, "attempts": 1, "next": null,
                "last_error": "no\u{7}", "reason": (state == "dead").then_some("RetriesExhausted"),
            })
        };
        let told = json!({
            "function": "f", "waiting": 10_000, "running": 0, "retrying": 1, "dead": 1, "is_cut": true,
            "events": [event("retrying"), event("dead")],
        });
        assert_eq!(
            as_text(&told),
            "f: 10000 or more waiting, 0 running, 1 retrying, 1 dead\n\n\
             EVENT  STATE     AGE  ATTEMPTS  NEXT  LAST ERROR\n\
             0      retrying   2m         1     -  no\\u{7}\n\
             0      dead       2m         1     -  RetriesExhausted: no\\u{7}\n"
        );
        assert_eq!([0.25, 7_200.0, 200_000.0].map(span), ["0.2s", "2.0h", "2.3d"]);
    }
}
