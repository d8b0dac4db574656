//! A network namespace for each sandbox: its own loopback, on it the host's listeners, and where it is wanted a way
//! out.
//!
//! The spawner steps into a new namespace, prepares it, gives birth there and steps back. A socket stays in the
//! namespace in which it was made, so the host accepts connections from inside in its own event loop.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::process::Settings;
use crate::process::addresses::Addresses;
use crate::process::egress::Egress;
use crate::process::pasta::Keeper;
use crate::process::step::{Failure, Step};
use crate::process::{names, netlink};
use crate::spec::Network;
use crate::sys::{self, Alone};

/// Where the spawner is when it prepares nobody's network.
#[derive(Debug)]
pub struct Networks {
    home: OwnedFd,
    /// Or why there is none.
    egress: Result<Egress, String>,
    /// For an ordinary user: who leads out, and the host's addresses, which nobody inside may reach that way.
    outside: Option<Outside>,
    /// Namespaces made while there was nothing else to do, and nobody in them yet.
    ahead: Vec<Room>,
    /// What the last sandbox had, the next one will want.
    usual: Network,
    /// The host gave none when one was made ahead: only a start tries again.
    is_exhausted: bool,
}

/// A namespace with its loopback up, and what it has besides.
#[derive(Debug)]
struct Room {
    namespace: OwnedFd,
    network: Network,
}

/// What leads out of a namespace of our own. Made in the host's.
#[derive(Debug)]
pub struct Outside {
    keeper: Keeper,
    addresses: Addresses,
}

impl Outside {
    pub fn begin(alone: &Alone) -> Result<Outside, String> {
        let addresses = Addresses::watch().map_err(|error| format!("the host's addresses are not known: {error}"))?;
        Ok(Outside { keeper: Keeper::fork(alone)?, addresses })
    }
}

/// Making one takes as long as all the rest of a start; a burst of more pays for it.
const AHEAD_MAX: usize = 4;

const NOT_WANTED: &str = "the operator wants none";

impl Networks {
    pub fn of_host(settings: &Settings) -> Result<Networks, Failure> {
        let egress = if settings.has_egress {
            Egress::of_host(&settings.allowed_networks, settings.may_forward).map_err(|error| error.to_string())
        } else {
            Err(NOT_WANTED.to_owned())
        };
        Networks::at_home(egress, None)
    }

    /// Without root, the host's own namespace could be left but not entered again: the spawner takes one for itself.
    pub fn of_own(
        alone: &Alone,
        outside: Option<Result<Outside, String>>,
        settings: &Settings,
    ) -> Result<Networks, Failure> {
        sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
        let outside = outside.unwrap_or_else(|| Err(NOT_WANTED.to_owned()));
        let led_out = outside.and_then(|outside| {
            let egress = lead_out(&outside, settings)?;
            Ok((egress, outside))
        });
        match led_out {
            Ok((egress, outside)) => Networks::at_home(Ok(egress), Some(outside)),
            Err(why) => Networks::at_home(Err(why), None),
        }
    }

    fn at_home(egress: Result<Egress, String>, outside: Option<Outside>) -> Result<Networks, Failure> {
        Ok(Networks {
            home: current().step("open the network namespace")?,
            egress,
            outside,
            ahead: Vec::new(),
            usual: Network::Loopback,
            is_exhausted: false,
        })
    }

    pub fn has_set_switch(&self) -> bool {
        self.egress.as_ref().is_ok_and(Egress::has_set_switch)
    }

    pub fn no_egress(&self) -> Option<&str> {
        self.egress.as_ref().err().map(String::as_str)
    }

    /// Steps into a new namespace and listens there: for names, where there is a way out, and then on these ports.
    pub fn prepare(&mut self, alone: &Alone, network: Network, listen: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
        self.usual = network;
        match self.ahead.iter().position(|room| room.network == network) {
            Some(at) => enter(&self.ahead.swap_remove(at).namespace)?,
            None => {
                drop(self.fresh(alone, network)?);
                self.is_exhausted = false;
            }
        }
        let mut listeners = Vec::with_capacity(listen.len() + 2);
        if network == Network::Egress {
            listeners.extend(names::listen().step("listen for names inside the sandbox")?);
        }
        for port in listen {
            listeners.push(bind(*port).step("listen inside the sandbox")?);
        }
        Ok(listeners)
    }

    /// Steps into a new namespace with its loopback up, and, where it is wanted, a way out.
    fn fresh(&mut self, alone: &Alone, network: Network) -> Result<Room, Failure> {
        sys::unshare(alone, UnshareFlags::NEWNET).step("make a network namespace")?;
        netlink::loopback_up().step("bring the loopback up")?;
        let namespace = current().step("open the network namespace")?;
        if network == Network::Egress {
            self.go_home()?;
            let egress = self.egress.as_mut().map_err(|why| io::Error::other(why.clone())).step("lead out")?;
            egress.connect(namespace.as_fd(), || enter(&namespace))?;
        }
        Ok(Room { namespace, network })
    }

    pub fn wants_more(&self) -> bool {
        !self.is_exhausted && self.ahead.iter().filter(|room| room.network == self.usual).count() < AHEAD_MAX
    }

    /// A host that has no more to give says so when one is needed.
    pub fn make_one_ahead(&mut self, alone: &Alone) -> Result<(), Failure> {
        if self.wants_more() {
            let made = self.fresh(alone, self.usual);
            self.go_home()?;
            self.is_exhausted = made.is_err();
            self.ahead.retain(|room| room.network == self.usual);
            self.ahead.extend(made);
        }
        Ok(())
    }

    /// What is readable when something happened outside.
    pub fn watched(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.outside.as_ref().map(|outside| [outside.keeper.as_fd(), outside.addresses.as_fd()])
    }

    /// The host has new addresses, which are closed.
    pub fn close_new_addresses(&mut self) -> io::Result<()> {
        match (&self.outside, &mut self.egress) {
            (Some(outside), Ok(egress)) => egress.close(&outside.addresses.told()?),
            _ => Ok(()),
        }
    }

    pub fn go_home(&self) -> Result<(), Failure> {
        enter(&self.home)
    }
}

/// Puts the fence up, and then has somebody lead us out. From the namespace in which it is called.
fn lead_out(outside: &Outside, settings: &Settings) -> Result<Egress, String> {
    let say = |error: io::Error| error.to_string();
    netlink::loopback_up().map_err(say)?;
    let mut egress = Egress::of_own(&settings.allowed_networks).map_err(say)?;
    egress.close(&outside.addresses.told().map_err(say)?).map_err(say)?;
    outside.keeper.lead_out()?;
    Ok(egress)
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
