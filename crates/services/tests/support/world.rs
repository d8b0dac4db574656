//! A cloud whose operations are called as the server calls them, without a network.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base::ports::Invoke;
use base::{AccountId, AwsError, Chance, Clock, Cx, Principal, Region, RequestId};
use chronicle::Chronicle;
use metrics::Metrics;
use ring::hmac;
use serde::Serialize;
use serde_json::Value;
use services::derived::Rules;
use services::{Cloud, Memory, Post};
use store::{Blobs, Store, Vault, data_dir};
use wire::Handler;
use wire::page::Pages;
use wire::server::Tasks;

pub struct World {
    pub cloud: Arc<Cloud>,
    pub tasks: Tasks,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    handlers: HashMap<(&'static str, &'static str), Handler>,
}

pub type Answer = Result<(RequestId, Value), AwsError>;

impl World {
    pub async fn open(
        store: Store,
        dir: &Path,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        functions: Arc<dyn Invoke>,
    ) -> Self {
        let tasks = Tasks::default();
        let nothing = Arc::new(chronicle::Nothing);
        let cloud = Arc::new(Cloud {
            blobs: Blobs::open(&store, &data_dir::blobs(dir), clock.clone()).unwrap(),
            vault: Vault::open(&store, &data_dir::master_key(dir), chance.clone()).await.unwrap(),
            metrics: Metrics::open(&store, clock.clone()).await.unwrap(),
            rules: Rules::open(&store).await.unwrap(),
            chronicle: Chronicle::open(&store, clock.clone(), chance.clone(), nothing).await.unwrap(),
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
        Self { handlers: handlers.collect(), cloud, tasks, clock, chance }
    }

    /// Calls an operation as the root of the account, and gives its answer as JSON. Of blobs there are none.
    pub async fn call(&self, service: &'static str, operation: &'static str, input: impl Serialize) -> Answer {
        let account = AccountId::ZERO;
        let arn = format!("arn:aws:iam::{account}:root");
        let principal = Principal { account, arn, user_id: account.to_string(), access_key_id: None };
        let id = RequestId(self.chance.uuid());
        let endpoint = "http://127.0.0.1:4566".into();
        let (clock, chance) = (self.clock.clone(), self.chance.clone());
        let cx = Cx::new(Arc::new(principal), Region::default(), id, endpoint, clock, chance);
        let output = self.handlers[&(service, operation)](cx, wire::Value::of(&input).unwrap()).await?;
        Ok((id, output.value.into_typed().unwrap_or_default()))
    }

    pub fn post(&self) -> Post {
        let (clock, chance) = (self.clock.clone(), self.chance.clone());
        Post { cloud: self.cloud.clone(), spawn: Arc::new(self.tasks.clone()), clock, chance }
    }
}

/// Where a queue is found.
pub fn url(queue: &str) -> String {
    format!("http://127.0.0.1:4566/000000000000/{queue}")
}

pub fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}
