//! One request to the collector.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a collector may take with one request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// What of its answer is looked at.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Where a collector listens: `http://host:4318`, with or without a path before `/v1/logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("send telemetry to {0:?}: an endpoint is http://HOST or http://HOST:PORT, such as http://localhost:4318")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let bad = || EndpointError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || uri.query().is_some() {
            return Err(bad());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Endpoint { host, port: uri.port_u16().unwrap_or(PORT), path })
    }
}

/// The port that the protocol gives collectors.
const PORT: u16 = 4318;

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The same may be taken later.
    #[error("send telemetry to the collector: {0}")]
    Later(String),
    /// It never will.
    #[error("send telemetry to the collector: it refused it with {0}")]
    Never(StatusCode),
}

impl Endpoint {
    /// Sends a body to one of the protocol's paths.
    pub async fn send(&self, path: &str, body: Bytes) -> Result<(), SendError> {
        match timeout(REQUEST_MAX, self.exchange(path, body)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) if is_passing(status) => Err(SendError::Later(format!("it answered {status}"))),
            Ok(Ok(status)) => Err(SendError::Never(status)),
            Ok(Err(error)) => Err(SendError::Later(error)),
            Err(_) => Err(SendError::Later(format!("it did not answer within {} s", REQUEST_MAX.as_secs()))),
        }
    }

    async fn exchange(&self, path: &str, body: Bytes) -> Result<StatusCode, String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await.map_err(|error| told(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.path))
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| told(&error))?;
        let exchange = async {
            let reply = sender.send_request(request).await.map_err(|error| told(&error))?;
            let status = reply.status();
            // Read, so that its sender may finish it; what it says is nobody's affair.
            Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await.ok();
            Ok(status)
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(told(&error)),
            },
        }
    }
}

/// The answers after which the protocol says that one tries again.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
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
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for bad in ["", "localhost:4318", "https://host", "http://", "http://host?x=1", "grpc://host:4317"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
