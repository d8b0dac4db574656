//! What it costs to verify a signature: `cargo run --release -p wire --example sigv4_bench`.
//!
//! A request as an SDK sends it to Lambda with a body of two bytes, whose signing key is known, parsed and verified
//! over and over on one thread. Prints nanoseconds for each step; a parse includes finding the authorisation.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use base::ports::Credential;
use base::{AccountId, Principal, Secret, Timestamp};
use http::header::{HeaderMap, HeaderValue};
use wire::sigv4::{AuthError, Body, Head, Rules, Signer, Verifier, parse, sign};

const ROUNDS: u32 = 200_000;
/// SHA-256 of `{}`.
const HASH: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure() -> Result<(), AuthError> {
    let now = Timestamp::from_secs(1_767_225_600);
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("amz-sdk-invocation-id", "a3c1d1f0-6f0e-4d52-9d3b-3f0e4d529d3b"),
        ("amz-sdk-request", "attempt=1"),
        ("user-agent", "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 lang/python#3.11"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let path = "/2015-03-31/functions/hello/invocations";
    let head = Head { method: "POST", path, query: "", host: "localhost:4566", headers: &headers };
    let signer = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: &secret,
        session_token: None,
        region: "us-east-1",
        service: "lambda",
        now,
    };
    let headers = sign(&signer, &head, HASH).map_err(|_| AuthError::Missing)?;
    let head = Head { headers: &headers, ..head };
    let principal =
        Principal { account: AccountId::ZERO, arn: String::new(), user_id: String::new(), access_key_id: None };
    let credential = Credential { secret_access_key: secret, session_token: None, principal: principal.into() };
    let rules = Rules { service: "lambda", now };

    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(parse(black_box(&head))?);
    }
    let parsing = started.elapsed() / ROUNDS;

    let verify = |verifier: &Verifier| {
        let claim = parse(black_box(&head))?.ok_or(AuthError::Missing)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, black_box(b"{}")).as_ref());
        verifier.verify(&claim, &head, Body::Sha256(hash), Some(&credential), &rules)
    };
    let verifier = Verifier::default();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(verify(&verifier)?);
    }
    let known = started.elapsed() / ROUNDS;

    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(verify(&Verifier::default())?);
    }
    let fresh = started.elapsed() / ROUNDS;
    println!("parse                                {parsing:>10.2?}");
    println!("parse, hash body, verify, known key  {known:>10.2?}");
    println!("parse, hash body, verify, new key    {fresh:>10.2?}");
    Ok(())
}
