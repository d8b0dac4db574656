//! Keep-alive: how long an instance that nobody calls is kept, which one goes first when memory is short, and when one
//! is started before anybody calls.
//!
//! `docs/decisions/0009-keep-alive.md` has what each policy costs on the public trace.

use std::time::Duration;

use base::Timestamp;

use super::arrivals::Arrivals;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    pub policy: Policy,
    /// How long at most; where a policy knows of a function when it will be called, that long.
    pub keep: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// For `keep`. Who was idle longest goes first.
    Fixed,
    /// Until memory is short. Who was idle longest goes first.
    LeastRecent,
    /// For `keep`. Who is called least, costs least to start and holds most goes first (Fuerst, Sharma, "FaasCache",
    /// 2021).
    GreedyDual,
    /// By the histogram of the function's idle times: let go at once if it is not called soon, and started before it
    /// will be (Shahrad et al., "Serverless in the Wild", 2020).
    Histogram,
    /// Greedy-dual by how often a function is called lately, kept to the end of its histogram, and started again before
    /// it will be called, if it had to go meanwhile. One that came where memory was short, and would
    /// be gone before it is called again, goes at once, unless more is gained by it than by others: where more is called
    /// in turn than fits, some of it stays.
    Predictive,
}

/// What becomes of an instance that is idle now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub until: Option<Timestamp>,
    pub warm: Option<Warm>,
}

/// A start before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    pub at: Timestamp,
    pub until: Timestamp,
}

/// What the worth of an idle instance is made of.
#[derive(Debug, Clone, Copy)]
pub struct Worth {
    /// Of the last that had to go.
    pub clock: u64,
    pub cold: Duration,
    pub bytes: u64,
    /// What must be gained by one that came where memory was short, and is not likely to be called again in time; 0 for
    /// all others.
    pub bar: u64,
}

/// A function that is called again within this time is worth keeping meanwhile, whatever its histogram says.
const SOON: Duration = Duration::from_secs(120);

/// How much earlier and later than the histogram says, in percent of it.
const MARGIN_PERCENT: u32 = 10;

impl KeepAlive {
    /// `is_last`: no invocation of the function runs any more, so its idle time begins.
    pub fn plan(&self, now: Timestamp, arrivals: &Arrivals, is_last: bool) -> Plan {
        let keep = Plan { until: Some(now.plus(self.keep)), warm: None };
        let window = match self.policy {
            Policy::Fixed | Policy::GreedyDual => return keep,
            Policy::LeastRecent => return Plan { until: None, warm: None },
            Policy::Histogram | Policy::Predictive => arrivals.window(),
        };
        let Some(window) = window else { return keep };
        let percent = |time: Duration, percent: u32| time.saturating_mul(percent).checked_div(100).unwrap_or(time);
        let until = now.plus(percent(window.to, MARGIN_PERCENT.saturating_add(100)));
        let is_soon = window.from < SOON;
        let warm = Warm { at: now.plus(percent(window.from, 100_u32.saturating_sub(MARGIN_PERCENT))), until };
        match (self.policy, is_last) {
            // More than the function needed last: there is no telling when it will need so many again.
            (Policy::Histogram, false) => Plan { until: Some(until.min(now.plus(self.keep))), warm: None },
            (Policy::Histogram, true) if is_soon => Plan { until: Some(until), warm: None },
            (Policy::Histogram, true) => Plan { until: Some(now), warm: Some(warm) },
            (_, false) => keep,
            (_, true) => Plan { until: Some(until.max(now.plus(self.keep))), warm: Some(warm).filter(|_| !is_soon) },
        }
    }

    /// The lower, the sooner it goes.
    pub fn rank(&self, now: Timestamp, arrivals: &Arrivals, worth: Worth) -> u64 {
        let gain = self.gain(now, arrivals, worth);
        match self.policy {
            Policy::Fixed | Policy::LeastRecent | Policy::Histogram => 0,
            Policy::Predictive if worth.bar > 0 && gain <= worth.bar => 0,
            Policy::GreedyDual | Policy::Predictive => worth.clock.saturating_add(gain).max(1),
        }
    }

    /// What is gained by keeping it: microseconds of starts for each MiB that is held, by how often it is called.
    pub fn gain(&self, now: Timestamp, arrivals: &Arrivals, worth: Worth) -> u64 {
        let cold = u64::try_from(worth.cold.as_micros()).unwrap_or(u64::MAX).max(1);
        let density = cold.saturating_mul(1 << 20).checked_div(worth.bytes).unwrap_or(cold);
        match self.policy {
            Policy::Fixed | Policy::LeastRecent | Policy::Histogram => 0,
            Policy::GreedyDual => density.saturating_mul(u64::from(arrivals.count)),
            Policy::Predictive => density.saturating_mul(arrivals.recent(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Called each half hour.
    fn timer() -> Arrivals {
        let mut arrivals = Arrivals::default();
        for call in 0..10 {
            arrivals.asked(secs(call * 1_800));
            arrivals.rested(secs(call * 1_800));
        }
        arrivals
    }

    #[test]
    fn a_timers_function_is_started_before_it_is_called() {
        let plan = |policy, arrivals: &Arrivals, is_last| {
            let keep = KeepAlive { policy, keep: Duration::from_secs(600) };
            let plan = keep.plan(secs(0), arrivals, is_last);
            let warm = plan.warm.map(|warm| (warm.at.as_secs(), warm.until.as_secs()));
            (plan.until.map(Timestamp::as_secs), warm)
        };
        assert_eq!(plan(Policy::Fixed, &timer(), true), (Some(600), None));
        assert_eq!(plan(Policy::LeastRecent, &timer(), true), (None, None));
        assert_eq!(plan(Policy::Histogram, &timer(), true), (Some(0), Some((1_620, 2_046))));
        assert_eq!(plan(Policy::Histogram, &timer(), false), (Some(600), None));
        assert_eq!(plan(Policy::Predictive, &timer(), true), (Some(2_046), Some((1_620, 2_046))));
        assert_eq!(plan(Policy::Predictive, &Arrivals::default(), true), (Some(600), None));
    }

    #[test]
    fn what_is_dear_to_start_and_small_and_called_often_stays() {
        let rank = |policy, arrivals: &Arrivals, cold, mib: u64| {
            let worth = Worth { clock: 5, cold: Duration::from_millis(cold), bytes: mib << 20, bar: 0 };
            KeepAlive { policy, keep: Duration::from_secs(600) }.rank(secs(0), arrivals, worth)
        };
        for policy in [Policy::GreedyDual, Policy::Predictive] {
            let usual = rank(policy, &timer(), 100, 100);
            assert!(rank(policy, &timer(), 200, 100) > usual && rank(policy, &timer(), 100, 200) < usual);
            let mut often = timer();
            often.asked(secs(9 * 1_800 + 1));
            assert!(rank(policy, &often, 100, 100) > usual && usual > 5);
        }
        assert_eq!(rank(Policy::Fixed, &timer(), 100, 100), 0);
        let guest = |bar| {
            let worth = Worth { clock: 5, cold: Duration::from_millis(100), bytes: 100 << 20, bar };
            KeepAlive { policy: Policy::Predictive, keep: Duration::from_secs(600) }.rank(secs(0), &timer(), worth)
        };
        let usual = rank(Policy::Predictive, &timer(), 100, 100);
        assert_eq!([0, usual - 6, usual - 5].map(guest), [usual, usual, 0]);
    }
}
