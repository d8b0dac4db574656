//! Changes of `$LATEST`: its code and its configuration.

use base::AwsError;
use serde::Deserialize;
use wire::value::With;

use super::CODE_BODY_BYTES_MAX;
use super::account::Share;
use super::code::{Code, CodeInput, Taken};
use super::function::{self, FUNCTIONS, Function, check_revision};
use super::name::FunctionRef;
use super::release::{FunctionConfiguration, Phase, Release};
use super::settings::Given;
use super::{account, capacity_provider, code_signing, invoke, layer, version};
use crate::{Ctx, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateFunctionCode {
    function_name: String,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    dry_run: bool,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateFunctionConfiguration {
    function_name: String,
    revision_id: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("UpdateFunctionCode", code)
        .operation("UpdateFunctionConfiguration", configuration)
        .body_bytes_max("UpdateFunctionCode", CODE_BODY_BYTES_MAX)
}

pub async fn code(
    ctx: Ctx,
    With(input, source): With<UpdateFunctionCode, CodeInput>,
) -> Result<FunctionConfiguration, AwsError> {
    let (ctx, asked) = FunctionRef::locate_whole(ctx, "UpdateFunctionCode", &input.function_name).await?;
    let name = asked.latest()?;
    // An early answer, before work is spent on the code; the commit decides.
    let before = function::find(&ctx, &name).await?;
    check_revision(before.latest.revision, input.revision_id.as_deref())?;
    source.check_type(before.latest.code.package_type(), "updating")?;
    code_signing::check_code(&ctx, &before).await?;
    if input.dry_run {
        let mut function = Function::clone(&before);
        input.change(&ctx, &mut function, source.rehearse().await?)?;
        let latest = function.latest.clone();
        return latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await;
    }
    let taken = source.take(&ctx).await?;
    let mut others = vec![account::turn(&ctx)];
    others.extend(before.latest.capacity_provider().and_then(|arn| capacity_provider::turn(&ctx, arn)));
    let (function, published) = commit_code(&ctx, &name, others, &input, &taken).await?;
    invoke::expect(&ctx, &function).await;
    match published {
        Some((number, release)) => {
            let number = number.to_string();
            release.show(&ctx, &function, number.clone(), Some(&number), Phase::Created).await
        }
        None => {
            let latest = function.latest.clone();
            latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await
        }
    }
}

/// Gives the function its new code, and publishes it if that is wanted.
async fn commit_code(
    ctx: &Ctx,
    name: &str,
    others: Vec<Vec<u8>>,
    input: &UpdateFunctionCode,
    taken: &Taken,
) -> Result<(Function, Option<(u64, Release)>), AwsError> {
    let scope = ctx.scope();
    let mut edit = ctx.edit_with(others, &FUNCTIONS, &scope, name).await;
    loop {
        let (mut function, batch) = function::open(ctx, name, &mut edit).await?;
        // It may be another function of the same name by now.
        function.latest.code.package_type().check(taken.code.package_type(), "updating")?;
        code_signing::check_code(ctx, &function).await?;
        let (owner, before) = (function.owner(ctx), Share::of(&function));
        let batch = function.latest.code.release(&ctx.cloud, batch, &owner)?;
        let mut batch = taken.retain(ctx, batch, &owner)?;
        input.change(ctx, &mut function, taken.code.clone())?;
        let mut published = None;
        if input.publish {
            let pins = function.latest.pin(ctx).await?;
            let (with_version, version) = version::publish_unless_same(ctx, batch, &mut function, &pins, None).await?;
            (batch, published) = (with_version, Some(version));
        }
        let batch = account::recount(ctx, batch, before, Share::of(&function)).await?;
        if edit.commit(batch.put(&FUNCTIONS, &scope, name, &function)).await? {
            return Ok((function, published));
        }
    }
}

impl UpdateFunctionCode {
    fn change(&self, ctx: &Ctx, function: &mut Function, code: Code) -> Result<(), AwsError> {
        check_revision(function.latest.revision, self.revision_id.as_deref())?;
        layer::used::check_unzipped(&code, &function.latest.settings.layers)?;
        function.code_bytes =
            function.code_bytes.saturating_sub(function.latest.code.size_bytes()).saturating_add(code.size_bytes());
        function.latest.code = code;
        if let Some(architectures) = &self.architectures {
            function.latest.settings.architectures = architectures.clone();
        }
        function.latest.touch(ctx);
        Ok(())
    }
}

pub async fn configuration(
    ctx: Ctx,
    With(input, given): With<UpdateFunctionConfiguration, Given>,
) -> Result<FunctionConfiguration, AwsError> {
    let name = FunctionRef::parse(&ctx, "UpdateFunctionConfiguration", &input.function_name, None)?.latest()?;
    let layers = match &given.layers {
        Some(arns) => Some(layer::used::resolve(&ctx, arns).await?),
        None => None,
    };
    let scope = ctx.scope();
    let provider = given.capacity_provider_config.as_ref().map(|config| config.arn());
    let others = provider.and_then(|arn| capacity_provider::turn(&ctx, arn)).into_iter().collect();
    let mut edit = ctx.edit_with(others, &FUNCTIONS, &scope, &name).await;
    loop {
        let (mut function, batch) = function::open(&ctx, &name, &mut edit).await?;
        check_revision(function.latest.revision, input.revision_id.as_deref())?;
        let owner = function.owner(&ctx);
        let package = function.latest.code.package_type();
        let before = function.latest.clone();
        let (settings, variables) = function.latest.settings.with(given.clone(), package)?;
        function.latest.settings = settings;
        // Emptied variables are gone, as on AWS; a function made with none shows an empty set.
        let variables = variables.filter(|variables| !variables.is_empty());
        if given.environment.is_some() && variables.is_none() {
            function.latest.settings.environment = None;
        }
        let batch = match before.capacity_provider() == function.latest.capacity_provider() {
            true => batch,
            false => {
                let batch = capacity_provider::detach(batch, &scope, &before, function.incarnation, "$LATEST");
                capacity_provider::attach(&ctx, batch, &function, "$LATEST").await?
            }
        };
        let mut batch = function.latest.settings.seal(&ctx, batch, &owner, variables.as_ref()).await?;
        if let Some(layers) = &layers {
            batch = layer::used::release(&ctx.cloud, batch, &function.latest.settings.layers, &owner)?;
            batch = layer::used::retain(&ctx, batch, layers, &owner)?;
            function.latest.settings.layers = layers.iter().map(|pinned| pinned.layer.clone()).collect();
            layer::used::check_unzipped(&function.latest.code, &function.latest.settings.layers)?;
        }
        function.latest.touch(&ctx);
        let batch = batch.put(&FUNCTIONS, &scope, &name, &function);
        if edit.commit(batch).await? {
            invoke::expect(&ctx, &function).await;
            let latest = function.latest.clone();
            return latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await;
        }
    }
}
