//! What every operation stands on, and the context in which it runs.

use std::sync::Arc;

use base::Cx;
use store::{Blobs, Scope, Store, Vault};
use wire::page::Pages;

/// The parts of the platform that services use. One for the process.
pub struct Cloud {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
    /// Seals the positions that paginated lists hand out.
    pub pages: Pages,
    /// Signs the links under which code can be fetched.
    pub links: ring::hmac::Key,
}

/// The context of one operation: the request's, and the cloud's.
#[derive(Clone)]
pub struct Ctx {
    pub cx: Cx,
    pub cloud: Arc<Cloud>,
}

impl Ctx {
    /// Where this request's resources live: world, account and region.
    pub fn scope(&self) -> Scope {
        Scope::from(&self.cx)
    }
}
