//! Policy documents: what IAM takes as one, how it measures it, and how answers carry it.
//!
//! Documents are kept as they were given. Nothing enforces them yet, so what is looked at is their form.

use std::collections::HashSet;

use base::AwsError;
use serde_json::{Map, Value};
use wire::percent;

use super::errors::malformed_document as malformed;

const SYNTAX: &str = "Syntax errors in policy.";
const LEGACY: &str = "The policy failed legacy parsing";
const ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
/// In the order in which they are shown.
const PARTITIONS: [&str; 7] = ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"];

type Statement = Map<String, Value>;

/// Checks a document that is to be a role's own.
pub fn check_inline(document: &str) -> Result<(), AwsError> {
    check_permissions(document, false)
}

/// Checks a document that is to be a managed policy.
pub fn check_managed(document: &str) -> Result<(), AwsError> {
    check_permissions(document, true)
}

/// Checks a document that says who may assume a role.
pub fn check_trust(document: &str) -> Result<(), AwsError> {
    let policy = serde_json::from_str(document).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(policy) = policy else { return Err(malformed(SYNTAX)) };
    check_top(&policy)?;
    let statements = statements(&policy)?;
    for statement in &statements {
        if let Some(unknown) = statement.keys().find(|element| !ELEMENTS.contains(&element.as_str())) {
            return Err(malformed(format!("Unknown field {unknown}")));
        }
        for prohibited in ["Resource", "NotResource"] {
            if statement.contains_key(prohibited) {
                return Err(malformed(format!("Has prohibited field {prohibited}")));
            }
        }
        for (required, instead) in [("Effect", "Effect"), ("Principal", "NotPrincipal"), ("Action", "NotAction")] {
            if !statement.contains_key(required) && !statement.contains_key(instead) {
                return Err(malformed(format!("Missing required field {required}")));
            }
        }
        check_shape(statement)?;
        check_principals(statement)?;
        check_actions(statement)?;
        if texts(statement, "Action").any(|action| !action.to_ascii_lowercase().starts_with("sts:")) {
            return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
        }
    }
    check_ids(&statements)
}

/// How many characters count towards a quota: white space does not.
pub fn measure(document: &str) -> usize {
    document.chars().filter(|c| !c.is_ascii_whitespace()).count()
}

/// As answers carry documents: percent-encoded, as RFC 3986 has it.
pub fn encode(document: &str) -> String {
    let mut encoded = Vec::with_capacity(document.len().saturating_mul(2));
    percent::encode(document.as_bytes(), &mut encoded);
    // Nothing but ASCII comes out, so this never falls back.
    String::from_utf8(encoded).unwrap_or_default()
}

fn check_permissions(document: &str, managed: bool) -> Result<(), AwsError> {
    let Ok(Value::Object(policy)) = serde_json::from_str(document) else { return Err(malformed(SYNTAX)) };
    check_top(&policy)?;
    let statements = statements(&policy)?;
    for statement in &statements {
        if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
            return Err(malformed("Policy document should not specify a principal."));
        }
        if statement.keys().any(|element| !ELEMENTS.contains(&element.as_str())) {
            return Err(malformed(SYNTAX));
        }
        check_shape(statement)?;
    }
    if managed && policy.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
        return Err(malformed("Policy document must be version 2012-10-17 or greater."));
    }
    if statements.iter().any(|statement| !matches!(text(statement, "Effect"), Some("Allow" | "Deny"))) {
        return Err(malformed(LEGACY));
    }
    check_ids(&statements)?;
    for statement in &statements {
        if texts(statement, "Action").chain(texts(statement, "NotAction")).next().is_none() {
            return Err(malformed("Policy statement must contain actions."));
        }
    }
    for statement in &statements {
        for resource in texts(statement, "Resource").chain(texts(statement, "NotResource")) {
            check_resource(resource)?;
        }
    }
    for statement in &statements {
        check_actions(statement)?;
    }
    for statement in &statements {
        if texts(statement, "Resource").chain(texts(statement, "NotResource")).next().is_none() {
            return Err(malformed("Policy statement must contain resources."));
        }
    }
    Ok(())
}

fn check_top(policy: &Map<String, Value>) -> Result<(), AwsError> {
    let fits = |(element, value): (&String, &Value)| match element.as_str() {
        "Version" => matches!(value.as_str(), Some("2008-10-17" | "2012-10-17")),
        "Id" => value.is_string(),
        "Statement" => true,
        _ => false,
    };
    if policy.iter().all(fits) { Ok(()) } else { Err(malformed(SYNTAX)) }
}

/// One statement may stand without a list.
fn statements(policy: &Map<String, Value>) -> Result<Vec<&Statement>, AwsError> {
    let found: Option<Vec<&Statement>> = match policy.get("Statement") {
        Some(Value::Object(one)) => Some(vec![one]),
        Some(Value::Array(many)) => many.iter().map(Value::as_object).collect(),
        _ => None,
    };
    found.filter(|statements| !statements.is_empty()).ok_or_else(|| malformed(SYNTAX))
}

/// What every statement has, whatever it is for.
fn check_shape(statement: &Statement) -> Result<(), AwsError> {
    let effect = text(statement, "Effect")
        .is_some_and(|effect| ["Allow", "Deny"].iter().any(|known| known.eq_ignore_ascii_case(effect)));
    let both = |one: &str, other: &str| statement.contains_key(one) && statement.contains_key(other);
    let listed = ["Action", "NotAction", "Resource", "NotResource"].iter().all(|element| {
        statement.get(*element).is_none_or(|value| match value {
            Value::String(_) => true,
            Value::Array(items) => items.iter().all(Value::is_string),
            _ => false,
        })
    });
    let conditions = statement.get("Condition").is_none_or(|value| {
        value.as_object().is_some_and(|operators| operators.iter().all(|(name, keys)| is_condition(name, keys)))
    });
    let sid = statement.get("Sid").is_none_or(Value::is_string);
    let alone = !both("Action", "NotAction") && !both("Resource", "NotResource") && !both("Principal", "NotPrincipal");
    if effect && alone && listed && conditions && sid { Ok(()) } else { Err(malformed(SYNTAX)) }
}

/// `"StringEquals": {"aws:SourceAccount": ["111111111111"]}`
fn is_condition(operator: &str, keys: &Value) -> bool {
    const OPERATORS: [&str; 28] = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "NumericEquals",
        "NumericNotEquals",
        "NumericLessThan",
        "NumericLessThanEquals",
        "NumericGreaterThan",
        "NumericGreaterThanEquals",
        "DateEquals",
        "DateNotEquals",
        "DateLessThan",
        "DateLessThanEquals",
        "DateGreaterThan",
        "DateGreaterThanEquals",
        "Bool",
        "BinaryEquals",
        "BinaryNotEquals",
        "IpAddress",
        "NotIpAddress",
        "ArnEquals",
        "ArnLike",
        "ArnNotEquals",
        "ArnNotLike",
        "Null",
    ];
    let Some(keys) = keys.as_object() else { return false };
    let of_set = ["ForAnyValue:", "ForAllValues:"].iter().find_map(|prefix| operator.strip_prefix(prefix));
    let bare = of_set.unwrap_or(operator);
    let bare = bare.strip_suffix("IfExists").unwrap_or(bare);
    let known = OPERATORS.iter().any(|known| known.eq_ignore_ascii_case(bare));
    let scalar = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
    let values = keys.values().all(|value| scalar(value) || value.as_array().is_some_and(|all| all.iter().all(scalar)));
    (known || keys.is_empty()) && values
}

fn check_ids(statements: &[&Statement]) -> Result<(), AwsError> {
    let mut seen = HashSet::new();
    for sid in statements.iter().filter_map(|statement| text(statement, "Sid")).filter(|sid| !sid.is_empty()) {
        if !seen.insert(sid) {
            return Err(malformed("Statement IDs (SID) in a single policy must be unique."));
        }
        if !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(malformed(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression \
                 [0-9A-Za-z]*",
            ));
        }
    }
    Ok(())
}

fn check_actions(statement: &Statement) -> Result<(), AwsError> {
    for action in texts(statement, "Action").chain(texts(statement, "NotAction")).filter(|action| *action != "*") {
        let Some((vendor, rest)) = action.split_once(':') else {
            return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
        };
        if rest.contains(':') {
            return Err(malformed("Actions/Condition can contain only one colon."));
        }
        if vendor != "*" && !vendor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
            return Err(malformed(format!("Vendor {vendor} is not valid")));
        }
    }
    Ok(())
}

fn check_resource(resource: &str) -> Result<(), AwsError> {
    if resource == "*" {
        return Ok(());
    }
    let mut parts = resource.splitn(6, ':');
    let (arn, partition, vendor, region) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("arn" | "*"), Some(partition)) = (arn, partition) else {
        return Err(malformed(format!("Resource {resource} must be in ARN format or \"*\".")));
    };
    let rest = [vendor, region, parts.next(), parts.next()];
    if partition != "*" && !PARTITIONS.contains(&partition) {
        let [vendor, region, account, own] = rest.map(|part| part.unwrap_or("*"));
        return Err(malformed(format!(
            "Partition \"{partition}\" is not valid for resource \"arn:{partition}:{vendor}:{region}:{account}:{own}\"."
        )));
    }
    match rest {
        [None, ..] => Err(malformed("Resource vendor must be fully qualified and cannot contain regexes.")),
        [Some(""), ..] => Err(malformed(LEGACY)),
        [Some("iam"), Some(region), ..] if !region.is_empty() && region != "*" => {
            Err(malformed(format!("IAM resource {resource} cannot contain region information.")))
        }
        // Without all six parts it has to be at least free of empty ones.
        [.., None] if resource.contains("::") => Err(malformed(LEGACY)),
        _ => Ok(()),
    }
}

fn check_principals(statement: &Statement) -> Result<(), AwsError> {
    let Some(principal) = statement.get("Principal").or_else(|| statement.get("NotPrincipal")) else { return Ok(()) };
    let kinds = match principal {
        Value::String(all) if all == "*" => return Ok(()),
        Value::Object(kinds) if !kinds.is_empty() => kinds,
        _ => return Err(malformed(SYNTAX)),
    };
    for (kind, given) in kinds {
        if !["AWS", "Service", "Federated", "CanonicalUser"].contains(&kind.as_str()) {
            return Err(malformed(format!("Unknown field {kind}")));
        }
        let shaped = given.is_string() || given.as_array().is_some_and(|many| many.iter().all(Value::is_string));
        if !shaped {
            return Err(malformed(SYNTAX));
        }
        if let Some(invalid) = texts(kinds, kind).find(|id| !is_principal(kind, id)) {
            let kind = if kind == "Service" { "SERVICE" } else { kind };
            return Err(malformed(format!("Invalid principal in policy: \"{kind}\":\"{invalid}\"")));
        }
    }
    Ok(())
}

fn is_principal(kind: &str, id: &str) -> bool {
    match kind {
        "AWS" if id == "*" => true,
        "AWS" => {
            let account = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
            let unique = id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            let arn = id.strip_prefix("arn:").is_some_and(|rest| {
                let mut parts = rest.splitn(5, ':');
                let owner = (parts.next(), parts.next(), parts.next(), parts.next());
                let user = parts.next().is_some_and(|user| !user.is_empty() && !user.contains('*'));
                matches!(owner, (Some(_), Some("iam" | "sts"), Some(""), Some(account)) if !account.is_empty()) && user
            });
            account || unique || arn
        }
        "Service" => id.split_once('.').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty()),
        _ => !id.is_empty(),
    }
}

fn text<'a>(statement: &'a Statement, element: &str) -> Option<&'a str> {
    statement.get(element)?.as_str()
}

/// What an element has, whether it is a list or one alone.
fn texts<'a>(statement: &'a Statement, element: &str) -> impl Iterator<Item = &'a str> {
    let value = statement.get(element);
    let many = value.and_then(Value::as_array).into_iter().flatten();
    value.filter(|value| value.is_string()).into_iter().chain(many).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(checked: Result<(), AwsError>) -> String {
        checked.map_or_else(|error| error.message, |()| "taken".into())
    }

    #[test]
    fn permissions_are_taken_or_refused_in_iams_words() {
        let statement = |inside: &str| format!(r#"{{"Version":"2012-10-17","Statement":{inside}}}"#);
        let action = |action: &str| statement(&format!(r#"{{"Effect":"Allow","Action":{action},"Resource":"*"}}"#));
        let resource =
            |arn: &str| statement(&format!(r#"[{{"Effect":"Deny","NotAction":"s3:*","Resource":["*","{arn}"]}}]"#));
        for (document, expected) in [
            (action(r#""s3:Get*""#), "taken"),
            (action(r#"["*"]"#), "taken"),
            (resource("arn:aws:s3:::b/*"), "taken"),
            (resource("arn:*:lambda:*:*:function:f:$LATEST"), "taken"),
            ("{,}".into(), SYNTAX),
            ("[]".into(), SYNTAX),
            (statement("[]"), SYNTAX),
            (statement(r#"{"Action":"s3:*","Resource":"*"}"#), SYNTAX),
            (statement(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Extra":1}"#), SYNTAX),
            (statement(r#"{"Effect":"allow","Action":"s3:*","Resource":"*"}"#), LEGACY),
            (statement(r#"{"Effect":"Allow","Resource":"*"}"#), "Policy statement must contain actions."),
            (statement(r#"{"Effect":"Allow","Action":"s3:*"}"#), "Policy statement must contain resources."),
            (
                statement(r#"{"Effect":"Allow","Action":"s3:*","Resource":[]}"#),
                "Policy statement must contain resources.",
            ),
            (
                statement(r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#),
                "Policy document should not specify a principal.",
            ),
            (action(r#""getObject""#), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
            (action(r#""a:b:c""#), "Actions/Condition can contain only one colon."),
            (action(r#""a b:c""#), "Vendor a b is not valid"),
            (resource("bucket"), "Resource bucket must be in ARN format or \"*\"."),
            (resource("arn:nowhere:s3:::b"), "Partition \"nowhere\" is not valid for resource \"arn:nowhere:s3:::b\"."),
            (resource("arn:aws"), "Resource vendor must be fully qualified and cannot contain regexes."),
            (
                resource("arn:aws:iam:us-east-1:1:role/r"),
                "IAM resource arn:aws:iam:us-east-1:1:role/r cannot contain region information.",
            ),
            (
                r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#.into(),
                "Policy document must be version 2012-10-17 or greater.",
            ),
        ] {
            assert_eq!(words(check_managed(&document)), expected, "{document}");
        }
        check_inline(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#).unwrap();
    }

    #[test]
    fn trust_is_about_principals_and_has_no_resource() {
        let trust = |inside: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{inside}}}]}}"#);
        for (document, expected) in [
            (trust(r#""Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole""#), "taken"),
            (trust(r#""Principal":{"AWS":["*","111111111111"]},"Action":["sts:TagSession"]"#), "taken"),
            (trust(r#""Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"sts:AssumeRole""#), "taken"),
            ("{,}".into(), "This policy contains invalid Json"),
            (trust(r#""Action":"sts:AssumeRole""#), "Missing required field Principal"),
            (trust(r#""Principal":"*""#), "Missing required field Action"),
            (trust(r#""Principal":"*","Action":"sts:AssumeRole","Resource":"*""#), "Has prohibited field Resource"),
            (trust(r#""Principle":"*","Action":"sts:AssumeRole""#), "Unknown field Principle"),
            (trust(r#""Principal":"*","Action":"s3:*""#), "AssumeRole policy may only specify STS AssumeRole actions."),
            (
                trust(r#""Principal":{"AWS":"me"},"Action":"sts:AssumeRole""#),
                "Invalid principal in policy: \"AWS\":\"me\"",
            ),
            (
                trust(r#""Principal":{"Service":["lambda"]},"Action":"sts:AssumeRole""#),
                "Invalid principal in policy: \"SERVICE\":\"lambda\"",
            ),
        ] {
            assert_eq!(words(check_trust(&document)), expected, "{document}");
        }
    }

    #[test]
    fn white_space_does_not_count() {
        assert_eq!(measure(" {\n\t\"é\": 1 }\r"), 7);
        assert_eq!(encode("{\"a\": [\"*\"]}~"), "%7B%22a%22%3A%20%5B%22%2A%22%5D%7D~");
    }

    proptest! {
        #[test]
        fn no_document_panics(text in "\\PC{0,60}", inside in "[\\[\\]{}:,\"a-zA-Z*]{0,60}") {
            for document in [text, format!(r#"{{"Statement":{{"Effect":"Allow","Principal":{{{inside}}}}}"#)] {
                check_trust(&document).ok();
                check_managed(&document).ok();
            }
        }
    }
}
