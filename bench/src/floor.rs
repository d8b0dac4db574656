//! The limit: a server that does only what cannot be left out of answering over HTTP. No signature, no routing, no
//! operation, no record.

use std::convert::Infallible;
use std::error::Error;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// As long as an answer to `GetFunction`.
const ANSWER: &[u8] = &[b'x'; 1200];

pub fn serve() -> Result<()> {
    serve_with(|| Ok(answer))
}

/// Serves on a free port, which it prints, until it is killed. What answers is made within the event loop.
pub fn serve_with<S, A, E>(make: impl FnOnce() -> Result<S>) -> Result<()>
where
    S: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Response<Full<Bytes>>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let answer = make()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("http://{}", listener.local_addr()?);
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service_fn(answer.clone());
            connections.spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new();
                connection.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    request.into_body().collect().await.ok();
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER))))
}
