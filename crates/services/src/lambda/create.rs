//! CreateFunction.

use base::AwsError;
use serde::Deserialize;
use wire::value::With;

use super::account::Share;
use super::code::{CodeInput, PackageType};
use super::function::{FUNCTIONS, Function};
use super::name::FunctionRef;
use super::release::{FunctionConfiguration, Phase, Pins, Release};
use super::settings::{Given, Settings, Variables};
use super::tag::{self, Tags};
use super::{CODE_BODY_BYTES_MAX, account, capacity_provider, code_signing, errors, invoke, layer, version};
use crate::{Ctx, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateFunction {
    function_name: String,
    code: CodeInput,
    package_type: Option<String>,
    architectures: Option<Vec<String>>,
    code_signing_config_arn: Option<String>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    publish: bool,
}

/// A function that passed every check, and what its commit needs.
struct Prepared {
    function: Function,
    pins: Pins,
    variables: Option<Variables>,
    code_signing_config: Option<String>,
    publish: bool,
}

pub fn operations(service: Service) -> Service {
    service.operation("CreateFunction", create).body_bytes_max("CreateFunction", CODE_BODY_BYTES_MAX)
}

pub async fn create(
    ctx: Ctx,
    With(input, given): With<CreateFunction, Given>,
) -> Result<FunctionConfiguration, AwsError> {
    let prepared = prepare(&ctx, input, given).await?;
    let (function, published) = commit(&ctx, prepared).await?;
    invoke::expect(&ctx, &function).await;
    // Of a function that is published as it is made, AWS shows the version under the function's own ARN.
    let (release, version) = match published {
        Some((number, release)) => (release, number.to_string()),
        None => (function.latest.clone(), "$LATEST".into()),
    };
    release.show(&ctx, &function, version, None, Phase::Created).await
}

async fn prepare(ctx: &Ctx, input: CreateFunction, given: Given) -> Result<Prepared, AwsError> {
    let name = FunctionRef::parse_new(ctx, &input.function_name)?;
    let package = match input.package_type.as_deref() {
        Some("Image") => PackageType::Image,
        _ => PackageType::Zip,
    };
    input.code.check_type(package, "creating")?;
    tag::check(&input.tags)?;
    // AWS looks for the layers before it looks for the name.
    let layers = layer::used::resolve(ctx, given.layers.as_deref().unwrap_or_default()).await?;
    // An early answer, before work is spent on the code; the commit decides.
    if FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), &name).await?.is_some() {
        return Err(errors::function_exists(&name));
    }
    code_signing::check_new_code(ctx, input.code_signing_config_arn.as_deref(), &name).await?;
    let (mut settings, variables) = Settings::new(&name, given, package, input.architectures)?;
    settings.layers = layers.iter().map(|pinned| pinned.layer.clone()).collect();
    let pins = Pins { code: input.code.take(ctx).await?, layers };
    layer::used::check_unzipped(&pins.code.code, &settings.layers)?;
    Ok(Prepared {
        function: Function::new(ctx, name, settings, pins.code.code.clone(), input.tags),
        pins,
        variables,
        code_signing_config: input.code_signing_config_arn,
        publish: input.publish,
    })
}

/// Makes the function, with its first version if it is to be published.
async fn commit(ctx: &Ctx, prepared: Prepared) -> Result<(Function, Option<(u64, Release)>), AwsError> {
    let Prepared { function, pins, variables, code_signing_config, publish } = prepared;
    let (scope, owner) = (ctx.scope(), function.owner(ctx));
    let mut others = vec![account::turn(ctx)];
    others.extend(function.latest.capacity_provider().and_then(|arn| capacity_provider::turn(ctx, arn)));
    others.extend(code_signing_config.as_deref().and_then(|arn| code_signing::turn(ctx, arn)));
    let mut edit = ctx.edit_with(others, &FUNCTIONS, &scope, &function.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        if found.is_some() {
            return Err(errors::function_exists(&function.name));
        }
        code_signing::check_new_code(ctx, code_signing_config.as_deref(), &function.name).await?;
        let mut made = function.clone();
        let (last, batch) = version::last_number(ctx, batch, &function.name).await?;
        made.last_version = last;
        let batch = made.latest.settings.seal(ctx, batch, &owner, variables.as_ref()).await?;
        let batch = pins.hold(ctx, batch, &owner)?;
        let mut batch = capacity_provider::attach(ctx, batch, &made, "$LATEST").await?;
        if let Some(arn) = &code_signing_config {
            batch = code_signing::attach(ctx, batch, &made, arn).await?;
        }
        let mut published = None;
        if publish {
            let (with_version, version) = version::publish(ctx, batch, &mut made, &pins, None).await?;
            (batch, published) = (with_version, Some(version));
        }
        let batch = account::recount(ctx, batch, Share::default(), Share::of(&made));
        let batch = batch.await?.put(&FUNCTIONS, &scope, &made.name, &made);
        if edit.commit(batch).await? {
            return Ok((made, published));
        }
    }
}
