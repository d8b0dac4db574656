//! A timer whose time changes all the while, as an instance's does with each event.
//!
//! Setting a timer of the event loop to an earlier moment wakes the thread that waits for it. So this one is moved only
//! where it must be: set to a later moment it rings at the old one all the same, and is asked again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Default)]
pub struct Alarm {
    /// From the first `set` on.
    sleep: Option<Pin<Box<Sleep>>>,
    has_rung: bool,
}

impl Alarm {
    /// Makes it ring at `at` or before. Without a time it may still ring for an earlier one.
    pub fn set(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return };
        match &mut self.sleep {
            None => self.sleep = Some(Box::pin(sleep_until(at))),
            Some(sleep) if self.has_rung || at < sleep.deadline() => sleep.as_mut().reset(at),
            Some(_) => return,
        }
        self.has_rung = false;
    }

    /// Waits until it rings, which it does once before it is set again. Cancelling it loses nothing.
    pub async fn rings(&mut self) {
        poll_fn(|context| match &mut self.sleep {
            Some(sleep) if !self.has_rung => sleep.as_mut().poll(context),
            _ => Poll::Pending,
        })
        .await;
        self.has_rung = true;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_must_at_the_latest() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let mut alarm = Alarm::default();
        alarm.set(at(20));
        // Later is not worth a move; earlier is.
        alarm.set(at(5_000));
        alarm.rings().await;
        assert_eq!(start.elapsed(), Duration::from_millis(20));
        alarm.set(at(5_000));
        alarm.set(at(30));
        alarm.rings().await;
        assert_eq!(start.elapsed(), Duration::from_millis(30));
        // It has rung: nothing more comes until it is set.
        let more = tokio::time::timeout(Duration::from_secs(60), alarm.rings()).await;
        assert!(more.is_err());
        alarm.set(at(1));
        alarm.rings().await;
    }
}
