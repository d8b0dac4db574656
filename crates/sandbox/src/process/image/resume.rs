//! Makes an image of a fresh program.
//!
//! The fresh program is a process of the sandbox like any other. It is stopped wherever it is, and made to call what
//! the image's table says: to let go of its own memory, to map the image's, and to be what the other was to the kernel.
//! Every answer is checked; after the first wrong one it is killed.

use std::io;
use std::os::fd::OwnedFd;

use crate::process::image::layout::{self, Area, DATA_AT, LOW_END, PAGE, RUNNER_AT, SYSTEM_AT, TABLE_AT};
use crate::process::image::learn::write_ahead;
use crate::process::image::take::system;
use crate::process::image::trace::{CALL, NO_CALL, Process, R12, R13, RAX, RIP, Registers, Tracee, VECTORS};
use crate::process::image::{Description, Head, IMAGE_AT, Whom, read_head};
use crate::process::step::{Failure, Step};
use crate::sys;

const PRIVATE_AND_NEW: u64 = 0x10_0002;
const READ: u64 = 1;
const EXECUTE: u64 = 4;

pub fn resume(whom: Whom, image: &OwnedFd, description: &Description) -> Result<(), Failure> {
    let head = read_head(image, description)?;
    if whom.process == description.process {
        return Err(failure("be another process", libc::EEXIST));
    }
    let tracee = Tracee::seize(Process::find(whom)?)?;
    // Of several, only one would stand still.
    if tracee.process.names_in("task").step("count a program's threads")?.len() != 1 {
        return Err(failure("stop all of a program", libc::EBUSY));
    }
    let instruction = move_in(&tracee, &head)?;
    run(&tracee, &head)?;
    let areas = be_the_thread(&tracee, &head, whom, instruction)?;
    write_ahead(&tracee, &areas, description)?;
    tracee.let_go().step("let a program begin")
}

fn mappings(tracee: &Tracee) -> Result<Vec<Area>, Failure> {
    let text = tracee.process.read("maps").step("read a program's mappings")?;
    layout::parse(&text).step("read a program's mappings")
}

/// Puts what it takes to become another where neither of the two has anything. Gives the distance of a `syscall` from
/// the begin of the kernel's own code.
fn move_in(tracee: &Tracee, head: &Head) -> Result<u64, Failure> {
    let areas = mappings(tracee)?;
    let own = system(&areas);
    let shape = |parts: &[(String, u64, u64)]| -> Vec<(String, u64)> {
        parts.iter().map(|(name, _, bytes)| (name.clone(), *bytes)).collect()
    };
    let (Some((_, first, _)), Some((_, first_there, _))) = (own.first(), head.system.first()) else {
        return Err(failure("find the kernel's pages", libc::ENOENT));
    };
    if shape(&own) != shape(&head.system) {
        return Err(failure("find the kernel's pages", libc::ENOENT));
    }
    let Some((_, code, bytes)) = own.iter().find(|(name, ..)| name == "[vdso]") else {
        return Err(failure("find the kernel's code", libc::ENOENT));
    };
    let offset = tracee.instruction_in(*code, *bytes).step("find a way to make syscalls")?;
    let mut instruction = code.saturating_add(offset);

    let sequences = sys::sequences(tracee.process.pid).step("find a program's sequences")?;
    if sequences.at != 0 {
        const UNREGISTER: u64 = 1;
        let args = [sequences.at, sequences.bytes.into(), UNREGISTER, sequences.signature.into(), 0, 0];
        tracee.call(instruction, libc::SYS_rseq, args).step("end a program's sequences")?;
    }
    let image = u64::from(IMAGE_AT);
    let fixed = SYSTEM_AT.saturating_sub(RUNNER_AT);
    for (at, bytes, protection, from) in [
        (RUNNER_AT, PAGE, READ | EXECUTE, 0),
        (DATA_AT, fixed.saturating_sub(PAGE), READ, PAGE),
        (TABLE_AT, head.table_bytes.next_multiple_of(PAGE), READ, head.table_at),
    ] {
        let args = [at, bytes, protection, PRIVATE_AND_NEW, image, from];
        let mapped = tracee.call(instruction, libc::SYS_mmap, args).step("map an image")?;
        if mapped != at {
            return Err(failure("map an image", libc::EEXIST));
        }
    }
    let (_, last, last_bytes) = own.last().cloned().unwrap_or_default();
    let span = last.saturating_add(last_bytes).saturating_sub(*first);
    if SYSTEM_AT.saturating_add(span) > TABLE_AT {
        return Err(failure("move the kernel's pages", libc::E2BIG));
    }
    for ((_, start, bytes), (_, there, _)) in own.iter().zip(&head.system) {
        let to = SYSTEM_AT.saturating_add(there.saturating_sub(*first_there));
        const MOVE_THERE: u64 = 3;
        tracee
            .call(instruction, libc::SYS_mremap, [*start, *bytes, *bytes, MOVE_THERE, to, 0])
            .step("move the kernel's pages")?;
        if start == code {
            instruction = to.saturating_add(offset);
        }
    }
    Ok(offset)
}

fn run(tracee: &Tracee, head: &Head) -> Result<(), Failure> {
    let end = TABLE_AT.saturating_add(head.table_bytes);
    let registers = tracee.registers().step("read a program's registers")?;
    let begin = registers.with(&[(RIP, RUNNER_AT), (R12, TABLE_AT), (R13, end), (CALL, NO_CALL)]);
    let done = tracee.run(&begin).step("become an image")?;
    if done.get(R12) == end {
        return Ok(());
    }
    let number = done.get(R12).saturating_sub(TABLE_AT) / 64;
    let errno = i32::try_from(done.get(RAX).wrapping_neg()).unwrap_or(libc::EINVAL);
    let mut entry = [0; 8];
    let _ = tracee.read(done.get(R12), &mut entry);
    let call = u64::from_ne_bytes(entry);
    Err(failure(&format!("become an image: call {number} of its table, syscall {call}"), errno))
}

/// From here on it has the other's memory. Gives its mappings.
fn be_the_thread(tracee: &Tracee, head: &Head, whom: Whom, instruction: u64) -> Result<Vec<Area>, Failure> {
    let (pid, registers) = (tracee.process.pid, Registers(head.registers.clone()));
    let code = head.system.iter().find(|(name, ..)| name == "[vdso]").map_or(0, |(_, at, _)| *at);
    let instruction = code.saturating_add(instruction);
    let mapped = mappings(tracee)?;
    for (start, device, inode) in &head.files {
        let is_same = |area: &&Area| area.start == *start && area.inode == *inode && area.device == *device;
        // Where it has pages of its own at its very begin, the image lies over it.
        let is_covered = |area: &&Area| area.start == *start && area.name.starts_with("/memfd:image");
        if !mapped.iter().any(|area| is_same(&area) || is_covered(&area)) {
            return Err(failure("find the same files", libc::ESTALE));
        }
    }
    let args = [head.thread_id_at, 0, 0, 0, 0, 0];
    let thread = tracee.call(instruction, libc::SYS_set_tid_address, args).step("name a program's thread")?;
    if thread != u64::from(whom.process) {
        return Err(failure("name a program's thread", libc::ESRCH));
    }
    tracee.write(head.thread_id_at, &whom.process.to_ne_bytes()).step("name a program's thread")?;
    let low = [RUNNER_AT, LOW_END.saturating_sub(RUNNER_AT), 0, 0, 0, 0];
    tracee.call(instruction, libc::SYS_munmap, low).step("clear away")?;
    sys::set_registers(pid, VECTORS, &head.vectors).step("set a program's registers")?;
    tracee.set_registers(&registers).step("set a program's registers")?;
    sys::set_signal_mask(pid, head.signal_mask).step("set a program's signals")?;
    Ok(mapped)
}

fn failure(step: &str, errno: i32) -> Failure {
    Failure { step: step.to_owned(), source: io::Error::from_raw_os_error(errno) }
}
