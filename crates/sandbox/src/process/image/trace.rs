//! One process held still: its `/proc`, its registers, its memory, and syscalls made in its name.
//!
//! A call is made with the registers that we say and takes one instruction, the `syscall` at a known address. It has the
//! process's rights and no others. What the process makes of its own code is its own affair: it can only make us fail.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::limits::{IMAGE_NAMES_MAX, IMAGE_TEXT_BYTES_MAX};
use crate::process::image::Whom;
use crate::process::image::layout::{bytes, words};
use crate::process::step::{Failure, Step};
use crate::sys::{self, Follow, Trace};

/// `NT_PRSTATUS` and `NT_X86_XSTATE`.
const GENERAL: i32 = 1;
pub const VECTORS: i32 = 0x202;

/// Numbers of registers in the general set.
pub const R13: usize = 2;
pub const R12: usize = 3;
const R9: usize = 8;
const R8: usize = 9;
const R10: usize = 7;
pub const RAX: usize = 10;
const RDX: usize = 12;
pub const RSI: usize = 13;
const RDI: usize = 14;
pub const CALL: usize = 15;
pub const RIP: usize = 16;
pub const RSP: usize = 19;

/// `syscall`.
const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

/// In `CALL`: not in a syscall, so none is restarted.
pub const NO_CALL: u64 = u64::MAX;

/// A directory of `/proc`: of this process alone, whoever gets its number next.
pub struct Process {
    pub pid: Pid,
    directory: OwnedFd,
}

impl Process {
    pub fn open(pid: Pid) -> io::Result<Process> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(format!("/proc/{}", pid.as_raw_pid()), flags, Mode::empty())?;
        Ok(Process { pid, directory })
    }

    /// One of its threads, which has a directory of its own of the same kind.
    pub fn thread(&self, thread: Pid) -> io::Result<Process> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = format!("task/{}", thread.as_raw_pid());
        let directory = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        Ok(Process { pid: thread, directory })
    }

    pub fn threads(&self) -> io::Result<Vec<Pid>> {
        let names = self.names_in("task")?;
        Ok(names.into_iter().filter_map(|name| Pid::from_raw(i32::try_from(name).ok()?)).collect())
    }

    /// Its number inside.
    pub fn number(&self) -> io::Result<u32> {
        let number = self.status("NSpid")?.split_whitespace().last().and_then(|number| number.parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub fn find(whom: Whom) -> Result<Process, Failure> {
        let init = Process::open(whom.init).step("find a sandbox's init")?;
        for child in init.children().step("find a program")? {
            let Ok(process) = Process::open(child) else { continue };
            if process.number().ok() == Some(whom.process) {
                return Ok(process);
            }
        }
        Err(Failure { step: "find a program".to_owned(), source: io::Error::from_raw_os_error(libc::ESRCH) })
    }

    /// Those that its main thread has started.
    pub fn children(&self) -> io::Result<Vec<Pid>> {
        self.children_of(self.pid)
    }

    pub fn children_of(&self, thread: Pid) -> io::Result<Vec<Pid>> {
        let text = self.read(&format!("task/{}/children", thread.as_raw_pid()))?;
        Ok(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect())
    }

    pub fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        Ok(rustix::fs::openat(&self.directory, name, flags | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    pub fn read(&self, name: &str) -> io::Result<String> {
        self.read_up_to(IMAGE_TEXT_BYTES_MAX, name)
    }

    /// Fails of what is longer, which is the program's doing.
    pub fn read_up_to(&self, most: u64, name: &str) -> io::Result<String> {
        let mut text = Vec::new();
        self.file(name, OFlags::RDONLY)?.take(most.saturating_add(1)).read_to_end(&mut text)?;
        if text.len() as u64 > most {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        Ok(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    pub fn link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.directory, name, Vec::new())?.into_bytes())
    }

    /// Of what a descriptor shows, or whatever else is here.
    pub fn stat(&self, name: &str) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.directory, name, rustix::fs::AtFlags::empty())?)
    }

    pub fn names_in(&self, folder: &str) -> io::Result<Vec<u32>> {
        let folder = self.file(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            names.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
            if names.len() > IMAGE_NAMES_MAX {
                return Err(io::Error::from_raw_os_error(libc::EFBIG));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// One line of `/proc/pid/status`.
    pub fn status(&self, key: &str) -> io::Result<String> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The general registers, by the numbers above.
#[derive(Debug, Clone)]
pub struct Registers(pub Vec<u64>);

impl Registers {
    pub fn get(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn with(mut self, changes: &[(usize, u64)]) -> Registers {
        for (at, value) in changes {
            if let Some(register) = self.0.get_mut(*at) {
                *register = *value;
            }
        }
        self
    }
}

/// Until a traced thread stops, for whatever reason.
pub fn wait(pid: Pid) -> io::Result<WaitStatus> {
    let status = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
    let stopped = status.map(|(_, status)| status).filter(|status| status.stopped());
    stopped.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// A thread that stands still. When this process ends, it is killed, unless it was let go.
pub struct Tracee {
    pub process: Process,
    memory: File,
}

impl Tracee {
    /// Of a thread that is traced already, and may run until it is awaited.
    pub fn new(process: Process) -> Result<Tracee, Failure> {
        let memory = process.file("mem", OFlags::RDWR).step("open a program's memory")?;
        Ok(Tracee { process, memory })
    }

    /// Begins to trace a thread, which stops soon.
    pub fn seize(process: Process, follow: Follow) -> Result<Tracee, Failure> {
        sys::seize(process.pid, follow).step("trace a program")?;
        // It is there still: so its number is its own, and now stays that.
        process.status("Pid").step("trace a program")?;
        sys::trace(process.pid, Trace::Interrupt).step("stop a program")?;
        Tracee::new(process)
    }

    /// Until it stops, for no other reason than ours. What happened to it, if anything did: `PTRACE_EVENT_CLONE` or the
    /// like.
    pub fn wait(&self) -> io::Result<i32> {
        let status = wait(self.process.pid)?;
        match status.stopping_signal() {
            Some(libc::SIGTRAP) => Ok(status.as_raw() >> 16),
            _ => Err(io::Error::other("it got a signal")),
        }
    }

    /// Until it stops because we said so. Signals that it gets meanwhile it gets.
    pub fn wait_for_stop(&self) -> io::Result<()> {
        loop {
            let status = wait(self.process.pid)?;
            match (status.as_raw() >> 16, status.stopping_signal()) {
                (libc::PTRACE_EVENT_STOP, Some(libc::SIGTRAP)) => return Ok(()),
                (0, Some(signal)) => sys::trace(self.process.pid, Trace::Signal(signal))?,
                _ => return Err(io::Error::other("somebody else has stopped it")),
            }
        }
    }

    pub fn registers(&self) -> io::Result<Registers> {
        Ok(Registers(words(&sys::registers(self.process.pid, GENERAL)?)))
    }

    pub fn set_registers(&self, registers: &Registers) -> io::Result<()> {
        sys::set_registers(self.process.pid, GENERAL, &bytes(&registers.0))
    }

    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(bytes, at)
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, at)
    }

    /// Whether there is a `syscall` at this address.
    pub fn has_instruction(&self, at: u64) -> bool {
        let mut found = [0; 2];
        self.read(at, &mut found).is_ok() && found == INSTRUCTION
    }

    /// How far behind the begin of a piece of its memory the first `syscall` is.
    pub fn instruction_in(&self, at: u64, length: u64) -> io::Result<u64> {
        let mut code = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read(at, &mut code)?;
        let found = code.windows(INSTRUCTION.len()).position(|window| window == INSTRUCTION);
        found.map(|offset| offset as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes one call by the `syscall` at this address.
    pub fn call(&self, instruction: u64, number: libc::c_long, args: [u64; 6]) -> io::Result<u64> {
        let [a, b, c, d, e, f] = args;
        let set = [(RDI, a), (RSI, b), (RDX, c), (R10, d), (R8, e), (R9, f)];
        let call = [(RAX, number.cast_unsigned()), (CALL, NO_CALL), (RIP, instruction)];
        self.set_registers(&self.registers()?.with(&set).with(&call))?;
        sys::trace(self.process.pid, Trace::Step)?;
        self.wait()?;
        let answer = self.registers()?.get(RAX);
        match i32::try_from(answer.wrapping_neg()) {
            Ok(errno @ 1..=4_095) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(answer),
        }
    }

    /// Makes the call that leads all threads of the process to another directory, whose name is put in memory that it does
    /// not use.
    pub fn go_to(&self, instruction: u64, directory: &Path, scratch: u64, scratch_bytes: u64) -> io::Result<()> {
        let name = [directory.as_os_str().as_bytes(), &[0]].concat();
        if name.len() as u64 > scratch_bytes {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        self.write(scratch, &name)?;
        self.call(instruction, libc::SYS_chdir, [scratch, 0, 0, 0, 0, 0]).map(drop)
    }

    /// Lets it run until it traps, or something happens to it.
    pub fn go(&self, registers: &Registers) -> io::Result<()> {
        self.set_registers(registers)?;
        sys::trace(self.process.pid, Trace::Continue)
    }

    pub fn let_go(&self) -> io::Result<()> {
        sys::trace(self.process.pid, Trace::Detach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_of_a_program_than_was_asked_for() {
        let own = Process::open(rustix::process::getpid()).unwrap();
        let text = own.read("comm").unwrap();
        let bytes = text.len() as u64;
        assert_eq!(own.read_up_to(bytes, "comm").unwrap(), text);
        let error = own.read_up_to(bytes - 1, "comm").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }
}
