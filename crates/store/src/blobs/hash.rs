//! The name of a blob: the SHA-256 of its content.

use std::fmt;
use std::str::FromStr;

use base::hex;
use serde::{Deserialize, Serialize};

/// The SHA-256 of some content; prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash([u8; 32]);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("parse blob hash: it has exactly 64 lower-case hexadecimal digits")]
pub struct BlobHashError;

impl BlobHash {
    pub const BYTES: usize = 32;

    pub fn of(content: &[u8]) -> Self {
        Self::from_digest(&ring::digest::digest(&ring::digest::SHA256, content))
    }

    pub(super) fn from_digest(digest: &ring::digest::Digest) -> Self {
        let mut bytes = [0; Self::BYTES];
        // A SHA-256 digest has exactly this length.
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Which of 256 directories holds the blob.
    pub(super) fn shard(&self) -> u8 {
        let [first, ..] = self.0;
        first
    }
}

impl From<[u8; 32]> for BlobHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobHash {
    type Err = BlobHashError;

    fn from_str(text: &str) -> Result<Self, BlobHashError> {
        hex::decode(text.as_bytes()).map(Self).ok_or(BlobHashError)
    }
}

impl Serialize for BlobHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_print_and_read_back() {
        let hash = BlobHash::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(serde_json::from_str::<BlobHash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        for bad in ["", "ba", &text.to_uppercase(), &format!("{text}00"), &"é".repeat(32), &"../".repeat(22)] {
            assert!(bad.parse::<BlobHash>().is_err(), "{bad}");
        }
    }
}
