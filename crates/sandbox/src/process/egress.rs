//! The way to the internet: for each sandbox a pair of virtual interfaces, one end inside, and round all of them one
//! fence of nftables rules where the other ends are.
//!
//! That is the host's own network for root, and for an ordinary user a namespace that `pasta` leads out (`pasta`). The
//! fence is the same. Out of a sandbox goes IPv4 to public addresses, and to those of the operator's list; its answers
//! come back. Never reached: the host itself, whatever its addresses; private, link-local (metadata!) and special
//! networks; other sandboxes. Nothing reaches a sandbox. The fence is beyond the reach of anybody inside, and stands
//! before the first interface does. Names are not asked for through it: the server answers inside (`names`).
//!
//! How fast a sandbox sends, and how many connections it has, is limited in its own namespace, where a flood costs
//! nobody else anything.
//!
//! Sandboxes have addresses of 198.18.0.0/15, which is nobody's on the internet: two each. Not yet: IPv6.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use crate::limits::{
    BURST_BYTES, BURST_PACKETS, BYTES_A_SECOND_MAX, CONNECTIONS_MAX, NEW_CONNECTIONS_A_SECOND_MAX, PACKETS_A_SECOND_MAX,
};
use crate::process::forwarding::{self, Forwarding};
use crate::process::interface::{INSIDE, INSIDE_INDEX, add_default_route, configure, index_of, make_pair};
use crate::process::netlink::Socket;
use crate::process::nft::{Batch, Hook, Life, Match, Rate, Verdict};
use crate::process::step::{Failure, Step};

/// How our interfaces' names on the host begin.
const PREFIX: &str = "lmp";

const OURS: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// Pairs of addresses in it.
const PAIRS: u32 = 1 << 16;

/// Interfaces of other servers, or of the dead whom the kernel has not taken away yet, may have a name or two.
const TRIES: u32 = 64;

/// The kernel answers for each, and keeps no more answers than a socket holds: some three hundred.
const CLOSED_AT_ONCE: usize = 64;

/// What no sandbox reaches, metadata of clouds among it, unless the operator allows a part of the first three.
const PRIVATE: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 0, 0, 0), 8), (Ipv4Addr::new(172, 16, 0, 0), 12), (Ipv4Addr::new(192, 168, 0, 0), 16)];
const NEVER: [(Ipv4Addr, u8); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    OURS,
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Taken down, by the kernel, with the socket.
#[derive(Debug)]
pub struct Egress {
    /// Before the fence, so that nothing is forwarded without one.
    forwarding: Option<Forwarding>,
    fence: Socket,
    table: String,
    next: u32,
    /// Addresses that the fence names beside the networks above.
    closed: BTreeSet<Ipv4Addr>,
}

impl Egress {
    /// Puts the fence up in the host's network namespace, and then lets it forward packets if it does not yet and
    /// `may_forward`. Whatever else is missing comes to light before.
    pub fn of_host(allowed: &[(Ipv4Addr, u8)], may_forward: bool) -> io::Result<Egress> {
        let mut forwarding = Forwarding::find()?;
        let egress = Egress::behind_fence(allowed, forwarding.is_ours())?;
        forwarding.turn_on(may_forward)?;
        Ok(Egress { forwarding: Some(forwarding), ..egress })
    }

    /// The same in a namespace of ours, from which somebody leads on.
    pub fn of_own(allowed: &[(Ipv4Addr, u8)]) -> io::Result<Egress> {
        let egress = Egress::behind_fence(allowed, true)?;
        forwarding::turn_on_for_good()?;
        Ok(egress)
    }

    fn behind_fence(allowed: &[(Ipv4Addr, u8)], is_alone: bool) -> io::Result<Egress> {
        let table = format!("lamplight-{}", std::process::id());
        // A kernel that lacks a part of what each sandbox is limited by says so here, and not at each start.
        pace(&format!("{table}-pace"), Life::Socket, PREFIX)
            .commit()
            .map_err(|error| io::Error::new(error.kind(), format!("failed to limit what sandboxes send: {error}")))?;
        let fence = fence(&table, allowed, is_alone).commit()?;
        // Servers on one host begin at different places.
        let next = std::process::id().wrapping_mul(257) % PAIRS;
        Ok(Egress { fence, table, next, closed: BTreeSet::new(), forwarding: None })
    }

    /// The host did not forward packets before, and does now.
    pub fn has_set_switch(&self) -> bool {
        self.forwarding.as_ref().is_some_and(Forwarding::has_turned_on)
    }

    /// Addresses that no sandbox reaches from now on, whatever is allowed.
    pub fn close(&mut self, addresses: &[Ipv4Addr]) -> io::Result<()> {
        let new: Vec<Ipv4Addr> = addresses.iter().copied().filter(|address| self.closed.insert(*address)).collect();
        new.chunks(CLOSED_AT_ONCE).try_for_each(|some| {
            let mut batch = Batch::of(&self.table);
            for address in some {
                let to_it = [Match::InputPrefix(PREFIX), Match::To(*address, 32)];
                batch.first_rule("forward", &to_it, Verdict::Drop);
            }
            batch.commit_on(&self.fence)
        })
    }

    /// Leads from the sandbox's network namespace to this one, where it is called; `enter` goes into the sandbox's,
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
        pace("lamplight", Life::Namespace, INSIDE).commit().step("limit what the sandbox sends")?;
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
            match make_pair(&name, sandbox) {
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

/// `is_alone`: whether packets are forwarded for us and nobody else.
fn fence(table: &str, allowed: &[(Ipv4Addr, u8)], is_alone: bool) -> Batch {
    let from = Match::InputPrefix(PREFIX);
    let mut batch = Batch::table(table, Life::Socket);
    batch.chain("input", "filter", Hook::Input, -10);
    batch.rule("input", &[from], Verdict::Drop);
    batch.chain("forward", "filter", Hook::Forward, -10);
    batch.rule("forward", &[from, Match::Ipv6], Verdict::Drop);
    batch.rule("forward", &[from, Match::NotFrom(OURS.0, OURS.1)], Verdict::Drop);
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

/// What a sandbox may send by its interface, told in its own namespace. Whatever is dropped here was sent on its own time.
fn pace(table: &str, life: Life, interface: &'static str) -> Batch {
    let out = Match::OutputPrefix(interface);
    let packets = Rate::Packets { a_second: PACKETS_A_SECOND_MAX, burst: BURST_PACKETS };
    let bytes = Rate::Bytes { a_second: BYTES_A_SECOND_MAX, burst: BURST_BYTES };
    let connections = Rate::Packets { a_second: NEW_CONNECTIONS_A_SECOND_MAX, burst: CONNECTIONS_MAX };
    let mut batch = Batch::table(table, life);
    batch.chain("output", "filter", Hook::Output, 0);
    batch.rule("output", &[out, Match::Faster(packets)], Verdict::Drop);
    batch.rule("output", &[out, Match::Faster(bytes)], Verdict::Drop);
    batch.rule("output", &[out, Match::New, Match::MoreConnections(CONNECTIONS_MAX)], Verdict::Drop);
    batch.rule("output", &[out, Match::New, Match::Tcp, Match::Faster(connections)], Verdict::Drop);
    batch
}
