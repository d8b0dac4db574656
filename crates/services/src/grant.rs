//! What the statements of a policy let somebody do.
//!
//! What cannot be decided here forbids and never allows: a condition of a kind that is not known, a member that says what is
//! *not* meant, an organization. Real evaluation is IAM's and is to come.

use serde_json::{Map, Value};

/// A statement's members.
pub type Members = Map<String, Value>;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub action: &'a str,
    pub resource: &'a str,
}

/// A service that asks, and on whose behalf.
pub struct Source<'a> {
    /// All names of the service, as policies have them.
    pub services: &'a [String],
    /// What it asks for.
    pub arn: &'a str,
    pub account: &'a str,
}

/// Whether statements let `caller` do this.
pub fn to_caller<'a>(
    statements: impl Iterator<Item = &'a Members> + Clone,
    ask: Ask<'_>,
    partition: &str,
    caller: &base::Principal,
) -> bool {
    let root = format!("arn:{partition}:iam::{}:root", caller.account);
    let is_caller = |name: &str| name == "*" || name == root || name == caller.arn || name == caller.account.as_str();
    let is_principal = |principal: &Value| any_text(principal.get("AWS").unwrap_or(principal), &is_caller);
    allow(statements, |statement| is_about(statement, ask, &is_principal, &|_| None))
}

/// Whether statements let a service do this on somebody's behalf. Of conditions those on the source are known.
pub fn to_service<'a>(statements: impl Iterator<Item = &'a Members> + Clone, ask: Ask<'_>, by: &Source<'_>) -> bool {
    let is_service = |name: &str| by.services.iter().any(|service| service == name);
    let is_principal = |principal: &Value| match principal.get("Service") {
        Some(services) => any_text(services, &is_service),
        None => any_text(principal, &|name| name == "*"),
    };
    allow(statements, |statement| is_about(statement, ask, &is_principal, &|condition| by.meets(condition)))
}

/// Whether statements allow what none forbids. `is_about` says whether a statement is about the request; `None` where
/// that is not clear.
fn allow<'a>(
    statements: impl Iterator<Item = &'a Members> + Clone,
    is_about: impl Fn(&Members) -> Option<bool>,
) -> bool {
    let effect = |wanted: &'static str| {
        statements.clone().filter(move |statement| statement.get("Effect").and_then(Value::as_str) == Some(wanted))
    };
    effect("Allow").any(|statement| is_about(statement) == Some(true))
        && effect("Deny").all(|statement| is_about(statement) == Some(false))
}

/// Whether a statement is about this request, be it to allow or to forbid it; `None` where that is not clear.
fn is_about(
    statement: &Members,
    Ask { action, resource }: Ask<'_>,
    is_principal: &dyn Fn(&Value) -> bool,
    meets: &dyn Fn(&Value) -> Option<bool>,
) -> Option<bool> {
    let action = action.to_ascii_lowercase();
    let says = |name: &str, is: &dyn Fn(&str) -> bool| statement.get(name).map(|value| any_text(value, is));
    let parts = [
        says("Action", &|wanted| is_like(wanted.to_ascii_lowercase().as_bytes(), action.as_bytes())),
        says("Resource", &|wanted| is_like(wanted.as_bytes(), resource.as_bytes())),
        statement.get("Principal").map(is_principal),
    ];
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    if ["NotAction", "NotResource", "NotPrincipal"].iter().any(|name| statement.contains_key(*name)) {
        return None;
    }
    statement.get("Condition").map_or(Some(true), meets)
}

impl Source<'_> {
    /// Whether a condition holds; `None` if it is of a kind that is not known here.
    fn meets(&self, condition: &Value) -> Option<bool> {
        let mut holds = true;
        for (operator, keys) in condition.as_object()? {
            let is_pattern = match operator.as_str() {
                "StringEquals" => false,
                "ArnLike" | "ArnEquals" | "StringLike" => true,
                _ => return None,
            };
            for (key, wanted) in keys.as_object()? {
                let is = match key.to_ascii_lowercase().as_str() {
                    "aws:sourcearn" => self.arn,
                    "aws:sourceaccount" => self.account,
                    _ => return None,
                };
                holds &= any_text(wanted, &|wanted| match is_pattern {
                    true => is_like(wanted.as_bytes(), is.as_bytes()),
                    false => wanted == is,
                });
            }
        }
        Some(holds)
    }
}

/// Whether a text, or one of a list, is what `is` says.
fn any_text(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

/// Whether a pattern, in which `*` stands for anything and `?` for any one character, fits a text. It goes back to the
/// last star only, so it takes the product of both lengths at most.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text, mut star) = (0, 0, None);
    while let Some(byte) = text.get(in_text) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                in_text += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    in_text = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for pattern in ["lambda:getfunction", "lambda:*", "*", "lambda:get?unction", "*:*function", "l*d*:*n", "**"] {
            assert!(is_like(pattern.as_bytes(), b"lambda:getfunction"), "{pattern}");
        }
        for pattern in ["lambda:get", "s3:*", "", "lambda:getfunction?", "?", "*x*", "lambda:*y"] {
            assert!(!is_like(pattern.as_bytes(), b"lambda:getfunction"), "{pattern}");
        }
        assert!(!is_like(&[b'*', b'a'].repeat(2_000), &[b'a'; 1_000]), "it ends");
    }
}
