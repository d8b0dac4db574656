//! Signatures of the events that a client streams to us (`STREAMING-AWS4-HMAC-SHA256-EVENTS`).
//!
//! The client wraps every event in a frame with the headers `:date` and `:chunk-signature`, whose payload is the event
//! itself; a frame without a payload ends the stream. Each signature covers the one before it, so that events can
//! be neither dropped nor reordered. Framing and CRCs are the event stream codec's.

use base::Timestamp;
use ring::digest;

use super::verify::Verified;
use super::{AuthError, hex};

const ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";

/// The signatures of one stream, in order.
#[derive(Debug)]
pub struct Chain {
    head: Verified,
    previous: String,
}

impl Chain {
    pub fn new(head: Verified) -> Self {
        Self { previous: head.signature.clone(), head }
    }

    /// Whether `signature` (the value of `:chunk-signature`) is right for the next frame. After an error the stream is
    /// broken: nothing that follows will match.
    pub fn verify(&mut self, date: Timestamp, payload: &[u8], signature: &[u8]) -> Result<(), AuthError> {
        let text = self.string_to_sign(date, payload);
        let signature = hex::encode(signature);
        if !self.head.key.verify(text.as_bytes(), &signature) {
            return Err(AuthError::Mismatch(Box::new(super::error::Mismatch {
                access_key_id: self.head.scope.access_key_id().into(),
                signature,
                canonical_request: String::new(),
                string_to_sign: text,
            })));
        }
        self.previous = signature;
        Ok(())
    }

    fn string_to_sign(&self, date: Timestamp, payload: &[u8]) -> String {
        // The headers that are signed are `:date` alone, in the stream's own encoding: its name with a byte of length
        // before it, type 8, milliseconds.
        let mut headers = vec![5];
        headers.extend_from_slice(b":date\x08");
        headers.extend_from_slice(&date.as_millis().to_be_bytes());
        let sha256 = |bytes: &[u8]| hex::encode(digest::digest(&digest::SHA256, bytes).as_ref());
        let lines =
            [ALGORITHM, &date.basic(), self.head.scope.tail(), &self.previous, &sha256(&headers), &sha256(payload)];
        lines.join("\n")
    }
}
