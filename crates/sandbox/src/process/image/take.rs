//! Reads a program into an image.
//!
//! The program may be hostile: what it maps and where is bounded, what it claims is the kernel's word, and calls made in
//! its name have its own rights. It is refused rather than taken in part.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};

use crate::limits::{IMAGE_ADDRESSES_MAX, IMAGE_BYTES_MAX, IMAGE_MAPPINGS_BYTES_MAX};
use crate::process::image::descriptors::Descriptors;
use crate::process::image::layout::{
    self, Area, DATA_AT, HIGH_END, LOW_END, PAGE, RUNNER_AT, SYSTEM_AT, TABLE_AT, Table,
};
use crate::process::image::threads::{self, Held, Seen};
use crate::process::image::trace::{Process, Tracee};
use crate::process::image::zeros::{Kept, bears_refusals};
use crate::process::image::{Description, Head, IMAGE_AT, Whom, refuse};
use crate::process::step::{Failure, Step};
use crate::sys;

/// Where the program's pages begin in the image: after the runner and its data.
const PAGES_AT: u64 = DATA_AT + crate::limits::IMAGE_DATA_BYTES - RUNNER_AT;

/// So many pages that were never touched are taken along with those around them: a mapping less is worth that.
const GAP_PAGES: u64 = 4;

const POPULATE_READ: u64 = 22;

/// The image of a program that waits in a syscall, alone in its sandbox. It goes on afterwards, image or none.
pub fn take(whom: Whom) -> Result<(Description, OwnedFd), Failure> {
    if sys::runner().is_empty() {
        return Err(refuse("it is of a processor that is not known"));
    }
    let mut held = Held::default();
    let taken = held.stop(Process::find(whom)?).and_then(|()| read(&held, whom));
    held.let_go()?;
    taken
}

fn read(held: &Held, whom: Whom) -> Result<(Description, OwnedFd), Failure> {
    let Some(main) = held.threads.first() else { return Err(refuse("it has no threads")) };
    is_alone(held, &main.process, whom)?;
    let areas =
        layout::parse(&main.process.read_up_to(IMAGE_MAPPINGS_BYTES_MAX, "smaps").step("read a program's mappings")?);
    let mut areas = areas.step("read a program's mappings")?;
    // What it has of the image with which it began is its own.
    areas.iter_mut().filter(|area| is_of_an_image(area)).for_each(|area| area.inode = 0);
    // First of all, since one that does not wait is the likeliest to have no image yet.
    let seen: Vec<Seen> = held.threads.iter().map(|thread| threads::look(thread, &areas)).collect::<Result<_, _>>()?;
    let Some(of_main) = seen.first() else { return Err(refuse("it has no threads")) };
    let stopped = main.registers().step("read a program's registers")?;
    let heap_end = threads::heap_end(main, of_main);
    main.set_registers(&stopped).step("let a program go on")?;
    let descriptors = Descriptors::read(&main.process)?;
    let given = descriptors.given.clone();

    let mut table = Table::default();
    table.call(libc::SYS_munmap, &[LOW_END, HIGH_END.saturating_sub(LOW_END)], 0);
    descriptors.close_others(&mut table);
    surroundings(&main.process, heap_end?, &mut table)?;
    let memory = memory()?;
    let residence = main.process.file("pagemap", OFlags::RDONLY).step("look through a program's memory")?;
    let executable = main.process.link("exe").step("find a program's file")?;
    let kept = bears_refusals(&executable, &areas).then(Kept::default);
    let mut pages = Pages { tracee: main, residence, image: &memory, at: PAGES_AT, kept };
    map(&areas, descriptors.free(), &mut pages, &mut table)?;
    if let Some(kept) = &pages.kept {
        kept.refuse(&mut table)?;
    }
    let mut end = pages.at;
    let opened = descriptors.reopen(&main.process, &mut table)?;
    let asked = threads::ask_for_all(main, of_main, &areas, &mut table);
    main.set_registers(&stopped).step("let a program go on")?;
    asked?;
    table.call(libc::SYS_close, &[u64::from(IMAGE_AT)], 0);
    let threads = threads::make(&seen, &memory, &mut end, &mut table)?;
    let end = end.next_multiple_of(PAGE);

    let head = Head {
        threads,
        table_at: end,
        table_bytes: table.bytes()?.len() as u64,
        system: system(&areas),
        files: files(&areas),
        opened,
    };
    let (at, bytes) = finish(&memory, &table, &head)?;
    let description = Description {
        at,
        bytes,
        process: whom.process,
        threads_from: (held.threads.len() > 1).then(|| threads::first_number(whom.process)),
        memory_bytes: end,
        descriptors: given,
        directory: None,
        written: Vec::new(),
    };
    Ok((description, memory.into()))
}

/// Nobody else has its memory or could change what is read of it.
fn is_alone(held: &Held, process: &Process, whom: Whom) -> Result<(), Failure> {
    held.share_all()?;
    for thread in &held.threads {
        let children = process.children_of(thread.process.pid);
        if !children.step("look for a program's children")?.is_empty() {
            return Err(refuse("it is not alone in its sandbox"));
        }
    }
    let siblings = Process::open(whom.init).and_then(|init| init.children());
    if siblings.step("look for a program's siblings")? != [process.pid] {
        return Err(refuse("it is not alone in its sandbox"));
    }
    if !process.read("timers").step("read a program's timers")?.is_empty() {
        return Err(refuse("it has timers"));
    }
    // A mount of ours: no link of the program's making leads elsewhere.
    let tmp = process.file("root/tmp", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW);
    let mut tmp = rustix::fs::Dir::new(tmp.step("look for a program's files")?).step("look for a program's files")?;
    let mut names = std::iter::from_fn(|| tmp.read()).map_while(Result::ok);
    if names.any(|entry| ![c".", c".."].contains(&entry.file_name())) {
        return Err(refuse("it has written files"));
    }
    Ok(())
}

/// What else of a process a program may have changed.
fn surroundings(process: &Process, heap_end: u64, table: &mut Table) -> Result<(), Failure> {
    let mask = process.status("Umask").step("read a program's umask")?;
    let mask = u64::from_str_radix(&mask, 8).map_err(io::Error::other).step("read a program's umask")?;
    const USUAL_UMASK: u64 = 0o22;
    table.call(libc::SYS_umask, &[mask], USUAL_UMASK);
    let mut directory = process.link("cwd").step("read a program's directory")?;
    directory.push(0);
    let at = table.put(&directory)?;
    table.call(libc::SYS_chdir, &[at], 0);

    // Addresses of its code, heap, stack, arguments and environment, of which the kernel keeps books.
    let stat = process.read("stat").step("read a program's addresses")?;
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    let fields: Vec<u64> = after.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    // Numbered from 1, with two before the bracket.
    let field = |number: usize| fields.get(number.saturating_sub(3)).copied().unwrap_or(0);
    let auxiliary = std::fs::read(format!("/proc/{}/auxv", process.pid.as_raw_pid()));
    let auxiliary = auxiliary.step("read a program's auxiliary vector")?;
    let auxiliary_at = table.put(&auxiliary)?;
    let no_file = u64::from(u32::MAX) << 32;
    let addresses = [
        [field(26), field(27), field(45), field(46), field(47), heap_end, field(28)].as_slice(),
        &[field(48), field(49), field(50), field(51), auxiliary_at, auxiliary.len() as u64 | no_file],
    ]
    .concat();
    let at = table.put(&layout::bytes(&addresses))?;
    const SET_MM: u64 = 35;
    const SET_MM_MAP: u64 = 14;
    let bytes = (addresses.len() as u64).saturating_mul(8);
    table.call(libc::SYS_prctl, &[SET_MM, SET_MM_MAP, at, bytes, 0], 0);
    Ok(())
}

fn memory() -> Result<File, Failure> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create("image", flags).step("make an image's memory")?.into())
}

/// Which parts of an area are in memory.
#[derive(Debug, Default)]
pub struct Resident {
    /// Not what was mapped there: written since.
    pub own: Vec<(u64, u64)>,
    pub of_file: Vec<(u64, u64)>,
}

/// Parts that are no further from each other than a gap count as one.
pub fn resident(residence: &File, area: &Area, gap: u64) -> io::Result<Resident> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;
    const CHUNK_PAGES: u64 = 128 * 1024;
    let mut resident = Resident::default();
    let mut begin = area.start;
    while begin < area.end {
        let pages = (area.end.saturating_sub(begin) / PAGE).min(CHUNK_PAGES);
        let mut bytes = vec![0; usize::try_from(pages.saturating_mul(8)).unwrap_or(0)];
        residence.read_exact_at(&mut bytes, (begin / PAGE).saturating_mul(8))?;
        for (number, entry) in (0_u64..).zip(layout::words(&bytes)) {
            if entry & (PRESENT | SWAPPED) == 0 {
                continue;
            }
            let runs = if entry & OF_FILE == 0 { &mut resident.own } else { &mut resident.of_file };
            let page = begin.saturating_add(number.saturating_mul(PAGE));
            let end = page.saturating_add(PAGE);
            match runs.last_mut() {
                Some(last) if page.saturating_sub(last.1) <= gap.saturating_mul(PAGE) => last.1 = end,
                _ => runs.push((page, end)),
            }
        }
        begin = begin.saturating_add(pages.saturating_mul(PAGE));
    }
    Ok(resident)
}

/// Copies the pages that are a program's own into the image.
struct Pages<'a> {
    tracee: &'a Tracee,
    residence: File,
    image: &'a File,
    at: u64,
    /// What clones cannot give back, if they share what was the program's own memory. Otherwise they have copies.
    kept: Option<Kept>,
}

impl Pages<'_> {
    /// Where in the image it is now.
    fn copy(&mut self, start: u64, end: u64) -> Result<u64, Failure> {
        const CHUNK: u64 = 256 * 1024;
        let at = self.at;
        let mut begin = start;
        while begin < end {
            let length = end.saturating_sub(begin).min(CHUNK);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            self.tracee.read(begin, &mut bytes).step("read a program's memory")?;
            self.image.write_all_at(&bytes, self.at).step("write an image's memory")?;
            begin = begin.saturating_add(length);
            self.at = self.at.saturating_add(length);
            if self.at > IMAGE_BYTES_MAX {
                return Err(refuse("it holds too much memory"));
            }
        }
        Ok(at)
    }
}

/// `free` is the number that its files get, one after the other.
fn map(areas: &[Area], free: u16, pages: &mut Pages<'_>, table: &mut Table) -> Result<(), Failure> {
    if areas.iter().map(Area::bytes).fold(0, u64::saturating_add) > IMAGE_ADDRESSES_MAX {
        return Err(refuse("it has mapped too much"));
    }
    let mut open: Option<&str> = None;
    for area in areas.iter().filter(|area| !area.is_system()) {
        check(area)?;
        if area.inode == 0 {
            map_memory(area, table);
        } else {
            if open != Some(area.name.as_str()) {
                if open.is_some() {
                    table.call(libc::SYS_close, &[free.into()], 0);
                }
                let path = table.put(&[area.name.as_bytes(), &[0]].concat())?;
                let (here, flags) = (i64::from(libc::AT_FDCWD).cast_unsigned(), libc::O_RDONLY | libc::O_CLOEXEC);
                table.call(libc::SYS_openat, &[here, path, u64::from(flags.unsigned_abs()), 0], free.into());
                open = Some(&area.name);
            }
            map_file(area, free, table);
        }
        if (area.has_pages || is_of_an_image(area)) && !area.is_shared && !area.has("wf") && !area.has("dp") {
            overlay(area, pages, table)?;
        }
        if area.has("dc") {
            // Not for its children.
            table.call(libc::SYS_madvise, &[area.start, area.bytes(), flags(&[libc::MADV_DONTFORK])], 0);
        }
    }
    if open.is_some() {
        table.call(libc::SYS_close, &[free.into()], 0);
    }
    for area in areas.iter().filter(|area| area.is_system()) {
        let from = SYSTEM_AT.saturating_add(area.start.saturating_sub(system_start(areas)));
        let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).unsigned_abs());
        table.call(libc::SYS_mremap, &[from, area.bytes(), area.bytes(), flags, area.start], area.start);
    }
    Ok(())
}

/// What could not be the same again.
fn check(area: &Area) -> Result<(), Failure> {
    let is_writable = area.protection & u64::from(libc::PROT_WRITE.unsigned_abs()) != 0;
    if area.start < LOW_END || area.end > HIGH_END {
        return Err(refuse("it has mapped what a fresh program needs"));
    }
    if area.is_shared && (area.inode == 0 || is_writable) {
        return Err(refuse("it has shared memory"));
    }
    if ["ht", "io", "pf", "lo", "ss", "pk"].iter().any(|flag| area.has(flag)) {
        return Err(refuse("it has memory of a special kind"));
    }
    let is_plain = area.name.starts_with('/') && !area.name.ends_with(" (deleted)") && !area.name.contains('\\');
    if area.inode != 0 && !is_plain {
        return Err(refuse("it has mapped what is no file of its sandbox"));
    }
    Ok(())
}

fn flags(all: &[libc::c_int]) -> u64 {
    u64::from(all.iter().fold(0, |all, one| all | one.unsigned_abs()))
}

fn map_memory(area: &Area, table: &mut Table) {
    const DROPPABLE: u64 = 8;
    const WIPE_ON_FORK: u64 = 18;
    let mut how = flags(&[libc::MAP_ANONYMOUS, libc::MAP_FIXED]);
    how |= if area.has("dp") { DROPPABLE } else { flags(&[libc::MAP_PRIVATE]) };
    for (flag, one) in [("gd", libc::MAP_GROWSDOWN), ("nr", libc::MAP_NORESERVE)] {
        how |= if area.has(flag) { flags(&[one]) } else { 0 };
    }
    table.call(libc::SYS_mmap, &[area.start, area.bytes(), area.protection, how, u64::MAX, 0], area.start);
    // Whether its pages may be large: that is memory that nobody has written.
    for (flag, advice) in [("hg", libc::MADV_HUGEPAGE), ("nh", libc::MADV_NOHUGEPAGE)] {
        if area.has(flag) {
            table.call(libc::SYS_madvise, &[area.start, area.bytes(), flags(&[advice])], 0);
        }
    }
    if area.has("wf") && !area.has("dp") {
        table.call(libc::SYS_madvise, &[area.start, area.bytes(), WIPE_ON_FORK], 0);
    }
}

fn map_file(area: &Area, file: u16, table: &mut Table) {
    let how = flags(&[libc::MAP_FIXED, if area.is_shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE }]);
    let args = [area.start, area.bytes(), area.protection, how, file.into(), area.offset];
    table.call(libc::SYS_mmap, &args, area.start);
}

/// Of the memory with which a clone began, or what a program gives that name.
fn is_of_an_image(area: &Area) -> bool {
    area.name == "/memfd:image (deleted)" && !area.is_shared
}

/// What it wrote itself, over what is mapped.
fn overlay(area: &Area, pages: &mut Pages<'_>, table: &mut Table) -> Result<(), Failure> {
    let resident = if is_of_an_image(area) {
        Resident { own: vec![(area.start, area.end)], of_file: Vec::new() }
    } else {
        resident(&pages.residence, area, GAP_PAGES).step("look through a program's memory")?
    };
    let is_readable = area.protection & flags(&[libc::PROT_READ]) != 0;
    for (start, end) in resident.of_file.into_iter().filter(|_| is_readable && area.inode != 0) {
        table.call(libc::SYS_madvise, &[start, end.saturating_sub(start), POPULATE_READ], 0);
    }
    for (start, end) in resident.own {
        let length = end.saturating_sub(start);
        let from = pages.copy(start, end)?;
        let image = u64::from(IMAGE_AT);
        match &mut pages.kept {
            // No file may grow downwards.
            _ if area.has("gd") => {
                table.call(libc::SYS_pread64, &[image, start, length, from], length);
                continue;
            }
            None if area.inode == 0 => {
                fill(area, start, length, from, table);
                continue;
            }
            Some(kept) if area.inode == 0 => kept.add(start, end),
            _ => {}
        }
        let how = flags(&[libc::MAP_PRIVATE, libc::MAP_FIXED]);
        table.call(libc::SYS_mmap, &[start, length, area.protection, how, image, from], start);
        if is_readable {
            // Now, and not one page after the other when somebody waits.
            table.call(libc::SYS_madvise, &[start, length, POPULATE_READ], 0);
        }
    }
    Ok(())
}

/// Copies a part of the image into memory that has been mapped for it.
fn fill(area: &Area, start: u64, length: u64, from: u64, table: &mut Table) {
    let open = flags(&[libc::PROT_READ, libc::PROT_WRITE]);
    let is_open = area.protection & open == open;
    if !is_open {
        table.call(libc::SYS_mprotect, &[start, length, open], 0);
    }
    table.call(libc::SYS_pread64, &[u64::from(IMAGE_AT), start, length, from], length);
    if !is_open {
        table.call(libc::SYS_mprotect, &[start, length, area.protection], 0);
    }
}

fn system_start(areas: &[Area]) -> u64 {
    areas.iter().filter(|area| area.is_system()).map(|area| area.start).min().unwrap_or(0)
}

pub fn system(areas: &[Area]) -> Vec<(String, u64, u64)> {
    let system = areas.iter().filter(|area| area.is_system());
    system.map(|area| (area.name.clone(), area.start, area.bytes())).collect()
}

/// Every mapping that may show a file. Pages of the image have one too, and lie over them.
pub fn files(areas: &[Area]) -> Vec<(u64, String, u64)> {
    let files = areas.iter().filter(|area| area.inode != 0);
    files.map(|area| (area.start, area.device.clone(), area.inode)).collect()
}

/// Writes the rest, and lets nobody ever write again.
/// Where its description is, and how long.
fn finish(image: &File, table: &Table, head: &Head) -> Result<(u64, u64), Failure> {
    let write = |bytes: &[u8], at| image.write_all_at(bytes, at).step("write an image's memory");
    write(sys::runner(), 0)?;
    write(table.data(), PAGE)?;
    write(&table.bytes()?, head.table_at)?;
    let at = head.table_at.saturating_add(head.table_bytes);
    let bytes = serde_json::to_vec(head).map_err(io::Error::from).step("describe an image")?;
    write(&bytes, at)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(image, seals).step("seal an image")?;
    debug_assert!(TABLE_AT.is_multiple_of(PAGE) && SYSTEM_AT.is_multiple_of(PAGE));
    Ok((at, bytes.len() as u64))
}
