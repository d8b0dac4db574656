//! Who asks: the credential behind the key of a signature, and whether the signature must be right.

use std::sync::Arc;

use base::ports::{Authority, Credential};
use base::{AccountId, AwsError, Principal, Region, Timestamp};

use crate::sigv4::{AuthError, Body, Claim, Head, Rules, ScopeFault, Verified, Verifier};

/// Whom the server believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// On a developer's machine: a key that nobody has issued is as good as any, and stands for the account that it
    /// spells, or for account 000000000000. A key that was issued has to sign right all the same.
    Dev,
    /// Only issued keys, and only right signatures.
    Strict,
}

/// Who a request says it is from, with what is known of that.
pub(super) struct Caller {
    mode: Mode,
    claim: Option<Claim>,
    credential: Option<Credential>,
}

impl Caller {
    pub async fn look_up(authority: &dyn Authority, mode: Mode, claim: Option<Claim>) -> Result<Self, AwsError> {
        let credential = match &claim {
            Some(claim) => authority.credential(claim.scope.access_key_id()).await?,
            None => None,
        };
        Ok(Self { mode, claim, credential })
    }

    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Whether no body that may come can make this request count as signed.
    pub fn is_nobody(&self) -> bool {
        self.mode == Mode::Strict && self.credential.is_none()
    }

    /// Checks the signature where it counts; what it proved, if it was checked. `is_open` operations need none.
    pub fn verify(
        &self,
        verifier: &Verifier,
        head: &Head<'_>,
        body: Body,
        service: &str,
        is_open: bool,
        now: Timestamp,
    ) -> Result<Option<Verified>, AuthError> {
        match (&self.claim, &self.credential, self.mode) {
            (None, _, Mode::Strict) if !is_open => Err(AuthError::Missing),
            // What was mistyped must not become a region that was not meant.
            (Some(claim), None, Mode::Dev) if claim.scope.region().parse::<Region>().is_err() => {
                let region = Some(claim.scope.region().to_owned());
                Err(AuthError::Scope(Box::new(ScopeFault { region, ..ScopeFault::default() })))
            }
            (None, _, _) | (Some(_), None, Mode::Dev) => Ok(None),
            (Some(claim), credential, _) => {
                verifier.verify(claim, head, body, credential.as_ref(), &Rules { service, now }).map(Some)
            }
        }
    }

    pub fn principal(&self) -> Arc<Principal> {
        if let Some(credential) = &self.credential {
            return credential.principal.clone();
        }
        let access_key_id = self.claim.as_ref().map(|claim| claim.scope.access_key_id());
        let account = access_key_id.and_then(|key| key.parse().ok()).unwrap_or(AccountId::ZERO);
        Arc::new(Principal {
            account,
            arn: format!("arn:aws:iam::{account}:root"),
            user_id: account.to_string(),
            access_key_id: access_key_id.map(str::to_owned),
        })
    }

    /// The signature's region; else the one in a host name of AWS's form, such as `sqs.eu-west-1.amazonaws.com`.
    pub fn region(&self, host: &str) -> Region {
        let signed = self.claim.as_ref().and_then(|claim| claim.scope.region().parse().ok());
        signed.or_else(|| region_in(host)).unwrap_or_default()
    }
}

fn region_in(host: &str) -> Option<Region> {
    let (before, _) = host.split_once(".amazonaws.com").or_else(|| host.split_once(".localhost"))?;
    let (_, region) = before.rsplit_once('.')?;
    // `s3.amazonaws.com` and buckets with dots have none.
    let is_region = region.split('-').count() >= 3 && region.ends_with(|last: char| last.is_ascii_digit());
    region.parse().ok().filter(|_| is_region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_may_tell_the_region() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("lambda.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("lambda.us-gov-west-1.localhost.localstack.cloud:4566", Some("us-gov-west-1")),
            ("sts.amazonaws.com", None),
            ("my.bucket.s3.amazonaws.com", None),
            ("localhost:4566", None),
        ] {
            assert_eq!(region_in(host).as_ref().map(Region::as_str), region, "{host}");
        }
    }
}
