//! What something usually takes, as a mean that forgets.

use std::time::Duration;

/// Each new sample counts for an eighth.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate(Option<u64>);

const WEIGHT: u64 = 8;

impl Estimate {
    pub fn add(&mut self, sample: Duration) {
        self.add_count(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn add_count(&mut self, sample: u64) {
        self.0 = Some(match self.0 {
            None => sample,
            Some(mean) if sample >= mean => mean.saturating_add(sample.saturating_sub(mean).div_ceil(WEIGHT)),
            Some(mean) => mean.saturating_sub(mean.saturating_sub(sample).div_ceil(WEIGHT)),
        });
    }

    /// `None` as long as there is no sample.
    pub fn get(self) -> Option<Duration> {
        self.0.map(Duration::from_micros)
    }

    pub fn count(self) -> Option<u64> {
        self.0
    }
}
