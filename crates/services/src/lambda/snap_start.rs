//! SnapStart: a version that was published under it is `Pending` until whoever runs functions has made its snapshot.
//!
//! A row says of a version that its snapshot is due, or why there is none; an `Active` one has none. So what a crash
//! interrupts is begun again, and the table is as short as what is in work. The snapshot itself is not stored: it is for
//! whoever runs functions to make it again.
//!
//! Invariant: a version's row comes with the version, and goes with it or with its snapshot.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::ports::SnapshotError;
use base::{AwsError, CatchPanic, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Change, Record, Row, Scope, Table};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::errors;
use super::function::{self, FUNCTIONS, Function, Resolved};
use super::name::FunctionRef;
use super::release::Release;
use super::settings::Settings;
use super::version;
use crate::{Ctx, Post};

/// Rows read in one step.
const STEP: usize = 256;
/// How long to wait before what the server failed in is tried again, and how often it is.
const REST: Duration = Duration::from_secs(1);
const TRIES_MAX: usize = 3;
/// How long to wait at most before the store is asked again to settle one.
const REST_MAX: Duration = Duration::from_secs(60);

const GIVEN_UP: &str = "Lamplight failed to make its snapshot; the server's log has more.";

type Key = (Uuid, u64);

/// By the function's incarnation and the version's number.
pub static SNAPSHOTS: Table<Key, Snapshot> = Table::new("lambda_snapshots");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The function's name.
    function: String,
    /// The version's revision as long as it is pending.
    revision: Uuid,
    /// Why there is none; absent while it is due.
    failure: Option<String>,
}

impl Record for Snapshot {
    const VERSION: u8 = 1;
}

/// How far the snapshot of a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snap {
    /// It is to have none.
    Off,
    /// It is being made; the revision until then.
    Pending(Uuid),
    /// Its instances begin with it.
    On,
    Failed(String),
}

/// Lets the batch that makes a version have its snapshot made too, if it is to have one.
pub fn expect(ctx: &Ctx, batch: Batch, function: &Function, number: u64, release: &Release) -> Batch {
    if !release.settings.snap_start.is_on() {
        return batch;
    }
    let due = Snapshot { function: function.name.clone(), revision: ctx.cx.id(), failure: None };
    batch.put(&SNAPSHOTS, &ctx.scope(), (function.incarnation, number), &due)
}

pub async fn look(ctx: &Ctx, function: &Function, version: &str, settings: &Settings) -> Result<Snap, AwsError> {
    let Some(number) = version::number(version).filter(|_| settings.snap_start.is_on()) else { return Ok(Snap::Off) };
    let row = SNAPSHOTS.get(&ctx.cloud.store, &ctx.scope(), (function.incarnation, number)).await?;
    Ok(match row.map(|row| row.value) {
        None => Snap::On,
        Some(Snapshot { failure: Some(failure), .. }) => Snap::Failed(failure),
        Some(Snapshot { revision, .. }) => Snap::Pending(revision),
    })
}

/// Refuses to run a version whose snapshot is not made.
pub async fn check_active(ctx: &Ctx, resolved: &Resolved) -> Result<(), AwsError> {
    let release = resolved.release();
    if resolved.published.is_none() || !release.settings.snap_start.is_on() {
        return Ok(());
    }
    // Once it is, it stays so.
    if ctx.cloud.memory.specs.is_settled(release.revision) {
        return Ok(());
    }
    match look(ctx, &resolved.function, &resolved.version(), &release.settings).await? {
        Snap::Off | Snap::On => {
            ctx.cloud.memory.specs.settle(release.revision);
            Ok(())
        }
        Snap::Pending(_) => Err(errors::not_invocable("Pending")),
        Snap::Failed(_) => Err(errors::not_invocable("Failed")),
    }
}

struct Studio {
    post: Post,
    /// What is in work, each with what tells it that its row has changed.
    at_work: Mutex<HashMap<Place, Arc<Notify>>>,
}

type Place = (Scope, Key);

/// Has what is due made, for ever. Whoever runs functions knows how much of it at once.
pub async fn run(post: Post) {
    let mut hints = SNAPSHOTS.watch_all(&post.cloud.store);
    let studio = Arc::new(Studio { post, at_work: Mutex::default() });
    let mut change = Change::Many;
    loop {
        match change {
            Change::Many => {
                studio.at_work().values().for_each(|news| news.notify_one());
                while let Err(error) = studio.look_everywhere().await {
                    tracing::error!(%error, "failed to look for snapshots that are due");
                    sleep(REST).await;
                }
            }
            Change::Keys(keys) => {
                keys.iter().filter_map(|key| SNAPSHOTS.parse_key(key).ok()).for_each(|place| studio.begin(place));
            }
        }
        change = hints.changed().await;
    }
}

impl Studio {
    async fn look_everywhere(self: &Arc<Self>) -> Result<(), store::Error> {
        let mut after = None;
        loop {
            let page = SNAPSHOTS.scan_all(&self.post.cloud.store, after.as_ref(), STEP).await?;
            page.rows.into_iter().for_each(|row| self.begin(row.key));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<Place, Arc<Notify>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with one; if it is being made, it looks whether it is still wanted.
    fn begin(self: &Arc<Self>, place: Place) {
        let news = match self.at_work().entry(place.clone()) {
            Entry::Occupied(entry) => return entry.get().notify_one(),
            Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::default())),
        };
        let studio = Arc::clone(self);
        let work = async move {
            let _done = Done { studio: &studio, place: &place };
            if let Some(ctx) = studio.post.context(&place.0, studio.post.chance.uuid()) {
                make(&ctx, &place, &news).await;
            }
        };
        self.post.spawn.spawn("snapshot", Box::pin(work));
    }
}

/// Takes what was worked on off the list, however that ends.
struct Done<'a> {
    studio: &'a Studio,
    place: &'a Place,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.studio.at_work().remove(self.place);
    }
}

/// Tries a few times, and settles the version whatever it failed by.
async fn make(ctx: &Ctx, place: &Place, news: &Notify) {
    for tries_left in (0..TRIES_MAX).rev() {
        let attempted = CatchPanic(Box::pin(attempt(ctx, place, tries_left == 0, news))).await;
        match attempted.unwrap_or_else(|| Err(AwsError::internal("a panic"))) {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, "failed to make the snapshot of a version"),
        }
        sleep(REST).await;
    }
    let mut rest = REST;
    while let Err(error) = give_up(ctx, place).await {
        tracing::error!(%error, "failed to settle a version that has no snapshot");
        sleep(rest).await;
        rest = rest.saturating_mul(2).min(REST_MAX);
    }
}

async fn find(ctx: &Ctx, (scope, key): &Place) -> Result<Option<Snapshot>, store::Error> {
    let found: Option<Row<Key, Snapshot>> = SNAPSHOTS.get(&ctx.cloud.store, scope, *key).await?;
    Ok(found.map(|row| row.value).filter(|due| due.failure.is_none()))
}

async fn give_up(ctx: &Ctx, place: &Place) -> Result<(), AwsError> {
    let Some(due) = find(ctx, place).await? else { return Ok(()) };
    tracing::error!(function = due.function, version = place.1.1, "gave up the snapshot of a version");
    settle(ctx, &place.0, place.1, due, Some(GIVEN_UP.to_owned())).await
}

/// Returns when nobody waits for it any more: its version is gone.
async fn unwanted(ctx: &Ctx, place: &Place, news: &Notify) {
    loop {
        news.notified().await;
        if let Ok(None) = find(ctx, place).await {
            return;
        }
    }
}

/// Makes the snapshot that is due, and settles its version. An error is the server's; the last one settles it too.
async fn attempt(ctx: &Ctx, place: &Place, is_last: bool, news: &Notify) -> Result<(), AwsError> {
    let (scope, key) = place;
    let Some(due) = find(ctx, place).await? else { return Ok(()) };
    let number = key.1.to_string();
    let asked = FunctionRef::parse(ctx, "PublishVersion", &due.function, Some(&number))?;
    let resolved = match function::resolve(ctx, &asked).await {
        Ok(resolved) if resolved.function.incarnation == key.0 => resolved,
        // Deleted; its row is about to go.
        Ok(_) => return Ok(()),
        Err(error) if error.code == "ResourceNotFoundException" => return Ok(()),
        Err(error) => return Err(error),
    };
    let spec = ctx.cloud.memory.specs.of(ctx, &resolved).await?;
    let made = tokio::select! {
        made = ctx.cloud.functions.snapshot(spec) => made,
        // Its init ends with it.
        () = unwanted(ctx, place, news) => return Ok(()),
    };
    let failure = match made {
        Ok(()) => None,
        Err(SnapshotError::Function { error_type }) => {
            tracing::info!(function = due.function, version = number, error_type, "a version does not load");
            Some("An error occurred during function initialization.".to_owned())
        }
        Err(SnapshotError::CannotRun(why)) => {
            // Nothing is wrong with it. Whoever invokes it hears the same.
            tracing::info!(function = due.function, version = number, why, "a version has no snapshot");
            None
        }
        Err(SnapshotError::Internal(why)) if is_last => {
            tracing::error!(function = due.function, version = number, why, "gave up the snapshot of a version");
            Some(GIVEN_UP.to_owned())
        }
        Err(SnapshotError::Internal(why)) => return Err(AwsError::internal(why)),
    };
    settle(ctx, scope, *key, due, failure).await
}

async fn settle(ctx: &Ctx, scope: &Scope, key: Key, due: Snapshot, failure: Option<String>) -> Result<(), AwsError> {
    let name = due.function.clone();
    let settled = Snapshot { failure, ..due };
    let mut edit = ctx.edit(&FUNCTIONS, scope, &name).await;
    loop {
        let (found, batch) = edit.read().await?;
        let Some(function) = found.filter(|function| function.incarnation == key.0) else { return Ok(()) };
        // The version may have been deleted meanwhile, and its row with it.
        if SNAPSHOTS.get(&ctx.cloud.store, scope, key).await?.is_none() {
            return Ok(());
        }
        let batch = batch.put(&FUNCTIONS, scope, &name, &function);
        let batch = match settled.failure {
            None => batch.delete(&SNAPSHOTS, scope, key),
            Some(_) => batch.put(&SNAPSHOTS, scope, key, &settled),
        };
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use base::ports::{Call, FunctionSpec, Invoke, InvokeError, Invoked, Provided, Provision, ProvisionId};
    use base::{BoxFuture, SystemClock};

    use super::*;
    use crate::cloud::testing;
    use crate::lambda::settings::SnapStart;
    use crate::lambda::version::VERSIONS;

    /// Makes snapshots as it is told: what is told of one, or a panic, or nothing for ever.
    struct Maker {
        told: Mutex<VecDeque<Told>>,
        /// Who waits for ever; each has this.
        waiting: Arc<Notify>,
    }

    enum Told {
        Made(Result<(), SnapshotError>),
        Panic,
        Never,
    }

    impl From<Result<(), SnapshotError>> for Told {
        fn from(made: Result<(), SnapshotError>) -> Told {
            Told::Made(made)
        }
    }

    impl Invoke for Maker {
        fn invoke(&self, _: Arc<FunctionSpec>, _: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
            Box::pin(async { Err(InvokeError::CannotRun("none".into())) })
        }

        fn expect(&self, _: Arc<FunctionSpec>) {}

        fn snapshot(&self, spec: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>> {
            assert!(spec.is_snap_start && spec.version == "1");
            let told = self.told.lock().unwrap().pop_front().expect("nobody asks for more");
            let waiting = Arc::clone(&self.waiting);
            Box::pin(async move {
                match told {
                    Told::Made(made) => made,
                    Told::Panic => panic!("as it was told"),
                    Told::Never => {
                        waiting.notify_one();
                        let _held = waiting;
                        std::future::pending().await
                    }
                }
            })
        }

        fn provide(&self, _: Vec<Provision>) {}

        fn provided(&self, _: &ProvisionId) -> Provided {
            Provided::default()
        }
    }

    struct Bed {
        ctx: Ctx,
        function: Function,
        waiting: Arc<Notify>,
        _dir: tempfile::TempDir,
    }

    const KEY: Key = (Uuid::NIL, 1);

    impl Bed {
        /// With one version, of which a snapshot is due.
        async fn new<T: Into<Told>>(told: impl IntoIterator<Item = T>) -> Bed {
            let dir = tempfile::tempdir().unwrap();
            let waiting = Arc::new(Notify::new());
            let told = Mutex::new(told.into_iter().map(Into::into).collect());
            let maker = Arc::new(Maker { told, waiting: Arc::clone(&waiting) });
            let ctx = testing::ctx(dir.path(), Arc::new(SystemClock), maker).await;
            let mut function = function::testing::function();
            function.latest.settings.snap_start = SnapStart { apply_on: "PublishedVersions".into() };
            let scope = ctx.scope();
            let batch =
                Batch::new().put(&FUNCTIONS, &scope, "f", &function).put(&VERSIONS, &scope, KEY, &function.latest);
            let batch = expect(&ctx, batch, &function, 1, &function.latest);
            ctx.cloud.store.commit(batch).await.unwrap();
            Bed { ctx, function, waiting, _dir: dir }
        }

        async fn look(&self) -> Snap {
            look(&self.ctx, &self.function, "1", &self.function.latest.settings).await.unwrap()
        }

        async fn attempt(&self, is_last: bool) -> Result<(), AwsError> {
            attempt(&self.ctx, &self.place(), is_last, &Notify::new()).await
        }

        fn place(&self) -> Place {
            (self.ctx.scope(), KEY)
        }

        async fn refusal(&self) -> Option<String> {
            let asked = FunctionRef { name: "f".into(), qualifier: Some("1".into()) };
            let resolved = function::resolve(&self.ctx, &asked).await.unwrap();
            check_active(&self.ctx, &resolved).await.err().map(|error| error.message)
        }
    }

    #[tokio::test]
    async fn a_version_is_pending_until_its_snapshot_is_made() {
        let bed = Bed::new([Err(SnapshotError::Internal("a fault".into())), Ok(())]).await;
        assert!(matches!(bed.look().await, Snap::Pending(_)));
        assert!(bed.refusal().await.unwrap().ends_with("following state: Pending"));
        assert!(bed.attempt(false).await.is_err(), "it is tried again");
        assert!(matches!(bed.look().await, Snap::Pending(_)));
        bed.attempt(false).await.unwrap();
        assert_eq!((bed.look().await, bed.refusal().await), (Snap::On, None));
        bed.attempt(false).await.unwrap();
        let latest = look(&bed.ctx, &bed.function, "$LATEST", &bed.function.latest.settings).await.unwrap();
        assert_eq!(latest, Snap::Off);
    }

    #[tokio::test]
    async fn one_that_does_not_load_has_failed_for_good() {
        for (made, is_last, is_failed) in [
            (SnapshotError::Function { error_type: "Runtime.ExitError".into() }, false, true),
            (SnapshotError::Internal("a fault".into()), true, true),
            (SnapshotError::CannotRun("no such runtime".into()), false, false),
        ] {
            let bed = Bed::new([Err(made)]).await;
            bed.attempt(is_last).await.unwrap();
            assert_eq!(matches!(bed.look().await, Snap::Failed(_)), is_failed);
            assert_eq!(bed.refusal().await.is_some(), is_failed);
            bed.attempt(false).await.unwrap();
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_no_version_stays_pending() {
        let bed = Bed::new([Told::Panic, Told::Panic, Told::Panic]).await;
        make(&bed.ctx, &bed.place(), &Notify::new()).await;
        assert_eq!(bed.look().await, Snap::Failed(GIVEN_UP.to_owned()));

        let bed = Bed::new([Told::Panic, Told::Made(Ok(()))]).await;
        make(&bed.ctx, &bed.place(), &Notify::new()).await;
        assert_eq!(bed.look().await, Snap::On, "it is tried again");
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_is_made_no_longer() {
        let bed = Bed::new([Told::Never]).await;
        let (place, news) = (bed.place(), Notify::new());
        let held = Arc::strong_count(&bed.waiting);
        let making = make(&bed.ctx, &place, &news);
        let deleting = async {
            bed.waiting.notified().await;
            assert!(Arc::strong_count(&bed.waiting) > held);
            // A change that leaves it wanted.
            news.notify_one();
            tokio::task::yield_now().await;
            bed.ctx.cloud.store.commit(Batch::new().delete(&SNAPSHOTS, &place.0, KEY)).await.unwrap();
            news.notify_one();
        };
        tokio::join!(making, deleting);
        assert_eq!(Arc::strong_count(&bed.waiting), held, "its init is gone with it");
    }

    #[tokio::test]
    async fn what_is_deleted_meanwhile_stays_so() {
        let bed = Bed::new([Ok(()), Ok(())]).await;
        let scope = bed.ctx.scope();
        let due = SNAPSHOTS.get(&bed.ctx.cloud.store, &scope, KEY).await.unwrap().unwrap().value;
        bed.ctx.cloud.store.commit(Batch::new().delete(&SNAPSHOTS, &scope, KEY)).await.unwrap();
        settle(&bed.ctx, &scope, KEY, due.clone(), Some("late".into())).await.unwrap();
        assert!(SNAPSHOTS.get(&bed.ctx.cloud.store, &scope, KEY).await.unwrap().is_none());
        bed.ctx
            .cloud
            .store
            .commit(Batch::new().put(&SNAPSHOTS, &scope, KEY, &due).delete(&FUNCTIONS, &scope, "f"))
            .await
            .unwrap();
        bed.attempt(false).await.unwrap();
        settle(&bed.ctx, &scope, KEY, due, None).await.unwrap();
        assert!(FUNCTIONS.get(&bed.ctx.cloud.store, &scope, "f").await.unwrap().is_none());
    }
}
