//! The way out for an ordinary user: `pasta`, a program of the host, copies what a network namespace of ours sends to
//! sockets of the host, as the user that runs `lamp`. One of it serves all sandboxes of a spawner, behind the fence.
//!
//! It has to be started from outside the spawner's namespaces, so a child that stays there, the *keeper*, is forked
//! before they are made. It starts `pasta` when it is told to, and ends it when the spawner is no more, however that
//! ended. When `pasta` ends first, the keeper does too.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::limits::PASTA_WORDS_BYTES_MAX;
use crate::message;
use crate::process::init;
use crate::sys::{self, Alone};

const PROGRAM: &str = "pasta";

/// The interface at which it waits in our namespace.
const INTERFACE: &str = "out";

/// How long it may take to get ready: at most so many pauses. It takes some 50 ms.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const PAUSES_MAX: usize = 1_000;

/// The spawner's end. Dropping it ends `pasta`.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
}

impl Keeper {
    /// To be called in the host's namespaces. `Err` says in words why there is none.
    pub fn fork(alone: &Alone) -> Result<Keeper, String> {
        let program = installed().ok_or("lamp does not run as root, and pasta is not installed")?;
        let fork = || {
            let (ours, theirs) = message::pair()?;
            let spawner = std::process::id();
            match sys::fork(alone)? {
                Some(_) => Ok(Keeper { socket: ours }),
                None => keep(alone, &theirs, &program, spawner),
            }
        };
        fork().map_err(|error: io::Error| format!("pasta cannot be started: {error}"))
    }

    /// Leads the current network namespace out, and comes back when it does.
    pub fn lead_out(&self) -> Result<(), String> {
        let broken = |error: io::Error| format!("pasta cannot be started: {error}");
        rustix::net::send(&self.socket, &[1], SendFlags::NOSIGNAL).map_err(|errno| broken(errno.into()))?;
        for _ in 0..PAUSES_MAX {
            if leads_out().map_err(broken)? {
                return Ok(());
            }
            let mut waited = [PollFd::new(&self.socket, PollFlags::IN)];
            if poll(&mut waited, Some(&PAUSE)).map_err(|errno| broken(errno.into()))? > 0 {
                let mut words = [0; PASTA_WORDS_BYTES_MAX];
                let (length, _) = rustix::net::recv(&self.socket, &mut words[..], RecvFlags::empty()).unwrap_or((0, 0));
                let words = String::from_utf8_lossy(words.get(..length).unwrap_or_default());
                return Err(format!("pasta ended: {}", words.trim()));
            }
        }
        Err("pasta takes too long".to_owned())
    }
}

/// Readable when `pasta` is no more.
impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(known).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// Whether the current namespace has a default route through `pasta`.
fn leads_out() -> io::Result<bool> {
    let table = std::fs::read_to_string("/proc/self/net/route")?;
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(INTERFACE) && fields.next() == Some("00000000")
    }))
}

/// The keeper's life.
fn keep(alone: &Alone, socket: &OwnedFd, program: &Path, spawner: u32) -> ! {
    // All that was the spawner's goes, its orders first: the server hears by their end that the spawner is dead.
    let kept = init::silence().and_then(|()| sys::keep_only(alone, socket.as_fd()));
    // By a name of its own: who kills all that is called `lamp` leaves it to clean up.
    let _ = rustix::thread::set_name(c"lamp-way-out");
    let done = kept.and_then(|socket| {
        let mut go = [0; 1];
        match rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut go[..], RecvFlags::empty()))? {
            (0, _) => Ok(()),
            _ => serve(&socket, program, spawner),
        }
    });
    std::process::exit(i32::from(done.is_err()))
}

fn serve(socket: &OwnedFd, program: &Path, spawner: u32) -> io::Result<()> {
    let mut pasta = match start(program, spawner) {
        Ok(pasta) => pasta,
        Err(error) => return tell(socket, &error.to_string()),
    };
    let mut words = Vec::new();
    let is_dead = watch(socket, &mut pasta, &mut words);
    let _ = pasta.kill();
    let _ = pasta.wait();
    match is_dead? {
        true => tell(socket, &sense(&String::from_utf8_lossy(&words))),
        false => Ok(()),
    }
}

fn start(program: &Path, spawner: u32) -> io::Result<Child> {
    let namespace = |kind: &str| format!("/proc/{spawner}/ns/{kind}");
    Command::new(program)
        .args(["--foreground", "--quiet", "--ipv4-only", "--config-net", "--ns-ifname", INTERFACE])
        // Nothing of the host's loopback, by whatever address, and nothing from the host to us.
        .args(["--no-map-gw", "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none"])
        .args(["--userns", &namespace("user"), "--netns", &namespace("net")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for the end of one of both, and takes what `pasta` says. Whether it was `pasta`.
fn watch(socket: &OwnedFd, pasta: &mut Child, words: &mut Vec<u8>) -> io::Result<bool> {
    let end = Pid::from_raw(pasta.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let end = pidfd_open(end, PidfdFlags::empty())?;
    let mut said = pasta.stderr.take();
    loop {
        let mut waited = vec![PollFd::new(socket, PollFlags::IN), PollFd::new(&end, PollFlags::IN)];
        waited.extend(said.iter().map(|said| PollFd::new(said, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut waited, None))?;
        let happened: Vec<bool> = waited.iter().map(|fd| !fd.revents().is_empty()).collect();
        if happened.get(2) == Some(&true) && !hear(&mut said, words) {
            said = None;
        } else if happened.get(1) == Some(&true) {
            return Ok(true);
        } else if happened.first() == Some(&true) {
            return Ok(false);
        }
    }
}

/// Whether there may be more to hear.
fn hear(said: &mut Option<ChildStderr>, words: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 512];
    let count = said.as_mut().and_then(|said| said.read(&mut buffer).ok()).unwrap_or(0);
    let room = PASTA_WORDS_BYTES_MAX.saturating_sub(words.len()).min(count);
    words.extend_from_slice(buffer.get(..room).unwrap_or_default());
    count > 0
}

fn tell(socket: &OwnedFd, words: &str) -> io::Result<()> {
    let words = words.as_bytes();
    let words = words.get(..PASTA_WORDS_BYTES_MAX).unwrap_or(words);
    rustix::net::send(socket, words, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What it says of its failure, without its laments about a missing system log.
fn sense(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling: Vec<&str> = lines.iter().copied().filter(|line| !line.contains("to syslog")).collect();
    if telling.is_empty() { "it does not say why".to_owned() } else { telling.join("; ") }
}
