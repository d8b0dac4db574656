//! One request to the collector.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::settings::{Compression, Endpoint, Settings};
use crate::tls::{self, TlsError};

/// How long a collector may take with one request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// What of its answer is looked at.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A collector, ready to be spoken to.
pub struct Collector {
    settings: Settings,
    tls: Option<TlsConnector>,
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

impl Collector {
    pub fn new(settings: Settings) -> Result<Collector, TlsError> {
        let connector = || tls::connector(settings.certificate.as_deref());
        let tls = settings.endpoint.is_tls.then(connector).transpose()?;
        Ok(Collector { settings, tls })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.settings.endpoint
    }

    /// A body as it goes over the wire.
    pub fn body(&self, body: &Value) -> Bytes {
        let body = body.to_string();
        match self.settings.compression {
            Compression::None => body.into(),
            Compression::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Level::default());
                // Memory always writes.
                packed.write_all(body.as_bytes()).and_then(|()| packed.finish()).unwrap_or_default().into()
            }
        }
    }

    /// Sends such a body to one of the protocol's paths.
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
        let Endpoint { port, .. } = self.settings.endpoint;
        let host = self.settings.endpoint.name();
        let request = self.request(path, body).map_err(|error| told(&error))?;
        let stream = TcpStream::connect((host, port)).await.map_err(|error| told(&error))?;
        let Some(tls) = &self.tls else { return ask(stream, request).await };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| told(&error))?;
        ask(tls.connect(name, stream).await.map_err(|error| told(&error))?, request).await
    }

    fn request(&self, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let Endpoint { host, port, path: before, .. } = &self.settings.endpoint;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{before}{path}"))
            .header(HOST, format!("{host}:{port}"))
            .body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.extend(self.settings.headers.0.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.settings.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(request)
    }
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
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

fn told(error: &dyn fmt::Display) -> String {
    error.to_string()
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
