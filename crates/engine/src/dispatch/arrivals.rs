//! When a function was called, in a few hundred bytes, and what that says of when it will be called next.

use std::time::Duration;

use base::Timestamp;

use super::estimate::Estimate;

/// A bin of the histogram is a minute, as in the paper (Shahrad et al., "Serverless in the Wild", 2020), which also
/// has its reach of four hours.
const BIN: Duration = Duration::from_secs(60);
const BINS: usize = 240;

/// Fewer idle times say nothing; more than this share beyond its reach neither.
const SAMPLES_MIN: u32 = 8;
const BEYOND_PERCENT_MAX: u32 = 50;

/// The parts of a function's idle times that are cut off: it is made ready before the first call that is to be
/// expected, and let go after the last.
const HEAD_PERCENT: u32 = 5;
const TAIL_PERCENT: u32 = 99;

/// What a call counts for, so that one of some hours ago still counts for something.
pub const CALL: u64 = 256;
const HALF_LIFE: Duration = Duration::from_secs(7_200);

fn half_life(now: Timestamp) -> i64 {
    let length = i64::try_from(HALF_LIFE.as_secs()).unwrap_or(i64::MAX);
    now.as_secs().checked_div(length).unwrap_or(0)
}

#[derive(Default)]
pub struct Arrivals {
    /// When the last invocation ended, while none runs.
    rested: Option<Timestamp>,
    /// Calls, ever.
    pub count: u32,
    /// Calls lately, as `recent` counts them, and in which half-life that was.
    recent: u64,
    half_life: i64,
    /// Between its invocations, with none running.
    pub gap: Estimate,
    idle: Option<Box<Histogram>>,
}

/// How long after its last invocation a function is likely to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Duration,
    pub to: Duration,
}

struct Histogram {
    bins: [u8; BINS],
    beyond: u32,
}

impl Arrivals {
    pub fn asked(&mut self, now: Timestamp) {
        self.recent = self.recent(now).saturating_add(CALL);
        self.half_life = half_life(now);
        self.count = self.count.saturating_add(1);
        if let Some(rested) = self.rested.take() {
            let idle = self.idle.get_or_insert_with(|| Box::new(Histogram { bins: [0; BINS], beyond: 0 }));
            idle.add(now.since(rested));
            self.gap.add(now.since(rested));
        }
    }

    pub fn rested(&mut self, now: Timestamp) {
        self.rested = Some(now);
    }

    /// How often it was called lately: each call counts for [`CALL`] at first, and for half as much every two hours.
    pub fn recent(&self, now: Timestamp) -> u64 {
        let passed = u32::try_from(half_life(now).saturating_sub(self.half_life)).unwrap_or(0);
        self.recent.checked_shr(passed).unwrap_or(0)
    }

    /// What the idle times say, if they are enough and alike enough.
    pub fn window(&self) -> Option<Window> {
        let idle = self.idle.as_ref()?;
        let within: u32 = idle.bins.iter().map(|count| u32::from(*count)).sum();
        let samples = within.saturating_add(idle.beyond);
        if samples < SAMPLES_MIN || idle.beyond.saturating_mul(100) > samples.saturating_mul(BEYOND_PERCENT_MAX) {
            return None;
        }
        // The whole minute belongs to it at either end.
        let (from, to) = (idle.bin(within, HEAD_PERCENT), idle.bin(within, TAIL_PERCENT).saturating_add(1));
        Some(Window { from: BIN.saturating_mul(from), to: BIN.saturating_mul(to) })
    }
}

impl Histogram {
    fn add(&mut self, idle: Duration) {
        let bin = usize::try_from(idle.as_secs().checked_div(BIN.as_secs()).unwrap_or(0)).unwrap_or(usize::MAX);
        let Some(count) = self.bins.get_mut(bin) else {
            self.beyond = self.beyond.saturating_add(1);
            return;
        };
        *count = count.saturating_add(1);
        // What is long past counts for less.
        if *count == u8::MAX {
            self.bins.iter_mut().for_each(|count| *count >>= 1);
            self.beyond >>= 1;
        }
    }

    /// The first bin that, with those before it, holds so many percent of `within`.
    fn bin(&self, within: u32, percent: u32) -> u32 {
        let wanted = within.saturating_mul(percent).div_ceil(100).max(1);
        let mut sum = 0_u32;
        for (bin, count) in (0_u32..).zip(&self.bins) {
            sum = sum.saturating_add(u32::from(*count));
            if sum >= wanted {
                return bin;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_seen_through_and_chance_is_not() {
        let mut arrivals = Arrivals::default();
        let mut now = Timestamp::from_secs(0);
        for _ in 0..8 {
            assert_eq!(arrivals.window(), None);
            arrivals.asked(now);
            arrivals.rested(now.plus(Duration::from_secs(1)));
            now = now.plus(Duration::from_secs(30 * 60));
        }
        arrivals.asked(now);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(arrivals.window(), Some(Window { from: minutes(29), to: minutes(30) }));
        for _ in 0..9 {
            arrivals.rested(now);
            now = now.plus(Duration::from_secs(5 * 60 * 60));
            arrivals.asked(now);
        }
        assert_eq!(arrivals.window(), None, "most are beyond its reach");
    }

    #[test]
    fn a_history_is_a_few_hundred_bytes() {
        assert!(size_of::<Arrivals>() + size_of::<Histogram>() <= 400);
    }
}
