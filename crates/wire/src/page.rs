//! Pagination tokens: where a listing goes on, sealed so that only we can read or write one.
//!
//! A token is bound to world, account, region and operation: carried elsewhere, it opens to nothing, just like one
//! that was altered or made up. A service answers that with its own invalid-token error. Tokens do not expire; what
//! they point at is looked up again on every page.

use base::Cx;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Salt};
use ring::hmac;

use crate::limits;

/// Seals and opens tokens under one key, which must outlive the process for its tokens to.
pub struct Pages {
    seal: LessSafeKey,
    nonce: hmac::Key,
}

#[derive(Debug, thiserror::Error)]
#[error("derive the keys of pagination tokens")]
pub struct PageKeyError;

struct Len32;

impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

impl Pages {
    pub fn new(key: &[u8; 32]) -> Result<Self, PageKeyError> {
        let root = Salt::new(HKDF_SHA256, b"pagination token").extract(key);
        let derive = |purpose: &[u8]| -> Result<[u8; 32], PageKeyError> {
            let mut bytes = [0; 32];
            let info = [purpose];
            root.expand(&info, Len32)
                .and_then(|key: hkdf::Okm<'_, _>| key.fill(&mut bytes))
                .map_err(|_| PageKeyError)?;
            Ok(bytes)
        };
        let seal = UnboundKey::new(&AES_256_GCM, &derive(b"seal")?).map_err(|_| PageKeyError)?;
        Ok(Self { seal: LessSafeKey::new(seal), nonce: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"nonce")?) })
    }

    /// A token for `position` in a listing of `operation` (`lambda:ListFunctions`). The same position gives the same
    /// token: the nonce is a keyed hash of what is sealed, so that no source of chance, seeded or not, can repeat one
    /// for different content.
    ///
    /// `None` if `position` is longer than [`limits::PAGE_BYTES_MAX`].
    pub fn seal(&self, cx: &Cx, operation: &str, position: &[u8]) -> Option<String> {
        if position.len() > limits::PAGE_BYTES_MAX {
            return None;
        }
        let binding = binding(cx, operation);
        let mut nonce = hmac::Context::with_key(&self.nonce);
        nonce.update(&(binding.len() as u64).to_le_bytes());
        nonce.update(binding.as_bytes());
        nonce.update(position);
        let nonce: [u8; NONCE_LEN] = nonce.sign().as_ref().first_chunk().copied()?;
        let mut sealed = position.to_vec();
        let tag = self.seal.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(binding.as_bytes()),
            &mut sealed,
        );
        let token = [&nonce, sealed.as_slice(), tag.ok()?.as_ref()].concat();
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// The position; `None` if we did not make this token for this account, region and operation.
    pub fn open(&self, cx: &Cx, operation: &str, token: &str) -> Option<Vec<u8>> {
        // Base64 spells three bytes with four.
        if token.len() > (limits::PAGE_BYTES_MAX + NONCE_LEN + AES_256_GCM.tag_len()).div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let aad = binding(cx, operation);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let position = self.seal.open_in_place(nonce, Aad::from(aad.as_bytes()), &mut sealed).ok()?;
        Some(position.to_vec())
    }
}

fn binding(cx: &Cx, operation: &str) -> String {
    format!("{}/{}/{}/{operation}", cx.world.0, cx.account, cx.region)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Chance, ManualClock, Principal, RequestId, Seeded};
    use proptest::prelude::*;

    use super::*;

    fn cx(account: &str, region: &str) -> Cx {
        let principal = Principal {
            account: account.parse().unwrap(),
            arn: format!("arn:aws:iam::{account}:root"),
            user_id: account.into(),
            access_key_id: None,
        };
        let chance = Arc::new(Seeded::new(1));
        let id = RequestId(chance.uuid());
        let clock = Arc::new(ManualClock::default());
        Cx::new(Arc::new(principal), region.parse().unwrap(), id, "http://localhost".into(), clock, chance)
    }

    #[test]
    fn a_token_opens_only_where_it_was_made() {
        let pages = Pages::new(&[7; 32]).unwrap();
        let here = cx("111111111111", "eu-west-1");
        let token = pages.seal(&here, "lambda:ListFunctions", b"k").unwrap();
        assert_eq!(pages.open(&here, "lambda:ListFunctions", &token).unwrap(), b"k");
        assert_eq!(pages.seal(&here, "lambda:ListFunctions", b"k").unwrap(), token);
        assert_eq!(pages.open(&here, "lambda:ListLayers", &token), None);
        assert_eq!(pages.open(&cx("222222222222", "eu-west-1"), "lambda:ListFunctions", &token), None);
        assert_eq!(pages.open(&cx("111111111111", "eu-west-2"), "lambda:ListFunctions", &token), None);
        assert_eq!(Pages::new(&[8; 32]).unwrap().open(&here, "lambda:ListFunctions", &token), None);
        assert_eq!(pages.seal(&here, "x", &[0; limits::PAGE_BYTES_MAX + 1]), None);
        assert!(
            pages
                .seal(&here, "x", &[0; limits::PAGE_BYTES_MAX])
                .is_some_and(|long| { pages.open(&here, "x", &long).is_some() })
        );
    }

    proptest! {
        #[test]
        fn altered_and_made_up_tokens_open_to_nothing(
            position in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), junk in "\\PC*",
        ) {
            let pages = Pages::new(&[7; 32]).unwrap();
            let cx = cx("111111111111", "eu-west-1");
            let token = pages.seal(&cx, "o", &position).unwrap();
            prop_assert_eq!(pages.open(&cx, "o", &token), Some(position));
            let mut altered = token.clone().into_bytes();
            let at = at.index(altered.len());
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(pages.open(&cx, "o", std::str::from_utf8(&altered).unwrap()), None);
            prop_assert_eq!(pages.open(&cx, "o", &junk), None);
        }
    }
}
