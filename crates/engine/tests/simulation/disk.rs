//! What is kept, and what is on its way there.

use std::collections::BTreeMap;

use base::Timestamp;
use engine::events::shards::Shard;
use engine::queue::{Fate, Message, Sent, Seq};

use crate::bugs::Bug;
use crate::world::{Step, World};

pub type Body = u32;

/// Of a row: a message's place in a queue, what was sent lately, an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Place(usize, Seq),
    Recent(usize, u128),
    Event(Shard, (Timestamp, u32)),
}

#[derive(Debug, Clone)]
pub enum Row {
    Place(Message, Body),
    Recent(Sent),
    Event(Event),
}

/// An asynchronous event as it is kept.
#[derive(Debug, Clone)]
pub struct Event {
    pub received: Timestamp,
    pub failures: u32,
    pub hold_ups: u32,
    /// The header of its chain.
    pub header: String,
}

pub type Disk = BTreeMap<Key, Row>;
pub type Batch = Vec<(Key, Option<Row>)>;

/// Rows on their way to the disk, and what follows.
#[derive(Debug)]
pub struct Commit {
    pub batch: Batch,
    pub changes: Vec<Change>,
    pub reply: Reply,
}

/// What becomes of a busy message once it is written down.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub queue: usize,
    pub seq: Seq,
    pub fate: Fate,
    /// It is new, and by this it is known when it is sent again.
    pub new: Option<Option<u128>>,
}

/// Who hears of the end of a commit.
#[derive(Debug, Clone)]
pub enum Reply {
    Nobody,
    Sent(Body),
    Received { by: By, queue: usize, got: Vec<(Seq, Message, Body)> },
    Deleted(Body),
    Hidden(Body, Timestamp),
    EventKept(u32),
    Attempted(Key),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Client(usize),
    Mapping,
}

/// What is still to come of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    Applied,
    Answered { is_written: bool },
}

impl World {
    /// Begins to write. It is there after a while, and is answered after another; a crash may come before both or between.
    pub fn commit(&mut self, commit: Commit) {
        let id = self.name();
        let slow = self.draws(20);
        let takes = self.micros(if slow { 3_000_000 } else { 5_000 });
        self.commits.insert(id, commit);
        if self.is_hostile && self.draws(40) {
            self.after(takes, Step::Commit(id, Stage::Answered { is_written: false }));
            return;
        }
        if self.has(Bug::AnswersBeforeItIsWritten) {
            self.after(takes, Step::Commit(id, Stage::Applied));
            let commit = self.commits[&id].reply.clone();
            let changes = self.commits[&id].changes.clone();
            return self.answered(&changes, commit, true);
        }
        self.after(takes, Step::Commit(id, Stage::Applied));
    }

    pub fn on_commit(&mut self, id: u64, stage: Stage) {
        match stage {
            Stage::Applied => {
                let Some(commit) = self.commits.get(&id) else { return };
                let (batch, reply) = (commit.batch.clone(), commit.reply.clone());
                self.check_commit(&batch);
                if let Reply::Attempted(key) = reply {
                    self.end_is_kept(key);
                }
                for (key, row) in batch {
                    match row {
                        Some(row) => {
                            self.disk.insert(key, row);
                            self.ring(key);
                        }
                        None => drop(self.disk.remove(&key)),
                    }
                }
                if self.has(Bug::AnswersBeforeItIsWritten) {
                    self.commits.remove(&id);
                    return;
                }
                let takes = self.micros(2_000);
                self.after(takes, Step::Commit(id, Stage::Answered { is_written: true }));
            }
            Stage::Answered { is_written } => {
                let Some(Commit { changes, reply, .. }) = self.commits.remove(&id) else { return };
                self.answered(&changes, reply, is_written);
            }
        }
    }

    fn answered(&mut self, changes: &[Change], reply: Reply, is_written: bool) {
        for Change { queue, seq, fate, new } in changes.iter().copied() {
            match (is_written, new) {
                (true, _) => self.release(queue, seq, fate),
                (false, None) => self.release(queue, seq, Fate::Stays),
                (false, Some(twin)) => self.take_back(queue, seq, twin),
            }
        }
        self.reply(reply, is_written);
    }
}
