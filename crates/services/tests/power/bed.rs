//! A cloud on a disk that is listened to, whose operations are called as the server calls them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base::ports::Invoke;
use base::{AccountId, AwsError, Chance, Clock, Cx, ManualClock, Principal, Region, RequestId, Seeded};
use chronicle::Chronicle;
use metrics::Metrics;
use ring::hmac;
use serde::Serialize;
use serde_json::Value;
use services::derived::Rules;
use services::{Cloud, Memory, Post};
use store::testing::{Mutant, Tap};
use store::{Blobs, Options, Store, Vault, data_dir};
use wire::Handler;
use wire::page::Pages;
use wire::server::Tasks;

pub struct Bed {
    pub cloud: Arc<Cloud>,
    pub clock: ManualClock,
    pub tasks: Tasks,
    handlers: HashMap<(&'static str, &'static str), Handler>,
    chance: Arc<dyn Chance>,
}

/// Whether the disk is listened to, and which bug is planted.
#[derive(Default, Clone)]
pub struct Under {
    pub tap: Option<Arc<dyn Tap>>,
    pub mutant: Option<Mutant>,
    /// No two lives of one directory draw the same ids.
    pub life: u64,
}

impl Bed {
    pub async fn open(dir: &Path, clock: &ManualClock, functions: Arc<dyn Invoke>, under: Under) -> Self {
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let chance: Arc<dyn Chance> = Arc::new(Seeded::new(under.life));
        let options = Options { tap: under.tap, mutant: under.mutant, checkpoint_pages: Some(6), ..Options::default() };
        let store = Store::open(dir, shared.clone(), options).unwrap();
        let tasks = Tasks::default();
        let cloud = Arc::new(Cloud {
            blobs: Blobs::open(&store, &data_dir::blobs(dir), shared.clone()).unwrap(),
            vault: Vault::open(&store, &data_dir::master_key(dir), chance.clone()).await.unwrap(),
            metrics: Metrics::open(&store, shared.clone()).await.unwrap(),
            rules: Rules::open(&store).await.unwrap(),
            chronicle: Chronicle::open(&store, shared, chance.clone(), Arc::new(chronicle::Nothing)).await.unwrap(),
            pages: Pages::new(&[0; 32]).unwrap(),
            memory: Memory::default(),
            spawn: Arc::new(tasks.clone()),
            functions,
            concurrency_max: 1_000,
            links: hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]),
            store,
        });
        let services = services::all(&cloud).unwrap();
        let handlers = services.iter().flat_map(|(_, service)| {
            service.handlers.iter().map(|(operation, handler)| ((service.name, *operation), handler.clone()))
        });
        Self { handlers: handlers.collect(), cloud, clock: clock.clone(), tasks, chance }
    }

    /// Calls an operation, and gives its answer as JSON. Of blobs there are none.
    pub async fn call(&self, service: &'static str, operation: &'static str, input: impl Serialize) -> Answer {
        let account = AccountId::ZERO;
        let arn = format!("arn:aws:iam::{account}:root");
        let principal = Principal { account, arn, user_id: account.to_string(), access_key_id: None };
        let (clock, id) = (Arc::new(self.clock.clone()), RequestId(self.chance.uuid()));
        let endpoint = "http://127.0.0.1:4566".into();
        let cx = Cx::new(Arc::new(principal), Region::default(), id, endpoint, clock, self.chance.clone());
        let output = self.handlers[&(service, operation)](cx, wire::Value::of(&input).unwrap()).await?;
        Ok((id, output.value.into_typed().unwrap_or_default()))
    }

    pub async fn sqs(&self, operation: &'static str, input: Value) -> Value {
        self.call("sqs", operation, input).await.unwrap().1
    }

    pub fn post(&self) -> Post {
        let (clock, chance) = (Arc::new(self.clock.clone()), self.chance.clone());
        Post { cloud: self.cloud.clone(), spawn: Arc::new(self.tasks.clone()), clock, chance }
    }

    pub async fn close(self) {
        self.tasks.stop(std::time::Duration::from_secs(60)).await;
        self.cloud.store.close().await.unwrap();
    }
}

pub type Answer = Result<(RequestId, Value), AwsError>;

/// Where a queue is found.
pub fn url(queue: &str) -> String {
    format!("http://127.0.0.1:4566/000000000000/{queue}")
}

pub fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}
