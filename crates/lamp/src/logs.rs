//! `lamp logs`: what a function said, and says.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use base::{Clock, SystemClock};
use rustix::termios::isatty;
use serde_json::{Value, json};

use crate::cli::reading::Logs;
use crate::config;
use crate::control::{LogsRead, LogsRequest, Request, Told, Whose};
use crate::reading::{self, is_coloured};

pub fn run(options: Logs) -> Result<(), Box<dyn Error>> {
    let whose = Whose { account: options.of.whose.account, region: options.of.whose.region() };
    let request = Request::Logs(LogsRequest {
        whose,
        name: options.name.clone(),
        since: options.since.moment(SystemClock.now()),
        pattern: options.filter,
        is_followed: options.follow,
    });
    let dir = config::data_dir(options.of.place)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let is_coloured = is_coloured();
    // Who watches sees a line at once; who keeps them has them sooner in larger pieces.
    let is_watched = options.follow || isatty(rustix::stdio::stdout());
    let mut count: u64 = 0;
    let take = |value: Value| {
        count = count.saturating_add(1);
        let told: Told = serde_json::from_value(value)?;
        match options.of.json {
            true => writeln!(out, "{}", as_json(&told))?,
            false => out.write_all(as_text(&told, is_coloured).as_bytes())?,
        }
        if is_watched { out.flush() } else { Ok(()) }
    };
    let done = reading::ask(&dir, &request, take)?;
    out.flush()?;
    if let Some(done) = done.filter(|_| count == 0) {
        let read: LogsRead = serde_json::from_value(done)?;
        match read.is_there {
            true => eprintln!("Nothing of that in {} since then; --since 1d looks further back.", read.group),
            false => eprintln!("{} is not there yet: nothing was ever logged to it.", read.group),
        }
    }
    Ok(())
}

fn as_json(told: &Told) -> Value {
    json!({
        "time": told.time.iso8601_millis(),
        "timestamp": told.time.as_millis(),
        "ingested": told.ingested.as_millis(),
        "group": told.group,
        "stream": told.stream,
        "message": told.message,
    })
}

/// Time, stream and message; what follows a message's first line is set in, so that it does not look like another event.
fn as_text(told: &Told, is_coloured: bool) -> String {
    let (time, stream) = (told.time.iso8601_millis(), shown(&short(&told.stream)));
    let mut lines = told.message.trim_end_matches(['\n', '\r']).split('\n');
    let first = shown(lines.next().unwrap_or_default());
    let mut text = match is_coloured {
        true => format!("\x1b[2m{time} {stream}\x1b[0m {first}\n"),
        false => format!("{time} {stream} {first}\n"),
    };
    for line in lines {
        let _ = writeln!(text, "    {}", shown(line));
    }
    text
}

/// An instance's stream is `DATE/FUNCTION[VERSION]NUMBER`: of a number's 32 digits eight tell it apart, and `$LATEST` goes
/// without saying.
fn short(stream: &str) -> String {
    let parts = stream.rsplit_once(']').and_then(|(before, number)| {
        let (_, version) = before.rsplit_once('[')?;
        let is_number = number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_number.then(|| (version, number.get(..8).unwrap_or_default()))
    });
    match parts {
        Some(("$LATEST", number)) => number.to_owned(),
        Some((version, number)) => format!("{version}/{number}"),
        None => stream.to_owned(),
    }
}

/// What a terminal may be sent: nothing that moves, colours or reverses, but tabs.
pub fn shown(text: &str) -> String {
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => safe.push(c),
            // What turns the direction of writing, or cannot be seen.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    fn told(stream: &str, message: &str) -> Told {
        let (time, ingested) = (Timestamp::from_millis(1_767_225_600_123), Timestamp::from_millis(1_767_225_600_200));
        Told { time, ingested, group: "/aws/lambda/f".into(), stream: stream.into(), message: message.into() }
    }

    #[test]
    fn people_read_lines() {
        let stream = "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef";
        assert_eq!(as_text(&told(stream, "said\n"), false), "2026-01-01T00:00:00.123Z 01234567 said\n");
        assert_eq!(as_text(&told("s", "a\r\nb\n"), false), "2026-01-01T00:00:00.123Z s a\n    b\n");
        assert_eq!(as_text(&told("s", ""), true), "\x1b[2m2026-01-01T00:00:00.123Z s\x1b[0m \n");
        let forged = "ok\n2026-01-01T00:00:00.123Z s forged";
        assert!(as_text(&told("s", forged), false).ends_with("ok\n    2026-01-01T00:00:00.123Z s forged\n"));
    }

    #[test]
    fn streams_have_short_names() {
        let number = "0123456789abcdef0123456789abcdef";
        assert_eq!(short(&format!("2026/01/01/f[7]{number}")), "7/01234567");
        for plain in ["mine", "a[b]c", "[$LATEST]", &number.replace('0', "]")] {
            assert_eq!(short(plain), plain);
        }
    }

    #[test]
    fn a_terminal_is_sent_nothing_that_does_more_than_show() {
        assert_eq!(shown("a\tb \x1b[31mred\x07\u{9b}\u{202e}é"), "a\tb \\u{1b}[31mred\\u{7}\\u{9b}\\u{202e}é");
        let text = as_text(&told("s\x1b", "x\rover"), false);
        assert!(text.ends_with("s\\u{1b} x\\rover\n"), "{text}");
    }

    #[test]
    fn programs_read_all_of_it() {
        let json = as_json(&told("whole/name", "a\x1b\n"));
        assert_eq!(
            (json["timestamp"].as_i64(), json["ingested"].as_i64()),
            (Some(1_767_225_600_123), Some(1_767_225_600_200))
        );
        assert_eq!((json["stream"].as_str(), json["message"].as_str()), (Some("whole/name"), Some("a\x1b\n")));
    }
}
