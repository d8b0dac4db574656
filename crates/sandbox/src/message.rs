//! What the server, its spawner and the inits tell each other: one JSON message a packet, with descriptors beside it.
//!
//! The sockets keep packets whole and in order. A peer is ours, but a sandbox's init shares its uid with programs that
//! nobody trusts: what comes from it is bounded and may be nonsense.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{GRANTS_MAX, MESSAGE_BYTES_MAX};
use crate::process::cgroup::Group;
use crate::process::image::Description;
use crate::process::{Kind, Settings};
use crate::spec::{Mount, Spec};

/// Server to spawner.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first message.
    Begin {
        settings: Settings,
        kind: Kind,
        server: u32,
    },
    Start {
        token: u64,
        spec: Box<Spec>,
    },
    Mount {
        token: u64,
        mounts: Vec<Mount>,
    },
    /// Take an image of a program.
    Take {
        token: u64,
        request: u64,
        process: u32,
    },
    /// Look which pages of its image, which comes along, a clone has written.
    Learn {
        token: u64,
        request: u64,
        process: u32,
        image: Description,
    },
    /// Make the image, which comes along, of a program.
    Resume {
        token: u64,
        request: u64,
        process: u32,
        image: Description,
    },
    /// Have a program go to another directory.
    GoTo {
        token: u64,
        request: u64,
        process: u32,
        directory: PathBuf,
    },
}

/// Spawner to server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    Ready {
        features: crate::Features,
        /// The spawner has made the host forward packets.
        has_set_switch: bool,
        /// The group of all sandboxes.
        groups: Group,
    },
    Refused {
        step: String,
        errno: i32,
    },
    /// With descriptors: the control socket, the init's pidfd, then the listeners.
    Started {
        token: u64,
        group: Group,
        /// Of a sandbox without walls: its folder.
        folder: Option<PathBuf>,
        took: Took,
    },
    NotStarted {
        token: u64,
        step: String,
        errno: i32,
    },
    Mounted {
        token: u64,
        errno: i32,
    },
    /// With the image's memory.
    Taken {
        request: u64,
        image: Description,
    },
    Resumed {
        request: u64,
    },
    Learnt {
        request: u64,
        image: Description,
    },
    /// A program is where it was to go.
    There {
        request: u64,
    },
    /// Neither taken nor resumed, or not there.
    NoImage {
        request: u64,
        step: String,
        errno: i32,
    },
    /// Nothing is left of it.
    Gone {
        token: u64,
        out_of_memory: u64,
    },
}

/// How many microseconds the spawner's steps of a start took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    pub groups: u32,
    /// Directories of the host, made ready to be attached.
    pub mounts: u32,
    /// A namespace that was made ahead or now, and its listeners.
    pub network: u32,
    /// The copy of the template's mounts.
    pub files: u32,
    pub birth: u32,
}

/// Server to a sandbox's init.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    /// With descriptors, as many as `places`.
    Run {
        request: u64,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        directory: PathBuf,
        places: Vec<u16>,
        rlimits: Rlimits,
        /// It is to become an image: it stops before its first instruction, and somebody sees to it.
        held: Option<Number>,
    },
    Signal {
        process: u32,
        signal: i32,
    },
    Clear {
        request: u64,
    },
    /// Make a socket of this sandbox's network.
    Socket {
        request: u64,
    },
}

/// The number of a process that is to become an image.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Number {
    /// Any but this.
    pub unlike: u32,
    /// And below this.
    pub below: u32,
}

/// Init to server.
#[derive(Debug, Serialize, Deserialize)]
pub enum News {
    /// Confined, and waiting for commands.
    Up,
    /// The sandbox could not be made; the init is gone.
    Down {
        step: String,
        errno: i32,
    },
    Running {
        request: u64,
        process: u32,
    },
    NotRunning {
        request: u64,
        errno: i32,
    },
    Exited {
        process: u32,
        code: Option<i32>,
        signal: Option<i32>,
    },
    Cleared {
        request: u64,
    },
    /// With the socket, unless there was none to be had.
    Socket {
        request: u64,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Rlimits {
    pub open_files: u64,
    /// Not where the user has processes besides.
    pub processes: Option<u64>,
    /// In place of a memory cgroup, where there is none.
    pub data_bytes: Option<u64>,
}

/// Two connected sockets that keep messages whole.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Descriptors that one message carries: what a program is given, or what a start hands out.
const FDS_MAX: usize = GRANTS_MAX + 4;

pub fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX || fds.len() > FDS_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// The next message with its descriptors; `None` when the other end is gone.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // Its length first: most messages are small, and fresh memory is dear.
    let peek = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut [0_u8; 0][..], peek))?;
    let mut bytes = vec![0; length.min(MESSAGE_BYTES_MAX)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags))?;
    let fds = ancillary
        .drain()
        .filter_map(|message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None })
        .flatten()
        .collect();
    match bytes.get(..received.bytes) {
        Some([]) | None => Ok(None),
        Some(message) => Ok(Some((serde_json::from_slice(message)?, fds))),
    }
}
