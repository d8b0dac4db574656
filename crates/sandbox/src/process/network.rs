//! A network namespace for each sandbox: its own loopback, on it the host's listeners, and where it is wanted a way out.
//!
//! The spawner steps into a new namespace, prepares it, gives birth there and steps back. A socket stays in the
//! namespace in which it was made, so the host accepts connections from inside in its own event loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::egress::Egress;
use crate::process::netlink;
use crate::process::step::{Failure, Step};
use crate::spec::Network;
use crate::sys::{self, Alone};

/// Where the spawner is when it prepares nobody's network.
#[derive(Debug)]
pub struct Networks {
    home: OwnedFd,
    /// Or why there is none.
    egress: Result<Egress, String>,
}

impl Networks {
    /// Without root, the host's own namespace could be left but not entered again: the spawner takes one for itself.
    pub fn begin(
        alone: &Alone,
        is_root: bool,
        nameservers: &[IpAddr],
        allowed: &[(Ipv4Addr, u8)],
    ) -> Result<Networks, Failure> {
        let egress = if is_root {
            Egress::begin(nameservers, allowed).map_err(|error| error.to_string())
        } else {
            sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
            Err("lamp does not run as root".to_owned())
        };
        Ok(Networks { home: current().step("open the network namespace")?, egress })
    }

    pub fn no_egress(&self) -> Option<&str> {
        self.egress.as_ref().err().map(String::as_str)
    }

    /// Steps into a new namespace and listens there.
    pub fn prepare(&mut self, alone: &Alone, network: Network, listen: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
        sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
        netlink::loopback_up().step("bring the loopback up")?;
        if network == Network::Egress {
            let sandbox = current().step("open the network namespace")?;
            self.go_home()?;
            let egress = self.egress.as_mut().map_err(|why| io::Error::other(why.clone())).step("lead out")?;
            egress.connect(sandbox.as_fd(), || enter(&sandbox))?;
        }
        listen.iter().map(|port| bind(*port).step("listen inside the sandbox")).collect()
    }

    pub fn go_home(&self) -> Result<(), Failure> {
        enter(&self.home)
    }
}

fn enter(namespace: &OwnedFd) -> Result<(), Failure> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).step("change the network namespace")
}

fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn bind(port: u16) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}
