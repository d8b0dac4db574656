//! From memory to the store: open points are added to the blocks that they belong to, in one commit with how far the journal is
//! settled.

use std::sync::Arc;

use store::{Batch, Outcome, Version};

use crate::block::Block;
use crate::limits::{DIRECT_BLOCKS_MAX, STEP};
use crate::metrics::Writer;
use crate::open::Open;
use crate::rows::{self, Place};
use crate::tables::{SETTLED, Settled, nobody};
use crate::{Error, Metrics, staged};

impl Metrics {
    /// Settles what was taken until now. `with` adds what else follows from the journal between [`settled`](Metrics::settled), which
    /// is not moved before it is called, and the offset that it is given. What it expects must hold: nothing is settled otherwise.
    ///
    /// After an error all is as before, or as after: the next settling finds out.
    pub async fn settle(&self, with: impl FnOnce(Batch, u64) -> Batch + Send) -> Result<(), Error> {
        let mut writer = self.0.writer.lock().await;
        self.resolve(&mut writer).await?;
        let Some((open, next)) = self.begin() else { return Ok(()) };
        writer.is_unsure = true;
        let places = self.places(&open).await?;
        let batch = match self.direct(&places).await? {
            Some(batch) => batch,
            None => {
                staged::put(&self.0.store, self.settled(), next, &places).await?;
                Batch::new()
            }
        };
        let count = writer.count.saturating_add(1);
        let batch = with(writer.put(batch, &Settled { next, count }), next);
        let _alone = self.0.moving.write().await;
        self.0.held.lock().is_torn = true;
        match self.0.store.commit(batch).await {
            Ok(Outcome::Committed(version)) => self.finish(&mut writer, version, Settled { next, count }).await,
            // Nothing is written.
            Ok(Outcome::Conflict(_)) => Err(Error::Contended),
            Err(error) => {
                self.0.held.lock().is_torn = matches!(error, store::Error::Unanswered | store::Error::Failed(_));
                Err(error.into())
            }
        }
    }

    /// Learns how a commit ended that was not answered or not waited for, and ends it. Nobody else writes the row that tells.
    pub(crate) async fn resolve(&self, writer: &mut Writer) -> Result<(), Error> {
        if !writer.is_unsure {
            return Ok(());
        }
        let _alone = self.0.moving.write().await;
        let mut row = SETTLED.get(&self.0.store, &nobody(), ()).await?;
        if row.as_ref().map(|row| row.version) == writer.settled {
            // It may still be on its way: not behind this, which changes what it expects.
            let as_before = Settled { next: self.settled(), count: writer.count };
            let fence = writer.put(Batch::new(), &as_before);
            if let Outcome::Committed(version) = self.0.store.commit(fence).await? {
                (writer.settled, writer.is_unsure) = (Some(version), false);
                self.0.held.lock().is_torn = false;
                return Ok(());
            }
            row = SETTLED.get(&self.0.store, &nobody(), ()).await?;
        }
        match row {
            Some(row) if row.value.count != writer.count => self.finish(writer, row.version, row.value).await,
            row => {
                (writer.settled, writer.is_unsure) = (row.map(|row| row.version), false);
                self.0.held.lock().is_torn = false;
                Ok(())
            }
        }
    }

    /// What is settled next, and up to which offset; none if there is nothing.
    fn begin(&self) -> Option<(Arc<Open>, u64)> {
        let mut held = self.0.held.lock();
        let open = std::mem::take(&mut held.open);
        let next = held.next;
        if held.settling.0.is_empty() {
            held.settling = (Arc::new(open), next);
        } else {
            // The last settling failed.
            Arc::make_mut(&mut held.settling.0).merge(open);
            held.settling.1 = next;
        }
        let is_new = next != held.settled || !held.settling.0.is_empty();
        is_new.then(|| held.settling.clone())
    }

    /// All of it is settled but what may be staged.
    async fn finish(
        &self,
        writer: &mut Writer,
        version: Version,
        Settled { next, count }: Settled,
    ) -> Result<(), Error> {
        staged::finish(&self.0.store, next).await?;
        (writer.settled, writer.count, writer.is_unsure) = (Some(version), count, false);
        let mut held = self.0.held.lock();
        held.settling = (Arc::default(), next);
        held.settled = next;
        held.is_torn = false;
        Ok(())
    }

    /// A batch that adds open blocks to those in the store; none if it is too much for one.
    async fn direct(&self, places: &[(Place, &Block)]) -> Result<Option<Batch>, Error> {
        if places.len() > DIRECT_BLOCKS_MAX {
            return Ok(None);
        }
        let (mut batch, mut bytes) = (Batch::new(), 0_usize);
        let mut rest = places;
        while !rest.is_empty() {
            let some: Vec<Place> = rest.iter().take(STEP).map(|(place, _)| *place).collect();
            let loaded = rows::load(&self.0.store, &some).await?;
            let count = loaded.len();
            for ((place, open), kept) in rest.iter().zip(loaded) {
                let mut block = kept.block.clone();
                block.merge(open);
                let written;
                (batch, written) = rows::put(batch, *place, &block, &kept);
                bytes = bytes.saturating_add(written);
                if bytes > self.0.direct_bytes_max {
                    return Ok(None);
                }
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(Some(batch))
    }
}

impl Writer {
    /// Adds to a commit what is settled by then, which nobody else has said since.
    fn put(&self, batch: Batch, settled: &Settled) -> Batch {
        let batch = match self.settled {
            Some(version) => batch.expect_version(&SETTLED, &nobody(), (), version),
            None => batch.expect_absent(&SETTLED, &nobody(), ()),
        };
        batch.put(&SETTLED, &nobody(), (), settled)
    }
}
