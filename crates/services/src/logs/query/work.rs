//! Running a query: all events of its groups between two times, looked at on threads of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp};
use chronicle::{Candidates, Chronicle, Error, Group, Sheet, Swept, Test};
use engine::insights::{Event, Limits, Query, Run, Search, Window};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::task::spawn_blocking;

use super::held::{One, Progress, Status};
use crate::Ctx;

/// AWS's.
const TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// How often a query begins again because chunks of its groups were joined while it read them.
const ATTEMPTS_MAX: usize = 16;
/// Streams whose names are remembered.
const NAMES_MAX: usize = 20_000;

/// Leave to look through events.
type Turn = Arc<Result<OwnedSemaphorePermit, AcquireError>>;

pub struct Work {
    pub ctx: Ctx,
    pub one: Arc<One>,
    pub query: Arc<Query>,
    pub window: Window,
    pub limits: Limits,
    pub groups: Vec<(String, Arc<Group>)>,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Work {
    /// Waits for its turn, and works until it is done, stopped, or out of time.
    pub async fn run(self) {
        let at_work = self.ctx.cloud.queries.at_work.clone();
        let work = async {
            // The semaphore is never closed.
            let turn = Arc::new(at_work.acquire_owned().await);
            self.one.turn(Status::Running);
            match tokio::time::timeout(TIME_MAX, self.look(&turn)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, query = %self.one.id, "failed to run a query of logs");
                    self.one.turn(Status::Failed);
                }
                Err(_) => self.one.turn(Status::Timeout),
            }
        };
        tokio::select! {
            () = work => {}
            () = self.one.stopped.notified() => {}
        }
    }

    async fn look(&self, turn: &Turn) -> Result<(), AwsError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_look(turn).await {
                Err(Error::Contended) => {}
                done => return Ok(done?),
            }
        }
        Err(Error::Contended.into())
    }

    async fn try_look(&self, turn: &Turn) -> Result<(), Error> {
        let chronicle = &self.ctx.cloud.chronicle;
        let mut reader = Reader::new(&self.query, Run::new(self.query.clone(), self.window, self.limits));
        let mut progress = Progress::default();
        'groups: for (name, group) in &self.groups {
            let since = group.kept_since(self.ctx.cx.now()).unwrap_or(self.from);
            let log: Arc<str> = format!("{}:{name}", self.ctx.cx.account.as_str()).into();
            let mut sweep = chronicle.sweep(&self.ctx.scope(), group.id, self.from.max(since), self.to).await?;
            progress.groups = progress.groups.saturating_add(1);
            while let Some(sheet) = sweep.next().await? {
                reader.learn_names(chronicle, &sheet).await?;
                // Its turn is not over before the thread is done, whoever waits for it.
                let (log, one, turn) = (log.clone(), self.one.clone(), Arc::clone(turn));
                let read = move || {
                    let swept = reader.read(&log, sheet, &one);
                    drop(turn);
                    swept.map(|swept| (reader, swept))
                };
                let (back, swept) = spawn_blocking(read).await.map_err(|_| Error::Stopping)??;
                reader = back;
                progress.swept.events = progress.swept.events.saturating_add(swept.events);
                progress.swept.bytes = progress.swept.bytes.saturating_add(swept.bytes);
                self.one.tell(progress);
                if reader.run.is_satisfied() {
                    break 'groups;
                }
            }
        }
        let answer = spawn_blocking(|| reader.run.finish()).await.map_err(|_| Error::Stopping)?;
        if answer.is_cut {
            tracing::warn!(query = %self.one.id, "a query of logs found more than fits into memory: the last rows are not there");
        }
        progress.matched = answer.matched;
        self.one.complete(progress, answer.rows);
        self.ctx.cloud.queries.trim();
        Ok(())
    }
}

/// Where an event is, as `@ptr` has it: its number, and its stream's.
fn pointer(event: &chronicle::Event) -> u128 {
    (u128::from(event.number) << 64) | u128::from(event.stream)
}

/// The number of an event and that of its stream, in what [`pointer`] made.
pub fn place(pointer: u128) -> (u64, u64) {
    // Both halves fit.
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
    (half(pointer >> 64), half(pointer))
}

/// A run, and what it knows of what it reads.
struct Reader {
    run: Run,
    needle: Option<Needle>,
    names: BTreeMap<u64, String>,
}

/// Passes over messages that cannot match.
struct Needle(Search);

impl Test for Needle {
    fn candidates<'m>(&'m self, messages: &'m [u8]) -> Option<Candidates<'m>> {
        let mut candidates = self.0.candidates(messages);
        Some(Box::new(move |from| candidates.next_from(from)))
    }

    /// The run itself judges.
    fn admits(&self, _: &str) -> bool {
        true
    }
}

impl Reader {
    fn new(query: &Query, run: Run) -> Reader {
        let needle = query.needle().map(|needle| Needle(needle.search()));
        Reader { run, needle, names: BTreeMap::new() }
    }

    async fn learn_names(&mut self, chronicle: &Chronicle, sheet: &Sheet) -> Result<(), Error> {
        if self.names.len() > NAMES_MAX {
            self.names.clear();
        }
        let streams = sheet.streams().into_iter();
        let unknown: BTreeSet<u64> = streams.filter(|stream| !self.names.contains_key(stream)).collect();
        if !unknown.is_empty() {
            self.names.extend(chronicle.names(&unknown).await?);
        }
        Ok(())
    }

    fn read(&mut self, log: &str, sheet: Sheet, one: &One) -> Result<Swept, Error> {
        let Reader { run, needle, names } = self;
        sheet.sift(needle.as_ref().map(|needle| needle as &dyn Test), |event| {
            // A stream that was deleted meanwhile has no name.
            let Some(stream) = names.get(&event.stream).filter(|_| !one.is_stopped()) else { return };
            run.push(&Event {
                message: &String::from_utf8_lossy(&event.message),
                timestamp_ms: event.time.as_millis(),
                ingestion_ms: event.ingested.as_millis(),
                stream,
                log,
                pointer: pointer(&event),
            });
        })
    }
}
