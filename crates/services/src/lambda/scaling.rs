//! How many execution environments a version on managed instances may have.

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Table};

use super::errors;
use super::function::{self, FUNCTIONS, Named};
use super::name::FunctionRef;
use crate::{Ctx, Service};

/// By the function's incarnation and the number of the version.
pub static SCALING: Table<(Uuid, String), Scaling> = Table::new("lambda_scaling");

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Scaling {
    min_execution_environments: Option<u32>,
    max_execution_environments: Option<u32>,
}

impl Record for Scaling {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutScaling {
    function_name: String,
    qualifier: String,
    /// Without it the limits are lifted.
    function_scaling_config: Option<Scaling>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScalingPut {
    function_state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScalingShown {
    function_arn: String,
    applied_function_scaling_config: Option<Scaling>,
    requested_function_scaling_config: Option<Scaling>,
}

pub fn operations(service: Service) -> Service {
    service.operation("GetFunctionScalingConfig", get).operation("PutFunctionScalingConfig", put)
}

pub async fn put(ctx: Ctx, input: PutScaling) -> Result<ScalingPut, AwsError> {
    let asked = FunctionRef::parse(&ctx, "PutFunctionScalingConfig", &input.function_name, Some(&input.qualifier))?;
    if let Some(Scaling { min_execution_environments: Some(min), max_execution_environments: Some(max) }) =
        input.function_scaling_config
        && min > max
    {
        return Err(errors::invalid_parameter(
            "MinExecutionEnvironments must be less than or equal to MaxExecutionEnvironments.",
        ));
    }
    let (name, scope) = (&asked.name, ctx.scope());
    let mut edit = ctx.edit(&FUNCTIONS, &scope, name).await;
    loop {
        let (function, batch) = function::open(&ctx, name, &mut edit).await?;
        if function::resolve(&ctx, &asked).await?.release().settings.capacity_provider.is_none() {
            return Err(errors::invalid_parameter(
                "Scaling can be configured only for functions that are associated with a capacity provider.",
            ));
        }
        let key = (function.incarnation, input.qualifier.as_str());
        let batch = match &input.function_scaling_config {
            Some(scaling) => batch.put(&SCALING, &scope, key, scaling),
            None => batch.delete(&SCALING, &scope, key),
        };
        if edit.commit(batch.put(&FUNCTIONS, &scope, name, &function)).await? {
            return Ok(ScalingPut { function_state: "Active" });
        }
    }
}

pub async fn get(ctx: Ctx, input: Named) -> Result<ScalingShown, AwsError> {
    let asked = FunctionRef::parse(&ctx, "GetFunctionScalingConfig", &input.function_name, input.qualifier.as_deref())?;
    let function = function::resolve(&ctx, &asked).await?.function;
    let key = (function.incarnation, asked.qualifier.as_deref().unwrap_or_default());
    let scaling = SCALING.get(&ctx.cloud.store, &ctx.scope(), key).await?.map(|row| row.value);
    Ok(ScalingShown {
        function_arn: asked.arn(&ctx),
        applied_function_scaling_config: scaling.clone(),
        requested_function_scaling_config: scaling,
    })
}
