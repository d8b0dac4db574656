//! Requests signed by botocore are accepted; the same with one thing changed are not.
//!
//! `sign.py` makes them. The pinned botocore is put beside the other tools of the tests on first use. A few hundred
//! by default, 10,000 with `LAMP_TORTURE=1`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use wire::sigv4::chunked::{Decoder, Framing};
use wire::sigv4::{Payload, Verifier};

use crate::request::{Request, now};

const BOTOCORE: &str = "botocore==1.44.5";
const SEED: u64 = 20_260_101;

#[derive(Deserialize)]
struct Case {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    content: String,
    presigned: bool,
    chunked: bool,
    service: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

#[test]
fn what_botocore_signs_is_accepted_and_nothing_near_it() {
    let count = if std::env::var_os("LAMP_TORTURE").is_some() { 10_000 } else { 300 };
    let verifier = Verifier::default();
    let mut mutants = 0;
    let mut seen = 0;
    for line in lines(count) {
        let case: Case = serde_json::from_str(&line).unwrap();
        let request = case.request();
        let verified = request.verify_with(&verifier, now());
        let verified = verified.unwrap_or_else(|error| panic!("refused: {error:?}\n{line}"));
        let claim = request.claim().unwrap().unwrap();
        assert_eq!((claim.scope.access_key_id(), claim.scope.region()), (&*case.access_key_id, &*case.region));
        if let Payload::Streaming(streaming) = claim.payload {
            assert!(case.chunked);
            let framing = Framing::of(streaming, &request.headers).unwrap();
            let mut decoder = Decoder::verifying(framing, verified);
            let mut content = Vec::new();
            decoder.feed(&request.body, |data| content.extend_from_slice(data)).unwrap();
            decoder.finish().unwrap();
            assert_eq!(content, BASE64.decode(&case.content).unwrap());
        }
        for (what, mutant) in case.mutants(&request) {
            mutants += 1;
            let verdict = mutant.verify_with(&verifier, now());
            assert!(verdict.is_err(), "accepted with another {what}:\n{line}\n{mutant:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, count);
    assert!(mutants > 8 * count, "{mutants} mutants of {count} requests");
}

impl Case {
    fn request(&self) -> Request {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(&BASE64.decode(value).unwrap()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        Request {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers,
            body: BASE64.decode(&self.body).unwrap(),
            service: self.service.clone(),
            secret: self.secret_access_key.clone(),
            token: self.session_token.clone(),
        }
    }

    /// The request with one thing changed, in every way that there is.
    fn mutants(&self, signed: &Request) -> Vec<(&'static str, Request)> {
        let mut mutants = Vec::new();
        let mut mutant = |what, change: &dyn Fn(&mut Request)| {
            let mut request = signed.clone();
            change(&mut request);
            mutants.push((what, request));
        };
        mutant("method", &|request| {
            request.method = if request.method == "GET" { "PUT".into() } else { "GET".into() };
        });
        mutant("path", &|request| request.path += "x");
        // What dot segments take away again was never signed; routes are found by the normalised path.
        if !signed.path.contains("..") {
            mutant("path", &|request| request.path.insert_str(0, "/x"));
        }
        mutant("query", &|request| {
            request.query += if request.query.is_empty() { "x=" } else { "&x=" };
        });
        mutant("host", &|request| {
            request.headers.insert("host", HeaderValue::from_static("lambda.us-west-2.amazonaws.com"));
        });
        mutant("header, unsigned", &|request| {
            request.headers.insert("x-amz-acl", HeaderValue::from_static("public-read"));
        });
        for name in signed.headers.keys().filter(|name| self.signs(signed, name.as_str())) {
            mutant("header", &|request| {
                let value = [signed.headers.get(name).unwrap().as_bytes(), b"x"].concat();
                request.headers.insert(name, HeaderValue::from_bytes(&value).unwrap());
            });
            mutant("header, twice", &|request| {
                request.headers.append(name, HeaderValue::from_static("x"));
            });
        }
        let body_is_signed = !(self.presigned && self.service == "s3");
        if !self.chunked && body_is_signed {
            mutant("body", &|request| request.body.push(b'x'));
        }
        if self.session_token.is_some() {
            mutant("token, of the credential", &|request| request.token = Some("another".into()));
            mutant("token, of a permanent key", &|request| request.token = None);
        } else {
            mutant("token, none sent", &|request| request.token = Some("some".into()));
        }
        mutant("secret", &|request| request.secret.push('x'));
        mutant("service", &|request| request.service = "ssm".into());
        for (what, from, to) in self.replacements(signed) {
            mutant(what, &|request| {
                if self.presigned {
                    request.query = request.query.replacen(&from, &to, 1);
                } else {
                    let value = signed.header("authorization").replacen(&from, &to, 1);
                    request.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
                }
            });
        }
        mutants
    }

    fn signs(&self, signed: &Request, name: &str) -> bool {
        let claim = signed.claim().unwrap().unwrap();
        name != "host" && claim.signed_headers.split(';').any(|signed| signed == name)
    }

    /// Changes of the authorisation itself.
    fn replacements(&self, signed: &Request) -> Vec<(&'static str, String, String)> {
        let claim = signed.claim().unwrap().unwrap();
        let separator = if self.presigned { "%2F" } else { "/" };
        let scope = |text: &str| text.replace('/', separator);
        let (region, service, date) = (claim.scope.region(), claim.scope.service(), claim.scope.date());
        let flipped = if claim.signature.starts_with('0') { "1" } else { "0" };
        let mut changes = vec![
            ("scope, region", scope(&format!("/{region}/")), scope("/us-west-9/")),
            ("scope, service", scope(&format!("/{service}/")), scope("/ssm/")),
            ("scope, date", scope(&format!("/{date}/")), scope("/20260102/")),
            ("scope, terminator", scope("/aws4_request"), scope("/aws5_request")),
            ("signature", format!("Signature={}", claim.signature), {
                format!("Signature={flipped}{}", &claim.signature[1..])
            }),
            ("signature", format!("Signature={}", claim.signature), format!("Signature={}", &claim.signature[1..])),
        ];
        if self.presigned {
            let time = claim.signed_at.basic();
            let later = claim.signed_at.plus(std::time::Duration::from_secs(1)).basic();
            changes.push(("date", format!("X-Amz-Date={time}"), format!("X-Amz-Date={later}")));
            changes.push(("expiry", "X-Amz-Expires=".into(), "X-Amz-Expires=1".into()));
            changes.push(("signed headers", "X-Amz-SignedHeaders=".into(), "X-Amz-SignedHeaders=accept%3B".into()));
        } else {
            changes.push(("signed headers", "host;".into(), String::new()));
        }
        changes
    }
}

/// The lines of `sign.py`.
fn lines(count: usize) -> impl Iterator<Item = String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigv4/sign.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args([SEED.to_string(), count.to_string()])
        .env("PYTHONPATH", botocore())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run python3: the signatures are checked against botocore's");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::iter::from_fn(move || match lines.next() {
        Some(line) => Some(line.unwrap()),
        None => {
            assert!(child.wait().unwrap().success(), "sign.py failed");
            None
        }
    })
}

/// Where the pinned botocore is; installed if it is not there. It moves into place whole, so that one that was
/// interrupted is not taken for it, and two test runs do no harm to each other.
fn botocore() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools = of("LAMP_TOOLS").unwrap_or_else(|| {
        of("XDG_CACHE_HOME")
            .or_else(|| Some(of("HOME")?.join(".cache")))
            .expect("set LAMP_TOOLS, or HOME")
            .join("lamplight")
    });
    let place = tools.join(BOTOCORE.replace("==", "-"));
    if !place.is_dir() {
        std::fs::create_dir_all(&tools).unwrap();
        let fresh = tempfile::tempdir_in(&tools).unwrap();
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", BOTOCORE, "--target"]);
        let output = pip.arg(fresh.path()).output().expect("run pip");
        assert!(output.status.success(), "install {BOTOCORE}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(fresh.keep(), &place)
            .or_else(|error| if place.is_dir() { Ok(()) } else { Err(error) })
            .unwrap();
    }
    place
}
