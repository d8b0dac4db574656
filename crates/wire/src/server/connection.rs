//! One connection, from its first byte to its last: which encryption, which HTTP, and who watches its pace.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base::{BoxFuture, CatchPanic, Listener, Spawn};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{self, Limits};

use super::guard::{Guard, Link, Pressure, REFUSED, Socket};
use super::reply::{Departing, Flight, Reply};
use super::{Serve, Unserved};

/// The first byte of a TLS handshake, and of no HTTP request.
const TLS_HANDSHAKE: u8 = 0x16;

/// All that a plain connection gets where TLS is configured: one that went on would carry what must not be read.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 24\r\n\
    connection: close\r\n\r\nThis port speaks HTTPS.\n";

/// Whom a request comes from, and through which door.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    pub local: SocketAddr,
    pub is_tls: bool,
}

/// What every connection of a server shares.
pub(super) struct Shared {
    pub serve: Arc<dyn Serve>,
    pub spawn: Arc<dyn Spawn>,
    pub tls: Option<TlsAcceptor>,
    pub limits: Limits,
    pub pressure: Arc<dyn Pressure>,
    /// Room for requests.
    pub requests: Arc<Semaphore>,
}

/// What the connections of one listener share: they end together.
pub(super) struct Room {
    pub shared: Arc<Shared>,
    /// Nobody speaks TLS here.
    pub is_plain: bool,
    /// Connections and requests that have not ended.
    pub running: TaskTracker,
    /// Cancelled when it closes.
    pub closes: CancellationToken,
}

/// Serves one connection until either side ends it. Errors of a connection are the client's affair: they end it, and
/// are of interest to nobody else.
pub(super) async fn run(room: Arc<Room>, stream: TcpStream, address: SocketAddr, local: SocketAddr) {
    let shared = &room.shared;
    // Answers are written whole; waiting for more to send would only delay them. A socket that cannot do it still works.
    stream.set_nodelay(true).ok();
    let limit = shared.limits.head_timeout;
    let Ok(Some((socket, is_tls))) =
        timeout(limit, encryption(shared.tls.as_ref().filter(|_| !room.is_plain), stream)).await
    else {
        return;
    };
    let link = Arc::new(Link::default());
    let guard = Guard::new(socket, link.clone(), shared.pressure.clone(), shared.limits.clone());
    let peer = Peer { address, local, is_tls };
    let requests = Requests { room: room.clone(), link: link.clone(), peer };
    let builder = builder(shared.spawn.clone());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(guard), requests));
    let mut watch = Watch::new(&shared.limits, link.clone());
    let mut is_draining = false;
    loop {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = room.closes.cancelled(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = link.became_http2.notified(), if !watch.is_on => watch.is_on = true,
            verdict = watch.tick(), if watch.is_on => match verdict {
                Verdict::Fine => {}
                Verdict::Idle if is_draining => return,
                Verdict::Idle => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Stalled => return,
            }
        }
    }
}

/// TLS where it is configured. `None` when the handshake fails, or the client speaks something else.
async fn encryption(tls: Option<&TlsAcceptor>, stream: TcpStream) -> Option<(Box<dyn Socket>, bool)> {
    let Some(tls) = tls else { return Some((Box::new(stream), false)) };
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first == [TLS_HANDSHAKE] => {
            let stream = tls.accept(stream).await.ok()?;
            Some((Box::new(stream), true))
        }
        Ok(1) => {
            // Whether it hears why is the client's affair.
            turn_away(stream).await.ok();
            None
        }
        _ => None,
    }
}

/// Tells a client that does not encrypt that it must. What it sends is read for as long as it takes to let it see the
/// answer, and looked at by nobody.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_ANSWER).await?;
    stream.shutdown().await?;
    let rest = stream.take(limits::LINGER_BYTES_MAX as u64);
    let taken = timeout(limits::LINGER_TIMEOUT, async { copy(&mut pin!(rest), &mut sink()).await });
    taken.await.map_or(Ok(()), |taken| taken.map(|_| ()))
}

fn builder(spawn: Arc<dyn Spawn>) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams(spawn));
    // The guard times heads and idleness, and bounds the head; hyper's own timer would count idle time as reading.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits::HEAD_BYTES_MAX.saturating_mul(2));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::STREAM_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(limits::STREAM_ERRORS_MAX)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::STREAM_SEND_BYTES_MAX)
        .keep_alive_interval(limits::PING_INTERVAL)
        .keep_alive_timeout(limits::PING_TIMEOUT);
    builder
}

/// Runs the streams of an HTTP/2 connection as tasks.
#[derive(Clone)]
struct Streams(Arc<dyn Spawn>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn("http2 stream", Box::pin(stream));
    }
}

/// The requests of one connection. A client that hangs up loses the answer, but what it asked for is done whole, logged and
/// counted, and a drain waits for it.
struct Requests {
    room: Arc<Room>,
    link: Arc<Link>,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Departing>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let flight = Flight::begin(self.link.clone());
        let shared = &self.room.shared;
        let serve = shared.serve.clone();
        if request.method().as_str() == REFUSED {
            let refusal = self.link.refusal.lock().take();
            let unserved = refusal.map_or_else(
                || Unserved::Head { status: 400, message: format!("{REFUSED} is no method.") },
                |refusal| Unserved::Head { status: refusal.status(), message: refusal.to_string() },
            );
            return Box::pin(async move { Ok(depart(serve.refuse(unserved), flight)) });
        }
        let Ok(permit) = shared.requests.clone().try_acquire_owned() else {
            return Box::pin(async move { Ok(depart(serve.refuse(Unserved::Busy), flight)) });
        };
        let listener = Listener::default();
        request.extensions_mut().insert(listener.clone());
        let serving = serve_whole(serve, request, self.peer);
        let serving = self.room.running.track_future(async move {
            let response = serving.await;
            drop(permit);
            response
        });
        let whole = Whole { serving: Some(Box::pin(serving)), spawn: shared.spawn.clone(), listener };
        Box::pin(async move { Ok(depart(whole.await, flight)) })
    }
}

/// A request that is done whole. It runs where its connection runs, which costs neither a task nor a wake-up; when that is
/// gone, as a task of its own.
struct Whole {
    serving: Option<BoxFuture<'static, Response<Reply>>>,
    spawn: Arc<dyn Spawn>,
    listener: Listener,
}

impl Future for Whole {
    type Output = Response<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(serving) = &mut self.serving else { return Poll::Pending };
        let response = ready!(serving.as_mut().poll(cx));
        self.serving = None;
        Poll::Ready(response)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            self.listener.hang_up();
            self.spawn.spawn("request", Box::pin(async move { drop(serving.await) }));
        }
    }
}

/// A task that owns state does not run inside a request, so one that panics leaves nothing half-done behind.
async fn serve_whole(serve: Arc<dyn Serve>, request: Request<Incoming>, peer: Peer) -> Response<Reply> {
    let serving = serve.clone().serve(request, peer);
    CatchPanic(serving).await.unwrap_or_else(|| serve.refuse(Unserved::Panicked))
}

fn depart(response: Response<Reply>, flight: Flight) -> Response<Departing> {
    response.map(|reply| Departing::new(reply, flight))
}

enum Verdict {
    Fine,
    Idle,
    Stalled,
}

/// The pace of an HTTP/2 connection, which frames keep busy without any request moving: pings, window updates, half
/// header blocks. What counts is whether requests arrive and answers leave.
struct Watch {
    link: Arc<Link>,
    is_on: bool,
    every: Duration,
    head_timeout: Duration,
    idle_timeout: Duration,
    stall_timeout: Duration,
    seen: u64,
    since: Instant,
}

impl Watch {
    fn new(limits: &Limits, link: Arc<Link>) -> Self {
        Self {
            link,
            is_on: false,
            every: limits.head_timeout.min(limits.write_stall_timeout).min(limits.idle_timeout) / 4,
            head_timeout: limits.head_timeout,
            idle_timeout: limits.idle_timeout,
            stall_timeout: limits.write_stall_timeout,
            seen: 0,
            since: Instant::now(),
        }
    }

    async fn tick(&mut self) -> Verdict {
        tokio::time::sleep(self.every).await;
        let progress = self.link.progress.load(Ordering::Relaxed);
        if progress != self.seen {
            self.seen = progress;
            self.since = Instant::now();
            return Verdict::Fine;
        }
        let still = self.since.elapsed();
        let in_flight = self.link.in_flight.load(Ordering::Relaxed);
        let producing = self.link.producing.load(Ordering::Relaxed);
        match (in_flight, progress) {
            // Nothing was ever asked on this connection.
            (0, 0) if still >= self.head_timeout => Verdict::Stalled,
            (0, _) if still >= self.idle_timeout => Verdict::Idle,
            // All that is under way waits for the client to take its answer.
            (1.., _) if producing == 0 && still >= self.stall_timeout => Verdict::Stalled,
            _ => Verdict::Fine,
        }
    }
}
