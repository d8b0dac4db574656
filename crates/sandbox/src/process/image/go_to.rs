//! Has a program go to another directory: a Java machine cannot do so itself, and is started before it is known for which
//! function, whose directory is mounted then.
//!
//! Its main thread is stopped where it waits, makes one call, which is its own, and goes on as if nothing had happened. The
//! threads of a program have one directory together, so the others need not be stopped. Only on x86-64, as images.

use std::path::Path;

use crate::process::image::threads::{SCRATCH_BYTES, goes_on, scratch, waiting};
use crate::process::image::trace::{Process, Tracee};
use crate::process::image::{Whom, layout};
use crate::process::step::{Failure, Step};
use crate::sys::Follow;

/// The program goes on, also after an error; if it cannot be let go as it was, it dies with who has called this.
pub fn go_to(whom: Whom, directory: &Path) -> Result<(), Failure> {
    let main = Tracee::seize(Process::find(whom)?, Follow::Nothing)?;
    main.wait_for_stop().step("stop a program")?;
    let led = lead(&main, directory);
    main.let_go().step("let a program go on")?;
    led
}

fn lead(main: &Tracee, directory: &Path) -> Result<(), Failure> {
    let areas = main.process.read("maps").and_then(|text| layout::parse(&text)).step("read a program's mappings")?;
    let stopped = main.registers().step("read a program's registers")?;
    let again = waiting(main, &stopped)?;
    let scratch = scratch(&stopped, &areas)?;
    let code = areas.iter().find(|area| area.name == "[vdso]");
    let code = code.ok_or(std::io::Error::from_raw_os_error(libc::ENOENT)).step("find the kernel's code")?;
    let offset = main.instruction_in(code.start, code.bytes()).step("find a way to make syscalls")?;
    let instruction = code.start.saturating_add(offset);
    let led = main.go_to(instruction, directory, scratch, SCRATCH_BYTES).step("go to a program's directory");
    main.set_registers(goes_on(&again, &stopped)).step("let a program go on")?;
    led
}
