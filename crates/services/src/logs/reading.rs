//! Reading a log group from a moment on, and going on with what comes: `lamp logs`.
//!
//! It listens before it reads, so that nothing falls between, and leaves out of what it hears what it has read.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Timestamp, Uuid};
use chronicle::limits::{FOLLOW_RECORDS_MAX, LISTENER_EVENTS_MAX};
use chronicle::{Event, GROUPS, Group, Listener, Position, Test, Want};
use store::Scope;
use tokio::time::{sleep, timeout};

use super::filter;
use crate::Cloud;

const EVENTS_MAX: usize = 1_000;
const BYTES_MAX: usize = 1024 * 1024;
/// How often it is asked whether the group is there, or is another of that name.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Streams whose names are remembered.
const NAMES_MAX: usize = 10_000;
/// Of the events that were read, those that may be heard as well: what waits for a listener, and what was told right before it
/// began.
const READ_TWICE_MAX: usize = LISTENER_EVENTS_MAX + FOLLOW_RECORDS_MAX;

/// What somebody wants to read.
pub struct Wanted {
    pub scope: Scope,
    pub group: String,
    pub since: Timestamp,
    /// A filter pattern, as FilterLogEvents takes it.
    pub pattern: String,
    /// Whether it goes on with what comes.
    pub is_followed: bool,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub time: Timestamp,
    pub ingested: Timestamp,
    pub stream: String,
    pub message: String,
}

pub struct Reading {
    cloud: Arc<Cloud>,
    wanted: Wanted,
    test: Option<Arc<dyn Test>>,
    at: At,
    listener: Option<Listener>,
    /// Numbers of events that were read and may be heard.
    read: BTreeSet<u64>,
    names: BTreeMap<u64, String>,
    missed: u64,
}

/// How far it has come.
enum At {
    /// The group is not there, or not yet.
    Nowhere,
    Past {
        group: Arc<Group>,
        after: Option<Position>,
    },
    Present(Uuid),
    End,
}

impl Reading {
    pub fn new(cloud: Arc<Cloud>, wanted: Wanted) -> Result<Reading, AwsError> {
        let test = filter::parse(&wanted.pattern)?;
        let (at, listener, read, names, missed) = (At::Nowhere, None, BTreeSet::new(), BTreeMap::new(), 0);
        Ok(Reading { cloud, wanted, test, at, listener, read, names, missed })
    }

    /// What is next, which may be nothing for now; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Said>>, AwsError> {
        match &self.at {
            At::Nowhere => self.look_for_group().await,
            At::Past { group, after } => {
                let (group, after) = (Arc::clone(group), *after);
                self.read_on(group, after).await.map(Some)
            }
            At::Present(group) => {
                let group = *group;
                self.listen(group).await.map(Some)
            }
            At::End => Ok(None),
        }
    }

    /// How many events came faster than they were taken, since this was asked last.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    async fn find(&self) -> Result<Option<Arc<Group>>, AwsError> {
        Ok(GROUPS.get_shared(&self.cloud.store, &self.wanted.scope, &self.wanted.group).await?)
    }

    async fn look_for_group(&mut self) -> Result<Option<Vec<Said>>, AwsError> {
        match self.find().await? {
            Some(group) => {
                self.listener = self.wanted.is_followed.then(|| self.cloud.chronicle.listen(HashSet::from([group.id])));
                self.read.clear();
                self.at = At::Past { group, after: None };
            }
            None if self.wanted.is_followed => sleep(LOOK_EVERY).await,
            None => self.at = At::End,
        }
        Ok(Some(Vec::new()))
    }

    /// Reads the next of what was there.
    async fn read_on(&mut self, group: Arc<Group>, after: Option<Position>) -> Result<Vec<Said>, AwsError> {
        let want = Want {
            group: group.id,
            streams: None,
            from: self.wanted.since,
            to: Timestamp::from_millis(i64::MAX),
            after,
            is_backwards: false,
            events_max: EVENTS_MAX,
            bytes_max: BYTES_MAX,
            test: self.test.clone(),
        };
        let found = self.cloud.chronicle.read(&self.wanted.scope, want).await?;
        if let Some(listener) = &self.listener {
            self.read.extend(found.events.iter().map(|event| event.number).filter(|number| *number >= listener.since));
            // Those with the least numbers are heard; what comes after them finds no room, and is missed.
            while self.read.len() > READ_TWICE_MAX {
                self.read.pop_last();
            }
        }
        self.at = match (found.next, &self.listener) {
            (Some(next), _) => At::Past { group, after: Some(next) },
            (None, Some(_)) => At::Present(group.id),
            (None, None) => At::End,
        };
        self.said(found.events.into()).await
    }

    /// Waits for what comes, and takes all that has.
    async fn listen(&mut self, group: Uuid) -> Result<Vec<Said>, AwsError> {
        let Some(listener) = &mut self.listener else { return Ok(Vec::new()) };
        let mut events = VecDeque::new();
        let mut patience = LOOK_EVERY;
        // What is there already is taken with what was waited for.
        while let Ok(Some((_, event))) = timeout(patience, listener.next()).await {
            let message = event.text();
            if !self.read.remove(&event.number) && self.test.as_ref().is_none_or(|test| test.admits(&message)) {
                events.push_back(event);
            }
            if events.len() >= EVENTS_MAX {
                break;
            }
            patience = Duration::ZERO;
        }
        self.missed = self.missed.saturating_add(listener.take_missed());
        let is_quiet = patience > Duration::ZERO;
        if is_quiet && self.find().await?.is_none_or(|found| found.id != group) {
            // All of its successor is new.
            self.at = At::Nowhere;
        }
        events.make_contiguous().sort_by_key(Event::position);
        self.said(events).await
    }

    /// With the names of their streams; what is of a stream that is deleted has none, and is left out.
    async fn said(&mut self, events: VecDeque<Event>) -> Result<Vec<Said>, AwsError> {
        if self.names.len() > NAMES_MAX {
            self.names.clear();
        }
        let streams = events.iter().map(|event| event.stream);
        let unknown: BTreeSet<u64> = streams.filter(|stream| !self.names.contains_key(stream)).collect();
        if !unknown.is_empty() {
            self.names.extend(self.cloud.chronicle.names(&unknown).await?);
        }
        let said = |event: Event| {
            let message = event.text().into_owned();
            let stream = self.names.get(&event.stream)?.clone();
            Some(Said { time: event.time, ingested: event.ingested, stream, message })
        };
        Ok(events.into_iter().filter_map(said).collect())
    }
}

/// Whether a scope has a log group of this name.
pub async fn has_group(cloud: &Cloud, scope: &Scope, name: &str) -> Result<bool, AwsError> {
    Ok(GROUPS.get_shared(&cloud.store, scope, name).await?.is_some())
}

/// The names of the log groups in a scope, the first so many.
pub async fn groups_in(cloud: &Cloud, scope: &Scope, most: usize) -> Result<Vec<String>, AwsError> {
    cloud.names_in(&GROUPS, scope, most).await
}

#[cfg(test)]
mod tests {
    use base::{Clock, ManualClock};
    use chronicle::Line;

    use super::*;
    use crate::cloud::testing::{NoFunctions, ctx};

    /// A chronicle whose follower runs beside the test.
    async fn cloud(dir: &std::path::Path) -> (Arc<Cloud>, Scope) {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
        let ctx = ctx(dir, clock, Arc::new(NoFunctions)).await;
        (ctx.cloud.clone(), ctx.scope())
    }

    async fn put(cloud: &Cloud, stream: u64, second: i64, message: &str) {
        let lines = [Line { time: Timestamp::from_secs(second), message: message.into() }];
        tokio::select! {
            done = cloud.chronicle.put(stream, &lines) => done.unwrap(),
            () = cloud.chronicle.follow() => unreachable!("it follows for ever"),
        }
    }

    async fn stream(cloud: &Cloud, scope: &Scope, group: &str) -> u64 {
        cloud
            .chronicle
            .create_group(scope, group, &Group::new(Uuid::from_bytes([1; 16]), Timestamp::default()))
            .await
            .unwrap();
        let found = GROUPS.get(&cloud.store, scope, group).await.unwrap().unwrap().value;
        cloud.chronicle.create_stream(scope, (group, &found), "s").await.unwrap();
        chronicle::STREAMS.get(&cloud.store, scope, (found.id, "s")).await.unwrap().unwrap().value.number
    }

    fn wanted(scope: &Scope, pattern: &str, is_followed: bool) -> Wanted {
        let (since, pattern) = (Timestamp::from_secs(100), pattern.to_owned());
        Wanted { scope: scope.clone(), group: "g".into(), since, pattern, is_followed }
    }

    /// All that comes until nothing has for a while.
    async fn all(reading: &mut Reading) -> Vec<String> {
        let mut messages = Vec::new();
        while let Ok(Some(said)) = timeout(LOOK_EVERY / 2, reading.next()).await.map(Result::unwrap) {
            messages.extend(said.into_iter().map(|said| said.message));
        }
        messages
    }

    #[tokio::test]
    async fn what_was_said_is_read_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, scope) = cloud(dir.path()).await;
        let mut reading = Reading::new(cloud.clone(), wanted(&scope, "", false)).unwrap();
        assert!(all(&mut reading).await.is_empty(), "no group, and nobody waits for one");
        let number = stream(&cloud, &scope, "g").await;
        for (second, message) in [(200, "two"), (99, "too early"), (150, "one"), (300, "ERROR three")] {
            put(&cloud, number, second, message).await;
        }
        let mut reading = Reading::new(cloud.clone(), wanted(&scope, "", false)).unwrap();
        assert_eq!(all(&mut reading).await, ["one", "two", "ERROR three"]);
        let mut reading = Reading::new(cloud.clone(), wanted(&scope, "ERROR", false)).unwrap();
        assert_eq!(all(&mut reading).await, ["ERROR three"]);
        assert!(Reading::new(cloud, wanted(&scope, "{ $.a = 1", false)).is_err());
    }

    #[tokio::test]
    async fn who_follows_hears_all_that_comes_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (cloud, scope) = cloud(dir.path()).await;
        let mut reading = Reading::new(cloud.clone(), wanted(&scope, "-not", true)).unwrap();
        assert!(all(&mut reading).await.is_empty(), "it waits for the group");
        let number = stream(&cloud, &scope, "g").await;
        put(&cloud, number, 200, "there before").await;
        sleep(LOOK_EVERY).await;
        // It listens from here on, and reads afterwards.
        assert_eq!(reading.next().await.unwrap(), Some(Vec::new()));
        put(&cloud, number, 210, "between").await;
        put(&cloud, number, 211, "not this").await;
        assert_eq!(all(&mut reading).await, ["there before", "between"]);
        put(&cloud, number, 150, "late").await;
        put(&cloud, number, 220, "not that").await;
        put(&cloud, number, 220, "last").await;
        assert_eq!(all(&mut reading).await, ["late", "last"]);
        assert_eq!(reading.take_missed(), 0);
    }
}
