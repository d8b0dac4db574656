//! HTTP on a sandbox's own port: paths, heads and bodies. Peers are the sandbox's programs, which nobody trusts.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;

use ::http::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode};
use base::{Chance, Spawn};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::{
    Body, CREDENTIALS_PATH, Credentials, Kind, Piece, Reply, Request, extensions, invalid_request_id, no_init_error,
    refused,
};
use crate::environment::{BY_RUNTIMES, error_kind};
use crate::limits::{
    ACCEPT_AGAIN_AFTER, API_CONNECTIONS_MAX, API_DRAIN_BYTES_MAX, API_HEAD_BYTES_MAX, API_REQUESTS_MAX,
    API_WHOLE_BODIES_MAX, EXTENSION_BODY_BYTES_MAX, RESPONSE_BYTES_MAX,
};

/// A server's end for the session. Dropping it ends the server.
pub struct Served {
    pub requests: mpsc::Receiver<Request>,
    /// Whether there is a runtime that speaks HTTP.
    pub has_runtime: bool,
    /// Its last invocation: what is sent for another is refused unread.
    pub last: Arc<Mutex<Option<Last>>>,
    hang_ups: mpsc::Sender<HangUp>,
}

/// What is known of an invocation before its answer is read.
#[derive(Debug, Clone)]
pub struct Last {
    pub id: String,
    /// Whether who waits for it takes the response as it is written. Most clients do not declare how they respond, and
    /// those that do are understood either way.
    pub wants_stream: bool,
}

/// The next generation, and who waits until the one before is not heard any more.
type HangUp = (u64, oneshot::Sender<()>);

impl Served {
    /// Ends every connection there is, accepted or not yet.
    pub async fn hang_up(&self, next: u64) {
        let (done, is_done) = oneshot::channel();
        if self.hang_ups.send((next, done)).await.is_ok() {
            is_done.await.ok();
        }
    }
}

/// Serves until what it returns is dropped.
pub fn serve(
    listener: StdTcpListener,
    has_runtime: bool,
    credentials: Option<Credentials>,
    spawn: &Arc<dyn Spawn>,
    chance: &Arc<dyn Chance>,
) -> io::Result<Served> {
    let backlog = listener.try_clone()?;
    let listener = TcpListener::from_std(listener)?;
    let (requests, received) = mpsc::channel(API_REQUESTS_MAX);
    let (hang_ups, hung_up) = mpsc::channel(1);
    let last = Arc::new(Mutex::new(None));
    let ears = Ears {
        requests,
        has_runtime,
        last: Arc::clone(&last),
        whole_bodies: Arc::new(Semaphore::new(API_WHOLE_BODIES_MAX)),
        chance: Arc::clone(chance),
        credentials: credentials.map(Arc::new),
    };
    let server = Server {
        listener,
        backlog,
        room: Arc::new(Semaphore::new(API_CONNECTIONS_MAX)),
        generation: watch::Sender::new(0),
        ears,
        spawn: Arc::clone(spawn),
    };
    spawn.spawn("runtime api", Box::pin(server.run(hung_up)));
    Ok(Served { requests: received, has_runtime, last, hang_ups })
}

struct Server {
    listener: TcpListener,
    /// The same socket, to ask the kernel itself.
    backlog: StdTcpListener,
    room: Arc<Semaphore>,
    /// Connections end when it changes, or goes.
    generation: watch::Sender<u64>,
    ears: Ears,
    spawn: Arc<dyn Spawn>,
}

/// What every request is heard with.
#[derive(Clone)]
struct Ears {
    requests: mpsc::Sender<Request>,
    has_runtime: bool,
    last: Arc<Mutex<Option<Last>>>,
    /// Room for bodies that are kept until they are acted upon.
    whole_bodies: Arc<Semaphore>,
    /// Names extensions.
    chance: Arc<dyn Chance>,
    /// For a function that asks for them.
    credentials: Option<Arc<Credentials>>,
}

impl Server {
    async fn run(self, mut hang_ups: mpsc::Receiver<HangUp>) {
        loop {
            tokio::select! {
                hang_up = hang_ups.recv() => match hang_up {
                    Some((next, done)) => {
                        // First those whose ends may be what the others lack.
                        self.generation.send_replace(next);
                        self.empty_backlog(&done).await;
                        done.send(()).ok();
                    }
                    None => return,
                },
                (accepted, permit) = self.accept() => match (accepted, permit) {
                    (Ok(stream), Ok(permit)) => self.connect(stream, permit),
                    // Out of descriptors, most likely: others must end first.
                    _ => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
                },
            }
        }
    }

    /// Whoever waits to be accepted was killed too. Until all of them are gone, or nobody waits for that, none is
    /// accepted.
    async fn empty_backlog(&self, done: &oneshot::Sender<()>) {
        while !done.is_closed() {
            match self.backlog.accept() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
            }
        }
    }

    /// The permit is the connection's; without one the rest wait in the kernel.
    async fn accept(&self) -> (io::Result<TcpStream>, Result<OwnedSemaphorePermit, AcquireError>) {
        let permit = Arc::clone(&self.room).acquire_owned().await;
        (self.listener.accept().await.map(|(stream, _)| stream), permit)
    }

    fn connect(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        stream.set_nodelay(true).ok();
        let mut ended = self.generation.subscribe();
        let generation = *ended.borrow_and_update();
        let ears = self.ears.clone();
        let connection = async move {
            let service = service_fn(move |request| handle(request, generation, ears.clone()));
            let served =
                http1::Builder::new().max_buf_size(API_HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service);
            // What goes wrong on a connection is its peer's affair.
            tokio::select! {
                _ = ended.changed() => {}
                _ = served => {}
            }
            drop(permit);
        };
        self.spawn.spawn("runtime api connection", Box::pin(connection));
    }
}

async fn handle(
    request: HttpRequest<Incoming>,
    generation: u64,
    ears: Ears,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match route(request, &ears).await {
        Routed::Refused(reply) => reply,
        Routed::Request(kind) => ears.hear(generation, kind, async {}).await,
        Routed::Whole(kind, _room) => ears.hear(generation, kind, async {}).await,
        Routed::Streamed(kind, body, pieces) => ears.hear(generation, kind, feed(body, pieces)).await,
    };
    Ok(reply.map(Full::new))
}

impl Ears {
    /// Passes a request on, with what still belongs to it, and waits for its reply.
    async fn hear(&self, generation: u64, kind: Kind, rest: impl Future<Output = ()>) -> Reply {
        let (reply, replied) = oneshot::channel();
        if self.requests.send(Request { generation, kind, reply }).await.is_err() {
            return gone();
        }
        rest.await;
        replied.await.unwrap_or_else(|_| gone())
    }

    /// A whole body, as far as it may go, and the room that it takes.
    async fn whole(&self, body: Incoming) -> (Body, Room) {
        let room = Arc::clone(&self.whole_bodies).acquire_owned().await.ok();
        (read(body).await, room)
    }
}

/// The runtime that asked has been reset.
fn gone() -> Reply {
    refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "Internal Server Error")
}

pub(super) enum Routed {
    Refused(Reply),
    Request(Kind),
    /// With a body that was read.
    Whole(Kind, Room),
    /// With the body that is still to be passed on.
    Streamed(Kind, Incoming, mpsc::Sender<Piece>),
}

/// Held until the request with the body is answered.
pub(super) type Room = Option<OwnedSemaphorePermit>;

async fn route(request: HttpRequest<Incoming>, ears: &Ears) -> Routed {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if let Some(routed) = extensions::route(&head.method, &path) {
        return match small(body).await {
            Some(body) => routed.read(&head.headers, &body, ears.chance.uuid()),
            None => truncated(),
        };
    }
    if let Some(credentials) = ears.credentials.as_ref().filter(|_| path == CREDENTIALS_PATH) {
        return unread(body, credentials.reply(&head.headers)).await;
    }
    let path = path.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => Routed::Request(Kind::Next),
        (&Method::POST, ["init", "error"]) if ears.has_runtime => match ears.whole(body).await {
            (Body::Whole(body), room) => {
                let kind = error_type(&head.headers, "Runtime.Unknown");
                Routed::Whole(Kind::InitError { kind, body }, room)
            }
            _ => truncated(),
        },
        (&Method::POST, ["init", "error"]) => unread(body, no_init_error()).await,
        (&Method::POST, ["invocation", id, what @ ("error" | "response")]) => {
            let last = ears.last.lock().clone().filter(|last| last.id == *id);
            match last {
                None => unread(body, invalid_request_id()).await,
                Some(last) if *what == "response" => response(last, &head.headers, body, ears).await,
                Some(Last { id, .. }) => error(id, &head.headers, body, ears).await,
            }
        }
        _ => unread(body, not_found()).await,
    }
}

/// Refuses what need not be known for that.
async fn unread(body: Incoming, refusal: Reply) -> Routed {
    drain(body).await;
    Routed::Refused(refusal)
}

async fn error(id: String, headers: &HeaderMap, body: Incoming, ears: &Ears) -> Routed {
    match ears.whole(body).await {
        (Body::Whole(body), room) => {
            let kind = error_type(headers, "Function.Unknown");
            Routed::Whole(Kind::Error { id, kind, body }, room)
        }
        (Body::TooLarge, _) => Routed::Request(Kind::Response { id, content_type: None, body: Body::TooLarge }),
        _ => truncated(),
    }
}

async fn response(Last { id, wants_stream }: Last, headers: &HeaderMap, body: Incoming, ears: &Ears) -> Routed {
    let content_type = text(headers, "content-type");
    let mode = text(headers, "lambda-runtime-function-response-mode").filter(|mode| !mode.is_empty());
    match mode.as_deref() {
        Some(mode) if !mode.eq_ignore_ascii_case("streaming") => {
            drain(body).await;
            Routed::Request(Kind::Response { id, content_type, body: Body::BadMode })
        }
        None if !wants_stream => {
            let (body, room) = ears.whole(body).await;
            Routed::Whole(Kind::Response { id, content_type, body }, room)
        }
        _ => {
            // One piece waits; the rest is in the runtime's own socket.
            let (pieces, received) = mpsc::channel(1);
            let kind = Kind::Response { id, content_type, body: Body::Streamed(received) };
            Routed::Streamed(kind, body, pieces)
        }
    }
}

async fn read(mut body: Incoming) -> Body {
    let limit = usize::try_from(RESPONSE_BYTES_MAX).unwrap_or(usize::MAX);
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Body::Whole(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            drain(body).await;
            Body::TooLarge
        }
        Err(_) => Body::Truncated,
    }
}

/// A body of an extension's.
async fn small(mut body: Incoming) -> Option<Bytes> {
    match Limited::new(&mut body, EXTENSION_BODY_BYTES_MAX).collect().await {
        Ok(collected) => Some(collected.to_bytes()),
        Err(_) => {
            drain(body).await;
            None
        }
    }
}

/// Reads what nobody wants, within bounds, so that its sender gets to read the reply.
async fn drain(body: Incoming) {
    let mut body = Limited::new(body, API_DRAIN_BYTES_MAX);
    while let Some(Ok(_)) = body.frame().await {}
}

/// Passes on a streamed body. A receiver that is gone does not want it.
async fn feed(mut body: Incoming, pieces: mpsc::Sender<Piece>) {
    loop {
        let piece = match body.frame().await {
            None => Piece::End(None),
            // Dropping the sender says that it broke off.
            Some(Err(_)) => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Piece::End(failure(&trailers)),
                    Err(_) => continue,
                },
            },
        };
        let is_end = matches!(piece, Piece::End(_));
        if pieces.send(piece).await.is_err() || is_end {
            return;
        }
    }
}

/// The error that trailers tell of.
fn failure(trailers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    text(trailers, "lambda-runtime-function-error-type")?;
    let kind = error_type(trailers, "Function.Unknown");
    let encoded = text(trailers, "lambda-runtime-function-error-body").unwrap_or_default();
    Some((kind, base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap_or_default()))
}

fn error_type(headers: &HeaderMap, otherwise: &'static str) -> String {
    error_kind(&text(headers, "lambda-runtime-function-error-type").unwrap_or_default(), &BY_RUNTIMES, otherwise)
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn truncated() -> Routed {
    let message = "HTTP request detected as truncated";
    Routed::Refused(refused(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", message))
}

fn not_found() -> Reply {
    let mut reply = Response::new(Bytes::from_static(b"404 page not found\n"));
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use base::{BoxFuture, SystemChance};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinSet;

    use super::*;

    #[derive(Default)]
    struct Tasks(Mutex<JoinSet<()>>);

    impl Spawn for Tasks {
        fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
            self.0.lock().spawn(task);
        }
    }

    /// Nobody takes requests here: whatever is answered, the server answers alone.
    #[tokio::test]
    async fn what_may_not_be_said_is_refused_unread() {
        for (has_runtime, path, refusal) in [
            (true, "invocation/other/response", "Invalid request ID"),
            (true, "invocation/other/error", "Invalid request ID"),
            (false, "invocation/other/response", "Invalid request ID"),
            (false, "init/error", "State transition from Running to InitError failed"),
        ] {
            let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            let (spawn, chance): (Arc<dyn Spawn>, Arc<dyn Chance>) =
                (Arc::new(Tasks::default()), Arc::new(SystemChance::default()));
            let served = serve(listener, has_runtime, None, &spawn, &chance).unwrap();
            *served.last.lock() = has_runtime.then(|| Last { id: "this".into(), wants_stream: false });
            let mut client = TcpStream::connect(address).await.unwrap();
            let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
            client.write_all(format!("POST /2018-06-01/runtime/{path} {head}").as_bytes()).await.unwrap();
            let mut reply = String::new();
            client.read_to_string(&mut reply).await.unwrap();
            assert!(reply.contains(refusal) && served.requests.is_empty(), "{reply}");
        }
    }
}
