//! AES-256-GCM, as the vault uses it: a random nonce in front, and everything a ciphertext belongs to authenticated.

use base::{Chance, Secret};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

pub(super) const KEY_BYTES: usize = 32;
pub(super) const TAG_BYTES: usize = 16;
/// How much longer a ciphertext is than its plaintext.
pub(super) const OVERHEAD_BYTES: usize = NONCE_LEN + TAG_BYTES;

/// A key that is ready for use. Random nonces allow about 2^32 seals with one: a data key serves one owner and a
/// master key wraps data keys, so neither comes near.
pub(super) struct Cipher(LessSafeKey);

/// The ciphertext, its owner or its context is not what was sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("authenticate a sealed secret")]
pub struct Refused;

impl Cipher {
    pub(super) fn new(key: &Secret<[u8; KEY_BYTES]>) -> Result<Self, Refused> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Refused)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The nonce, the ciphertext and the tag.
    pub(super) fn seal(&self, chance: &dyn Chance, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut nonce = [0; NONCE_LEN];
        chance.fill(&mut nonce);
        let mut text = plaintext.to_vec();
        let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text);
        Ok([nonce.as_slice(), &text, tag.map_err(|_| Refused)?.as_ref()].concat())
    }

    pub(super) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, Refused> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| Refused)?.len();
        text.truncate(length);
        Ok(Secret::new(text))
    }
}

/// What a ciphertext belongs to, so that no two different lists of parts read the same.
pub(super) fn belonging(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [purpose.as_bytes()].iter().chain(parts) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use base::Seeded;
    use proptest::prelude::*;

    use super::*;

    fn cipher(byte: u8) -> Cipher {
        Cipher::new(&Secret::new([byte; KEY_BYTES])).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_nothing_else_does(
            text: Vec<u8>, aad: Vec<u8>, at: prop::sample::Index, bit in 0..8u8, noise: Vec<u8>,
        ) {
            let chance = Seeded::new(1);
            let sealed = cipher(1).seal(&chance, &aad, &text).unwrap();
            prop_assert_eq!(sealed.len(), text.len() + OVERHEAD_BYTES);
            prop_assert_eq!(cipher(1).open(&aad, &sealed).map(Secret::into_exposed), Ok(text));
            prop_assert_eq!(cipher(2).open(&aad, &sealed), Err(Refused));
            prop_assert_eq!(cipher(1).open(&[&aad, &b"x"[..]].concat(), &sealed), Err(Refused));
            let at = at.index(sealed.len());
            prop_assert_eq!(cipher(1).open(&aad, &sealed[..at]), Err(Refused));
            let mut flipped = sealed;
            flipped[at] ^= 1 << bit;
            prop_assert_eq!(cipher(1).open(&aad, &flipped), Err(Refused));
            prop_assert_eq!(cipher(1).open(&aad, &noise), Err(Refused));
        }
    }

    #[test]
    fn belongings_do_not_run_into_each_other() {
        assert_ne!(belonging("p", &[b"ab", b"c"]), belonging("p", &[b"a", b"bc"]));
        assert_ne!(belonging("p", &[b"a"]), belonging("p", &[b"a", b""]));
    }
}
