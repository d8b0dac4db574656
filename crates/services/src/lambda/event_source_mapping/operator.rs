//! What operators see of mappings, and do with them beside AWS's API.

use base::AwsError;
use serde::Serialize;
use store::{Scan, Scope};

use super::poll::Trouble;
use super::{MAPPINGS, Mapping, edit};
use crate::{Cloud, Ctx, source};

/// Mappings that are told of, at most.
const MAPPINGS_MAX: usize = 1_000;

/// A mapping, and how its reading goes.
#[derive(Debug, Serialize)]
pub struct MappingSeen {
    pub uuid: String,
    pub source: Option<String>,
    pub function: String,
    pub state: &'static str,
    /// Why it reads nothing, if there is a reason.
    pub result: Option<String>,
    /// What the last call of the function failed with, if it did.
    pub last_error: Option<String>,
    pub is_frozen: bool,
}

pub async fn mappings(ctx: &Ctx) -> Result<Vec<MappingSeen>, AwsError> {
    Ok(all(ctx).await?.into_iter().map(|mapping| mapping.seen(ctx)).collect())
}

/// The sources that are read for functions, and where the mappings are that say so.
pub async fn sources_read(cloud: &Cloud) -> Result<Vec<(Scope, String)>, AwsError> {
    let (mut sources, mut after) = (Vec::new(), None);
    loop {
        let page = MAPPINGS.scan_all(&cloud.store, after.as_ref(), store::limits::RANGE_ROWS_MAX).await?;
        let read = page.rows.into_iter().filter(|row| row.value.enabled && !row.value.is_frozen);
        sources.extend(read.filter_map(|row| {
            let arn = row.value.source.event_source_arn.filter(|arn| source::is_built(arn))?;
            Some((row.key.0, arn))
        }));
        after = page.next;
        if after.is_none() {
            return Ok(sources);
        }
    }
}

async fn all(ctx: &Ctx) -> Result<Vec<Mapping>, AwsError> {
    let (mut mappings, mut scan) = (Vec::new(), Scan::all(store::limits::RANGE_ROWS_MAX));
    while mappings.len() < MAPPINGS_MAX {
        let page = MAPPINGS.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        mappings.extend(page.rows.into_iter().map(|row| row.value));
        match page.next {
            None => break,
            Some(next) => scan = scan.after(next),
        }
    }
    mappings.truncate(MAPPINGS_MAX);
    Ok(mappings)
}

/// Lets a mapping read nothing, or go on.
pub async fn freeze(ctx: &Ctx, uuid: &str, is_frozen: bool) -> Result<MappingSeen, AwsError> {
    let freeze = |mapping: &mut Mapping| {
        mapping.is_frozen = is_frozen;
        Ok(())
    };
    Ok(edit(ctx, uuid, freeze).await?.seen(ctx))
}

impl Mapping {
    fn seen(self, ctx: &Ctx) -> MappingSeen {
        MappingSeen {
            state: self.state(),
            result: self.result(ctx),
            last_error: match self.trouble(ctx) {
                Some(Trouble::FunctionFails(error)) => Some(error),
                _ => None,
            },
            function: self.target.key(),
            uuid: self.uuid.to_string(),
            is_frozen: self.is_frozen,
            source: self.source.event_source_arn,
        }
    }
}
