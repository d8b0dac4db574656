//! The signature canonicaliser on any head: nothing panics, every refusal has an answer, and what we sign ourselves we
//! accept with our key and refuse with another. The input is a request in lines: method, path, query, host, then one
//! header a line: `cargo +nightly fuzz run sigv4_canonical corpus seeds/sigv4_canonical`.

#![no_main]

use base::ports::Credential;
use base::{AccountId, Principal, Secret, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use wire::sigv4::{Body, Family, Head, Payload, Rules, Signer, Verifier, normalised_path, parse, sign};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (method, path, query, host) = (text(), text(), text(), text());
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            headers.append(name, value);
        }
    }
    let head = Head { method, path, query, host, headers: &headers };
    let normal = normalised_path(path);
    assert_eq!(normalised_path(&normal), normal, "a normal path is its own");
    match parse(&head) {
        Err(error) => {
            for family in [Family::Json, Family::RestJson, Family::Query, Family::S3] {
                assert!((400..404).contains(&error.answer(family).status));
            }
        }
        Ok(Some(claim)) => {
            // Nobody has this key: the signature cannot be right.
            let body = if matches!(claim.payload, Payload::Streaming(_)) { Body::Streamed } else { Body::EMPTY };
            let rules = Rules { service: claim.scope.service(), now: claim.signed_at };
            assert!(Verifier::default().verify(&claim, &head, body, Some(&credential("nobody's")), &rules).is_err());
        }
        Ok(None) => round_trip(&head),
    }
});

/// An unsigned request that we sign.
fn round_trip(head: &Head<'_>) {
    for service in ["lambda", "s3"] {
        let secret = Secret::new("secret".to_owned());
        let signer = Signer {
            access_key_id: "AKID",
            secret_access_key: &secret,
            session_token: None,
            region: "us-east-1",
            service,
            now: NOW,
        };
        // What takes part in the signature is ours to set.
        let mut headers = head.headers.clone();
        for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "host"] {
            headers.remove(name);
        }
        let headers = sign(&signer, &Head { headers: &headers, ..*head }, EMPTY).expect("what it inserts are headers");
        let head = Head { headers: &headers, ..*head };
        let claim = parse(&head).expect("it was just signed").expect("it was just signed");
        let verify = |secret| {
            let rules = Rules { service, now: NOW };
            Verifier::default().verify(&claim, &head, Body::EMPTY, Some(&credential(secret)), &rules)
        };
        verify("secret").expect("what was signed verifies");
        assert!(verify("another").is_err());
    }
}

fn credential(secret: &str) -> Credential {
    let account = AccountId::ZERO;
    Credential {
        secret_access_key: Secret::new(secret.to_owned()),
        session_token: None,
        principal: Principal { account, arn: String::new(), user_id: String::new(), access_key_id: None }.into(),
    }
}
