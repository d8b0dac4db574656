//! What the tortured store is asked to do, and what it must hold afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::{Chance, Seeded, SystemClock};
use bytes::Bytes;
use store::testing::{Mutant, Tap};
use store::{Batch, Error, Options, Outcome, Range, Space, Store};

use crate::disk::{Event, Recorder};

pub const SPACE: Space = Space::new("torture");

/// The sizes of `make torture` instead of those of `cargo test`.
pub fn sized(reduced: usize, full: usize) -> usize {
    match std::env::var_os("LAMP_TORTURE") {
        Some(_) => full,
        None => reduced,
    }
}

/// All rows of [`SPACE`].
pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// One commit: rows of its own that must appear together, a row that every commit overwrites, and the removal of an
/// older commit's rows.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: u64,
    puts: Vec<(Vec<u8>, Vec<u8>)>,
    deletes: Vec<Vec<u8>>,
}

impl Commit {
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (key, value) in &self.puts {
            batch = batch.put_raw(SPACE, key.clone(), value);
        }
        for key in &self.deletes {
            batch = batch.delete_raw(SPACE, key.clone());
        }
        batch
    }

    pub fn apply(&self, content: &mut Content) {
        content.extend(self.puts.iter().cloned());
        for key in &self.deletes {
            content.remove(key);
        }
    }
}

/// A mark that is in every value of commit `id` and nowhere else, to be found in what is written to the disk.
pub fn marker(id: u64) -> [u8; 16] {
    let mut marker = *b"LAMPmark........";
    marker[8..].copy_from_slice(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    marker
}

/// `count` commits in order.
pub fn commits(seed: u64, count: usize) -> Vec<Commit> {
    let chance = Seeded::new(seed);
    let rows = |id: u64| 1 + (id.wrapping_mul(seed | 1) % 4) as usize;
    let key = |id: u64, row: usize| format!("commit/{id:06}/{row}").into_bytes();
    let mut commits = Vec::new();
    for id in 0..count as u64 {
        let value = |bytes: u64| {
            let mut value = vec![0; 16 + (chance.random_u64() % bytes) as usize];
            chance.fill(&mut value);
            value[..16].copy_from_slice(&marker(id));
            value
        };
        let mut puts = vec![(b"head".to_vec(), value(40))];
        for row in 0..rows(id) {
            // One in eight passes the size of a page and goes to overflow pages.
            let bytes = if chance.random_u64().is_multiple_of(8) { 30_000 } else { 1_500 };
            puts.push((key(id, row), value(bytes)));
        }
        let deletes = match id % 3 {
            2 => (0..rows(id / 2)).map(|row| key(id / 2, row)).collect(),
            _ => Vec::new(),
        };
        commits.push(Commit { id, puts, deletes });
    }
    commits
}

/// What the store holds after each number of commits.
pub fn contents(commits: &[Commit]) -> Vec<Content> {
    let mut contents = vec![Content::new()];
    for commit in commits {
        let mut content = contents.last().cloned().unwrap_or_default();
        commit.apply(&mut content);
        contents.push(content);
    }
    contents
}

/// Opens a store that copies its log to the database all the time, and so begins it anew often.
pub fn open(dir: &Path, tap: Option<Arc<dyn Tap>>, mutant: Option<Mutant>) -> Result<Store, String> {
    open_with(dir, Options { tap, mutant, checkpoint_pages: Some(6), ..Options::default() })
}

pub fn open_with(dir: &Path, options: Options) -> Result<Store, String> {
    Store::open(dir, Arc::new(SystemClock), options).map_err(|error| format!("{error:?}"))
}

/// Everything in [`SPACE`].
pub async fn dump(store: &Store) -> Result<Content, Error> {
    let mut content = Content::new();
    let mut from = Bytes::new();
    loop {
        let found = store.range(Range { space: SPACE, from, to: None, limit: 1_000, reverse: false }).await?;
        let Some(last) = found.rows.last() else { return Ok(content) };
        from = [&last.key[..], &[0]].concat().into();
        content.extend(found.rows.iter().map(|row| (row.key.to_vec(), row.value.to_vec())));
        if !found.more {
            return Ok(content);
        }
    }
}

/// Hands in the commits one after the other until one fails; notes beginnings and acknowledgements.
pub async fn run(store: &Store, commits: &[Commit], recorder: &Recorder) -> Option<Error> {
    for commit in commits {
        recorder.note(Event::Begun);
        match store.commit(commit.batch()).await {
            Ok(Outcome::Committed(_)) => recorder.note(Event::Acked { id: commit.id }),
            Ok(Outcome::Conflict(_)) => return Some(Error::Unanswered),
            Err(error) => return Some(error),
        }
    }
    None
}

/// How many of the commits that were handed in one after the other were begun and acknowledged before `cut`.
pub fn begun_and_acked(trace: &[Event], cut: usize) -> (usize, usize) {
    let count = |is: fn(&Event) -> bool| trace[..cut].iter().filter(|event| is(event)).count();
    (count(|event| matches!(event, Event::Begun)), count(|event| matches!(event, Event::Acked { .. })))
}

/// Opens what a crash left in `dir`: it must open, hold everything acknowledged, nothing by halves, and take commits
/// that are there after one more opening.
pub async fn verify(dir: &Path, contents: &[Content], begun: usize, acked: usize) -> Result<(), String> {
    let store = open(dir, None, None).map_err(|error| format!("does not open: {error}"))?;
    let found = dump(&store).await.map_err(|error| format!("does not read: {error:?}"))?;
    let holds = contents.iter().take(begun + 1).rposition(|content| *content == found);
    match holds {
        None => return Err(format!("holds {} rows that are no state of its history", found.len())),
        Some(count) if count < acked => return Err(format!("holds {count} commits of {acked} acknowledged")),
        Some(_) => {}
    }
    let outcome = store.commit(Batch::new().put_raw(SPACE, "after", b"the crash")).await;
    outcome.map_err(|error| format!("takes no commit: {error:?}"))?;
    drop(store);
    let store = open(dir, None, None).map_err(|error| format!("does not open again: {error}"))?;
    let mut again = dump(&store).await.map_err(|error| format!("does not read again: {error:?}"))?;
    match again.remove(&b"after"[..]).is_some() && again == found {
        true => Ok(()),
        false => Err("changed between two openings".into()),
    }
}
