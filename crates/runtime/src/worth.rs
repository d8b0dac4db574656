//! Whether a start that finds no clone of its template waiting makes one for itself, or loads the function as if there were
//! no template.
//!
//! What loading takes was measured when the template was made, in the processor's time where the host counts it, so that a
//! busy machine does not make it look dear. What a clone takes is measured whenever one is made; of late, the least counts,
//! since in a burst all the others have waited for each other, as loading would have. A machine that has become slower is
//! believed slowly.
//!
//! A start that finds a runtime parked would only have to load the function; one that finds none would start an interpreter
//! as well. A clone has its room made anew in either case; so has a fresh runtime, but not a parked one.

use std::time::Duration;

use parking_lot::Mutex;
use sandbox::Sandbox;
use tokio::time::Instant;

/// Until one was made.
const ROOM_GUESS: Duration = Duration::from_millis(5);
const COPY_GUESS: Duration = Duration::from_millis(12);

/// What part of the difference a dearer one makes.
const BELIEVED: u32 = 16;

#[derive(Debug)]
pub struct Worth {
    /// An interpreter's start, and the function's own.
    starting: Duration,
    loading: Duration,
    copying: Mutex<Copying>,
}

#[derive(Debug)]
struct Copying {
    room: Duration,
    copy: Duration,
    is_measured: bool,
    /// The last one could not be made.
    has_failed: bool,
}

impl Worth {
    pub fn new(starting: Duration, loading: Duration) -> Worth {
        let copying = Copying { room: ROOM_GUESS, copy: COPY_GUESS, is_measured: false, has_failed: false };
        Worth { starting, loading, copying: Mutex::new(copying) }
    }

    /// A clone was made: how long its room and the rest took.
    pub fn made(&self, room: Duration, copy: Duration) {
        let mut copying = self.copying.lock();
        if copying.is_measured {
            copying.room = least_of_late(copying.room, room);
            copying.copy = least_of_late(copying.copy, copy);
        } else {
            (copying.room, copying.copy, copying.is_measured) = (room, copy, true);
        }
        copying.has_failed = false;
    }

    /// One could not be made. Nobody waits for another until one was made ahead.
    pub fn failed(&self) {
        self.copying.lock().has_failed = true;
    }

    /// Whether to make one now; `is_parked`: a runtime of the function's kind waits.
    pub fn pays(&self, is_parked: bool) -> bool {
        let copying = self.copying.lock();
        let (by_copy, by_loading) = if is_parked {
            (copying.room.saturating_add(copying.copy), self.loading)
        } else {
            (copying.copy, self.starting.saturating_add(self.loading))
        };
        !copying.has_failed && by_copy < by_loading
    }
}

fn least_of_late(known: Duration, new: Duration) -> Duration {
    let dearer = new.saturating_sub(known).checked_div(BELIEVED).unwrap_or_default();
    known.saturating_add(dearer).min(new)
}

/// What a sandbox has used of time so far.
pub struct Spent {
    at: Instant,
    /// Of the processor's, where the host counts it.
    cpu: Option<Duration>,
}

impl Spent {
    pub fn so_far(sandbox: &Sandbox) -> Spent {
        Spent { at: Instant::now(), cpu: sandbox.usage().ok().and_then(|usage| usage.cpu) }
    }

    pub fn since(&self, before: &Spent) -> Duration {
        match (self.cpu, before.cpu) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => self.at.saturating_duration_since(before.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_clone_is_made_where_loading_takes_longer() {
        let heavy = Worth::new(ms(30), ms(400));
        let cheap = Worth::new(ms(30), ms(2));
        for worth in [&heavy, &cheap] {
            worth.made(ms(4), ms(10));
        }
        assert!(heavy.pays(true) && heavy.pays(false));
        assert!(!cheap.pays(true), "a parked runtime is quicker");
        assert!(cheap.pays(false), "an interpreter's start is not");
        let border = Worth::new(ms(30), ms(12));
        border.made(ms(4), ms(10));
        assert!(!border.pays(true), "a parked runtime has its room");
    }

    #[test]
    fn a_burst_makes_no_clone_look_dear() {
        let worth = Worth::new(ms(30), ms(60));
        worth.made(ms(100), ms(200));
        assert!(!worth.pays(true), "the first is all that is known");
        worth.made(ms(4), ms(10));
        for _ in 0..3 {
            worth.made(ms(60), ms(150));
        }
        assert!(worth.pays(true));
        for _ in 0..40 {
            worth.made(ms(60), ms(150));
        }
        assert!(!worth.pays(true), "it is so for good");
    }

    #[test]
    fn nobody_waits_again_for_what_has_failed_until_one_was_made() {
        let worth = Worth::new(ms(30), ms(400));
        worth.failed();
        assert!(!worth.pays(false));
        worth.made(ms(4), ms(10));
        assert!(worth.pays(false));
    }
}
