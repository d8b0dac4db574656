//! Which names we answer to, and which web pages may talk to us.
//!
//! A browser on the developer's machine reaches a local server for any page that it shows: by a name that the page's
//! owner points at 127.0.0.1 (DNS rebinding), by a form or an image that needs no permission (simple requests), or by
//! `fetch`. So a request must name a host that is ours, and one that a browser sends for a page of another origin is
//! refused, reading or writing, unless that origin is configured. Clients that are no browsers send none of these
//! headers and notice nothing.
//!
//! Not there yet: function URLs, HTTP APIs and buckets, whose own CORS rules will take the place of this one.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::server::Reply;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Names besides `localhost` whose every subdomain is ours: those of AWS, which clients resolve to us or set as the
/// signed host, and the public name of 127.0.0.1 that tools for local clouds use.
const SUFFIXES: [&str; 4] = [".localhost", ".localhost.localstack.cloud", ".amazonaws.com", ".amazonaws.com.cn"];
const NAMES: [&str; 2] = ["localhost", "localhost.localstack.cloud"];

/// Lets a configured page read what clients read.
const EXPOSED: &str = "x-amzn-requestid,x-amz-request-id,x-amzn-errortype,x-amz-function-error,x-amz-log-result,\
    x-amz-executed-version,x-amz-version-id,etag,date";

/// Why a request is not for us, or not from someone we serve. The text is for whoever reads the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("The request names no host.")]
    Missing,
    #[error("The request names two hosts.")]
    Ambiguous,
    #[error(
        "The host {0:?} is not served here. If it is meant to be, start the server with `--name` and it, or add it to \
         LAMP_NAMES or to `server.names` in the configuration."
    )]
    NotServed(String),
    #[error(
        "A web page of {0} may not use this server. If it is meant to, start the server with `--origin` and its origin, \
         or add that to LAMP_ORIGINS or to `server.origins` in the configuration."
    )]
    CrossOrigin(String),
}

impl HostError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::NotServed(_) | Self::CrossOrigin(_) => StatusCode::FORBIDDEN,
        }
    }
}

/// The names and origins that the operator added.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Vec<String>,
    suffixes: Vec<String>,
    origins: Vec<String>,
}

/// A request that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// As the client wrote it, with its port.
    pub authority: &'a str,
    /// The configured origin that asks; it gets CORS headers.
    pub origin: Option<&'a HeaderValue>,
}

impl Hosts {
    /// `names` are host names, `*.` in front for all names below; `origins` are `scheme://host[:port]`.
    pub fn new(names: impl IntoIterator<Item = String>, origins: impl IntoIterator<Item = String>) -> Self {
        let mut hosts = Self::default();
        for name in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix('*') {
                Some(suffix) => hosts.suffixes.push(suffix.to_owned()),
                None => hosts.names.push(name),
            }
        }
        hosts.origins = origins.into_iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        hosts
    }

    /// Judges a head before anything else looks at it.
    pub fn admit<'a>(&self, parts: &'a Parts) -> Result<Admitted<'a>, HostError> {
        let authority = authority(parts)?;
        let name = host_name(authority);
        if !self.serves(name) {
            return Err(HostError::NotServed(name.chars().take(253).collect()));
        }
        let origin = self.origin(&parts.headers, authority)?;
        Ok(Admitted { authority, origin })
    }

    fn serves(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let ends = |suffix: &str| {
            let at = name.len().checked_sub(suffix.len()).filter(|at| *at > 0);
            at.and_then(|at| name.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let is_ours = || {
            NAMES.into_iter().any(is)
                || SUFFIXES.into_iter().any(ends)
                || self.names.iter().any(|known| is(known))
                || self.suffixes.iter().any(|suffix| ends(suffix))
        };
        is_address(name) || is_host_name(name) && is_ours()
    }

    /// The configured origin that the request comes from; `None` for a request from no page or from one of ours.
    fn origin<'a>(&self, headers: &'a HeaderMap, authority: &str) -> Result<Option<&'a HeaderValue>, HostError> {
        if let Some(value) = headers.get(header::ORIGIN) {
            let origin = value.to_str().unwrap_or("null");
            if self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
                return Ok(Some(value));
            }
            return if is_own(origin, authority) { Ok(None) } else { Err(cross_origin(origin)) };
        }
        // Images, forms that get, and links carry no Origin, but browsers say how the page relates to us.
        match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            Some(b"none" | b"same-origin") => Ok(None),
            Some(_) => Err(cross_origin("another site")),
            // A browser too old for that names the page itself.
            None => match headers.get(header::REFERER).map(|referer| referer.to_str().unwrap_or("null")) {
                Some(referer) if !is_own(referer, authority) => Err(cross_origin(referer)),
                _ => Ok(None),
            },
        }
    }

    /// The answer to a preflight of a configured origin, if this is one.
    pub fn preflight(parts: &Parts) -> Option<Response<Reply>> {
        if parts.method != Method::OPTIONS || !parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(wanted) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }

    /// The headers on every answer to a configured origin.
    pub fn allow(headers: &mut HeaderMap, origin: &HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

fn cross_origin(origin: &str) -> HostError {
    HostError::CrossOrigin(origin.chars().take(253).collect())
}

/// The one host that the request names: `:authority`, the target's, or the Host header, which must not contradict it.
fn authority(parts: &Parts) -> Result<&str, HostError> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(HostError::Ambiguous),
        (header, None) => header.map(|value| value.to_str().unwrap_or_default()),
    };
    match (parts.uri.authority().map(http::uri::Authority::as_str), header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => Err(HostError::Ambiguous),
        (Some(authority), _) | (None, Some(authority)) if !authority.is_empty() => Ok(authority),
        _ => Err(HostError::Missing),
    }
}

/// Without the port. What is no plain `host[:port]` comes back whole and is no name that anyone serves.
fn host_name(authority: &str) -> &str {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (authority, ""),
    };
    if port.bytes().all(|b| b.is_ascii_digit()) { name } else { authority }
}

/// Labels of letters, digits, hyphens and underscores. What is none ends up in URLs that we answer, and means another
/// host there than its suffix says.
fn is_host_name(name: &str) -> bool {
    let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_label))
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether the URL or origin is of the very host and port that the request went to. The host is known to be ours, so
/// a rebound name does not get here.
fn is_own(url: &str, authority: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admit(hosts: &Hosts, headers: &[(&str, &str)]) -> Result<bool, u16> {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        hosts.admit(&parts).map(|admitted| admitted.origin.is_some()).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn our_names_are_served_and_no_others() {
        let hosts = Hosts::new(["Lamp.example".to_owned(), "*.lan".to_owned()], []);
        for name in [
            "localhost",
            "localhost:4566",
            "LOCALHOST.",
            "a.b.localhost",
            "127.0.0.1:1",
            "10.0.0.7",
            "[::1]:4566",
            "[::1]",
            "sqs.us-east-1.amazonaws.com",
            "lambda.cn-north-1.amazonaws.com.cn",
            "x.localhost.localstack.cloud:4566",
            "localhost.localstack.cloud",
            "lamp.example",
            "host.lan:80",
        ] {
            assert_eq!(admit(&hosts, &[("host", name)]), Ok(false), "{name}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.nip.io",
            "amazonaws.com.evil.io",
            ".localhost",
            "lan",
            "x.lamp.example",
            "2130706433",
            "0x7f.1",
            "[::1",
            "::1",
            "user@localhost",
            "localhost:80:90",
            "localhost:port",
            "evilamazonaws.com",
            "x.lambda-url.us-east-1.on.aws",
            "evil.com#.localhost",
            "evil.com/.localhost",
            "evil.com?.localhost",
            "evil.com\\.localhost",
            "user@x.localhost",
            "x..localhost",
            "..localhost",
            "x y.localhost",
            "x%2f.amazonaws.com",
            "localhost..",
            "a/b.lan",
        ] {
            assert_eq!(admit(&hosts, &[("host", name)]), Err(403), "{name}");
        }
        assert_eq!(admit(&hosts, &[]), Err(400));
        assert_eq!(admit(&hosts, &[("host", "localhost"), ("host", "localhost")]), Err(400));
    }

    #[test]
    fn a_refusal_names_the_settings_that_would_allow_it() {
        let said = [HostError::NotServed("a".into()).to_string(), HostError::CrossOrigin("b".into()).to_string()];
        let settings =
            [["`--name`", "LAMP_NAMES", "`server.names`"], ["`--origin`", "LAMP_ORIGINS", "`server.origins`"]];
        for (said, settings) in said.iter().zip(settings) {
            assert!(settings.iter().all(|setting| said.contains(setting)), "{said}");
        }
    }

    #[test]
    fn pages_of_other_origins_drive_nothing() {
        let hosts = Hosts::new([], ["https://console.example/".to_owned()]);
        let with = |name: &str, value: &str| admit(&hosts, &[("host", "localhost:4566"), (name, value)]);
        assert_eq!(with("origin", "https://console.example"), Ok(true));
        assert_eq!(with("origin", "http://localhost:4566"), Ok(false));
        for origin in ["http://localhost:3000", "http://evil.example", "null", "https://console.example.evil.io", "é"]
        {
            assert_eq!(with("origin", origin), Err(403), "{origin}");
        }
        for (site, admitted) in [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false)] {
            assert_eq!(with("sec-fetch-site", site).is_ok(), admitted, "{site}");
        }
        assert_eq!(with("referer", "http://localhost:4566/console"), Ok(false));
        assert_eq!(with("referer", "http://evil.example/page"), Err(403));
    }

    #[test]
    fn a_target_that_contradicts_the_host_is_refused() {
        let request = http::Request::builder().uri("http://localhost/").header("host", "evil.example");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(Hosts::default().admit(&parts), Err(HostError::Ambiguous));
    }

    #[test]
    fn a_preflight_is_answered_for_configured_origins_only() {
        let request = http::Request::builder().method("OPTIONS").uri("/").header("host", "localhost");
        let request = request.header("origin", "https://a.example").header("access-control-request-method", "POST");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert!(Hosts::default().admit(&parts).is_err());
        let hosts = Hosts::new([], ["https://a.example".to_owned()]);
        assert!(hosts.admit(&parts).unwrap().origin.is_some());
        let response = Hosts::preflight(&parts).unwrap();
        assert_eq!(response.status(), 204);
        assert!(response.headers().contains_key("access-control-allow-methods"));
    }

    proptest! {
        #[test]
        fn no_host_makes_it_panic(name in "\\PC{0,40}", origin in "\\PC{0,40}") {
            let (name, origin) = (HeaderValue::from_bytes(name.as_bytes()), HeaderValue::from_bytes(origin.as_bytes()));
            if let (Ok(name), Ok(origin)) = (name, origin) {
                let request = http::Request::builder().uri("/").header("host", name).header("origin", origin);
                let (parts, ()) = request.body(()).unwrap().into_parts();
                let _ = Hosts::new(["*".to_owned()], []).admit(&parts);
            }
        }
    }
}
