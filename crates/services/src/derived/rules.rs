//! What is to be made of a group's events: its metric and subscription filters, kept in memory, as the follower cannot wait for the store.
//!
//! A filter counts for what is taken after it was put: whoever puts one has it [refreshed](Rules::refresh) before he
//! answers, and a watch over the tables hears of those that others put.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{AwsError, Uuid};
use bytes::Bytes;
use engine::filter::{Fields, Filter, Together};
use parking_lot::RwLock;
use store::{Change, Record, Scope, Store, Table};
use tokio::time::sleep;

use crate::metric_filter::{self, METRIC_FILTERS};
use crate::subscription_filter::{self, SUBSCRIPTION_FILTERS};

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
    pub metrics: Vec<metric_filter::Parsed>,
    pub subscribers: Vec<subscription_filter::Parsed>,
    together: Together,
}

impl OfGroup {
    fn new(metrics: Vec<metric_filter::Parsed>, subscribers: Vec<subscription_filter::Parsed>) -> OfGroup {
        let mut of = OfGroup { metrics, subscribers, together: Together::default() };
        of.together = Together::new(of.filters());
        of
    }

    fn filters(&self) -> impl Iterator<Item = &Filter> {
        let subscribers = self.subscribers.iter().map(subscription_filter::Parsed::filter);
        self.metrics.iter().map(metric_filter::Parsed::filter).chain(subscribers)
    }

    /// What the metric filters, and then the subscription filters find in a message.
    pub fn extract(&self, message: &str) -> Vec<Option<Fields>> {
        self.together.extract(self.filters(), message)
    }
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

    /// Whether anybody is sent what is logged.
    pub fn have_subscribers(&self) -> bool {
        self.of.read().values().any(|of| !of.subscribers.is_empty())
    }

    /// Takes over what the store has of a group.
    pub async fn refresh(&self, scope: &Scope, group: Uuid) -> Result<(), AwsError> {
        let metrics = metric_filter::of_group(&self.store, scope, group).await?;
        let subscribers = subscription_filter::of_group(&self.store, scope, group).await?;
        let mut of = self.of.write();
        match metrics.is_empty() && subscribers.is_empty() {
            true => drop(of.remove(&group)),
            false => drop(of.insert(group, Arc::new(OfGroup::new(metrics, subscribers)))),
        }
        Ok(())
    }

    async fn refresh_all(&self) -> Result<(), AwsError> {
        self.refresh_those_with(&METRIC_FILTERS).await?;
        self.refresh_those_with(&SUBSCRIPTION_FILTERS).await
    }

    async fn refresh_those_with<V: Record>(&self, filters: &Table<(Uuid, String), V>) -> Result<(), AwsError> {
        let (mut after, mut known) = (None, None);
        loop {
            let page = filters.scan_all(&self.store, after.as_ref(), STEP).await?;
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
        let (mut metrics, mut subscribers) =
            (METRIC_FILTERS.watch_all(&self.store), SUBSCRIPTION_FILTERS.watch_all(&self.store));
        loop {
            let (change, parse): (Change, Parse) = tokio::select! {
                change = metrics.changed() => (change, |key| METRIC_FILTERS.parse_key(key)),
                change = subscribers.changed() => (change, |key| SUBSCRIPTION_FILTERS.parse_key(key)),
            };
            let refreshed = match change {
                Change::Many => self.refresh_all().await,
                Change::Keys(keys) => {
                    let parsed = keys.iter().filter_map(|key| parse(key).ok());
                    self.refresh_some(parsed.map(|(scope, (group, _))| (group, scope)).collect()).await
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

/// Whose row a key is.
type Parse = fn(&Bytes) -> Result<(Scope, (Uuid, String)), store::Error>;
