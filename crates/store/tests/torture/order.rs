//! Nothing is acknowledged before a sync that began after it was written. Pass line: 0 acknowledgements too early.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::testing::Mutant;
use store::{Batch, Outcome};

use crate::disk::{Event, Image, Recorder, directory};
use crate::workload::{self, SPACE, marker, sized};

const CLIENT_COUNT: usize = 64;

/// What the order of a record showed.
#[derive(Debug, Default)]
pub struct Groups {
    pub ack_count: usize,
    /// Syncs of the log that were followed by at least one acknowledgement.
    pub sync_count: usize,
}

/// Checks that each acknowledged commit was in the log when a sync of it began, which ended before.
pub fn check_order(trace: &[Event]) -> Result<Groups, String> {
    let mut written: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut synced_up_to = 0;
    let mut groups = Groups::default();
    let mut is_counted = true;
    for (index, event) in trace.iter().enumerate() {
        match event {
            Event::Write { file, bytes, .. } if file.ends_with("-wal") => {
                for at in 0..bytes.len().saturating_sub(15) {
                    if bytes[at] == b'L' && bytes[at..].starts_with(b"LAMPmark") {
                        written.entry(bytes[at..at + 16].to_vec()).or_insert(index);
                    }
                }
            }
            Event::Synced { file, began } if file.ends_with("-wal") => {
                synced_up_to = synced_up_to.max(*began);
                is_counted = false;
            }
            Event::Acked { id } => {
                groups.ack_count += 1;
                if !is_counted {
                    groups.sync_count += 1;
                    is_counted = true;
                }
                match written.get(&marker(*id)[..]) {
                    Some(written) if *written < synced_up_to => {}
                    Some(_) => return Err(format!("commit {id} was acknowledged before its sync")),
                    None => return Err(format!("commit {id} was acknowledged before it was written")),
                }
            }
            _ => {}
        }
    }
    Ok(groups)
}

/// Many clients commit at once.
pub fn order(commit_count: usize, mutant: Option<Mutant>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let dir = directory(&Image::new());
        let recorder = Arc::new(Recorder::default());
        let store = workload::open(dir.path(), Some(recorder.clone()), mutant)?;
        recorder.take();
        let mut total = Groups::default();
        let next = Arc::new(AtomicU64::new(0));
        let mut done = 0;
        while done < commit_count {
            // In portions, so that the record stays small.
            let end = (done + 500).min(commit_count) as u64;
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..CLIENT_COUNT {
                let (store, recorder, next) = (store.clone(), recorder.clone(), next.clone());
                clients.spawn(async move {
                    while let Ok(id) =
                        next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |id| (id < end).then_some(id + 1))
                    {
                        let value = [&marker(id)[..], &[7; 80]].concat();
                        let outcome = store.commit(Batch::new().put_raw(SPACE, format!("{id:08}"), &value)).await;
                        assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
                        recorder.note(Event::Acked { id });
                    }
                });
            }
            clients.join_all().await;
            let groups = check_order(&recorder.take())?;
            total.ack_count += groups.ack_count;
            total.sync_count += groups.sync_count;
            done = end as usize;
        }
        eprintln!("{} commits in {} groups", total.ack_count, total.sync_count);
        match total.ack_count == commit_count && total.sync_count < commit_count {
            true => Ok(()),
            false => Err(format!("commits did not share syncs: {total:?}")),
        }
    })
}

#[test]
fn nothing_is_acknowledged_before_its_sync() {
    order(sized(1_000, 10_000), None).unwrap();
}
