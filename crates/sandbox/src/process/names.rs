//! Names for sandboxes with egress: the server listens inside, at `NAMESERVER`, and asks the host's nameservers from
//! the host's own network. So the fence needs no hole for it, it does not matter where those are (the host's loopback,
//! a container's), and a flood of queries ends here.
//!
//! Nothing is read in a query or an answer. What an answer leads to is the fence's business, whatever the name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use base::Spawn;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket as AsyncUdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::limits::{NAME_BYTES_MAX, NAME_QUERIES_A_SECOND_MAX, NAME_QUERIES_MAX};

/// What `/etc/resolv.conf` names inside.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const PORT: u16 = 53;

/// How long one nameserver may take; a resolver inside waits five seconds for us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(10);

/// After the server ran out of what it takes to listen, such as descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it is believed whom the host asks: reading that keeps everybody else waiting.
const HOST_KNOWN_FOR: Duration = Duration::from_secs(1);

/// As the host's own resolver does.
const SERVERS_MAX: usize = 3;

/// The sockets inside, as the spawner makes and the server takes them.
pub fn listen() -> io::Result<[OwnedFd; 2]> {
    let udp = UdpSocket::bind((NAMESERVER, PORT))?;
    let tcp = TcpListener::bind((NAMESERVER, PORT))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok([udp.into(), tcp.into()])
}

/// Answers on these sockets until the sandbox is gone.
pub fn serve(
    [udp, tcp]: [OwnedFd; 2],
    servers: &[IpAddr],
    gone: &watch::Receiver<Option<u64>>,
    spawn: &Arc<dyn Spawn>,
) -> io::Result<()> {
    let servers = if servers.is_empty() { Servers::OfHost(Mutex::default()) } else { Servers::Given(servers.to_vec()) };
    let names = Arc::new(Names { servers, queries: Arc::new(Semaphore::new(NAME_QUERIES_MAX)) });
    let udp = Arc::new(AsyncUdpSocket::from_std(udp.into())?);
    let tcp = tokio::net::TcpListener::from_std(tcp.into())?;
    let (mut gone, tasks) = (gone.clone(), Arc::clone(spawn));
    let task = async move {
        tokio::select! {
            _ = gone.wait_for(Option::is_some) => {}
            () = answer_datagrams(&udp, &names, &tasks) => {}
            () = answer_streams(&tcp, &names, &tasks) => {}
        }
    };
    spawn.spawn("names", Box::pin(task));
    Ok(())
}

struct Names {
    servers: Servers,
    queries: Arc<Semaphore>,
}

/// Whom to ask.
enum Servers {
    Given(Vec<IpAddr>),
    /// Whom the host asks at the time: as read a moment ago.
    OfHost(Mutex<Option<(Instant, Vec<IpAddr>)>>),
}

impl Servers {
    fn get(&self, now: Instant, read: impl FnOnce() -> Vec<IpAddr>) -> Vec<IpAddr> {
        match self {
            Servers::Given(servers) => servers.clone(),
            Servers::OfHost(known) => {
                let mut known = known.lock();
                if known.as_ref().is_none_or(|(at, _)| now.duration_since(*at) >= HOST_KNOWN_FOR) {
                    *known = Some((now, read()));
                }
                known.as_ref().map(|(_, servers)| servers.clone()).unwrap_or_default()
            }
        }
    }
}

impl Names {
    fn servers(&self) -> Vec<SocketAddr> {
        let servers = self.servers.get(Instant::now(), of_host);
        servers.into_iter().take(SERVERS_MAX).map(|server| SocketAddr::new(server, PORT)).collect()
    }

    /// The first answer of the nameservers, in their order.
    async fn ask(&self, query: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(answer)) = timeout(ANSWER_TIMEOUT, ask(server, query)).await {
                return Some(answer);
            }
        }
        None
    }
}

async fn ask(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    // A socket a query: its port is one more thing that a forger has to guess.
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = AsyncUdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; NAME_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer.get(..2) == query.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

/// A query too many is not answered; who asks, asks again.
async fn answer_datagrams(socket: &Arc<AsyncUdpSocket>, names: &Arc<Names>, spawn: &Arc<dyn Spawn>) {
    let mut query = vec![0; NAME_BYTES_MAX];
    let (mut second, mut count) = (Instant::now(), 0);
    loop {
        let Ok((length, from)) = socket.recv_from(&mut query).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if second.elapsed() >= Duration::from_secs(1) {
            (second, count) = (Instant::now(), 0);
        }
        count += 1;
        let Ok(permit) = Arc::clone(&names.queries).try_acquire_owned() else { continue };
        if count > NAME_QUERIES_A_SECOND_MAX {
            continue;
        }
        let query = query.get(..length).unwrap_or_default().to_vec();
        if !is_question(&query) {
            continue;
        }
        let (socket, names) = (Arc::clone(socket), Arc::clone(names));
        let task = async move {
            if let Some(answer) = names.ask(&query).await {
                let _ = socket.send_to(&answer, from).await;
            }
            drop(permit);
        };
        spawn.spawn("name query", Box::pin(task));
    }
}

/// Whether it asks for a name, and nothing else: a nameserver trusts the host with more than that.
fn is_question(message: &[u8]) -> bool {
    let Some((header, mut name)) = message.split_first_chunk::<12>() else { return false };
    let [_, _, flags, _, 0, 1, ..] = header else { return false };
    // A query, of the usual kind, for one name.
    if flags & 0b1111_1000 != 0 {
        return false;
    }
    while let Some((length, rest)) = name.split_first() {
        if *length == 0 {
            // Not a copy of the whole zone, nor of what changed in it.
            return rest.get(..2).is_some_and(|kind| kind != [0, 251] && kind != [0, 252]);
        }
        let Some(rest) = rest.get(usize::from(*length)..) else { return false };
        name = rest;
    }
    false
}

/// One message of a stream: its length in two bytes, and itself.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(from.read_u16().await?)];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send_message(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), bytes].concat()).await
}

/// Question by question, until one is none.
async fn converse(inside: &mut TcpStream, outside: &mut TcpStream) -> io::Result<()> {
    loop {
        let question = message(inside).await?;
        if !is_question(&question) {
            return Ok(());
        }
        send_message(outside, &question).await?;
        send_message(inside, &message(outside).await?).await?;
    }
}

/// What is too long for a datagram.
async fn answer_streams(listener: &tokio::net::TcpListener, names: &Arc<Names>, spawn: &Arc<dyn Spawn>) {
    loop {
        let Ok(permit) = Arc::clone(&names.queries).acquire_owned().await else { return };
        let Ok((mut inside, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let names = Arc::clone(names);
        let task = async move {
            let conversation = async {
                for server in names.servers() {
                    if let Ok(Ok(mut outside)) = timeout(ANSWER_TIMEOUT, TcpStream::connect(server)).await {
                        let _ = converse(&mut inside, &mut outside).await;
                        return;
                    }
                }
            };
            let _ = timeout(CONVERSATION_TIMEOUT, conversation).await;
            drop(permit);
        };
        spawn.spawn("name query", Box::pin(task));
    }
}

/// What the host asks, or, as its own resolver would, itself.
fn of_host() -> Vec<IpAddr> {
    let servers = parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    if servers.is_empty() { vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { servers }
}

fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_of_the_host_are_found_wherever_they_are() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 127.0.0.11\nnameserver\t::1 \nnameserver fe80::1%eth0\noptions ndots:0\n";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.11", "::1"]);
    }

    #[test]
    fn only_questions_pass() {
        let question = |flags: u8, kind: u8| {
            let head = [7, 7, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            [&head[..], b"\x07example\x03org\0", &[0, kind, 0, 1]].concat()
        };
        assert!(is_question(&question(1, 1)) && is_question(&question(1, 28)));
        // An answer, an update, a zone, what changed in one.
        for no in [question(0x80, 1), question(5 << 3, 6), question(0, 252), question(0, 251)] {
            assert!(!is_question(&no), "{no:?}");
        }
        for cut in 0..question(1, 1).len() - 2 {
            assert!(!is_question(&question(1, 1)[..cut]), "{cut}");
        }
        assert!(!is_question(b"GET /secret HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn whom_the_host_asks_is_read_once_a_second() {
        let servers = Servers::OfHost(Mutex::default());
        let (begin, old, new) = (Instant::now(), [127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let asked = |millis, read| servers.get(begin + Duration::from_millis(millis), || vec![read]);
        assert_eq!([asked(0, old), asked(999, new), asked(1_000, new)], [vec![old], vec![old], vec![new]]);
    }
}
