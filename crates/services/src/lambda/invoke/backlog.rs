//! How long the lines of functions are in which their tenants' events wait: known in memory alone, and only as well as it takes
//! to choose the shorter one.

use std::collections::HashMap;

use base::Uuid;
use engine::events::shards::{COMMON, Lengths, Shard};
use parking_lot::Mutex;
use store::Scope;

/// Of the functions that have events of tenants; a courier forgets its function's when nothing is left.
#[derive(Default)]
pub struct Backlogs(Mutex<HashMap<Round, Lengths>>);

/// A function's events: where it is, and its incarnation.
pub type Round = (Scope, Uuid);

impl Backlogs {
    /// Where the next event lies.
    pub fn enter(&self, round: Round, tenant: Option<&str>) -> Shard {
        tenant.map_or(COMMON, |tenant| self.0.lock().entry(round).or_default().enter(tenant))
    }

    /// An event is done with.
    pub fn leave(&self, round: &Round, shard: Shard) {
        self.change(round, |lengths| lengths.leave(shard));
    }

    /// There are events that nobody has counted.
    pub fn find(&self, round: &Round, shard: Shard) {
        if shard != COMMON {
            self.0.lock().entry(round.clone()).or_default().find(shard);
        }
    }

    /// There are just so many.
    pub fn count(&self, round: &Round, shard: Shard, length: usize) {
        self.change(round, |lengths| lengths.count(shard, length));
    }

    pub fn forget(&self, round: &Round) {
        self.0.lock().remove(round);
    }

    fn change(&self, round: &Round, change: impl FnOnce(&mut Lengths)) {
        if let Some(lengths) = self.0.lock().get_mut(round) {
            change(lengths);
        }
    }
}
