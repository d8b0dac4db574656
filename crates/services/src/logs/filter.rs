//! Filter patterns, as operations take them.

use std::sync::Arc;

use base::{AwsError, Uuid};
use chronicle::{Candidates, Test};
use engine::filter::{Filter, Kind};

use super::{errors, metric_filter, subscription_filter};
use crate::Ctx;

/// Filters of a group, of either kind, whose patterns have regular expressions: AWS's quota.
const REGEX_FILTERS_MAX: usize = 5;

struct Filtering(Filter);

impl Test for Filtering {
    fn candidates<'m>(&'m self, messages: &'m [u8]) -> Option<Candidates<'m>> {
        self.0.needles().next()?;
        let mut candidates = self.0.candidates(messages);
        Some(Box::new(move |from| candidates.next_from(from)))
    }

    fn admits(&self, message: &str) -> bool {
        self.0.matches(message)
    }
}

/// The test that a pattern is; `None` if it admits everything.
pub fn parse(pattern: &str) -> Result<Option<Arc<dyn Test>>, AwsError> {
    let filter = Filter::parse(pattern).map_err(|malformed| errors::invalid_parameter(malformed.to_string()))?;
    Ok(match filter.kind() {
        Kind::Everything => None,
        _ => Some(Arc::new(Filtering(filter))),
    })
}

/// Live tail says before it what is wrong.
pub fn in_live_tail(error: &AwsError) -> AwsError {
    let known = "Invalid filter pattern";
    match error.message.starts_with(known) {
        true => error.clone(),
        false => errors::invalid_parameter(format!("{known}: {}", error.message)),
    }
}

/// A filter that is being put, which is not counted among the others.
#[derive(Clone, Copy)]
pub enum Own<'n> {
    Metric(&'n str),
    Subscription(&'n str),
}

/// Refuses a pattern with regular expressions if the group has as many of those as it may.
pub async fn check_regexes(ctx: &Ctx, group: Uuid, own: Own<'_>, pattern: &str) -> Result<(), AwsError> {
    let has_regex = |pattern: &str| Filter::parse(pattern).is_ok_and(|filter| filter.regex_count() > 0);
    if !has_regex(pattern) {
        return Ok(());
    }
    let (store, scope) = (&ctx.cloud.store, ctx.scope());
    let metric_filters = metric_filter::of_id(store, &scope, group).await?;
    let subscription_filters = subscription_filter::of_id(store, &scope, group).await?;
    let is_other = |name: &str, own: Option<&str>| own != Some(name);
    let (metric, subscription) = match own {
        Own::Metric(name) => (Some(name), None),
        Own::Subscription(name) => (None, Some(name)),
    };
    let metrics = metric_filters.iter().filter(|row| is_other(&row.key.1, metric) && has_regex(&row.value.pattern));
    let subscriptions = subscription_filters.iter();
    let subscriptions = subscriptions.filter(|row| is_other(&row.key.1, subscription) && has_regex(&row.value.pattern));
    match metrics.count().saturating_add(subscriptions.count()) < REGEX_FILTERS_MAX {
        true => Ok(()),
        false => Err(errors::limit_exceeded()),
    }
}
