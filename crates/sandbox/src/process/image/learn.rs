//! Looks which pages of an image a clone has written, so that the next ones have them before they are asked anything:
//! most of what a first answer takes is the kernel's copying of pages, one after the other.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::limits::{IMAGE_BYTES_MAX, IMAGE_MAPPINGS_BYTES_MAX, IMAGE_WRITTEN_BYTES_MAX, IMAGE_WRITTEN_MAX};
use crate::process::image::layout::{self, Area, Identity, PAGE};
use crate::process::image::take::resident;
use crate::process::image::trace::{Process, Tracee};
use crate::process::image::{Description, Whom, refuse};
use crate::process::step::{Failure, Step};

/// The mappings of a program that show the image and that it may write.
fn shows(memory: &Identity, area: &Area) -> bool {
    memory.is_of(area) && area.protection & u64::from(libc::PROT_WRITE.unsigned_abs()) != 0
}

/// The image with what this clone of it has written. The clone need not wait, nor does it notice. It may have mapped the
/// image's memory anew and made that as large as it liked: it is refused then.
pub fn learn(whom: Whom, memory: &OwnedFd, image: Description) -> Result<Description, Failure> {
    let memory = Identity::of(memory).step("open an image")?;
    let process = Process::find(whom)?;
    let areas = layout::parse(&process.read_up_to(IMAGE_MAPPINGS_BYTES_MAX, "maps").step("read a program's mappings")?);
    let mut areas = areas.step("read a program's mappings")?;
    areas.retain(|area| shows(&memory, area));
    if areas.iter().map(Area::bytes).fold(0, u64::saturating_add) > IMAGE_BYTES_MAX {
        return Err(refuse("it has made more of an image than there is"));
    }
    let map = process.file("pagemap", OFlags::RDONLY).step("look through a program's memory")?;
    let mut written = Vec::new();
    for area in &areas {
        written.extend(resident(&map, area, 0).step("look through a program's memory")?.own);
        if written.len() >= IMAGE_WRITTEN_MAX {
            break;
        }
    }
    written.truncate(IMAGE_WRITTEN_MAX);
    let mut bytes = 0_u64;
    written.retain(|(start, end): &(u64, u64)| {
        bytes = bytes.saturating_add(end.saturating_sub(*start));
        bytes <= IMAGE_WRITTEN_BYTES_MAX
    });
    Ok(Description { written, ..image })
}

/// Writes what is there already over itself, where the image says that clones will write.
pub fn write_ahead(tracee: &Tracee, areas: &[Area], memory: &OwnedFd, image: &Description) -> Result<(), Failure> {
    const AT_ONCE: u64 = 64 * PAGE;
    let memory = Identity::of(memory).step("open an image")?;
    for (start, end) in &image.written {
        let (start, end) = (*start, *end);
        if !areas.iter().any(|area| shows(&memory, area) && area.start <= start && end <= area.end) {
            continue;
        }
        let mut begin = start;
        while begin < end {
            let length = end.saturating_sub(begin).min(AT_ONCE);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            tracee.read(begin, &mut bytes).step("give a program pages of its own")?;
            tracee.write(begin, &bytes).step("give a program pages of its own")?;
            begin = begin.saturating_add(length);
        }
    }
    Ok(())
}
