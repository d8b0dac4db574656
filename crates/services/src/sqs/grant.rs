//! What a queue's policy lets others do.

use serde_json::{Map, Value};

use super::name;
use super::queue::Queue;
use crate::Ctx;
use crate::grant::{self, Ask};

/// Whether a queue's policy lets the caller, who is of another account, do `action`.
pub fn lets(ctx: &Ctx, queue: &Queue, action: &str) -> bool {
    let (statements, resource) = (statements(queue), name::arn(ctx, &queue.name));
    let ask = Ask { action, resource: &resource };
    grant::to_caller(statements.iter(), ask, ctx.cx.region.partition(), &ctx.cx.principal)
}

/// What its policy says.
fn statements(queue: &Queue) -> Vec<Map<String, Value>> {
    let policy = queue.settings.policy.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let one_or_more = policy.and_then(|mut policy| policy.get_mut("Statement").map(Value::take));
    let all = match one_or_more {
        Some(Value::Array(statements)) => statements,
        Some(statement) => vec![statement],
        None => Vec::new(),
    };
    let as_object = |value| if let Value::Object(members) = value { Some(members) } else { None };
    all.into_iter().filter_map(as_object).collect()
}
