//! Snapshots: under SnapStart a version is loaded when it is published, and its instances begin where that one waits.
//!
//! It is loaded in an instance like any other, with its extensions, its log and AWS's time, and its hooks. When all are
//! ready an image of its runtime is taken, which becomes the version's template. Unlike other templates it was asked for, so
//! nothing is watched: what the function drew by chance while it was loaded, all of its instances have.
//!
//! Where no image can be had (other processes, files that are written, sockets but hung-up connections, something in `/tmp`, no
//! walls, an operator who wants nothing made ahead) the version is as good as published: its instances run all of its init when they
//! would be restored.
//!
//! Snapshots are made in `places`, in turns and within bounds, beside the dispatcher's books; `memory` tells it what they are
//! expected to take. An init that somebody else has ended says nothing of its function.
//!
//! Images are gone with the process, and those that nobody wants sooner. The first instance that answers without one
//! has it made again, off everybody's path.

use std::sync::Arc;

use base::ports::{FunctionSpec, InvokeError, SnapshotError};
use sandbox::Image;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::environment::{Outcome, had_all};
use crate::instance::{self, Order};
use crate::languages::Served;
use crate::launch::{self, Purpose};
use crate::limits;
use crate::places::{Bounds, Place, Places};
use crate::runtime::Inner;
use crate::stock::Kind;
use crate::template::{self, Owner, Shape};

/// Where snapshots are made.
pub fn places() -> Arc<Places> {
    Places::new(Bounds {
        busy_max: limits::SNAPSHOTS_AT_ONCE_MAX,
        going_max: limits::SNAPSHOTS_GOING_MAX,
        of_account_max: limits::SNAPSHOTS_OF_ACCOUNT_MAX,
        busy_for: limits::SNAPSHOT_BUSY_FOR,
    })
}

/// Loads the version when it is its turn; fails if it does not load. A template of it there is only if it can be had.
pub async fn make(inner: &Arc<Inner>, function: &Arc<FunctionSpec>) -> Result<(), SnapshotError> {
    let served = inner.languages.serve(&function.runtime).await.map_err(SnapshotError::CannotRun)?;
    let owner = Owner::new(function, None, &served);
    inner.templates.begin(&owner);
    // Whatever comes in between lets it be tried again.
    let _trying = Trying { inner, owner: &owner };
    let place = place(inner, function).await?;
    let work = async {
        wait_for_memory(inner, function, &served).await?;
        load(inner, function, &served, &owner).await
    };
    place.busy(work).await
}

async fn place(inner: &Inner, function: &FunctionSpec) -> Result<Place, SnapshotError> {
    let place = inner.places.take((function.world, function.account)).await;
    place.ok_or_else(|| SnapshotError::Internal("there is no place to make it".to_owned()))
}

/// Instances come first. One that would fit into what is left all the same is not refused in the end.
async fn wait_for_memory(inner: &Inner, function: &FunctionSpec, served: &Served) -> Result<(), SnapshotError> {
    for _ in 0..limits::SNAPSHOT_MEMORY_TRIES_MAX {
        if !inner.memory.is_short() {
            return Ok(());
        }
        sleep(limits::SNAPSHOT_MEMORY_PAUSE).await;
    }
    if inner.memory.has_less_than(launch::bytes_expected(function, served.family)) {
        return Err(SnapshotError::Internal("there is too little memory to load it".to_owned()));
    }
    Ok(())
}

async fn load(
    inner: &Arc<Inner>,
    function: &Arc<FunctionSpec>,
    served: &Served,
    owner: &Owner,
) -> Result<(), SnapshotError> {
    let (image, shape) = begin(inner, function).await?;
    let (Some(image), Some(shape)) = (image, shape) else {
        // It would leave the same behind another time.
        inner.templates.do_without(owner);
        return Ok(());
    };
    if inner.templates.is_closed() || inner.memory.is_short() {
        return Ok(());
    }
    let code = launch::code_of(inner, function, served).await.map_err(refused)?;
    let template = Arc::new(inner.templates.of_snapshot(image, shape, code));
    // What was open in it may not be there for others: then nobody begins with it. Or the host was short of something.
    if inner.stock.make_clone(&template).await.is_err()
        && let Err(unmade) = inner.stock.make_clone(&template).await
    {
        if unmade.is_lasting {
            inner.templates.do_without(owner);
        }
        return Ok(());
    }
    if inner.templates.keep(owner, Arc::clone(&template)) {
        inner.stock.expect(&Kind::Clone(template));
    }
    template::clear(inner);
    Ok(())
}

/// Has it run its init, more than once if it is killed.
async fn begin(
    inner: &Arc<Inner>,
    function: &Arc<FunctionSpec>,
) -> Result<(Option<Image>, Option<Shape>), SnapshotError> {
    for tries_left in (0..limits::SNAPSHOT_KILLED_TRIES_MAX).rev() {
        let made = launch::make_for_snapshot(inner, function).await.map_err(refused)?;
        let (shape, most) = (made.shape(), made.memory_bytes_max());
        let (order, orders) = mpsc::channel(1);
        order.try_send(Order::Begin).ok();
        let left = instance::run(made.body(inner, &Purpose::Snapshot, function, None, orders)).await;
        match judge(left.outcome, most, tries_left == 0) {
            Some(Ok(())) => return Ok((left.snapshot, shape)),
            Some(Err(error)) => return Err(error),
            None => tracing::info!(function = function.name, "an init for a snapshot was killed; trying it again"),
        }
    }
    Err(SnapshotError::Internal("it was killed".to_owned()))
}

/// What is to be said of the version after an init, or nothing: then it is tried again. Its own limit is `memory_bytes_max`;
/// who is killed for memory and has not had all of that was killed for what all sandboxes hold together.
fn judge(outcome: Outcome, memory_bytes_max: u64, is_last: bool) -> Option<Result<(), SnapshotError>> {
    Some(match outcome {
        Outcome::Loaded => Ok(()),
        Outcome::Gone => Err(SnapshotError::Internal("its sandbox went away before it was loaded".to_owned())),
        Outcome::Failed { error_type } => Err(SnapshotError::Function { error_type }),
        Outcome::Killed { error_type, out_of_memory: true, memory_peak_bytes: Some(peak) } => {
            if had_all(peak, memory_bytes_max) {
                Err(SnapshotError::Function { error_type })
            } else {
                Err(SnapshotError::Internal("it was killed for memory that others hold".to_owned()))
            }
        }
        // It may be its own doing, every time.
        Outcome::Killed { error_type, .. } if is_last => Err(SnapshotError::Function { error_type }),
        Outcome::Killed { .. } => return None,
    })
}

/// As long as a version is tried. If it is neither kept nor done without, somebody tries it again.
struct Trying<'a> {
    inner: &'a Inner,
    owner: &'a Owner,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.inner.templates.give_up(self.owner);
    }
}

/// Makes one again that is gone, if nobody does and there is memory for it when it is its turn.
pub async fn make_again(inner: &Arc<Inner>, function: &Arc<FunctionSpec>) {
    let Ok(served) = inner.languages.serve(&function.runtime).await else { return };
    let owner = Owner::new(function, None, &served);
    if inner.memory.is_short() || !inner.templates.begin(&owner) {
        return;
    }
    let _trying = Trying { inner, owner: &owner };
    let Ok(place) = place(inner, function).await else { return };
    if inner.memory.is_short() || inner.templates.is_closed() {
        return;
    }
    if let Err(error) = place.busy(load(inner, function, &served, &owner)).await {
        tracing::debug!(function = function.name, ?error, "failed to make a snapshot again");
    }
}

fn refused(error: InvokeError) -> SnapshotError {
    match error {
        InvokeError::CannotRun(why) => SnapshotError::CannotRun(why),
        error => SnapshotError::Internal(format!("{error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn judged(outcome: Outcome, is_last: bool) -> String {
        match judge(outcome, 640 * MIB, is_last) {
            None => "again".to_owned(),
            Some(Ok(())) => "loaded".to_owned(),
            Some(Err(SnapshotError::Function { error_type })) => error_type,
            Some(Err(SnapshotError::Internal(_))) => "internal".to_owned(),
            Some(Err(SnapshotError::CannotRun(why))) => why,
        }
    }

    #[test]
    fn only_what_is_a_function_s_own_doing_is_its_failure() {
        let killed = |out_of_memory, peak: Option<u64>| Outcome::Killed {
            error_type: "Runtime.X".into(),
            out_of_memory,
            memory_peak_bytes: peak.map(|peak| peak * MIB),
        };
        for (outcome, first, last) in [
            (Outcome::Loaded, "loaded", "loaded"),
            (Outcome::Gone, "internal", "internal"),
            (Outcome::Failed { error_type: "Runtime.X".into() }, "Runtime.X", "Runtime.X"),
            // The kernel charges by more than a page at a time, so the most that was held may be less than the limit.
            (killed(true, Some(639)), "Runtime.X", "Runtime.X"),
            (killed(true, Some(640)), "Runtime.X", "Runtime.X"),
            (killed(true, Some(300)), "internal", "internal"),
            (killed(true, None), "again", "Runtime.X"),
            (killed(false, Some(640)), "again", "Runtime.X"),
        ] {
            let said = (judged(outcome.clone(), false), judged(outcome.clone(), true));
            assert_eq!((said.0.as_str(), said.1.as_str()), (first, last), "{outcome:?}");
        }
    }
}
