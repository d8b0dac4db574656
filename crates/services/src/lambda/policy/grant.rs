//! What a policy lets somebody do.

use super::{Policy, Statement};
use crate::grant::{self, Ask, Members};

pub use crate::grant::Source;

impl Policy {
    /// Whether the policy lets `caller` do `action` with `resource`.
    pub fn grants(&self, action: &str, resource: &str, partition: &str, caller: &base::Principal) -> bool {
        grant::to_caller(self.statements(), Ask { action, resource }, partition, caller)
    }

    /// Whether the policy lets a service do `action` with `resource` on somebody's behalf.
    pub fn grants_service(&self, action: &str, resource: &str, by: &Source<'_>) -> bool {
        grant::to_service(self.statements(), Ask { action, resource }, by)
    }

    fn statements(&self) -> impl Iterator<Item = &Members> + Clone {
        self.document.statement.iter().map(|Statement(members)| members)
    }
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
