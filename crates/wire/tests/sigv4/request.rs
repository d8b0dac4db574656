//! A request that can be signed, changed and verified.

use base::ports::Credential;
use base::{AccountId, Principal, Secret, Timestamp};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ring::digest;
use wire::sigv4::{AuthError, Body, Claim, Head, Payload, Rules, Signer, Verified, Verifier, parse, presign, sign};

pub const KEY_ID: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The moment at which tests take place.
pub fn now() -> Timestamp {
    Timestamp::parse_basic("20260101T000000Z").unwrap()
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub service: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Request {
    /// Unsigned: one to Lambda.
    pub fn new() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost:4566"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-amz-target", HeaderValue::from_static("Some.Operation"));
        Self {
            method: "POST".into(),
            path: "/2015-03-31/functions".into(),
            query: "a=1&b=2".into(),
            headers,
            body: b"{}".to_vec(),
            service: "lambda".into(),
            secret: SECRET.into(),
            token: None,
        }
    }

    pub fn head(&self) -> Head<'_> {
        let host = self.headers.get("host").map(|host| host.to_str().unwrap());
        let Self { method, path, query, headers, .. } = self;
        Head { method, path, query, host: host.unwrap_or_default(), headers }
    }

    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn add(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    fn signer<'a>(
        &'a self,
        now: Timestamp,
        secret: &'a Secret<String>,
        token: Option<&'a Secret<String>>,
    ) -> Signer<'a> {
        Signer {
            access_key_id: KEY_ID,
            secret_access_key: secret,
            session_token: token,
            region: "us-east-1",
            service: &self.service,
            now,
        }
    }

    /// Signs in the header, at `now`; a declaration of the payload is signed in its stead, as only S3 takes it.
    pub fn signed(mut self, now: Timestamp) -> Self {
        let hash: String =
            digest::digest(&digest::SHA256, &self.body).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let declared = self.headers.get("x-amz-content-sha256").map(|value| value.to_str().unwrap().to_owned());
        let payload = declared.unwrap_or(hash);
        let (secret, token) = (Secret::new(self.secret.clone()), self.token.clone().map(Secret::new));
        self.headers = sign(&self.signer(now, &secret, token.as_ref()), &self.head(), &payload).unwrap();
        self
    }

    /// Signs in the query, at `now`.
    pub fn presigned(mut self, now: Timestamp, expires_secs: u64) -> Self {
        self.body.clear();
        self.headers.remove("content-type");
        self.headers.remove("x-amz-target");
        let (secret, token) = (Secret::new(self.secret.clone()), self.token.clone().map(Secret::new));
        let expires = std::time::Duration::from_secs(expires_secs);
        self.query = presign(&self.signer(now, &secret, token.as_ref()), &self.head(), expires);
        self
    }

    pub fn claim(&self) -> Result<Option<Claim>, AuthError> {
        parse(&self.head())
    }

    pub fn credential(&self) -> Credential {
        let account = AccountId::ZERO;
        Credential {
            secret_access_key: Secret::new(self.secret.clone()),
            session_token: self.token.clone().map(Secret::new),
            principal: Principal { account, arn: String::new(), user_id: String::new(), access_key_id: None }.into(),
        }
    }

    /// As the pipeline does it: streams where the request says so, hashes the body otherwise.
    pub fn verify_with(&self, verifier: &Verifier, now: Timestamp) -> Result<Verified, AuthError> {
        let claim = self.claim()?.ok_or(AuthError::Missing)?;
        let body = match claim.payload {
            Payload::Streaming(_) => Body::Streamed,
            _ => Body::Sha256(digest::digest(&digest::SHA256, &self.body).as_ref().try_into().unwrap()),
        };
        let rules = Rules { service: &self.service, now };
        verifier.verify(&claim, &self.head(), body, Some(&self.credential()), &rules)
    }

    pub fn verify(&self) -> Result<Verified, AuthError> {
        self.verify_with(&Verifier::default(), now())
    }
}
