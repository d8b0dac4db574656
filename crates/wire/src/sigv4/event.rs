//! Signatures of the events that a client streams to us (`STREAMING-AWS4-HMAC-SHA256-EVENTS`).
//!
//! The client wraps every event in a frame with the headers `:date` and `:chunk-signature`, whose payload is the event
//! itself; a frame without a payload ends the stream. Each signature covers the one before it, so that events can
//! be neither dropped nor reordered. Framing and CRCs are the event stream codec's. Not there yet: a stream that goes
//! on past midnight, whose signing key changes with the day.

use base::{Timestamp, hex};
use ring::digest;

use super::AuthError;
use super::verify::Verified;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::{Scope, SigningKey};

    fn chain() -> Chain {
        let scope = Scope::new("AKID", "19731129", "us-east-1", "testservice");
        Chain::new(Verified {
            key: SigningKey::derive("secret", &scope),
            scope,
            signed_at_text: "19731129T213309Z".into(),
            signature: hex::encode(digest::digest(&digest::SHA256, b"last message sts").as_ref()),
        })
    }

    /// A message with the header `some-header: value` and the payload `test payload`, in the stream's encoding.
    const MESSAGE: &[u8] =
        b"\0\0\0\x30\0\0\0\x14\xde\xd9\xb3\x92\x0bsome-header\x07\0\x05valuetest payload\x3e\x89\xb9\x24";

    /// The string to sign is that of AWS's SDK for Rust in its own test.
    #[test]
    fn an_event_is_signed_as_the_sdk_does() {
        let text = chain().string_to_sign(Timestamp::from_secs(123_456_789), MESSAGE);
        let lines = [
            "AWS4-HMAC-SHA256-PAYLOAD",
            "19731129T213309Z",
            "19731129/us-east-1/testservice/aws4_request",
            "be1f8c7d79ef8e1abc5254a2c70e4da3bfaf4f07328f527444e1fc6ea67273e2",
            "0c0e3b3bf66b59b976181bd7d401927bbd624107303c713fd1e5f3d3c8dd1b1e",
            "f2eba0f2e95967ee9fbc6db5e678d2fd599229c0d04b11e4fc8e0f2a02a806c6",
        ];
        assert_eq!(text, lines.join("\n"));
    }

    #[test]
    fn events_come_in_order_and_whole() {
        let date = Timestamp::from_secs(123_456_789);
        let mut signer = chain();
        let mut sign = |payload: &[u8]| {
            let signature = signer.head.key.sign(signer.string_to_sign(date, payload).as_bytes());
            signer.verify(date, payload, &signature).unwrap();
            signature
        };
        let (first, second, last) = (sign(b"one"), sign(b"two"), sign(b""));
        let mut chain = chain();
        assert!(chain.verify(date, b"two", &second).is_err(), "out of order");
        assert!(chain.verify(date, b"One", &first).is_err(), "another payload");
        assert!(chain.verify(Timestamp::from_secs(123_456_790), b"one", &first).is_err(), "another date");
        chain.verify(date, b"one", &first).unwrap();
        assert!(chain.verify(date, b"", &last).is_err(), "one left out");
        chain.verify(date, b"two", &second).unwrap();
        chain.verify(date, b"", &last).unwrap();
    }
}
