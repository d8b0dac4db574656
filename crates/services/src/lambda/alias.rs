//! Aliases: names for a version, or for two with a weight.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Scan, Table};

use super::account::{self, Share};
use super::function::{self, FUNCTIONS, Function, check_revision};
use super::name::FunctionRef;
use super::provisioned::{self, PROVISIONED};
use super::{debris, errors, paging, version};
use crate::{Ctx, Service};

/// Rows read at once when all aliases of a function are looked through.
const STEP: usize = 500;
/// Aliases that a refusal names.
const NAMES_MAX: usize = 100;
/// As often one page of a listing reads on in search of aliases of one version.
const STEPS_MAX: usize = 10;

/// By the function's incarnation and the name.
pub static ALIASES: Table<(Uuid, String), Alias> = Table::new("lambda_aliases");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alias {
    pub name: String,
    /// A number, or `$LATEST`.
    pub version: String,
    /// The share of invocations that goes to another version.
    pub weights: BTreeMap<String, f64>,
    pub description: String,
    pub revision: Uuid,
}

impl Record for Alias {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateAlias {
    function_name: String,
    name: String,
    function_version: String,
    description: Option<String>,
    routing_config: Option<RoutingConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateAlias {
    function_name: String,
    name: String,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingConfig>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedAlias {
    function_name: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAliases {
    function_name: String,
    function_version: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct RoutingConfig {
    additional_version_weights: BTreeMap<String, f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasConfiguration {
    alias_arn: String,
    name: String,
    function_version: String,
    description: String,
    routing_config: Option<RoutingConfig>,
    revision_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasList {
    aliases: Vec<AliasConfiguration>,
    next_marker: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("CreateAlias", create)
        .operation("DeleteAlias", delete)
        .operation("GetAlias", get)
        .operation("ListAliases", list)
        .operation("UpdateAlias", update)
}

pub async fn create(ctx: Ctx, input: CreateAlias) -> Result<AliasConfiguration, AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, "CreateAlias", &input.function_name).await?;
    let function_name = asked.latest()?;
    let alias = Alias {
        name: input.name,
        version: input.function_version,
        weights: input.routing_config.unwrap_or_default().additional_version_weights,
        description: input.description.unwrap_or_default(),
        revision: ctx.cx.id(),
    };
    alias.check()?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &function_name).await;
    loop {
        let (found, batch) = edit.read().await?;
        // Without a function, the version is what AWS misses.
        let function = found.ok_or_else(|| version_not_found(&ctx, &function_name, &alias.version))?;
        alias.check_versions(&ctx, &function).await?;
        let key = (function.incarnation, alias.name.as_str());
        if ALIASES.get(&ctx.cloud.store, &scope, key).await?.is_some() {
            return Err(errors::alias_exists(&alias.arn(&ctx, &function)));
        }
        let batch = batch.put(&ALIASES, &scope, key, &alias).put(&FUNCTIONS, &scope, &function_name, &function);
        if edit.commit(batch).await? {
            return Ok(alias.show(&ctx, &function));
        }
    }
}

pub async fn update(ctx: Ctx, input: UpdateAlias) -> Result<AliasConfiguration, AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, "UpdateAlias", &input.function_name).await?;
    let function_name = asked.latest()?;
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &function_name).await;
    loop {
        let (function, batch) = function::open(&ctx, &function_name, &mut edit).await?;
        let key = (function.incarnation, input.name.as_str());
        let mut alias = match ALIASES.get(&ctx.cloud.store, &scope, key).await? {
            Some(row) => row.value,
            None => return Err(errors::alias_not_found(&format!("{}:{}", function.arn(&ctx), input.name))),
        };
        check_revision(alias.revision, input.revision_id.as_deref())?;
        let version = input.function_version.clone().unwrap_or_else(|| alias.version.clone());
        let is_moved = std::mem::replace(&mut alias.version, version) != alias.version;
        alias.description = input.description.clone().unwrap_or(alias.description);
        if let Some(routing) = &input.routing_config {
            alias.weights = routing.additional_version_weights.clone();
        }
        alias.check()?;
        alias.check_versions(&ctx, &function).await?;
        let moved = if is_moved { provisioned::moved(&ctx, &function, &alias).await? } else { None };
        let batch = match &moved {
            Some(provisioned) => batch.put(&PROVISIONED, &scope, key, provisioned),
            None => batch,
        };
        alias.revision = ctx.cx.id();
        let batch = batch.put(&ALIASES, &scope, key, &alias).put(&FUNCTIONS, &scope, &function_name, &function);
        if edit.commit(batch).await? {
            return Ok(alias.show(&ctx, &function));
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedAlias) -> Result<AliasConfiguration, AwsError> {
    let (ctx, FunctionRef { name: function_name, .. }) =
        FunctionRef::locate_whole(ctx, "GetAlias", &input.function_name).await?;
    let missing = || errors::cannot_find_alias(&format!("{}:{}", function::arn(&ctx, &function_name), input.name));
    let function = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &function_name).await?.ok_or_else(missing)?;
    let alias = get_shared(&ctx, &function, &input.name).await?.ok_or_else(missing)?;
    Ok(alias.show(&ctx, &function))
}

/// Deletes an alias with what hangs on it. That there is none is no error, as on AWS.
pub async fn delete(ctx: Ctx, input: NamedAlias) -> Result<(), AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, "DeleteAlias", &input.function_name).await?;
    let function_name = asked.latest()?;
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &FUNCTIONS, &scope, &function_name).await;
    loop {
        let (mut function, batch) = function::open(&ctx, &function_name, &mut edit).await?;
        let key = (function.incarnation, input.name.as_str());
        if ALIASES.get(&ctx.cloud.store, &scope, key).await?.is_none() {
            return Ok(());
        }
        let before = Share::of(&function);
        let batch = debris::forget_qualifier(&ctx, batch, &mut function, &input.name).await?;
        let batch = batch.delete(&ALIASES, &scope, key).put(&FUNCTIONS, &scope, &function_name, &function);
        let batch = account::recount(&ctx, batch, before, Share::of(&function)).await?;
        if edit.commit(batch).await? {
            return Ok(());
        }
    }
}

pub async fn list(ctx: Ctx, input: ListAliases) -> Result<AliasList, AwsError> {
    const OPERATION: &str = "lambda:ListAliases";
    let (ctx, FunctionRef { name: function_name, .. }) =
        FunctionRef::locate_whole(ctx, "ListAliases", &input.function_name).await?;
    let function = function::find(&ctx, &function_name).await?;
    let limit = paging::size(input.max_items);
    let wanted = |alias: &Alias| input.function_version.as_ref().is_none_or(|version| *version == alias.version);
    let mut scan = ctx
        .resume(OPERATION, Scan::all(STEP).under::<Uuid>(function.incarnation), input.marker.as_deref())
        .ok_or_else(errors::invalid_marker)?;
    let mut aliases = Vec::new();
    let mut last = None;
    // Few aliases may be of the version asked for. A page that has read enough ends, full or not, as AWS's may.
    for _ in 0..STEPS_MAX {
        let page = ALIASES.page(&ctx.cloud.store, &ctx.scope(), scan.clone()).await?;
        for row in page.rows {
            if aliases.len() >= limit {
                return Ok(AliasList { aliases, next_marker: ctx.marker(OPERATION, last.as_ref()) });
            }
            if wanted(&row.value) {
                aliases.push(row.value.show(&ctx, &function));
            }
            last = Some(row.key);
        }
        match &page.next {
            None => return Ok(AliasList { aliases, next_marker: None }),
            Some((incarnation, name)) => scan = scan.after((*incarnation, name)),
        }
    }
    Ok(AliasList { aliases, next_marker: ctx.marker(OPERATION, last.as_ref()) })
}

pub async fn get_shared(ctx: &Ctx, function: &Function, name: &str) -> Result<Option<Arc<Alias>>, AwsError> {
    Ok(ALIASES.get_shared(&ctx.cloud.store, &ctx.scope(), (function.incarnation, name)).await?)
}

/// The names of aliases that send anything to a version; of many, not all.
pub async fn pointing_to(ctx: &Ctx, function: &Function, version: &str) -> Result<Vec<String>, AwsError> {
    let mut names = Vec::new();
    let mut after: Option<(Uuid, String)> = None;
    loop {
        let mut scan = Scan::<(Uuid, String)>::all(STEP).under::<Uuid>(function.incarnation);
        if let Some((incarnation, name)) = &after {
            scan = scan.after((*incarnation, name));
        }
        let page = ALIASES.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
        let pointing = page.rows.into_iter().map(|row| row.value).filter(|alias| alias.sends_to(version));
        names.extend(pointing.map(|alias| alias.name).take(NAMES_MAX - names.len().min(NAMES_MAX)));
        after = page.next;
        if after.is_none() {
            return Ok(names);
        }
    }
}

fn version_not_found(ctx: &Ctx, function: &str, version: &str) -> AwsError {
    errors::function_not_found(&format!("{}:{version}", function::arn(ctx, function)))
}

impl Alias {
    /// The version that one invocation gets: the other one as often as its weight says. `dice` answers from 0 up to 1.
    pub fn choose(&self, dice: impl FnOnce() -> f64) -> &str {
        match self.weights.first_key_value() {
            Some((other, weight)) if dice() < *weight => other,
            _ => &self.version,
        }
    }

    pub fn sends_to(&self, version: &str) -> bool {
        self.version == version || self.weights.contains_key(version)
    }

    /// What AWS promises of an alias, whatever versions there are.
    fn check(&self) -> Result<(), AwsError> {
        if self.weights.len() > 1 {
            return Err(errors::invalid_parameter(
                "Number of items in AdditionalVersionWeights cannot be greater than 1",
            ));
        }
        if self.weights.contains_key(&self.version) {
            let version = &self.version;
            return Err(errors::invalid_parameter(format!(
                "Invalid function version {version}. \
                 Function version {version} is already included in routing configuration."
            )));
        }
        if self.version == "$LATEST" && !self.weights.is_empty() {
            return Err(errors::untyped_invalid_parameter(
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ));
        }
        Ok(())
    }

    /// The versions that it names are there.
    async fn check_versions(&self, ctx: &Ctx, function: &Function) -> Result<(), AwsError> {
        for name in std::iter::once(&self.version).chain(self.weights.keys()).filter(|name| *name != "$LATEST") {
            let missing = || version_not_found(ctx, &function.name, name);
            let number = version::number(name).ok_or_else(missing)?;
            version::get_shared(ctx, function, number).await?.ok_or_else(missing)?;
        }
        Ok(())
    }

    fn arn(&self, ctx: &Ctx, function: &Function) -> String {
        format!("{}:{}", function.arn(ctx), self.name)
    }

    fn show(&self, ctx: &Ctx, function: &Function) -> AliasConfiguration {
        AliasConfiguration {
            alias_arn: self.arn(ctx, function),
            name: self.name.clone(),
            function_version: self.version.clone(),
            description: self.description.clone(),
            routing_config: Some(RoutingConfig { additional_version_weights: self.weights.clone() })
                .filter(|routing| !routing.additional_version_weights.is_empty()),
            revision_id: self.revision.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(version: &str, weights: &[(&str, f64)]) -> Alias {
        Alias {
            name: "live".into(),
            version: version.into(),
            weights: weights.iter().map(|(version, weight)| ((*version).into(), *weight)).collect(),
            description: String::new(),
            revision: Uuid::NIL,
        }
    }

    #[test]
    fn an_alias_shares_between_two_published_versions_at_most() {
        assert!(alias("1", &[]).check().is_ok());
        assert!(alias("1", &[("2", 0.5)]).check().is_ok());
        assert!(alias("$LATEST", &[]).check().is_ok());
        for wrong in [alias("1", &[("2", 0.1), ("3", 0.1)]), alias("1", &[("1", 0.1)]), alias("$LATEST", &[("1", 0.1)])]
        {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
