//! What a policy lets somebody do.
//!
//! What cannot be decided here forbids and never allows. Real evaluation is IAM's and is to come.

use serde_json::Value;

use super::{Policy, Statement};

impl Policy {
    /// Whether the policy lets `caller` do `action` with `resource`. What cannot be decided here forbids and never allows:
    /// a condition, a member that says what is *not* meant, an organization. Real evaluation is IAM's and is to come.
    pub fn grants(&self, action: &str, resource: &str, partition: &str, caller: &base::Principal) -> bool {
        let root = format!("arn:{partition}:iam::{}:root", caller.account);
        let is_caller =
            |name: &str| name == "*" || name == root || name == caller.arn || name == caller.account.as_str();
        let is_principal = |principal: &Value| any_text(principal.get("AWS").unwrap_or(principal), &is_caller);
        self.allows(|statement| statement.is_about_request(action, resource, &is_principal, &|_| None))
    }

    /// Whether the policy lets a service do `action` with `resource` on somebody's behalf. What cannot be decided here
    /// forbids, but of conditions those on the source are known.
    pub fn grants_service(&self, action: &str, resource: &str, by: &Source<'_>) -> bool {
        let is_service = |name: &str| by.services.iter().any(|service| service == name);
        let is_principal = |principal: &Value| match principal.get("Service") {
            Some(services) => any_text(services, &is_service),
            None => any_text(principal, &|name| name == "*"),
        };
        self.allows(|statement| {
            statement.is_about_request(action, resource, &is_principal, &|condition| by.meets(condition))
        })
    }

    /// Whether statements allow what none forbids. `is_about` says whether a statement is about the request; `None` where
    /// that is not clear.
    fn allows(&self, is_about: impl Fn(&Statement) -> Option<bool>) -> bool {
        let effect = |wanted: &'static str| {
            let statements = self.document.statement.iter();
            statements.filter(move |statement| statement.0.get("Effect").and_then(Value::as_str) == Some(wanted))
        };
        effect("Allow").any(|statement| is_about(statement) == Some(true))
            && effect("Deny").all(|statement| is_about(statement) == Some(false))
    }
}

impl Statement {
    /// Whether it is about this request, be it to allow or to forbid it; `None` where that is not clear.
    fn is_about_request(
        &self,
        action: &str,
        resource: &str,
        is_principal: &dyn Fn(&Value) -> bool,
        meets: &dyn Fn(&Value) -> Option<bool>,
    ) -> Option<bool> {
        let Self(members) = self;
        let action = action.to_ascii_lowercase();
        let says = |name: &str, is: &dyn Fn(&str) -> bool| members.get(name).map(|value| any_text(value, is));
        let parts = [
            says("Action", &|wanted| is_like(wanted.to_ascii_lowercase().as_bytes(), action.as_bytes())),
            says("Resource", &|wanted| is_like(wanted.as_bytes(), resource.as_bytes())),
            members.get("Principal").map(is_principal),
        ];
        if parts.contains(&Some(false)) {
            return Some(false);
        }
        if ["NotAction", "NotResource", "NotPrincipal"].iter().any(|name| members.contains_key(*name)) {
            return None;
        }
        members.get("Condition").map_or(Some(true), meets)
    }
}

/// A service that asks, and on whose behalf.
pub struct Source<'a> {
    /// All names of the service, as policies have them.
    pub services: &'a [String],
    /// What it asks for.
    pub arn: &'a str,
    pub account: &'a str,
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
    use base::Uuid;

    use super::super::{Conditions, Document, Principal};
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
    const REVISION: Uuid = Uuid::NIL;

    fn caller(account: &str) -> base::Principal {
        let arn = format!("arn:aws:iam::{account}:user/somebody");
        base::Principal { account: account.parse().unwrap(), arn, user_id: account.into(), access_key_id: None }
    }

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

    #[test]
    fn a_service_is_granted_what_its_source_is() {
        let services = ["logs.amazonaws.com".to_owned(), "logs.us-east-1.amazonaws.com".to_owned()];
        let arn = "arn:aws:logs:us-east-1:000000000000:log-group:g:*";
        let by = Source { services: &services, arn, account: "000000000000" };
        let granted = |principal: &str, conditions: Conditions| {
            let principal = Principal::parse(principal, "aws").unwrap();
            let statement = Statement::allow("s", principal, "lambda:InvokeFunction", FUNCTION, conditions);
            let policy = Policy::with(None, statement, REVISION).unwrap();
            policy.grants_service("lambda:InvokeFunction", FUNCTION, &by)
        };
        let from = |arn: &str, account: &str| Conditions {
            source_arn: Some(arn.into()),
            source_account: Some(account.into()),
            ..Conditions::default()
        };
        assert!(granted("logs.amazonaws.com", Conditions::default()));
        assert!(granted("logs.us-east-1.amazonaws.com", from(arn, "000000000000")));
        assert!(granted("logs.amazonaws.com", from("arn:aws:logs:us-east-1:000000000000:*", "000000000000")));
        assert!(!granted("logs.amazonaws.com", from(arn, "111111111111")));
        assert!(!granted(
            "logs.amazonaws.com",
            from("arn:aws:logs:us-east-1:000000000000:log-group:g", "000000000000")
        ));
        assert!(!granted("events.amazonaws.com", Conditions::default()));
        assert!(!granted("111111111111", Conditions::default()));
        let unknown = Conditions { principal_org_id: Some("o-1".into()), ..Conditions::default() };
        assert!(!granted("logs.amazonaws.com", unknown));
    }

    /// What a policy of these statements lets account 111111111111 do: GetFunction with the function `f`.
    fn granted(statements: &str) -> bool {
        let function = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let policy = Policy { document: Document::parse(&document).expect(statements), revision: REVISION };
        policy.grants("lambda:GetFunction", function, "aws", &caller("111111111111"))
    }

    #[test]
    fn what_cannot_be_decided_forbids_and_never_allows() {
        let statement = |effect: &str, more: &str| format!(r#"{{"Sid":"{effect}","Effect":"{effect}",{more}}}"#);
        const WHO: &str = r#""Principal":{"AWS":"111111111111"}"#;
        const WHAT: &str = r#""Action":"lambda:*","Resource":"arn:aws:lambda:us-east-1:000000000000:function:f""#;
        let allow = statement("Allow", &format!("{WHO},{WHAT}"));
        assert!(granted(&allow));
        assert!(granted(&statement("Allow", &format!(r#"{WHO},"Action":["s3:*","lambda:get*"],"Resource":"*""#))));
        for (about, more) in [
            (
                "another function",
                format!(r#"{WHO},"Action":"*","Resource":"arn:aws:lambda:us-east-1:000000000000:function:f:live""#),
            ),
            ("another action", format!(r#"{WHO},"Action":"lambda:Invoke*","Resource":"*""#)),
            ("another caller", format!(r#""Principal":{{"AWS":"222222222222"}},{WHAT}"#)),
            ("a condition", format!(r#"{WHO},{WHAT},"Condition":{{"Bool":{{"aws:SecureTransport":"true"}}}}"#)),
        ] {
            assert!(!granted(&statement("Allow", &more)), "{about} allows nothing");
        }
        for (what, more) in [
            ("plainly", format!("{WHO},{WHAT}")),
            ("to all", format!(r#""Principal":"*",{WHAT}"#)),
            ("by a star within", format!(r#"{WHO},"Action":"lambda:*Function","Resource":"*""#)),
            ("on a condition", format!(r#"{WHO},{WHAT},"Condition":{{"Bool":{{"aws:SecureTransport":"false"}}}}"#)),
        ] {
            assert!(!granted(&format!("{allow},{}", statement("Deny", &more))), "denied {what}");
        }
        let other = statement("Deny", &format!(r#"{WHO},"Action":"lambda:Delete*","Resource":"*""#));
        assert!(granted(&format!("{allow},{other}")), "a denial of something else");
    }

    #[test]
    fn layers_are_granted_to_everybody_or_to_an_account() {
        const ACTION: &str = "lambda:GetLayerVersion";
        let policy = |principal: &str, organization: Option<&str>| {
            let principal = Principal::parse(principal, "aws").unwrap();
            let principal_org_id = organization.map(str::to_owned);
            let conditions = Conditions { principal_org_id, ..Conditions::default() };
            Policy::with(None, Statement::allow("s", principal, ACTION, FUNCTION, conditions), REVISION).unwrap()
        };
        assert!(policy("*", None).grants(ACTION, FUNCTION, "aws", &caller("111111111111")));
        assert!(policy("111111111111", None).grants(ACTION, FUNCTION, "aws", &caller("111111111111")));
        assert!(!policy("111111111111", None).grants(ACTION, FUNCTION, "aws", &caller("222222222222")));
        assert!(!policy("111111111111", None).grants(
            "lambda:DeleteLayerVersion",
            FUNCTION,
            "aws",
            &caller("111111111111")
        ));
        assert!(!policy("*", Some("o-1234567890")).grants(ACTION, FUNCTION, "aws", &caller("111111111111")));
    }
}
