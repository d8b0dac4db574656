//! AWS's published Signature V4 test suite: what goes in and the signature that has to come out, in the header form
//! and in the presigned form (which lives an hour).
//!
//! From the suite of the AWS Common Runtime (`aws-signing-test-suite/v4`); all of it uses one key, one time and the
//! service `service`. A signature stands for its canonical request, so that those are not repeated here.

use std::time::Duration;

use base::ports::Credential;
use base::{AccountId, Principal, Secret, Timestamp, hex};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest;

use super::canonical::Request;
use super::key::SigningKey;
use super::verify::string_to_sign;
use super::{Body, Head, Rules, Scope, Signer, Verifier, parse, presign, sign};

struct Vector {
    /// Those that end in `-unnormalized` take the path as it stands, as S3 does.
    name: &'static str,
    /// Method, target, body.
    request: (&'static str, &'static str, &'static str),
    /// All but the host.
    headers: &'static [(&'static str, &'static str)],
    token: Token,
    header: &'static str,
    query: &'static str,
}

#[derive(PartialEq)]
enum Token {
    None,
    Signed,
    /// Joined the request after it was signed.
    AddedAfter,
}

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const HOST: &str = "example.amazonaws.com";
const TIME: &str = "20150830T123600Z";

impl Vector {
    fn token(&self) -> Option<&'static str> {
        match self.name {
            _ if self.token == Token::None => None,
            "get-vanilla-with-session-token" => {
                Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267")
            }
            _ => Some(concat!(
                "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeo",
                "IYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5V",
                "SXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yj",
                "c8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
            )),
        }
    }

    fn target(&self) -> (&'static str, &'static str) {
        self.request.1.split_once('?').unwrap_or((self.request.1, ""))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn credential(&self) -> Credential {
        let account = AccountId::ZERO;
        Credential {
            secret_access_key: Secret::new(SECRET.into()),
            session_token: self.token().map(|token| Secret::new(token.into())),
            principal: Principal { account, arn: String::new(), user_id: String::new(), access_key_id: None }.into(),
        }
    }

    fn is_raw(&self) -> bool {
        self.name.ends_with("-unnormalized")
    }

    fn body_hash(&self) -> [u8; 32] {
        digest::digest(&digest::SHA256, self.request.2.as_bytes()).as_ref().try_into().unwrap()
    }

    /// The signature of the request with these headers and this query.
    fn signature(&self, headers: &HeaderMap, query: &str, signed_headers: &str, presigned: bool) -> String {
        let request = Request {
            head: Head { method: self.request.0, path: self.target().0, query, host: HOST, headers },
            signed_headers,
            payload: &hex::encode(&self.body_hash()),
            raw_path: self.is_raw(),
            presigned,
        };
        let scope = Scope::new(KEY_ID, "20150830", "us-east-1", "service");
        let text = string_to_sign(TIME, &scope, &request.write());
        SigningKey::derive(SECRET, &scope).sign_hex(text.as_bytes())
    }

    /// Verifies a whole request by the rules of the suite's service, whose paths are normalised.
    fn verify(&self, headers: &HeaderMap, query: &str) {
        let head = Head { method: self.request.0, path: self.target().0, query, host: HOST, headers };
        let claim = parse(&head).unwrap().unwrap();
        let rules = Rules { service: "service", now: Timestamp::parse_basic(TIME).unwrap() };
        let body = Body::Sha256(self.body_hash());
        let verified = Verifier::default().verify(&claim, &head, body, Some(&self.credential()), &rules);
        assert!(verified.is_ok(), "{}: {verified:?}", self.name);
    }
}

fn names(headers: &HeaderMap) -> String {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).chain(["host"]).collect();
    names.sort_unstable();
    names.join(";")
}

#[test]
fn every_vector_in_the_header_verifies() {
    for vector in VECTORS {
        let mut headers = vector.headers();
        headers.insert("x-amz-date", HeaderValue::from_static(TIME));
        if let (Some(token), Token::Signed) = (vector.token(), &vector.token) {
            headers.insert("x-amz-security-token", HeaderValue::from_static(token));
        }
        if !vector.request.2.is_empty() {
            let hash = hex::encode(&vector.body_hash());
            headers.insert("x-amz-content-sha256", HeaderValue::from_str(&hash).unwrap());
        }
        let signed = names(&headers);
        assert_eq!(vector.signature(&headers, vector.target().1, &signed, false), vector.header, "{}", vector.name);
        if vector.is_raw() {
            continue;
        }
        if let Some(token) = vector.token() {
            headers.insert("x-amz-security-token", HeaderValue::from_static(token));
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
             Signature={}",
            vector.header
        );
        headers.insert("authorization", HeaderValue::from_str(&authorization).unwrap());
        vector.verify(&headers, vector.target().1);
    }
}

#[test]
fn every_presigned_vector_verifies() {
    for vector in VECTORS {
        let headers = vector.headers();
        let signed = names(&headers);
        let mut query = vector.target().1.to_owned();
        if !query.is_empty() {
            query.push('&');
        }
        query += "X-Amz-Algorithm=AWS4-HMAC-SHA256\
                  &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request\
                  &X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600";
        query += &format!("&X-Amz-SignedHeaders={}", signed.replace(';', "%3B"));
        if let (Some(token), Token::Signed) = (vector.token(), &vector.token) {
            query +=
                &format!("&X-Amz-Security-Token={}", token.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"));
        }
        assert_eq!(vector.signature(&headers, &query, &signed, true), vector.query, "{}", vector.name);
        // A token that joins a presigned URL changes its query, so that only a signer who knows verifies it.
        if !vector.is_raw() && vector.token != Token::AddedAfter {
            query += "&X-Amz-Signature=";
            query += vector.query;
            vector.verify(&headers, &query);
        }
    }
}

#[test]
fn what_we_sign_is_what_the_vectors_say() {
    for vector in VECTORS.iter().filter(|vector| !vector.is_raw() && vector.token != Token::AddedAfter) {
        let (path, query) = vector.target();
        let headers = vector.headers();
        let head = Head { method: vector.request.0, path, query, host: HOST, headers: &headers };
        let (secret, token) = (Secret::new(SECRET.into()), vector.token().map(|token| Secret::new(token.into())));
        let signer = Signer {
            access_key_id: KEY_ID,
            secret_access_key: &secret,
            session_token: token.as_ref(),
            region: "us-east-1",
            service: "service",
            now: Timestamp::parse_basic(TIME).unwrap(),
        };
        if vector.headers.is_empty() {
            let presigned = presign(&signer, &head, Duration::from_secs(3600));
            assert!(presigned.ends_with(vector.query), "{}: {presigned}", vector.name);
        }
        if vector.request.2.is_empty() {
            let signed = sign(&signer, &head, &hex::encode(&vector.body_hash())).unwrap();
            let authorization = signed.get("authorization").unwrap().to_str().unwrap();
            assert!(authorization.ends_with(vector.header), "{}: {authorization}", vector.name);
        }
    }
}

const VECTORS: &[Vector] = &[
    Vector {
        name: "get-header-key-duplicate",
        request: ("GET", "/", ""),
        headers: &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
        token: Token::None,
        header: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        query: "3349ee0b81b4b589da0ff28a395c3591e04de515651dd74f298fa992d1507a97",
    },
    Vector {
        name: "get-header-value-multiline",
        request: ("GET", "/", ""),
        headers: &[("my-header1", "value1   value2      value3")],
        token: Token::None,
        header: "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
        query: "e6f5def831211aca02987a44b96826706278c7bc078112ae0263659c5b2f2d56",
    },
    Vector {
        name: "get-header-value-order",
        request: ("GET", "/", ""),
        headers: &[
            ("my-header1", "value4"),
            ("my-header1", "value1"),
            ("my-header1", "value3"),
            ("my-header1", "value2"),
        ],
        token: Token::None,
        header: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        query: "313720e71ca6202fdcfa9b20f88de01a4eb0638a83c833b1c184359a4eda864e",
    },
    Vector {
        name: "get-header-value-trim",
        request: ("GET", "/", ""),
        headers: &[("my-header1", "value1"), ("my-header2", "\"a   b   c\"")],
        token: Token::None,
        header: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        query: "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4",
    },
    Vector {
        name: "get-relative-normalized",
        request: ("GET", "/example/..", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-relative-relative-normalized",
        request: ("GET", "/example1/example2/../..", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-relative-relative-unnormalized",
        request: ("GET", "/example1/example2/../..", ""),
        headers: &[],
        token: Token::None,
        header: "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b",
        query: "b45db0bfd1cf15003493b733e33aa208dd981bd0e63037a6ed953f71d2118a16",
    },
    Vector {
        name: "get-relative-unnormalized",
        request: ("GET", "/example/..", ""),
        headers: &[],
        token: Token::None,
        header: "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282",
        query: "cbcb213b928a077e43275df47b500f1dfaa864ab3f5a18f6b95f4ff0938167ee",
    },
    Vector {
        name: "get-slash-dot-slash-normalized",
        request: ("GET", "/./", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-slash-dot-slash-unnormalized",
        request: ("GET", "/./", ""),
        headers: &[],
        token: Token::None,
        header: "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145",
        query: "a9b13e8f3484d9505bf1a6f347219f8f35b0fe8f128ceea597efc146a3dfe90c",
    },
    Vector {
        name: "get-slash-normalized",
        request: ("GET", "//", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-slash-pointless-dot-normalized",
        request: ("GET", "/./example", ""),
        headers: &[],
        token: Token::None,
        header: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        query: "35034b1a0bdd969f346975386daf8aedfd4976573b8348cf4f67eaa41c5857de",
    },
    Vector {
        name: "get-slash-pointless-dot-unnormalized",
        request: ("GET", "/./example", ""),
        headers: &[],
        token: Token::None,
        header: "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff",
        query: "72b11f16d9530b18204bfb71f2d6ab085894c0ed8d352730a6e76234c58b5e10",
    },
    Vector {
        name: "get-slash-unnormalized",
        request: ("GET", "//", ""),
        headers: &[],
        token: Token::None,
        header: "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e",
        query: "b2a9542809db687769200f56a844a03f2bd0291d6eb90232d5101c6a579446cd",
    },
    Vector {
        name: "get-slashes-normalized",
        request: ("GET", "//example//", ""),
        headers: &[],
        token: Token::None,
        header: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        query: "c1834e8fb0307243711f0f907f6ab7311ed300d87f13792d7ee4da89ab93e082",
    },
    Vector {
        name: "get-slashes-unnormalized",
        request: ("GET", "//example//", ""),
        headers: &[],
        token: Token::None,
        header: "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5",
        query: "822a5a9ba28072c5ab2bb4a6307d0c88276d40e49fec6b724c03fb4d4ba60fc2",
    },
    Vector {
        name: "get-space-normalized",
        request: ("GET", "/example space/", ""),
        headers: &[],
        token: Token::None,
        header: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        query: "7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6",
    },
    Vector {
        name: "get-space-unnormalized",
        request: ("GET", "/example space/", ""),
        headers: &[],
        token: Token::None,
        header: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        query: "7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6",
    },
    Vector {
        name: "get-unreserved",
        request: ("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", ""),
        headers: &[],
        token: Token::None,
        header: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        query: "95968482db1b9e0fadef6efc1bd24689f77c77d9ef56919c96a28cc92e0d6005",
    },
    Vector {
        name: "get-utf8",
        request: ("GET", "/ሴ", ""),
        headers: &[],
        token: Token::None,
        header: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        query: "10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44",
    },
    Vector {
        name: "get-vanilla",
        request: ("GET", "/", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-vanilla-empty-query-key",
        request: ("GET", "/?Param1=value1", ""),
        headers: &[],
        token: Token::None,
        header: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        query: "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de",
    },
    Vector {
        name: "get-vanilla-query",
        request: ("GET", "/", ""),
        headers: &[],
        token: Token::None,
        header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
    },
    Vector {
        name: "get-vanilla-query-order-encoded",
        request: ("GET", "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", ""),
        headers: &[],
        token: Token::None,
        header: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        query: "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
    },
    Vector {
        name: "get-vanilla-query-order-key-case",
        request: ("GET", "/?Param2=value2&Param1=value1", ""),
        headers: &[],
        token: Token::None,
        header: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        query: "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
    },
    Vector {
        name: "get-vanilla-query-unreserved",
        request: (
            "GET",
            "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "",
        ),
        headers: &[],
        token: Token::None,
        header: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        query: "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
    },
    Vector {
        name: "get-vanilla-utf8-query",
        request: ("GET", "/?ሴ=bar", ""),
        headers: &[],
        token: Token::None,
        header: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        query: "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600",
    },
    Vector {
        name: "get-vanilla-with-session-token",
        request: ("GET", "/", ""),
        headers: &[],
        token: Token::Signed,
        header: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        query: "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
    },
    Vector {
        name: "post-header-key-case",
        request: ("POST", "/", ""),
        headers: &[],
        token: Token::None,
        header: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        query: "2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b",
    },
    Vector {
        name: "post-header-key-sort",
        request: ("POST", "/", ""),
        headers: &[("my-header1", "value1")],
        token: Token::None,
        header: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        query: "c09d07e0d55871f10f2a6d350d994acf6825a3cae70673d7def55616e6119dd7",
    },
    Vector {
        name: "post-header-value-case",
        request: ("POST", "/", ""),
        headers: &[("my-header1", "VALUE1")],
        token: Token::None,
        header: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        query: "0698bc9e4f7f9139065ba2909c0e99da257e8e2a42492a097bcd46d792391fed",
    },
    Vector {
        name: "post-sts-header-after",
        request: ("POST", "/", ""),
        headers: &[],
        token: Token::AddedAfter,
        header: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        query: "2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b",
    },
    Vector {
        name: "post-sts-header-before",
        request: ("POST", "/", ""),
        headers: &[],
        token: Token::Signed,
        header: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        query: "46c2e3c63c1dbe7d39f8ada16fe7f001c1f56c5791441565323677f96308871c",
    },
    Vector {
        name: "post-vanilla",
        request: ("POST", "/", ""),
        headers: &[],
        token: Token::None,
        header: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        query: "2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b",
    },
    Vector {
        name: "post-vanilla-empty-query-value",
        request: ("POST", "/?Param1=value1", ""),
        headers: &[],
        token: Token::None,
        header: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        query: "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682",
    },
    Vector {
        name: "post-vanilla-query",
        request: ("POST", "/?Param1=value1", ""),
        headers: &[],
        token: Token::None,
        header: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        query: "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682",
    },
    Vector {
        name: "post-x-www-form-urlencoded",
        request: ("POST", "/", "Param1=value1"),
        headers: &[("content-type", "application/x-www-form-urlencoded"), ("content-length", "13")],
        token: Token::None,
        header: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        query: "89a40deed0f26f9461242825a082d2222717248abc7ab41f552ad84a94ad46e9",
    },
    Vector {
        name: "post-x-www-form-urlencoded-parameters",
        request: ("POST", "/", "Param1=value1"),
        headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("content-length", "13")],
        token: Token::None,
        header: "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
        query: "0dbeb9b026c7b6675f266b8427efec9b4fa8b1f6ef1477d717aea231106eab4d",
    },
];
