//! Counts of a sandbox that the server asks for again and again. Their files stay open: opening one anew each time would cost
//! more than the rest of what the server does then.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crate::process::cgroup::{Count, Group, Source};

#[derive(Default)]
pub struct Gauges {
    memory: Gauge,
    memory_peak: Gauge,
    cpu: Gauge,
}

/// Opened when it is first asked for.
#[derive(Default)]
struct Gauge(OnceLock<Option<(Source, File)>>);

impl Gauges {
    pub fn read(&self, group: &Group, count: Count) -> Option<u64> {
        let gauge = match count {
            Count::Memory => &self.memory,
            Count::MemoryPeak => &self.memory_peak,
            Count::CpuNanos => &self.cpu,
        };
        let open = || {
            let source = group.source(count)?;
            let file = File::open(&source.path).ok()?;
            Some((source, file))
        };
        let (source, file) = gauge.0.get_or_init(open).as_ref()?;
        // A number of 64 bits, its name and the end of its line are shorter, and what is asked for is in the first.
        let mut text = [0; 64];
        let count = file.read_at(&mut text, 0).ok()?;
        let text = text.get(..count)?;
        let line = text.iter().position(|byte| *byte == b'\n').map_or(text, |end| text.get(..end).unwrap_or(text));
        source.number(std::str::from_utf8(line).ok()?)
    }
}
