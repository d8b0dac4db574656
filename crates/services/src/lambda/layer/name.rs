//! Names of layers, in both forms that a caller may write them: the bare name, and the ARN.
//!
//! The pattern of the model has let only these through, so what is decided here is whose layer is meant.

use base::{AccountId, Arn, AwsError, Region};
use store::Scope;

use crate::Ctx;
use crate::lambda::errors;

/// A layer of any account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    pub account: AccountId,
    pub region: Region,
    pub name: String,
}

impl LayerRef {
    /// Reads a name, which is one of the caller's, or a layer's ARN.
    pub fn parse(ctx: &Ctx, text: &str) -> Result<Self, AwsError> {
        if !text.contains(':') {
            return Ok(Self { account: ctx.cx.account, region: ctx.cx.region.clone(), name: text.to_owned() });
        }
        match Self::split(text) {
            Some((layer, "")) => Ok(layer),
            _ => Err(errors::requested_resource_not_found()),
        }
    }

    /// Reads the ARN of a layer version. `None` for one of AWS's own, which have no account and are not here.
    pub fn parse_version(text: &str) -> Option<(Self, u64)> {
        let (layer, number) = Self::split(text)?;
        Some((layer, number.parse().ok()?))
    }

    /// A layer's or a version's ARN, and what is behind the name's colon.
    fn split(text: &str) -> Option<(Self, &str)> {
        let arn: Arn = text.parse().ok()?;
        let named = arn.resource.strip_prefix("layer:")?;
        let name_bytes = named.find(':').unwrap_or(named.len());
        let name = named.get(..name_bytes)?.to_owned();
        let version = match named.len() - name_bytes {
            0 => "",
            behind => text.get(text.len() - behind + 1..)?,
        };
        Some((Self { account: arn.account.parse().ok()?, region: arn.region.parse().ok()?, name }, version))
    }

    pub fn arn(&self) -> String {
        let Self { account, region, name } = self;
        format!("arn:{}:lambda:{region}:{account}:layer:{name}", region.partition())
    }

    pub fn version_arn(&self, number: impl std::fmt::Display) -> String {
        format!("{}:{number}", self.arn())
    }

    /// Where its records are: the owner's.
    pub fn scope(&self, ctx: &Ctx) -> Scope {
        Scope { world: ctx.cx.world, account: self.account, region: Some(self.region.clone()) }
    }

    pub fn is_in_account(&self, ctx: &Ctx) -> bool {
        self.account == ctx.cx.account
    }

    pub fn is_in_region(&self, ctx: &Ctx) -> bool {
        self.region == ctx.cx.region
    }

    /// Refuses what nobody may do to the layers of others, and what cannot be done from another region. `resource` is
    /// the ARN that a refusal names.
    pub fn check_own(&self, ctx: &Ctx, operation: &str, resource: &str) -> Result<(), AwsError> {
        match (self.is_in_account(ctx), self.is_in_region(ctx)) {
            (false, _) => Err(errors::not_authorized(ctx, operation, resource)),
            (true, false) => Err(errors::requested_resource_not_found()),
            (true, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "arn:aws:lambda:eu-west-1:111111111111:layer:l";

    #[test]
    fn an_arn_reads_back() {
        let (layer, version) = LayerRef::split(LAYER).unwrap();
        assert_eq!((layer.arn().as_str(), version), (LAYER, ""));
        let (layer, number) = LayerRef::parse_version(&format!("{LAYER}:12")).unwrap();
        assert_eq!((layer.name.as_str(), number), ("l", 12));
        assert_eq!(layer.version_arn(number), format!("{LAYER}:12"));
    }

    #[test]
    fn what_names_no_version_is_none() {
        let too_large = format!("{LAYER}:99999999999999999999");
        for text in [LAYER, &too_large, "arn:aws:lambda:::awslayer:AmazonLinux1703", "arn:aws:lambda:r:1:function:f:1"]
        {
            assert_eq!(LayerRef::parse_version(text), None, "{text}");
        }
    }
}
