//! A figure that is read again and again while something else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(f64, f64)>>>,
}

impl Sampler {
    /// Reads until it is stopped; what cannot be read is left out.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
    pub fn start(each: Duration, read: impl Fn() -> Option<f64> + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (begin, mut samples) = (Instant::now(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                samples.extend(read().map(|value| (begin.elapsed().as_secs_f64(), value)));
                std::thread::sleep(each);
            }
            samples
        });
        Self { is_over, thread: Some(thread) }
    }

    /// Seconds, and what was read then.
    pub fn stop(mut self) -> Vec<(f64, f64)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// By how much the figure grows in a second: the straight line that is nearest to the samples.
pub fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, value) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let along: f64 = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - value)).sum();
    let across: f64 = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum();
    along / across
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found() {
        let line: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), 7.0 + 0.5 * f64::from(x))).collect();
        assert!((slope(&line) - 0.5).abs() < 1e-9);
        assert!(slope(&[]).is_nan() && slope(&[(1.0, 1.0)]).is_nan());
    }

    #[test]
    fn samples_are_taken_until_it_is_stopped() {
        let sampler = Sampler::start(Duration::from_millis(1), || Some(3.0));
        std::thread::sleep(Duration::from_millis(50));
        let samples = sampler.stop();
        assert!(samples.len() > 1 && samples.iter().all(|(_, value)| *value == 3.0));
    }
}
