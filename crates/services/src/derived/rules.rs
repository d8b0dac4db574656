//! What is to be made of a group's events: its metric filters, kept in memory, as the follower cannot wait for the store.
//!
//! A filter counts for what is taken after it was put: whoever puts one has it [refreshed](Rules::refresh) before he
//! answers, and a watch over the tables hears of those that others put.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Uuid};
use parking_lot::RwLock;
use store::{Change, Scope, Store};
use tokio::time::sleep;

use crate::logs::metric_filter::{self, METRIC_FILTERS, Parsed};

/// After a failure.
const REST: Duration = Duration::from_secs(1);
/// Rows of one step of looking at all.
const STEP: usize = 200;

pub struct Rules {
    store: Store,
    of: RwLock<HashMap<Uuid, Arc<OfGroup>>>,
}

/// What is made of one group's events.
#[derive(Debug)]
pub struct OfGroup {
    pub metrics: Vec<Parsed>,
}

impl Rules {
    /// With those of all groups.
    pub async fn open(store: &Store) -> Result<Arc<Rules>, AwsError> {
        let rules = Arc::new(Rules { store: store.clone(), of: RwLock::default() });
        rules.refresh_all().await?;
        Ok(rules)
    }

    pub fn of(&self, group: Uuid) -> Option<Arc<OfGroup>> {
        self.of.read().get(&group).cloned()
    }

    /// Takes over what the store has of a group.
    pub async fn refresh(&self, scope: &Scope, group: Uuid) -> Result<(), AwsError> {
        let metrics = metric_filter::of_group(&self.store, scope, group).await?;
        let mut of = self.of.write();
        match metrics.is_empty() {
            true => drop(of.remove(&group)),
            false => drop(of.insert(group, Arc::new(OfGroup { metrics }))),
        }
        Ok(())
    }

    async fn refresh_all(&self) -> Result<(), AwsError> {
        let mut after = None;
        let mut known: Option<Uuid> = None;
        loop {
            let page = METRIC_FILTERS.scan_all(&self.store, after.as_ref(), STEP).await?;
            let Some(last) = page.rows.last().map(|row| row.key.clone()) else { return Ok(()) };
            for row in &page.rows {
                let (scope, (group, _)) = &row.key;
                if known.replace(*group) != Some(*group) {
                    self.refresh(scope, *group).await?;
                }
            }
            after = Some(last);
        }
    }

    /// Hears of changes, until it is cancelled.
    pub async fn watch(&self) {
        let mut hints = METRIC_FILTERS.watch_all(&self.store);
        loop {
            let refreshed = match hints.changed().await {
                Change::Many => self.refresh_all().await,
                Change::Keys(keys) => {
                    let parsed = keys.iter().filter_map(|key| METRIC_FILTERS.parse_key(key).ok());
                    let groups: HashSet<_> = parsed.map(|(scope, (group, _))| (group, scope)).collect();
                    self.refresh_some(groups).await
                }
            };
            if let Err(error) = refreshed {
                tracing::warn!(%error, "failed to look for filters of log groups");
                sleep(REST).await;
            }
        }
    }

    async fn refresh_some(&self, groups: HashSet<(Uuid, Scope)>) -> Result<(), AwsError> {
        for (group, scope) in groups {
            self.refresh(&scope, group).await?;
        }
        Ok(())
    }
}
