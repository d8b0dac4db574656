//! A rate with a burst, as one number: when what was taken will have come back.

use std::time::Duration;

use base::Timestamp;

/// In any span of time no more is taken than what it holds when full, and what its rate brings in that span.
///
/// It is full at first, and holds no more however long nobody takes. Where the rate changes, what was taken at the
/// rate before stays taken for as long as it would have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// When it is full again, in nanoseconds since 1970: rates may be above one a microsecond.
    full_at: u64,
}

/// How much a bucket holds, and how much comes back in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

const SECOND: u64 = 1_000_000_000;

impl Bucket {
    /// Whether there is one to take.
    pub fn has(&self, now: Timestamp, rate: Rate) -> bool {
        rate.burst > 0 && self.full_at <= nanos(now).saturating_add(rate.slack())
    }

    pub fn take(&mut self, now: Timestamp, rate: Rate) {
        self.full_at = self.full_at.max(nanos(now)).saturating_add(rate.each());
    }

    /// One that was taken is not needed.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.saturating_sub(rate.each());
    }

    /// When there is one to take.
    pub fn has_at(&self, rate: Rate) -> Timestamp {
        timestamp(self.full_at.saturating_sub(rate.slack()))
    }

    /// From when on it need not be remembered.
    pub fn full_at(&self) -> Timestamp {
        timestamp(self.full_at)
    }
}

impl Rate {
    fn each(self) -> u64 {
        SECOND.checked_div(u64::from(self.per_second)).unwrap_or(u64::MAX)
    }

    /// How far from full it may be for one more to be there.
    fn slack(self) -> u64 {
        self.each().saturating_mul(u64::from(self.burst).saturating_sub(1))
    }

    /// So many a second, and as many at once.
    pub fn per_second(count: u32) -> Rate {
        Rate { burst: count, per_second: count }
    }
}

fn nanos(moment: Timestamp) -> u64 {
    u64::try_from(moment.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

/// Rounded up, so that what is waited for is there then.
fn timestamp(nanos: u64) -> Timestamp {
    Timestamp::from_secs(0).plus(Duration::from_micros(nanos.div_ceil(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_not_saved_beyond_the_burst() {
        let rate = Rate { burst: 3, per_second: 2 };
        let mut bucket = Bucket::default();
        let mut taken = |millis: i64| {
            let now = Timestamp::from_secs(1_000).plus(Duration::from_millis(millis as u64));
            let mut count = 0;
            while bucket.has(now, rate) {
                bucket.take(now, rate);
                count += 1;
            }
            (count, bucket.has_at(rate).since(now).as_millis())
        };
        assert_eq!(taken(0), (3, 500));
        assert_eq!(taken(499), (0, 1));
        assert_eq!(taken(500), (1, 500));
        assert_eq!(taken(100_000), (3, 500));
        assert!(!Bucket::default().has(Timestamp::from_secs(1), Rate::per_second(0)));
    }
}
