//! The pair of virtual interfaces that leads from a sandbox's network namespace to another: made, named, addressed,
//! routed.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::process::netlink::{Request, Socket, up};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const CREATE_EXCLUSIVELY: u16 = 0x400 | 0x200;

/// A sandbox's end: its name, and its number, which comes after the loopback's.
pub const INSIDE: &str = "eth0";
pub const INSIDE_INDEX: i32 = 2;

fn name(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// Makes a pair: one end here, the other in the sandbox's namespace.
///
/// Each with one queue a direction. Unasked the kernel makes as many as there are processors and then takes all but one
/// away, for which it waits for all processors: most of what a pair costs.
pub fn make_pair(host: &str, sandbox: BorrowedFd<'_>) -> io::Result<()> {
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_NET_NS_FD: u16 = 28;
    const IFLA_NUM_TX_QUEUES: u16 = 31;
    const IFLA_NUM_RX_QUEUES: u16 = 32;
    let one = 1_u32.to_ne_bytes();
    let mut peer = [0; 16];
    peer[4..8].copy_from_slice(&INSIDE_INDEX.to_ne_bytes());
    let mut request = Request::default();
    request.message(RTM_NEWLINK, CREATE_EXCLUSIVELY, &[0; 16]);
    request.attribute(IFLA_IFNAME, &name(host));
    request.attribute(IFLA_NUM_TX_QUEUES, &one).attribute(IFLA_NUM_RX_QUEUES, &one);
    request.nest(IFLA_LINKINFO, |info| {
        info.attribute(1, b"veth\0");
        info.nest(2, |data| {
            data.nest(1, |inside| {
                inside.raw(&peer).attribute(IFLA_IFNAME, &name(INSIDE));
                inside.attribute(IFLA_NET_NS_FD, &sandbox.as_raw_fd().to_ne_bytes());
                inside.attribute(IFLA_NUM_TX_QUEUES, &one).attribute(IFLA_NUM_RX_QUEUES, &one);
            });
        });
    });
    Socket::open(None)?.ask(&mut request)
}

pub fn index_of(name: &str) -> io::Result<i32> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(any.as_fd(), name)?.cast_signed())
}

/// Gives an interface of the current namespace its address, and brings it up.
pub fn configure(index: i32, address: Ipv4Addr) -> io::Result<()> {
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

/// Leads everything out of the sandbox's end of its pair.
pub fn add_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    const MAIN_TABLE: u8 = 254;
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    let body = [libc::AF_INET as u8, 0, 0, 0, MAIN_TABLE, STATIC, 0, UNICAST, 0, 0, 0, 0];
    let mut request = Request::default();
    request.message(RTM_NEWROUTE, CREATE_EXCLUSIVELY, &body);
    request.attribute(5, &gateway.octets()).attribute(4, &INSIDE_INDEX.to_ne_bytes());
    Socket::open(None)?.ask(&mut request)
}
