//! What every operation stands on, and the context in which it runs.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use base::ports::Invoke;
use base::{AwsError, Cx, Spawn};
use chronicle::Chronicle;
use metrics::Metrics;
use store::{Blobs, Record, Scan, Scope, Store, Table, Vault};
use tokio::sync::{Mutex, MutexGuard};
use wire::page::Pages;

use crate::derived::Rules;
use crate::lambda::event_source_mapping::poll::Troubles;
use crate::lambda::invoke::{Backlogs, Specs};
use crate::logs::query::Queries;
use crate::sqs::LiveQueues;
use crate::under_way::UnderWay;

/// The parts of the platform that services use. One for the process.
pub struct Cloud {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
    /// What functions and programs said.
    pub chronicle: Chronicle,
    /// What was measured.
    pub metrics: Metrics,
    /// What is made of events as they come.
    pub rules: Arc<Rules>,
    /// Seals the positions that paginated lists hand out.
    pub pages: Pages,
    /// Starts what goes on beside the requests.
    pub spawn: Arc<dyn Spawn>,
    /// Runs functions.
    pub functions: Arc<dyn Invoke>,
    /// How many functions may run at once in one account and region.
    pub concurrency_max: u32,
    /// Signs the links under which code can be fetched.
    pub links: ring::hmac::Key,
    pub memory: Memory,
}

/// What is known in memory alone: it begins empty, and ends with the process.
#[derive(Default)]
pub struct Memory {
    /// Who may edit which record next.
    pub turns: Turns,
    /// The queues that are in memory.
    pub live_queues: LiveQueues,
    /// Queries of logs, and what they found.
    pub queries: Queries,
    /// How long the lines of tenants' events are.
    pub backlogs: Backlogs,
    /// What is under way right now.
    pub under_way: UnderWay,
    /// Why mappings read nothing.
    pub troubles: Troubles,
    /// What runs, as values.
    pub specs: Specs,
}

impl Cloud {
    /// The names of what a table has in a scope, the first so many.
    pub async fn names_in<V: Record>(
        &self,
        table: &Table<String, V>,
        scope: &Scope,
        most: usize,
    ) -> Result<Vec<String>, AwsError> {
        let (mut names, mut scan) = (Vec::new(), Scan::all(store::limits::RANGE_ROWS_MAX));
        while names.len() < most {
            let page = table.page(&self.store, scope, scan.clone()).await?;
            names.extend(page.rows.into_iter().map(|row| row.key));
            match page.next {
                None => break,
                Some(next) => scan = scan.after(&next),
            }
        }
        names.truncate(most);
        Ok(names)
    }
}

/// Lets one edit of a record go after the other, so that many at once do not keep overtaking each other between
/// reading and writing. Only fairness rests on it; that no edit is lost rests on the expectations of its batch.
pub struct Turns([Mutex<()>; TURN_LANES]);

/// Edits of different records rarely meet in one of so many lanes.
const TURN_LANES: usize = 1024;

impl Default for Turns {
    fn default() -> Self {
        Self([const { Mutex::const_new(()) }; TURN_LANES])
    }
}

impl Turns {
    /// Waits for the turns of all `records`; they last as long as what is returned. Lanes are taken in order, each
    /// once, and nobody asks for more while holding some, so nobody waits in a circle.
    pub async fn of(&self, records: &[Vec<u8>]) -> Vec<MutexGuard<'_, ()>> {
        let lane = |record: &Vec<u8>| {
            let mut hasher = DefaultHasher::new();
            record.hash(&mut hasher);
            hasher.finish() as usize % TURN_LANES
        };
        let lanes: BTreeSet<usize> = records.iter().map(lane).collect();
        let mut turns = Vec::with_capacity(lanes.len());
        for lane in lanes {
            turns.push(self.0[lane].lock().await);
        }
        turns
    }
}

/// The context of one operation: the request's, and the cloud's.
#[derive(Clone)]
pub struct Ctx {
    pub cx: Cx,
    pub cloud: Arc<Cloud>,
}

impl Ctx {
    /// Where this request's resources live: world, account and region.
    pub fn scope(&self) -> Scope {
        Scope::from(&self.cx)
    }
}

#[cfg(test)]
pub mod testing {
    use std::path::Path;

    use base::ports::{Call, FunctionSpec, InvokeError, Invoked, Provided, Provision, ProvisionId, SnapshotError};
    use base::{AccountId, BoxFuture, Chance, Clock, Principal, Region, RequestId, Seeded};
    use ring::hmac;

    use super::*;

    /// A request's context in a cloud of its own, which keeps what it keeps in memory and in `dir`.
    pub async fn ctx(dir: &Path, clock: Arc<dyn Clock>, functions: Arc<dyn Invoke>) -> Ctx {
        let chance: Arc<dyn Chance> = Arc::new(Seeded::new(1));
        let store = Store::memory(clock.clone());
        let cloud = Cloud {
            blobs: Blobs::open(&store, &dir.join("blobs"), clock.clone()).unwrap(),
            vault: Vault::open(&store, &dir.join("master"), chance.clone()).await.unwrap(),
            metrics: Metrics::open(&store, clock.clone()).await.unwrap(),
            rules: Rules::open(&store).await.unwrap(),
            chronicle: Chronicle::open(&store, clock.clone(), chance.clone(), Arc::new(chronicle::Nothing))
                .await
                .unwrap(),
            pages: Pages::new(&[0; 32]).unwrap(),
            memory: Memory::default(),
            spawn: Arc::new(Nobody),
            functions,
            concurrency_max: 1_000,
            links: hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]),
            store,
        };
        let account = AccountId::ZERO;
        let principal = Principal { account, arn: String::new(), user_id: String::new(), access_key_id: None };
        let (id, endpoint) = (RequestId(chance.uuid()), "http://127.0.0.1:4566".into());
        let cx = Cx::new(Arc::new(principal), Region::default(), id, endpoint, clock, chance);
        Ctx { cx, cloud: Arc::new(cloud) }
    }

    /// For tests that start nothing.
    struct Nobody;

    impl Spawn for Nobody {
        fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
    }

    /// For tests that run none.
    pub struct NoFunctions;

    impl Invoke for NoFunctions {
        fn invoke(&self, _: Arc<FunctionSpec>, _: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
            Box::pin(async { Err(InvokeError::CannotRun("functions".into())) })
        }

        fn expect(&self, _: Arc<FunctionSpec>) {}

        fn snapshot(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>> {
            Box::pin(async { Ok(()) })
        }

        fn provide(&self, _: Vec<Provision>) {}

        fn provided(&self, _: &ProvisionId) -> Provided {
            Provided::default()
        }
    }
}
