//! Just enough of nftables to fence sandboxes in: a table of our own, chains on hooks, and rules of a few expressions.
//!
//! On the host, the table belongs to the socket that made it (`NFT_TABLE_F_OWNER`): when the spawner goes, however it
//! goes, the kernel takes the table away, and nobody else can change it before. Inside a sandbox it goes with the
//! sandbox's network.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink;

use crate::process::netlink::{Request, Socket, attribute, kind, messages};

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
    Output = 3,
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
    NotFrom(Ipv4Addr, u8),
    To(Ipv4Addr, u8),
    /// An answer, in a connection that began the other way.
    Established,
    /// Nobody has answered in its connection yet.
    New,
    Tcp,
    /// There are more of them than this a second, after a burst.
    Faster(Rate),
    /// More connections than this are open, this one included.
    MoreConnections(u32),
}

#[derive(Debug, Clone, Copy)]
pub enum Rate {
    Packets { a_second: u64, burst: u32 },
    Bytes { a_second: u64, burst: u32 },
}

/// How long a table is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Socket,
    Namespace,
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
    /// Changes to a table that is there.
    pub fn of(name: &str) -> Batch {
        let mut request = Request::default();
        request.message(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        Batch { request, table: name.to_owned(), messages: 0 }
    }

    pub fn table(name: &str, life: Life) -> Batch {
        let mut batch = Batch::of(name);
        batch.messages = 1;
        batch.request.message(NEW_TABLE, CREATE | ACK, &header(FAMILY_INET));
        batch.request.attribute(1, &text(name)).attribute(2, &be(if life == Life::Socket { OWNER } else { 0 }));
        batch
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

    /// Goes after the rules that are there.
    pub fn rule(&mut self, chain: &str, matches: &[Match<'_>], verdict: Verdict) {
        self.add(APPEND, chain, matches, verdict);
    }

    /// Goes before them.
    pub fn first_rule(&mut self, chain: &str, matches: &[Match<'_>], verdict: Verdict) {
        self.add(0, chain, matches, verdict);
    }

    fn add(&mut self, place: u16, chain: &str, matches: &[Match<'_>], verdict: Verdict) {
        self.messages += 1;
        self.request.message(NEW_RULE, CREATE | place | ACK, &header(FAMILY_INET));
        self.request.attribute(1, &text(&self.table)).attribute(2, &text(chain));
        self.request.nest(4, |list| {
            matches.iter().for_each(|one| one.write(list));
            verdict.write(list);
        });
    }

    /// Makes the changes, in the current network namespace. The socket may hold the table from then on.
    pub fn commit(self) -> io::Result<Socket> {
        let socket = Socket::open(Some(netlink::NETFILTER))?;
        self.commit_on(&socket)?;
        Ok(socket)
    }

    /// Makes them through a socket that holds the table, or in the network namespace in which it was opened.
    pub fn commit_on(mut self, socket: &Socket) -> io::Result<()> {
        self.request.message(BATCH_END, 0, &[0, 0, 0, 10]);
        socket.send(&self.request)?;
        (0..self.messages).try_for_each(|_| socket.acknowledged())
    }
}

/// Chains of this network namespace that drop forwarded packets of IPv4 unless a rule of theirs accepts them, as
/// Docker's and other firewalls do: no rule of ours can overrule them. Those that the kernel keeps for old iptables are
/// not seen.
pub fn chains_that_drop() -> io::Result<Vec<String>> {
    const GET_CHAIN: u16 = SUBSYSTEM | 4;
    const DUMP: u16 = 0x300;
    let socket = Socket::open(Some(netlink::NETFILTER))?;
    let mut request = Request::default();
    request.message(GET_CHAIN, DUMP, &header(0));
    socket.send(&request)?;
    let mut found = Vec::new();
    while let Some(answer) = socket.receive()? {
        found.extend(messages(&answer).filter_map(dropping_chain));
    }
    Ok(found)
}

fn dropping_chain(message: &[u8]) -> Option<String> {
    const NETLINK_HEADER: usize = 16;
    const HEADERS: usize = 20;
    const POLICY_DROP: u32 = 0;
    let family = *message.get(NETLINK_HEADER)?;
    if kind(message)? != NEW_CHAIN || ![FAMILY_INET, libc::NFPROTO_IPV4 as u8].contains(&family) {
        return None;
    }
    let attributes = message.get(HEADERS..)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let hook = number(attribute(attribute(attributes, 4)?, 1)?)?;
    let policy = number(attribute(attributes, 5)?)?;
    let (table, chain) = (name(attribute(attributes, 1)?), name(attribute(attributes, 3)?));
    (hook == Hook::Forward as u32 && policy == POLICY_DROP).then(|| format!("{chain} of table {table}"))
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

fn network(list: &mut Request, offset: u32, is_equal: bool, address: Ipv4Addr, prefix: u8) {
    meta(list, META_FAMILY);
    compare(list, true, &[libc::NFPROTO_IPV4 as u8]);
    payload(list, 1, offset, 4);
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    mask(list, &be(bits));
    compare(list, is_equal, &be(address.to_bits() & bits));
}

fn connection_state(list: &mut Request, states: u32) {
    expression(list, "ct", |at| {
        at.attribute(1, &REGISTER).attribute(2, &be(0));
    });
    mask(list, &states.to_ne_bytes());
    compare(list, false, &[0; 4]);
}

fn limit(list: &mut Request, rate: Rate) {
    let (kind, a_second, burst) = match rate {
        Rate::Packets { a_second, burst } => (0, a_second, burst),
        Rate::Bytes { a_second, burst } => (1, a_second, burst),
    };
    expression(list, "limit", |at| {
        at.attribute(1, &a_second.to_be_bytes()).attribute(2, &1_u64.to_be_bytes());
        at.attribute(3, &be(burst)).attribute(4, &be(kind)).attribute(5, &be(OVER));
    });
}

/// The flag by which a limit matches what is beyond it.
const OVER: u32 = 1;

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
            Match::From(address, prefix) => network(list, 12, true, address, prefix),
            Match::NotFrom(address, prefix) => network(list, 12, false, address, prefix),
            Match::To(address, prefix) => network(list, 16, true, address, prefix),
            Match::Established => {
                const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
                connection_state(list, ESTABLISHED_OR_RELATED);
            }
            Match::New => {
                const NEW: u32 = 8;
                connection_state(list, NEW);
            }
            Match::Tcp => {
                meta(list, META_L4);
                compare(list, true, &[libc::IPPROTO_TCP as u8]);
            }
            Match::Faster(rate) => limit(list, rate),
            Match::MoreConnections(count) => expression(list, "connlimit", |at| {
                at.attribute(1, &be(count)).attribute(2, &be(OVER));
            }),
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
