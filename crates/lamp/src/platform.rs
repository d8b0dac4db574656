//! The server's own paths: health, metrics, links to code, and what tools made for LocalStack ask.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::{Clock, Timestamp};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use services::Cloud;
use wire::metrics::Metrics;
use wire::pipeline::{Access, Builtin, BuiltinRequest};
use wire::server::{Reply, Source};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What LocalStack's tools compare versions with: the last one whose API surface they need.
const LOCALSTACK_VERSION: &str = "4.9.0";

const LINK_PIECE_BYTES: usize = 256 * 1024;

/// What the paths tell of.
pub struct Platform {
    pub cloud: Arc<Cloud>,
    pub clock: Arc<dyn Clock>,
    pub started: Timestamp,
    pub metrics: Arc<Metrics>,
    /// Each service, and whether any operation of it is built.
    pub services: Vec<(&'static str, bool)>,
}

/// The paths, for the pipeline.
pub fn builtins(platform: &Arc<Platform>) -> Vec<Builtin> {
    let get = |path, access, answer: fn(&Platform) -> Response<Reply>| {
        let platform = platform.clone();
        Builtin::new(Method::GET, path, access, move |_| std::future::ready(answer(&platform)))
    };
    let linked = platform.clone();
    vec![
        get("/_lamp/health", Access::Anyone, Platform::health),
        get("/_lamp/metrics", Access::Machine, Platform::open_metrics),
        get("/_localstack/health", Access::Anyone, Platform::localstack_health),
        get("/_localstack/info", Access::Anyone, Platform::localstack_info),
        Builtin::new(Method::GET, services::CODE_LINK_PATH, Access::Anyone, move |request| {
            let platform = linked.clone();
            async move { platform.linked_code(request).await }
        }),
    ]
}

impl Platform {
    fn health(&self) -> Response<Reply> {
        let built = |is_built: &bool| if *is_built { "available" } else { "not implemented" };
        let services = self.services.iter().map(|(name, is_built)| ((*name).to_owned(), built(is_built).into()));
        answer_json(
            &json!({ "status": "ok", "version": VERSION, "services": services.collect::<Map<String, Value>>() }),
        )
    }

    fn localstack_health(&self) -> Response<Reply> {
        let built = |is_built: &bool| if *is_built { "available" } else { "disabled" };
        let services = self.services.iter().map(|(name, is_built)| ((*name).to_owned(), built(is_built).into()));
        answer_json(&json!({
            "services": services.collect::<Map<String, Value>>(),
            "edition": "community",
            "version": LOCALSTACK_VERSION,
        }))
    }

    fn localstack_info(&self) -> Response<Reply> {
        let now = self.clock.now();
        answer_json(&json!({
            "version": format!("{LOCALSTACK_VERSION}:lamplight-{VERSION}"),
            "edition": "community",
            "is_license_activated": false,
            "system": std::env::consts::OS,
            "is_docker": false,
            "server_time_utc": now.iso8601(),
            "uptime": now.since(self.started).as_secs(),
        }))
    }

    fn open_metrics(&self) -> Response<Reply> {
        match self.metrics.render() {
            Ok(text) => answer(text, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            Err(error) => {
                tracing::error!(%error, "failed to render metrics");
                refused(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    async fn linked_code(&self, request: BuiltinRequest) -> Response<Reply> {
        let path = request.path.strip_prefix(services::CODE_LINK_PATH).unwrap_or_default();
        let Some((file, len)) = services::download_code(&self.cloud, self.clock.now(), path, &request.query).await
        else {
            return refused(StatusCode::FORBIDDEN);
        };
        let mut response = Response::new(Reply::Stream(Box::new(Pieces { file, at: 0, len })));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        response
    }
}

/// A file's content, read as the client takes it.
struct Pieces {
    file: File,
    at: u64,
    len: u64,
}

impl Source for Pieces {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let left = self.len.saturating_sub(self.at);
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; LINK_PIECE_BYTES.min(usize::try_from(left).unwrap_or(LINK_PIECE_BYTES))];
        Poll::Ready(Some(self.file.read_exact_at(&mut piece, self.at).map(|()| {
            self.at = self.at.saturating_add(piece.len() as u64);
            piece.into()
        })))
    }
}

fn answer_json(value: &Value) -> Response<Reply> {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
    answer(text, "application/json")
}

fn answer(text: String, content_type: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refused(status: StatusCode) -> Response<Reply> {
    let mut response = answer(format!("{status}\n"), "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}
