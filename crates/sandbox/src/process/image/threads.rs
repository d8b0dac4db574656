//! The threads of a program of which an image is taken: all of them stopped, what the kernel knows of each, and the calls
//! that make the same of fresh ones.
//!
//! Threads know their numbers, and so does who waits for one or holds a lock: fresh ones get the same. The kernel counts
//! up in each sandbox, so they are made in order, and numbers between them are used up by threads that fail at their birth.
//! Not so the main one, by whose number libraries notice that they are in another process; it is told its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::process::Pid;

use crate::limits::{IMAGE_NUMBERS_MAX, IMAGE_THREADS_MAX};
use crate::process::image::layout::{Area, Table};
use crate::process::image::trace::{CALL, NO_CALL, Process, RAX, RIP, RSI, RSP, Registers, Tracee, VECTORS};
use crate::process::image::{Thread, refuse};
use crate::process::step::{Failure, Step};
use crate::sys::{self, Follow, Sequences, Shared};

/// How a syscall ends that is to be made again, and one that cannot be, after a stop.
const RESTART: [i32; 3] = [512, 513, 514];
const RESTART_BLOCK: i32 = 516;

/// Syscalls that wait on a set of descriptors.
const SETS: [libc::c_long; 3] = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

const SIGNALS: u64 = 64;
/// `struct sigaction` of the kernel, its set of signals, and `stack_t`.
const ACTION_BYTES: usize = 32;
const SET_BYTES: u64 = 8;
const STACK_BYTES: usize = 24;
const NAME_BYTES: usize = 16;

/// All threads of a program. The first is the main one.
#[derive(Default)]
pub struct Held {
    pub threads: Vec<Tracee>,
}

impl Held {
    /// Stops all there are, and those that they make until they stop.
    pub fn stop(&mut self, process: Process) -> Result<(), Failure> {
        const ROUNDS_MAX: usize = 64;
        self.threads.push(Tracee::seize(process, Follow::Nothing)?);
        self.wait_from(0)?;
        for _ in 0..ROUNDS_MAX {
            let before = self.threads.len();
            if self.seize_new()? {
                return Ok(());
            }
            self.wait_from(before)?;
        }
        Err(runs())
    }

    /// Whether there were none.
    fn seize_new(&mut self) -> Result<bool, Failure> {
        let Some(main) = self.threads.first() else { return Err(runs()) };
        let threads = main.process.threads().step("list a program's threads")?;
        if threads.len() > IMAGE_THREADS_MAX {
            return Err(refuse("it has too many threads"));
        }
        let is_new = |thread: &Pid| !self.threads.iter().any(|held| held.process.pid == *thread);
        let new: Vec<Pid> = threads.into_iter().filter(is_new).collect();
        // One that has gone since is gone.
        let found: Vec<Process> = new.iter().filter_map(|thread| main.process.thread(*thread).ok()).collect();
        for thread in found {
            match Tracee::seize(thread, Follow::Nothing) {
                Ok(thread) => self.threads.push(thread),
                Err(failure) if failure.source.raw_os_error() == Some(libc::ESRCH) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(new.is_empty())
    }

    fn wait_from(&mut self, first: usize) -> Result<(), Failure> {
        let mut stopped = Ok(());
        let new = self.threads.split_off(first.min(self.threads.len()));
        for thread in new {
            match thread.wait_for_stop() {
                Ok(()) => self.threads.push(thread),
                // It has ended before it stopped.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) && first > 0 => {}
                Err(error) => stopped = Err(error),
            }
        }
        stopped.step("stop a program")
    }

    /// Lets all go on, as if nothing had happened.
    pub fn let_go(&self) -> Result<(), Failure> {
        self.threads.iter().map(Tracee::let_go).fold(Ok(()), Result::and).step("let a program go on")
    }

    /// Threads of a program that share all that the threads of a program usually do.
    pub fn share_all(&self) -> Result<(), Failure> {
        let Some((main, others)) = self.threads.split_first() else { return Err(runs()) };
        for other in others {
            for what in [Shared::Descriptors, Shared::Surroundings] {
                let is_shared = sys::is_shared(main.process.pid, other.process.pid, what);
                if !is_shared.step("compare a program's threads")? {
                    return Err(refuse("its threads differ in what they have open, or where they are"));
                }
            }
        }
        Ok(())
    }
}

/// It may wait the next time.
fn runs() -> Failure {
    let source = io::Error::from_raw_os_error(libc::EAGAIN);
    Failure { step: "take an image of a program that does not wait in a syscall".to_owned(), source }
}

/// What there is to know of a thread. It is as it was afterwards.
pub struct Seen {
    number: u32,
    registers: Registers,
    vectors: Vec<u8>,
    signal_mask: u64,
    number_at: u64,
    signal_stack: [u8; STACK_BYTES],
    robust_list: (u64, u64),
    sequences: Sequences,
    name: [u8; NAME_BYTES],
}

/// Asks the kernel of a thread, and the thread what only it may ask.
pub fn look(thread: &Tracee, areas: &[Area]) -> Result<Seen, Failure> {
    let pid = thread.process.pid;
    let stopped = thread.registers().step("read a program's registers")?;
    let registers = waiting(thread, &stopped)?;
    let vectors = sys::registers(pid, VECTORS).step("read a program's registers")?;
    let signal_mask = sys::signal_mask(pid).step("read a program's signals")?;
    for pending in ["SigPnd", "ShdPnd"] {
        let set = thread.process.status(pending).step("read a program's signals")?;
        if set.bytes().any(|digit| digit != b'0') {
            return Err(runs());
        }
    }
    let mut name = [0; NAME_BYTES];
    let text = thread.process.read("comm").step("read a thread's name")?;
    name.iter_mut().take(NAME_BYTES - 1).zip(text.trim_end_matches('\n').bytes()).for_each(|(to, from)| *to = from);

    let mut seen = Seen {
        number: thread.process.number().step("read a thread's number")?,
        vectors,
        signal_mask,
        number_at: 0,
        signal_stack: [0; STACK_BYTES],
        robust_list: sys::robust_list(pid).step("find a program's locks")?,
        sequences: sys::sequences(pid).step("find a program's sequences")?,
        name,
        registers,
    };
    let asked = seen.ask(thread, areas);
    thread.set_registers(goes_on(&seen.registers, &stopped)).step("let a program go on")?;
    asked.map(|()| seen)
}

/// The registers with which a thread goes on that was stopped with these, and makes its syscall again from those.
pub fn goes_on<'r>(again: &'r Registers, stopped: &'r Registers) -> &'r Registers {
    // A wait until a moment is as well made anew. Whom the kernel restarts, nobody could stop a second time and know
    // what it waits for; and of a set of descriptors it need not know that we were here.
    if waits_until(again) { again } else { stopped }
}

/// The registers from which a thread makes its syscall again.
pub fn waiting(thread: &Tracee, stopped: &Registers) -> Result<Registers, Failure> {
    let instruction = stopped.get(RIP).wrapping_sub(2);
    let answer = i32::try_from(stopped.get(RAX).wrapping_neg()).unwrap_or(0);
    let call = stopped.get(CALL);
    if call == NO_CALL {
        // It is about to make one, as a thread that was stopped before may be.
        let is_about_to = thread.has_instruction(stopped.get(RIP)) && waits_until(stopped);
        return if is_about_to { Ok(stopped.clone()) } else { Err(runs()) };
    }
    if !thread.has_instruction(instruction) {
        return Err(runs());
    }
    let is_known = call != libc::SYS_restart_syscall.cast_unsigned();
    // The kernel lets go of who waits on a set of descriptors, also when there was no signal.
    let is_let_go = answer == libc::EINTR && SETS.iter().any(|set| set.cast_unsigned() == call);
    let changes = if RESTART.contains(&answer) || answer == RESTART_BLOCK && is_known || is_let_go {
        [(RAX, call), (RIP, instruction)]
    } else if answer == RESTART_BLOCK {
        [(RAX, i64::from(-libc::EINTR).cast_unsigned()), (RIP, stopped.get(RIP))]
    } else {
        return Err(runs());
    };
    Ok(stopped.clone().with(&changes).with(&[(CALL, NO_CALL)]))
}

/// Whether its next syscall waits on a word of memory until it is told or a moment has come, or on a set of descriptors.
fn waits_until(registers: &Registers) -> bool {
    const COMMAND: u64 = 0x7f;
    let command = u64::from(libc::FUTEX_WAIT_BITSET.unsigned_abs());
    let call = registers.get(RAX).cast_signed();
    SETS.contains(&call) || call == libc::SYS_futex && registers.get(RSI) & COMMAND == command
}

/// How much of that there is.
pub const SCRATCH_BYTES: u64 = 896;

/// Free memory of a thread's stack, below what its functions use: 128 bytes under the pointer too.
pub fn scratch(registers: &Registers, areas: &[Area]) -> Result<u64, Failure> {
    let scratch = registers.get(RSP).wrapping_sub(SCRATCH_BYTES + 128) & !15;
    let is_there = areas.iter().any(|area| (area.start..area.end).contains(&scratch));
    is_there.then_some(scratch).ok_or_else(|| refuse("it has no stack"))
}

impl Seen {
    /// The `syscall` by which it waits, or behind which it is.
    fn instruction(&self) -> u64 {
        match self.registers.get(RAX) {
            answer if answer == i64::from(-libc::EINTR).cast_unsigned() => self.registers.get(RIP).wrapping_sub(2),
            _ => self.registers.get(RIP),
        }
    }

    fn answer(
        &self,
        thread: &Tracee,
        scratch: u64,
        number: libc::c_long,
        args: [u64; 4],
        to: &mut [u8],
    ) -> io::Result<()> {
        let [a, b, c, d] = args;
        thread.call(self.instruction(), number, [a, b, c, d, 0, 0])?;
        thread.read(scratch, to)
    }

    fn ask(&mut self, thread: &Tracee, areas: &[Area]) -> Result<(), Failure> {
        const GET_TID_ADDRESS: u64 = 40;
        let at = scratch(&self.registers, areas)?;
        let (mut stack, mut address) = ([0; STACK_BYTES], [0; 8]);
        self.answer(thread, at, libc::SYS_sigaltstack, [0, at, 0, 0], &mut stack).step("read a program's signals")?;
        self.answer(thread, at, libc::SYS_prctl, [GET_TID_ADDRESS, at, 0, 0], &mut address)
            .step("find where a thread's number is")?;
        self.signal_stack = stack;
        self.number_at = u64::from_ne_bytes(address);
        Ok(())
    }

    /// The calls that a fresh thread makes to be this one.
    fn calls(&self, table: &mut Table) -> Result<(), Failure> {
        let at = table.put(&self.signal_stack)?;
        table.call(libc::SYS_sigaltstack, &[at, 0], 0);
        let (list, bytes) = self.robust_list;
        if list != 0 {
            table.call(libc::SYS_set_robust_list, &[list, bytes], 0);
        }
        let sequences = self.sequences;
        if sequences.at != 0 {
            let args = [sequences.at, sequences.bytes.into(), sequences.flags.into(), sequences.signature.into()];
            table.call(libc::SYS_rseq, &args, 0);
        }
        const SET_NAME: u64 = 15;
        let at = table.put(&self.name)?;
        table.call(libc::SYS_prctl, &[SET_NAME, at], 0);
        Ok(())
    }

    /// What is kept of it: its registers beyond the general ones in the image, at this place.
    fn keep(&self, image: &File, at: u64, table_end: u64) -> Result<Thread, Failure> {
        image.write_all_at(&self.vectors, at).step("write an image's memory")?;
        Ok(Thread {
            number: self.number,
            registers: self.registers.0.clone(),
            vectors_at: at,
            vectors_bytes: self.vectors.len() as u64,
            signal_mask: self.signal_mask,
            number_at: self.number_at,
            table_end,
        })
    }
}

/// Where its heap ends. What the kernel calls a heap in its list is of a clone only what is not the image's.
pub fn heap_end(main: &Tracee, seen: &Seen) -> Result<u64, Failure> {
    main.call(seen.instruction(), libc::SYS_brk, [0; 6]).step("ask a program for its heap")
}

/// What the program has that its main thread may ask for all: no timers, and what it does with signals.
pub fn ask_for_all(main: &Tracee, seen: &Seen, areas: &[Area], table: &mut Table) -> Result<(), Failure> {
    let at = scratch(&seen.registers, areas)?;
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        let mut set = [0; 32];
        seen.answer(main, at, libc::SYS_getitimer, [u64::from(timer.unsigned_abs()), at, 0, 0], &mut set)
            .step("read a program's timers")?;
        if set.iter().any(|byte| *byte != 0) {
            return Err(refuse("it has timers"));
        }
    }
    let status = |key| main.process.status(key).and_then(|hex| u64::from_str_radix(&hex, 16).map_err(io::Error::other));
    let changed =
        status("SigIgn").and_then(|ignored| Ok(ignored | status("SigCgt")?)).step("read a program's signals")?;
    for signal in 1..=SIGNALS {
        if [libc::SIGKILL, libc::SIGSTOP].iter().any(|fixed| u64::from(fixed.unsigned_abs()) == signal) {
            continue;
        }
        let mut action = [0; ACTION_BYTES];
        if changed >> signal.saturating_sub(1) & 1 == 1 {
            let args = [signal, 0, at, SET_BYTES];
            seen.answer(main, at, libc::SYS_rt_sigaction, args, &mut action).step("read a program's signals")?;
        }
        let at = table.put(&action)?;
        table.call(libc::SYS_rt_sigaction, &[signal, at, 0, SET_BYTES], 0);
    }
    Ok(())
}

/// The end of the main thread's table, which makes the other threads, and after it each one's own. What is kept of all
/// is written into the image from `at` on, where this leaves it.
pub fn make(seen: &[Seen], image: &File, at: &mut u64, table: &mut Table) -> Result<Vec<Thread>, Failure> {
    let Some((main, others)) = seen.split_first() else { return Err(runs()) };
    main.calls(table)?;
    let mut others: Vec<&Seen> = others.iter().collect();
    others.sort_unstable_by_key(|thread| thread.number);
    let mut next = first_number(main.number);
    for thread in &others {
        if thread.number.saturating_sub(main.number) > IMAGE_NUMBERS_MAX {
            return Err(refuse("its threads have numbers far apart"));
        }
        let between = thread.number.checked_sub(next);
        for _ in 0..between.ok_or_else(|| refuse("its threads have numbers below its own"))? {
            use_up_a_number(table);
        }
        make_one(thread, table);
        next = thread.number.saturating_add(1);
    }
    let mut kept = Vec::new();
    for (place, thread) in [main].into_iter().chain(others).enumerate() {
        if place > 0 {
            thread.calls(table)?;
        }
        kept.push(thread.keep(image, *at, table.end())?);
        *at = at.saturating_add((thread.vectors.len() as u64).next_multiple_of(64));
    }
    Ok(kept)
}

/// The first number that other threads may have than the main one: that one's is before it, here and in all clones.
pub fn first_number(main: u32) -> u32 {
    const FIRST: u32 = 4;
    main.saturating_add(1).max(FIRST)
}

fn make_one(thread: &Seen, table: &mut Table) {
    let flags = sys::SHARED | (libc::CLONE_THREAD | libc::CLONE_CHILD_CLEARTID).unsigned_abs();
    let args = [u64::from(flags), 0, 0, thread.number_at];
    table.call(libc::SYS_clone, &args, thread.number.into());
}

/// As `sys::use_up_a_number` does.
fn use_up_a_number(table: &mut Table) {
    let fault = i64::from(-libc::EFAULT).cast_unsigned();
    let flags = u64::from(sys::SHARED | libc::CLONE_PIDFD.unsigned_abs());
    table.call(libc::SYS_clone, &[flags, 0, sys::NOWHERE], fault);
}
