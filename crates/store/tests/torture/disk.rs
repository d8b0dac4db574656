//! The disk as a power cut sees it: a recorder of what the store asks of its files, and the directories that could be
//! found after the power went at any moment of that record.
//!
//! What is modelled: written bytes are in the kernel's memory until a sync of their file that began after them has
//! succeeded. Until then each 512-byte sector may be on disk in any of the states that it went through, and the file
//! in any of its lengths. A new file's entry is durable with the file's first sync or the directory's, a deletion with
//! the directory's only.
//! After a failed sync the kernel calls its pages clean: what was written before is not written again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use base::{Chance, Seeded};
use store::testing::{Action, Op, Tap, Verdict};

const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
pub enum Event {
    Create {
        file: String,
    },
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        size: usize,
    },
    Delete {
        file: String,
    },
    /// A sync that succeeded, and the length of the trace when it began.
    Synced {
        file: String,
        began: usize,
    },
    SyncFailed {
        file: String,
        began: usize,
    },
    /// All entries made and deleted before are durable.
    DirectorySynced,
    /// A client hands in a commit.
    Begun,
    /// A client was told that commit `id` is durable.
    Acked {
        id: u64,
    },
    /// An operation was refused, by order of the test.
    Refused,
}

/// Decides about each operation; counts from 0.
pub type Judge = Box<dyn Fn(usize, &Op<'_>) -> Verdict + Send + Sync>;

/// Listens to a store and keeps what it hears.
#[derive(Default)]
pub struct Recorder {
    heard: Mutex<Heard>,
    judge: Option<Judge>,
}

#[derive(Default)]
struct Heard {
    trace: Vec<Event>,
    op_count: usize,
    syncs_begun: HashMap<ThreadId, usize>,
}

impl Recorder {
    pub fn with_judge(judge: Judge) -> Self {
        Self { judge: Some(judge), ..Self::default() }
    }

    pub fn note(&self, event: Event) {
        self.heard.lock().unwrap().trace.push(event);
    }

    /// What was heard so far; the record begins anew.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.heard.lock().unwrap().trace)
    }

    pub fn was_refused(&self) -> bool {
        self.heard.lock().unwrap().trace.iter().any(|event| matches!(event, Event::Refused))
    }
}

impl Tap for Recorder {
    fn before(&self, op: &Op<'_>) -> Verdict {
        let mut heard = self.heard.lock().unwrap();
        let file = name(op.file);
        let verdict = self.judge.as_ref().map_or(Verdict::Proceed, |judge| judge(heard.op_count, op));
        heard.op_count += 1;
        let began = heard.trace.len();
        if verdict != Verdict::Proceed {
            heard.trace.push(Event::Refused);
            if op.action == Action::Sync {
                heard.trace.push(Event::SyncFailed { file, began });
            }
            return verdict;
        }
        match op.action {
            Action::Sync => {
                heard.syncs_begun.insert(thread::current().id(), began);
            }
            Action::Create => heard.trace.push(Event::Create { file }),
            Action::Delete { .. } => heard.trace.push(Event::Delete { file }),
            Action::Truncate { size_bytes } => heard.trace.push(Event::Truncate { file, size: size_bytes as usize }),
            Action::Write { offset, bytes } => {
                heard.trace.push(Event::Write { file, offset: offset as usize, bytes: bytes.to_vec() });
            }
        }
        verdict
    }

    fn after(&self, op: &Op<'_>) {
        let mut heard = self.heard.lock().unwrap();
        match op.action {
            Action::Sync => {
                let began = heard.syncs_begun.remove(&thread::current().id()).unwrap_or_default();
                heard.trace.push(Event::Synced { file: name(op.file), began });
            }
            Action::Delete { syncs_directory: true } => {
                heard.trace.push(Event::DirectorySynced);
            }
            _ => {}
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a directory by their path in it.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

pub fn image_of(dir: &Path) -> Image {
    let mut image = Image::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    // Shared memory is rebuilt at the first opening, and no power cut leaves it.
                    if !path.to_string_lossy().ends_with("-shm") {
                        let relative = path.strip_prefix(dir).unwrap().to_path_buf();
                        image.insert(relative, fs::read(&path).unwrap());
                    }
                }
            }
        }
    }
    image
}

/// A directory that holds `image`, in memory where the machine offers that: hundreds of them are opened.
pub fn directory(image: &Image) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (path, bytes) in image {
        let path = dir.path().join(path);
        // Keys are taken from nothing that others may read.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(bytes).unwrap();
    }
    dir
}

/// Which of the possible states of unsynced data is found.
pub enum Luck<'a> {
    /// All of it: the process died, the machine lives.
    All,
    /// None of it.
    Nothing,
    /// Each sector, length and entry for itself.
    Random(&'a Seeded),
}

impl Luck<'_> {
    /// One of `count` states, of which the last is the newest.
    fn pick(&self, count: usize) -> usize {
        match self {
            Self::All => count - 1,
            Self::Nothing => 0,
            Self::Random(chance) => (chance.random_u64() % count as u64) as usize,
        }
    }
}

/// The directory that is found when the power goes before event `cut`, having begun with `base` on disk.
pub fn after_power_cut(base: &Image, trace: &[Event], cut: usize, luck: &Luck<'_>) -> Image {
    let trace = &trace[..cut];
    let mut image = Image::new();
    let mut files: Vec<String> = base.keys().map(|path| path.to_string_lossy().into_owned()).collect();
    for event in trace {
        if let Event::Create { file } = event
            && !files.contains(file)
        {
            files.push(file.clone());
        }
    }
    for file in files {
        if let Some(bytes) = found_file(base, trace, &file, luck) {
            image.insert(PathBuf::from(file), bytes);
        }
    }
    image
}

/// A file that is not synced: all states that its parts went through since.
struct Unsynced {
    is_there: Vec<bool>,
    sizes: Vec<usize>,
    sectors: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    durable: Vec<u8>,
}

impl Unsynced {
    fn new(durable: Option<Vec<u8>>) -> Self {
        let is_there = vec![durable.is_some()];
        let durable = durable.unwrap_or_default();
        Self { is_there, sizes: vec![durable.len()], sectors: BTreeMap::new(), durable }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let mut content = self.newest(sector);
            let (from, to) = (offset.max(start), end.min(start + SECTOR_BYTES));
            content[from - start..to - start].copy_from_slice(&bytes[from - offset..to - offset]);
            let states = self.sectors.entry(sector).or_insert_with(|| vec![sector_of(&self.durable, sector)]);
            states.push(content);
        }
        let size = *self.sizes.last().unwrap();
        if end > size {
            self.sizes.push(end);
        }
    }

    fn newest(&self, sector: usize) -> [u8; SECTOR_BYTES] {
        match self.sectors.get(&sector).and_then(|states| states.last()) {
            Some(content) => *content,
            None => sector_of(&self.durable, sector),
        }
    }

    fn found(&self, luck: &Luck<'_>) -> Option<Vec<u8>> {
        if !self.is_there[luck.pick(self.is_there.len())] {
            return None;
        }
        let mut bytes = self.durable.clone();
        bytes.resize(*self.sizes.iter().max().unwrap(), 0);
        for (sector, states) in &self.sectors {
            let content = states[luck.pick(states.len())];
            let start = sector * SECTOR_BYTES;
            let end = bytes.len().min(start + SECTOR_BYTES);
            if start < end {
                bytes[start..end].copy_from_slice(&content[..end - start]);
            }
        }
        bytes.truncate(self.sizes[luck.pick(self.sizes.len())]);
        Some(bytes)
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR_BYTES] {
    let mut content = [0; SECTOR_BYTES];
    let start = (sector * SECTOR_BYTES).min(bytes.len());
    let part = &bytes[start..bytes.len().min(start + SECTOR_BYTES)];
    content[..part.len()].copy_from_slice(part);
    content
}

fn found_file(base: &Image, trace: &[Event], file: &str, luck: &Luck<'_>) -> Option<Vec<u8>> {
    let mut durable = base.get(Path::new(file)).cloned();
    let mut pending: Vec<(usize, &Event)> = Vec::new();
    for (index, event) in trace.iter().enumerate() {
        match event {
            Event::Synced { file: synced, began } if synced == file => {
                for (_, event) in pending.extract_if(.., |(index, _)| *index < *began) {
                    apply(&mut durable, event);
                }
            }
            Event::DirectorySynced => {
                // What was written before a deletion is of no interest; what was before a creation, nothing.
                let is_entry = |event: &Event| matches!(event, Event::Create { .. } | Event::Delete { .. });
                while let Some(at) = pending.iter().position(|(_, event)| is_entry(event)) {
                    let (_, entry) = pending.remove(at);
                    apply(&mut durable, entry);
                    if matches!(entry, Event::Delete { .. }) {
                        pending.drain(..at);
                    }
                }
            }
            // The kernel still shows these pages while the machine lives, but will not write them any more.
            Event::SyncFailed { file: failed, began } if failed == file && !matches!(luck, Luck::All) => {
                pending.retain(|(index, event)| *index >= *began || !matches!(event, Event::Write { .. }));
            }
            Event::Create { file: other }
            | Event::Write { file: other, .. }
            | Event::Truncate { file: other, .. }
            | Event::Delete { file: other }
                if other == file =>
            {
                pending.push((index, event));
            }
            _ => {}
        }
    }
    found_unsynced(durable, &pending, luck)
}

fn found_unsynced(durable: Option<Vec<u8>>, pending: &[(usize, &Event)], luck: &Luck<'_>) -> Option<Vec<u8>> {
    let mut unsynced = Unsynced::new(durable);
    for (_, event) in pending {
        match event {
            Event::Create { .. } => unsynced.is_there.push(true),
            Event::Write { offset, bytes, .. } => unsynced.write(*offset, bytes),
            // Shortening and deleting reach the disk whole or not at all, and nothing later does without them.
            Event::Truncate { .. } | Event::Delete { .. } => {
                if luck.pick(2) == 0 {
                    break;
                }
                let mut content = unsynced.found(&Luck::All);
                apply(&mut content, event);
                unsynced = Unsynced::new(content);
            }
            _ => {}
        }
    }
    unsynced.found(luck)
}

fn apply(content: &mut Option<Vec<u8>>, event: &Event) {
    match event {
        Event::Create { .. } => *content = Some(content.take().unwrap_or_default()),
        Event::Delete { .. } => *content = None,
        Event::Truncate { size, .. } => {
            if let Some(bytes) = content {
                bytes.resize(*size, 0);
            }
        }
        Event::Write { offset, bytes, .. } => {
            let content = content.get_or_insert_default();
            let end = offset + bytes.len();
            content.resize(content.len().max(end), 0);
            content[*offset..end].copy_from_slice(bytes);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(byte: u8, sector: usize) -> Event {
        Event::Write { file: "f".into(), offset: sector * SECTOR_BYTES, bytes: vec![byte; SECTOR_BYTES] }
    }

    #[test]
    fn what_a_failed_sync_left_behind_is_not_synced_by_the_next() {
        let create = Event::Create { file: "f".into() };
        let failed = Event::SyncFailed { file: "f".into(), began: 2 };
        let trace = [create, write(1, 0), failed, write(2, 1), Event::Synced { file: "f".into(), began: 4 }];
        let found = |luck: &Luck<'_>| after_power_cut(&Image::new(), &trace, 5, luck).remove(Path::new("f")).unwrap();
        assert_eq!((found(&Luck::Nothing)[0], found(&Luck::Nothing)[SECTOR_BYTES]), (0, 2));
        assert_eq!(found(&Luck::All)[0], 1);
    }

    #[test]
    fn synced_bytes_stay_and_others_are_open() {
        let create = Event::Create { file: "f".into() };
        let trace = [create, write(1, 0), Event::Synced { file: "f".into(), began: 2 }, write(2, 0), write(3, 1)];
        let found = |cut, luck: &Luck<'_>| after_power_cut(&Image::new(), &trace, cut, luck).remove(Path::new("f"));
        assert_eq!(found(2, &Luck::Nothing), None);
        assert_eq!(found(3, &Luck::Nothing), Some(vec![1; SECTOR_BYTES]));
        assert_eq!(found(5, &Luck::Nothing), Some(vec![1; SECTOR_BYTES]));
        assert_eq!(found(5, &Luck::All).map(|bytes| (bytes[0], bytes[SECTOR_BYTES])), Some((2, 3)));
        let chance = Seeded::new(1);
        let torn = (0..200).filter_map(|_| found(5, &Luck::Random(&chance)));
        let kinds: std::collections::BTreeSet<_> =
            torn.map(|bytes| (bytes[0], bytes.get(SECTOR_BYTES).copied())).collect();
        // Old or new first sector, with the second absent, allocated and empty, or written.
        assert_eq!(kinds.len(), 6);
    }
}
