//! The server's own paths: health, metrics, links to code, and what tools made for LocalStack ask.

pub mod functions;

use std::sync::Arc;

use base::{Clock, Timestamp};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use services::Cloud;
use wire::metrics::Metrics;
use wire::pipeline::{Access, Builtin, BuiltinRequest};
use wire::server::Reply;

use crate::steering::{self, Desk};
use crate::usage::Books;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What LocalStack's tools compare versions with: the last one whose API surface they need.
const LOCALSTACK_VERSION: &str = "4.9.0";

/// What the paths tell of.
pub struct Platform {
    pub cloud: Arc<Cloud>,
    pub clock: Arc<dyn Clock>,
    pub started: Timestamp,
    pub metrics: Arc<Metrics>,
    pub books: Books,
    pub desk: Desk,
    /// Each service, and whether any operation of it is built.
    pub services: Vec<(&'static str, bool)>,
}

/// The paths, for the pipeline.
pub fn builtins(platform: &Arc<Platform>) -> Vec<Builtin> {
    let get = |path, access, answer: fn(&Platform) -> Response<Reply>| {
        let platform = platform.clone();
        Builtin::new(Method::GET, path, access, move |_| std::future::ready(answer(&platform)))
    };
    let (linked, used) = (platform.clone(), platform.clone());
    let mut paths = vec![
        get("/_lamp/health", Access::Anyone, Platform::health),
        get("/_lamp/metrics", Access::Machine, Platform::open_metrics),
        Builtin::new(Method::GET, "/_lamp/usage", Access::Machine, move |request| {
            let platform = used.clone();
            async move { platform.usage(&request.query).await }
        }),
        get("/_localstack/health", Access::Anyone, Platform::localstack_health),
        get("/_localstack/info", Access::Anyone, Platform::localstack_info),
        Builtin::new(Method::GET, services::CODE_LINK_PATH, Access::Anyone, move |request| {
            let platform = linked.clone();
            async move { platform.linked_code(request).await }
        }),
    ];
    for (method, path) in steering::PATHS {
        let platform = platform.clone();
        paths.push(Builtin::new(method.clone(), path, Access::Anyone, move |request| {
            let platform = platform.clone();
            async move { platform.desk.answer(request).await }
        }));
    }
    paths
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

    async fn usage(&self, query: &str) -> Response<Reply> {
        let asked = match self.books.asked(query) {
            Ok(asked) => asked,
            Err(reason) => {
                let mut response = answer_json(&json!({ "message": format!("failed to {reason}") }));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return response;
            }
        };
        match self.books.usage(&asked).await {
            Ok(told) => answer_json(&told),
            Err(error) => {
                tracing::error!(?error, "failed to read usage");
                refused(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    async fn linked_code(&self, request: BuiltinRequest) -> Response<Reply> {
        let path = request.path.strip_prefix(services::CODE_LINK_PATH).unwrap_or_default();
        let found = services::download_code(&self.cloud, self.clock.now(), path, &request.query).await;
        let (file, len) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return refused(StatusCode::FORBIDDEN),
            Err(error) => {
                tracing::error!(?error, "failed to serve code");
                return refused(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        let mut response = Response::new(Reply::file(file, len));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
        response
    }
}

pub fn answer_json(value: &Value) -> Response<Reply> {
    answer(value.to_string(), "application/json")
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
