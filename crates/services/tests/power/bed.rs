//! A cloud on a disk that is listened to.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use base::ports::Invoke;
use base::{Clock, ManualClock, Seeded};
use serde_json::Value;
use store::testing::{Mutant, Tap};
use store::{Options, Store};

use crate::world::World;

pub struct Bed {
    pub clock: ManualClock,
    world: World,
}

/// Whether the disk is listened to, and which bug is planted.
#[derive(Default, Clone)]
pub struct Under {
    pub tap: Option<Arc<dyn Tap>>,
    pub mutant: Option<Mutant>,
    /// No two lives of one directory draw the same ids.
    pub life: u64,
}

impl Deref for Bed {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Bed {
    pub async fn open(dir: &Path, clock: &ManualClock, functions: Arc<dyn Invoke>, under: Under) -> Self {
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = Options { tap: under.tap, mutant: under.mutant, checkpoint_pages: Some(6), ..Options::default() };
        let store = Store::open(dir, shared.clone(), options).unwrap();
        let world = World::open(store, dir, shared, Arc::new(Seeded::new(under.life)), functions).await;
        Self { world, clock: clock.clone() }
    }

    pub async fn sqs(&self, operation: &'static str, input: Value) -> Value {
        self.call("sqs", operation, input).await.unwrap().1
    }

    pub async fn close(self) {
        self.tasks.stop(std::time::Duration::from_secs(60)).await;
        self.cloud.store.close().await.unwrap();
    }
}
