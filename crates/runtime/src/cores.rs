//! Whether the host's cores are all at work, looked at now and then while somebody asks for functions.
//!
//! How long they had nothing to do says so for certain, but only of the last tenth of a second, in which a burst has its
//! instances already. So while many short invocations run, it is glanced at how many programs want a core at that moment.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{CORES_GLANCED_AT_EVERY, CORES_LOOKED_AT_EVERY, CORES_SEEN_MAX};

pub struct Cores {
    count: usize,
    last: Mutex<Last>,
    run_many: AtomicBool,
}

#[derive(Default)]
struct Last {
    seen: Option<Seen>,
    are_full: bool,
    glanced_at: Option<Instant>,
}

/// How long cores have had nothing to do, all together.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    idle: Duration,
}

impl Cores {
    pub fn new(count: usize) -> Cores {
        Cores { count, last: Mutex::default(), run_many: AtomicBool::default() }
    }

    /// Whether as many short invocations run as the cores carry.
    pub fn run_many(&self, do_they: bool) {
        self.run_many.store(do_they, Ordering::Relaxed);
    }

    /// What is to be known now, if it is time to look.
    pub fn look(&self) -> Option<bool> {
        // Somebody else is looking.
        let mut last = self.last.try_lock()?;
        let at = Instant::now();
        let is_due = |before: Option<Instant>, every| before.is_none_or(|before| at.duration_since(before) >= every);
        if is_due(last.seen.map(|seen| seen.at), CORES_LOOKED_AT_EVERY) {
            let before = last.seen.replace(Seen::now(at)?);
            last.are_full = before.zip(last.seen).is_some_and(|(before, seen)| are_full(before, seen, self.count));
            return Some(last.are_full);
        }
        let glances = self.run_many.load(Ordering::Relaxed) && !last.are_full;
        if !glances || !is_due(last.glanced_at, CORES_GLANCED_AT_EVERY) {
            return None;
        }
        last.glanced_at = Some(at);
        if runnable(&fs::read_to_string("/proc/loadavg").ok()?)? <= self.count.saturating_mul(2) {
            return None;
        }
        // What comes from here on is compared with this moment.
        last.seen = Some(Seen::now(at)?);
        last.are_full = true;
        Some(true)
    }
}

impl Seen {
    fn now(at: Instant) -> Option<Seen> {
        Some(Seen { at, idle: idle(&fs::read_to_string("/proc/uptime").ok()?)? })
    }
}

/// Whether less than a tenth was left between two looks, if they are near enough to say something.
fn are_full(before: Seen, now: Seen, count: usize) -> bool {
    let passed = now.at.duration_since(before.at);
    let idle = now.idle.saturating_sub(before.idle);
    let all = passed.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    passed <= CORES_SEEN_MAX && idle.saturating_mul(10) < all
}

/// The second figure: seconds, with hundredths.
fn idle(uptime: &str) -> Option<Duration> {
    let seconds = uptime.split_whitespace().nth(1)?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The fourth figure: those that want a core now, of all.
fn runnable(loadavg: &str) -> Option<usize> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn cores() -> Cores {
        Cores::new(thread::available_parallelism().unwrap().get())
    }

    #[test]
    fn cores_are_full_when_hardly_any_was_idle() {
        let start = Instant::now();
        let seen = |ms: u64, idle: u64| Seen {
            at: start + Duration::from_millis(ms),
            idle: Duration::from_secs(900) + Duration::from_millis(idle),
        };
        let cases = [
            ("nothing idle", 100, 0, true),
            ("a twentieth", 100, 10, true),
            ("a tenth", 100, 20, false),
            ("all", 100, 200, false),
            ("long ago", 5_000, 0, false),
        ];
        for (name, ms, idle, expected) in cases {
            assert_eq!(are_full(seen(0, 0), seen(ms, idle), 2), expected, "{name}");
        }
    }

    #[test]
    fn this_host_says_how_long_it_had_nothing_to_do() {
        assert!(idle(&fs::read_to_string("/proc/uptime").unwrap()).is_some());
        for bad in ["", "1.0", "1.0 x", "1.0 -3", "1.0 1e300"] {
            assert_eq!(idle(bad), None, "{bad}");
        }
        assert!(runnable(&fs::read_to_string("/proc/loadavg").unwrap()).is_some_and(|count| count > 0));
        for bad in ["", "0.1 0.2 0.3", "0.1 0.2 0.3 5 7", "0.1 0.2 0.3 -1/7 9"] {
            assert_eq!(runnable(bad), None, "{bad}");
        }
        let cores = cores();
        assert_eq!((cores.look(), cores.look()), (Some(false), None));
    }

    #[test]
    fn a_burst_is_seen_at_once() {
        let cores = cores();
        assert_eq!(cores.look(), Some(false));
        let is_over = AtomicBool::new(false);
        let count = cores.count * 2 + 2;
        let seen = thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            thread::sleep(Duration::from_millis(5));
            cores.run_many(true);
            let seen = (0..50).any(|_| {
                thread::sleep(Duration::from_millis(1));
                cores.look() == Some(true)
            });
            is_over.store(true, Ordering::Relaxed);
            seen
        });
        assert!(seen);
    }
}
