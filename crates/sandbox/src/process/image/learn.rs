//! Looks which pages of an image a clone has written, so that the next ones have them before they are asked anything:
//! most of what a first answer takes is the kernel's copying of pages, one after the other.

use rustix::fs::OFlags;

use crate::limits::{IMAGE_WRITTEN_BYTES_MAX, IMAGE_WRITTEN_MAX};
use crate::process::image::layout::{self, Area, PAGE};
use crate::process::image::take::resident;
use crate::process::image::trace::{Process, Tracee};
use crate::process::image::{Description, Whom};
use crate::process::step::{Failure, Step};

/// The mappings of a program that show the image.
pub fn is_of_image(area: &Area) -> bool {
    area.name.starts_with("/memfd:image") && area.protection & u64::from(libc::PROT_WRITE.unsigned_abs()) != 0
}

/// The image with what this clone of it has written. The clone need not wait, nor does it notice.
pub fn learn(whom: Whom, image: Description) -> Result<Description, Failure> {
    let process = Process::find(whom)?;
    let areas = layout::parse(&process.read("maps").step("read a program's mappings")?);
    let areas = areas.step("read a program's mappings")?;
    let map = process.file("pagemap", OFlags::RDONLY).step("look through a program's memory")?;
    let mut written = Vec::new();
    for area in areas.iter().filter(|area| is_of_image(area)) {
        written.extend(resident(&map, area, 0).step("look through a program's memory")?.own);
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
pub fn write_ahead(tracee: &Tracee, areas: &[Area], image: &Description) -> Result<(), Failure> {
    const AT_ONCE: u64 = 64 * PAGE;
    for (start, end) in &image.written {
        let (start, end) = (*start, *end);
        if !areas.iter().any(|area| is_of_image(area) && area.start <= start && end <= area.end) {
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
