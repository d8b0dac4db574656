//! What goes: deleted groups and streams, and events that are older than their group keeps them.
//!
//! The same task keeps and clears, so no chunk is written while another is taken apart. Each step is one commit, and what a
//! crash leaves is found again.

use base::Uuid;
use store::{Batch, Record, Row, Scan, Scope, Table, TableKey};

use crate::chunk::{self, Head};
use crate::limits::CLEAN_STEP;
use crate::tables::{GONE_GROUPS, GONE_STREAMS, GROUPS, Group, KEPT, Kept, NAMES, SPANS, STREAMS, Stream, nobody};
use crate::{Chronicle, Error, Event};

impl Chronicle {
    /// Removes what is left of deleted groups and streams.
    pub async fn clear(&self) -> Result<(), Error> {
        while let Some(row) = self.first(&GONE_GROUPS).await? {
            self.clear_group(&row.key.0, row.key.1).await?;
        }
        while let Some(row) = self.first(&GONE_STREAMS).await? {
            let (scope, (group, stream)) = &row.key;
            // The group itself may be gone since.
            if let Some(kept) = KEPT.get(&self.0.store, scope, *group).await? {
                self.rewrite(scope, *group, kept, |head| head.has(*stream), |event| event.stream != *stream).await?;
            }
            self.0.store.commit(Batch::new().delete(&GONE_STREAMS, scope, (*group, *stream))).await?;
        }
        Ok(())
    }

    async fn first<K: TableKey, V: Record>(&self, table: &Table<K, V>) -> Result<Option<Row<(Scope, K), V>>, Error> {
        Ok(table.scan_all(&self.0.store, None, 1).await?.rows.into_iter().next())
    }

    async fn clear_group(&self, scope: &Scope, group: Uuid) -> Result<(), Error> {
        let store = &self.0.store;
        loop {
            let page = STREAMS.page(store, scope, Scan::all(CLEAN_STEP).under::<Uuid>(group)).await?;
            if page.rows.is_empty() {
                break;
            }
            let clear = |batch: Batch, row: &Row<(Uuid, String), Stream>| {
                let number = row.value.number;
                let batch = batch.delete(&STREAMS, scope, (group, &row.key.1)).delete(&NAMES, &nobody(), number);
                batch.delete(&SPANS, scope, (group, number))
            };
            store.commit(page.rows.iter().fold(Batch::new(), clear)).await?;
        }
        loop {
            let (heads, _) = chunk::heads(store, group, 0, CLEAN_STEP).await?;
            if heads.is_empty() {
                break;
            }
            let clear = |batch, head: &Head| chunk::delete(batch, group, head);
            store.commit(heads.iter().fold(Batch::new(), clear)).await?;
        }
        store.commit(Batch::new().delete(&GONE_GROUPS, scope, group)).await?;
        Ok(())
    }

    /// Removes what is too old for its group.
    pub async fn expire(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        let mut after = None;
        loop {
            let page = GROUPS.scan_all(&self.0.store, after.as_ref(), CLEAN_STEP).await?;
            for Row { key: (scope, _), value, .. } in &page.rows {
                let Some(since) = value.kept_since(now) else { continue };
                self.expire_group(scope, value, since).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn expire_group(&self, scope: &Scope, group: &Group, since: base::Timestamp) -> Result<(), Error> {
        let Some(kept) = KEPT.get(&self.0.store, scope, group.id).await? else { return Ok(()) };
        // One that is too old in part is hidden in part, until all of it is.
        self.rewrite(scope, group.id, kept, |head| head.last.time < since, |_| false).await
    }

    /// Writes the chunks that have something to go anew, without it.
    async fn rewrite(
        &self,
        scope: &Scope,
        group: Uuid,
        kept: Row<Uuid, Kept>,
        is_in: impl Fn(&Head) -> bool,
        stays: impl Fn(&Event) -> bool,
    ) -> Result<(), Error> {
        let (mut from, mut kept) = (0, kept);
        loop {
            let (heads, more) = chunk::heads(&self.0.store, group, from, CLEAN_STEP).await?;
            let Some(last) = heads.last().map(|head| head.id) else { return Ok(()) };
            for head in heads.iter().filter(|head| is_in(head)) {
                let events = self.events_of(group, head).await?;
                let left: Vec<Event> = events.into_iter().filter(|event| stays(event)).collect();
                let packed = chunk::pack(head.id, &left);
                let bytes = packed.as_ref().map_or(0, |packed| packed.head.bytes);
                let value =
                    Kept { bytes: kept.value.bytes.saturating_sub(head.bytes.saturating_sub(bytes)), ..kept.value };
                let batch = Batch::new().expect_version(&KEPT, scope, group, kept.version);
                let batch = chunk::delete(batch.put(&KEPT, scope, group, &value), group, head);
                let batch = packed.iter().fold(batch, |batch, packed| chunk::put(batch, group, packed));
                let store::Outcome::Committed(version) = self.0.store.commit(batch).await? else { return Ok(()) };
                kept = Row { value, version, ..kept };
            }
            if !more {
                return Ok(());
            }
            from = last.saturating_add(1);
        }
    }

    pub(crate) async fn events_of(&self, group: Uuid, head: &Head) -> Result<Vec<Event>, Error> {
        let body = chunk::get(&self.0.store, group, head).await?.ok_or(Error::Damaged { group })?;
        Ok(chunk::unpack(head, &body).ok_or(Error::Damaged { group })?.events().collect())
    }
}
