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
#[path = "../support/world.rs"]
mod world;

use base::{Chance, Seeded};
use disk::{Event, Luck};

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

/// Checks what is found after cuts: anywhere, as often as said, and right before syncs.
async fn cut_anywhere(trace: &[Event], chance: &Seeded, cases: usize, check: impl AsyncFn(usize, &Luck)) {
    for case in 0..cases {
        let cut = (chance.random_u64() % (trace.len() as u64 + 1)) as usize;
        match case % 3 {
            0 => check(cut, &Luck::Nothing).await,
            1 => check(cut, &Luck::All).await,
            _ => check(cut, &Luck::Random(chance)).await,
        }
    }
    for cut in before_syncs(trace, sized(10, 50)) {
        check(cut, &Luck::Nothing).await;
        check(cut, &Luck::Random(chance)).await;
    }
}

/// What the test marked: what began is even, what was answered is odd.
fn mark(event: &Event) -> Option<u64> {
    match event {
        Event::Acked { id } => Some(*id),
        _ => None,
    }
}

/// Right after each answer that the test marked.
fn after_answers(trace: &[Event]) -> Vec<usize> {
    let is_answer = |event: &Event| mark(event).is_some_and(|mark| mark % 2 == 1);
    let after: Vec<usize> = (0..trace.len()).filter(|at| is_answer(&trace[*at])).map(|at| at + 1).collect();
    println!("{} acknowledgements, to be found behind a cut", after.len());
    after
}
