//! Why something happens: the thread from an origin through queues, streams and retries.

use serde::{Deserialize, Serialize};

use crate::Uuid;

/// Carried by every invocation and delivery, and in the stored record of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The same for all that one origin set going.
    pub trace: Uuid,
    /// The request or event that caused this one; nil at the origin.
    pub parent: Uuid,
    /// How many causes lie between this and the origin.
    pub hop: u16,
}

impl Cause {
    /// The start of a chain: a request from outside.
    pub fn origin(trace: Uuid) -> Self {
        Self { trace, parent: Uuid::NIL, hop: 0 }
    }

    /// What `parent`, itself caused by this, sets going next.
    pub fn next(self, parent: Uuid) -> Self {
        Self { trace: self.trace, parent, hop: self.hop.saturating_add(1) }
    }
}
