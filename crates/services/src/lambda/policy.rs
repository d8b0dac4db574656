//! Resource policies: who else may do what with a function, a version, an alias or a layer version.
//!
//! A pure core, shared by functions and layers: each keeps an `Option<Policy>` in or beside its record and changes it
//! in its own commits. A policy without statements does not exist. What is stored is the document as AWS shows it.
//!
//! Statements of AddPermission and AddLayerVersionPermission are put together here, their conditions in the order in
//! which AWS lists them. Not there yet: whether a principal exists, and what a policy grants beyond
//! [`Policy::grants`].

mod grant;

use base::{AwsError, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::errors;

pub use grant::Source;

/// Lambda's quota for a policy as it is shown: 20 KB.
pub const POLICY_BYTES_MAX: usize = 20 * 1024;

/// The language version of the policies that permissions are added to.
const VERSION: &str = "2012-10-17";
const ID: &str = "default";
/// What IAM takes in the name of a principal that is not an ARN.
const PRINCIPAL_EXPRESSION: &str = "[\\w+=,.@-]*";

/// The policy of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    document: Document,
    /// Moves with every change.
    pub revision: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    statement: Vec<Statement>,
}

/// A statement with its members in the order in which they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statement(Map<String, Value>);

/// What a permission is granted under. Absent members are no conditions.
#[derive(Debug, Default)]
pub struct Conditions {
    pub event_source_token: Option<String>,
    pub source_account: Option<String>,
    pub function_url_auth_type: Option<String>,
    pub principal_org_id: Option<String>,
    pub invoked_via_function_url: Option<bool>,
    pub source_arn: Option<String>,
}

/// Whom a permission is granted to, as a policy names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal(Value);

impl Policy {
    /// `policy` with one statement more; the first makes a policy. The statement's id must be new to it.
    pub fn with(policy: Option<Self>, statement: Statement, revision: Uuid) -> Result<Self, AwsError> {
        let mut document = policy.map_or_else(Document::default, |policy| policy.document);
        if let Some(sid) = statement.sid()
            && document.statement.iter().any(|other| other.sid() == Some(sid))
        {
            return Err(errors::statement_exists(sid));
        }
        document.statement.push(statement);
        let policy = Self { document, revision };
        match policy.to_json().len() {
            bytes if bytes > POLICY_BYTES_MAX => Err(errors::policy_too_long(bytes, POLICY_BYTES_MAX)),
            _ => Ok(policy),
        }
    }

    /// The policy without the statement of this id; nothing when it was the last.
    pub fn without(mut self, sid: &str, revision: Uuid) -> Result<Option<Self>, AwsError> {
        let statements = &mut self.document.statement;
        let before = statements.len();
        statements.retain(|statement| statement.sid() != Some(sid));
        if statements.len() == before {
            return Err(errors::statement_not_found(sid));
        }
        self.revision = revision;
        Ok(Some(self).filter(|policy| !policy.document.statement.is_empty()))
    }

    /// A whole policy as a client wrote it, about `function` or what lies below it.
    pub fn parse(text: &str, function: &str, revision: Uuid) -> Result<Self, AwsError> {
        let document = Document::parse(text).ok_or_else(errors::malformed_policy)?;
        if document.statement.iter().any(|statement| !statement.is_about(function)) {
            return Err(errors::policy_of_other_resource(function));
        }
        let policy = Self { document, revision };
        match policy.to_json().len() {
            bytes if bytes > POLICY_BYTES_MAX => Err(errors::policy_too_long(bytes, POLICY_BYTES_MAX)),
            _ => Ok(policy),
        }
    }

    /// The document, as AWS shows it.
    pub fn to_json(&self) -> String {
        // A document is made of strings and JSON alone, which always write.
        serde_json::to_string(&self.document).unwrap_or_default()
    }
}

impl Default for Document {
    fn default() -> Self {
        Self { version: VERSION.into(), id: Some(ID.into()), statement: Vec::new() }
    }
}

impl Document {
    /// `None` for what is no policy: no JSON, no statement, or a statement without what each one has.
    fn parse(text: &str) -> Option<Self> {
        let mut document: Map<String, Value> = serde_json::from_str(text).ok()?;
        let text_of = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let version = document.remove("Version").map_or_else(|| Some("2008-10-17".into()), text_of)?;
        let id = document.remove("Id").map(text_of);
        let statement = match document.remove("Statement")? {
            Value::Array(statements) => statements.into_iter().map(Statement::parse).collect::<Option<_>>()?,
            statement => vec![Statement::parse(statement)?],
        };
        let is_whole = document.is_empty() && ["2008-10-17", VERSION].contains(&version.as_str());
        let id = match id {
            None => None,
            Some(id) => Some(id?),
        };
        let unique = |statements: &[Statement]| {
            let mut sids: Vec<_> = statements.iter().filter_map(Statement::sid).collect();
            sids.sort_unstable();
            sids.windows(2).all(|pair| pair.first() != pair.last())
        };
        let document = Self { version, id, statement };
        (is_whole && !document.statement.is_empty() && unique(&document.statement)).then_some(document)
    }
}

impl Statement {
    /// Allows `principal` to do `action` to `resource`.
    pub fn allow(sid: &str, principal: Principal, action: &str, resource: &str, conditions: Conditions) -> Self {
        let text = |text: &str| Some(Value::from(text));
        Self(members([
            ("Sid", text(sid)),
            ("Effect", text("Allow")),
            ("Principal", Some(principal.0)),
            ("Action", text(action)),
            ("Resource", text(resource)),
            ("Condition", conditions.render()),
        ]))
    }

    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    fn sid(&self) -> Option<&str> {
        self.0.get("Sid")?.as_str()
    }

    fn parse(value: Value) -> Option<Self> {
        const MEMBERS: [&str; 9] = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        let Value::Object(members) = value else { return None };
        let one_of = |one: &str, other: &str| members.contains_key(one) != members.contains_key(other);
        let is_whole = members.keys().all(|name| MEMBERS.contains(&name.as_str()))
            && matches!(members.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny"))
            && members.get("Sid").is_none_or(Value::is_string)
            && members.get("Condition").is_none_or(Value::is_object)
            && one_of("Principal", "NotPrincipal")
            && one_of("Action", "NotAction")
            && one_of("Resource", "NotResource");
        is_whole.then_some(Self(members))
    }

    /// Whether its resources are `function`, its versions and aliases, or patterns of them.
    fn is_about(&self, function: &str) -> bool {
        let names = |value: &Value| {
            let below = |rest: &str| rest.is_empty() || rest.starts_with([':', '*']);
            value.as_str().is_some_and(|text| text == "*" || text.strip_prefix(function).is_some_and(below))
        };
        match self.0.get("Resource") {
            Some(Value::Array(resources)) => resources.iter().all(names),
            Some(resource) => names(resource),
            None => true,
        }
    }
}

impl Conditions {
    fn render(self) -> Option<Value> {
        let text = |text: Option<String>| text.map(Value::from);
        let object = |members: Map<String, Value>| (!members.is_empty()).then_some(Value::Object(members));
        let equals = members([
            ("lambda:EventSourceToken", text(self.event_source_token)),
            ("AWS:SourceAccount", text(self.source_account)),
            ("lambda:FunctionUrlAuthType", text(self.function_url_auth_type)),
            ("aws:PrincipalOrgID", text(self.principal_org_id)),
        ]);
        let via_url = self.invoked_via_function_url.map(|via| via.to_string());
        let boolean = members([("lambda:InvokedViaFunctionUrl", text(via_url))]);
        let like = members([("AWS:SourceArn", text(self.source_arn))]);
        object(members([("StringEquals", object(equals)), ("Bool", object(boolean)), ("ArnLike", object(like))]))
    }
}

impl Principal {
    /// As AddPermission takes it: everybody, an account, a user or role, or a service.
    pub fn parse(text: &str, partition: &str) -> Result<Self, AwsError> {
        let aws = |arn: String| Self(Value::Object(members([("AWS", Some(arn.into()))])));
        if text == "*" {
            return Ok(Self(text.into()));
        }
        if is_account(text) {
            return Ok(aws(format!("arn:{partition}:iam::{text}:root")));
        }
        if is_identity(text) {
            return Ok(aws(text.into()));
        }
        if is_service(text) {
            return Ok(Self(Value::Object(members([("Service", Some(text.into()))]))));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        match text.chars().all(is_name) {
            true => Err(errors::invalid_principal()),
            false => Err(errors::invalid_parameter(format!(
                "The provided input'{text}'was invalid. Member must satisfy expression: {PRINCIPAL_EXPRESSION} \
                 Please check your input and try again."
            ))),
        }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// The ARN of an account, a user, a role, or a session of one. Groups are no principals.
fn is_identity(text: &str) -> bool {
    let Ok(arn) = text.parse::<base::Arn>() else { return false };
    let kinds: &[&str] = match arn.service.as_str() {
        "iam" => &["user/", "role/"],
        "sts" => &["assumed-role/", "federated-user/"],
        _ => return false,
    };
    let is_one = |kind: &&str| arn.resource.strip_prefix(*kind).is_some_and(|name| !name.is_empty());
    let is_root = arn.service == "iam" && arn.resource == "root";
    arn.region.is_empty() && is_account(&arn.account) && (is_root || kinds.iter().any(is_one))
}

/// `s3.amazonaws.com`, in any partition, or one of Alexa's.
fn is_service(text: &str) -> bool {
    let name = [".amazonaws.com", ".amazonaws.com.cn", ".amazon.com"].iter().find_map(|end| text.strip_suffix(end));
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_label))
}

/// An object of the members that are there, in their order.
fn members<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
    const REVISION: Uuid = Uuid::NIL;

    fn statement(sid: &str, conditions: Conditions) -> Statement {
        let principal = Principal::parse("s3.amazonaws.com", "aws").unwrap();
        Statement::allow(sid, principal, "lambda:InvokeFunction", FUNCTION, conditions)
    }

    fn plain(sid: &str) -> Statement {
        statement(sid, Conditions::default())
    }

    #[test]
    fn a_policy_is_shown_as_aws_shows_it() {
        let policy = Policy::with(None, plain("s3"), REVISION).unwrap();
        assert_eq!(
            policy.to_json(),
            r#"{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"s3","Effect":"Allow","#.to_owned()
                + r#""Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","#
                + &format!(r#""Resource":"{FUNCTION}"}}]}}"#)
        );
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
    }

    #[test]
    fn conditions_come_in_the_order_of_aws() {
        let all = Conditions {
            event_source_token: Some("amzn1.ask.skill.x".into()),
            source_account: Some("111111111111".into()),
            function_url_auth_type: Some("NONE".into()),
            principal_org_id: Some("o-1234567890".into()),
            invoked_via_function_url: Some(true),
            source_arn: Some("arn:aws:s3:::b".into()),
        };
        let shown = statement("all", all).to_json();
        let conditions = shown.split_once(r#""Condition":"#).unwrap().1;
        assert_eq!(
            conditions,
            r#"{"StringEquals":{"lambda:EventSourceToken":"amzn1.ask.skill.x","AWS:SourceAccount":"111111111111","#
                .to_owned()
                + r#""lambda:FunctionUrlAuthType":"NONE","aws:PrincipalOrgID":"o-1234567890"},"#
                + r#""Bool":{"lambda:InvokedViaFunctionUrl":"true"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}"#
        );
    }

    #[test]
    fn principals_are_named_as_policies_name_them() {
        let named = |text: &str| Principal::parse(text, "aws").map(|Principal(value)| value.to_string());
        let named = |text: &str| named(text).map_err(|error| error.message);
        assert_eq!(named("*").unwrap(), r#""*""#);
        assert_eq!(named("111111111111").unwrap(), r#"{"AWS":"arn:aws:iam::111111111111:root"}"#);
        for identity in ["iam::111111111111:root", "iam::111111111111:role/a/b", "sts::111111111111:assumed-role/r/s"] {
            let arn = format!("arn:aws:{identity}");
            assert_eq!(named(&arn).unwrap(), format!(r#"{{"AWS":"{arn}"}}"#));
        }
        for service in ["logs.us-east-1.amazonaws.com", "alexa-appkit.amazon.com"] {
            assert_eq!(named(service).unwrap(), format!(r#"{{"Service":"{service}"}}"#));
        }
        for nobody in ["invalid.nonaws.com", "amazonaws.com", "somebody", ""] {
            let refused = "The provided principal was invalid. Please check the principal and try again.";
            assert_eq!(named(nobody).unwrap_err(), refused, "{nobody}");
        }
        for nonsense in ["arn:aws:iam:111111111111:role/r", "arn:aws:iam::111111111111:group/g", "arn:aws:s3:::b"] {
            let refused = named(nonsense).unwrap_err();
            assert!(refused.starts_with(&format!("The provided input'{nonsense}'was invalid.")), "{refused}");
        }
    }

    #[test]
    fn statements_come_and_go_by_their_ids() {
        let policy = Policy::with(None, plain("a"), REVISION).unwrap();
        let policy = Policy::with(Some(policy), plain("b"), REVISION).unwrap();
        let refused = Policy::with(Some(policy.clone()), plain("a"), REVISION).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (409, "ResourceConflictException"));
        assert_eq!(policy.clone().without("c", REVISION).unwrap_err().code, "ResourceNotFoundException");
        let policy = policy.without("a", REVISION).unwrap().unwrap();
        assert_eq!(policy, Policy::with(None, plain("b"), REVISION).unwrap());
        assert_eq!(policy.without("b", REVISION).unwrap(), None);
    }

    #[test]
    fn a_policy_grows_up_to_and_with_20_kb() {
        let one = Policy::with(None, plain(""), REVISION).unwrap();
        let room = POLICY_BYTES_MAX - one.to_json().len();
        let filled = |bytes: usize| Policy::with(None, plain(&"s".repeat(bytes)), REVISION);
        assert_eq!(filled(room).unwrap().to_json().len(), POLICY_BYTES_MAX);
        let refused = filled(room + 1).unwrap_err();
        assert_eq!(refused.code, "PolicyLengthExceededException");
        assert_eq!(refused.message, "The final policy size (20481) is bigger than the limit (20480).");
    }

    #[test]
    fn whole_policies_are_taken_as_they_are_written() {
        let parse = |text: &str| Policy::parse(text, FUNCTION, REVISION).map(|policy| policy.to_json());
        let deny = format!(
            r#"{{"Effect":"Deny","Principal":"*","Action":["lambda:*"],"Resource":["{FUNCTION}","{FUNCTION}:*"]}}"#
        );
        let single = format!(r#"{{"Version":"2012-10-17","Statement":{deny}}}"#);
        assert_eq!(parse(&single).unwrap(), format!(r#"{{"Version":"2012-10-17","Statement":[{deny}]}}"#));
        let of_another = single.replace(FUNCTION, &format!("{FUNCTION}2"));
        for refused in ["", "[]", "{}", r#"{"Statement":[]}"#, &single.replace("Deny", "Maybe"), &of_another] {
            assert_eq!(parse(refused).unwrap_err().code, "InvalidParameterValueException", "{refused}");
        }
    }
}
