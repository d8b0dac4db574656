//! What is said of a collector: where it is, and how it wants to be spoken to.
//!
//! Follows "OpenTelemetry Protocol Exporter": the forms of its variables are those of the options here.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// A collector, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub endpoint: Endpoint,
    /// What goes with each request, such as a key.
    pub headers: Headers,
    /// PEM with the authorities that its certificate may be of, instead of the system's.
    pub certificate: Option<PathBuf>,
    pub compression: Compression,
}

/// Where a collector listens: `http://host:4318`, with or without a path before `/v1/logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

/// `name=value,name=value`, the values as URLs have them. Nothing shows a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub HeaderMap);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error(
        "send telemetry to {0:?}: an endpoint is http://HOST, https://HOST or either with a port, such as http://localhost:4318"
    )]
    Endpoint(String),
    /// Without what was said: it may be a key.
    #[error("send headers with telemetry: they are name=value, with commas between them")]
    Headers,
    #[error("compress telemetry by {0:?}: it is gzip or none")]
    Compression(String),
}

/// The port that the protocol gives collectors.
const PORT: u16 = 4318;
/// The one of services beyond.
const TLS_PORT: u16 = 443;

impl FromStr for Endpoint {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Endpoint, SettingsError> {
        let bad = || SettingsError::Endpoint(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("http") => (false, PORT),
            Some("https") => (true, TLS_PORT),
            _ => return Err(bad()),
        };
        if uri.query().is_some() {
            return Err(bad());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Endpoint { is_tls, host, port: uri.port_u16().unwrap_or(port), path })
    }
}

impl Endpoint {
    /// Without the brackets that an IPv6 address has in a URL.
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

impl FromStr for Headers {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Headers, SettingsError> {
        let mut headers = HeaderMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(SettingsError::Headers)?;
            let name: HeaderName = name.trim().parse().map_err(|_| SettingsError::Headers)?;
            let mut value = HeaderValue::from_bytes(&unescaped(value.trim())).map_err(|_| SettingsError::Headers)?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Headers(headers))
    }
}

/// `%20` is a space; what is no such escape stands for itself.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.split_first_chunk::<2>().filter(|_| *first == b'%').and_then(|(digits, behind)| {
            let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some((byte, behind))
        });
        let (byte, behind) = escaped.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

impl FromStr for Compression {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Compression, SettingsError> {
        match text {
            "gzip" => Ok(Compression::Gzip),
            "none" | "" => Ok(Compression::None),
            _ => Err(SettingsError::Compression(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_the_ports_and_paths_of_the_protocol() {
        for (text, shown) in [
            ("http://localhost", "http://localhost:4318"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp"),
            ("https://api.example.org/otlp", "https://api.example.org:443/otlp"),
            ("https://localhost:4318", "https://localhost:4318"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for bad in ["", "localhost:4318", "http://", "https://", "http://host?x=1", "grpc://host:4317"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let headers: Headers = "api-key=a%20secret%2C=, X-Other = 100%".parse().unwrap();
        assert_eq!(headers.0["api-key"], "a secret,=");
        assert_eq!(headers.0["x-other"], "100%");
        assert!(!format!("{headers:?}").contains("secret"));
        assert_eq!("".parse::<Headers>().unwrap(), Headers::default());
        for bad in ["secret", "a b=c", "a=%0A"] {
            assert!(!bad.parse::<Headers>().unwrap_err().to_string().contains("secret"), "{bad}");
        }
    }

    #[test]
    fn compression_is_named_as_the_protocol_names_it() {
        assert_eq!("gzip".parse(), Ok(Compression::Gzip));
        assert_eq!("none".parse(), Ok(Compression::None));
        assert!("zstd".parse::<Compression>().is_err());
    }
}
