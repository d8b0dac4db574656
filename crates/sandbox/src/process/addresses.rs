//! The host's own IPv4 addresses, from the network namespace in which this was opened: those there are, and each new
//! one as the kernel tells of it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::process::netlink::{Request, Socket, attribute, kind, messages};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const DUMP: u16 = 0x300;
const IPV4_ADDRESSES: u32 = 0x10;
const HEADER: usize = 16;
const FIXED: usize = 8;

#[derive(Debug)]
pub struct Addresses(Socket);

impl Addresses {
    /// Asks at once: the answer waits in the socket.
    pub fn watch() -> io::Result<Addresses> {
        let socket = Socket::listening(None, IPV4_ADDRESSES)?;
        let mut request = Request::default();
        request.message(RTM_GETADDR, DUMP, &[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0]);
        socket.send(&request)?;
        Ok(Addresses(socket))
    }

    /// Those of which the kernel has told since this was called last.
    pub fn told(&self) -> io::Result<Vec<Ipv4Addr>> {
        let mut found = Vec::new();
        while let Some(answer) = self.0.receive()? {
            found.extend(messages(&answer).filter_map(address));
        }
        Ok(found)
    }
}

impl AsFd for Addresses {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn address(message: &[u8]) -> Option<Ipv4Addr> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    if kind(message)? != RTM_NEWADDR || message.get(HEADER)? != &(libc::AF_INET as u8) {
        return None;
    }
    let attributes = message.get(HEADER + FIXED..)?;
    // Between two ends of a wire, the first is the other end's.
    let octets = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_the_loopback_and_nonsense_is_none() {
        let told = Addresses::watch().unwrap().told().unwrap();
        assert!(told.contains(&Ipv4Addr::LOCALHOST), "{told:?}");
        assert_eq!(address(&[]), None);
        let mut cut = vec![0; HEADER + FIXED + 3];
        cut[4..6].copy_from_slice(&RTM_NEWADDR.to_ne_bytes());
        cut[HEADER] = libc::AF_INET as u8;
        assert_eq!(address(&cut), None);
    }
}
