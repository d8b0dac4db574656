//! Tells whoever runs functions what is to be kept ready: all of it, at the start and after each change; and has it charged.
//!
//! A version or an alias, and the release that it stands for now. What cannot be found any more is left out: its row is
//! about to go.

use std::convert::Infallible;
use std::time::Duration;

use base::ports::{Provision, ProvisionId};
use base::{AwsError, Uuid};
use engine::price::Prices;
use store::{Row, Scope};
use tokio::time::sleep;

use super::charge::Charges;
use super::{PROVISIONED, Provisioned};
use crate::Post;
use crate::lambda::alias::ALIASES;
use crate::lambda::function;
use crate::lambda::name::FunctionRef;

/// Rows read in one step.
const STEP: usize = 256;
/// Changes come together: a tool that deploys makes many at once.
const GATHER: Duration = Duration::from_millis(100);
/// How long to wait before the store is asked again.
const REST: Duration = Duration::from_secs(1);

/// How often it is looked at what has become due. What is put is charged at once.
const CHARGE_EVERY: Duration = Duration::from_secs(30);
/// Provisions that one note tells the charges of.
const CHARGED_TOGETHER: usize = 100;

/// Keeps telling for ever.
pub async fn run(post: Post, prices: Prices) {
    let mut charges = Charges::new(prices, post.clock.now());
    let store = &post.cloud.store;
    let (mut provisioned, mut aliases) = (PROVISIONED.watch_all(store), ALIASES.watch_all(store));
    loop {
        let wanted = match wanted(&post).await {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::error!(%error, "failed to look for provisioned concurrency");
                sleep(REST).await;
                continue;
            }
        };
        post.cloud.functions.provide(wanted.clone());
        tokio::select! {
            _ = provisioned.changed() => {}
            _ = aliases.changed() => {}
            never = charge(&post, &mut charges, &wanted) => match never {},
        }
        sleep(GATHER).await;
    }
}

/// Notes what has become due, for ever.
async fn charge(post: &Post, charges: &mut Charges, wanted: &[Provision]) -> Infallible {
    loop {
        for data in charges.due(wanted, post.clock.now()).chunks(CHARGED_TOGETHER) {
            post.cloud.chronicle.note_lazy(&metrics::encode(data));
        }
        sleep(CHARGE_EVERY).await;
    }
}

async fn wanted(post: &Post) -> Result<Vec<Provision>, AwsError> {
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let page = PROVISIONED.scan_all(&post.cloud.store, after.as_ref(), STEP).await?;
        let is_last = page.rows.len() < STEP;
        for row in &page.rows {
            match provision(post, row).await {
                Ok(provision) => wanted.extend(provision),
                // Its row is about to go.
                Err(error) if error.code == "ResourceNotFoundException" => {}
                Err(error) => return Err(error),
            }
        }
        after = page.rows.into_iter().last().map(|row| row.key);
        if is_last {
            return Ok(wanted);
        }
    }
}

async fn provision(
    post: &Post,
    row: &Row<(Scope, (Uuid, String)), Provisioned>,
) -> Result<Option<Provision>, AwsError> {
    let (scope, (incarnation, qualifier)) = &row.key;
    let Some(ctx) = post.context(scope, post.chance.uuid()) else { return Ok(None) };
    let Provisioned { function, executions, last_modified } = &row.value;
    let asked = FunctionRef::parse(&ctx, "PutProvisionedConcurrencyConfig", function, Some(qualifier))?;
    let resolved = function::resolve(&ctx, &asked).await?;
    if resolved.function.incarnation != *incarnation {
        return Ok(None);
    }
    Ok(Some(Provision {
        id: ProvisionId { function: *incarnation, qualifier: qualifier.clone() },
        function: ctx.cloud.memory.specs.of(&ctx, &resolved).await?,
        instances: *executions,
        wanted_at: *last_modified,
    }))
}
