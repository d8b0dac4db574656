//! Queries in memory: those under way, and what those that are over have found.
//!
//! What is held is bounded in number and size: where there is too much, what is over longest goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{AccountId, AwsError, Timestamp, Uuid};
use chronicle::{Swept, Turns};
use serde::Serialize;
use store::Scope;
use tokio::sync::{Notify, oneshot};

use crate::logs::errors;

/// AWS's quota of an account and region.
const UNDER_WAY_MAX: usize = 100;
/// Queries that look through events at the same time, for what they hold in memory: of all accounts, and of each. Others wait,
/// and accounts take turns.
const AT_WORK_MAX: usize = 4;
const AT_WORK_EACH_MAX: usize = 2;
const HELD_MAX: usize = 1_000;
/// What all answers together may take.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// What a value takes beside its text.
const VALUE_BYTES: usize = 64;

/// All queries of the process.
pub struct Queries {
    /// In the order in which they began.
    held: Mutex<VecDeque<Arc<One>>>,
    turns: Arc<Mutex<Waiting>>,
}

type Waiting = Turns<AccountId, oneshot::Sender<Turn>>;

/// Leave to look through events, until it is dropped.
pub struct Turn {
    account: AccountId,
    turns: Arc<Mutex<Waiting>>,
}

/// A query. Its state changes until it is over.
pub struct One {
    pub id: Uuid,
    scope: Scope,
    pub created: Timestamp,
    pub shown: String,
    /// Their names.
    pub groups: Vec<String>,
    state: Mutex<State>,
    /// It was stopped.
    pub stopped: Notify,
    is_stopped: AtomicBool,
}

#[derive(Debug, Default)]
pub struct State {
    pub status: Status,
    pub progress: Progress,
    pub rows: Vec<Vec<(String, String)>>,
    bytes: usize,
}

/// How far a query has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub swept: Swept,
    pub matched: u64,
    pub groups: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Status {
    #[default]
    Scheduled,
    Running,
    Complete,
    Failed,
    Cancelled,
    Timeout,
}

impl Default for Queries {
    fn default() -> Queries {
        let turns = Turns::new(AT_WORK_MAX, AT_WORK_EACH_MAX);
        Queries { held: Mutex::default(), turns: Arc::new(Mutex::new(turns)) }
    }
}

impl Queries {
    /// Takes a new query, if the account has not too many under way.
    pub fn begin(&self, one: &Arc<One>) -> Result<(), AwsError> {
        let mut held = self.held();
        let is_under_way = |other: &&Arc<One>| other.scope == one.scope && !other.state().status.is_over();
        if held.iter().filter(is_under_way).count() >= UNDER_WAY_MAX {
            return Err(errors::too_many_queries(UNDER_WAY_MAX));
        }
        held.push_back(one.clone());
        trim(&mut held);
        Ok(())
    }

    /// Waits until it is the account's turn.
    pub async fn turn(&self, account: AccountId) -> Option<Turn> {
        let (sender, turn) = oneshot::channel();
        locked(&self.turns).wait(account, sender);
        hand_out(&self.turns);
        turn.await.ok()
    }

    /// Forgets answers, if there are too many by now.
    pub fn trim(&self) {
        trim(&mut self.held());
    }

    pub fn find(&self, scope: &Scope, id: Uuid) -> Option<Arc<One>> {
        self.held().iter().find(|one| one.id == id && one.scope == *scope).cloned()
    }

    /// All of a scope.
    pub fn of(&self, scope: &Scope) -> Vec<Arc<One>> {
        self.held().iter().filter(|one| one.scope == *scope).cloned().collect()
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Arc<One>>> {
        locked(&self.held)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives turns to those who wait, as far as there are any.
fn hand_out(turns: &Arc<Mutex<Waiting>>) {
    loop {
        let next = locked(turns).take();
        let Some((account, waiting)) = next else { return };
        // A query that was stopped waits no more.
        if waiting.is_closed() {
            locked(turns).done(&account);
            continue;
        }
        waiting.send(Turn { account, turns: Arc::clone(turns) }).ok();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.turns).done(&self.account);
        hand_out(&self.turns);
    }
}

/// Forgets what is over, the oldest first, as long as there is too much of it.
fn trim(held: &mut VecDeque<Arc<One>>) {
    let mut bytes: usize = held.iter().map(|one| one.state().bytes).sum();
    let mut surplus = held.len().saturating_sub(HELD_MAX);
    held.retain(|one| {
        let state = one.state();
        let goes = state.status.is_over() && (surplus > 0 || bytes > ANSWERS_BYTES_MAX);
        if goes {
            surplus = surplus.saturating_sub(1);
            bytes = bytes.saturating_sub(state.bytes);
        }
        !goes
    });
}

impl One {
    pub fn new(id: Uuid, scope: Scope, created: Timestamp, shown: String, groups: Vec<String>) -> One {
        One {
            id,
            scope,
            created,
            shown,
            groups,
            state: Mutex::default(),
            stopped: Notify::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Moves on, if it is not over.
    pub fn turn(&self, status: Status) {
        let mut state = self.state();
        if !state.status.is_over() {
            state.status = status;
        }
    }

    /// Says how far it has come.
    pub fn tell(&self, progress: Progress) {
        self.state().progress = progress;
    }

    /// It is over and has found this, if nobody has stopped it.
    pub fn complete(&self, progress: Progress, rows: Vec<Vec<(String, String)>>) {
        let mut state = self.state();
        if state.status.is_over() {
            return;
        }
        let of_cell =
            |(name, value): &(String, String)| name.len().saturating_add(value.len()).saturating_add(VALUE_BYTES);
        let bytes = rows.iter().flatten().map(of_cell).sum();
        *state = State { status: Status::Complete, progress, rows, bytes };
    }

    /// Ends it; `false` if it was over.
    pub fn stop(&self) -> bool {
        let mut state = self.state();
        if state.status.is_over() {
            return false;
        }
        state.status = Status::Cancelled;
        self.is_stopped.store(true, Ordering::Release);
        self.stopped.notify_one();
        true
    }

    /// Whether there is no use in working on.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

impl Status {
    pub fn is_over(self) -> bool {
        !matches!(self, Status::Scheduled | Status::Running)
    }

    pub fn name(self) -> &'static str {
        match self {
            Status::Scheduled => "Scheduled",
            Status::Running => "Running",
            Status::Complete => "Complete",
            Status::Failed => "Failed",
            Status::Cancelled => "Cancelled",
            Status::Timeout => "Timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Chance, Region, Seeded, World};

    use super::*;

    fn one(chance: &Seeded, region: &str) -> Arc<One> {
        let region: Option<Region> = Some(region.parse().unwrap());
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region };
        Arc::new(One::new(chance.uuid(), scope, Timestamp::default(), String::new(), Vec::new()))
    }

    #[test]
    fn an_account_has_so_many_under_way_and_no_more() {
        let (queries, chance) = (Queries::default(), Seeded::new(1));
        let all: Vec<_> = (0..UNDER_WAY_MAX).map(|_| one(&chance, "us-east-1")).collect();
        all.iter().for_each(|one| queries.begin(one).unwrap());
        let refused = queries.begin(&one(&chance, "us-east-1")).unwrap_err();
        assert_eq!(refused.message, "Account maximum query concurrency limit of [100] reached.");
        queries.begin(&one(&chance, "eu-west-1")).unwrap();
        assert!(all[3].stop() && !all[3].stop());
        queries.begin(&one(&chance, "us-east-1")).unwrap();
        all[3].complete(Progress::default(), vec![vec![("a".into(), "b".into())]]);
        let state = all[3].state();
        assert_eq!((state.status, state.rows.len()), (Status::Cancelled, 0));
    }

    #[tokio::test]
    async fn accounts_take_turns() {
        let queries = Arc::new(Queries::default());
        let account = |number: u8| format!("{number:012}").parse::<AccountId>().unwrap();
        let (said, mut heard) = tokio::sync::mpsc::channel(20);
        let ask = |name: &'static str, number: u8| {
            let (queries, said) = (Arc::clone(&queries), said.clone());
            async move { said.send((name, queries.turn(account(number)).await.unwrap())).await.unwrap() }
        };
        let mut asked = tokio::task::JoinSet::new();
        let all = [("a1", 1), ("a2", 1), ("a3", 1), ("a4", 1), ("b1", 2), ("c1", 3), ("gone", 4), ("d1", 5), ("d2", 5)];
        for (name, number) in all {
            let task = asked.spawn(ask(name, number));
            tokio::task::yield_now().await;
            if name == "gone" {
                task.abort();
            }
        }
        let mut turns = VecDeque::new();
        let mut order = Vec::new();
        while order.len() < 8 {
            tokio::task::yield_now().await;
            turns.extend(std::iter::from_fn(|| heard.try_recv().ok()).inspect(|(name, _)| order.push(*name)));
            assert!(turns.len() <= AT_WORK_MAX);
            turns.pop_front();
        }
        assert_eq!(order, ["a1", "a2", "b1", "c1", "a3", "d1", "a4", "d2"]);
    }

    #[test]
    fn what_is_over_longest_goes_first() {
        let (queries, chance) = (Queries::default(), Seeded::new(1));
        let large = || vec![vec![("a".to_owned(), "x".repeat(ANSWERS_BYTES_MAX / 3))]];
        let all: Vec<_> = (0..5).map(|_| one(&chance, "us-east-1")).collect();
        for one in &all {
            queries.begin(one).unwrap();
            one.complete(Progress::default(), large());
        }
        let is_held: Vec<bool> = all.iter().map(|one| queries.find(&one.scope, one.id).is_some()).collect();
        assert_eq!(is_held, [false, false, true, true, true]);
        for _ in 0..HELD_MAX {
            let one = one(&chance, "us-east-1");
            queries.begin(&one).unwrap();
            one.complete(Progress::default(), Vec::new());
        }
        assert_eq!(queries.of(&all[0].scope).len(), HELD_MAX);
    }
}
