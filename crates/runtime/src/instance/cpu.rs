//! What part of their time invocations have a processor, which says whether they compute or wait for something.

use std::time::Duration;

use engine::dispatch::CpuShare;
use tokio::time::Instant;

use crate::limits::CPU_LOOKED_AT_EVERY;

#[derive(Debug, Default)]
pub struct CpuMeter {
    /// When it was looked at last, and what had been used by then.
    last: Option<(Instant, Duration)>,
    /// What invocations took since.
    wall: Duration,
}

impl CpuMeter {
    /// An invocation is over. If it is time to look, and `used` tells: what those since the last look had.
    pub fn count(&mut self, now: Instant, wall: Duration, used: impl FnOnce() -> Option<Duration>) -> Option<CpuShare> {
        self.wall = self.wall.saturating_add(wall);
        if self.last.is_some_and(|(then, _)| now.saturating_duration_since(then) < CPU_LOOKED_AT_EVERY) {
            return None;
        }
        let used = used()?;
        let wall = std::mem::take(&mut self.wall);
        let (then, before) = self.last.replace((now, used))?;
        let thousandths = used.saturating_sub(before).as_nanos().saturating_mul(1_000).checked_div(wall.as_nanos())?;
        // The first of them may have begun before, and lasted.
        let over = now.saturating_duration_since(then).max(wall);
        Some(CpuShare { thousandths: u32::try_from(thousandths).ok()?, over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_the_time_since_the_last_look() {
        let began = Instant::now();
        let mut meter = CpuMeter::default();
        let mut over = |at, used_micros: Option<u64>| {
            meter.count(began + Duration::from_millis(at), Duration::from_millis(10), || {
                used_micros.map(Duration::from_micros)
            })
        };
        assert_eq!(over(0, Some(90_000)), None, "the first had all of init");
        assert_eq!(over(10, Some(0)), None, "nobody looks");
        assert_eq!(over(20, Some(0)), None);
        let share = |thousandths, millis| Some(CpuShare { thousandths, over: Duration::from_millis(millis) });
        assert_eq!(over(60, Some(93_000)), share(100, 60));
        assert_eq!(over(120, None), None, "the host does not tell");
        assert_eq!(over(121, Some(97_000)), share(200, 61));
    }
}
