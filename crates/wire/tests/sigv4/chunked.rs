//! Bodies in chunks: the two examples of S3's documentation, every way to bend them, and every way to cut them.

use base::{AwsError, Timestamp};
use proptest::prelude::*;
use wire::sigv4::chunked::{ChunkError, Decoder, Framing};
use wire::sigv4::{Body, Payload, Rules, Streaming, Verified, Verifier};

use crate::request::Request;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// An upload of S3's documentation: 65 KiB of the letter a, in chunks of 64 KiB and 1 KiB.
struct Example {
    streaming: Streaming,
    signed_headers: &'static str,
    signatures: [&'static str; 4],
    trailer: &'static str,
}

const SIGNED: Example = Example {
    streaming: Streaming::Signed,
    signed_headers: "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                     x-amz-storage-class",
    signatures: [
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ],
    trailer: "\r\n",
};

const SIGNED_TRAILER: Example = Example {
    streaming: Streaming::SignedTrailer,
    signed_headers: "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                     x-amz-storage-class;x-amz-trailer",
    signatures: [
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ],
    trailer: "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:\
              d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
};

impl Example {
    fn request(&self) -> Request {
        let mut request = Request::new();
        request.headers.clear();
        let [seed, ..] = self.signatures;
        let request = Request {
            method: "PUT".into(),
            path: "/examplebucket/chunkObject.txt".into(),
            query: String::new(),
            service: "s3".into(),
            secret: SECRET.into(),
            ..request
        };
        let request = request
            .set("host", "s3.amazonaws.com")
            .set("x-amz-date", "20130524T000000Z")
            .set("x-amz-storage-class", "REDUCED_REDUNDANCY")
            .set("x-amz-content-sha256", self.streaming.as_str())
            .set("content-encoding", "aws-chunked")
            .set("x-amz-decoded-content-length", "66560")
            .set("content-length", "66824")
            .set(
                "authorization",
                &format!(
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                     SignedHeaders={},Signature={seed}",
                    self.signed_headers
                ),
            );
        match self.streaming {
            Streaming::SignedTrailer => request.set("x-amz-trailer", "x-amz-checksum-crc32c"),
            _ => request,
        }
    }

    fn verified(&self) -> (Framing, Verified) {
        let request = self.request();
        let claim = request.claim().unwrap().unwrap();
        let Payload::Streaming(streaming) = claim.payload else { panic!("{:?}", claim.payload) };
        let rules = Rules { service: "s3", now: Timestamp::parse_basic("20130524T000000Z").unwrap() };
        let credential = request.credential();
        let verdict = Verifier::default().verify(&claim, &request.head(), Body::Streamed, Some(&credential), &rules);
        (Framing::of(streaming, &request.headers).unwrap(), verdict.unwrap())
    }

    fn body(&self) -> Vec<u8> {
        let [_, first, second, last] = self.signatures;
        let a = |count| "a".repeat(count);
        let body = format!(
            "10000;chunk-signature={first}\r\n{}\r\n400;chunk-signature={second}\r\n{}\r\n0;chunk-signature={last}\r\n{}",
            a(0x10000),
            a(0x400),
            self.trailer
        );
        body.into_bytes()
    }

    fn decode(&self, body: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let (framing, verified) = self.verified();
        decode(Decoder::verifying(framing, verified), body.chunks(1000))
    }
}

fn decode<'a>(mut decoder: Decoder, parts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, ChunkError> {
    let mut content = Vec::new();
    for part in parts {
        decoder.feed(part, |data| content.extend_from_slice(data))?;
    }
    assert_eq!(decoder.finish()?, content.len() as u64);
    Ok(content)
}

#[test]
fn the_examples_of_the_documentation_decode() {
    for example in [SIGNED, SIGNED_TRAILER] {
        assert_eq!(example.decode(&example.body()).unwrap(), b"a".repeat(66_560));
    }
    // In the documentation the trailer's value ends in a line feed and an empty line.
    let odd =
        Example { trailer: Box::leak(SIGNED_TRAILER.trailer.replacen("\r\n", "\n\r\n", 1).into()), ..SIGNED_TRAILER };
    assert_eq!(odd.decode(&odd.body()).unwrap().len(), 66_560);
}

#[test]
fn a_bent_body_is_refused() {
    let replace = |example: &Example, from: &str, to: &str| {
        let body = String::from_utf8(example.body()).unwrap();
        assert!(body.contains(from), "{from}");
        example.decode(body.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    for example in [SIGNED, SIGNED_TRAILER] {
        let [_, first, second, last] = example.signatures;
        for signature in [first, second, last] {
            let bent = format!("f{}", &signature[1..]);
            assert_eq!(replace(&example, signature, &bent), ChunkError::Signature);
            assert_eq!(replace(&example, &format!(";chunk-signature={signature}"), ""), ChunkError::Signature);
        }
        assert_eq!(replace(&example, "aaa", "aba"), ChunkError::Signature);
        assert_eq!(replace(&example, second, first), ChunkError::Signature);
        assert!(matches!(replace(&example, "10000;", "10001;"), ChunkError::Framing(_)));
        assert!(matches!(replace(&example, "10000;", "ffff;"), ChunkError::Framing(_)));
        assert!(matches!(replace(&example, "10000;", "+10000;"), ChunkError::Size(_)));
        assert!(matches!(replace(&example, "10000;", ";"), ChunkError::Size(_)));
        assert!(matches!(replace(&example, "10000;", "ffffffffffffffff;"), ChunkError::Length { .. }));
        assert!(matches!(replace(&example, "10000;", "10000000000000000;"), ChunkError::Size(_)));
        assert!(matches!(replace(&example, "10000;", &format!("10000;{};", "x".repeat(2000))), ChunkError::Framing(_)));
        assert!(matches!(replace(&example, "\r\n400", "\n400"), ChunkError::Framing(_)));
        assert!(matches!(replace(&example, "\r\n400", "400"), ChunkError::Framing(_)));
        let longer = [example.body(), b"x".to_vec()].concat();
        assert!(matches!(example.decode(&longer), Err(ChunkError::Framing(_))));
    }
    assert_eq!(replace(&SIGNED, "\r\n\r\n", "\r\nx-amz-meta-a:b\r\n\r\n"), ChunkError::Trailer);
    let trailer = |from, to| replace(&SIGNED_TRAILER, from, to);
    assert_eq!(trailer("sOO8/Q==", "sOO8/A=="), ChunkError::Signature);
    assert_eq!(trailer("x-amz-trailer-signature:d8", "x-amz-trailer-signature:d9"), ChunkError::Signature);
    assert_eq!(trailer("x-amz-checksum-crc32c", "x-amz-checksum-sha1"), ChunkError::Trailer);
    assert_eq!(trailer("x-amz-checksum-crc32c:sOO8/Q==\r\n", ""), ChunkError::Signature);
    assert_eq!(trailer("x-amz-trailer-signature", "x-amz-meta-a"), ChunkError::Trailer);
    assert_eq!(trailer("x-amz-checksum-crc32c:", "x-amz-checksum-crc32c"), ChunkError::Trailer);
}

#[test]
fn a_body_that_ends_early_is_refused() {
    let body = SIGNED_TRAILER.body();
    let tail = body.len() - 400..body.len();
    for end in [0, 1, 40, 1000, 0x10000].into_iter().chain(tail) {
        let verdict = SIGNED_TRAILER.decode(body.get(..end).unwrap());
        assert!(matches!(verdict, Err(ChunkError::Truncated | ChunkError::Signature)), "{end}: {verdict:?}");
    }
}

fn unsigned(decoded_bytes: u64) -> Decoder {
    let request = Request::new()
        .set("x-amz-decoded-content-length", &decoded_bytes.to_string())
        .set("x-amz-trailer", "x-amz-checksum-crc32");
    Decoder::trusting(Framing::of(Streaming::UnsignedTrailer, &request.headers).unwrap())
}

#[test]
fn without_signatures_length_and_checksum_count() {
    let verdict = |length, body: &[u8]| decode(unsigned(length), [body].into_iter());
    let body = b"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n\r\n";
    assert_eq!(verdict(9, body).unwrap(), b"123456789");
    assert_eq!(verdict(10, body), Err(ChunkError::Length { declared: 10, decoded: 9 }));
    assert_eq!(verdict(8, body), Err(ChunkError::Length { declared: 8, decoded: 9 }));
    let wrong = b"9\r\n123456788\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    assert_eq!(verdict(9, wrong), Err(ChunkError::Checksum("CRC32")));
    assert_eq!(verdict(9, b"9\r\n123456789\r\n0\r\n\r\n"), Err(ChunkError::Trailer));
    let twice = b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    assert_eq!(verdict(0, twice), Err(ChunkError::Trailer));
    let long = format!("0\r\n{}\r\n", format!("x-amz-checksum-crc32:{}\r\n", "A".repeat(900)).repeat(20));
    assert_eq!(verdict(0, long.as_bytes()), Err(ChunkError::Trailer));
    assert_eq!(
        Framing::of(Streaming::UnsignedTrailer, &Request::new().headers).unwrap_err(),
        ChunkError::LengthMissing
    );
}

#[test]
fn every_refusal_has_an_answer() {
    let code = |error: ChunkError| -> (String, u16) {
        let AwsError { code, status, .. } = error.answer();
        (code, status)
    };
    assert_eq!(code(ChunkError::LengthMissing), ("MissingContentLength".into(), 411));
    assert_eq!(code(ChunkError::Truncated), ("IncompleteBody".into(), 400));
    assert_eq!(code(ChunkError::Signature), ("SignatureDoesNotMatch".into(), 403));
    assert_eq!(code(ChunkError::Trailer), ("MalformedTrailerError".into(), 400));
    assert_eq!(code(ChunkError::Checksum("CRC32")), ("BadDigest".into(), 400));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the network cuts a body, it decodes to the same.
    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(1usize..40, 1..30), chunk in 1usize..20, len in 0usize..200) {
        let content: Vec<u8> = (0..len).map(|index| index as u8).collect();
        let mut body = Vec::new();
        for part in content.chunks(chunk) {
            body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let mut framing = Framing::of(Streaming::UnsignedTrailer, &Request::new()
            .set("x-amz-decoded-content-length", &len.to_string()).headers).unwrap();
        framing.checksum = None;
        let mut decoder = Decoder::trusting(framing);
        let (mut rest, mut decoded) = (&*body, Vec::new());
        for cut in cuts.iter().cycle() {
            let (part, tail) = rest.split_at((*cut).min(rest.len()));
            decoder.feed(part, |data| decoded.extend_from_slice(data)).unwrap();
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        decoder.finish().unwrap();
        prop_assert_eq!(decoded, content);
    }

    /// Nothing that looks like chunks makes the decoder hand out more than was declared.
    #[test]
    fn no_bytes_are_too_odd(parts in prop::collection::vec(prop_oneof![
        Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"0\r\n".to_vec()), Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"x-amz-checksum-crc32:".to_vec()), Just(b"ffffffff".to_vec()), Just(b";chunk-signature=".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ], 0..20)) {
        let (mut decoder, mut decoded) = (unsigned(20), 0);
        let fed = parts.iter().try_for_each(|part| decoder.feed(part, |data| decoded += data.len()));
        prop_assert!(decoded <= 20);
        if fed.is_ok() {
            let _ = decoder.finish();
        }
    }
}
