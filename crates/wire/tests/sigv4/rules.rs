//! What counts as signed beyond the signature itself: clocks, scopes, signed headers, one authorisation, bodies,
//! presigned URLs; and in whose words the refusal comes.

use std::time::Duration;

use base::Timestamp;
use wire::sigv4::{AuthError, Body, Family, Form, Payload, Rules, Verifier, normalised_path};

use crate::request::{KEY_ID, Request, now};

fn after(secs: i64) -> Timestamp {
    Timestamp::from_secs(now().as_secs() + secs)
}

/// The code, status and message of the refusal.
fn refusal(request: &Request, family: Family) -> (String, u16, String) {
    let error = request.verify().expect_err("it should be refused").answer(family);
    (error.code, error.status, error.message)
}

fn s3() -> Request {
    Request {
        service: "s3".into(),
        method: "PUT".into(),
        path: "/bucket/a key//../b".replace(' ', "%20"),
        ..Request::new()
    }
}

#[test]
fn a_signed_request_passes_in_both_forms() {
    let token = Some("the-token".to_owned());
    for request in [Request::new(), s3(), Request { token: token.clone(), ..Request::new() }, Request { token, ..s3() }]
    {
        request.clone().signed(now()).verify().unwrap();
        request.presigned(now(), 60).verify().unwrap();
    }
    assert!(Request::new().claim().unwrap().is_none());
    assert!(Request::new().set("authorization", "Bearer abc").claim().unwrap().is_none());
}

/// The worked examples of S3's API reference: headers, queries without values, an odd key, a presigned URL.
#[test]
fn the_examples_of_s3_verify() {
    let day = Timestamp::parse_basic("20130524T000000Z").unwrap();
    let empty =
        Request { service: "s3".into(), secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(), ..Request::new() };
    let get = |path: &str, query: &str| {
        let mut request = Request { method: "GET".into(), path: path.into(), query: query.into(), ..empty.clone() };
        request.headers.clear();
        request.body.clear();
        request.set("host", "examplebucket.s3.amazonaws.com")
    };
    let signed = |request: Request, hash: &str, names: &str, signature: &str| {
        let request = request.set("x-amz-date", "20130524T000000Z").set("x-amz-content-sha256", hash).set(
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={names},Signature={signature}"
            ),
        );
        request.verify_with(&Verifier::default(), day).unwrap();
    };
    let empty_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    signed(
        get("/test.txt", "").set("range", "bytes=0-9"),
        empty_hash,
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let put = Request { method: "PUT".into(), body: b"Welcome to Amazon S3.".to_vec(), ..get("/test%24file.text", "") };
    signed(
        put.set("date", "Fri, 24 May 2013 00:00:00 GMT").set("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let names = "host;x-amz-content-sha256;x-amz-date";
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    signed(get("/", "lifecycle"), empty_hash, names, lifecycle);
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    signed(get("/", "max-keys=2&prefix=J"), empty_hash, names, list);
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                 &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    get("/test.txt", query).verify_with(&Verifier::default(), day).unwrap();
}

/// A3: a quarter of an hour and a second is too much.
#[test]
fn clocks_may_be_off_by_a_quarter_of_an_hour() {
    let at = |secs| Request::new().signed(after(secs)).verify();
    assert!(matches!(at(-901), Err(AuthError::Expired { .. })));
    at(-899).unwrap();
    at(899).unwrap();
    assert!(matches!(at(901), Err(AuthError::NotYetCurrent { .. })));
}

#[test]
fn a_clock_that_is_off_is_told_in_the_words_of_the_service() {
    let late = Request::new().signed(after(-901));
    let words = "Signature expired: 20251231T234459Z is now earlier than 20251231T234500Z (20260101T000000Z - 15 min.)";
    assert_eq!(refusal(&late, Family::Json), ("InvalidSignatureException".into(), 400, words.into()));
    assert_eq!(refusal(&late, Family::RestJson), ("InvalidSignatureException".into(), 403, words.into()));
    assert_eq!(refusal(&late, Family::Query), ("SignatureDoesNotMatch".into(), 403, words.into()));
    let early = Request::new().signed(after(901));
    let words =
        "Signature not yet current: 20260101T001501Z is still later than 20260101T001500Z (20260101T000000Z + 15 min.)";
    assert_eq!(refusal(&early, Family::Query), ("SignatureDoesNotMatch".into(), 403, words.into()));
    let late = Request::signed(s3(), after(-901)).verify().unwrap_err().answer(Family::S3);
    assert_eq!((&*late.code, late.status), ("RequestTimeTooSkewed", 403));
    let times = [("RequestTime", "20251231T234459Z".to_owned()), ("ServerTime", "2026-01-01T00:00:00Z".to_owned())];
    assert_eq!(late.members.get(..2).unwrap(), times);
}

/// A3: wrong region, service, date, terminator; AWS answers all of them at once.
#[test]
fn a_scope_that_does_not_fit_is_taken_apart() {
    let signed = Request::new().signed(now());
    let scope = |to: &str| {
        let header = signed.header("authorization").replace("20260101/us-east-1/lambda/aws4_request", to);
        refusal(&signed.clone().set("authorization", &header), Family::Query)
    };
    let region = "Credential should be scoped to a valid region, not 'US_EAST'. ";
    let service = "Credential should be scoped to correct service: 'lambda'. ";
    let terminator = "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ";
    let date = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20251231' != \
                '20260101', from '20260101T000000Z'.";
    let answer = |message: &str| ("SignatureDoesNotMatch".to_owned(), 403, message.to_owned());
    assert_eq!(scope("20260101/US_EAST/lambda/aws4_request"), answer(region));
    assert_eq!(scope("20260101/us-east-1/sqs/aws4_request"), answer(service));
    assert_eq!(scope("20260101/us-east-1/lambda/aws5_request"), answer(terminator));
    assert_eq!(scope("20251231/us-east-1/lambda/aws4_request"), answer(date));
    assert_eq!(scope("20251231/US_EAST/sqs/aws5_request"), answer(&[region, service, terminator, date].concat()));
    // A region that could be one is as good as any other, but it is part of the signature.
    let (code, _, message) = scope("20260101/moon-1/lambda/aws4_request");
    assert_eq!(code, "SignatureDoesNotMatch");
    assert!(message.starts_with("The request signature we calculated does not match"), "{message}");
    let (code, status, message) = scope("20260101/us-east-1/lambda");
    assert_eq!((&*code, status), ("IncompleteSignature", 400));
    assert!(message.starts_with("Credential must have exactly 5 slash-delimited elements"), "{message}");
    let signed = s3().signed(now());
    let header = signed.header("authorization").replace("/s3/", "/sqs/");
    let answer = refusal(&signed.set("authorization", &header), Family::S3);
    let words = "The authorization header is malformed; incorrect service \"sqs\". This endpoint belongs to \"s3\".";
    assert_eq!(answer, ("AuthorizationHeaderMalformed".into(), 400, words.into()));
}

/// A4: what decides where a request goes and what it does has to be signed.
#[test]
fn host_and_amz_headers_have_to_be_signed() {
    let signed = Request::new().signed(now());
    let header = signed.header("authorization").replace("host;", "");
    let answer = refusal(&signed.clone().set("authorization", &header), Family::Json);
    let words = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
    assert_eq!(answer, ("InvalidSignatureException".into(), 400, words.into()));
    let header = signed.header("authorization").replace(";x-amz-target", "");
    let answer = refusal(&signed.clone().set("authorization", &header), Family::Json);
    let words = "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.";
    assert_eq!(answer, ("InvalidSignatureException".into(), 400, words.into()));
    let presigned = s3().presigned(now(), 60).set("x-amz-acl", "public-read");
    let error = presigned.verify().unwrap_err().answer(Family::S3);
    assert_eq!((&*error.code, error.status), ("AccessDenied", 403));
    assert_eq!(error.members, [("HeadersNotSigned", "x-amz-acl".to_owned())]);
}

/// A4: a header or parameter given twice leaves it open which of the two counts.
#[test]
fn what_may_stand_once_is_refused_twice() {
    let signed = Request::new().signed(now());
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
        let twice = signed.clone().set("x-amz-content-sha256", "x").set("x-amz-security-token", "x").add(name, "x");
        assert_eq!(twice.claim().unwrap_err(), AuthError::Duplicate(name.into()));
    }
    let header = signed.header("authorization").to_owned();
    for part in ["Credential", "SignedHeaders", "Signature"] {
        let twice = signed.clone().set("authorization", &format!("{header}, {part}=x"));
        assert_eq!(twice.claim().unwrap_err(), AuthError::Duplicate(part.into()));
    }
    let twice = signed.clone().set("authorization", &header.replace("host;", "host;host;"));
    assert!(matches!(twice.claim().unwrap_err(), AuthError::SignedHeaders(_)));
    let presigned = Request::new().presigned(now(), 60);
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        let query = format!("{}&X-Amz-{name}=x", presigned.query);
        let twice = Request { query, ..presigned.clone() };
        assert_eq!(twice.claim().unwrap_err(), AuthError::Duplicate(format!("X-Amz-{name}")));
    }
    let both = presigned.set("authorization", &header);
    let words = "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.";
    assert_eq!(refusal(&both, Family::Json), ("InvalidSignatureException".into(), 400, words.into()));
    assert_eq!(refusal(&both, Family::S3).0, "InvalidArgument");
    // Signed, a header may come twice, as long as it is the same two.
    let request = Request::new().add("x-b", "1").add("x-b", "2").signed(now());
    request.verify().unwrap();
    assert!(request.add("x-b", "3").verify().is_err());
}

#[test]
fn the_header_is_read_in_every_spelling() {
    let signed = Request::new().signed(now());
    let header = signed.header("authorization").to_owned();
    for (from, to) in [(", ", ","), (", ", " "), (", ", " , "), (", ", ",\t"), ("-SHA256 ", "-SHA256   ")] {
        signed.clone().set("authorization", &header.replace(from, to)).verify().unwrap();
    }
    let parts: Vec<_> = header.split(' ').collect();
    let turned = format!("{} {}, {} {}", parts[0], parts[3], parts[2], parts[1].trim_end_matches(','));
    signed.clone().set("authorization", &turned).verify().unwrap();
    let incomplete = |header: &str| {
        let mut request = signed.clone().set("authorization", header);
        request.headers.remove("x-amz-date");
        refusal(&request, Family::Query)
    };
    let words = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
                 parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires \
                 existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256";
    assert_eq!(incomplete("AWS4-HMAC-SHA256"), ("IncompleteSignature".into(), 400, words.into()));
    let words = "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: \
                 'AWS4-HMAC-SHA256 Credential'.";
    assert_eq!(incomplete("AWS4-HMAC-SHA256 Credential"), ("IncompleteSignature".into(), 400, words.into()));
    let other = signed.clone().set("authorization", &header.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"));
    let words = "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). ";
    assert_eq!(refusal(&other, Family::Query), ("IncompleteSignature".into(), 400, words.into()));
    let old = signed.set("authorization", "AWS AKID:signature");
    assert_eq!(refusal(&old, Family::RestJson).0, "MissingAuthenticationTokenException");
    assert_eq!(refusal(&old, Family::S3).0, "InvalidRequest");
}

#[test]
fn a_date_header_will_do_where_there_is_no_x_amz_date() {
    for date in ["Thu, 01 Jan 2026 00:00:00 GMT", "20260101T000000Z"] {
        let mut request = Request::new().signed(now()).set("date", date);
        request.headers.remove("x-amz-date");
        assert_eq!(request.claim().unwrap().unwrap().signed_at, now());
    }
    let request = Request::new().signed(now()).set("x-amz-date", "yesterday");
    let (code, status, message) = refusal(&request, Family::Query);
    assert_eq!((&*code, status), ("IncompleteSignature", 400));
    assert!(message.starts_with("Date must be in ISO-8601 'basic format'. Got 'yesterday'."), "{message}");
}

/// A5.
#[test]
fn a_presigned_url_ends_and_does_not_bend() {
    let life = |secs| Request { path: "/".into(), ..Request::new() }.presigned(now(), secs);
    let url = life(3600);
    assert_eq!(url.claim().unwrap().unwrap().form, Form::Query { expires: Duration::from_secs(3600) });
    let at = |request: &Request, secs| request.verify_with(&Verifier::default(), after(secs));
    at(&url, 3600).unwrap();
    at(&url, -900).unwrap();
    assert!(matches!(at(&url, 3601), Err(AuthError::PresignedExpired { .. })));
    assert!(matches!(at(&url, -901), Err(AuthError::NotYetCurrent { .. })));
    let week = life(604_800);
    at(&week, 604_800).unwrap();
    for (secs, words) in
        [("604801", "less than a week"), ("-1", "non-negative"), ("1.5", "a number"), ("x", "a number")]
    {
        let bent = Request { query: week.query.replace("Expires=604800", &format!("Expires={secs}")), ..week.clone() };
        let (code, _, message) = refusal(&bent, Family::S3);
        assert_eq!(code, "AuthorizationQueryParametersError");
        assert!(message.contains(words), "{message}");
    }
    let longer = Request { query: url.query.replace("Expires=3600", "Expires=3601"), ..url.clone() };
    assert!(matches!(longer.verify(), Err(AuthError::Mismatch(_))));
    assert!(matches!(Request { method: "GET".into(), ..url.clone() }.verify(), Err(AuthError::Mismatch(_))));
    assert!(matches!(Request { path: "/x".into(), ..url.clone() }.verify(), Err(AuthError::Mismatch(_))));
    assert!(matches!(Request { query: format!("{}&x=1", url.query), ..url }.verify(), Err(AuthError::Mismatch(_))));
    let late = s3().presigned(after(-61), 60).verify().unwrap_err().answer(Family::S3);
    assert_eq!((&*late.code, late.status, &*late.message), ("AccessDenied", 403, "Request has expired"));
    let missing = Request { query: week.query.replace("X-Amz-Date", "X-Amz-Dote"), ..week };
    let words = "AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.";
    assert_eq!(refusal(&missing, Family::Query), ("IncompleteSignature".into(), 400, words.into()));
}

/// A4: only S3 takes a client's word for its body, and then holds it to it.
#[test]
fn bodies_are_bound_to_signatures() {
    let unsigned = |request: Request| request.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD").signed(now());
    unsigned(s3()).verify().unwrap();
    let other_body = Request { body: b"other".to_vec(), ..unsigned(s3()) };
    other_body.verify().unwrap();
    assert_eq!(other_body.claim().unwrap().unwrap().payload, Payload::Unsigned);
    assert!(matches!(unsigned(Request::new()).verify(), Err(AuthError::Mismatch(_))));

    let error = Request { body: b"other".to_vec(), ..s3().signed(now()) }.verify().unwrap_err().answer(Family::S3);
    assert_eq!((&*error.code, error.status), ("XAmzContentSHA256Mismatch", 400));
    let mut undeclared = s3().signed(now());
    undeclared.headers.remove("x-amz-content-sha256");
    assert_eq!(refusal(&undeclared, Family::S3).0, "InvalidRequest");
    let odd = s3().set("x-amz-content-sha256", "none").signed(now());
    assert_eq!(refusal(&odd, Family::S3).0, "InvalidArgument");

    // A body said to come in chunks is not taken as a whole, nor the other way round.
    let streaming = s3().set("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER").signed(now());
    streaming.verify().unwrap();
    let verify = |request: &Request, body| {
        let (claim, rules) = (request.claim().unwrap().unwrap(), Rules { service: "s3", now: now() });
        Verifier::default().verify(&claim, &request.head(), body, Some(&request.credential()), &rules).map(drop)
    };
    assert_eq!(verify(&streaming, Body::EMPTY), Err(AuthError::PayloadUndeclared));
    let elsewhere = Request { service: "lambda".into(), ..streaming.clone() }.signed(now());
    assert_eq!(elsewhere.verify().map(drop), Err(AuthError::PayloadUndeclared));
    assert_eq!(verify(&s3().signed(now()), Body::Streamed), Err(AuthError::PayloadUndeclared));
    assert_eq!(verify(&unsigned(s3()), Body::Streamed), Err(AuthError::PayloadUndeclared));
}

#[test]
fn keys_and_tokens_go_together() {
    let request = Request::new().signed(now());
    let claim = request.claim().unwrap().unwrap();
    let rules = Rules { service: "lambda", now: now() };
    let error = Verifier::default().verify(&claim, &request.head(), Body::EMPTY, None, &rules).unwrap_err();
    assert_eq!(error, AuthError::UnknownKey(KEY_ID.into()));
    let words = "The security token included in the request is invalid.";
    for (family, code, status) in [
        (Family::Json, "UnrecognizedClientException", 400),
        (Family::RestJson, "UnrecognizedClientException", 403),
        (Family::Query, "InvalidClientTokenId", 403),
    ] {
        let answer = error.answer(family);
        assert_eq!((&*answer.code, answer.status, &*answer.message), (code, status, words));
    }
    assert_eq!(error.answer(Family::S3).code, "InvalidAccessKeyId");
    let with = |sent: Option<&str>, right: Option<&str>| {
        let sent = Request { token: sent.map(str::to_owned), ..Request::new() }.signed(now());
        Request { token: right.map(str::to_owned), ..sent }.verify().map(drop)
    };
    assert_eq!(with(Some("right"), Some("right")), Ok(()));
    for (sent, right) in
        [(Some("wrong"), Some("right")), (Some("righ"), Some("right")), (None, Some("right")), (Some("x"), None)]
    {
        assert_eq!(with(sent, right), Err(AuthError::Token));
    }
}

/// The time is answered before the scope, the scope before the key, the key before the signature.
#[test]
fn of_several_faults_the_first_is_answered() {
    let broken = Request { service: "sqs".into(), ..Request::new().signed(after(-901)) };
    assert!(matches!(broken.verify(), Err(AuthError::Expired { .. })));
    let broken = Request { service: "sqs".into(), secret: "x".into(), ..Request::new().signed(now()) };
    assert!(matches!(broken.verify(), Err(AuthError::Scope(_))));
    let broken = Request { secret: "x".into(), token: Some("x".into()), ..Request::new().signed(now()) };
    assert!(matches!(broken.verify(), Err(AuthError::Mismatch(_))));
}

#[test]
fn a_mismatch_shows_what_was_signed_but_no_token() {
    let broken = Request { body: b"x".to_vec(), ..Request::new().signed(now()) };
    let (_, _, message) = refusal(&broken, Family::RestJson);
    let shown = "The Canonical String for this request should have been\n'POST\n/2015-03-31/functions\na=1&b=2\n\
                 content-type:application/json\nhost:localhost:4566\nx-amz-date:20260101T000000Z\n\
                 x-amz-target:Some.Operation\n\ncontent-type;host;x-amz-date;x-amz-target\n";
    assert!(message.contains(shown), "{message}");
    assert!(
        message.contains("The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20260101T000000Z\n"),
        "{message}"
    );
    assert!(!message.contains(crate::request::SECRET));
    let token = Some("the-token".to_owned());
    for request in [Request { token: token.clone(), ..Request::new() }, Request { token, ..s3() }] {
        let mut request = request.signed(now());
        request.method = "DELETE".into();
        for family in [Family::Json, Family::Query, Family::S3] {
            let error = request.verify().unwrap_err().answer(family);
            assert!(!format!("{} {:?} {:?}", error.message, error.members, error.detail).contains("the-token"));
        }
    }
}

#[test]
fn paths_are_found_as_they_were_signed() {
    for (path, normal) in [
        ("/", "/"),
        ("", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a", "/a"),
        ("/a//b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b"),
        ("/a%2F..%2Fb", "/a%2F..%2Fb"),
        ("/%2e%2e/a", "/%2e%2e/a"),
    ] {
        assert_eq!(normalised_path(path), normal, "{path}");
    }
    // Encoded twice is another path.
    let signed = Request { path: "/a%20b".into(), ..Request::new() }.signed(now());
    signed.verify().unwrap();
    for path in ["/a%2520b", "/a+b", "/a b", "/a%20B", "/%61%20b"] {
        assert!(Request { path: path.into(), ..signed.clone() }.verify().is_err(), "{path}");
    }
    // S3's keys may have dots and empty segments, which are then part of the key.
    let signed = s3().signed(now());
    for path in ["/bucket/b", "/bucket/a%20key/../b", "/bucket/a%20key//..%2Fb"] {
        assert!(Request { path: path.into(), ..signed.clone() }.verify().is_err(), "{path}");
    }
}

#[test]
fn queries_are_told_apart() {
    let verify = |signed: &str, sent: &str| {
        let request = Request { query: signed.into(), ..Request::new() }.signed(now());
        Request { query: sent.into(), ..request }.verify().is_ok()
    };
    for (signed, sent) in
        [("b=2&a=1", "a=1&b=2"), ("a", "a="), ("a=+", "a=%20"), ("a=%7e", "a=~"), ("a=1&a=2", "a=2&a=1")]
    {
        assert!(verify(signed, sent), "{signed} {sent}");
    }
    for (signed, sent) in [
        ("a=1", "a=1&a=1"),
        ("a=1", "A=1"),
        ("a=%2B", "a=+"),
        ("a=%2520", "a=%20"),
        ("a=1&b=2", "a=2&b=1"),
        ("a=b=c", "a=b&c="),
    ] {
        assert!(!verify(signed, sent), "{signed} {sent}");
    }
}
