//! An internet of our own: a network namespace that plays the host, and one behind it where every address answers that
//! sandboxes must reach, and those that they must not. Nothing of the machine's own network is touched.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two namespaces and a cable between them; gone when dropped.
pub struct Internet {
    pub host: String,
    pub beyond: String,
    is_over: Arc<AtomicBool>,
    listeners: Vec<TcpListener>,
}

pub const PUBLIC: &str = "203.0.113.2";
pub const HOST: &str = "203.0.113.1";
/// Another address of the host, as public as the first.
pub const HOST_TOO: &str = "198.51.100.1";
pub const ALLOWED: &str = "10.1.2.3";

/// What stands beyond the host, and would answer: private networks to their edges, metadata of clouds, carriers'
/// networks, and what is nobody's.
pub const FORBIDDEN: [&str; 29] = [
    "10.0.0.1",
    "10.9.9.9",
    "10.2.0.1",
    "10.0.255.255",
    "10.255.255.53",
    "10.255.255.254",
    "172.16.0.1",
    "172.17.0.1",
    "172.20.30.40",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.1.1",
    "192.168.122.1",
    "192.168.255.254",
    "169.254.169.254",
    "169.254.169.253",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.1",
    "169.254.255.254",
    "168.63.129.16",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "192.0.0.192",
    "198.18.200.200",
    "198.19.255.254",
    "240.0.0.1",
    "255.255.255.254",
];
/// What answers only over IPv6.
pub const FORBIDDEN_V6: [&str; 2] = ["fd00:ec2::254", "2001:db8:6::2"];

/// Web, names, databases, this platform, shells.
pub const PORTS: [u16; 7] = [22, 53, 80, 443, 4566, 5432, 6379];
pub const UDP_PORT: u16 = 53;

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status().is_ok_and(|done| done.success())
}

impl Internet {
    /// `None` where the host does not let us, or has no `ip`.
    pub fn build(tag: &str) -> Option<Internet> {
        let id = std::process::id();
        let mut internet = Internet {
            host: format!("lamp-h{tag}{id}"),
            beyond: format!("lamp-i{tag}{id}"),
            is_over: Arc::default(),
            listeners: Vec::new(),
        };
        let (host, beyond) = (internet.host.clone(), internet.beyond.clone());
        let cable = format!("link add up0 netns {host} type veth peer name down0 netns {beyond}");
        if !(ip(&format!("netns add {host}")) && ip(&format!("netns add {beyond}")) && ip(&cable)) {
            return None;
        }
        let all = |commands: &[String]| commands.iter().for_each(|command| assert!(ip(command), "ip {command}"));
        for (namespace, address, device, sixes) in
            [(&host, HOST, "up0", ["fd00:ec2::1", "2001:db8:6::1"]), (&beyond, PUBLIC, "down0", FORBIDDEN_V6)]
        {
            all(&[
                format!("-n {namespace} addr add {address}/24 dev {device}"),
                format!("-n {namespace} link set {device} up"),
                format!("-n {namespace} link set lo up"),
            ]);
            for six in sixes {
                all(&[format!("-n {namespace} -6 addr add {six}/64 dev {device} nodad")]);
            }
        }
        all(&[format!("-n {host} addr add {HOST_TOO}/32 dev lo"), format!("-n {host} route add default via {PUBLIC}")]);
        for address in FORBIDDEN.iter().chain([&ALLOWED]) {
            all(&[format!("-n {beyond} addr add {address}/32 dev lo")]);
        }
        // A new namespace begins as the machine is, which may forward for a server of ours.
        let close = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        Self::inside(&host, close);
        Self::inside(&beyond, close);
        internet.serve();
        Some(internet)
    }

    /// Every address beyond takes connections at every port, and sends datagrams back.
    fn serve(&mut self) {
        self.listeners = Self::inside(&self.beyond, || {
            let listen = |port: &u16| TcpListener::bind(("::", *port)).unwrap();
            PORTS.iter().map(listen).collect()
        });
        for address in FORBIDDEN.iter().chain([&ALLOWED, &PUBLIC]) {
            let echo = Self::inside(&self.beyond, || {
                UdpSocket::bind((address.parse::<Ipv4Addr>().unwrap(), UDP_PORT)).unwrap()
            });
            echo.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let is_over = Arc::clone(&self.is_over);
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = echo.recv_from(&mut [0; 64]) {
                        let _ = echo.send_to(&vec![b'y'; length], from);
                    }
                }
            });
        }
    }

    /// Who connected first at a port of `PORTS`.
    pub fn caller(&self, port: u16) -> std::net::IpAddr {
        let at = PORTS.iter().position(|known| *known == port).unwrap();
        self.listeners[at].accept().unwrap().1.ip().to_canonical()
    }

    /// Runs `what` in a namespace, on a thread of its own.
    pub fn inside<T: Send>(namespace: &str, what: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                what()
            });
            there.join().unwrap()
        })
    }

    pub fn add_address(&self, address: &str) {
        assert!(ip(&format!("-n {} addr add {address}/32 dev lo", self.host)));
    }

    pub fn route_back(&self) {
        assert!(ip(&format!("-n {} route add 198.18.0.0/15 via {HOST}", self.beyond)));
    }

    /// Packets that have come in beyond.
    pub fn packets(&self) -> u64 {
        let table = Self::inside(&self.beyond, || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let line = table.lines().find_map(|line| line.trim().strip_prefix("down0:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Connections that the host keeps books of.
    pub fn connections(&self) -> u64 {
        let count = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
        Self::inside(&self.host, count).trim().parse().unwrap()
    }

    /// Our interfaces at the host.
    pub fn interfaces(&self) -> usize {
        let arguments = format!("-n {} -br link", self.host);
        let shown = Command::new("ip").args(arguments.split(' ')).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().lines().filter(|line| line.starts_with("lmp")).count()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        ip(&format!("netns del {}", self.host));
        ip(&format!("netns del {}", self.beyond));
    }
}

/// Builds a program of these tests, such as `reach`, without any library of the host's.
pub fn build(name: &str, folder: &Path) {
    let source = format!("{}/tests/it/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let built = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).arg(folder.join(name)).arg(source).status();
    assert!(built.expect("a C compiler is there").success());
}
