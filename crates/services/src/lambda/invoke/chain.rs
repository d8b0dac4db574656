//! Chains of a function that calls itself, which end here unless its owner lets them go on.
//!
//! What the function is told of its trace, its SDK sends with what it calls, and queues keep it; `engine::lineage` counts in
//! it. A chain is ended wherever it invokes the function next: a caller who waits is told so, an event is given up, and a
//! source's events go to its dead letters.

use base::AwsError;
use engine::lineage::{self, FunctionId, INVOCATIONS_MAX};
use metrics::Unit;

use crate::lambda::function::{self, FUNCTIONS, Function};
use crate::{Ctx, derived};

/// Whether a chain has invoked this function as often as it may.
pub(super) fn is_stopped(ctx: &Ctx, function: &Function, header: &str) -> bool {
    is_loop(ctx, &function.name, header) && !function.may_loop()
}

/// Whether a chain has invoked a function so often that it is a loop.
pub fn is_loop(ctx: &Ctx, name: &str, header: &str) -> bool {
    invocations(ctx, name, header) >= INVOCATIONS_MAX
}

/// Whether a function's owner lets loops go on, or there is none to be asked.
pub async fn may_loop(ctx: &Ctx, name: &str) -> Result<bool, AwsError> {
    let function = FUNCTIONS.get_shared(&ctx.cloud.store, &ctx.scope(), name).await?;
    Ok(function.is_none_or(|function| function.may_loop()))
}

/// How often a chain has invoked a function.
pub fn invocations(ctx: &Ctx, name: &str, header: &str) -> u32 {
    lineage::invocations(header, id(ctx, name))
}

/// The header of one more invocation of this function.
pub(super) fn extend(ctx: &Ctx, function: &Function, header: &str) -> String {
    lineage::extend(header, id(ctx, &function.name))
}

fn id(ctx: &Ctx, name: &str) -> FunctionId {
    FunctionId::of(&function::arn(ctx, name))
}

/// Takes note that so many events were not given to a function.
pub fn tell_stopped(ctx: &Ctx, called: (&str, Option<&str>), events: usize) {
    derived::lambda::tell_of_event(ctx, called, "RecursiveInvocationsDropped", Unit::COUNT, events as f64);
    tracing::warn!(
        function = called.0,
        events,
        "a function goes round in a loop: it was invoked {INVOCATIONS_MAX} times in one chain of requests and is not invoked \
         again. End the loop, or let it go on by PutFunctionRecursionConfig with Allow"
    );
}
