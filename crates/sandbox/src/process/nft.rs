//! Just enough of nftables to fence sandboxes in: a table of our own, chains on hooks, and rules of a few expressions.
//!
//! The table belongs to the socket that made it (`NFT_TABLE_F_OWNER`): when the spawner goes, however it goes, the
//! kernel takes the table away, and nobody else can change it before.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rustix::net::netlink;

use crate::process::netlink::{Request, Socket};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const ACK: u16 = 4;

const FAMILY_INET: u8 = 1;
const OWNER: u32 = 2;

#[derive(Debug, Clone, Copy)]
pub enum Hook {
    Input = 1,
    Forward = 2,
    PostRouting = 4,
}

#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    Drop,
    Accept,
    Masquerade,
}

/// One expression of a rule. All of a rule must hold.
#[derive(Debug, Clone, Copy)]
pub enum Match<'a> {
    /// The packet came in, or goes out, by an interface of this prefix, or by none of it.
    InputPrefix(&'a str),
    NotInputPrefix(&'a str),
    OutputPrefix(&'a str),
    NotOutputPrefix(&'a str),
    Ipv6,
    /// Of IPv4, from or to a network.
    From(Ipv4Addr, u8),
    To(Ipv4Addr, u8),
    /// To this port, of UDP or TCP, whose headers begin alike.
    Port(u16),
    Udp,
    Tcp,
    /// An answer, in a connection that began the other way.
    Established,
}

const REGISTER: [u8; 4] = 1_u32.to_be_bytes();

fn be(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A set of changes that the kernel makes at once or not at all.
#[derive(Debug)]
pub struct Batch {
    request: Request,
    table: String,
    messages: usize,
}

impl Batch {
    pub fn table(name: &str) -> Batch {
        let mut request = Request::default();
        request.message(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        request.message(NEW_TABLE, CREATE | ACK, &header(FAMILY_INET));
        request.attribute(1, &text(name)).attribute(2, &be(OWNER));
        Batch { request, table: name.to_owned(), messages: 1 }
    }

    pub fn chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        self.messages += 1;
        self.request.message(NEW_CHAIN, CREATE | ACK, &header(FAMILY_INET));
        self.request.attribute(1, &text(&self.table)).attribute(3, &text(name));
        self.request.nest(4, |at| {
            at.attribute(1, &be(hook as u32)).attribute(2, &priority.to_be_bytes());
        });
        self.request.attribute(7, &text(kind));
    }

    pub fn rule(&mut self, chain: &str, matches: &[Match<'_>], verdict: Verdict) {
        self.messages += 1;
        self.request.message(NEW_RULE, CREATE | APPEND | ACK, &header(FAMILY_INET));
        self.request.attribute(1, &text(&self.table)).attribute(2, &text(chain));
        self.request.nest(4, |list| {
            matches.iter().for_each(|one| one.write(list));
            verdict.write(list);
        });
    }

    /// Makes the changes. The socket holds the table from then on.
    pub fn commit(mut self) -> io::Result<Socket> {
        self.request.message(BATCH_END, 0, &[0, 0, 0, 10]);
        let socket = Socket::open(Some(netlink::NETFILTER))?;
        socket.send(&self.request)?;
        for _ in 0..self.messages {
            socket.acknowledged()?;
        }
        Ok(socket)
    }
}

fn expression(list: &mut Request, name: &str, data: impl FnOnce(&mut Request)) {
    list.nest(1, |element| {
        element.attribute(1, &text(name)).nest(2, data);
    });
}

const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_FAMILY: u32 = 15;
const META_L4: u32 = 16;

fn meta(list: &mut Request, key: u32) {
    expression(list, "meta", |at| {
        at.attribute(1, &REGISTER).attribute(2, &be(key));
    });
}

fn compare(list: &mut Request, is_equal: bool, value: &[u8]) {
    expression(list, "cmp", |at| {
        at.attribute(1, &REGISTER).attribute(2, &be(u32::from(!is_equal)));
        at.nest(3, |data| {
            data.attribute(1, value);
        });
    });
}

fn mask(list: &mut Request, value: &[u8]) {
    expression(list, "bitwise", |at| {
        at.attribute(1, &REGISTER).attribute(2, &REGISTER).attribute(3, &be(value.len() as u32));
        at.nest(4, |data| {
            data.attribute(1, value);
        });
        at.nest(5, |data| {
            data.attribute(1, &vec![0; value.len()]);
        });
    });
}

/// Base 1 is the network's header, 2 the transport's.
fn payload(list: &mut Request, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |at| {
        at.attribute(1, &REGISTER).attribute(2, &be(base)).attribute(3, &be(offset)).attribute(4, &be(length));
    });
}

fn network(list: &mut Request, offset: u32, address: Ipv4Addr, prefix: u8) {
    meta(list, META_FAMILY);
    compare(list, true, &[libc::NFPROTO_IPV4 as u8]);
    payload(list, 1, offset, 4);
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    mask(list, &be(bits));
    compare(list, true, &be(address.to_bits() & bits));
}

impl Match<'_> {
    fn write(self, list: &mut Request) {
        match self {
            Match::InputPrefix(prefix) => {
                meta(list, META_INPUT_NAME);
                compare(list, true, prefix.as_bytes());
            }
            Match::NotInputPrefix(prefix) => {
                meta(list, META_INPUT_NAME);
                compare(list, false, prefix.as_bytes());
            }
            Match::OutputPrefix(prefix) => {
                meta(list, META_OUTPUT_NAME);
                compare(list, true, prefix.as_bytes());
            }
            Match::NotOutputPrefix(prefix) => {
                meta(list, META_OUTPUT_NAME);
                compare(list, false, prefix.as_bytes());
            }
            Match::Ipv6 => {
                meta(list, META_FAMILY);
                compare(list, true, &[libc::NFPROTO_IPV6 as u8]);
            }
            Match::From(address, prefix) => network(list, 12, address, prefix),
            Match::To(address, prefix) => network(list, 16, address, prefix),
            Match::Port(port) => {
                payload(list, 2, 2, 2);
                compare(list, true, &port.to_be_bytes());
            }
            Match::Udp => {
                meta(list, META_L4);
                compare(list, true, &[libc::IPPROTO_UDP as u8]);
            }
            Match::Tcp => {
                meta(list, META_L4);
                compare(list, true, &[libc::IPPROTO_TCP as u8]);
            }
            Match::Established => {
                const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
                expression(list, "ct", |at| {
                    at.attribute(1, &REGISTER).attribute(2, &be(0));
                });
                mask(list, &ESTABLISHED_OR_RELATED.to_ne_bytes());
                compare(list, false, &[0; 4]);
            }
        }
    }
}

impl Verdict {
    fn write(self, list: &mut Request) {
        let code = match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Masquerade => return expression(list, "masq", |_| {}),
        };
        expression(list, "immediate", |at| {
            at.attribute(1, &be(0));
            at.nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.attribute(1, &be(code));
                });
            });
        });
    }
}

/// The IPv4 addresses among some.
pub fn ipv4(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    addresses
        .iter()
        .filter_map(|address| if let IpAddr::V4(address) = address { Some(*address) } else { None })
        .collect()
}
