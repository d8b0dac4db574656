//! Bits flip and files shrink at rest. Pass line: each is detected or harmless; no wrong value is ever served, no row
//! is quietly missing, and where one page is refused the others are served.

use std::path::PathBuf;
use std::sync::Arc;

use base::{Chance, Seeded};
use store::testing::Mutant;

use crate::disk::{Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::power::block_on;
use crate::workload::{self, Content, SPACE, commits, contents, sized};

#[derive(Debug, Default)]
struct Tally {
    harmless: usize,
    refused_to_open: usize,
    refused_rows: usize,
    served_beside_refused: usize,
}

/// A directory as a killed process leaves it: most of it in the database, the last commits in the log.
async fn left_by_a_killed_process() -> (Image, Content) {
    let commits = commits(11, 120);
    let dir = directory(&Image::new());
    let store = workload::open(dir.path(), None, None).unwrap();
    assert!(workload::run(&store, &commits[..100], &Recorder::default()).await.is_none());
    store.close().await.unwrap();
    let base = image_of(dir.path());
    let recorder = Arc::new(Recorder::default());
    let store = workload::open(dir.path(), Some(recorder.clone()), None).unwrap();
    assert!(workload::run(&store, &commits[100..], &recorder).await.is_none());
    let trace = recorder.take();
    drop(store);
    (after_power_cut(&base, &trace, trace.len(), &Luck::All), contents(&commits).pop().unwrap())
}

fn damage(image: &Image, chance: &Seeded) -> (Image, String) {
    let mut image = image.clone();
    // Of the files that hold something, weighed so that the log and the database are struck alike.
    let files: Vec<PathBuf> = image
        .iter()
        .filter(|(path, bytes)| path.to_string_lossy().starts_with("store.db") && !bytes.is_empty())
        .map(|(path, _)| path.clone())
        .collect();
    let path = files[(chance.random_u64() % files.len() as u64) as usize].clone();
    let bytes = image.get_mut(&path).unwrap();
    let at = (chance.random_u64() % bytes.len() as u64) as usize;
    let what = match chance.random_u64() % 10 {
        0 => {
            bytes.truncate(at);
            format!("{} cut to {at} bytes", path.display())
        }
        bit => {
            bytes[at] ^= 1 << (bit % 8);
            format!("bit {} of byte {at} of {} flipped", bit % 8, path.display())
        }
    };
    (image, what)
}

async fn examine(image: &Image, expected: &Content, mutant: Option<Mutant>, tally: &mut Tally) -> Result<(), String> {
    let dir = directory(image);
    let Ok(store) = workload::open(dir.path(), None, mutant) else {
        tally.refused_to_open += 1;
        return Ok(());
    };
    let (mut served, mut refused) = (0, 0);
    for (key, value) in expected {
        match store.get(SPACE, key.clone()).await {
            Ok(Some(found)) if found.value == value[..] => served += 1,
            Ok(Some(_)) => return Err("a wrong value was served".into()),
            Ok(None) => return Err(format!("key {} is missing", String::from_utf8_lossy(key))),
            Err(_) => refused += 1,
        }
    }
    // Ranges too: all of it, or an error.
    match workload::dump(&store).await {
        Ok(found) if found != *expected => return Err("a range was served wrong".into()),
        Ok(_) | Err(_) => {}
    }
    match refused {
        0 => tally.harmless += 1,
        _ => {
            tally.refused_rows += 1;
            tally.served_beside_refused += usize::from(served > 0);
        }
    }
    Ok(())
}

pub fn flips(case_count: usize, mutant: Option<Mutant>) -> Result<(), String> {
    block_on(async {
        let (image, expected) = left_by_a_killed_process().await;
        let chance = Seeded::new(12);
        let mut tally = Tally::default();
        for _ in 0..case_count {
            let (damaged, what) = damage(&image, &chance);
            examine(&damaged, &expected, mutant, &mut tally).await.map_err(|error| format!("{what}: {error}"))?;
        }
        eprintln!("{tally:?}");
        match tally.served_beside_refused * 2 >= tally.refused_rows && tally.refused_rows + tally.refused_to_open > 0 {
            true => Ok(()),
            false => Err(format!("healthy rows did not outlive a damaged page: {tally:?}")),
        }
    })
}

#[test]
fn a_flipped_bit_is_detected_or_harmless() {
    flips(sized(150, 1_000), None).unwrap();
}
