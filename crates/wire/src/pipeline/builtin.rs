//! Paths of our own beside AWS's: health, metrics, and what tools for local clouds ask.
//!
//! The binary supplies the table. No bucket can have such a name, so they hide nothing of S3.

use std::sync::Arc;

use base::BoxFuture;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::server::{Peer, Reply};

use super::Mode;

const PREFIXES: [&str; 2] = ["/_lamp/", "/_localstack/"];

/// Who may call a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anyone,
    /// In strict mode, peers on this machine only.
    Machine,
}

/// A request to a path of our own.
#[derive(Debug)]
pub struct BuiltinRequest {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Bytes,
    pub peer: Peer,
    /// The header of that name, as it was sent: nobody has looked at it.
    pub authorization: Option<HeaderValue>,
}

type Run = Arc<dyn Fn(BuiltinRequest) -> BoxFuture<'static, Response<Reply>> + Send + Sync>;

/// One path of our own.
#[derive(Clone)]
pub struct Builtin {
    method: Method,
    /// Whole, or all below it when it ends in `/`.
    path: &'static str,
    access: Access,
    pub(super) run: Run,
}

impl Builtin {
    pub fn new<F>(
        method: Method,
        path: &'static str,
        access: Access,
        run: impl Fn(BuiltinRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Reply>> + Send + 'static,
    {
        Self { method, path, access, run: Arc::new(move |request| Box::pin(run(request))) }
    }

    fn is_at(&self, path: &str) -> bool {
        if self.path.ends_with('/') { path.starts_with(self.path) } else { path == self.path }
    }

    /// HEAD is GET without the body.
    fn takes(&self, method: &Method) -> bool {
        self.method == *method || self.method == Method::GET && *method == Method::HEAD
    }
}

/// `None` for a path that is not of ours; else what runs it, or the status that says why nothing does.
pub(super) fn find<'a>(
    table: &'a [Builtin],
    method: &Method,
    path: &str,
    mode: Mode,
    peer: Peer,
) -> Option<Result<&'a Builtin, StatusCode>> {
    if !PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
        return None;
    }
    let mut at_path = table.iter().filter(|builtin| builtin.is_at(path)).peekable();
    if at_path.peek().is_none() {
        return Some(Err(StatusCode::NOT_FOUND));
    }
    let Some(builtin) = at_path.find(|builtin| builtin.takes(method)) else {
        return Some(Err(StatusCode::METHOD_NOT_ALLOWED));
    };
    let is_near = peer.address.ip().to_canonical().is_loopback();
    if builtin.access == Access::Machine && mode == Mode::Strict && !is_near {
        return Some(Err(StatusCode::FORBIDDEN));
    }
    Some(Ok(builtin))
}

/// These paths speak no protocol of AWS, so neither do their errors.
pub(super) fn refusal(status: StatusCode) -> Response<Reply> {
    let text = format!("{{\"message\":\"{}\"}}\n", status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(Reply::Whole(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_by_method_access_and_peer() {
        let builtin = |method, path, access| Builtin::new(method, path, access, |_| async { refusal(StatusCode::OK) });
        let table = [
            builtin(Method::GET, "/_lamp/health", Access::Anyone),
            builtin(Method::GET, "/_lamp/metrics", Access::Machine),
            builtin(Method::GET, "/_lamp/code/", Access::Anyone),
        ];
        let near: Peer =
            Peer { address: "127.0.0.1:1".parse().unwrap(), local: "127.0.0.1:2".parse().unwrap(), is_tls: false };
        let far = Peer { address: "192.0.2.1:1".parse().unwrap(), ..near };
        let status = |method: Method, path, mode, peer| {
            find(&table, &method, path, mode, peer).map(|found| found.map_or_else(|status| status.as_u16(), |_| 200))
        };
        assert_eq!(status(Method::GET, "/2015-03-31/functions", Mode::Dev, near), None);
        assert_eq!(status(Method::HEAD, "/_lamp/health", Mode::Strict, far), Some(200));
        assert_eq!(status(Method::POST, "/_lamp/health", Mode::Dev, near), Some(405));
        assert_eq!(status(Method::GET, "/_lamp/code/a/b", Mode::Dev, near), Some(200));
        assert_eq!(status(Method::GET, "/_lamp/healthy", Mode::Dev, near), Some(404));
        for (mode, peer, expected) in [(Mode::Dev, far, 200), (Mode::Strict, far, 403), (Mode::Strict, near, 200)] {
            assert_eq!(status(Method::GET, "/_lamp/metrics", mode, peer), Some(expected));
        }
    }
}
