//! What is old moves from tier to tier, and goes from the last one. Each step is one commit, and what a crash leaves is found again.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use engine::metric::retention::Tier;
use store::Batch;

use crate::block::{Block, span_s, start_of};
use crate::limits::FORGET_EVERY;
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
        self.resolve(&mut writer).await?;
        if now.since(writer.forgot) >= FORGET_EVERY {
            // What a series' row says may be behind, and the last block ends later than its first point.
            let slack = std::time::Duration::from_secs(7 * 86_400);
            writer.is_unsure = true;
            self.forget_series(now.minus(Tier::Hour.kept()).minus(slack)).await?;
            (writer.forgot, writer.is_unsure) = (now, false);
        }
        Ok(())
    }

    /// Moves some blocks out of a tier; `false` if none is due. Settling may go between two steps.
    async fn move_some(&self, tier: Tier) -> Result<bool, Error> {
        let mut writer = self.0.writer.lock().await;
        self.resolve(&mut writer).await?;
        // Blocks whose points are due to the last one.
        let before = tier.due_before(self.0.clock.now()).as_secs().saturating_sub(span_s(tier)).saturating_add(1);
        let due = rows::oldest(&self.0.store, tier, before).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let batch = self.moved(tier, &due).await?;
        let _alone = self.0.moving.write().await;
        writer.is_unsure = true;
        self.0.store.commit(batch).await?;
        writer.is_unsure = false;
        Ok(true)
    }

    /// A batch that moves the first of these blocks, as many as fit.
    async fn moved(&self, tier: Tier, due: &[Place]) -> Result<Batch, Error> {
        let store = &self.0.store;
        let mut batch = Batch::new();
        let leaving: Vec<(Place, Kept)> = due.iter().copied().zip(rows::load(store, due).await?).collect();
        let Some(coarser) = tier.coarser() else {
            return Ok(leaving.iter().fold(batch, |batch, (place, kept)| rows::delete(batch, *place, kept)));
        };
        let wanted: BTreeSet<Place> = leaving.iter().flat_map(|(place, kept)| goals(*place, kept, coarser)).collect();
        let wanted: Vec<Place> = wanted.into_iter().collect();
        let mut into: BTreeMap<Place, (Kept, Block)> = BTreeMap::new();
        for (goal, kept) in wanted.iter().zip(rows::load(store, &wanted).await?) {
            let block = kept.block.clone();
            into.insert(*goal, (kept, block));
        }
        for (place, kept) in &leaving {
            // Of the rest, what it would go to is not at hand: the next step moves it.
            if !goals(*place, kept, coarser).all(|goal| into.contains_key(&goal)) {
                continue;
            }
            batch = rows::delete(batch, *place, kept);
            for (offset_s, unit, samples) in kept.block.points() {
                let (goal, offset_s) = goal(*place, offset_s, coarser);
                if let Some((_, block)) = into.get_mut(&goal) {
                    block.add(offset_s, unit, samples);
                }
            }
        }
        let put = |batch, (place, (before, after)): (Place, (Kept, Block))| rows::put(batch, place, &after, &before).0;
        Ok(into.into_iter().fold(batch, put))
    }
}

/// Where a point of a block goes: the block, and its offset there.
fn goal(from: Place, offset_s: u32, tier: Tier) -> (Place, u32) {
    let at = Timestamp::from_secs(from.start.saturating_add(i64::from(offset_s)));
    let stamp = tier.stamp(at);
    let start = start_of(tier, stamp);
    let offset_s = u32::try_from(stamp.as_secs().saturating_sub(start)).unwrap_or(0);
    (Place { series: from.series, tier, start }, offset_s)
}

/// Where the points of a block go.
fn goals(from: Place, kept: &Kept, tier: Tier) -> impl Iterator<Item = Place> {
    kept.block.points().map(move |(offset_s, _, _)| goal(from, offset_s, tier).0)
}
