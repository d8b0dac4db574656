//! Leases: who owns a name until when, and the epoch that rises with each change of owner.
//!
//! Made of two ordinary rows, so every backend has them. The epoch row changes only when the owner does; a fence is
//! an expectation on its value, judged in the very commit that it guards, and renewals do not disturb it. Epoch rows
//! are never deleted, or an epoch could come twice.
//!
//! Times are the store's clock's, the same for all who share the store. An owner that is late learns it from the
//! fence, not from its own clock.

use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::LEASE_ATTEMPTS_MAX;
use crate::{Batch, Error, Expect, Found, Outcome, Read, Space, Store, Versioned};

/// Lease name -> the epoch, eight bytes, big end first.
pub(crate) const EPOCHS: Space = Space::new("lease_epochs");
/// Lease name -> [`Holder`]; absent when nobody holds it.
const HOLDERS: Space = Space::new("lease_holders");

/// A lease as its owner holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub owner: String,
    pub epoch: u64,
    pub expires: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Holder {
    owner: String,
    expires: Timestamp,
}

impl Store {
    /// Takes the lease for `owner`, or prolongs it if `owner` has it already; `None` while another holds it.
    ///
    /// An owner that may come back with another life's memory (a restarted process) needs a new name each time.
    pub async fn lease(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<Lease>, Error> {
        for _ in 0..LEASE_ATTEMPTS_MAX {
            let rows = self.lease_rows(name).await?;
            let now = self.now().await?;
            let expires = now.plus(ttl);
            let mine = match &rows.holder {
                Some(holder) if holder.owner == owner => true,
                Some(holder) if holder.expires > now => return Ok(None),
                _ => false,
            };
            let epoch = if mine { rows.epoch } else { rows.epoch.saturating_add(1) };
            let lease = Lease { name: name.into(), owner: owner.into(), epoch, expires };
            let mut batch = rows.expected(name).put_raw(HOLDERS, name.to_owned(), &lease.holder()?);
            if !mine {
                batch = batch.put_raw(EPOCHS, name.to_owned(), &epoch_bytes(epoch));
            }
            if self.commit(batch).await?.is_committed() {
                return Ok(Some(lease));
            }
        }
        Err(Error::Unavailable { reason: "others keep changing the lease", source: None })
    }

    /// Prolongs the lease; `None` if it has passed to another or was released.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Error> {
        let renewed = Lease { expires: self.now().await?.plus(ttl), ..lease.clone() };
        let batch = Batch::new()
            .fence(&lease.name, lease.epoch)
            .expect_raw(HOLDERS, lease.name.clone(), Expect::Present)
            .put_raw(HOLDERS, lease.name.clone(), &renewed.holder()?);
        Ok(self.commit(batch).await?.is_committed().then_some(renewed))
    }

    /// Gives the lease back; `false` if it was no longer held.
    pub async fn release(&self, lease: &Lease) -> Result<bool, Error> {
        let batch = Batch::new()
            .fence(&lease.name, lease.epoch)
            .expect_raw(HOLDERS, lease.name.clone(), Expect::Present)
            .delete_raw(HOLDERS, lease.name.clone());
        Ok(matches!(self.commit(batch).await?, Outcome::Committed(_)))
    }

    async fn lease_rows(&self, name: &str) -> Result<LeaseRows, Error> {
        let key = Bytes::copy_from_slice(name.as_bytes());
        let reads = vec![Read::Get { space: EPOCHS, key: key.clone() }, Read::Get { space: HOLDERS, key: key.clone() }];
        let mut found = self.read(reads).await?.into_iter().map(Found::into_value);
        let (epoch_row, holder_row) = (found.next().flatten(), found.next().flatten());
        let epoch = match &epoch_row {
            None => 0,
            Some(row) => u64::from_be_bytes(
                row.value[..].try_into().map_err(|_| Error::Corrupt { space: EPOCHS, key: key.clone() })?,
            ),
        };
        let holder = match &holder_row {
            None => None,
            Some(row) => Some(serde_json::from_slice(&row.value).map_err(|error| Error::Decode {
                space: HOLDERS,
                key,
                source: error.into(),
            })?),
        };
        Ok(LeaseRows { epoch, holder, epoch_row, holder_row })
    }
}

impl Lease {
    fn holder(&self) -> Result<Vec<u8>, Error> {
        let holder = Holder { owner: self.owner.clone(), expires: self.expires };
        serde_json::to_vec(&holder).map_err(|error| Error::Encode { space: HOLDERS, source: error.into() })
    }
}

/// Both rows at one snapshot.
struct LeaseRows {
    /// 0 before the first owner.
    epoch: u64,
    holder: Option<Holder>,
    epoch_row: Option<Versioned>,
    holder_row: Option<Versioned>,
}

impl LeaseRows {
    /// A batch that commits only while the rows are as they were read.
    fn expected(&self, name: &str) -> Batch {
        let expect = |row: &Option<Versioned>| row.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        Batch::new().expect_raw(EPOCHS, name.to_owned(), expect(&self.epoch_row)).expect_raw(
            HOLDERS,
            name.to_owned(),
            expect(&self.holder_row),
        )
    }
}

pub(crate) fn epoch_bytes(epoch: u64) -> Bytes {
    Bytes::copy_from_slice(&epoch.to_be_bytes())
}
