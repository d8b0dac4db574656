//! Holds a sandbox to its memory, where `/tmp` is memory too.
//!
//! The kernel counts both together, and knows one limit for them. On AWS `/tmp` is a disk: who fills it must not be killed for
//! that, and who takes more memory than it has must. So the group has room for both, and while something runs it is looked at
//! what is held besides the files in `/tmp`; if that is too much, its programs are killed as the kernel would.
//!
//! A look at one that holds little is a number read from an open file. The next comes soon where much has changed, ever later
//! where nothing does, and not before something may run again. So a sandbox can take more than it has for some milliseconds,
//! and never more than both together.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::{HELD_CHANGE_BYTES, HELD_LOOKED_AT_EVERY, HELD_LOOKED_AT_EVERY_MAX};
use crate::process::cgroup::{Count, Group};
use crate::process::gauges::Gauges;
use crate::spec::Limits;

#[derive(Default)]
pub struct Held {
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Default)]
struct State {
    /// `None` as long as nobody's program runs.
    limits: Option<Limits>,
    is_still: bool,
    pause: Duration,
    /// What was held at the last look.
    seen: u64,
    /// Whether that was too much.
    was_over: bool,
}

impl Held {
    /// From now on it is held to these.
    pub fn to(&self, limits: &Limits) {
        {
            let mut state = self.state.lock();
            state.limits = Some(limits.clone());
            state.soon();
        }
        self.woken.notify_one();
    }

    pub fn stands_still(&self, is_still: bool) {
        {
            let mut state = self.state.lock();
            state.is_still = is_still;
            state.soon();
        }
        if !is_still {
            self.woken.notify_one();
        }
    }

    /// Something has begun or ended.
    pub fn has_changed(&self) {
        self.state.lock().soon();
    }

    /// Waits until it is time for a look. May be cancelled.
    pub async fn due(&self) {
        loop {
            let pause = {
                let state = self.state.lock();
                (state.limits.is_some() && !state.is_still).then_some(state.pause)
            };
            match pause {
                Some(pause) => return tokio::time::sleep(pause).await,
                None => self.woken.notified().await,
            }
        }
    }

    /// Whether it holds too much.
    pub fn look(&self, group: &Group, gauges: &Gauges, tmp: impl FnOnce() -> Option<PathBuf>) -> bool {
        let limits = {
            let mut state = self.state.lock();
            let Some(limits) = state.limits.clone() else { return false };
            let Some(now) = gauges.read(group, Count::Memory) else {
                // This host does not count.
                state.limits = None;
                return false;
            };
            let has_changed = now.abs_diff(std::mem::replace(&mut state.seen, now)) >= HELD_CHANGE_BYTES;
            if has_changed {
                state.soon();
            } else {
                state.pause = state.pause.saturating_mul(2).min(HELD_LOOKED_AT_EVERY_MAX);
            }
            if now <= limits.memory_bytes {
                state.was_over = false;
                return false;
            }
            limits
        };
        let tmp = tmp();
        // Files come and go meanwhile; where nobody tells of them, `/tmp` may be full.
        let in_tmp = || tmp.as_deref().and_then(|tmp| bytes_in(tmp).ok()).unwrap_or(limits.tmp_bytes);
        let (before, held, after) = (in_tmp(), group.held_bytes().unwrap_or_default(), in_tmp());
        let is_over = held.saturating_sub(before.max(after)) > limits.memory_bytes;
        let mut state = self.state.lock();
        if is_over {
            state.soon();
        }
        // Once may be what somebody held who is dying.
        std::mem::replace(&mut state.was_over, is_over) && is_over
    }
}

impl State {
    fn soon(&mut self) {
        self.pause = HELD_LOOKED_AT_EVERY;
    }
}

/// What the files of a file system take.
fn bytes_in(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statfs(path)?;
    let size = u64::try_from(found.f_bsize).unwrap_or_default();
    Ok(found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(size))
}
