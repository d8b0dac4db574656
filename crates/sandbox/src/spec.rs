//! What a caller asks for: the room (`Spec`) and what runs in it (`Program`). Plain data.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One sandbox, before anything runs in it.
///
/// Inside, programs find: `/usr`, `/bin`, `/lib*` of the host, read-only; an `/etc` of ours; `/dev` with null, zero,
/// full, random and urandom; a `/proc` of their own processes; a writable `/tmp`; `/var/task`, `/opt`, `/var/runtime`,
/// `/var/lang` and `/var/rapid` as empty read-only folders unless a mount fills them. No `/sys`, no `/home`, no `/root`. They run as
/// uid 993 and gid 990 (`sbx_user1051`), as on AWS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Names the sandbox in logs and in the names of its cgroups: letters, digits, `-`, at most 64.
    pub name: String,
    pub mounts: Vec<Mount>,
    pub limits: Limits,
    pub network: Network,
    /// Ports of 127.0.0.1 inside the sandbox on which the *host* listens. The sockets come with the `Sandbox` and work
    /// in the host's own event loop; nobody else can reach them.
    pub listen: Vec<u16>,
    /// Made ahead, for nobody yet: it is held to the limits that it is given when it is somebody's.
    pub is_ahead: bool,
}

impl Spec {
    /// A room of the size that AWS gives a function of so much memory: CPU by memory, 512 MiB of `/tmp`, no way out.
    pub fn new(name: impl Into<String>, memory_bytes: u64) -> Spec {
        Spec {
            name: name.into(),
            mounts: Vec::new(),
            limits: Limits::for_memory(memory_bytes),
            network: Network::Loopback,
            listen: Vec::new(),
            is_ahead: false,
        }
    }
}

/// A directory of the host, shown read-only inside.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, no symbolic link itself, and not writable by anybody whom the host does not trust. What is in it must
    /// be readable by others; it may lie in a folder that is not.
    pub host: PathBuf,
    /// One of `/var/task`, `/opt`, `/var/runtime`, `/var/lang`, `/var/rapid`.
    pub inside: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Limits {
    /// All that the sandbox's processes hold. What is in `/tmp` does not count, also where that is memory.
    pub memory_bytes: u64,
    pub cpu: Cpu,
    /// Processes and threads together, our init not counted. AWS allows 1,024.
    pub processes: u32,
    /// Open files of one process. AWS allows 1,024.
    pub open_files: u64,
    pub tmp_bytes: u64,
    /// Files and folders in `/tmp`.
    pub tmp_inodes: u64,
}

impl Limits {
    pub const TMP_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;

    pub fn for_memory(memory_bytes: u64) -> Limits {
        Limits {
            memory_bytes,
            cpu: Cpu::Weight(Cpu::millis_for(memory_bytes)),
            processes: 1_024,
            open_files: 1_024,
            tmp_bytes: Limits::TMP_BYTES_DEFAULT,
            tmp_inodes: 65_536,
        }
    }
}

/// CPU time, in thousandths of one processor.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub enum Cpu {
    /// A share against its neighbours; all there is when nobody else wants it.
    Weight(u32),
    /// Never more than this, as on AWS, busy neighbours or not; the weight too.
    Quota(u32),
}

impl Cpu {
    /// AWS gives a whole processor with 1,769 MB, and less or more in proportion.
    pub fn millis_for(memory_bytes: u64) -> u32 {
        let megabytes = memory_bytes / (1024 * 1024);
        u32::try_from(megabytes.saturating_mul(1_000) / 1_769).unwrap_or(u32::MAX).max(1)
    }

    pub fn millis(self) -> u32 {
        match self {
            Cpu::Weight(millis) | Cpu::Quota(millis) => millis,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub enum Network {
    /// 127.0.0.1 of its own, and the host's listeners there. Nothing else can be reached.
    Loopback,
    /// The internet too, but never the host, its private networks, link-local and metadata addresses, or a neighbour.
    /// Names are asked of the host's nameservers, by the host.
    /// `StartError::NoEgress` where the host cannot do it.
    Egress,
}

/// A program to run inside. The environment is exactly `env`.
pub struct Program {
    /// The path inside first, then the arguments.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// `/var/task`, unless there is a reason.
    pub directory: PathBuf,
    /// Descriptors that the program finds open; all others are closed. 0, 1 and 2 are `/dev/null` unless given.
    pub grants: Vec<Grant>,
}

impl Program {
    pub fn new<A: Into<String>>(argv: impl IntoIterator<Item = A>) -> Program {
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            directory: PathBuf::from("/var/task"),
            grants: Vec::new(),
        }
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Program {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Program {
        self.directory = directory.into();
        self
    }

    /// The program finds `fd` at the number `at`.
    pub fn grant(mut self, at: u16, fd: impl Into<OwnedFd>) -> Program {
        self.grants.push(Grant { at, fd: fd.into() });
        self
    }
}

/// Arguments and environment hold secrets: only the path is shown.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("path", &self.argv.first())
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Grant {
    /// The number under which the program finds it.
    pub at: u16,
    pub fd: OwnedFd,
}
