//! Versions: `$LATEST` as it was when it was published, for good.

use std::sync::Arc;

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Table};

use super::account::Share;
use super::function::{self, FUNCTIONS, Function, check_revision};
use super::name::FunctionRef;
use super::release::{FunctionConfiguration, Phase, Pins, Release};
use super::snap_start::{self, SNAPSHOTS};
use super::{account, alias, capacity_provider, debris, errors, paging};
use crate::{Ctx, Service};

/// In the position of a listing: nothing of the function is left to show.
const ALL_SHOWN: u64 = u64::MAX;

/// By the function's incarnation and the number.
pub static VERSIONS: Table<(Uuid, u64), Release> = Table::large("lambda_versions");

/// The last number given under a function's name, once its function is gone: the next of that name goes on from there.
pub static LAST_NUMBERS: Table<String, LastNumber> = Table::new("lambda_last_numbers");

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LastNumber(pub u64);

impl Record for LastNumber {
    const VERSION: u8 = 1;
}

impl Record for Release {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PublishVersion {
    function_name: String,
    #[serde(rename = "CodeSha256")]
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListVersions {
    function_name: String,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionList {
    versions: Vec<FunctionConfiguration>,
    next_marker: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service.operation("ListVersionsByFunction", list).operation("PublishVersion", publish_version)
}

/// Publishes `$LATEST`, unless it is what was published last.
pub async fn publish_version(ctx: Ctx, input: PublishVersion) -> Result<FunctionConfiguration, AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, "PublishVersion", &input.function_name).await?;
    let name = asked.latest()?;
    let scope = ctx.scope();
    let mut others = vec![account::turn(&ctx)];
    let latest = &function::find(&ctx, &name).await?.latest;
    others.extend(latest.capacity_provider().and_then(|arn| capacity_provider::turn(&ctx, arn)));
    let mut edit = ctx.edit_with(others, &FUNCTIONS, &scope, &name).await;
    loop {
        let (mut function, batch) = function::open(&ctx, &name, &mut edit).await?;
        check_revision(function.latest.revision, input.revision_id.as_deref())?;
        if let Some(wanted) = &input.code_sha256
            && let Some(current) = function.latest.code.sha256().filter(|current| current != wanted)
        {
            return Err(errors::code_differs(wanted, &current));
        }
        let pins = function.latest.pin(&ctx).await?;
        let (before, last_before) = (Share::of(&function), function.last_version);
        let description = input.description.clone();
        let (batch, (number, release)) = publish_unless_same(&ctx, batch, &mut function, &pins, description).await?;
        let mut batch = account::recount(&ctx, batch, before, Share::of(&function)).await?;
        if function.last_version != last_before {
            function.latest.revision = ctx.cx.id();
            batch = batch.put(&FUNCTIONS, &scope, &name, &function);
        }
        if edit.commit(batch).await? {
            let number = number.to_string();
            return release.show(&ctx, &function, number.clone(), Some(&number), Phase::Settled).await;
        }
    }
}

/// As [`publish`], but what was published last and is the same stays the only one.
pub async fn publish_unless_same(
    ctx: &Ctx,
    batch: Batch,
    function: &mut Function,
    pins: &Pins,
    description: Option<String>,
) -> Result<(Batch, (u64, Release)), AwsError> {
    if function.published == Some(function.latest.fingerprint()?) {
        let key = (function.incarnation, function.last_version);
        if let Some(last) = VERSIONS.get(&ctx.cloud.store, &ctx.scope(), key).await? {
            return Ok((batch, (function.last_version, last.value)));
        }
    }
    publish(ctx, batch, function, pins, description).await
}

/// Lets `batch` make a version of what `function` has as `$LATEST`, and counts it. `pins` are those of `$LATEST`.
pub async fn publish(
    ctx: &Ctx,
    batch: Batch,
    function: &mut Function,
    pins: &Pins,
    description: Option<String>,
) -> Result<(Batch, (u64, Release)), AwsError> {
    let number = function.last_version.saturating_add(1);
    function.published = Some(function.latest.fingerprint()?);
    function.last_version = number;
    function.code_bytes = function.code_bytes.saturating_add(pins.code.code.size_bytes());
    let mut release = Release { revision: ctx.cx.id(), last_modified: ctx.cx.now(), ..function.latest.clone() };
    release.settings.description = description.unwrap_or(release.settings.description);
    let batch = pins.hold(ctx, batch, &owner(&function.owner(ctx), number))?;
    let batch = capacity_provider::attach(ctx, batch, function, &number.to_string()).await?;
    let batch = batch.put(&VERSIONS, &ctx.scope(), (function.incarnation, number), &release);
    let batch = snap_start::expect(ctx, batch, function, number, &release);
    Ok((batch, (number, release)))
}

/// The last number that was given under a name before; `batch`, which makes a function of it, holds while it stays so.
pub async fn last_number(ctx: &Ctx, batch: Batch, name: &str) -> Result<(u64, Batch), AwsError> {
    let scope = ctx.scope();
    Ok(match LAST_NUMBERS.get(&ctx.cloud.store, &scope, name).await? {
        None => (0, batch.expect_absent(&LAST_NUMBERS, &scope, name)),
        Some(row) => (row.value.0, batch.expect_version(&LAST_NUMBERS, &scope, name, row.version)),
    })
}

/// The number of a version as it is written, which is in one way only.
pub fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == text)
}

/// Who holds on to a version's code; `function` is the function's owner.
pub fn owner(function: &str, number: u64) -> String {
    format!("{function}/{number}")
}

pub async fn get_shared(ctx: &Ctx, function: &Function, number: u64) -> Result<Option<Arc<Release>>, AwsError> {
    Ok(VERSIONS.get_shared(&ctx.cloud.store, &ctx.scope(), (function.incarnation, number)).await?)
}

/// Deletes a version that no alias points to. That there is none is no error, as on AWS.
pub async fn delete(ctx: &Ctx, name: &str, number: &str) -> Result<(), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(ctx)], &FUNCTIONS, &scope, name).await;
    loop {
        let (mut function, batch) = function::open(ctx, name, &mut edit).await?;
        let Some(parsed) = self::number(number) else { return Ok(()) };
        let key = (function.incarnation, parsed);
        let Some(version) = VERSIONS.get(&ctx.cloud.store, &scope, key).await? else { return Ok(()) };
        let aliases = alias::pointing_to(ctx, &function, number).await?;
        if !aliases.is_empty() {
            return Err(errors::version_has_aliases(&aliases));
        }
        let before = Share::of(&function);
        function.code_bytes = function.code_bytes.saturating_sub(version.value.code.size_bytes());
        let batch = version.value.let_go(&ctx.cloud, batch, &owner(&function.owner(ctx), parsed))?;
        let batch = capacity_provider::detach(batch, &scope, &version.value, function.incarnation, number);
        let batch = batch.delete(&VERSIONS, &scope, key).delete(&SNAPSHOTS, &scope, key);
        let batch = debris::forget_qualifier(ctx, batch, &mut function, number).await?;
        let batch = batch.put(&FUNCTIONS, &scope, name, &function);
        let batch = account::recount(ctx, batch, before, Share::of(&function));
        if edit.commit(batch.await?).await? {
            debris::forget_made_ahead(ctx, name, Some(number));
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListVersions) -> Result<VersionList, AwsError> {
    const OPERATION: &str = "lambda:ListVersionsByFunction";
    let (ctx, FunctionRef { name, .. }) =
        FunctionRef::locate_whole(ctx, "ListVersionsByFunction", &input.function_name).await?;
    let function = function::find(&ctx, &name).await?;
    let limit = paging::size(input.max_items);
    let scan = Scan::all(limit).under::<Uuid>(function.incarnation);
    let scan = ctx.resume(OPERATION, scan, input.marker.as_deref()).ok_or_else(errors::invalid_marker)?;
    let mut versions = Vec::new();
    let first = input.marker.is_none();
    let next = of_function(&ctx, &function, scan, first, limit, &mut versions).await?;
    Ok(VersionList {
        versions,
        next_marker: ctx.marker(OPERATION, next.map(|number| (function.incarnation, number)).as_ref()),
    })
}

/// Every release of every function: of each `$LATEST` first, then its versions. The marker says where to go on: a
/// function, and the number of its release that was shown last.
pub async fn list_all(
    ctx: &Ctx,
    limit: usize,
    marker: Option<&str>,
    nothing: bool,
) -> Result<(Vec<FunctionConfiguration>, Option<String>), AwsError> {
    const OPERATION: &str = "lambda:ListFunctions/ALL";
    let position = match marker {
        None => None,
        Some(marker) => Some(ctx.position::<(String, u64)>(OPERATION, marker).ok_or_else(errors::invalid_marker)?),
    };
    let mut shown = Vec::new();
    if nothing {
        return Ok((shown, None));
    }
    // The function that the last page ended in goes on; then the ones behind it.
    let mut last: Option<(String, u64)> = position;
    if let Some((name, number)) = last.clone()
        && let Some(function) = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?
    {
        let scan = Scan::all(limit).under::<Uuid>(function.incarnation).after((function.incarnation, number));
        if let Some(number) = of_function(ctx, &function, scan, false, limit, &mut shown).await? {
            return Ok((shown, ctx.marker(OPERATION, Some(&(name, number)))));
        }
        last = Some((name, ALL_SHOWN));
    }
    loop {
        let mut scan = Scan::<String>::all(limit);
        if let Some((name, _)) = &last {
            scan = scan.after(name);
        }
        let page = FUNCTIONS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
        for row in page.rows {
            if shown.len() >= limit {
                return Ok((shown, ctx.marker(OPERATION, last.as_ref())));
            }
            let scan = Scan::all(limit).under::<Uuid>(row.value.incarnation);
            if let Some(number) = of_function(ctx, &row.value, scan, true, limit, &mut shown).await? {
                return Ok((shown, ctx.marker(OPERATION, Some(&(row.key, number)))));
            }
            last = Some((row.key, ALL_SHOWN));
        }
        if page.next.is_none() {
            return Ok((shown, None));
        }
    }
}

/// Adds releases of `function`'s to `shown` until there are `limit`. What it returns is the number of the one to go on
/// behind, if there are more; zero stands for `$LATEST`.
async fn of_function(
    ctx: &Ctx,
    function: &Function,
    versions: Scan<(Uuid, u64)>,
    with_latest: bool,
    limit: usize,
    shown: &mut Vec<FunctionConfiguration>,
) -> Result<Option<u64>, AwsError> {
    if with_latest {
        let latest = function.latest.clone();
        shown.push(latest.show(ctx, function, "$LATEST".into(), Some("$LATEST"), Phase::Listed).await?);
    }
    let page = VERSIONS.page(&ctx.cloud.store, &ctx.scope(), versions).await?;
    let mut last = 0;
    let more = page.next.is_some();
    for row in page.rows {
        if shown.len() >= limit {
            return Ok(Some(last));
        }
        last = row.key.1;
        let number = last.to_string();
        shown.push(row.value.show(ctx, function, number.clone(), Some(&number), Phase::Listed).await?);
    }
    Ok(more.then_some(last))
}
