//! What happens to a function that calls itself, as its owner wants it. It is carried out in
//! [`chain`](super::invoke::chain).

use base::AwsError;
use serde::{Deserialize, Serialize};

use super::function::{self, Function};
use super::name::FunctionRef;
use crate::{Ctx, Service};

/// What AWS does where nobody has said otherwise.
const DEFAULT: &str = "Terminate";

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

pub fn operations(service: Service) -> Service {
    service.operation("GetFunctionRecursionConfig", get).operation("PutFunctionRecursionConfig", put)
}

pub async fn put(ctx: Ctx, input: PutRecursion) -> Result<Recursion, AwsError> {
    let name = FunctionRef::parse(&ctx, "PutFunctionRecursionConfig", &input.function_name, None)?.name;
    function::edit(&ctx, &name, |function| {
        function.recursive_loop = Some(input.recursive_loop.clone());
        Ok(())
    })
    .await?;
    Ok(Recursion { recursive_loop: input.recursive_loop })
}

pub async fn get(ctx: Ctx, input: GetRecursion) -> Result<Recursion, AwsError> {
    let name = FunctionRef::parse(&ctx, "GetFunctionRecursionConfig", &input.function_name, None)?.name;
    let function = function::find(&ctx, &name).await?;
    Ok(Recursion { recursive_loop: function.recursive_loop.clone().unwrap_or_else(|| DEFAULT.into()) })
}

impl Function {
    /// Whether chains may invoke it without end.
    pub fn may_loop(&self) -> bool {
        self.recursive_loop.as_deref().unwrap_or(DEFAULT) != DEFAULT
    }
}
