//! A network namespace for each sandbox: its own loopback, and on it the host's listeners.
//!
//! The spawner steps into a new namespace, prepares it, gives birth there and steps back. A socket stays in the
//! namespace in which it was made, so the host accepts connections from inside in its own event loop.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::netlink;
use crate::process::step::{Failure, Step};
use crate::sys::{self, Alone};

/// Where the spawner is when it prepares nobody's network.
#[derive(Debug)]
pub struct Networks {
    home: OwnedFd,
}

impl Networks {
    /// Without root, the host's own namespace could be left but not entered again: the spawner takes one for itself.
    pub fn begin(alone: &Alone, is_root: bool) -> Result<Networks, Failure> {
        if !is_root {
            sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
        }
        Ok(Networks { home: current().step("open the network namespace")? })
    }

    /// Steps into a new namespace and listens there.
    pub fn prepare(&self, alone: &Alone, listen: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
        sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
        netlink::loopback_up().step("bring the loopback up")?;
        listen.iter().map(|port| bind(*port).step("listen inside the sandbox")).collect()
    }

    pub fn go_home(&self) -> Result<(), Failure> {
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)).step("leave the network namespace")
    }
}

fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn bind(port: u16) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}
