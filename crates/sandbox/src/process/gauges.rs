//! Counts of a sandbox that the server asks for again and again. Their files stay open: opening one anew each time would cost
//! more than the rest of what the server does then.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::cgroup::{Count, Group, Source};

#[derive(Default)]
pub struct Gauges {
    memory: Gauge,
    memory_peak: Gauge,
    cpu: Gauge,
    /// The most memory that was read.
    highest: AtomicU64,
}

/// Opened when it is first asked for.
#[derive(Default)]
struct Gauge(OnceLock<Option<(Source, File)>>);

impl Gauges {
    pub fn read(&self, group: &Group, count: Count) -> Option<u64> {
        match (count, self.told(group, count)) {
            (Count::Memory, Some(bytes)) => {
                self.highest.fetch_max(bytes, Ordering::Relaxed);
                Some(bytes)
            }
            // Kernels before 5.19 keep none on v2. While something runs, it is looked at often (`held`).
            (Count::MemoryPeak, None) => {
                let now = self.told(group, Count::Memory)?;
                Some(now.max(self.highest.fetch_max(now, Ordering::Relaxed)))
            }
            (_, told) => told,
        }
    }

    /// What the kernel says.
    fn told(&self, group: &Group, count: Count) -> Option<u64> {
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
        source.number(std::str::from_utf8(text.get(..count)?).ok()?)
    }
}
