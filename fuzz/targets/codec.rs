//! What the codec targets share: bytes as a request of some operation of a real service. The first line names the
//! operation and the second is the query string; the rest is the body.

use std::sync::OnceLock;

use http::HeaderMap;
use wire::protocol::{self, Request};
use wire::schema::{self, Model, Protocol};
use wire::{Blob, Value};

pub struct Service {
    pub name: &'static str,
    pub model: &'static str,
    pub overlay: &'static str,
    pub protocol: Protocol,
    loaded: OnceLock<Model>,
}

impl Service {
    pub const fn new(name: &'static str, model: &'static str, overlay: &'static str, protocol: Protocol) -> Self {
        Self { name, model, overlay, protocol, loaded: OnceLock::new() }
    }

    /// Decodes without panic, twice to the same value; an operation that does not exist stands for the first.
    pub fn decode(&self, bytes: &[u8]) {
        let load = || schema::load(self.name, self.model, self.overlay).expect("a service's own description loads");
        let model = self.loaded.get_or_init(load);
        let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
        let mut part = || parts.next().unwrap_or_default();
        let (operation, query, body) = (part(), part(), part());
        let operation = std::str::from_utf8(operation).ok().and_then(|name| model.operation(name));
        let Some(operation) = operation.or(model.operations.first()) else { return };
        let body = Blob::from(body.to_vec());
        let request = Request {
            labels: &[],
            query: std::str::from_utf8(query).unwrap_or_default(),
            headers: &HeaderMap::new(),
            body: &body,
            spool: &tempfile::tempfile,
        };
        let decode = || protocol::decode(model, operation, self.protocol, &request);
        match (decode(), decode()) {
            (Ok(one), Ok(other)) => assert!(same(&one, &other)),
            (Err(one), Err(other)) => assert!(one == other && one.status < 500, "{one:?}"),
            _ => panic!("decoded once and refused once"),
        }
    }
}

/// Equality that takes a NaN for itself.
fn same(one: &Value, other: &Value) -> bool {
    format!("{one:?}") == format!("{other:?}")
}
