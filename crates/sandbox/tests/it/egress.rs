//! The way out, against an internet of our own: a network namespace that plays the host, and one behind it that has
//! public, private and metadata addresses. Nothing of the machine's own network is touched.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sandbox::{Isolation, Network, Sandbox, Settings, StartError};

use crate::common::{OnTokio, isolation, isolation_without_root, output, settings, soon, spec, succeeded};

/// Two namespaces and a cable between them; gone when dropped.
struct Internet {
    host: String,
    beyond: String,
}

const PUBLIC: &str = "203.0.113.2";
const HOST: &str = "203.0.113.1";
const NAMESERVER: &str = "10.255.255.53";
const ALLOWED: &str = "10.1.2.3";
/// What stands beyond the host, and would answer.
const FORBIDDEN: [&str; 6] = ["10.9.9.9", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", NAMESERVER];

fn ip(arguments: &str) -> bool {
    Command::new("ip")
        .args(arguments.split(' '))
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|done| done.success())
}

impl Internet {
    /// `None` where the host does not let us, or has no `ip`.
    fn build() -> Option<Internet> {
        let id = std::process::id();
        let internet = Internet { host: format!("lamp-h{id}"), beyond: format!("lamp-i{id}") };
        let (host, beyond) = (&internet.host, &internet.beyond);
        let cable = format!("link add up0 netns {host} type veth peer name down0 netns {beyond}");
        let made = ip(&format!("netns add {host}")) && ip(&format!("netns add {beyond}")) && ip(&cable);
        if !made {
            return None;
        }
        for (namespace, address, device) in [(host, HOST, "up0"), (beyond, PUBLIC, "down0")] {
            assert!(ip(&format!("-n {namespace} addr add {address}/24 dev {device}")));
            assert!(
                ip(&format!("-n {namespace} link set {device} up")) && ip(&format!("-n {namespace} link set lo up"))
            );
        }
        for address in FORBIDDEN.iter().chain([&ALLOWED]) {
            assert!(ip(&format!("-n {beyond} addr add {address}/32 dev lo")));
        }
        assert!(ip(&format!("-n {host} route add default via {PUBLIC}")));
        Some(internet)
    }

    /// Runs `what` in a namespace, on a thread of its own.
    fn inside<T: Send + 'static>(namespace: &str, what: impl FnOnce() -> T + Send + 'static) -> T {
        let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
        let there = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            what()
        });
        there.join().unwrap()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.host));
        ip(&format!("netns del {}", self.beyond));
    }
}

/// Whether the namespace that this thread is in forwards packets.
fn forwards() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned()
}

fn listen(address: &str, port: u16) -> TcpListener {
    TcpListener::bind((address.parse::<Ipv4Addr>().unwrap(), port)).unwrap()
}

async fn sandbox(isolation: &Isolation) -> Sandbox {
    let mut wanted = spec("egress");
    wanted.network = Network::Egress;
    soon(isolation.start(wanted)).await.unwrap()
}

/// Which of these addresses take a connection within a second, from inside.
async fn reached(sandbox: &Sandbox, targets: &[(String, u16)]) -> Vec<String> {
    let tries: Vec<String> = targets
        .iter()
        .map(|(address, port)| {
            format!("(timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo {address}:{port}) &")
        })
        .collect();
    let (text, done) = output(sandbox, &format!("{} wait", tries.join(" "))).await;
    assert_eq!(done, succeeded());
    let mut reached: Vec<String> = text.lines().map(str::to_owned).collect();
    reached.sort();
    reached
}

#[tokio::test]
async fn out_go_only_packets_to_public_addresses() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root leads sandboxes out");
        return;
    }
    let Some(internet) = Internet::build() else {
        println!("skipped: this host makes no network namespaces for tests");
        return;
    };
    let servers: Vec<TcpListener> = Internet::inside(&internet.beyond, || {
        let everywhere = FORBIDDEN.iter().chain([&ALLOWED, &PUBLIC]);
        let mut servers: Vec<TcpListener> = everywhere.map(|address| listen(address, 80)).collect();
        servers.push(listen(NAMESERVER, 53));
        servers
    });
    let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let host = std::fs::File::open(format!("/run/netns/{}", internet.host)).unwrap();
    let host_server = Internet::inside(&internet.host, || listen("0.0.0.0", 80));
    let settings = Settings {
        nameservers: vec![NAMESERVER.parse().unwrap()],
        allowed_networks: vec![(Ipv4Addr::new(10, 1, 0, 0), 16)],
        may_forward: true,
        ..settings()
    };
    // The spawner is born where this thread is.
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let (isolation, features) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    assert_eq!(features.missing("egress"), None);

    let (first, second) = (sandbox(&isolation).await, sandbox(&isolation).await);
    let (address, _) = output(&first, "hostname -I").await;
    let neighbour = address.trim().to_owned();
    let gateway = {
        let mut octets = neighbour.parse::<Ipv4Addr>().unwrap().octets();
        octets[3] -= 1;
        Ipv4Addr::from(octets).to_string()
    };
    let script = "exec python3 -c \"import socket; s = socket.create_server(('0.0.0.0', 80)); s.accept()\"";
    soon(first.run(crate::common::shell(script))).await.unwrap();
    let mut targets: Vec<(String, u16)> = FORBIDDEN.iter().map(|address| ((*address).to_owned(), 80)).collect();
    targets.extend(
        [(HOST, 80), (&gateway, 80), (&neighbour, 80), ("127.0.0.1", 80), ("0.0.0.0", 80)]
            .map(|(to, port)| (to.to_owned(), port)),
    );
    // All these would be reached, if nobody stood in the way: the host itself reaches them.
    let from_host: Vec<SocketAddr> = Internet::inside(&internet.host, || {
        let open = |address: &str| TcpStream::connect((address, 80))?.peer_addr();
        FORBIDDEN.iter().filter_map(|address| open(address).ok()).collect()
    });
    assert_eq!(from_host.len(), FORBIDDEN.len());
    assert_eq!(reached(&second, &targets).await, Vec::<String>::new());

    let allowed = [(PUBLIC, 80), (ALLOWED, 80), (NAMESERVER, 53)].map(|(to, port)| (to.to_owned(), port));
    assert_eq!(reached(&second, &allowed).await, ["10.1.2.3:80", "10.255.255.53:53", "203.0.113.2:80"]);
    // They come from the host, as far as anybody outside can see.
    let (mut stream, from) = servers[FORBIDDEN.len() + 1].accept().unwrap();
    assert_eq!(from.ip().to_string(), HOST);
    let _ = stream.read(&mut [0; 1]);
    // And nobody reaches in, not even who knows the way.
    assert!(ip(&format!("-n {} route add 198.18.0.0/15 via {HOST}", internet.beyond)));
    let is_open = Internet::inside(&internet.beyond, move || {
        let inside = SocketAddr::new(neighbour.parse().unwrap(), 80);
        TcpStream::connect_timeout(&inside, Duration::from_millis(500)).is_ok()
    });
    assert!(!is_open);
    soon(first.kill()).await;
    soon(second.kill()).await;
    // The kernel takes interfaces away in its own time.
    let interfaces = format!("-n {} -br link", internet.host);
    let left = || {
        let shown = Command::new("ip").args(interfaces.split(' ')).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().contains("lmp")
    };
    soon(async {
        while left() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(Internet::inside(&internet.host, forwards), "1");
    drop((host_server, first, second, isolation));
    soon(async {
        while Internet::inside(&internet.host, forwards) != "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_way_out_it_says_so() {
    let (isolation, features) = isolation_without_root().await;
    let mut wanted = spec("no-egress");
    wanted.network = Network::Egress;
    match soon(isolation.start(wanted)).await {
        Err(StartError::NoEgress(why)) => assert_eq!(Some(why.as_str()), features.missing("egress")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_loopback_is_all_there_is_by_default() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("loopback"))).await.unwrap();
    let script = "for to in 1.1.1.1 169.254.169.254 10.0.0.1; do bash -c \"exec 3<>/dev/tcp/$to/80\" 2>&1 | grep -o 'Network is unreachable' | head -1; done";
    let (text, done) = output(&sandbox, script).await;
    assert_eq!((text.lines().count(), done), (3, succeeded()), "{text}");
}
