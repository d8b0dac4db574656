//! Requests at a fixed pace, over connections that each have a thread, so that a wake-up is not late by a timer's tick.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::answer::Answer;
use crate::load::Client;
use crate::rounds::{median, percentile};

/// Requests of one connection, one after another and again from the first, a fixed time apart.
pub struct Pace<'r> {
    pub requests: &'r [Vec<u8>],
    pub each: Duration,
    /// When the first is due.
    pub offset: Duration,
    /// What an answer must be.
    pub check: fn(&Answer) -> Result<()>,
}

/// What was answered to requests that were due after the warming.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// Answers that came before the end: fewer than were asked for if the server does not keep up.
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Answers, those of the warming included.
    pub answered: u64,
}

/// As many connections that send the same request as often as `per_second` says, all together.
pub fn spread(requests: &[Vec<u8>], connections: u32, per_second: f64) -> Vec<Pace<'_>> {
    let each = Duration::from_secs_f64(f64::from(connections) / per_second);
    let one = |number| Pace { requests, each, offset: each * number / connections, check: Answer::check };
    (0..connections).map(one).collect()
}

/// Sends until `warming` and `time` are over. Fails if an answer does.
pub fn run(port: u16, paces: &[Pace<'_>], warming: Duration, time: Duration) -> Result<Paced> {
    let (mut micros, mut answered, mut in_time) = (Vec::new(), 0, 0);
    std::thread::scope(|scope| {
        let one = |pace| scope.spawn(move || one_connection(port, pace, warming, time));
        let threads: Vec<_> = paces.iter().map(one).collect();
        for thread in threads {
            let Ok(done) = thread.join() else { bail!("send at a pace: a thread ended") };
            let done = done?;
            micros.extend(done.micros);
            answered += done.answered;
            in_time += done.in_time;
        }
        Ok(())
    })?;
    micros.sort_unstable_by(f64::total_cmp);
    let per_second = in_time as f64 / time.as_secs_f64();
    Ok(Paced { per_second, p50_us: percentile(&micros, 0.5), p99_us: percentile(&micros, 0.99), answered })
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    micros: Vec<f64>,
    answered: u64,
    in_time: u64,
}

/// A request's time begins when it was due, if the one before it kept the connection until then; else when it is sent, as
/// the client's own wake-up is none of the server's time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
fn one_connection(port: u16, pace: &Pace<'_>, warming: Duration, time: Duration) -> Result<Seen> {
    let mut client = Client::new(port)?;
    let start = Instant::now();
    let (begin, end) = (start + warming, start + warming + time);
    let mut seen = Seen::default();
    let mut due = start + pace.offset;
    for request in pace.requests.iter().cycle() {
        if due >= end {
            break;
        }
        let wait = due.saturating_duration_since(Instant::now());
        std::thread::sleep(wait);
        let sent = if wait.is_zero() { due } else { Instant::now() };
        (pace.check)(&client.send(request)?)?;
        let now = Instant::now();
        seen.answered += 1;
        if due >= begin {
            seen.micros.push((now - sent).as_nanos() as f64 / 1e3);
        }
        seen.in_time += u64::from(now >= begin && now < end);
        due += pace.each;
        if now > end + time {
            bail!("send at a pace: the server does not keep up");
        }
    }
    Ok(seen)
}

/// The medians of several samples; the answers of all.
pub fn medians(samples: &[Paced]) -> Paced {
    let of = |pick: fn(&Paced) -> f64| median(samples.iter().map(pick));
    let answered = samples.iter().map(|sample| sample.answered).sum();
    Paced { per_second: of(|s| s.per_second), p50_us: of(|s| s.p50_us), p99_us: of(|s| s.p99_us), answered }
}
