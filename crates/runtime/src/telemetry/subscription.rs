//! What an extension may ask of the Telemetry API 2022-07-01 and of the Logs API 2020-08-15 before it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::event::Category;
use crate::variables::RUNTIME_API_PORT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Telemetry,
    Logs,
}

impl Api {
    /// The first part of its errors' types.
    pub fn word(self) -> &'static str {
        match self {
            Api::Telemetry => "Telemetry",
            Api::Logs => "Logs",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    Telemetry20220701,
    Telemetry20221213,
    Telemetry20250129,
    Logs20200815,
    Logs20210318,
}

impl Schema {
    fn parse(api: Api, word: &str) -> Option<Schema> {
        Some(match (api, word) {
            (Api::Telemetry, "2022-07-01") => Schema::Telemetry20220701,
            (Api::Telemetry, "2022-12-13") => Schema::Telemetry20221213,
            (Api::Telemetry, "2025-01-29") => Schema::Telemetry20250129,
            (Api::Logs, "2020-08-15") => Schema::Logs20200815,
            (Api::Logs, "2021-03-18") => Schema::Logs20210318,
            _ => return None,
        })
    }

    pub fn api(self) -> Api {
        match self {
            Schema::Telemetry20220701 | Schema::Telemetry20221213 | Schema::Telemetry20250129 => Api::Telemetry,
            Schema::Logs20200815 | Schema::Logs20210318 => Api::Logs,
        }
    }

    /// Whether a line that is JSON is told as an object.
    pub fn has_objects(self) -> bool {
        matches!(self, Schema::Telemetry20221213 | Schema::Telemetry20250129)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub schema: Schema,
    pub types: Vec<Category>,
    pub buffering: Buffering,
    pub destination: Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffering {
    pub items_max: usize,
    pub bytes_max: usize,
    pub timeout: Duration,
}

/// A listener in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Http { port: u16, path: String, is_put: bool },
    Tcp { port: u16 },
}

/// Why not, in words for the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Subscription {
    /// Names all that is wrong, as AWS does.
    pub fn parse(api: Api, body: &[u8]) -> Result<Subscription, Refusal> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err(Refusal("the request body is not a JSON object".to_owned()));
        };
        let mut faults = Vec::new();
        let schema = schema(api, &body, &mut faults);
        let types = types(&body, &mut faults);
        let buffering = buffering(&body, &mut faults);
        let destination = destination(&body, &mut faults);
        match (schema, destination) {
            (Some(schema), Some(destination)) if faults.is_empty() => {
                Ok(Subscription { schema, types, buffering, destination })
            }
            _ => Err(Refusal(faults.join("; "))),
        }
    }
}

fn schema(api: Api, body: &Map<String, Value>, faults: &mut Vec<String>) -> Option<Schema> {
    let word = match (body.get("schemaVersion"), api) {
        (None | Some(Value::Null), Api::Logs) => "2020-08-15",
        (None | Some(Value::Null), Api::Telemetry) => {
            faults.push("schemaVersion is not provided".to_owned());
            return None;
        }
        (Some(found), _) => found.as_str().unwrap_or_default(),
    };
    let schema = Schema::parse(api, word);
    if schema.is_none() {
        faults.push("schemaVersion is not supported".to_owned());
    }
    schema
}

fn types(body: &Map<String, Value>, faults: &mut Vec<String>) -> Vec<Category> {
    let mut types = Vec::new();
    for word in body.get("types").and_then(Value::as_array).into_iter().flatten() {
        match Category::ALL.into_iter().find(|category| word.as_str() == Some(category.word())) {
            Some(category) if types.contains(&category) => {}
            Some(category) => types.push(category),
            None => {
                faults.push("types should be of platform, function, extension".to_owned());
                return types;
            }
        }
    }
    if types.is_empty() {
        faults.push("types should not be empty".to_owned());
    }
    types
}

fn buffering(body: &Map<String, Value>, faults: &mut Vec<String>) -> Buffering {
    let asked = match body.get("buffering") {
        None | Some(Value::Null) => None,
        Some(Value::Object(asked)) => Some(asked),
        Some(_) => {
            faults.push("buffering should be an object".to_owned());
            None
        }
    };
    let mut number = |name: &str, default: u64, least: u64, most: u64| {
        let Some(found) = asked.and_then(|asked| asked.get(name)) else { return default };
        let number = found.as_u64().filter(|number| (least..=most).contains(number));
        number.unwrap_or_else(|| {
            faults.push(format!("{name} should be between {least} and {most}"));
            default
        })
    };
    let items_max = number("maxItems", 10_000, 1_000, 10_000);
    let bytes_max = number("maxBytes", 262_144, 262_144, 1_048_576);
    let timeout_ms = number("timeoutMs", 1_000, 25, 30_000);
    Buffering {
        items_max: usize::try_from(items_max).unwrap_or(usize::MAX),
        bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        timeout: Duration::from_millis(timeout_ms),
    }
}

fn destination(body: &Map<String, Value>, faults: &mut Vec<String>) -> Option<Destination> {
    let Some(asked) = body.get("destination").and_then(Value::as_object) else {
        faults.push("destination is not provided".to_owned());
        return None;
    };
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let found = match text("protocol") {
        Some("HTTP") => {
            let is_put = match text("method") {
                None | Some("POST") => Ok(false),
                Some("PUT") => Ok(true),
                Some(_) => Err("method should be PUT or POST"),
            };
            let place = text("URI").ok_or("URI is not provided").and_then(place);
            place.and_then(|(port, path)| Ok(Destination::Http { port, path, is_put: is_put? }))
        }
        Some("TCP") => {
            let port = asked.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            port.filter(|port| *port > 0).ok_or("port is not provided").map(|port| Destination::Tcp { port })
        }
        _ => Err("protocol should be HTTP or TCP"),
    };
    match found {
        Ok(Destination::Http { port, .. } | Destination::Tcp { port }) if port == RUNTIME_API_PORT => {
            faults.push(format!("port {RUNTIME_API_PORT} is reserved"));
            None
        }
        Ok(destination) => Some(destination),
        Err(fault) => {
            faults.push(fault.to_owned());
            None
        }
    }
}

/// Port and path of a URI of the sandbox's own.
fn place(uri: &str) -> Result<(u16, String), &'static str> {
    let uri: http::Uri = uri.parse().map_err(|_| "URI is not valid")?;
    if uri.scheme_str() != Some("http") {
        return Err("URI scheme should be http");
    }
    if !matches!(uri.host(), Some("sandbox.localdomain" | "sandbox")) {
        return Err("URI host should be sandbox.localdomain");
    }
    let port = uri.port_u16().filter(|port| *port > 0).ok_or("URI port is not provided")?;
    Ok((port, uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(api: Api, body: &str) -> Result<Subscription, String> {
        Subscription::parse(api, body.as_bytes()).map_err(|Refusal(why)| why)
    }

    #[test]
    fn defaults_and_what_is_asked() {
        let found = parse(
            Api::Telemetry,
            r#"{"schemaVersion":"2022-12-13","types":["platform","function"],"buffering":{"maxItems":1000,"timeoutMs":25},
                "destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/a?b"}}"#,
        )
        .unwrap();
        assert_eq!(found.schema, Schema::Telemetry20221213);
        assert_eq!(found.types, [Category::Platform, Category::Function]);
        let buffering = Buffering { items_max: 1_000, bytes_max: 262_144, timeout: Duration::from_millis(25) };
        assert_eq!(found.buffering, buffering);
        assert_eq!(found.destination, Destination::Http { port: 8080, path: "/a?b".into(), is_put: false });
        let found =
            parse(Api::Logs, r#"{"types":["extension"],"destination":{"protocol":"TCP","port":53000}}"#).unwrap();
        assert_eq!((found.schema, found.destination), (Schema::Logs20200815, Destination::Tcp { port: 53_000 }));
        assert_eq!((found.buffering.items_max, found.buffering.timeout), (10_000, Duration::from_secs(1)));
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        for (body, why) in [
            ("[]", "the request body is not a JSON object"),
            (
                r#"{"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain"}}"#,
                "schemaVersion is not provided; types should not be empty; URI port is not provided",
            ),
            (
                r#"{"schemaVersion":"2022-07-01","types":["platform"],"buffering":{"maxBytes":1},"destination":{"protocol":"TCP","port":9001}}"#,
                "maxBytes should be between 262144 and 1048576; port 9001 is reserved",
            ),
            (
                r#"{"schemaVersion":"2020-08-15","types":["x"],"destination":{"protocol":"HTTP","URI":"http://example.com:80"}}"#,
                "schemaVersion is not supported; types should be of platform, function, extension; URI host should be sandbox.localdomain",
            ),
        ] {
            assert_eq!(parse(Api::Telemetry, body).unwrap_err(), why);
        }
    }
}
