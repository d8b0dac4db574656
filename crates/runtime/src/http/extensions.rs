//! The Extensions API 2020-01-01, the Telemetry API 2022-07-01 and the Logs API 2020-08-15 as HTTP: what a request
//! says, and how an answer looks. What is answered is for `environment` to say, but for requests that say nothing.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base::{Chance, Timestamp, Uuid};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::server::{Routed, text};
use super::{Kind, Reply, accepted, json_reply, refused};
use crate::environment::{self, Ask, Invoke, error_kind};
use crate::limits::EXTENSION_NAME_BYTES_MAX;
use crate::telemetry;

/// What an extension is told of its function when it registers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub account: String,
    pub function_name: String,
    pub version: String,
    pub handler: String,
}

/// One of the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Register,
    Next,
    InitError,
    ExitError,
    Subscribe(telemetry::Api),
}

pub fn route(method: &Method, path: &str) -> Option<Path> {
    Some(match (method, path) {
        (&Method::POST, "/2020-01-01/extension/register") => Path::Register,
        (&Method::GET, "/2020-01-01/extension/event/next") => Path::Next,
        (&Method::POST, "/2020-01-01/extension/init/error") => Path::InitError,
        (&Method::POST, "/2020-01-01/extension/exit/error") => Path::ExitError,
        (&Method::PUT, "/2022-07-01/telemetry") => Path::Subscribe(telemetry::Api::Telemetry),
        (&Method::PUT, "/2020-08-15/logs") => Path::Subscribe(telemetry::Api::Logs),
        _ => return None,
    })
}

const IDENTIFIER: &str = "lambda-extension-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    configuration_keys: Vec<String>,
}

impl Path {
    /// `id` names whoever registers.
    pub fn read(self, headers: &HeaderMap, body: &[u8], id: Uuid) -> Routed {
        let ask = match self {
            Path::Register => registration(headers, body, id),
            Path::Next => identifier(headers).map(|id| Ask::Next { id }),
            Path::InitError => failure(headers, "Extension.InitError").map(|(id, kind)| Ask::InitError { id, kind }),
            Path::ExitError => failure(headers, "Extension.ExitError").map(|(id, kind)| Ask::ExitError { id, kind }),
            Path::Subscribe(api) => identifier(headers).map(|id| Ask::Subscribe { id, api, body: body.to_vec() }),
        };
        match ask {
            Ok(ask) => Routed::Request(Kind::Extension(ask)),
            Err(refusal) => Routed::Refused(*refusal),
        }
    }
}

fn registration(headers: &HeaderMap, body: &[u8], id: Uuid) -> Result<Ask, Box<Reply>> {
    let name = text(headers, "lambda-extension-name").unwrap_or_default();
    if name.is_empty() {
        return Err(forbidden("Extension.InvalidExtensionName", "Empty extension name"));
    }
    if name.len() > EXTENSION_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(forbidden("Extension.InvalidExtensionName", "Invalid extension name"));
    }
    let registration: Registration = serde_json::from_slice(body).map_err(|error| {
        let why = if body.is_empty() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        forbidden("InvalidRequestFormat", &why)
    })?;
    if !registration.configuration_keys.is_empty() {
        let why = "configurationKeys are deprecated; use environment variables instead";
        return Err(forbidden("InvalidRequestFormat", why));
    }
    let features = text(headers, "lambda-extension-accept-feature").unwrap_or_default();
    let wants_account = features.split(',').any(|feature| feature.trim() == "accountId");
    Ok(Ask::Register { name, events: registration.events, id, wants_account })
}

fn identifier(headers: &HeaderMap) -> Result<Uuid, Box<Reply>> {
    match text(headers, IDENTIFIER).unwrap_or_default().as_str() {
        "" => Err(forbidden("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")),
        id => id
            .parse()
            .map_err(|()| forbidden("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")),
    }
}

/// Who failed, and by what: its own type, if that looks like one of AWS's.
fn failure(headers: &HeaderMap, otherwise: &str) -> Result<(Uuid, String), Box<Reply>> {
    let id = identifier(headers)?;
    let kind = text(headers, ERROR_TYPE).unwrap_or_default();
    if kind.is_empty() {
        let why = "Lambda-Extension-Function-Error-Type not found";
        return Err(forbidden("Extension.MissingHeader", why));
    }
    Ok((id, error_kind(&kind, &["Extension."], otherwise)))
}

fn forbidden(kind: &str, why: &str) -> Box<Reply> {
    Box::new(refused(StatusCode::FORBIDDEN, kind, why))
}

pub fn render(reply: environment::Reply, identity: &Identity, now: Timestamp, chance: &dyn Chance) -> Reply {
    match reply {
        environment::Reply::Registered { id, wants_account } => {
            let mut told = Map::new();
            if wants_account {
                told.insert("accountId".into(), identity.account.as_str().into());
            }
            told.insert("functionName".into(), identity.function_name.as_str().into());
            told.insert("functionVersion".into(), identity.version.as_str().into());
            told.insert("handler".into(), identity.handler.as_str().into());
            with(json_reply(StatusCode::OK, format!("{}\n", Value::Object(told))), IDENTIFIER, id)
        }
        environment::Reply::Invoke(invoke) => {
            let Invoke { request_id, invoked_arn, trace_header, time_left } = *invoke;
            let mut event = json!({
                "eventType": "INVOKE",
                "deadlineMs": now.plus(time_left).as_millis(),
                "requestId": request_id,
                "invokedFunctionArn": invoked_arn,
            });
            if let (Some(header), Some(event)) = (trace_header, event.as_object_mut()) {
                event.insert("tracing".into(), json!({ "type": "X-Amzn-Trace-Id", "value": header }));
            }
            self::event(event, chance)
        }
        environment::Reply::Shutdown { reason, time_left } => {
            let deadline = now.plus(time_left).as_millis();
            let event = json!({ "eventType": "SHUTDOWN", "deadlineMs": deadline, "shutdownReason": reason.word() });
            self::event(event, chance)
        }
        environment::Reply::Accepted => accepted(),
        environment::Reply::Subscribed => json_reply(StatusCode::OK, "\"OK\"".to_owned()),
        environment::Reply::Refused { status, kind, message } => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN), &kind, &message)
        }
    }
}

fn event(event: Value, chance: &dyn Chance) -> Reply {
    with(json_reply(StatusCode::OK, event.to_string()), "lambda-extension-event-identifier", chance.uuid())
}

fn with(mut reply: Reply, name: &'static str, id: Uuid) -> Reply {
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        reply.headers_mut().insert(HeaderName::from_static(name), id);
    }
    reply
}
