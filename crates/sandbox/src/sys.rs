//! The syscalls that no safe crate offers, one function each, typed in, `io::Result` out. The only file of this crate
//! with `unsafe`.
//!
//! `fork` and `clone_into` are sound only in a process with one thread: another thread's locks would stay locked in the
//! child for ever. `Alone` proves it.

#![expect(unsafe_code, reason = "syscalls that neither std nor rustix offers")]

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use tokio::io::unix::AsyncFd;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Proof that this process has one thread, and will start no other.
#[derive(Debug)]
pub struct Alone(());

impl Alone {
    /// To be called first in `main`. Whoever holds it promises to start no thread.
    pub fn prove() -> io::Result<Alone> {
        match fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Alone(())),
            _ => Err(io::Error::other("the process has several threads already")),
        }
    }
}

/// libc's constant overflows its type.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// A child in new namespaces and, on cgroup v2, in its group from its first instruction on: its pid and pidfd, and in
/// the child `None`.
pub fn clone_into(
    _alone: &Alone,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Option<(Pid, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeroes is a valid `clone_args`: no stack, no tid, no TLS.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of this process's memory and runs on from here; there is one
    // thread, so no lock is held by anybody who is not copied. `args` and `pidfd` outlive the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    // SAFETY: in the parent, the kernel has just made this descriptor, and nobody else knows its number.
    Ok(Pid::from_raw(pid as i32).map(|pid| (pid, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// A plain child: its pid, and in the child `None`. By `clone`, because the sandbox's filter refuses `clone3`, whose
/// flags it cannot read.
pub fn fork(_alone: &Alone) -> io::Result<Option<Pid>> {
    // SAFETY: as in `clone_into`; a null stack means that the child goes on with its copy of ours.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) })?;
    Ok(Pid::from_raw(pid as i32))
}

/// Where nobody can write.
pub const NOWHERE: u64 = u64::MAX - 7;

/// The flags of a new thread or process that shares all that threads share.
pub const SHARED: u32 =
    (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_SYSVSEM) as u32;

/// Uses up the number that the next process would get: the kernel counts, and then finds that it cannot say where the new
/// one's handle is.
pub fn use_up_a_number(_alone: &Alone) -> io::Result<()> {
    let flags = libc::c_ulong::from(SHARED | libc::CLONE_PIDFD as u32);
    // SAFETY: nobody is born, who would share our stack: the handle's address is none of a program's on any machine, so
    // the kernel fails to write there, which it does before it lets anybody run.
    match check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, NOWHERE, 0, 0) }) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::Other.into()),
    }
}

/// Leaves namespaces of this process, which has one thread and shares no descriptors with anybody.
pub fn unshare(_alone: &Alone, namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsafe in rustix for CLONE_FILES alone, which could take descriptors away from other threads; there are
    // none.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

/// Replaces this program. Returns only an error. Descriptors without close-on-exec stay open.
pub fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both tables end with null and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Lets every descriptor from `first` on be closed by the next exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only numbers are passed, and nothing is closed yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Has the calling process stop when it has become another program, before that program's first instruction, until
/// somebody lets it go on. The exec closes one end of a pipe; the other, which stays open at a number from `above` on, then
/// tells its owner by a signal, which may be any.
pub fn stop_at_exec(above: RawFd) -> io::Result<[OwnedFd; 2]> {
    const SET_SIGNAL: libc::c_int = 10;
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let told = rustix::io::fcntl_dupfd_cloexec(&told, above)?;
    rustix::io::fcntl_setfd(&told, rustix::io::FdFlags::empty())?;
    let set = |what: libc::c_int, value: libc::c_int| {
        // SAFETY: only numbers are passed.
        check(i64::from(unsafe { libc::fcntl(told.as_raw_fd(), what, value) }) as libc::c_long)
    };
    set(libc::F_SETOWN, std::process::id() as libc::c_int)?;
    set(SET_SIGNAL, libc::SIGSTOP)?;
    set(libc::F_SETFL, libc::O_ASYNC)?;
    Ok([told, tell])
}

/// Puts a copy of `fd` at the number `at`, without close-on-exec, in place of what was there.
pub fn place(_alone: &Alone, fd: BorrowedFd<'_>, at: u16) -> io::Result<()> {
    // SAFETY: only numbers are passed. What was open at `at` belonged to the program that this process is leaving.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), i32::from(at)) }) as libc::c_long)?;
    Ok(())
}

/// Sets attributes of a mount and of all below it, and cuts them off from mounts made elsewhere.
pub fn seal_mount(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    mount_setattr(mount, attributes, libc::AT_RECURSIVE)
}

/// The same for this mount alone.
pub fn seal_mount_alone(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    mount_setattr(mount, attributes, 0)
}

fn mount_setattr(mount: BorrowedFd<'_>, attributes: u64, flags: i32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `mount_attr`: it changes nothing.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = attributes;
    attr.propagation = libc::MS_PRIVATE;
    let flags = libc::AT_EMPTY_PATH | flags;
    // SAFETY: the path is a constant string, and `attr` outlives the call with the size that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(done)?;
    Ok(())
}

/// Installs a seccomp filter, for good. Needs `no_new_privs`.
pub fn filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions, which outlive the call, and writes none.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}

/// Which signals wait for `signals` to be read, and which do nothing to this process.
fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeroes is a valid set on Linux, and `sigaddset` writes only into it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: `set` is a valid set that lives here.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Blocks `blocked`, and nothing else, from now on. A program that is executed inherits it.
pub fn block_signals(blocked: &[i32]) -> io::Result<()> {
    let set = signal_set(blocked);
    // SAFETY: `set` outlives the call; the old mask is not asked for.
    check(i64::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) }) as _)?;
    Ok(())
}

/// Gives every signal its default meaning again, as a fresh program expects.
pub fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: the default action runs no code of ours. Signals that cannot be changed are refused, harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// A descriptor that is readable while `signal`, which must be blocked, is pending.
pub fn signal_fd(signal: i32) -> io::Result<OwnedFd> {
    let set = signal_set(&[signal]);
    // SAFETY: `set` outlives the call; -1 asks for a new descriptor.
    let fd =
        check(i64::from(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }) as _)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends SIGKILL to every process of this pid namespace but its init, which must be the caller.
pub fn kill_everybody_else() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::other("only an init may kill everybody"));
    }
    // SAFETY: only numbers are passed; pid 1 of a namespace reaches nobody outside of it.
    check(i64::from(unsafe { libc::kill(-1, libc::SIGKILL) }) as _)?;
    Ok(())
}

/// A non-blocking socket in the event loop of the caller's runtime.
pub fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    // SAFETY: an `OwnedFd` that nobody takes out stays open, at the same number, for as long as it is owned.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// `struct landlock_ruleset_attr` of ABI 6; older kernels take its beginning.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct LandlockRules {
    pub handled_access_fs: u64,
    pub handled_access_net: u64,
    pub scoped: u64,
}

#[repr(C, packed)]
struct LandlockPath {
    allowed_access: u64,
    parent: RawFd,
}

/// The version of Landlock's interface.
pub fn landlock_abi() -> io::Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: a null pointer of no length with this flag asks for the version alone.
    let abi = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) })?;
    Ok(abi as u32)
}

/// A new ruleset; `bytes` of `rules` are known to this kernel.
pub fn landlock_ruleset(rules: LandlockRules, bytes: usize) -> io::Result<OwnedFd> {
    let bytes = bytes.min(size_of::<LandlockRules>());
    // SAFETY: `rules` outlives the call and is at least `bytes` long.
    let fd = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, bytes, 0) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Allows `access` below `parent`.
pub fn landlock_allow(ruleset: BorrowedFd<'_>, parent: BorrowedFd<'_>, access: u64) -> io::Result<()> {
    const PATH_BENEATH: u32 = 1;
    let rule = LandlockPath { allowed_access: access, parent: parent.as_raw_fd() };
    let fd = ruleset.as_raw_fd();
    // SAFETY: `rule` has the kernel's layout and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, PATH_BENEATH, &raw const rule, 0) })?;
    Ok(())
}

/// Binds this thread and all its children to the ruleset, for good. Needs `no_new_privs`.
pub fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(())
}

/// Keeps the standard descriptors and a copy of `fd`, and closes all others. The caller must never again use or drop
/// what owned them: it goes on from here as another program would.
pub fn keep_only(_alone: &Alone, fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const KEPT: RawFd = 3;
    if fd.as_raw_fd() == KEPT {
        close_from(KEPT as u32 + 1)?;
        // SAFETY: the number is open, and its owner before is given up by contract.
        return Ok(unsafe { OwnedFd::from_raw_fd(KEPT) });
    }
    // SAFETY: only numbers are passed. What was open at 3 is given up by contract.
    check(i64::from(unsafe { libc::dup3(fd.as_raw_fd(), KEPT, libc::O_CLOEXEC) }) as _)?;
    close_from(KEPT as u32 + 1)?;
    // SAFETY: `dup3` has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(KEPT) })
}

fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: only numbers are passed. Their owners are given up by the contract of the only caller.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Whether the kernel takes the host's clock for synchronised: what keeps it, here or outside a container, tells it so.
pub fn is_clock_synchronised() -> io::Result<bool> {
    // SAFETY: it is made of numbers, of which any may be 0.
    let mut read: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `read` has the kernel's layout and outlives the call; with no mode set it is only written to.
    let state = check(i64::from(unsafe { libc::adjtimex(&raw mut read) }) as _)?;
    Ok(state != libc::c_long::from(libc::TIME_ERROR) && read.status & libc::STA_UNSYNC == 0)
}

/// What a traced process does next.
#[derive(Debug, Clone, Copy)]
pub enum Trace {
    /// It stops, wherever it is.
    Interrupt,
    Continue,
    /// It goes on, and gets the signal for which it has stopped.
    Signal(i32),
    /// One instruction.
    Step,
    /// It goes on without us.
    Detach,
}

/// Whether one that is traced stops for what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    Nothing,
    /// When it has made a thread, which is then traced too.
    Threads,
}

/// Takes the right to stop a thread and to read and set its registers. If this process ends first, the other is killed.
pub fn seize(pid: Pid, follow: Follow) -> io::Result<()> {
    let mut options = libc::PTRACE_O_EXITKILL;
    if follow == Follow::Threads {
        options |= libc::PTRACE_O_TRACECLONE;
    }
    // SAFETY: only numbers are passed; the kernel checks whether we may trace it.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.as_raw_pid(), 0_usize, options as usize) })?;
    Ok(())
}

pub fn trace(pid: Pid, what: Trace) -> io::Result<()> {
    let (request, signal) = match what {
        Trace::Interrupt => (libc::PTRACE_INTERRUPT, 0),
        Trace::Continue => (libc::PTRACE_CONT, 0),
        Trace::Signal(signal) => (libc::PTRACE_CONT, signal),
        Trace::Step => (libc::PTRACE_SINGLESTEP, 0),
        Trace::Detach => (libc::PTRACE_DETACH, 0),
    };
    // SAFETY: these requests touch no memory of ours; a process that is not our tracee is refused.
    check(unsafe { libc::ptrace(request, pid.as_raw_pid(), 0_usize, signal as usize) })?;
    Ok(())
}

/// Whom a traced thread has just made.
pub fn made(pid: Pid) -> io::Result<Pid> {
    let mut thread: libc::c_ulong = 0;
    // SAFETY: the kernel writes one word, which outlives the call.
    check(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid.as_raw_pid(), 0_usize, &raw mut thread) })?;
    i32::try_from(thread).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What two threads may share, of `KCMP_*`.
#[derive(Debug, Clone, Copy)]
pub enum Shared {
    Descriptors = 2,
    /// Root, directory and umask.
    Surroundings = 3,
}

pub fn is_shared(one: Pid, other: Pid, what: Shared) -> io::Result<bool> {
    let (one, other) = (one.as_raw_pid(), other.as_raw_pid());
    // SAFETY: only numbers are passed; the kernel checks whether we may know.
    Ok(check(unsafe { libc::syscall(libc::SYS_kcmp, one, other, what as i32, 0, 0) })? == 0)
}

/// Whether two descriptors of a process are one open file.
pub fn is_one_file(pid: Pid, one: u16, other: u16) -> io::Result<bool> {
    const FILE: i32 = 0;
    let (pid, one, other) = (pid.as_raw_pid(), u64::from(one), u64::from(other));
    // SAFETY: only numbers are passed; the kernel checks whether we may know.
    Ok(check(unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, FILE, one, other) })? == 0)
}

/// One set of the registers of a stopped tracee, such as `NT_PRSTATUS`.
pub fn registers(pid: Pid, set: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; 16 * 1024];
    let mut space = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes into `bytes`, which outlives the call, and says how many.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid.as_raw_pid(), set as usize, &raw mut space) })?;
    bytes.truncate(space.iov_len);
    Ok(bytes)
}

pub fn set_registers(pid: Pid, set: i32, bytes: &[u8]) -> io::Result<()> {
    let space = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel only reads `bytes`, which outlives the call, and sets nothing but the tracee's own registers.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, pid.as_raw_pid(), set as usize, &raw const space) })?;
    Ok(())
}

/// Which signals a stopped tracee blocks.
pub fn signal_mask(pid: Pid) -> io::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the kernel writes the eight bytes that it is told of.
    check(unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, pid.as_raw_pid(), size_of::<u64>(), &raw mut mask) })?;
    Ok(mask)
}

pub fn set_signal_mask(pid: Pid, mask: u64) -> io::Result<()> {
    // SAFETY: the kernel reads the eight bytes that it is told of.
    check(unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, pid.as_raw_pid(), size_of::<u64>(), &raw const mask) })?;
    Ok(())
}

/// `struct ptrace_rseq_configuration`: where a thread has its restartable sequences. All zeroes when it has none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequences {
    pub at: u64,
    pub bytes: u32,
    pub signature: u32,
    pub flags: u32,
    pub pad: u32,
}

pub fn sequences(pid: Pid) -> io::Result<Sequences> {
    const GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
    let mut found = Sequences::default();
    let bytes = size_of::<Sequences>();
    // SAFETY: `found` has the kernel's layout, and the kernel is told its size.
    check(unsafe { libc::ptrace(GET_RSEQ_CONFIGURATION, pid.as_raw_pid(), bytes, &raw mut found) })?;
    Ok(found)
}

/// Where a thread keeps the list of the locks that die with it, and how long its head is.
pub fn robust_list(pid: Pid) -> io::Result<(u64, u64)> {
    let (mut head, mut bytes) = (0_u64, 0_u64);
    // SAFETY: the kernel writes one word into each, which outlive the call.
    check(unsafe { libc::syscall(libc::SYS_get_robust_list, pid.as_raw_pid(), &raw mut head, &raw mut bytes) })?;
    Ok((head, bytes))
}

/// Ends this process after so many seconds, whatever it waits for.
pub fn end_after(seconds: u32) {
    // SAFETY: only a number is passed; nobody handles SIGALRM.
    unsafe { libc::alarm(seconds) };
}

// Makes the syscalls of a table, one after the other, until one does not answer as the table says or all are made, and
// then traps. r12 and r13 are the table's ends; an entry is the number, six arguments and the answer. It uses no stack
// and no memory but the table.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .rodata",
    ".global lamplight_runner",
    ".global lamplight_runner_end",
    "lamplight_runner:",
    "2: cmp r12, r13",
    "je 3f",
    "mov rax, [r12]",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "mov r9, [r12 + 48]",
    "syscall",
    "cmp rax, [r12 + 56]",
    "jne 3f",
    "add r12, 64",
    "jmp 2b",
    "3: int3",
    "lamplight_runner_end:",
    ".popsection",
);

/// There is none yet.
#[cfg(not(target_arch = "x86_64"))]
pub fn runner() -> &'static [u8] {
    &[]
}

/// The instructions of the runner above, to be put into another process.
#[cfg(target_arch = "x86_64")]
pub fn runner() -> &'static [u8] {
    unsafe extern "C" {
        static lamplight_runner: u8;
        static lamplight_runner_end: u8;
    }
    let (begin, end) = (&raw const lamplight_runner, &raw const lamplight_runner_end);
    // SAFETY: both labels are in one read-only section, the second behind the first, and what is between never changes.
    unsafe { std::slice::from_raw_parts(begin, end.addr().saturating_sub(begin.addr())) }
}
