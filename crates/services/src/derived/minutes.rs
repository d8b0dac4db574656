//! The default values of metric filters: what a minute counts in which a group had events, and none of them matched.
//!
//! That is known when the minute is over: when an event of a later one comes, or nothing has come for a while. What a
//! crash forgets is a default, and never a match.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Timestamp, Uuid};
use engine::metric::retention::Tier;
use metrics::Datum;
use store::Scope;

use super::of_point;
use crate::metric_filter::Parsed;

/// So long after its beginning a minute is over, whatever may still come late.
const OVER_AFTER: Duration = Duration::from_secs(90);

#[derive(Default)]
pub struct Minutes(HashMap<(Uuid, String), Minute>);

struct Minute {
    scope: Arc<Scope>,
    begins: Timestamp,
    is_matched: bool,
    filter: Parsed,
}

impl Minutes {
    /// An event of the group was tried; gives what the filter's minute before it counts.
    pub fn tried(
        &mut self,
        scope: &Arc<Scope>,
        group: Uuid,
        filter: &Parsed,
        event: (Timestamp, bool),
    ) -> Option<Datum> {
        filter.default_point()?;
        let (time, is_matched) = event;
        let begins = Tier::Minute.stamp(time);
        let key = (group, filter.name.clone());
        let is_same = |minute: &&mut Minute| minute.begins == begins;
        if let Some(minute) = self.0.get_mut(&key).filter(is_same) {
            minute.is_matched |= is_matched;
            return None;
        }
        let minute = Minute { scope: Arc::clone(scope), begins, is_matched, filter: filter.clone() };
        self.0.insert(key, minute).and_then(Minute::end)
    }

    /// What minutes count that are over by now.
    pub fn end(&mut self, now: Timestamp) -> Vec<Datum> {
        let over = self.0.extract_if(|_, minute| now.since(minute.begins) >= OVER_AFTER);
        over.filter_map(|(_, minute)| minute.end()).collect()
    }
}

impl Minute {
    fn end(self) -> Option<Datum> {
        let point = self.filter.default_point().filter(|_| !self.is_matched)?;
        Some(of_point(&self.scope, self.begins, point))
    }
}
