//! The way to the internet: for each sandbox a pair of virtual interfaces, one end inside, and round all of them one
//! fence of nftables rules on the host.
//!
//! Out of a sandbox goes IPv4 to public addresses, and to those of the operator's list; its answers come back. Never
//! reached: the host itself, whatever its addresses; private, link-local (metadata!) and special networks; other
//! sandboxes. Nothing reaches a sandbox. The fence is of the kernel's, the host's namespace's, and beyond the reach of
//! anybody inside; it stands before the first interface does.
//!
//! Sandboxes have addresses of 198.18.0.0/15, which is nobody's on the internet: two each. Not yet: IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::process::netlink::{Request, Socket, up};
use crate::process::nft::{Batch, Hook, Match, Verdict, ipv4};
use crate::process::step::{Failure, Step};

/// How our interfaces' names on the host begin.
const PREFIX: &str = "lmp";

const OURS: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// Pairs of addresses in it.
const PAIRS: u32 = 1 << 16;

/// Interfaces of other servers, or of the dead whom the kernel has not taken away yet, may have a name or two.
const TRIES: u32 = 64;

/// What no sandbox reaches, unless the operator allows a part of the first three.
const PRIVATE: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 0, 0, 0), 8), (Ipv4Addr::new(172, 16, 0, 0), 12), (Ipv4Addr::new(192, 168, 0, 0), 16)];
const NEVER: [(Ipv4Addr, u8); 8] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    OURS,
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Taken down, by the kernel, with the socket.
#[derive(Debug)]
pub struct Egress {
    _fence: Socket,
    next: u32,
    /// We made the host forward packets, and stop it when we go.
    is_ours: bool,
}

impl Drop for Egress {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::write(FORWARD, "0");
        }
    }
}

impl Egress {
    /// Puts the fence up, in the host's network namespace, and then lets it forward packets if it does not yet and
    /// `may_forward`.
    pub fn begin(nameservers: &[IpAddr], allowed: &[(Ipv4Addr, u8)], may_forward: bool) -> io::Result<Egress> {
        let is_ours = std::fs::read_to_string(FORWARD)?.trim() != "1";
        if is_ours && !may_forward {
            return Err(io::Error::other("this host forwards no packets: net.ipv4.ip_forward is 0"));
        }
        let fence = fence(&ipv4(nameservers), allowed, is_ours).commit()?;
        // Servers on one host begin at different places.
        let next = std::process::id().wrapping_mul(257) % PAIRS;
        let egress = Egress { _fence: fence, next, is_ours };
        if is_ours {
            std::fs::write(FORWARD, "1")?;
        }
        Ok(egress)
    }

    /// Leads from the sandbox's network namespace to the host's. Called in the host's; `enter` goes into the sandbox's,
    /// where the caller is left.
    pub fn connect(
        &mut self,
        sandbox: BorrowedFd<'_>,
        enter: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (pair, name) = self.make_pair(sandbox).step("make a pair of network interfaces")?;
        let (host, inside) = addresses(pair);
        let index = index_of(&name).step("find a network interface")?;
        configure(index, host).step("configure the host's network interface")?;
        enter()?;
        configure(INSIDE_INDEX, inside).step("configure the sandbox's network interface")?;
        add_default_route(host).step("add the sandbox's route")
    }

    fn make_pair(&mut self, sandbox: BorrowedFd<'_>) -> io::Result<(u32, String)> {
        let mut tries = TRIES;
        loop {
            let pair = self.next;
            self.next = (self.next + 1) % PAIRS;
            tries -= 1;
            let name = format!("{PREFIX}{pair:x}");
            match make_veth(&name, sandbox) {
                Ok(()) => return Ok((pair, name)),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) && tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The host's end and the sandbox's.
fn addresses(pair: u32) -> (Ipv4Addr, Ipv4Addr) {
    let host = OURS.0.to_bits() + pair * 2;
    (Ipv4Addr::from_bits(host), Ipv4Addr::from_bits(host + 1))
}

/// `is_alone`: whether the host forwards packets for us and nobody else.
fn fence(nameservers: &[Ipv4Addr], allowed: &[(Ipv4Addr, u8)], is_alone: bool) -> Batch {
    let from = Match::InputPrefix(PREFIX);
    let mut batch = Batch::table(&format!("lamplight-{}", std::process::id()));
    // To the host itself: nothing but answers and questions for names.
    batch.chain("input", "filter", Hook::Input, -10);
    batch.chain("forward", "filter", Hook::Forward, -10);
    for chain in ["input", "forward"] {
        batch.rule(chain, &[from, Match::Ipv6], Verdict::Drop);
        for server in nameservers {
            for protocol in [Match::Udp, Match::Tcp] {
                batch.rule(chain, &[from, Match::To(*server, 32), protocol, Match::Port(53)], Verdict::Accept);
            }
        }
    }
    batch.rule("input", &[from], Verdict::Drop);
    batch.rule("forward", &[from, Match::OutputPrefix(PREFIX)], Verdict::Drop);
    for (address, prefix) in NEVER {
        batch.rule("forward", &[from, Match::To(address, prefix)], Verdict::Drop);
    }
    for (address, prefix) in allowed {
        batch.rule("forward", &[from, Match::To(*address, *prefix)], Verdict::Accept);
    }
    for (address, prefix) in PRIVATE {
        batch.rule("forward", &[from, Match::To(address, prefix)], Verdict::Drop);
    }
    batch.rule("forward", &[Match::OutputPrefix(PREFIX), Match::Established], Verdict::Accept);
    batch.rule("forward", &[Match::OutputPrefix(PREFIX)], Verdict::Drop);
    if is_alone {
        batch.rule("forward", &[Match::NotInputPrefix(PREFIX)], Verdict::Drop);
    }
    batch.chain("postrouting", "nat", Hook::PostRouting, 100);
    let leaves = [Match::From(OURS.0, OURS.1), Match::NotOutputPrefix(PREFIX)];
    batch.rule("postrouting", &leaves, Verdict::Masquerade);
    batch
}

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const CREATE_EXCLUSIVELY: u16 = 0x400 | 0x200;

/// After the loopback.
const INSIDE_INDEX: i32 = 2;

fn name(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

fn make_veth(host: &str, sandbox: BorrowedFd<'_>) -> io::Result<()> {
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_NET_NS_FD: u16 = 28;
    let mut peer = [0; 16];
    peer[4..8].copy_from_slice(&INSIDE_INDEX.to_ne_bytes());
    let mut request = Request::default();
    request.message(RTM_NEWLINK, CREATE_EXCLUSIVELY, &[0; 16]);
    request.attribute(IFLA_IFNAME, &name(host));
    request.nest(IFLA_LINKINFO, |info| {
        info.attribute(1, b"veth\0");
        info.nest(2, |data| {
            data.nest(1, |inside| {
                inside.raw(&peer).attribute(IFLA_IFNAME, &name("eth0"));
                inside.attribute(IFLA_NET_NS_FD, &sandbox.as_raw_fd().to_ne_bytes());
            });
        });
    });
    Socket::open(None)?.ask(&mut request)
}

fn index_of(name: &str) -> io::Result<i32> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(any.as_fd(), name)?.cast_signed())
}

/// Gives an interface of the current namespace its address, and brings it up.
fn configure(index: i32, address: Ipv4Addr) -> io::Result<()> {
    let socket = Socket::open(None)?;
    let mut body = [libc::AF_INET as u8, 31, 0, 0, 0, 0, 0, 0];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut request = Request::default();
    request.message(RTM_NEWADDR, CREATE_EXCLUSIVELY, &body);
    request.attribute(1, &address.octets()).attribute(2, &address.octets());
    socket.ask(&mut request)?;
    let mut request = Request::default();
    request.message(RTM_NEWLINK, 0, &up(index));
    socket.ask(&mut request)
}

fn add_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    const MAIN_TABLE: u8 = 254;
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    let body = [libc::AF_INET as u8, 0, 0, 0, MAIN_TABLE, STATIC, 0, UNICAST, 0, 0, 0, 0];
    let mut request = Request::default();
    request.message(RTM_NEWROUTE, CREATE_EXCLUSIVELY, &body);
    request.attribute(5, &gateway.octets()).attribute(4, &INSIDE_INDEX.to_ne_bytes());
    Socket::open(None)?.ask(&mut request)
}
