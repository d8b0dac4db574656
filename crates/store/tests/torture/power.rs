//! The power goes: at random moments, right before a sync, in the middle of a write, while the database is made.
//!
//! Pass line: every directory opens, holds all that was acknowledged, and nothing by halves.

use std::sync::Arc;

use base::{Chance, Seeded};
use store::Batch;
use store::testing::Mutant;

use crate::disk::{Event, Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::workload::{self, Commit, Content, SPACE, begun_and_acked, commits, contents, sized, verify};

/// A store's life as the disk saw it.
pub struct Record {
    pub base: Image,
    pub trace: Vec<Event>,
    pub contents: Vec<Content>,
}

/// Records `commits` from an empty directory on (`from_birth`) or from an existing database, to the end of an orderly
/// close.
pub async fn record(commits: &[Commit], from_birth: bool, mutant: Option<Mutant>) -> Result<Record, String> {
    let dir = directory(&Image::new());
    if !from_birth {
        workload::open(dir.path(), None, None)?.close().await.map_err(|error| format!("{error:?}"))?;
    }
    let mut base = image_of(dir.path());
    let recorder = Arc::new(Recorder::default());
    let store = workload::open(dir.path(), Some(recorder.clone()), mutant)?;
    if from_birth {
        // What the store makes without SQLite is synced before the database is made.
        base = image_of(dir.path());
        base.retain(|path, _| !path.to_string_lossy().starts_with("store.db"));
    }
    if let Some(error) = workload::run(&store, commits, &recorder).await {
        return Err(format!("{error:?}"));
    }
    store.close().await.map_err(|error| format!("{error:?}"))?;
    Ok(Record { base, trace: recorder.take(), contents: contents(commits) })
}

impl Record {
    pub async fn verify(&self, cut: usize, luck: &Luck<'_>) -> Result<(), String> {
        let dir = directory(&after_power_cut(&self.base, &self.trace, cut, luck));
        let (begun, acked) = begun_and_acked(&self.trace, cut);
        verify(dir.path(), &self.contents, begun, acked)
            .await
            .map_err(|error| format!("cut before event {cut} of {}: {error}", self.trace.len()))
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A record in which the log was begun anew, so that its end is tried too. How often that happens is up to the
/// checkpointer's pace against the commits', so on a busy machine it takes more than one record.
async fn record_with_logs(commit_count: usize, mutant: Option<Mutant>) -> Result<Record, String> {
    const RECORDS_MAX: usize = 20;
    let begins_log = |event: &&Event| matches!(event, Event::Write { file, offset: 0, .. } if file.ends_with("-wal"));
    for _ in 0..RECORDS_MAX {
        let record = record(&commits(1, commit_count), false, mutant).await?;
        if record.trace.iter().filter(begins_log).count() >= 3 || mutant.is_some() {
            return Ok(record);
        }
    }
    Err("the log was hardly ever begun anew: its end was not tried".into())
}

pub fn power_cuts(commit_count: usize, cut_count: usize, mutant: Option<Mutant>) -> Result<(), String> {
    block_on(async {
        let record = record_with_logs(commit_count, mutant).await?;
        let chance = Seeded::new(2);
        for case in 0..cut_count {
            let cut = (chance.random_u64() % (record.trace.len() as u64 + 1)) as usize;
            let luck = match case % 4 {
                0 => Luck::Nothing,
                1 => Luck::All,
                _ => Luck::Random(&chance),
            };
            record.verify(cut, &luck).await?;
        }
        Ok(())
    })
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    power_cuts(sized(100, 400), sized(60, 200), None).unwrap();
}

/// Commits of two rows by many clients, which the store gathers into groups.
#[test]
fn a_power_cut_among_many_clients_loses_nothing_acknowledged_and_splits_no_commit() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let key = |id: u64, row: u8| format!("{id:04}/{row}").into_bytes();
    let dir = directory(&Image::new());
    let (base, trace) = runtime.block_on(async {
        workload::open(dir.path(), None, None).unwrap().close().await.unwrap();
        let base = image_of(dir.path());
        let recorder = Arc::new(Recorder::default());
        let store = workload::open(dir.path(), Some(recorder.clone()), None).unwrap();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..16 {
            let (store, recorder) = (store.clone(), recorder.clone());
            clients.spawn(async move {
                for id in (client * 10)..(client * 10 + 10) {
                    let batch =
                        Batch::new().put_raw(SPACE, key(id, 0), &[1; 900]).put_raw(SPACE, key(id, 1), &[2; 900]);
                    assert!(store.commit(batch).await.unwrap().is_committed());
                    recorder.note(Event::Acked { id });
                }
            });
        }
        clients.join_all().await;
        (base, recorder.take())
    });
    let chance = Seeded::new(13);
    for _ in 0..sized(25, 200) {
        let cut = (chance.random_u64() % (trace.len() as u64 + 1)) as usize;
        let dir = directory(&after_power_cut(&base, &trace, cut, &Luck::Random(&chance)));
        let found = block_on(workload::dump(&workload::open(dir.path(), None, None).unwrap())).unwrap();
        for id in 0..160 {
            let rows = [key(id, 0), key(id, 1)].map(|key| found.contains_key(&key));
            assert_eq!(rows[0], rows[1], "commit {id} is half there, cut before event {cut}");
            let is_acked = trace[..cut].iter().any(|event| matches!(event, Event::Acked { id: acked } if *acked == id));
            assert!(rows[0] || !is_acked, "commit {id} was acknowledged, cut before event {cut}");
        }
    }
}

#[test]
fn a_power_cut_before_a_sync_loses_nothing_acknowledged() {
    block_on(async {
        let record = record(&commits(3, 30), false, None).await.unwrap();
        let syncs = record.trace.iter().filter_map(|event| match event {
            Event::Synced { began, .. } => Some(*began),
            _ => None,
        });
        for cut in syncs.take(sized(20, 50)) {
            record.verify(cut, &Luck::Nothing).await.unwrap();
        }
    });
}

#[test]
fn a_write_torn_between_sectors_is_no_commit_and_no_obstacle() {
    block_on(async {
        let record = record(&commits(4, 20), false, None).await.unwrap();
        let chance = Seeded::new(5);
        let is_write = |index: &usize| matches!(record.trace[*index], Event::Write { .. });
        let writes: Vec<usize> = (0..record.trace.len()).filter(is_write).collect();
        for _ in 0..sized(50, 500) {
            let write = writes[(chance.random_u64() % writes.len() as u64) as usize];
            record.verify(write + 1, &Luck::Random(&chance)).await.unwrap();
        }
    });
}

#[test]
fn a_power_cut_while_the_database_is_made_leaves_a_directory_that_opens() {
    block_on(async {
        let record = record(&commits(6, 2), true, None).await.unwrap();
        let chance = Seeded::new(7);
        let step = sized(4, 1);
        for cut in (0..=record.trace.len()).step_by(step) {
            for luck in [Luck::Nothing, Luck::All, Luck::Random(&chance)] {
                record.verify(cut, &luck).await.unwrap();
            }
        }
    });
}
