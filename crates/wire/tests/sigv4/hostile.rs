//! Heads that nobody's SDK sends: they are refused or canonicalised, and never bring anything down.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use wire::sigv4::{Family, Head, parse};

use crate::request::{Request, now};

/// Pieces of real authorisations between arbitrary text.
fn pieces() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "AWS4-HMAC-SHA256 ",
        "AWS4-",
        "Credential=",
        "AKID/20260101/us-east-1/lambda/aws4_request",
        "SignedHeaders=",
        "host",
        ";",
        "x-amz-date",
        "Signature=",
        ",",
        "/",
        "=",
        "%",
        "%2",
        "%zz",
        "+",
        "&",
        "X-Amz-Algorithm=",
        "AWS4-HMAC-SHA256",
        "X-Amz-Credential=",
        "X-Amz-Signature=",
        "X-Amz-SignedHeaders=",
        "X-Amz-Date=",
        "20260101T000000Z",
        "X-Amz-Expires=",
        "99999999999999999999",
        "..",
        "//",
    ]);
    prop::collection::vec(prop_oneof![4 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}"], 0..16)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_head_is_too_odd(
        method in "[A-Z]{0,8}", path in pieces(), query in pieces(), host in "\\PC{0,20}",
        headers in prop::collection::vec((prop::sample::select(vec![
            "authorization", "x-amz-date", "date", "x-amz-security-token", "x-amz-content-sha256", "x-amz-target",
        ]), prop_oneof![pieces().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..20)]), 0..4),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HeaderName::from_static(name), value);
            }
        }
        let head = Head { method: &method, path: &path, query: &query, host: &host, headers: &map };
        if let Err(error) = parse(&head) {
            for family in [Family::Json, Family::RestJson, Family::Query, Family::S3] {
                let answer = error.answer(family);
                prop_assert!((400..404).contains(&answer.status), "{answer:?}");
                prop_assert!(answer.message.len() < 16 * 1024);
            }
        }
    }

    /// Whatever path, query and header values come in: what we sign we accept, and refuse with another key. So the
    /// canonical form is total, and the same on both sides.
    #[test]
    fn whatever_is_signed_verifies(
        path in pieces(), query in "[ -~]{0,40}", value in prop::collection::vec(any::<u8>(), 0..20), s3 in any::<bool>(),
    ) {
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut request = Request { path: format!("/{path}"), query, ..Request::new() };
        request.headers.insert("x-amz-meta-a", value);
        request.service = if s3 { "s3".into() } else { "lambda".into() };
        let signed = request.clone().signed(now());
        let verdict = signed.verify();
        prop_assert!(verdict.is_ok(), "{:?}", verdict);
        let other = Request { secret: "another".into(), ..signed };
        prop_assert!(other.verify().is_err());
        request.headers.remove("x-amz-meta-a");
        let verdict = request.presigned(now(), 60).verify();
        prop_assert!(verdict.is_ok(), "{:?}", verdict);
    }
}

/// A list that names one long header over and over would be answered with gigabytes of canonical request.
#[test]
fn a_small_request_cannot_be_expensive() {
    let signed = Request::new().set("x-b", &"b".repeat(60_000)).signed(now());
    let header = signed.header("authorization").to_owned();
    let names = |list: String| signed.clone().set("authorization", &header.replace("host;", &format!("host;{list}")));
    assert!(names("x-b;".repeat(3)).claim().is_err());
    assert!(names((0..200).map(|index| format!("x-{index};")).collect()).claim().is_err());
    assert!(names((0..20).map(|index| format!("x-{index};")).collect()).claim().is_ok());
    let credential = header.replace("AKIDEXAMPLE", &"A".repeat(1000));
    assert!(signed.clone().set("authorization", &credential).claim().is_err());
}

/// Line breaks in what is copied into the canonical request would let one request pass for another.
#[test]
fn the_lines_of_the_canonical_request_cannot_be_forged() {
    let presigned = Request::new().presigned(now(), 60);
    for forged in ["host%0Ax-amz-acl", "host%3Bx%20y", "host%3B%C3%A9"] {
        let query = presigned.query.replace("SignedHeaders=host", &format!("SignedHeaders={forged}"));
        assert!(Request { query, ..presigned.clone() }.claim().is_err(), "{forged}");
    }
    let query = presigned.query.replace("us-east-1", "us-east-1%0A");
    assert!(Request { query, ..presigned }.verify().is_err());
}
