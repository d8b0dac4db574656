//! What something usually takes, as a mean that forgets, and at most, likewise.

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
            Some(mean) if sample >= mean => mean.saturating_add(sample.saturating_sub(mean).div_ceil(WEIGHT)),
            _ => self.lower(sample),
        });
    }

    /// What is above it is believed at once: for what must not be taken for too little.
    pub fn add_peak(&mut self, sample: u64) {
        self.0 = Some(sample.max(self.lower(sample)));
    }

    /// It may have been too much.
    pub fn fade(&mut self) {
        self.0 = Some(self.lower(0)).filter(|_| self.0.is_some());
    }

    fn lower(&self, sample: u64) -> u64 {
        self.0.map_or(sample, |mean| mean.saturating_sub(mean.saturating_sub(sample).div_ceil(WEIGHT)))
    }

    /// `None` as long as there is no sample.
    pub fn get(self) -> Option<Duration> {
        self.0.map(Duration::from_micros)
    }

    pub fn count(self) -> Option<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_samples_fade() {
        let (mut mean, mut peak) = (Estimate::default(), Estimate::default());
        assert_eq!((mean.get(), peak.count()), (None, None));
        for (sample, expected, most) in [(80, 80, 80), (160, 90, 160), (0, 78, 140), (140, 86, 140)] {
            mean.add(Duration::from_micros(sample));
            peak.add_peak(sample);
            assert_eq!((mean.count(), peak.count()), (Some(expected), Some(most)));
        }
    }
}
