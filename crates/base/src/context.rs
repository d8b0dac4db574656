//! The context of one request: who asks, where, when, and why. First argument of every operation.

use std::sync::Arc;

use crate::{AccountId, Cause, Chance, Clock, Listener, Region, RequestId, Timestamp, Uuid, World};

/// Who signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub account: AccountId,
    /// `arn:aws:iam::ACCOUNT:root`, a user, or an assumed role.
    pub arn: String,
    /// The unique id that STS shows as `UserId`.
    pub user_id: String,
    /// Absent for an unsigned request.
    pub access_key_id: Option<String>,
}

/// Everything that an operation may know of its request beyond its input. Time, identity and chance come from here
/// and nowhere else, so that a world can have its own clock and its own seed.
#[derive(Clone)]
pub struct Cx {
    pub world: World,
    pub account: AccountId,
    pub region: Region,
    pub principal: Arc<Principal>,
    pub request_id: RequestId,
    pub cause: Cause,
    /// `scheme://host:port` under which the client reached us, for the URLs that an answer carries.
    pub endpoint: Arc<str>,
    /// What the client said of the trace that the request is part of, as `X-Amzn-Trace-Id`.
    pub trace_header: Option<Arc<str>>,
    pub listener: Listener,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
}

impl Cx {
    /// The context of a request of `principal`'s in its own account.
    pub fn new(
        principal: Arc<Principal>,
        region: Region,
        request_id: RequestId,
        endpoint: Arc<str>,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
    ) -> Self {
        let account = principal.account;
        let cause = Cause::origin(request_id.0);
        let world = World::default();
        let (trace_header, listener) = (None, Listener::default());
        Self { world, account, region, principal, request_id, cause, endpoint, trace_header, listener, clock, chance }
    }

    /// The world's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh id.
    pub fn id(&self) -> Uuid {
        self.chance.uuid()
    }

    pub fn random(&self) -> &dyn Chance {
        &*self.chance
    }

    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE` in this account and region.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.region.partition(), self.region, self.account)
    }
}
