//! Running a query: all events of its groups between two times.
//!
//! Each sheet is looked at by whatever thread is free, into a part of the run of its own; parts are merged in the order of
//! their sheets, so that an answer is the same however many threads there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::held::{One, Progress, Status};
use crate::Ctx;
use base::{AwsError, Timestamp};
use chronicle::{Candidates, Chronicle, Error, Group, Sheet, Swept, Test};
use engine::insights::{Event, Limits, Query, Run, Search, Window};

/// AWS's.
const TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// How often a query begins again because chunks of its groups were joined while it read them.
const ATTEMPTS_MAX: usize = 16;
/// Streams whose names are remembered.
const NAMES_MAX: usize = 20_000;

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
        let work = async {
            let Some(_turn) = self.ctx.cloud.memory.queries.turn(self.ctx.cx.account).await else { return };
            self.one.turn(Status::Running);
            match tokio::time::timeout(TIME_MAX, self.look()).await {
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

    async fn look(&self) -> Result<(), AwsError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_look().await {
                Err(Error::Contended) => {}
                done => return Ok(done?),
            }
        }
        Err(Error::Contended.into())
    }

    async fn try_look(&self) -> Result<(), Error> {
        let (chronicle, account) = (&self.ctx.cloud.chronicle, self.ctx.cx.account);
        let reader = Arc::new(Reader::new(self));
        let (mut names, mut ahead) = (Names::default(), VecDeque::new());
        'groups: for (name, group) in &self.groups {
            let since = group.kept_since(self.ctx.cx.now()).unwrap_or(self.from);
            let log: Arc<str> = format!("{}:{name}", self.ctx.cx.account.as_str()).into();
            let mut sweep = chronicle.sweep(&self.ctx.scope(), group.id, self.from.max(since), self.to).await?;
            reader.state().begin_group();
            while let Some(sheet) = sweep.next().await? {
                let names = names.of(chronicle, &sheet).await?;
                let (number, log, thread) = (reader.state().begin(), log.clone(), reader.clone());
                ahead.push_back(chronicle.look(account, move || thread.read(number, &log, &names, sheet)));
                if ahead.len() > chronicle.lookers()
                    && let Some(first) = ahead.pop_front()
                {
                    first.await??;
                }
                if reader.state().run.is_satisfied() {
                    break 'groups;
                }
            }
        }
        for look in ahead {
            look.await??;
        }
        let finish = move || {
            let mut state = reader.state();
            let rest = state.run.part();
            (std::mem::replace(&mut state.run, rest).finish(), state.progress)
        };
        let (answer, progress) = chronicle.look(account, finish).await?;
        if answer.is_cut {
            tracing::warn!(query = %self.one.id, "a query of logs found more than fits into memory: the last rows are not there");
        }
        self.one.complete(Progress { matched: answer.matched, ..progress }, answer.rows);
        self.ctx.cloud.memory.queries.trim();
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

/// What all threads know that look for a query.
struct Reader {
    one: Arc<One>,
    needle: Option<Needle>,
    state: Mutex<State>,
}

struct State {
    run: Run,
    progress: Progress,
    begun: u64,
    merged: u64,
    /// What was looked at before something in front of it was.
    parts: BTreeMap<u64, (Run, Swept)>,
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
    fn new(work: &Work) -> Reader {
        let needle = work.query.needle().map(|needle| Needle(needle.search()));
        let run = Run::new(work.query.clone(), work.window, work.limits);
        let state = State { run, progress: Progress::default(), begun: 0, merged: 0, parts: BTreeMap::new() };
        Reader { one: work.one.clone(), needle, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the sheet that has this number.
    fn read(&self, number: u64, log: &str, names: &BTreeMap<u64, String>, sheet: Sheet) -> Result<(), Error> {
        let mut part = self.state().run.part();
        let needle = self.needle.as_ref().map(|needle| needle as &dyn Test);
        let swept = sheet.sift(needle, |event| {
            // A stream that was deleted meanwhile has no name.
            let Some(stream) = names.get(&event.stream).filter(|_| !self.one.is_stopped()) else { return };
            part.push(&Event {
                message: &event.text(),
                timestamp_ms: event.time.as_millis(),
                ingestion_ms: event.ingested.as_millis(),
                stream,
                log,
                pointer: pointer(&event),
            });
        })?;
        let mut state = self.state();
        state.parts.insert(number, (part, swept));
        state.merge();
        self.one.tell(state.progress);
        Ok(())
    }
}

impl State {
    /// The number of the next sheet.
    fn begin(&mut self) -> u64 {
        let number = self.begun;
        self.begun = self.begun.saturating_add(1);
        number
    }

    fn begin_group(&mut self) {
        self.progress.groups = self.progress.groups.saturating_add(1);
    }

    /// Merges what has nothing in front of it, as long as it is of use.
    fn merge(&mut self) {
        while !self.run.is_satisfied()
            && let Some((part, swept)) = self.parts.remove(&self.merged)
        {
            self.run.merge(part);
            self.progress.swept.events = self.progress.swept.events.saturating_add(swept.events);
            self.progress.swept.bytes = self.progress.swept.bytes.saturating_add(swept.bytes);
            self.merged = self.merged.saturating_add(1);
        }
    }
}

/// The names of streams that were met.
#[derive(Default)]
struct Names(Arc<BTreeMap<u64, String>>);

impl Names {
    /// Those of a sheet, and others.
    async fn of(&mut self, chronicle: &Chronicle, sheet: &Sheet) -> Result<Arc<BTreeMap<u64, String>>, Error> {
        if self.0.len() > NAMES_MAX {
            self.0 = Arc::default();
        }
        let streams = sheet.streams().into_iter();
        let unknown: BTreeSet<u64> = streams.filter(|stream| !self.0.contains_key(stream)).collect();
        if !unknown.is_empty() {
            let found = chronicle.names(&unknown).await?;
            Arc::make_mut(&mut self.0).extend(found);
        }
        Ok(Arc::clone(&self.0))
    }
}
