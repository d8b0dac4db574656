//! What is old moves from tier to tier, and goes from the last one. Each step is one commit, and what a crash leaves is found again.

use std::collections::BTreeMap;

use base::Timestamp;
use engine::metric::retention::Tier;
use store::Batch;

use crate::block::{span_s, start_of};
use crate::limits::{FORGET_EVERY, STEP_BYTES_MAX};
use crate::rows::{self, Kept, Place};
use crate::{Error, Metrics};

impl Metrics {
    /// Moves what is old, and forgets series that have nothing left. To be called every minute or so.
    pub async fn tend(&self) -> Result<(), Error> {
        for tier in Tier::ALL {
            while self.move_some(tier).await? {}
        }
        let now = self.0.clock.now();
        let mut writer = self.0.writer.lock().await;
        if now.since(writer.forgot) >= FORGET_EVERY {
            // What a series' row says may be behind, and the last block ends later than its first point.
            let slack = std::time::Duration::from_secs(7 * 86_400);
            self.forget_series(now.minus(Tier::Hour.kept()).minus(slack)).await?;
            writer.forgot = now;
        }
        Ok(())
    }

    /// Moves some blocks out of a tier; `false` if none is due. Settling may go between two steps.
    async fn move_some(&self, tier: Tier) -> Result<bool, Error> {
        let _writer = self.0.writer.lock().await;
        // Blocks whose points are due to the last one.
        let before = tier.due_before(self.0.clock.now()).as_secs().saturating_sub(span_s(tier)).saturating_add(1);
        let due = rows::oldest(&self.0.store, tier, before).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let batch = self.moved(tier, &due).await?;
        let _alone = self.0.moving.write().await;
        self.0.store.commit(batch).await?;
        Ok(true)
    }

    /// A batch that moves the first of these blocks, as many as fit.
    async fn moved(&self, tier: Tier, due: &[Place]) -> Result<Batch, Error> {
        let mut batch = Batch::new();
        let mut into: BTreeMap<Place, (Kept, Kept)> = BTreeMap::new();
        let mut bytes = 0_usize;
        for (place, kept) in due.iter().zip(rows::load(&self.0.store, due).await?) {
            if bytes > STEP_BYTES_MAX {
                break;
            }
            batch = rows::delete(batch, *place, &kept);
            let Some(coarser) = tier.coarser() else { continue };
            for (offset_s, unit, samples) in kept.block.points() {
                let at = Timestamp::from_secs(place.start.saturating_add(i64::from(offset_s)));
                let stamp = coarser.stamp(at);
                let start = start_of(coarser, stamp);
                let goal = Place { series: place.series, tier: coarser, start };
                let (_, goal) = match into.entry(goal) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        let before = rows::load_one(&self.0.store, goal).await?;
                        bytes = bytes.saturating_add(before.bytes);
                        entry.insert((before.clone(), before))
                    }
                };
                let offset_s = u32::try_from(stamp.as_secs().saturating_sub(start)).unwrap_or(0);
                goal.block.add(offset_s, unit, samples);
            }
        }
        let put =
            |batch, (place, (before, after)): (Place, (Kept, Kept))| rows::put(batch, place, &after.block, &before).0;
        Ok(into.into_iter().fold(batch, put))
    }
}
