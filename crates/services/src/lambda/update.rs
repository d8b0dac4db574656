//! Changes of `$LATEST`: its code and its configuration.

use base::AwsError;
use serde::Deserialize;
use wire::value::With;

use super::CODE_BODY_BYTES_MAX;
use super::code::{Code, CodeInput};
use super::function::{self, FUNCTIONS, Function, check_revision};
use super::name::FunctionRef;
use super::release::{FunctionConfiguration, Phase};
use super::settings::Given;
use super::{account, capacity_provider, code_signing, layer, version};
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
    let (ctx, FunctionRef { name, .. }) =
        FunctionRef::locate(ctx, "UpdateFunctionCode", &input.function_name, None).await?;
    // An early answer, before work is spent on the code; the commit decides.
    let before = function::find(&ctx, &name).await?;
    check_revision(before.latest.revision, input.revision_id.as_deref())?;
    source.check_type(before.latest.code.package_type(), "updating")?;
    code_signing::check_code(&ctx, &before).await?;
    let change = |function: &mut Function, code: Code| -> Result<(), AwsError> {
        check_revision(function.latest.revision, input.revision_id.as_deref())?;
        function.code_bytes =
            function.code_bytes.saturating_sub(function.latest.code.size_bytes()).saturating_add(code.size_bytes());
        layer::used::check_unzipped(&code, &function.latest.settings.layers)?;
        function.latest.code = code;
        if let Some(architectures) = &input.architectures {
            function.latest.settings.architectures = architectures.clone();
        }
        function.latest.touch(&ctx);
        Ok(())
    };
    if input.dry_run {
        let mut function = Function::clone(&before);
        change(&mut function, source.rehearse().await?)?;
        let latest = function.latest.clone();
        return latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await;
    }
    let taken = source.take(&ctx).await?;
    let scope = ctx.scope();
    let mut edit = ctx.edit_in_turn(&account::turn(&ctx), &FUNCTIONS, &scope, &name).await;
    loop {
        let (mut function, batch) = function::open(&ctx, &name, &mut edit).await?;
        let owner = function.owner(&ctx);
        let held_before = function.code_bytes;
        let batch = function.latest.code.release(&ctx.cloud, batch, &owner)?;
        let mut batch = taken.retain(&ctx, batch, &owner)?;
        change(&mut function, taken.code.clone())?;
        let mut published = None;
        if input.publish {
            let pins = function.latest.pin(&ctx).await?;
            let (with_version, version) = version::publish_unless_same(&ctx, batch, &mut function, &pins, None).await?;
            (batch, published) = (with_version, Some(version));
        }
        let batch = account::charge(&ctx, batch, |usage| usage.recount_code(held_before, function.code_bytes));
        let batch = batch.await?.put(&FUNCTIONS, &scope, &name, &function);
        if edit.commit(batch).await? {
            let latest = function.latest.clone();
            return match published {
                Some((number, release)) => {
                    let number = number.to_string();
                    release.show(&ctx, &function, number.clone(), Some(&number), Phase::Created).await
                }
                None => latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await,
            };
        }
    }
}

pub async fn configuration(
    ctx: Ctx,
    With(input, given): With<UpdateFunctionConfiguration, Given>,
) -> Result<FunctionConfiguration, AwsError> {
    let name = FunctionRef::parse(&ctx, "UpdateFunctionConfiguration", &input.function_name, None)?.name;
    let layers = match &given.layers {
        Some(arns) => Some(layer::used::resolve(&ctx, arns).await?),
        None => None,
    };
    let scope = ctx.scope();
    let mut edit = ctx.edit(&FUNCTIONS, &scope, &name).await;
    loop {
        let (mut function, batch) = function::open(&ctx, &name, &mut edit).await?;
        check_revision(function.latest.revision, input.revision_id.as_deref())?;
        let owner = function.owner(&ctx);
        let package = function.latest.code.package_type();
        let batch = capacity_provider::detach(batch, &scope, &function.latest, function.incarnation, "$LATEST");
        let (settings, variables) = function.latest.settings.with(given.clone(), package)?;
        function.latest.settings = settings;
        let batch = capacity_provider::attach(&ctx, batch, &function, "$LATEST").await?;
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
            let latest = function.latest.clone();
            return latest.show(&ctx, &function, "$LATEST".into(), None, Phase::Updated).await;
        }
    }
}
