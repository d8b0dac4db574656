//! Someone else renames directories and plants links below the destination while it is unpacked into.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use archive::{ArchiveError, Limits};

use crate::tree::Ground;
use crate::zip::{Item, link, stored, zip};

const ROUNDS: u32 = 60;

/// Swaps `victim` for a link to `lure`, and back, until told to stop.
fn swap(victim: &Path, aside: &Path, lure: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // Each step fails when unpacking has not come far enough, or this loop has left something behind.
        if fs::rename(victim, aside).is_ok() {
            let _ = symlink(lure, victim);
            std::thread::yield_now();
            let _ = fs::remove_file(victim);
            let _ = fs::rename(aside, victim);
        } else if symlink(lure, victim).is_ok() {
            std::thread::yield_now();
            let _ = fs::remove_file(victim);
        }
    }
}

#[test]
fn a_swapped_directory_never_leads_outside() {
    let mut items: Vec<Item> = (0..40).map(|n| stored(format!("a/b/{n}"), "contents")).collect();
    items.extend((0..10).map(|n| link(&format!("a/l{n}"), "b")));
    items.extend((0..10).map(|n| stored(format!("a/d{n}/e/f"), "contents")));
    let bytes = zip(&items);
    let (mut failed, mut lured) = (0, 0);
    for round in 0..ROUNDS {
        let ground = Ground::new();
        let lure = ground.outer().join("lure");
        fs::create_dir(&lure).unwrap();
        fs::create_dir(lure.join("b")).unwrap();
        let victim = ground.root.join(if round % 2 == 0 { "a" } else { "a/b" });
        let aside = ground.root.join("aside");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| swap(&victim, &aside, &lure, &stop));
            for _ in 0..5 {
                // The destination must be empty each time, whatever the swapping left.
                let unpacked = ground.unpack(&bytes.as_slice(), &Limits::default());
                failed += u32::from(matches!(unpacked, Err(ArchiveError::Write { .. })));
                for entry in fs::read_dir(&ground.root).unwrap().flatten() {
                    let _ = fs::remove_dir_all(entry.path());
                    let _ = fs::remove_file(entry.path());
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        lured += fs::read_dir(lure.join("b")).unwrap().count() + fs::read_dir(&lure).unwrap().count() - 1;
        fs::remove_dir_all(&lure).unwrap();
        ground.assert_nothing_outside();
    }
    assert_eq!(lured, 0, "something was written through a planted link");
    assert!(failed > 0, "the swapping never met an unpacking, so this showed nothing");
}

/// The same swap against extraction by path, which does follow it: proof that the test above could fail.
#[test]
fn the_same_swap_does_lead_a_naive_writer_outside() {
    let ground = Ground::new();
    let lure = ground.outer().join("lure");
    fs::create_dir(&lure).unwrap();
    let victim = ground.root.join("a");
    fs::create_dir(&victim).unwrap();
    fs::rename(&victim, ground.root.join("aside")).unwrap();
    symlink(&lure, &victim).unwrap();
    fs::write(victim.join("f"), "contents").unwrap();
    assert!(lure.join("f").exists());
}
