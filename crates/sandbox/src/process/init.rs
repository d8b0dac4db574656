//! Pid 1 of a sandbox: a copy of the spawner that confined itself (`enter`) and then starts what the server tells it
//! to, reaps, and reports each exit. Sockets of the sandbox's network that the server wants come from here too.
//!
//! It is confined like the programs it starts, before it reads its first command, so there is no right in here to win
//! by tricking it. Without walls (`bare`) it is a plain process that adopts orphans. It has no handler for any signal,
//! and the kernel keeps from pid 1 what it does not handle. When the control socket ends, it exits, and the kernel
//! kills whatever is left in the namespace.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, waitid};

use crate::limits::GRANT_NUMBER_MAX;
use crate::message::{Command, News, Number, Rlimits, receive, send};
use crate::process::bare;
use crate::process::cgroup::Doors;
use crate::process::enter::{self, enter};
use crate::process::step::Step;
use crate::sys::{self, Alone};

/// The number that the first process besides the init gets.
const FIRST: u32 = 2;

/// What a child brings from its spawner.
#[derive(Debug)]
pub enum Entry {
    Confined(enter::Entry),
    Bare(Doors),
}

impl Entry {
    pub fn doors(&self) -> &Doors {
        match self {
            Entry::Confined(entry) => &entry.doors,
            Entry::Bare(doors) => doors,
        }
    }
}

/// Becomes the init and stays it until the sandbox ends.
pub fn live(alone: &Alone, control: OwnedFd, entry: Entry) -> ! {
    let is_bare = matches!(entry, Entry::Bare(_));
    let entered = match &entry {
        Entry::Confined(entry) => enter(alone, entry),
        Entry::Bare(doors) => bare::enter(doors),
    };
    let confined = entered.and_then(|()| silence().step("close the standard streams"));
    drop(entry);
    // All that came from the spawner goes: its socket, the host's namespaces, other sandboxes' handles. Their owners
    // are frames that this never returns to.
    let Ok(control) = sys::keep_only(alone, control.as_fd()) else { std::process::exit(1) };
    let children = confined.and_then(|()| sys::signal_fd(libc::SIGCHLD).step("listen for exits"));
    match children {
        Ok(children) => {
            let mut init = Init { alone, control, is_bare, is_untouched: true, programs: BTreeSet::new() };
            std::process::exit(i32::from(init.serve(&children).is_err()))
        }
        Err(failure) => {
            let errno = failure.errno();
            let _ = send(&control, &News::Down { step: failure.step, errno }, &[]);
            std::process::exit(1)
        }
    }
}

pub fn silence() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

struct Init<'a> {
    alone: &'a Alone,
    control: OwnedFd,
    is_bare: bool,
    /// Nothing has run here yet.
    is_untouched: bool,
    /// What the server asked for and has not been told the end of. Orphans are nobody's news.
    programs: BTreeSet<i32>,
}

impl Init<'_> {
    fn serve(&mut self, children: &OwnedFd) -> io::Result<()> {
        self.tell(&News::Up)?;
        loop {
            let mut waited = [PollFd::new(&self.control, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut waited, None))?;
            let [control, exits] = waited.map(|fd| !fd.revents().is_empty());
            if exits {
                let mut pending = [0_u8; 128];
                let _ = rustix::io::read(children, &mut pending);
                self.reap(WaitIdOptions::NOHANG)?;
            }
            if control {
                match receive(&self.control, RecvFlags::empty())? {
                    Some((command, fds)) => self.obey(command, fds)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn tell(&self, news: &News) -> io::Result<()> {
        send(&self.control, news, &[])
    }

    fn obey(&mut self, command: Command, fds: Vec<OwnedFd>) -> io::Result<()> {
        match command {
            Command::Run { request, argv, env, directory, places, rlimits, held } => {
                let (is_bare, is_held) = (self.is_bare, held.is_some());
                let program = Order { argv, env, directory: &directory, places, rlimits, fds, is_bare, is_held };
                let news = match self.skip(held).and_then(|()| self.run(program)) {
                    Ok(pid) => {
                        self.programs.insert(pid);
                        News::Running { request, process: pid.unsigned_abs() }
                    }
                    Err(error) => News::NotRunning { request, errno: error.raw_os_error().unwrap_or(libc::EINVAL) },
                };
                self.tell(&news)
            }
            Command::Signal { process, signal } => {
                let pid = i32::try_from(process).ok().filter(|pid| self.programs.contains(pid)).and_then(Pid::from_raw);
                if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
                Ok(())
            }
            Command::Clear { request } => {
                if self.is_bare {
                    // Each that dies leaves its children to us.
                    while bare::kill_children(|_| false)? > 0 {
                        waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
                        self.reap(WaitIdOptions::NOHANG)?;
                    }
                } else {
                    match sys::kill_everybody_else() {
                        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                        _ => {}
                    }
                    self.reap(WaitIdOptions::empty())?;
                }
                self.tell(&News::Cleared { request })
            }
            Command::Socket { request } => {
                // Whom it is connected to is the server's to say: a socket keeps the network in which it was made.
                let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
                let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
                send(&self.control, &News::Socket { request }, &fds)
            }
        }
    }

    /// Collects the dead: those there are, or, without NOHANG, everybody.
    fn reap(&mut self, how: WaitIdOptions) -> io::Result<()> {
        loop {
            let (pid, code, signal) = match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | how) {
                Ok(Some(_)) => match rustix::process::wait(WaitOptions::NOHANG)? {
                    Some((pid, status)) => (pid.as_raw_pid(), status.exit_status(), status.terminating_signal()),
                    None => continue,
                },
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.programs.remove(&pid) {
                self.tell(&News::Exited { process: pid.unsigned_abs(), code, signal })?;
            }
        }
    }

    /// Uses numbers up, so that the next process has a number that it may have.
    ///
    /// The first program of a sandbox has the second of the numbers that there are, so that one that begins where it was
    /// can have the first, and one that begins where that was the second: none like the other, and both before its threads.
    fn skip(&mut self, held: Option<Number>) -> io::Result<()> {
        let is_untouched = std::mem::replace(&mut self.is_untouched, false);
        match held {
            None => {
                // Without it, all but a clone of several threads works.
                let _ = (is_untouched && !self.is_bare).then(|| sys::use_up_a_number(self.alone));
                Ok(())
            }
            Some(Number { unlike: FIRST, .. }) if is_untouched => sys::use_up_a_number(self.alone),
            Some(_) if is_untouched => Ok(()),
            Some(number) => loop {
                let next = self.learn_a_number()?.saturating_add(1);
                if next >= number.below {
                    // It has been somebody's.
                    return Err(io::Error::from_raw_os_error(libc::EEXIST));
                }
                if next != number.unlike {
                    return Ok(());
                }
            },
        }
    }

    /// The number of a process that ends at once.
    fn learn_a_number(&self) -> io::Result<u32> {
        match sys::fork(self.alone)? {
            None => std::process::exit(0),
            Some(pid) => {
                rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
                Ok(pid.as_raw_pid().unsigned_abs())
            }
        }
    }

    /// Starts a program, and answers once it is running or has failed to.
    fn run(&self, order: Order<'_>) -> io::Result<i32> {
        let (failed, fail) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        match sys::fork(self.alone)? {
            None => {
                let (moved, error) = order.become_program(self.alone, &fail);
                let fail = moved.unwrap_or(fail);
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                let _ = rustix::io::write(&fail, &errno.to_ne_bytes());
                std::process::exit(127)
            }
            Some(pid) => {
                drop((fail, order));
                let mut errno = [0; 4];
                // Exec closes the pipe; so does the death of the child before.
                match rustix::io::retry_on_intr(|| rustix::io::read(&failed, &mut errno))? {
                    4 => {
                        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
                        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
                    }
                    _ => Ok(pid.as_raw_pid()),
                }
            }
        }
    }
}

struct Order<'a> {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    directory: &'a Path,
    places: Vec<u16>,
    rlimits: Rlimits,
    fds: Vec<OwnedFd>,
    is_bare: bool,
    /// It stands still before its first instruction until somebody lets it go on.
    is_held: bool,
}

impl Order<'_> {
    /// Turns the calling child into the program. Returns only an error, with where to report it.
    fn become_program(self, alone: &Alone, fail: &OwnedFd) -> (Option<OwnedFd>, io::Error) {
        // Out of the way of the numbers that the program's own get.
        let above = i32::from(GRANT_NUMBER_MAX) + 1;
        let fail = match rustix::io::fcntl_dupfd_cloexec(fail, above) {
            Ok(fail) => fail,
            Err(error) => return (None, error.into()),
        };
        let error = match self.prepare(alone, above) {
            Ok((path, argv, env)) => sys::execve(&path, &argv, &env),
            Err(error) => error,
        };
        (Some(fail), error)
    }

    fn prepare(self, alone: &Alone, above: i32) -> io::Result<(CString, Vec<CString>, Vec<CString>)> {
        rustix::process::setsid()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let null = rustix::io::fcntl_dupfd_cloexec(&null, above)?;
        let mut sources = Vec::with_capacity(self.fds.len());
        for fd in &self.fds {
            sources.push(rustix::io::fcntl_dupfd_cloexec(fd, above)?);
        }
        sys::close_on_exec_from(3)?;
        for standard in (0..3).filter(|number| !self.places.contains(number)) {
            sys::place(alone, null.as_fd(), standard)?;
        }
        for (place, source) in self.places.iter().zip(&sources) {
            sys::place(alone, source.as_fd(), *place)?;
        }
        limit(&self.rlimits)?;
        if self.is_bare {
            // No namespace ends with the init.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        rustix::process::chdir(self.directory)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        sys::default_signals();
        sys::block_signals(&[])?;
        let path = self.argv.first().map(String::as_bytes).unwrap_or_default();
        let argv = self.argv.iter().map(|word| Ok(CString::new(word.as_bytes())?)).collect::<io::Result<_>>()?;
        let env = self.env.iter().map(|(name, value)| Ok(CString::new(format!("{name}={value}"))?));
        if self.is_held {
            std::mem::forget(sys::stop_at_exec(above)?);
        }
        // The copies are closed by exec. Dropping them here would be as good, but takes a call each.
        std::mem::forget((null, sources));
        Ok((CString::new(std::ffi::OsStr::from_bytes(path).as_bytes())?, argv, env.collect::<io::Result<_>>()?))
    }
}

const MIB: u64 = 1024 * 1024;

/// AWS's limits of one process, as recorded there; never above what the host gives us.
fn limit(rlimits: &Rlimits) -> io::Result<()> {
    let set = |resource, soft: Option<u64>, hard: Option<u64>| {
        let host = rustix::process::getrlimit(resource).maximum;
        let least = |wanted: Option<u64>| [wanted, host].into_iter().flatten().min();
        rustix::process::setrlimit(resource, Rlimit { current: least(soft), maximum: least(hard) })
    };
    let same = |resource, value| set(resource, Some(value), Some(value));
    same(Resource::Nofile, rlimits.open_files)?;
    if let Some(processes) = rlimits.processes {
        same(Resource::Nproc, processes)?;
    }
    same(Resource::Core, 0)?;
    same(Resource::Memlock, MIB / 16)?;
    set(Resource::Stack, Some(8 * MIB), None)?;
    if let Some(bytes) = rlimits.data_bytes {
        same(Resource::Data, bytes)?;
    }
    Ok(())
}
