//! Identifiers, parsed once at the edge; holding one is proof that it is well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Uuid;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    #[error("parse account id {0:?}: it has exactly 12 digits")]
    Account(String),
    #[error("parse region {0:?}: it has 1 to 32 lower-case letters, digits and hyphens")]
    Region(String),
}

/// A copy of the whole cloud. People use world 0; every stored key begins with one (`docs/decisions/0003`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct World(pub u32);

/// Twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 12]);

impl AccountId {
    pub const ZERO: Self = Self([b'0'; 12]);

    pub fn as_str(&self) -> &str {
        // The constructor admits ASCII digits only, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match <[u8; 12]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(Self(digits)),
            _ => Err(IdError::Account(text.into())),
        }
    }
}

/// A region name. Any well-formed name works; each is a separate world of resources.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Box<str>);

impl Region {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that AWS has the region in; unknown regions are in `aws`.
    pub fn partition(&self) -> &'static str {
        match self.0.get(..3) {
            Some("cn-") => "aws-cn",
            _ if self.0.starts_with("us-gov-") => "aws-us-gov",
            _ if self.0.starts_with("us-isob-") => "aws-iso-b",
            _ if self.0.starts_with("us-iso-") => "aws-iso",
            _ if self.0.starts_with("eusc-") => "aws-eusc",
            _ => "aws",
        }
    }
}

impl Default for Region {
    fn default() -> Self {
        Self("us-east-1".into())
    }
}

impl FromStr for Region {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Region(text.into()))
        }
    }
}

/// The id of one request, as AWS prints it: a lower-case UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub Uuid);

macro_rules! text_form {
    ($type:ty, $self:ident => $text:expr) => {
        impl fmt::Display for $type {
            fn fmt(&$self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&$self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&$self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(AccountId, self => self.as_str());
text_form!(Region, self => self.as_str());

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_twelve_digits() {
        assert_eq!("123456789012".parse::<AccountId>().unwrap().as_str(), "123456789012");
        for bad in ["", "12345678901", "1234567890123", "12345678901a", "１２３４"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn regions_know_their_partition() {
        let partition = |name: &str| name.parse::<Region>().unwrap().partition();
        assert_eq!(partition("eu-central-1"), "aws");
        assert_eq!(partition("cn-north-1"), "aws-cn");
        assert_eq!(partition("us-gov-west-1"), "aws-us-gov");
        assert_eq!(partition("lamp"), "aws");
        for bad in ["", "EU-1", "a b", "../x", "é"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }
}
