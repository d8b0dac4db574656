//! What a function's owner may say of how it is run, beside its configuration: recursion and updates of its runtime.

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use store::{Record, Table};

use super::errors;
use super::function::{self, FUNCTIONS};
use super::name::FunctionRef;
use crate::{Ctx, Service};

/// By the function's incarnation and the qualifier. Absent while nobody has said anything: AWS updates runtimes then.
pub static RUNTIME_UPDATES: Table<(Uuid, String), RuntimeUpdates> = Table::new("lambda_runtime_updates");

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeUpdates {
    update_runtime_on: String,
    runtime_version_arn: Option<String>,
}

impl Record for RuntimeUpdates {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutRecursion {
    function_name: String,
    recursive_loop: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetRecursion {
    function_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Recursion {
    recursive_loop: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutRuntimeManagement {
    function_name: String,
    qualifier: Option<String>,
    update_runtime_on: String,
    runtime_version_arn: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeManagement {
    update_runtime_on: String,
    function_arn: String,
    runtime_version_arn: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("GetFunctionRecursionConfig", get_recursion)
        .operation("GetRuntimeManagementConfig", get_runtime_management)
        .operation("PutFunctionRecursionConfig", put_recursion)
        .operation("PutRuntimeManagementConfig", put_runtime_management)
}

pub async fn put_recursion(ctx: Ctx, input: PutRecursion) -> Result<Recursion, AwsError> {
    let name = FunctionRef::parse(&ctx, "PutFunctionRecursionConfig", &input.function_name, None)?.name;
    function::edit(&ctx, &name, |function| {
        function.recursive_loop = Some(input.recursive_loop.clone());
        Ok(())
    })
    .await?;
    Ok(Recursion { recursive_loop: input.recursive_loop })
}

pub async fn get_recursion(ctx: Ctx, input: GetRecursion) -> Result<Recursion, AwsError> {
    let name = FunctionRef::parse(&ctx, "GetFunctionRecursionConfig", &input.function_name, None)?.name;
    let function = function::find(&ctx, &name).await?;
    Ok(Recursion { recursive_loop: function.recursive_loop.clone().unwrap_or_else(|| "Terminate".into()) })
}

pub async fn put_runtime_management(ctx: Ctx, input: PutRuntimeManagement) -> Result<RuntimeManagement, AwsError> {
    let asked =
        FunctionRef::parse(&ctx, "PutRuntimeManagementConfig", &input.function_name, input.qualifier.as_deref())?;
    match (input.update_runtime_on.as_str(), &input.runtime_version_arn) {
        ("Manual", None) => {
            return Err(errors::invalid_parameter("RuntimeVersionArn is required when UpdateRuntimeOn is Manual."));
        }
        ("Manual", Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            return Err(errors::invalid_parameter(
                "RuntimeVersionArn is supported only when UpdateRuntimeOn is Manual.",
            ));
        }
    }
    let updates =
        RuntimeUpdates { update_runtime_on: input.update_runtime_on, runtime_version_arn: input.runtime_version_arn };
    let (name, scope) = (&asked.name, ctx.scope());
    let mut edit = ctx.edit(&FUNCTIONS, &scope, name).await;
    loop {
        let (function, batch) = function::open(&ctx, name, &mut edit).await?;
        function::resolve(&ctx, &asked).await?;
        let batch = batch
            .put(&RUNTIME_UPDATES, &scope, (function.incarnation, qualifier(&asked)), &updates)
            .put(&FUNCTIONS, &scope, name, &function);
        if edit.commit(batch).await? {
            return Ok(updates.show(&ctx, &asked));
        }
    }
}

pub async fn get_runtime_management(ctx: Ctx, input: function::Named) -> Result<RuntimeManagement, AwsError> {
    let asked =
        FunctionRef::parse(&ctx, "GetRuntimeManagementConfig", &input.function_name, input.qualifier.as_deref())?;
    let function = function::resolve(&ctx, &asked).await?.function;
    let key = (function.incarnation, qualifier(&asked));
    let found = RUNTIME_UPDATES.get(&ctx.cloud.store, &ctx.scope(), key).await?;
    let updates = found.map_or_else(
        || RuntimeUpdates { update_runtime_on: "Auto".into(), runtime_version_arn: None },
        |row| row.value,
    );
    Ok(updates.show(&ctx, &asked))
}

fn qualifier(asked: &FunctionRef) -> &str {
    asked.qualifier.as_deref().unwrap_or("$LATEST")
}

impl RuntimeUpdates {
    fn show(&self, ctx: &Ctx, asked: &FunctionRef) -> RuntimeManagement {
        RuntimeManagement {
            update_runtime_on: self.update_runtime_on.clone(),
            function_arn: format!("{}:{}", function::arn(ctx, &asked.name), qualifier(asked)),
            runtime_version_arn: self.runtime_version_arn.clone(),
        }
    }
}
