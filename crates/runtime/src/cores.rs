//! Whether the host's cores are all at work, looked at now and then while somebody asks for functions.

use std::fs;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{CORES_LOOKED_AT_EVERY, CORES_SEEN_MAX};

#[derive(Default)]
pub struct Cores(Mutex<Option<Seen>>);

/// How long cores have had nothing to do, all together.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    idle: Duration,
}

impl Cores {
    /// What is to be known now, if it is time to look.
    pub fn look(&self) -> Option<bool> {
        // Somebody else is looking.
        let mut last = self.0.try_lock()?;
        let at = Instant::now();
        if last.is_some_and(|seen| at.duration_since(seen.at) < CORES_LOOKED_AT_EVERY) {
            return None;
        }
        let seen = Seen { at, idle: idle(&fs::read_to_string("/proc/uptime").ok()?)? };
        let before = last.replace(seen);
        let count = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Some(before.is_some_and(|before| are_full(before, seen, count)))
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let cores = Cores::default();
        assert_eq!((cores.look(), cores.look()), (Some(false), None));
    }
}
