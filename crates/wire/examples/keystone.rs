//! The codec's end of the keystone test (`e2e/keystone`), which speaks for botocore.
//!
//! Reads JSON lines from standard input and answers each with one: `decode` takes an HTTP request as botocore wrote it
//! and gives the operation that it was routed to and the decoded input; `encode` and `error` take what an operation
//! answered and give the HTTP response. Values are JSON with `{"$b": base64}` for blobs, `{"$t": microseconds}` for
//! timestamps and `{"$f": text}` for floats. The only argument is the folder of the service folders.

#![expect(clippy::expect_used, clippy::panic, reason = "a test's peer: a panic fails the test")]

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use base::{AwsError, Fault, RequestId, Timestamp, Uuid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use wire::eventstream;
use wire::protocol::{self, Recipient, Request};
use wire::route::{self, Route, Router};
use wire::schema::{self, Protocol, Summary};
use wire::{Blob, Service, Value};

const RECIPIENT: Recipient = Recipient { request_id: RequestId(Uuid::NIL), prefers_json: false };

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder of the services"));
    let mut peer = Peer { folder, services: HashMap::new() };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let ask: Json = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let answer = peer.answer(&ask);
        writeln!(out, "{answer}").expect("standard output");
    }
}

struct Peer {
    folder: PathBuf,
    services: HashMap<String, (Arc<Service>, Router)>,
}

impl Peer {
    fn answer(&mut self, ask: &Json) -> Json {
        let (service, router) = self.service(text(&ask["service"]));
        match text(&ask["do"]) {
            "protocols" => json!(service.model.protocols.iter().map(|protocol| name(*protocol)).collect::<Vec<_>>()),
            "decode" => decode(router, ask),
            "encode" => encode(service, ask),
            "error" => error(service, ask),
            "stream" => stream(service, ask),
            other => panic!("unknown request {other}"),
        }
    }

    fn service(&mut self, name: &str) -> &(Arc<Service>, Router) {
        let folder = self.folder.join(name);
        self.services.entry(name.to_owned()).or_insert_with(|| {
            let read = |file: &str| {
                let text = std::fs::read_to_string(folder.join(file)).expect("a service's description");
                &*Box::leak(text.into_boxed_str())
            };
            let name = &*Box::leak(name.to_owned().into_boxed_str());
            let (model, overlay) = (read("model.json"), read("overlay.json"));
            let summary = Summary::read(name, model, overlay).expect("a summary");
            let service = Service::new(name, move || schema::load(name, model, overlay).expect("a model"));
            let service = Arc::new(service);
            (Arc::clone(&service), Router::new([(summary, service)]))
        })
    }
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a string")
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::RestJson => "rest-json",
        Protocol::Json10 => "json-1.0",
        Protocol::Json11 => "json-1.1",
        Protocol::Query => "query",
        Protocol::RestXml => "rest-xml",
        Protocol::Cbor => "smithy-rpc-v2-cbor",
    }
}

fn protocol_of(ask: &Json) -> Protocol {
    let all =
        [Protocol::RestJson, Protocol::Json10, Protocol::Json11, Protocol::Query, Protocol::RestXml, Protocol::Cbor];
    all.into_iter().find(|protocol| name(*protocol) == text(&ask["protocol"])).expect("a protocol")
}

fn decode(router: &Router, ask: &Json) -> Json {
    let mut headers = HeaderMap::new();
    for (key, value) in ask["headers"].as_object().expect("headers") {
        let key = HeaderName::try_from(key.as_str()).expect("a header name");
        headers.append(key, HeaderValue::from_bytes(text(value).as_bytes()).expect("a header value"));
    }
    let body = STANDARD.decode(text(&ask["body"])).expect("base64");
    let target = text(&ask["target"]);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (method, form) = (text(&ask["method"]), std::str::from_utf8(&body).ok());
    let request = route::Request {
        method,
        path,
        query,
        host: None,
        headers: &headers,
        form,
        signing_name: Some(text(&ask["signing"])),
    };
    let Route { service, operation, protocol, labels } = match router.route(&request) {
        Ok(route) => route,
        Err(misroute) => return json!({"refused": format!("route: {:?}", misroute.error)}),
    };
    let operation = &service.model.operations[operation];
    let body = Blob::from(body);
    let request = Request { labels: &labels, query, headers: &headers, body: &body, spool: &tempfile::tempfile };
    match protocol::decode(&service.model, operation, protocol, &request) {
        Ok(value) => json!({"operation": operation.name, "protocol": name(protocol), "value": canonical(&value)}),
        Err(error) => json!({"operation": operation.name, "refused": format!("{error:?}")}),
    }
}

fn encode(service: &Service, ask: &Json) -> Json {
    let Some(operation) = service.model.operation(text(&ask["operation"])) else {
        return json!({"refused": "the model has no such operation"});
    };
    let value = value_of(&ask["value"]);
    match protocol::encode(&service.model, operation, protocol_of(ask), &value, None, RECIPIENT) {
        Ok(response) => written(response),
        Err(error) => json!({"refused": format!("{error:?}")}),
    }
}

/// The head of a stream, with all of its frames for a body.
fn stream(service: &Service, ask: &Json) -> Json {
    let Some(operation) = service.model.operation(text(&ask["operation"])) else {
        return json!({"refused": "the model has no such operation"});
    };
    let (model, protocol, value) = (&service.model, protocol_of(ask), value_of(&ask["value"]));
    let events = eventstream::stream_member(model, operation).expect("a stream").shape;
    let head = protocol::encode(model, operation, protocol, &value, None, RECIPIENT).expect("a head");
    let first = eventstream::initial_response(model, operation, protocol, &value).expect("a first frame");
    let mut body: Vec<u8> = first.into_iter().flatten().collect();
    for given in ask["events"].as_array().expect("events") {
        body.extend(eventstream::event(model, events, protocol, &value_of(given)).expect("a frame"));
    }
    written(head.map(|_| Blob::from(body)))
}

fn error(service: &Service, ask: &Json) -> Json {
    let Some(operation) = service.model.operation(text(&ask["operation"])) else {
        return json!({"refused": "the model has no such operation"});
    };
    let members = ask["members"].as_object().expect("members").iter();
    let error = AwsError {
        code: text(&ask["code"]).into(),
        status: ask["status"].as_u64().expect("a status") as u16,
        fault: if ask["sender"] == true { Fault::Client } else { Fault::Server },
        message: text(&ask["message"]).into(),
        members: members.map(|(name, value)| (&*name.clone().leak(), text(value).into())).collect(),
        detail: None,
    };
    let model = &service.model;
    written(protocol::encode_error(Some(model), Some(operation), protocol_of(ask), &error, RECIPIENT))
}

fn written(response: protocol::Response) -> Json {
    let headers = response.headers().iter();
    let headers: serde_json::Map<String, Json> = headers
        .map(|(name, value)| (name.to_string(), std::str::from_utf8(value.as_bytes()).expect("UTF-8").into()))
        .collect();
    let body = STANDARD.encode(response.body().read_all().expect("a body"));
    json!({"status": response.status().as_u16(), "headers": headers, "body": body})
}

fn canonical(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!({"$f": format!("{number:?}")}),
        Value::String(text) => json!(text),
        Value::Blob(blob) => json!({"$b": STANDARD.encode(blob.read_all().expect("a blob"))}),
        Value::Timestamp(moment) => json!({"$t": moment.as_micros()}),
        Value::List(elements) => elements.iter().map(canonical).collect(),
        Value::Map(members) => {
            let members = members.iter().map(|(name, value)| (name.to_string(), canonical(value)));
            Json::Object(members.collect())
        }
    }
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Integer(number.as_i64().expect("a 64-bit integer")),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(elements) => Value::List(elements.iter().map(value_of).collect()),
        Json::Object(members) => match members.iter().next() {
            Some((key, Json::String(text))) if key == "$f" => Value::Float(text.parse().expect("a float")),
            Some((key, Json::String(text))) if key == "$b" => {
                Value::Blob(STANDARD.decode(text).expect("base64").into())
            }
            Some((key, Json::Number(micros))) if key == "$t" => {
                Value::Timestamp(Timestamp::from_micros(micros.as_i64().expect("microseconds")))
            }
            _ => Value::Map(members.iter().map(|(name, json)| (name.clone().into(), value_of(json))).collect()),
        },
    }
}
