//! How operations change a record, and how they list records page by page.
//!
//! Every change of every service goes through an [`Edit`]: read, decide, commit on the condition that nobody was
//! faster, else read and decide again.
//!
//! ```text
//! let mut edit = ctx.edit(&ROLES, &scope, &name).await;
//! loop {
//!     let (found, batch) = edit.read().await?;
//!     let role = found.ok_or_else(|| errors::no_such_role(&name))?;
//!     // ... decide, and add the writes to the batch ...
//!     if edit.commit(batch).await? {
//!         return Ok(());
//!     }
//! }
//! ```

use base::AwsError;
use store::{Batch, Outcome, Record, Scan, Scope, Table, TableKey};
use tokio::sync::MutexGuard;

use crate::Ctx;

/// How often an edit starts over when others write the same records, before its caller is told to come back. Who waits
/// for the turns of all that its batch expects rarely meets anybody there.
const EDIT_ATTEMPTS_MAX: usize = 16;

/// One change of one record, and of whatever else is to change with it, all or nothing.
pub struct Edit<'a, K: TableKey, V: Record> {
    ctx: &'a Ctx,
    table: &'a Table<K, V>,
    scope: &'a Scope,
    key: K::Ref<'a>,
    attempts_left: usize,
    /// They last as long as the edit.
    _turns: Vec<MutexGuard<'a, ()>>,
}

impl<K: TableKey, V: Record> Edit<'_, K, V> {
    /// The record, if there is one, and a batch that holds only while the record is as it was found. To be asked
    /// again after a commit that did not happen.
    pub async fn read(&mut self) -> Result<(Option<V>, Batch), AwsError> {
        let Some(left) = self.attempts_left.checked_sub(1) else {
            return Err(AwsError::unavailable("others kept changing the record between its reading and its writing"));
        };
        self.attempts_left = left;
        let Self { table, scope, key, .. } = *self;
        Ok(match table.get(&self.ctx.cloud.store, scope, key).await? {
            None => (None, Batch::new().expect_absent(table, scope, key)),
            Some(row) => (Some(row.value), Batch::new().expect_version(table, scope, key, row.version)),
        })
    }

    /// Whether the batch happened. If not, somebody was faster: read and decide again.
    pub async fn commit(&self, batch: Batch) -> Result<bool, AwsError> {
        Ok(matches!(self.ctx.cloud.store.commit(batch).await?, Outcome::Committed(_)))
    }
}

impl Ctx {
    /// Begins the change of a record, when it is this one's turn.
    pub async fn edit<'a, K: TableKey, V: Record>(
        &'a self,
        table: &'a Table<K, V>,
        scope: &'a Scope,
        key: K::Ref<'a>,
    ) -> Edit<'a, K, V> {
        self.edit_with(Vec::new(), table, scope, key).await
    }

    /// As [`Ctx::edit`], for a batch that also expects other records to be as they were read: `others` are their row
    /// keys, whose turns it waits for too. A task has one edit at a time.
    pub async fn edit_with<'a, K: TableKey, V: Record>(
        &'a self,
        mut others: Vec<Vec<u8>>,
        table: &'a Table<K, V>,
        scope: &'a Scope,
        key: K::Ref<'a>,
    ) -> Edit<'a, K, V> {
        others.push(table.row_key(scope, key));
        let turns = self.cloud.memory.turns.of(&others).await;
        Edit { ctx: self, table, scope, key, attempts_left: EDIT_ATTEMPTS_MAX, _turns: turns }
    }

    /// Goes on with a listing where the page that gave `marker` ended; `None` if `operation` gave no such marker here.
    pub fn resume<K: TableKey>(&self, operation: &str, scan: Scan<K>, marker: Option<&str>) -> Option<Scan<K>> {
        match marker {
            None => Some(scan),
            Some(marker) => {
                let position = self.position::<K>(operation, marker)?;
                // One of the same listing of something else is none of this.
                scan.admits(position.as_key()).then(|| scan.after(position.as_key()))
            }
        }
    }

    /// The key that a marker stands for; `None` if `operation` gave no such marker here.
    pub fn position<K: TableKey>(&self, operation: &str, marker: &str) -> Option<K> {
        let position = self.cloud.pages.open(&self.cx, operation, marker)?;
        let mut rest = position.as_slice();
        K::decode(&mut rest).filter(|_| rest.is_empty())
    }

    /// The marker with which a listing goes on behind `next`, if it goes on.
    pub fn marker<K: TableKey>(&self, operation: &str, next: Option<&K>) -> Option<String> {
        let mut position = Vec::new();
        K::encode(next?.as_key(), &mut position);
        self.cloud.pages.seal(&self.cx, operation, &position)
    }
}
