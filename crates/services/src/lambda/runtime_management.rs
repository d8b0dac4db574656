//! When a function's runtime is updated, as its owner wants it.

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
    service.operation("GetRuntimeManagementConfig", get).operation("PutRuntimeManagementConfig", put)
}

pub async fn put(ctx: Ctx, input: PutRuntimeManagement) -> Result<RuntimeManagement, AwsError> {
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

pub async fn get(ctx: Ctx, input: function::Named) -> Result<RuntimeManagement, AwsError> {
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
