//! Signing keys: derived from a secret for one day, region and service, and kept, since the derivation costs four
//! hashes and a client signs thousands of requests with the same.

use base::hex;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use ring::{digest, hmac};

use super::{Scope, TERMINATOR};
use crate::limits::SIGNING_KEYS_MAX;

/// A derived key, ready to sign. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SigningKey(Arc<hmac::Key>);

impl SigningKey {
    pub fn derive(secret: &str, scope: &Scope) -> Self {
        let step = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
        let date = step(["AWS4", secret].concat().as_bytes(), scope.date());
        let region = step(date.as_ref(), scope.region());
        let service = step(region.as_ref(), scope.service());
        let key = step(service.as_ref(), TERMINATOR);
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())))
    }

    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut signature = [0; 32];
        for (to, from) in signature.iter_mut().zip(hmac::sign(&self.0, text).as_ref()) {
            *to = *from;
        }
        signature
    }

    /// In hex, as requests carry it.
    pub fn sign_hex(&self, text: &[u8]) -> String {
        hex::encode(&self.sign(text))
    }

    /// Whether `signature` is that of `text`. Takes the same time wherever they differ.
    pub fn verify(&self, text: &[u8], signature: &str) -> bool {
        hex::decode::<32>(signature.as_bytes()).is_some_and(|signature| hmac::verify(&self.0, text, &signature).is_ok())
    }
}

/// Keys that have verified a request. Two generations: lookups find both, new keys go to the young one, and when that
/// is full it becomes the old one, whose keys are dropped. So memory is bounded and what is in use stays.
#[derive(Default)]
pub struct KeyCache(RwLock<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Scope, Entry>,
    old: HashMap<Scope, Entry>,
}

#[derive(Clone)]
struct Entry {
    /// Hash of the secret: a key id may get a new secret, and its keys must not outlive the old one.
    secret: Fingerprint,
    key: SigningKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl KeyCache {
    /// The key, and whether it came from the cache.
    pub fn key(&self, secret: &str, scope: &Scope) -> (SigningKey, bool) {
        let fingerprint = Fingerprint::of(secret);
        let generations = self.0.read();
        let young = generations.young.get(scope);
        let found = young.or_else(|| generations.old.get(scope)).filter(|entry| entry.secret == fingerprint);
        match found {
            // One of the old generation is worth keeping: `keep` moves it.
            Some(entry) => (entry.key.clone(), young.is_some()),
            None => (SigningKey::derive(secret, scope), false),
        }
    }

    /// Keeps a key that has verified a request; others' attempts must not push out what is in use.
    pub fn keep(&self, secret: &str, scope: &Scope, key: &SigningKey) {
        let mut generations = self.0.write();
        if generations.young.len() >= SIGNING_KEYS_MAX {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(scope.clone(), Entry { secret: Fingerprint::of(secret), key: key.clone() });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let generations = self.0.read();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(service: &str) -> Scope {
        Scope::new("AKIDEXAMPLE", "20150830", "us-east-1", service)
    }

    /// The example of AWS's documentation.
    #[test]
    fn the_derivation_is_that_of_aws() {
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &scope("iam"));
        let text = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                    f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert_eq!(key.sign_hex(text.as_bytes()), signature);
        assert!(key.verify(text.as_bytes(), signature));
        assert!(!key.verify(text.as_bytes(), &signature.replace('5', "6")));
        assert!(!key.verify(text.as_bytes(), &signature.to_uppercase()));
        assert!(!key.verify(text.as_bytes(), ""));
    }

    #[test]
    fn a_new_secret_is_not_served_an_old_key() {
        let cache = KeyCache::default();
        let (key, known) = cache.key("old", &scope("sts"));
        assert!(!known);
        cache.keep("old", &scope("sts"), &key);
        assert!(cache.key("old", &scope("sts")).1);
        let (fresh, known) = cache.key("new", &scope("sts"));
        assert!(!known);
        assert_ne!(fresh.sign(b"x"), key.sign(b"x"));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = KeyCache::default();
        let used = scope("used");
        for index in 0..3 * SIGNING_KEYS_MAX {
            let (key, young) = cache.key("s", &used);
            if !young {
                cache.keep("s", &used, &key);
            }
            let other = scope(&index.to_string());
            cache.keep("s", &other, &key);
            assert!(cache.len() <= 2 * SIGNING_KEYS_MAX);
        }
        assert!(cache.0.read().young.contains_key(&used) || cache.0.read().old.contains_key(&used));
    }
}
