//! The managed policies that AWS has made and every account can attach.
//!
//! `aws_managed.tsv` is a table of facts: name, path, default version, when made, when last changed, document. It has
//! the policies that functions and the services around them are used with, and those of service-linked roles; a
//! policy that it lacks does not exist here. Of each there is the default version alone, and the unique id is ours.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::LazyLock;

use base::Timestamp;

use super::name;
use crate::Ctx;

/// What stands for the account in the ARNs of such policies.
pub const OWNER: &str = "aws";
/// Below it are service-linked roles, and it is the path of the policies that they alone have.
pub const SERVICE_ROLE_PATH: &str = "/aws-service-role/";

static TABLE: LazyLock<BTreeMap<String, AwsManaged>> = LazyLock::new(|| {
    let lines = include_str!("aws_managed.tsv").lines();
    lines.filter_map(AwsManaged::parse).map(|policy| (name::key(policy.name), policy)).collect()
});

#[derive(Debug, Clone, Copy)]
pub struct AwsManaged {
    pub name: &'static str,
    pub path: &'static str,
    /// Such as `v3`.
    pub version: &'static str,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub document: &'static str,
}

impl AwsManaged {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            name: fields.next()?,
            path: fields.next()?,
            version: fields.next()?,
            created: Timestamp::parse_iso8601(fields.next()?).ok()?,
            updated: Timestamp::parse_iso8601(fields.next()?).ok()?,
            document: fields.next()?,
        })
    }

    /// The policy of that name, whatever its path.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLE.get(&name::key(name))
    }

    /// Every policy behind that key, in the order of their keys.
    pub fn behind(key: &str) -> impl Iterator<Item = &'static Self> {
        TABLE.range::<str, _>((Bound::Excluded(key), Bound::Unbounded)).map(|(_, policy)| policy)
    }

    /// Whether it is for service-linked roles alone.
    pub fn is_for_services(&self) -> bool {
        self.path == SERVICE_ROLE_PATH
    }

    pub fn id(&self) -> String {
        name::settled_id(name::POLICY_ID, self.name)
    }

    pub fn arn(&self, ctx: &Ctx) -> String {
        format!("arn:{}:iam::{OWNER}:policy{}{}", ctx.cx.region.partition(), self.path, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn every_line_is_a_policy_whose_document_would_be_taken() {
        assert_eq!(TABLE.len(), include_str!("aws_managed.tsv").lines().count());
        for policy in TABLE.values() {
            assert!(policy.path.starts_with('/') && policy.path.ends_with('/'), "{}", policy.name);
            document::check_managed(policy.document).unwrap_or_else(|error| panic!("{}: {error}", policy.name));
        }
        let basic = AwsManaged::named("awslambdabasicexecutionrole").unwrap();
        assert_eq!((basic.path, basic.version), ("/service-role/", "v1"));
        assert!(basic.document.contains("logs:PutLogEvents"));
    }
}
