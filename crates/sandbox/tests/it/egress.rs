//! The way out, against an internet of our own: as root, and as an ordinary user by `pasta`.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sandbox::{Event, Features, Isolation, Mount, Network, Sandbox, Settings, StartError};

use crate::common::{
    Named, OnTokio, isolation, isolation_without_root, output, public_folder, settings, soon, spec, succeeded,
};
use crate::internet::{ALLOWED, FORBIDDEN, FORBIDDEN_V6, HOST, HOST_TOO, Internet, PORTS, PUBLIC, UDP_PORT, build};

/// Loopback addresses that nobody else has.
const NAMESERVER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 53);
const NAMESERVER_OF_USER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 54);

/// Whether the namespace that this thread is in forwards packets.
fn forwards() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned()
}

struct Bench {
    internet: Internet,
    nameserver: Ipv4Addr,
    folder: tempfile::TempDir,
    isolation: Isolation,
    features: Features,
    _host_servers: Vec<TcpListener>,
}

impl Bench {
    /// Isolation whose host is the one of our internet. `None`, with the reason, where that cannot be.
    async fn build(tag: &str, settings: Settings) -> Option<Bench> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root makes an internet for tests");
            return None;
        }
        let Some(internet) = Internet::build(tag) else {
            println!("skipped: this host makes no network namespaces for tests");
            return None;
        };
        let listen = || PORTS.iter().map(|port| TcpListener::bind(("::", *port)).unwrap()).collect();
        let _host_servers = Internet::inside(&internet.host, listen);
        let folder = public_folder();
        build("reach", folder.path());
        build("flood", folder.path());
        let nameserver = if settings.as_user.is_some() { NAMESERVER_OF_USER } else { NAMESERVER };
        let settings = Settings {
            nameservers: vec![nameserver.into()],
            allowed_networks: vec![(Ipv4Addr::new(10, 1, 0, 0), 16)],
            may_forward: true,
            ..settings
        };
        let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let host = std::fs::File::open(format!("/run/netns/{}", internet.host)).unwrap();
        // The spawner is born where this thread is.
        move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let (isolation, features) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        Some(Bench { internet, nameserver, folder, isolation, features, _host_servers })
    }

    async fn sandbox(&self) -> Sandbox {
        let mut wanted = spec("egress");
        wanted.network = Network::Egress;
        wanted.mounts = vec![Mount { host: self.folder.path().to_owned(), inside: "/var/task".into() }];
        soon(self.isolation.start(wanted)).await.unwrap()
    }

    /// Which of these targets answer inside.
    async fn reached(&self, sandbox: &Sandbox, targets: &BTreeSet<String>) -> BTreeSet<String> {
        let lines: String = targets.iter().map(|target| format!("{target}\n")).collect();
        std::fs::write(self.folder.path().join("targets"), lines).unwrap();
        let (text, done) = output(sandbox, "/var/task/reach </var/task/targets").await;
        assert_eq!(done, succeeded(), "{text}");
        answered(&text)
    }

    /// The same from the host, where nobody stands in the way.
    fn reached_by_host(&self, targets: &BTreeSet<String>) -> BTreeSet<String> {
        let mut run = Command::new("ip")
            .args(["netns", "exec", &self.internet.host])
            .arg(self.folder.path().join("reach"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: String = targets.iter().map(|target| format!("{target}\n")).collect();
        run.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        answered(&String::from_utf8(run.wait_with_output().unwrap().stdout).unwrap())
    }
}

fn answered(text: &str) -> BTreeSet<String> {
    assert!(text.ends_with("done\n"), "{text}");
    text.lines().filter(|line| *line != "done").map(str::to_owned).collect()
}

/// Everything that must not be reached and would answer the host.
fn forbidden_beyond() -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    for address in FORBIDDEN.iter().chain(&FORBIDDEN_V6) {
        targets.extend(PORTS.iter().map(|port| format!("tcp {address} {port}")));
    }
    for address in FORBIDDEN {
        targets.insert(format!("udp {address} {UDP_PORT}"));
        targets.insert(format!("icmp {address} 0"));
        // The same, as IPv6 spells it.
        targets.insert(format!("tcp ::ffff:{address} 80"));
    }
    targets
}

/// And what is the host's own.
fn forbidden_at_host(gateway: &str) -> BTreeSet<String> {
    let own = [HOST, HOST_TOO, gateway, "127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "fd00:ec2::1", "fe80::1%eth0"];
    own.iter().flat_map(|address| PORTS.iter().map(move |port| format!("tcp {address} {port}"))).collect()
}

fn set<const N: usize>(lines: [String; N]) -> BTreeSet<String> {
    lines.into_iter().collect()
}

/// S12: of more than two hundred addresses that the host reaches, a sandbox reaches those that it may.
async fn only_what_is_allowed_is_reached(bench: &Bench) {
    assert_eq!(bench.features.missing("egress"), None);
    let (first, second) = (bench.sandbox().await, bench.sandbox().await);
    let (address, _) = output(&first, "hostname -I").await;
    let neighbour: Ipv4Addr = address.trim().parse().unwrap();
    let gateway = Ipv4Addr::from_bits(neighbour.to_bits() - 1).to_string();
    let script = "exec python3 -c \"import socket; s = socket.create_server(('0.0.0.0', 80)); s.accept()\"";
    soon(first.run(crate::common::shell(script))).await.unwrap();

    let beyond = forbidden_beyond();
    let by_host = bench.reached_by_host(&beyond);
    assert!(by_host.len() >= 200, "only {} of {} answer the host: this proves nothing", by_host.len(), beyond.len());
    println!("{} of {} answer the host", by_host.len(), beyond.len());
    let mut targets = forbidden_at_host(&gateway);
    targets.extend(beyond);
    targets.insert(format!("tcp {neighbour} 80"));
    assert_eq!(bench.reached(&second, &targets).await, BTreeSet::new());

    // What is allowed, and nothing else of the same kind.
    let allowed = set([
        format!("tcp {ALLOWED} 80"),
        format!("tcp {PUBLIC} 443"),
        format!("udp {ALLOWED} {UDP_PORT}"),
        format!("udp {PUBLIC} {UDP_PORT}"),
    ]);
    assert_eq!(bench.reached(&second, &allowed).await, allowed);
    // They come from the host, as far as anybody outside can see; what came from it was the control run.
    assert_eq!(bench.internet.caller(443).to_string(), HOST);
    // And nobody reaches in, not even who knows the way.
    bench.internet.route_back();
    let is_open = Internet::inside(&bench.internet.beyond, || {
        TcpStream::connect_timeout(&SocketAddr::new(neighbour.into(), 80), Duration::from_millis(500)).is_ok()
    });
    assert!(!is_open);
    soon(first.kill()).await;
    soon(second.kill()).await;
}

/// Answers every query with the address 10.9.9.9, by datagram.
fn serve_names(at: Ipv4Addr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind((at, 53)).ok()?;
    let serving = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = serving.recv_from(&mut query) {
            if length <= 12 {
                return;
            }
            let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            let is_v4 = query[end - 3] == 1;
            let mut answer = query[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            if is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 9, 9, 9]);
            }
            let _ = serving.send_to(&answer, from);
        }
    });
    Some(socket)
}

/// Names resolve wherever the host's nameserver is, here its loopback; and a name leads no further than its address.
async fn names_resolve_and_lead_nowhere_else(bench: &Bench) {
    let Some(names) = serve_names(bench.nameserver) else {
        println!("skipped: no nameserver can be had at {}", bench.nameserver);
        return;
    };
    let sandbox = bench.sandbox().await;
    let script = "getent ahostsv4 rebound.test | grep -c '^10.9.9.9 '; timeout 1 bash -c 'exec 3<>/dev/tcp/rebound.test/80' 2>/dev/null && echo REACHED; true";
    let (text, _) = output(&sandbox, script).await;
    let count: u32 = text.trim().parse().unwrap_or_else(|_| panic!("{text}"));
    assert!(count > 0, "{text}");
    soon(sandbox.kill()).await;
    names.send_to(&[0], (bench.nameserver, 53)).unwrap();
}

/// A firewall of somebody else's may stand in the way: that is told.
#[tokio::test]
async fn a_firewall_that_drops_what_is_forwarded_is_told_of() {
    let Some(bench) = Bench::build("f", settings()).await else { return };
    assert_eq!(bench.features.missing("forwarding"), None);
    let rules =
        "add table ip theirs; add chain ip theirs FORWARD { type filter hook forward priority 0; policy drop; }";
    let nft = |rules: &str| {
        Command::new("ip").args(["netns", "exec", &bench.internet.host, "nft", rules]).stderr(Stdio::null()).status()
    };
    if !nft(rules).is_ok_and(|done| done.success()) {
        println!("skipped: this host has no nft");
        return;
    }
    let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let host = std::fs::File::open(format!("/run/netns/{}", bench.internet.host)).unwrap();
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let again = sandbox::processes(Settings { may_forward: true, ..settings() }, Arc::new(OnTokio)).await;
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let (_, features) = again.unwrap();
    let missing = features.missing("forwarding").unwrap();
    assert!(missing.ends_with("chain FORWARD of table theirs"), "{missing}");
}

/// A server that was killed left the host forwarding; the next one to end stops it.
#[tokio::test]
async fn the_host_forwards_no_longer_than_it_must() {
    let (named, settings) = Named::make();
    let Some(bench) = Bench::build("k", settings).await else { return };
    let forwards = || Internet::inside(&bench.internet.host, forwards);
    assert_eq!(forwards(), "1");
    let spawner = rustix::process::Pid::from_raw(named.processes()[0].cast_signed()).unwrap();
    rustix::process::kill_process(spawner, rustix::process::Signal::KILL).unwrap();
    soon(async {
        while !named.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(forwards(), "1");
    // Two more, of which the first to go leaves it on.
    let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let host = std::fs::File::open(format!("/run/netns/{}", bench.internet.host)).unwrap();
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let (first, features) = sandbox::processes(crate::common::settings(), Arc::new(OnTokio)).await.unwrap();
    let (second, _) = sandbox::processes(crate::common::settings(), Arc::new(OnTokio)).await.unwrap();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    assert_eq!(features.missing("egress"), None);
    drop(first);
    assert_eq!(forwards(), "1");
    drop(second);
    assert_eq!(forwards(), "0");
}

/// T6: what a sandbox sends is limited, in packets and in connections.
async fn floods_are_dammed(bench: &Bench) {
    /// The crate's own limits, with a tenth for what the test counts besides.
    const PACKETS_A_SECOND: u64 = 22_000;
    const BURST: u64 = 2_000;
    const CONNECTIONS: u64 = 4_096 + 400;
    let sandbox = bench.sandbox().await;
    let flood = async |kind: &str| {
        let before = bench.internet.packets();
        let (text, done) = output(&sandbox, &format!("/var/task/flood {PUBLIC} {kind} 700")).await;
        assert_eq!(done, succeeded(), "{text}");
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [tried, sent, micros] = numbers[..] else { panic!("{text}") };
        let came = bench.internet.packets() - before;
        println!("{kind}: {tried} tried, {sent} sent, {came} came, in {} ms", micros / 1_000);
        (tried, came, micros)
    };
    let (tried, came, micros) = flood("one").await;
    let allowed = PACKETS_A_SECOND * micros / 1_000_000 + BURST;
    assert!(came <= allowed, "{came} packets, and {allowed} allowed");
    assert!(came > 0 && tried > allowed, "the flood was none: {tried} packets");
    let before = bench.internet.connections();
    flood("spread").await;
    let kept = bench.internet.connections().saturating_sub(before);
    println!("{kept} connections");
    assert!(kept <= CONNECTIONS, "{kept} connections");
    soon(sandbox.kill()).await;
}

#[tokio::test]
async fn out_go_only_packets_to_public_addresses() {
    let Some(bench) = Bench::build("r", settings()).await else { return };
    only_what_is_allowed_is_reached(&bench).await;
    names_resolve_and_lead_nowhere_else(&bench).await;
    floods_are_dammed(&bench).await;
    let Bench { internet, isolation, .. } = bench;
    assert_eq!(Internet::inside(&internet.host, forwards), "1");
    drop(isolation);
    // The kernel takes interfaces away in its own time.
    soon(async {
        while internet.interfaces() > 0 || Internet::inside(&internet.host, forwards) != "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The spawner, where everybody may open `/dev/net/tun`, as on most systems.
fn spawner_with_tun(folder: &Path) -> PathBuf {
    let (node, script) = (folder.join("tun"), folder.join("spawner"));
    let made = Command::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "10", "200"]).status();
    assert!(made.unwrap().success());
    let (node, spawner) = (node.display(), settings().binary);
    let text = format!(
        "#!/bin/sh\nexport SPAWNER_OF_TEST={node}\nexec unshare -m sh -c 'mount --bind {node} /dev/net/tun && exec {} \"$@\"' sh \"$@\"\n",
        spawner.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    script
}

/// The pasta of a spawner that was started by such a script.
fn pasta_of(folder: &Path) -> rustix::process::Pid {
    let mark = format!("SPAWNER_OF_TEST={}", folder.join("tun").display());
    let is_it = |pid: &i32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let is_marked = read("environ").split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        is_marked && read("cmdline").windows(9).any(|words| words == b"--netns\0/")
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it);
    rustix::process::Pid::from_raw(found.unwrap()).unwrap()
}

fn parent_of(process: rustix::process::Pid) -> rustix::process::Pid {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(parent).unwrap()
}

#[tokio::test]
async fn an_ordinary_user_has_a_way_out_by_pasta() {
    if Command::new("pasta").arg("--version").output().is_err() || !std::fs::exists("/dev/net/tun").unwrap() {
        println!("skipped: this host has no pasta, or no /dev/net/tun");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root makes an internet for tests");
        return;
    }
    let folder = public_folder();
    let binary = spawner_with_tun(folder.path());
    let settings = Settings { as_user: Some(65_534), binary, ..settings() };
    let Some(bench) = Bench::build("u", settings).await else { return };
    only_what_is_allowed_is_reached(&bench).await;
    names_resolve_and_lead_nowhere_else(&bench).await;
    // An address that the host gets later is closed as soon as it is there.
    let sandbox = bench.sandbox().await;
    let later = set(["tcp 198.51.100.77 80".to_owned()]);
    bench.internet.add_address("198.51.100.77");
    assert_eq!(bench.reached_by_host(&later), later);
    assert_eq!(bench.reached(&sandbox, &later).await, BTreeSet::new());
    // Without its way out a sandbox is not what it was started as. The next one has another.
    rustix::process::kill_process(pasta_of(folder.path()), rustix::process::Signal::KILL).unwrap();
    while soon(sandbox.event()).await != Event::Gone {}
    soon(bench.sandbox().await.kill()).await;
    // And nobody is left who leads nobody out, however the spawner ended.
    let pasta = pasta_of(folder.path());
    let spawner = parent_of(parent_of(pasta));
    rustix::process::kill_process(spawner, rustix::process::Signal::KILL).unwrap();
    soon(async {
        while rustix::process::test_kill_process(pasta).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_way_out_it_says_so() {
    let settings = Settings { has_egress: false, ..settings() };
    let (isolation, features) = sandbox::processes(settings, Arc::new(OnTokio)).await.unwrap();
    let mut wanted = spec("no-egress");
    wanted.network = Network::Egress;
    match soon(isolation.start(wanted.clone())).await {
        Err(StartError::NoEgress(why)) => assert_eq!(Some(why.as_str()), features.missing("egress")),
        other => panic!("{other:?}"),
    }
    // An ordinary user has one with pasta, or a reason why not.
    let (isolation, features) = isolation_without_root().await;
    match (soon(isolation.start(wanted)).await, features.missing("egress")) {
        (Err(StartError::NoEgress(why)), Some(missing)) => assert_eq!(why, missing),
        (Ok(_), None) => {}
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
