//! How many attempts of one function's events run at once: what the function has borne, and more when it has borne that for a
//! while.
//!
//! What is held up is the worse for each try, for it waits ever longer. So where something was, no more is tried than ran
//! beside it, which may last long and must not keep all others waiting, until some time has passed.

use std::time::Duration;

use base::Timestamp;

use super::retry::Attempt;

/// At first, and at most. They hold their events in memory.
const ATTEMPTS_FIRST: usize = 5;
pub const ATTEMPTS_MAX: usize = 100;
/// How long nothing is started after the store failed or an event was held up.
pub const REST: Duration = Duration::from_secs(1);
/// How long as much runs as may before more is tried; and how long after that was too much.
const GROWS_AFTER: Duration = Duration::from_secs(1);
const GROWS_AGAIN_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub width: usize,
    /// More was too much.
    ceiling: usize,
    grows_at: Timestamp,
    /// Nothing is started before.
    pub rests_until: Timestamp,
}

impl Pace {
    pub fn new(now: Timestamp) -> Self {
        let rests_until = Timestamp::default();
        Self { width: ATTEMPTS_FIRST, ceiling: ATTEMPTS_MAX, grows_at: now.plus(GROWS_AFTER), rests_until }
    }

    /// An attempt has ended, if that could be written down; so many are `running`.
    pub fn ended(&mut self, now: Timestamp, running: usize, attempt: Option<Attempt>) {
        match attempt {
            Some(Attempt::Succeeded | Attempt::Failed | Attempt::Forbidden | Attempt::Looped) => {
                self.width = self.width.saturating_add(1).min(self.ceiling);
                self.rests_until = Timestamp::default();
            }
            // It tells nothing of what others may.
            Some(Attempt::TooLate) => {}
            Some(Attempt::HeldUp) | None => {
                self.ceiling = running.max(1);
                (self.width, self.grows_at) = (self.ceiling, now.plus(GROWS_AGAIN_AFTER));
                // Whoever ends first says that there is room.
                self.rests_until = now.plus(REST);
            }
        }
    }

    /// As many run as may, and more wait.
    pub fn full(&mut self, now: Timestamp) {
        if now >= self.grows_at {
            self.ceiling = self.ceiling.saturating_mul(2).min(ATTEMPTS_MAX);
            self.width = self.width.saturating_mul(2).min(self.ceiling);
            self.grows_at = now.plus(GROWS_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_at_once_follows_what_the_function_bears() {
        let at = Timestamp::from_secs;
        let mut pace = Pace::new(at(0));
        pace.ended(at(0), 4, Some(Attempt::Succeeded));
        assert_eq!(pace.width, 6);
        pace.full(at(0));
        assert_eq!(pace.width, 6);
        // Long ones end late: time alone lets more be tried.
        (1..9).for_each(|second| pace.full(at(second)));
        assert_eq!(pace.width, ATTEMPTS_MAX);
        // What ran beside one that was held up is what the function bears.
        pace.ended(at(9), 3, Some(Attempt::HeldUp));
        assert_eq!((pace.width, pace.rests_until), (3, at(10)));
        pace.ended(at(9), 2, Some(Attempt::Failed));
        assert_eq!((pace.width, pace.rests_until), (3, Timestamp::default()));
        pace.full(at(18));
        assert_eq!(pace.width, 3);
        pace.full(at(19));
        assert_eq!(pace.width, 6);
        pace.ended(at(20), 0, None);
        assert_eq!(pace.width, 1);
    }
}
