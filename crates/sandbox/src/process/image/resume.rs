//! Makes an image of a fresh program.
//!
//! The fresh program is a process of the sandbox like any other. It stands before its first instruction (`init` sees to
//! that), and is made to call what the image's table says: to let go of its own memory, to map the image's, to be what
//! the other was to the kernel, and to make the other's threads. Each of these makes its own calls. Every answer is
//! checked; after the first wrong one all are killed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::limits::{IMAGE_DATA_BYTES, IMAGE_MAPPINGS_BYTES_MAX};
use crate::process::image::layout::{self, Area, DATA_AT, LOW_END, PAGE, RUNNER_AT, SYSTEM_AT, TABLE_AT};
use crate::process::image::learn::write_ahead;
use crate::process::image::take::system;
use crate::process::image::trace::{self, CALL, NO_CALL, Process, R12, R13, RAX, RIP, Registers, Tracee, VECTORS};
use crate::process::image::{Description, Head, IMAGE_AT, Thread, Whom, read_head};
use crate::process::step::{Failure, Step};
use crate::sys::{self, Follow, Trace};

const PRIVATE_AND_NEW: u64 = 0x10_0002;
const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;

pub fn resume(whom: Whom, image: &OwnedFd, description: &Description) -> Result<(), Failure> {
    let head = read_head(image, description)?;
    // It is to notice that it is another.
    if whom.process == description.process {
        return Err(failure("be another process", libc::EEXIST));
    }
    let main = begin(Process::find(whom)?)?;
    let instruction = move_in(&main, &head, whom.process, description.threads_from)?;
    let others = make_threads(&main, &head)?;
    let areas = be_the_process(&main, &head, whom, description, instruction)?;
    write_ahead(&main, &areas, image, description)?;
    let memory = File::from(image.try_clone().step("open an image")?);
    let all: Vec<&Tracee> = [&main].into_iter().chain(&others).collect();
    for (thread, head) in all.iter().zip(&head.threads) {
        be_the_thread(thread, head, &memory)?;
    }
    all.iter().try_for_each(|thread| thread.let_go()).step("let a program begin")
}

/// Takes the program, which stands before its first instruction or is about to.
fn begin(process: Process) -> Result<Tracee, Failure> {
    let pid = process.pid;
    sys::seize(pid, Follow::Threads).step("trace a program")?;
    // It is there still: so its number is its own, and now stays that.
    process.status("Pid").step("trace a program")?;
    let stopped = trace::wait(pid).step("stop a program")?;
    match (stopped.as_raw() >> 16, stopped.stopping_signal()) {
        (0, Some(libc::SIGSTOP)) => {}
        (libc::PTRACE_EVENT_STOP, Some(libc::SIGSTOP)) => {
            // It has stopped for good before it was ours. What ends that comes to it as a signal, of which we hear.
            rustix::process::kill_process(pid, Signal::CONT).step("wake a program")?;
            loop {
                sys::trace(pid, Trace::Continue).step("wake a program")?;
                let stopped = trace::wait(pid).step("wake a program")?;
                match (stopped.as_raw() >> 16, stopped.stopping_signal()) {
                    (0, Some(libc::SIGCONT)) => break,
                    (libc::PTRACE_EVENT_STOP, _) => {}
                    _ => return Err(failure("wake a program", libc::EBUSY)),
                }
            }
        }
        _ => return Err(failure("stop a program", libc::EBUSY)),
    }
    Tracee::new(process)
}

fn mappings(tracee: &Tracee) -> Result<Vec<Area>, Failure> {
    let text = tracee.process.read_up_to(IMAGE_MAPPINGS_BYTES_MAX, "maps").step("read a program's mappings")?;
    layout::parse(&text).step("read a program's mappings")
}

/// Uses numbers up, so that the next thread has this one.
fn count_to(main: &Tracee, instruction: u64, own: u32, next: u32) -> Result<(), Failure> {
    let flags = u64::from(sys::SHARED | libc::CLONE_PIDFD.unsigned_abs());
    for _ in own.saturating_add(1)..next {
        match main.call(instruction, libc::SYS_clone, [flags, 0, sys::NOWHERE, 0, 0, 0]) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {}
            Err(error) => return Err(error).step("use up a number"),
            Ok(_) => return Err(failure("use up a number", libc::EINVAL)),
        }
    }
    Ok(())
}

/// Puts what it takes to become another where neither of the two has anything. Gives the distance of a `syscall` from
/// the begin of the kernel's own code.
fn move_in(tracee: &Tracee, head: &Head, number: u32, next: Option<u32>) -> Result<u64, Failure> {
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
    count_to(tracee, instruction, number, next.unwrap_or(0))?;

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
        // The kernel may write its answers there.
        (DATA_AT, fixed.saturating_sub(PAGE), READ | WRITE, PAGE),
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

/// Has the process make its calls, and each thread that it makes its own. Gives the threads, all stopped.
fn make_threads(main: &Tracee, head: &Head) -> Result<Vec<Tracee>, Failure> {
    let mut begin = TABLE_AT;
    let ends: Vec<u64> = head.threads.iter().map(|thread| TABLE_AT.saturating_add(thread.table_end)).collect();
    let Some((end, ends)) = ends.split_first() else { return Err(failure("read an image", libc::EINVAL)) };
    start(main, begin, *end)?;
    let mut made = Vec::new();
    while main.wait().step("become an image")? == libc::PTRACE_EVENT_CLONE {
        made.push(sys::made(main.process.pid).step("find a program's thread")?);
        sys::trace(main.process.pid, Trace::Continue).step("become an image")?;
    }
    is_done(main, *end)?;
    if made.len() != ends.len() {
        return Err(failure("make a program's threads", libc::EINVAL));
    }
    let threads: Vec<Tracee> = made.into_iter().map(|thread| thread_of(main, thread)).collect::<Result<_, _>>()?;
    begin = *end;
    for (thread, end) in threads.iter().zip(ends) {
        thread.wait().step("make a program's threads")?;
        start(thread, begin, *end)?;
        begin = *end;
    }
    for (thread, end) in threads.iter().zip(ends) {
        thread.wait().step("become a thread of an image")?;
        is_done(thread, *end)?;
    }
    Ok(threads)
}

fn thread_of(main: &Tracee, thread: Pid) -> Result<Tracee, Failure> {
    Tracee::new(main.process.thread(thread).step("find a program's thread")?)
}

/// Lets a thread make the calls of a part of the table.
fn start(thread: &Tracee, begin: u64, end: u64) -> Result<(), Failure> {
    let registers = thread.registers().step("read a program's registers")?;
    let begin = registers.with(&[(RIP, RUNNER_AT), (R12, begin), (R13, end), (CALL, NO_CALL)]);
    thread.go(&begin).step("become an image")
}

/// Whether it has made them all.
fn is_done(thread: &Tracee, end: u64) -> Result<(), Failure> {
    let done = thread.registers().step("read a program's registers")?;
    if done.get(R12) == end {
        return Ok(());
    }
    let number = done.get(R12).saturating_sub(TABLE_AT) / 64;
    let errno = i32::try_from(done.get(RAX).wrapping_neg()).unwrap_or(libc::EINVAL);
    let mut entry = [0; 8];
    let _ = thread.read(done.get(R12), &mut entry);
    let call = u64::from_ne_bytes(entry);
    Err(failure(&format!("become an image: call {number} of its table, syscall {call}"), errno))
}

/// From here on it has the other's memory. Gives its mappings.
fn be_the_process(
    main: &Tracee,
    head: &Head,
    whom: Whom,
    image: &Description,
    instruction: u64,
) -> Result<Vec<Area>, Failure> {
    let code = head.system.iter().find(|(name, ..)| name == "[vdso]").map_or(0, |(_, at, _)| *at);
    let instruction = code.saturating_add(instruction);
    let mapped = mappings(main)?;
    has_the_same_files(main, head, &mapped)?;
    if let Some(directory) = &image.directory {
        go_to(main, directory, instruction)?;
    }
    let number_at = head.threads.first().map_or(0, |thread| thread.number_at);
    let args = [number_at, 0, 0, 0, 0, 0];
    let thread = main.call(instruction, libc::SYS_set_tid_address, args).step("name a program's thread")?;
    if thread != u64::from(whom.process) {
        return Err(failure("name a program's thread", libc::ESRCH));
    }
    main.write(number_at, &whom.process.to_ne_bytes()).step("name a program's thread")?;
    let low = [RUNNER_AT, LOW_END.saturating_sub(RUNNER_AT), 0, 0, 0, 0];
    main.call(instruction, libc::SYS_munmap, low).step("clear away")?;
    Ok(mapped)
}

fn has_the_same_files(main: &Tracee, head: &Head, mapped: &[Area]) -> Result<(), Failure> {
    for (start, device, inode) in &head.files {
        // The kernel may have joined it with its neighbour.
        let there = mapped.iter().find(|area| (area.start..area.end).contains(start));
        let is_same = |area: &Area| area.inode == *inode && area.device == *device;
        // Where it has pages of its own at its very begin, the image lies over it.
        let is_covered = |area: &Area| area.name.starts_with("/memfd:image");
        if !there.is_some_and(|area| is_same(area) || is_covered(area)) {
            return Err(failure("find the same files", libc::ESTALE));
        }
    }
    for opened in &head.opened {
        if !opened.is_same(&main.process).step("find the same files")? {
            return Err(failure("find the same files", libc::ESTALE));
        }
    }
    Ok(())
}

fn go_to(main: &Tracee, directory: &Path, instruction: u64) -> Result<(), Failure> {
    // Over what the table has named, which nobody reads any more.
    main.go_to(instruction, directory, DATA_AT, IMAGE_DATA_BYTES).step("go to a program's directory")
}

fn be_the_thread(thread: &Tracee, head: &Thread, image: &File) -> Result<(), Failure> {
    let pid = thread.process.pid;
    let mut vectors = vec![0; usize::try_from(head.vectors_bytes).unwrap_or(0)];
    image.read_exact_at(&mut vectors, head.vectors_at).step("read an image")?;
    sys::set_registers(pid, VECTORS, &vectors).step("set a program's registers")?;
    thread.set_registers(&Registers(head.registers.clone())).step("set a program's registers")?;
    sys::set_signal_mask(pid, head.signal_mask).step("set a program's signals")
}

fn failure(step: &str, errno: i32) -> Failure {
    Failure { step: step.to_owned(), source: io::Error::from_raw_os_error(errno) }
}
