//! A network namespace for each sandbox: its own loopback, on it the host's listeners, and where it is wanted a way out.
//!
//! The spawner steps into a new namespace, prepares it, gives birth there and steps back. A socket stays in the
//! namespace in which it was made, so the host accepts connections from inside in its own event loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::Settings;
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
    /// Namespaces made while there was nothing else to do, each with its loopback up, and nobody in it yet.
    ahead: Vec<OwnedFd>,
    /// The host gave none when one was made ahead: only a start tries again.
    is_exhausted: bool,
}

/// Making one takes as long as all the rest of a start; a burst of more pays for it.
const AHEAD_MAX: usize = 4;

impl Networks {
    /// Without root, the host's own namespace could be left but not entered again: the spawner takes one for itself.
    pub fn begin(
        alone: &Alone,
        is_root: bool,
        nameservers: &[IpAddr],
        settings: &Settings,
    ) -> Result<Networks, Failure> {
        let egress = if is_root {
            Egress::begin(nameservers, &settings.allowed_networks, settings.may_forward)
                .map_err(|error| error.to_string())
        } else {
            sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
            Err("lamp does not run as root".to_owned())
        };
        Ok(Networks {
            home: current().step("open the network namespace")?,
            egress,
            ahead: Vec::new(),
            is_exhausted: false,
        })
    }

    pub fn no_egress(&self) -> Option<&str> {
        self.egress.as_ref().err().map(String::as_str)
    }

    /// Steps into a new namespace and listens there.
    pub fn prepare(&mut self, alone: &Alone, network: Network, listen: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
        let sandbox = match self.ahead.pop() {
            Some(sandbox) => {
                enter(&sandbox)?;
                sandbox
            }
            None => {
                let sandbox = fresh(alone)?;
                self.is_exhausted = false;
                sandbox
            }
        };
        if network == Network::Egress {
            self.go_home()?;
            let egress = self.egress.as_mut().map_err(|why| io::Error::other(why.clone())).step("lead out")?;
            egress.connect(sandbox.as_fd(), || enter(&sandbox))?;
        }
        listen.iter().map(|port| bind(*port).step("listen inside the sandbox")).collect()
    }

    pub fn wants_more(&self) -> bool {
        self.ahead.len() < AHEAD_MAX && !self.is_exhausted
    }

    /// A host that has no more to give says so when one is needed.
    pub fn make_one_ahead(&mut self, alone: &Alone) -> Result<(), Failure> {
        if self.wants_more() {
            let made = fresh(alone);
            self.go_home()?;
            self.is_exhausted = made.is_err();
            self.ahead.extend(made);
        }
        Ok(())
    }

    pub fn go_home(&self) -> Result<(), Failure> {
        enter(&self.home)
    }
}

fn enter(namespace: &OwnedFd) -> Result<(), Failure> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).step("change the network namespace")
}

/// Steps into a new namespace with its loopback up.
fn fresh(alone: &Alone) -> Result<OwnedFd, Failure> {
    sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
    netlink::loopback_up().step("bring the loopback up")?;
    current().step("open the network namespace")
}

fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn bind(port: u16) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}
