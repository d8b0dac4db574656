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
    /// An invocation is over, and so much was used by then, if the host tells. If it is time to look: what those since the
    /// last look had.
    pub fn count(&mut self, now: Instant, wall: Duration, used: Option<Duration>) -> Option<CpuShare> {
        self.wall = self.wall.saturating_add(wall);
        // Of a few short ones, how long they took to wake up would say more than what they do.
        if self.last.is_some() && self.wall < CPU_LOOKED_AT_EVERY {
            return None;
        }
        let used = used?;
        let wall = std::mem::take(&mut self.wall);
        let (then, before) = self.last.replace((now, used))?;
        let thousandths = used.saturating_sub(before).as_nanos().saturating_mul(1_000).checked_div(wall.as_nanos())?;
        Some(CpuShare { thousandths: u32::try_from(thousandths).ok()?, over: now.saturating_duration_since(then) })
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
            let used = used_micros.map(Duration::from_micros);
            meter.count(began + Duration::from_millis(at), Duration::from_millis(20), used)
        };
        let share = |thousandths, millis| Some(CpuShare { thousandths, over: Duration::from_millis(millis) });
        assert_eq!(over(0, Some(90_000)), None, "the first had all of init");
        assert_eq!(over(100, Some(0)), None, "too little to judge by");
        assert_eq!(over(200, Some(0)), None);
        assert_eq!(over(260, Some(96_000)), share(100, 260));
        assert_eq!(over(280, None), None);
        assert_eq!(over(300, None), None);
        assert_eq!(over(320, None), None, "the host does not tell");
        assert_eq!(over(360, Some(112_000)), share(200, 100));
    }
}
