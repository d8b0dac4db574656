//! What becomes of an asynchronous invocation after an attempt: decided without clock or store.
//!
//! As on AWS: a function that fails is tried again after one and after two minutes, as often as its configuration says;
//! an attempt that was held up (throttled, or by an error of the platform) costs no retry and is repeated after one
//! second, then twice that, up to five minutes. No event is tried that is older than it may be.

use std::time::Duration;

/// How often and how long events are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub retries_max: u32,
    pub age_max: Duration,
}

/// What AWS does where nobody has said otherwise.
impl Default for Policy {
    fn default() -> Self {
        Self { retries_max: 2, age_max: Duration::from_secs(6 * 60 * 60) }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Succeeded,
    /// The function failed.
    Failed,
    /// The function did not run, for reasons that pass.
    HeldUp,
    /// The event was too old to be tried.
    TooLate,
    /// The function may not run at all: it reserves no concurrency.
    Forbidden,
    /// The function has been invoked in this chain as often as it may.
    Looped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    Again(Duration),
    GiveUp(Reason),
}

/// Why an event is tried no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    RetriesExhausted,
    EventAgeExceeded,
    ZeroReservedConcurrency,
    RecursiveInvocation,
}

impl Reason {
    /// AWS's word, as records of failures carry it. What it says of loops is not public.
    pub fn word(self) -> &'static str {
        match self {
            Reason::RetriesExhausted => "RetriesExhausted",
            Reason::EventAgeExceeded => "EventAgeExceeded",
            Reason::ZeroReservedConcurrency => "ZeroReservedConcurrency",
            Reason::RecursiveInvocation => "RecursiveInvocation",
        }
    }
}

const FAILED_AGAIN_AFTER: Duration = Duration::from_secs(60);
const HELD_UP_AGAIN_AFTER: Duration = Duration::from_secs(1);
const HELD_UP_AGAIN_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// Decides after an attempt; `failures` and `hold_ups` count those before it.
pub fn decide(policy: Policy, age: Duration, failures: u32, hold_ups: u32, attempt: Attempt) -> Verdict {
    let left = policy.age_max.saturating_sub(age);
    let wait = match attempt {
        Attempt::Succeeded => return Verdict::Done,
        Attempt::TooLate => return Verdict::GiveUp(Reason::EventAgeExceeded),
        Attempt::Forbidden => return Verdict::GiveUp(Reason::ZeroReservedConcurrency),
        Attempt::Looped => return Verdict::GiveUp(Reason::RecursiveInvocation),
        Attempt::Failed if failures >= policy.retries_max => return Verdict::GiveUp(Reason::RetriesExhausted),
        Attempt::Failed => FAILED_AGAIN_AFTER.saturating_mul(failures.saturating_add(1)),
        // The last wait ends when it is too old.
        Attempt::HeldUp => {
            let wait = HELD_UP_AGAIN_AFTER.saturating_mul(2_u32.saturating_pow(hold_ups));
            wait.min(HELD_UP_AGAIN_AFTER_MAX).min(left)
        }
    };
    if wait > left || left.is_zero() {
        return Verdict::GiveUp(Reason::EventAgeExceeded);
    }
    Verdict::Again(wait)
}

/// Whether an event is not tried any more, though it may never have been.
pub fn is_too_old(policy: Policy, age: Duration) -> bool {
    age >= policy.age_max
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_failure_is_repeated_after_one_and_two_minutes_and_then_given_up() {
        let verdict = |failures| decide(Policy::default(), secs(0), failures, 9, Attempt::Failed);
        assert_eq!(verdict(0), Verdict::Again(secs(60)));
        assert_eq!(verdict(1), Verdict::Again(secs(120)));
        assert_eq!(verdict(2), Verdict::GiveUp(Reason::RetriesExhausted));
        let none = Policy { retries_max: 0, ..Policy::default() };
        assert_eq!(decide(none, secs(0), 0, 0, Attempt::Failed), Verdict::GiveUp(Reason::RetriesExhausted));
    }

    #[test]
    fn what_is_held_up_is_repeated_ever_later_until_it_is_too_old() {
        let verdict = |age, hold_ups| decide(Policy::default(), secs(age), 2, hold_ups, Attempt::HeldUp);
        let waits = [0, 1, 2, 8, 9, u32::MAX].map(|hold_ups| verdict(0, hold_ups));
        assert_eq!(waits, [1, 2, 4, 256, 300, 300].map(|wait| Verdict::Again(secs(wait))));
        assert_eq!(verdict(6 * 3600 - 300, 20), Verdict::Again(secs(300)));
        assert_eq!(verdict(6 * 3600 - 299, 20), Verdict::Again(secs(299)));
        assert_eq!(verdict(6 * 3600, 20), Verdict::GiveUp(Reason::EventAgeExceeded));
        assert!(!is_too_old(Policy::default(), secs(6 * 3600 - 1)) && is_too_old(Policy::default(), secs(6 * 3600)));
    }

    #[test]
    fn the_age_is_looked_at_before_waiting() {
        // As recorded on AWS: with an age of a minute there is one attempt.
        let policy = Policy { age_max: secs(60), ..Policy::default() };
        let age = Duration::from_millis(1);
        assert_eq!(decide(policy, age, 0, 0, Attempt::Failed), Verdict::GiveUp(Reason::EventAgeExceeded));
    }
}
