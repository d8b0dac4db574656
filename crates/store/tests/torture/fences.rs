//! An owner that has lost its lease writes on. Pass line: all of it is refused by the epoch.

use std::sync::Arc;
use std::time::Duration;

use base::{ManualClock, Timestamp};
use store::testing::Mutant;
use store::{Batch, Options, Store};

use crate::disk::{Image, directory};
use crate::power::block_on;
use crate::workload::{SPACE, sized};

pub fn fences(attempt_count: usize, mutant: Option<Mutant>) -> Result<(), String> {
    let ttl = Duration::from_secs(10);
    block_on(async {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000));
        let dir = directory(&Image::new());
        let options = Options { mutant, ..Options::default() };
        let store = Store::open(dir.path(), Arc::new(clock.clone()), options).map_err(|error| error.to_string())?;
        let old = store.lease("shard", "old", ttl).await.unwrap().ok_or("the lease was free")?;
        clock.advance(ttl * 2);
        let new = store.lease("shard", "new", ttl).await.unwrap().ok_or("the lease had expired")?;
        let mut late = Vec::new();
        for attempt in 0..attempt_count {
            let batch = |epoch| Batch::new().fence("shard", epoch).put_raw(SPACE, "row", &attempt.to_be_bytes());
            if store.commit(batch(old.epoch)).await.unwrap().is_committed() {
                late.push(attempt);
            }
            if !store.commit(batch(new.epoch)).await.unwrap().is_committed() {
                return Err("the owner was refused".into());
            }
        }
        match late.is_empty() {
            true => Ok(()),
            false => Err(format!("{} writes of the old owner were taken", late.len())),
        }
    })
}

#[test]
fn an_owner_that_lost_its_lease_writes_nothing() {
    fences(sized(100, 10_000), None).unwrap();
}
