//! Receipt handles: which message was received, and which time it was. Sealed, so nobody makes one up.

use base::Uuid;
use engine::queue::Seq;

use super::queue::Found;

const OPERATION: &str = "sqs:ReceiptHandle";

/// What a receipt handle says.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub seq: Seq,
    pub receives: u32,
}

pub fn seal(found: &Found, seq: Seq, receives: u32) -> String {
    let key = (found.queue.incarnation, seq, receives);
    found.ctx.marker::<(Uuid, Seq, u32)>(OPERATION, Some(&key)).unwrap_or_default()
}

/// What a handle says that this queue gave out.
pub fn open(found: &Found, handle: &str) -> Option<Receipt> {
    let (incarnation, seq, receives) = found.ctx.position::<(Uuid, Seq, u32)>(OPERATION, handle)?;
    (incarnation == found.queue.incarnation).then_some(Receipt { seq, receives })
}
