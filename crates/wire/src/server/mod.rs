//! Listening: sockets in, requests out to whoever serves them.
//!
//! [`Listener::bind`] takes an address, [`Server::run`] serves any number of them until it is told to stop, and
//! [`Serve`] is what gets the requests: the AWS pipeline, or a test. Per connection, [`connection`] picks TLS and the
//! HTTP version, [`guard`] bounds and times what the client sends, [`framing`] refuses what two readers could read
//! differently, [`reply`] is the body of an answer.
//!
//! Invariants: no wait on a client is without a deadline, nothing that a client sends is kept beyond a named limit,
//! and a panic costs one request. Not here: HTTP/3.

mod connection;
mod framing;
mod guard;
mod reply;
mod tasks;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{BoxFuture, Spawn};
use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{self, Limits};

pub use connection::Peer;
pub use reply::{Reply, Source};
pub use tasks::Tasks;
pub use tls::{Tls, TlsError};

use connection::{Room, Shared};
use guard::Pressure;

/// Answers requests.
pub trait Serve: Send + Sync {
    fn serve(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<'static, Response<Reply>>;

    /// The answer where there is no request to serve.
    fn refuse(&self, unserved: Unserved) -> Response<Reply>;

    /// Where the listener counts its connections.
    fn counts(&self) -> Arc<Counts> {
        Arc::default()
    }
}

/// Why a request cannot be served.
#[derive(Debug)]
pub enum Unserved {
    /// Its head is not acceptable. The message is for the client.
    Head { status: u16, message: String },
    /// Serving it panicked.
    Panicked,
    /// As many as the server takes at once are being served.
    Busy,
}

#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

/// A bound address, not yet accepting.
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    /// Never speaks TLS.
    is_plain: bool,
}

impl Listener {
    /// Must be called within a tokio runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart must not wait for the connections of the process before it to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(limits::LISTEN_BACKLOG)?;
            Ok(Self { local: socket.local_addr()?, socket, is_plain: false })
        };
        bind().map_err(|source| BindError { address, source })
    }

    /// Speaks plain HTTP here though the server has TLS: for who is within this machine.
    pub fn without_tls(self) -> Self {
        Self { is_plain: true, ..self }
    }

    /// The address in truth, where the wanted port was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// What the listeners count, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    pub accepted: AtomicU64,
    /// Closed at once, because their peer had too many.
    pub refused: AtomicU64,
    pub open: AtomicU64,
}

/// Accepts connections and serves them.
pub struct Server {
    shared: Arc<Shared>,
    census: Arc<Census>,
}

impl Server {
    pub fn new(serve: Arc<dyn Serve>, spawn: Arc<dyn Spawn>, tls: Option<Tls>, limits: Limits) -> Self {
        let census = Arc::new(Census::new(&limits, serve.counts()));
        let shared = Shared {
            serve,
            spawn,
            tls: tls.map(|tls| tls.0),
            pressure: census.clone(),
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            limits,
        };
        Self { shared: Arc::new(shared), census }
    }

    /// Lets clients in by a listener, until its door is closed.
    pub fn open(&self, listener: Listener) -> Door {
        let (running, closes) = (TaskTracker::new(), CancellationToken::new());
        let room = Arc::new(Room { shared: self.shared.clone(), is_plain: listener.is_plain, running, closes });
        let (here, census) = (room.clone(), self.census.clone());
        let accepting = async move {
            tokio::select! {
                () = here.closes.cancelled() => {}
                () = accept(&listener, &here, &census) => {}
            }
        };
        self.shared.spawn.spawn("accept", Box::pin(accepting));
        Door(room)
    }
}

/// A way in.
pub struct Door(Arc<Room>);

impl Door {
    /// Accepts no more, lets requests end, also those whose clients have left, closes idle connections, and returns when none
    /// is left or the drain's deadline has come. `true` when all ended by themselves.
    pub async fn close(&self) -> bool {
        let Room { shared, running, closes, .. } = &*self.0;
        closes.cancel();
        running.close();
        tokio::time::timeout(shared.limits.drain_timeout, running.wait()).await.is_ok()
    }
}

async fn accept(listener: &Listener, room: &Arc<Room>, census: &Arc<Census>) {
    loop {
        // Beyond the cap, clients wait in the kernel's queue; idle connections give way within seconds.
        let Ok(permit) = census.permits.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        census.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let Some(place) = census.admit(address.ip(), permit) else {
            census.counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let serving = connection::run(room.clone(), stream, address, listener.local);
        let serving = room.running.track_future(async move {
            serving.await;
            drop(place);
        });
        room.shared.spawn.spawn("connection", Box::pin(serving));
    }
}

/// A client that left before it was accepted is no trouble; a lack of descriptors or memory passes only with time.
async fn pause_after(error: &io::Error) {
    let is_clients = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if !is_clients {
        tracing::warn!(%error, "accepting a connection failed");
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}

/// Who is connected.
struct Census {
    permits: Arc<Semaphore>,
    pressure_below: usize,
    per_peer_max: usize,
    peers: Mutex<HashMap<IpAddr, usize>>,
    counts: Arc<Counts>,
}

/// A connection's entry in the census; dropping it leaves.
struct Place {
    census: Arc<Census>,
    peer: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Census {
    fn new(limits: &Limits, counts: Arc<Counts>) -> Self {
        let spare_percent = 100_usize.saturating_sub(limits::CONNECTIONS_PRESSURE_PERCENT);
        Self {
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            pressure_below: limits.connections_max.saturating_mul(spare_percent) / 100,
            per_peer_max: limits.connections_per_peer_max,
            peers: Mutex::default(),
            counts,
        }
    }

    /// `None` when the peer has as many as it may.
    fn admit(self: &Arc<Self>, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let peer = (!address.to_canonical().is_loopback()).then(|| network(address));
        if let Some(peer) = peer {
            let mut peers = self.peers.lock();
            let count = peers.entry(peer).or_default();
            if *count >= self.per_peer_max {
                return None;
            }
            *count = count.saturating_add(1);
        }
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { census: self.clone(), peer, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.counts.open.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        let mut peers = self.census.peers.lock();
        match peers.get_mut(&peer) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => {
                peers.remove(&peer);
            }
        }
    }
}

impl Pressure for Census {
    fn is_high(&self) -> bool {
        self.permits.available_permits() < self.pressure_below
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that one IPv6 host can choose addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_gets_its_share_and_gives_it_back() {
        let limits = Limits { connections_max: 8, connections_per_peer_max: 2, ..Limits::default() };
        let census = Arc::new(Census::new(&limits, Arc::default()));
        let admit = |address: &str| {
            let permit = census.permits.clone().try_acquire_owned().unwrap();
            census.admit(address.parse().unwrap(), permit)
        };
        let _first = admit("2001:db8::1").unwrap();
        let second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none(), "the same /64");
        assert!(admit("2001:db8:0:1::3").is_some());
        drop(second);
        assert!(admit("2001:db8::3").is_some());
        let loopback: Vec<_> = (0..6).map(|_| admit("127.0.0.1").unwrap()).collect();
        assert!(census.is_high());
        drop(loopback);
        assert_eq!(census.peers.lock().len(), 1);
    }
}
