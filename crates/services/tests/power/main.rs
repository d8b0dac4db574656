//! The power goes while clients use services: what was acknowledged is there afterwards, and nothing by halves.
//!
//! A recorder hears what the store asks of its disk, and what clients were told in between; from that the disk is made as it
//! could be found at any moment.

#![cfg(test)]

mod bed;
#[path = "../../../store/tests/torture/disk.rs"]
#[expect(dead_code, reason = "the store's own tests use more of it")]
mod disk;
mod events;
mod full;
mod logs;
mod queues;

use disk::Event;

fn sized(reduced: usize, full: usize) -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { full } else { reduced }
}

/// Right before each of the first syncs began, of those that succeeded.
fn before_syncs(trace: &[Event], most: usize) -> Vec<usize> {
    let began = trace.iter().filter_map(|event| match event {
        Event::Synced { began, .. } => Some(*began),
        _ => None,
    });
    began.take(most).collect()
}
