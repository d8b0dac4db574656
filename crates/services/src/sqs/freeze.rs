//! Queues whose delivery the operator has stopped: they take messages and give none, and nothing in them gets too old.

use std::time::Duration;

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};

use super::queue::{self, Found, Queue};

/// When a queue was frozen, and how long.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Frost {
    since: Option<Timestamp>,
    /// When it was thawed last, and how much longer what was sent until then is kept.
    before: Option<(Timestamp, Duration)>,
}

impl Frost {
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }

    fn end(&mut self, now: Timestamp, retention: Duration) {
        let Some(since) = self.since.take() else { return };
        // Nothing is left of what an earlier frost has kept, if that was so long ago.
        let earlier = self.before.filter(|(thawed, longer)| since.since(*thawed) < retention.saturating_add(*longer));
        let (_, longer) = earlier.unwrap_or_default();
        self.before = Some((now, longer.saturating_add(now.since(since))));
    }

    /// What was sent before is too old, of a queue that keeps messages so long; nothing while it is frozen.
    fn expires_before(&self, now: Timestamp, retention: Duration) -> Option<Timestamp> {
        let expired = now.minus(retention);
        match (self.since, self.before) {
            (Some(_), _) => None,
            (None, None) => Some(expired),
            // What was sent later is kept as much longer, until all that was sent before has gone.
            (None, Some((thawed, longer))) => {
                let older = expired.minus(longer);
                Some(if older >= thawed { expired } else { older })
            }
        }
    }
}

impl Queue {
    /// When what is too old by now was sent at the latest.
    pub fn expires_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.frost.expires_before(now, self.settings.retention())
    }
}

/// Stops a queue's delivery, or lets it go on.
pub async fn set(found: &Found, is_frozen: bool) -> Result<(), AwsError> {
    let now = found.ctx.cx.now();
    queue::edit(found, |queue, batch| {
        match is_frozen {
            true => queue.frost.since = queue.frost.since.or(Some(now)),
            false => queue.frost.end(now, queue.settings.retention()),
        }
        Ok(batch)
    })
    .await?;
    // Who waits finds out.
    found.live().await?.ring();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_too_old_in_the_cold() {
        let at = Timestamp::from_secs;
        let keeps = Duration::from_secs(100);
        let mut frost = Frost::default();
        assert_eq!(frost.expires_before(at(150), keeps), Some(at(50)));
        frost.since = Some(at(150));
        assert_eq!(frost.expires_before(at(1_000), keeps), None);
        frost.end(at(1_150), keeps);
        assert_eq!(frost.expires_before(at(1_150), keeps), Some(at(50)), "as when it was frozen");
        assert_eq!(frost.expires_before(at(1_200), keeps), Some(at(100)));
        // All that was there then has gone.
        assert_eq!(frost.expires_before(at(2_250), keeps), Some(at(2_150)));
        frost.end(at(3_000), keeps);
        assert_eq!(frost.expires_before(at(1_200), keeps), Some(at(100)), "it was not frozen");
        // What an old frost kept has gone; a later one keeps as long as itself.
        frost.since = Some(at(5_000));
        frost.end(at(5_010), keeps);
        assert_eq!(frost.expires_before(at(5_020), keeps), Some(at(4_910)));
    }
}
