//! Calls of one function that nobody waits for: how many begin at once.
//!
//! A call that has just begun uses a processor, and more of them than there are would each take as much longer, each in an
//! instance that has to be woken. So only so many run at once; one that has run for some milliseconds waits for something
//! else, and leaves its place to another.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How many at least, and for how long a call has just begun.
const YOUNG_MIN: usize = 5;
const YOUNG_FOR: Duration = Duration::from_millis(5);

/// The places of those that have just begun.
#[derive(Debug, Clone)]
pub struct Young(Arc<Semaphore>);

impl Default for Young {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::places(processors.saturating_mul(2).max(YOUNG_MIN))
    }
}

impl Young {
    fn places(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Runs a call, which has a place as long as it has just begun.
    pub async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        // Nobody closes it.
        let place = self.0.acquire().await.ok();
        tokio::select! {
            done = &mut call => return done,
            () = tokio::time::sleep(YOUNG_FOR) => drop(place),
        }
        call.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_run_for_a_while_leaves_its_place_to_another() {
        let young = Young::places(2);
        // It sleeps from when it has a place.
        let lasts = |millis| young.run(async move { tokio::time::sleep(Duration::from_millis(millis)).await });
        let timed = async |millis| {
            let began = tokio::time::Instant::now();
            lasts(millis).await;
            began.elapsed()
        };
        let took = tokio::join!(timed(60_000), timed(1), timed(1), timed(60_000), timed(60_000), timed(60_000));
        assert!(took.1 < Duration::from_secs(1) && took.2 < Duration::from_secs(1), "{took:?}");
        assert!(took.5 > Duration::from_secs(60) && took.5 < Duration::from_secs(61), "{took:?}");
        assert_eq!(young.0.available_permits(), 2);
    }
}
