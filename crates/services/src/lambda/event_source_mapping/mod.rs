//! Event source mappings: which source feeds which function, in what batches, through which filter.
//!
//! Queues of SQS are read ([`poll`]); of other sources a mapping is a record only, so that one that says `Enabled` invokes
//! nothing.
//!
//! A mapping is kept under its UUID. It belongs to no function: it outlives the one that it names, as on AWS. Like a
//! function it is settled when it is committed: the answer to a change shows `Creating`, `Updating` and so on, what is
//! stored is `Enabled` or `Disabled`.
//!
//! **Invariant:** one mapping at most lets a function (or one version or alias of it) read from a source. Each source of
//! a mapping is a row of [`CLAIMS`], put and removed in the commits that put and remove the mapping.

use base::{AwsError, Timestamp, Uuid, hex};
use ring::digest;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scan, Sealed, Table};
use wire::value::With;

use super::function;
use super::name::FunctionRef;
use super::tag::{self, Tags};
use super::{errors, paging};
use crate::{Ctx, Service};

mod batch;
pub mod operator;
pub mod poll;
mod settings;
mod source;

use poll::Trouble;
use settings::{FilterCriteria, Settings};
use source::{Claim, Kind, Source};

const PAGE_MAX: usize = 100;
const FILTERS: &str = "filters";

/// By UUID. A row may be long: filters, addresses and ARNs are each bounded by the description, and several.
static MAPPINGS: Table<Uuid, Mapping> = Table::large("lambda_mappings");
/// By the hash of an address, the function, and the hash of what is read of it.
static CLAIMS: Table<(String, String, String), Holder> = Table::new("lambda_mapping_claims");
/// By the function and the mapping's UUID.
static BY_FUNCTION: Table<(String, Uuid), Listed> = Table::new("lambda_mappings_by_function");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    uuid: Uuid,
    kind: Kind,
    source: Source,
    target: Target,
    settings: Settings,
    /// The patterns of the filters if the caller named a key to seal them; then `settings` has none.
    sealed_filters: Option<Vec<Sealed>>,
    enabled: bool,
    /// The operator lets it read nothing for a while.
    #[serde(default)]
    is_frozen: bool,
    tags: Tags,
    last_modified: Timestamp,
}

impl Record for Mapping {
    const VERSION: u8 = 1;
}

/// The mapping that reads from a source for a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Holder {
    uuid: Uuid,
}

impl Record for Holder {
    const VERSION: u8 = 1;
}

/// An entry of an index, which says all with its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Listed {}

impl Record for Listed {
    const VERSION: u8 = 1;
}

/// The function that a mapping invokes, as its caller named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    name: String,
    qualifier: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateEventSourceMapping {
    function_name: String,
    enabled: Option<bool>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateEventSourceMapping {
    #[serde(rename = "UUID")]
    uuid: String,
    function_name: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedMapping {
    #[serde(rename = "UUID")]
    uuid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListEventSourceMappings {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventSourceMappingList {
    event_source_mappings: Vec<EventSourceMappingConfiguration>,
    next_marker: Option<String>,
}

/// A mapping as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventSourceMappingConfiguration {
    #[serde(rename = "UUID")]
    uuid: String,
    event_source_mapping_arn: String,
    function_arn: String,
    #[serde(flatten)]
    source: Source,
    #[serde(flatten)]
    settings: Settings,
    state: &'static str,
    state_transition_reason: &'static str,
    last_processing_result: Option<String>,
    last_modified: Timestamp,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateEventSourceMapping", create)
        .operation("DeleteEventSourceMapping", delete)
        .operation("GetEventSourceMapping", get)
        .operation("ListEventSourceMappings", list)
        .operation("UpdateEventSourceMapping", update)
}

pub async fn create(
    ctx: Ctx,
    With(input, With(source, given)): With<CreateEventSourceMapping, With<Source, Settings>>,
) -> Result<EventSourceMappingConfiguration, AwsError> {
    let kind = source.kind()?;
    given.check_given(kind)?;
    let source = source.settle(kind, ctx.cx.now())?;
    let uuid = ctx.cx.id();
    let settings = Settings::new(kind, &uuid.to_string()).with(given, kind);
    settings.check(kind, source.is_fifo())?;
    tag::check(&input.tags)?;
    let (target, timeout) = Target::find(&ctx, "CreateEventSourceMapping", &input.function_name).await?;
    source.check_can_be_read(&ctx, timeout).await?;
    let mapping = Mapping {
        enabled: input.enabled.unwrap_or(true),
        is_frozen: false,
        tags: input.tags,
        last_modified: ctx.cx.now(),
        sealed_filters: None,
        uuid,
        kind,
        source,
        target,
        settings,
    };
    let scope = ctx.scope();
    // Those who want the same source go one after the other.
    let turn = mapping.claims().into_iter().next().map(|key| claim_turn(&ctx, &key)).unwrap_or_default();
    let mut edit = ctx.edit_with(vec![turn], &MAPPINGS, &scope, uuid).await;
    loop {
        let (_, batch) = edit.read().await?;
        let batch = mapping.claim(&ctx, batch).await?;
        let batch = mapping.put(&ctx, batch).await?;
        if edit.commit(batch).await? {
            let state = if mapping.enabled { "Creating" } else { "Disabled" };
            return Ok(mapping.show(&ctx, state));
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedMapping) -> Result<EventSourceMappingConfiguration, AwsError> {
    let mapping = find(&ctx, &input.uuid).await?.ok_or_else(errors::no_such_mapping)?;
    let mapping = mapping.opened(&ctx).await?;
    let state = mapping.state();
    Ok(mapping.show(&ctx, state))
}

pub async fn update(
    ctx: Ctx,
    With(input, given): With<UpdateEventSourceMapping, Settings>,
) -> Result<EventSourceMappingConfiguration, AwsError> {
    let uuid: Uuid = input.uuid.parse().map_err(|_| errors::no_such_mapping())?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&MAPPINGS, &scope, uuid).await;
    loop {
        let (found, batch) = edit.read().await?;
        let before = found.ok_or_else(errors::no_such_mapping)?.opened(&ctx).await?;
        let mut mapping = before.clone();
        let kind = mapping.kind;
        given.check_given(kind)?;
        given.check_changeable(kind)?;
        mapping.settings.check_fixed(&given)?;
        mapping.settings = mapping.settings.with(given.clone(), kind);
        mapping.settings.check(kind, mapping.source.is_fifo())?;
        if let Some(name) = &input.function_name {
            let timeout;
            (mapping.target, timeout) = Target::find(&ctx, "UpdateEventSourceMapping", name).await?;
            mapping.source.check_can_be_read(&ctx, timeout).await?;
        }
        mapping.enabled = input.enabled.unwrap_or(mapping.enabled);
        mapping.last_modified = ctx.cx.now();
        let batch = match mapping.target.key() == before.target.key() {
            true => batch,
            false => mapping.claim(&ctx, before.release(&ctx, batch)).await?,
        };
        let batch = mapping.put(&ctx, batch).await?;
        if edit.commit(batch).await? {
            let state = match (before.enabled, mapping.enabled) {
                (false, true) => "Enabling",
                (true, false) => "Disabling",
                _ => "Updating",
            };
            return Ok(mapping.show(&ctx, state));
        }
    }
}

pub async fn delete(ctx: Ctx, input: NamedMapping) -> Result<EventSourceMappingConfiguration, AwsError> {
    let uuid: Uuid = input.uuid.parse().map_err(|_| errors::no_such_mapping())?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&MAPPINGS, &scope, uuid).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mapping = found.ok_or_else(errors::no_such_mapping)?.opened(&ctx).await?;
        let batch = mapping.release(&ctx, batch.delete(&MAPPINGS, &scope, uuid));
        // Filters that were sealed open for nobody, wherever a copy of them may be.
        let batch = ctx.cloud.vault.forget_with(batch, &mapping.owner(&ctx))?;
        if edit.commit(batch).await? {
            return Ok(mapping.show(&ctx, "Deleting"));
        }
    }
}

pub async fn list(ctx: Ctx, input: ListEventSourceMappings) -> Result<EventSourceMappingList, AwsError> {
    let target = match &input.function_name {
        None => None,
        // A function need not exist to be asked for.
        Some(name) => Some(Target::from(FunctionRef::parse(&ctx, "ListEventSourceMappings", name, None)?).key()),
    };
    let limit = input.max_items.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let marker = input.marker.as_deref();
    let (mappings, next_marker) = match (input.event_source_arn.as_deref().map(digest), target) {
        (None, None) => {
            const OPERATION: &str = "lambda:ListEventSourceMappings";
            let (rows, next) = paging::page(&ctx, OPERATION, &MAPPINGS, Scan::all(limit), marker).await?;
            (rows.into_iter().map(|row| row.value).collect(), next)
        }
        (None, Some(target)) => {
            const OPERATION: &str = "lambda:ListEventSourceMappings of a function";
            let scan = Scan::all(limit).under::<String>(&target);
            let (rows, next) = paging::page(&ctx, OPERATION, &BY_FUNCTION, scan, marker).await?;
            let uuids: Vec<Uuid> = rows.iter().map(|row| row.key.1).collect();
            (find_all(&ctx, &uuids).await?, next)
        }
        (Some(address), target) => {
            const OPERATION: &str = "lambda:ListEventSourceMappings of a source";
            let mut scan = Scan::all(limit).under::<String>(&address);
            if let Some(target) = &target {
                scan = scan.under::<String>(target);
            }
            let (rows, next) = paging::page(&ctx, OPERATION, &CLAIMS, scan, marker).await?;
            let uuids: Vec<Uuid> = rows.iter().map(|row| row.value.uuid).collect();
            (find_all(&ctx, &uuids).await?, next)
        }
    };
    // Filters that are sealed stay so in lists.
    let show = |mapping: Mapping| {
        let state = mapping.state();
        mapping.show(&ctx, state)
    };
    Ok(EventSourceMappingList { event_source_mappings: mappings.into_iter().map(show).collect(), next_marker })
}

pub async fn tags(ctx: &Ctx, uuid: &str) -> Result<Tags, AwsError> {
    Ok(find(ctx, uuid).await?.ok_or_else(|| errors::mapping_not_found(&arn(ctx, uuid)))?.tags)
}

pub async fn edit_tags(
    ctx: &Ctx,
    uuid: &str,
    change: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    edit(ctx, uuid, |mapping| change(&mut mapping.tags)).await.map(drop)
}

/// Changes what is about a mapping, and no setting of it.
async fn edit(
    ctx: &Ctx,
    uuid: &str,
    change: impl Fn(&mut Mapping) -> Result<(), AwsError>,
) -> Result<Mapping, AwsError> {
    let missing = || errors::mapping_not_found(&arn(ctx, uuid));
    let key: Uuid = uuid.parse().map_err(|_| missing())?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&MAPPINGS, &scope, key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let mut mapping = found.ok_or_else(missing)?;
        change(&mut mapping)?;
        if edit.commit(batch.put(&MAPPINGS, &scope, key, &mapping)).await? {
            return Ok(mapping);
        }
    }
}

async fn find(ctx: &Ctx, uuid: &str) -> Result<Option<Mapping>, AwsError> {
    let Ok(uuid) = uuid.parse() else { return Ok(None) };
    Ok(MAPPINGS.get(&ctx.cloud.store, &ctx.scope(), uuid).await?.map(|row| row.value))
}

/// In the order of `uuids`, of which there are a page's at most; without those that are gone meanwhile.
async fn find_all(ctx: &Ctx, uuids: &[Uuid]) -> Result<Vec<Mapping>, AwsError> {
    let rows = MAPPINGS.get_many(&ctx.cloud.store, &ctx.scope(), uuids).await?;
    Ok(rows.into_iter().flatten().map(|row| row.value).collect())
}

fn arn(ctx: &Ctx, uuid: &str) -> String {
    ctx.cx.arn("lambda", &format!("event-source-mapping:{uuid}"))
}

/// Addresses and names of any length as keys.
fn digest(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

type ClaimKey = (String, String, String);

fn claim_turn(ctx: &Ctx, (of, target, part): &ClaimKey) -> Vec<u8> {
    CLAIMS.row_key(&ctx.scope(), (of, target, part))
}

impl From<FunctionRef> for Target {
    fn from(FunctionRef { name, qualifier }: FunctionRef) -> Self {
        Self { name, qualifier }
    }
}

impl Target {
    /// The function, version or alias that a request names, and the seconds that it has for a call.
    async fn find(ctx: &Ctx, operation: &str, name: &str) -> Result<(Self, u32), AwsError> {
        let asked = FunctionRef::parse(ctx, operation, name, None)?;
        match function::resolve(ctx, &asked).await {
            Ok(resolved) => Ok((asked.into(), resolved.release().settings.timeout_s)),
            Err(error) if error.status == 404 => Err(errors::invalid_parameter("Function does not exist")),
            Err(error) => Err(error),
        }
    }

    /// One and the same for every way to name a function.
    fn key(&self) -> String {
        match self.qualifier.as_deref() {
            None | Some("$LATEST") => self.name.clone(),
            Some(qualifier) => format!("{}:{qualifier}", self.name),
        }
    }

    fn arn(&self, ctx: &Ctx) -> String {
        FunctionRef { name: self.name.clone(), qualifier: self.qualifier.clone() }.arn(ctx)
    }
}

impl Mapping {
    /// Whose key seals the filters.
    fn owner(&self, ctx: &Ctx) -> String {
        format!("{}/{}", ctx.cx.world.0, arn(ctx, &self.uuid.to_string()))
    }

    fn claims(&self) -> Vec<ClaimKey> {
        let target = self.target.key();
        let key = |Claim { of, part }: Claim| (digest(&of), target.clone(), digest(&part));
        self.source.claims().into_iter().map(key).collect()
    }

    /// Lets `batch` hold only if no other mapping reads from this source for this function, and keep it so.
    async fn claim(&self, ctx: &Ctx, mut batch: Batch) -> Result<Batch, AwsError> {
        let scope = ctx.scope();
        let target = self.target.key();
        for (of, target, part) in &self.claims() {
            let key = (of.as_str(), target.as_str(), part.as_str());
            if let Some(holder) = CLAIMS.get(&ctx.cloud.store, &scope, key).await? {
                let (arn, uuid) = (self.target.arn(ctx), holder.value.uuid.to_string());
                return Err(self.source.conflict(self.kind, target, &arn, &uuid));
            }
            batch = batch.expect_absent(&CLAIMS, &scope, key).put(&CLAIMS, &scope, key, &Holder { uuid: self.uuid });
        }
        Ok(batch.put(&BY_FUNCTION, &scope, (&target, self.uuid), &Listed {}))
    }

    /// Lets `batch` give back what [`claim`](Self::claim) took.
    fn release(&self, ctx: &Ctx, mut batch: Batch) -> Batch {
        let scope = ctx.scope();
        for (of, target, part) in &self.claims() {
            batch = batch.delete(&CLAIMS, &scope, (of, target, part));
        }
        batch.delete(&BY_FUNCTION, &scope, (&self.target.key(), self.uuid))
    }

    /// Lets `batch` store the mapping, with its filters sealed if they are to be.
    async fn put(&self, ctx: &Ctx, mut batch: Batch) -> Result<Batch, AwsError> {
        let mut stored = self.clone();
        stored.sealed_filters = None;
        if stored.settings.kms_key_arn.is_some()
            && let Some(criteria) = stored.settings.filter_criteria.take()
        {
            let owner = self.owner(ctx);
            let mut patterns = Vec::new();
            for pattern in criteria.patterns() {
                let sealed;
                (batch, sealed) = ctx.cloud.vault.seal_with(batch, &owner, FILTERS, pattern.as_bytes()).await?;
                patterns.push(sealed);
            }
            stored.sealed_filters = Some(patterns);
        }
        Ok(batch.put(&MAPPINGS, &ctx.scope(), self.uuid, &stored))
    }

    /// The mapping with its filters in the clear.
    async fn opened(mut self, ctx: &Ctx) -> Result<Self, AwsError> {
        let Some(sealed) = self.sealed_filters.take() else { return Ok(self) };
        let owner = self.owner(ctx);
        let mut patterns = Vec::new();
        for pattern in &sealed {
            let clear = ctx.cloud.vault.unseal(&owner, FILTERS, pattern).await?;
            patterns.push(String::from_utf8(clear.expose().clone()).map_err(AwsError::internal)?);
        }
        self.settings.filter_criteria = Some(FilterCriteria::of(patterns));
        Ok(self)
    }

    /// Whether a poller that reads by this one reads by `other` too.
    fn reads_as(&self, other: &Self) -> bool {
        let Self { source, target, settings, sealed_filters, enabled, is_frozen, .. } = other;
        (&self.source, &self.target, &self.settings) == (source, target, settings)
            && (&self.sealed_filters, self.enabled, self.is_frozen) == (sealed_filters, *enabled, *is_frozen)
    }

    /// As it is when nothing is changing it.
    fn state(&self) -> &'static str {
        if self.enabled { "Enabled" } else { "Disabled" }
    }

    fn trouble(&self, ctx: &Ctx) -> Option<Trouble> {
        ctx.cloud.memory.troubles.of(self.uuid).filter(|_| self.enabled)
    }

    /// What is said of how its reading goes. Whether the function fails is no matter of that.
    fn result(&self, ctx: &Ctx) -> Option<String> {
        let problem = match self.trouble(ctx) {
            Some(Trouble::NothingIsRead(problem)) => Some(problem),
            Some(Trouble::FunctionFails(_)) | None => None,
        };
        let frost = self.is_frozen.then(|| "Frozen by the operator".to_owned());
        frost.or(problem).or_else(|| self.kind.first_result().map(str::to_owned))
    }

    fn show(self, ctx: &Ctx, state: &'static str) -> EventSourceMappingConfiguration {
        let uuid = self.uuid.to_string();
        EventSourceMappingConfiguration {
            event_source_mapping_arn: arn(ctx, &uuid),
            function_arn: self.target.arn(ctx),
            state,
            state_transition_reason: self.kind.transition_reason(),
            last_processing_result: self.result(ctx),
            last_modified: self.last_modified,
            source: self.source,
            settings: self.settings,
            uuid,
        }
    }
}
