//! What memory there is for instances, told to the dispatcher from time to time.
//!
//! The host's own figures, those of each control group that the server is in, and the limit that the operator has set:
//! whichever leaves least. What a group holds of files counts as free, as it does in the host's figures: the kernel
//! gives it up when it is needed. Of the operator's limit is taken what the server itself holds and what its sandboxes
//! do: as their group counts it, or by the dispatcher's own books where the host lends no groups.
//!
//! What instances hold is told with it that start or run for the first time, so that nobody counts it twice.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use engine::dispatch::{Event, InstanceId, Told};
use parking_lot::Mutex;
use sandbox::Sandbox;
use tokio::time::sleep;

use crate::limits::{
    IMAGES_BYTES_MAX, IMAGES_PART_MAX, MEMORY_SPARE_BYTES, MEMORY_SPARE_PART, MEMORY_TOLD_EVERY,
    MEMORY_TOLD_EVERY_IN_HASTE, PARKED_BYTES, SERVER_BYTES_MIN, SERVER_PART, WEIGHED_AT_ONCE_MAX,
};
use crate::runtime::Inner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub available_bytes: u64,
    /// Of that, what can be taken before the kernel kills for it.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// A control group with a limit, as either version has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    limit: PathBuf,
    usage: PathBuf,
    stat: PathBuf,
}

/// What is weighed, and what was told last.
pub struct Scales {
    /// The operator's limit.
    limit_bytes: Option<u64>,
    groups: Vec<Group>,
    /// Instances until their first invocation is over, and what each was found to hold.
    taking: Mutex<BTreeMap<InstanceId, (Weak<Sandbox>, u64)>>,
    /// Whom to weigh next: not all at once.
    turn: Mutex<Option<InstanceId>>,
    told: Mutex<Option<Memory>>,
    /// Instances that the dispatcher knows nothing of: those of which a snapshot is taken.
    apart: Apart<Sandbox>,
}

/// What runs beside the dispatcher's books, and what each is expected to hold.
struct Apart<T>(Mutex<Vec<(Weak<T>, u64)>>);

impl<T> Apart<T> {
    fn add(&self, one: &Arc<T>, bytes: u64) {
        self.0.lock().push((Arc::downgrade(one), bytes));
    }

    /// What they are expected to take yet, beyond what the host shows of them.
    fn unseen(&self, held_bytes: impl Fn(&T) -> Option<u64>) -> u64 {
        let alive: Vec<_> = {
            let mut known = self.0.lock();
            known.retain(|(one, _)| one.strong_count() > 0);
            known.iter().filter_map(|(one, bytes)| Some((one.upgrade()?, *bytes))).collect()
        };
        let unseen = alive.iter().map(|(one, bytes)| bytes.saturating_sub(held_bytes(one).unwrap_or(0)));
        unseen.fold(0, u64::saturating_add)
    }
}

impl Scales {
    pub fn new(limit_bytes: Option<u64>) -> Scales {
        Scales {
            limit_bytes,
            groups: groups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default()),
            taking: Mutex::default(),
            turn: Mutex::default(),
            told: Mutex::default(),
            apart: Apart(Mutex::default()),
        }
    }

    /// The same for one that is none of the dispatcher's, and is expected to hold so much.
    pub fn weighing_apart(&self, sandbox: Sandbox, bytes: u64) -> Arc<Sandbox> {
        let sandbox = Arc::new(sandbox);
        self.apart.add(&sandbox, bytes);
        // Whoever asks before it is told again sees it too.
        if let Some(told) = &mut *self.told.lock() {
            told.available_bytes = told.available_bytes.saturating_sub(bytes);
        }
        sandbox
    }

    /// An instance takes what it needs, until `is_over`.
    pub fn weighing(&self, instance: InstanceId, sandbox: Sandbox) -> Arc<Sandbox> {
        let sandbox = Arc::new(sandbox);
        self.taking.lock().insert(instance, (Arc::downgrade(&sandbox), 0));
        sandbox
    }

    pub fn is_over(&self, instance: InstanceId) {
        self.taking.lock().remove(&instance);
    }

    /// What those hold that take what they need: a lower bound of what the host shows of them a moment later. Of many,
    /// some are weighed each time, in turn.
    fn shown(&self) -> Vec<(InstanceId, u64)> {
        let mut turn = self.turn.lock();
        let next: Vec<_> = {
            let taking = self.taking.lock();
            let after = turn.map_or(Bound::Unbounded, Bound::Excluded);
            let known = taking.range((after, Bound::Unbounded)).map(|(id, (sandbox, _))| (*id, sandbox.clone()));
            known.take(WEIGHED_AT_ONCE_MAX).collect()
        };
        *turn = next.last().map(|(id, _)| *id).filter(|_| next.len() == WEIGHED_AT_ONCE_MAX);
        drop(turn);
        let weighed = next.into_iter().filter_map(|(id, sandbox)| Some((id, sandbox.upgrade()?.held_bytes()?)));
        let weighed: Vec<_> = weighed.collect();
        let mut taking = self.taking.lock();
        for (id, bytes) in weighed {
            if let Some((_, held)) = taking.get_mut(&id) {
                *held = bytes;
            }
        }
        taking.iter().map(|(id, (_, held))| (*id, *held)).collect()
    }

    /// Whether memory is better left to instances.
    pub fn is_short(&self) -> bool {
        self.told.lock().is_some_and(|told| {
            let part = told.total_bytes.checked_div(MEMORY_SPARE_PART).unwrap_or(0);
            told.available_bytes < part.min(MEMORY_SPARE_BYTES)
        })
    }

    /// Whether less is left than this, as far as is known.
    pub fn has_less_than(&self, bytes: u64) -> bool {
        self.told.lock().is_some_and(|told| told.available_bytes < bytes)
    }

    /// What images may hold together.
    pub fn images_max(&self) -> u64 {
        let total = self.told.lock().map_or(u64::MAX, |told| told.total_bytes);
        total.checked_div(IMAGES_PART_MAX).unwrap_or(0).min(IMAGES_BYTES_MAX)
    }
}

/// Of a limit for everything, what sandboxes may hold together.
pub fn of_sandboxes(limit_bytes: u64) -> u64 {
    let own = limit_bytes.checked_div(SERVER_PART).unwrap_or(0).max(SERVER_BYTES_MIN);
    limit_bytes.saturating_sub(own)
}

/// How many rooms may be parked under a limit.
pub fn parked_max(limit_bytes: Option<u64>, most: u32) -> u32 {
    let part = limit_bytes.and_then(|bytes| bytes.checked_div(IMAGES_PART_MAX.saturating_mul(PARKED_BYTES)));
    part.and_then(|rooms| u32::try_from(rooms).ok()).map_or(most, |rooms| rooms.min(most))
}

/// Tells until the runtime is no more, at once for the first time.
pub fn tell(inner: &Arc<Inner>) {
    tell_once(inner);
    let spawn = Arc::clone(&inner.parts.spawn);
    let inner = Arc::downgrade(inner);
    let task = async move {
        loop {
            let Some(alive) = inner.upgrade() else { return };
            tell_once(&alive);
            let is_in_haste = alive.stock.is_launching() || alive.memory.is_short();
            let pause = if is_in_haste { MEMORY_TOLD_EVERY_IN_HASTE } else { MEMORY_TOLD_EVERY };
            drop(alive);
            sleep(pause).await;
        }
    };
    spawn.spawn("memory", Box::pin(task));
}

fn tell_once(inner: &Arc<Inner>) {
    let since = inner.books.now();
    let shown = inner.memory.shown();
    let limited = inner.memory.limit_bytes.map(|limit| {
        let own = own_bytes().saturating_add(inner.templates.image_bytes()).saturating_add(inner.images.bytes());
        let sandboxes = inner.parts.isolation.held_bytes().unwrap_or_else(|| {
            let parked = u64::from(inner.stock.parked()).saturating_mul(PARKED_BYTES);
            inner.books.held_bytes().saturating_add(parked)
        });
        within(limit, own, sandboxes)
    });
    let groups = inner.memory.groups.iter().filter_map(Group::measure);
    let Some(memory) = of_this_host().map(|host| groups.chain(limited).fold(host, Memory::least)) else { return };
    let unseen = inner.memory.apart.unseen(Sandbox::held_bytes);
    let [available_bytes, free_bytes] =
        [memory.available_bytes, memory.free_bytes].map(|bytes| bytes.saturating_sub(unseen));
    let total_bytes = memory.total_bytes;
    *inner.memory.told.lock() = Some(Memory { available_bytes, free_bytes, total_bytes });
    let told = Told { since, available_bytes, free_bytes, total_bytes };
    inner.settle(inner.books.tell(Event::Memory { told, shown }));
}

/// What a limit leaves. What sandboxes may hold together is less than all of it, and a part of that stays free: the kernel kills
/// where it is full, and some grow before that is told.
fn within(limit_bytes: u64, own_bytes: u64, sandboxes_bytes: u64) -> Memory {
    let of_sandboxes = of_sandboxes(limit_bytes);
    let most = limit_bytes.saturating_sub(own_bytes).min(of_sandboxes);
    let [available_bytes, free_bytes] = [most, of_sandboxes].map(|most| most.saturating_sub(sandboxes_bytes));
    Memory { available_bytes, free_bytes, total_bytes: of_sandboxes }
}

/// What this process holds that no file backs.
fn own_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "RssAnon:").unwrap_or(0).saturating_mul(1024)
}

impl Memory {
    fn bounded(available_bytes: u64, total_bytes: u64) -> Memory {
        Memory { available_bytes, free_bytes: available_bytes, total_bytes }
    }

    fn least(self, other: Memory) -> Memory {
        Memory {
            available_bytes: self.available_bytes.min(other.available_bytes),
            free_bytes: self.free_bytes.min(other.free_bytes),
            total_bytes: self.total_bytes.min(other.total_bytes),
        }
    }
}

fn of_this_host() -> Option<Memory> {
    of_host(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_host(text: &str) -> Option<Memory> {
    let bytes = |name| Some(field(text, name)?.saturating_mul(1024));
    Some(Memory::bounded(bytes("MemAvailable:")?, bytes("MemTotal:")?))
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// The groups that this process is in, from its own up.
fn groups(own: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (tree, limit, usage) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => continue,
        };
        for folder in Path::new(path).ancestors() {
            let folder = Path::new(tree).join(folder.strip_prefix("/").unwrap_or(folder));
            groups.push(Group {
                limit: folder.join(limit),
                usage: folder.join(usage),
                stat: folder.join("memory.stat"),
            });
        }
    }
    groups.retain(|group| group.limit.exists());
    groups
}

impl Group {
    fn measure(&self) -> Option<Memory> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        // A group without a limit says `max`, or a number that no host has.
        let limit = number(&self.limit)?;
        let stat = fs::read_to_string(&self.stat).ok()?;
        let files = |kind: &str| {
            let total = field(&stat, &format!("total_{kind}_file "));
            total.or(field(&stat, &format!("{kind}_file "))).unwrap_or(0)
        };
        let files = files("inactive").saturating_add(files("active"));
        let held = number(&self.usage)?.saturating_sub(files);
        Some(Memory::bounded(limit.saturating_sub(held), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_host_and_groups_counts() {
        let host = of_host("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    600 kB\n").unwrap();
        assert_eq!(host, Memory::bounded(614_400, 1_024_000));
        let dir = tempfile::tempdir().unwrap();
        let group = Group {
            limit: dir.path().join("limit"),
            usage: dir.path().join("usage"),
            stat: dir.path().join("memory.stat"),
        };
        assert_eq!(group.measure(), None);
        fs::write(&group.limit, "max\n").unwrap();
        fs::write(&group.usage, "500\n").unwrap();
        fs::write(&group.stat, "anon 10\ninactive_file 70\nactive_file 30\n").unwrap();
        assert_eq!(group.measure(), None, "it has no limit");
        fs::write(&group.limit, "900\n").unwrap();
        assert_eq!(group.measure(), Some(Memory::bounded(500, 900)));
        assert_eq!(host.least(group.measure().unwrap()), Memory::bounded(500, 900));
    }

    #[test]
    fn a_limit_is_for_the_server_and_all_that_it_runs() {
        const MIB: u64 = 1 << 20;
        let left = |limit, own, sandboxes| within(limit * MIB, own * MIB, sandboxes * MIB).available_bytes / MIB;
        assert_eq!(left(4_096, 40, 1_000), 2_840);
        assert_eq!(left(4_096, 40, 4_090), 0);
        // Of a small one the server keeps a larger part.
        assert_eq!(of_sandboxes(4_096 * MIB) / MIB, 3_840);
        assert_eq!(of_sandboxes(256 * MIB) / MIB, 192);
        assert_eq!(left(256, 20, 92), 100);
        assert_eq!(left(256, 80, 92), 84, "the server has more than its part");
        assert_eq!([None, Some(256 * MIB), Some(4_096 * MIB)].map(|limit| parked_max(limit, 32)), [32, 0, 12]);
    }

    #[test]
    fn what_runs_apart_is_counted_until_the_host_shows_it() {
        let apart = Apart(Mutex::default());
        let (small, large) = (Arc::new(Some(30)), Arc::new(None));
        apart.add(&small, 100);
        apart.add(&large, 50);
        assert_eq!(apart.unseen(|held| *held), 70 + 50);
        apart.add(&Arc::new(Some(500)), 1_000);
        let over = Arc::new(Some(500));
        apart.add(&over, 100);
        assert_eq!(apart.unseen(|held| *held), 120, "one is gone, another holds more than was expected");
        drop(large);
        assert_eq!(apart.unseen(|held| *held), 70);
    }

    #[test]
    fn this_host_tells_what_it_has() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let groups = groups(&own);
        let memory = groups.iter().filter_map(Group::measure).fold(of_this_host().unwrap(), Memory::least);
        assert!(memory.available_bytes > 0 && memory.available_bytes <= memory.total_bytes);
    }
}
