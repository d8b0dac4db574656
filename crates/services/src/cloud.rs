//! What every operation stands on, and the context in which it runs.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use base::Cx;
use base::ports::Invoke;
use store::{Blobs, Scope, Store, Vault};
use tokio::sync::{Mutex, MutexGuard};
use wire::page::Pages;

/// The parts of the platform that services use. One for the process.
pub struct Cloud {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
    /// Seals the positions that paginated lists hand out.
    pub pages: Pages,
    /// Who may edit which record next.
    pub turns: Turns,
    /// Runs functions.
    pub functions: Arc<dyn Invoke>,
    /// Signs the links under which code can be fetched.
    pub links: ring::hmac::Key,
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
