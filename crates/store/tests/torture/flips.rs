//! Bits flip and files shrink at rest. Pass line: each is detected or harmless; no wrong value or version is ever
//! served, no row is quietly missing, a log of acknowledged commits is never opened damaged, and where one page is
//! refused the others are served.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::{Chance, Seeded};
use store::testing::Mutant;
use store::{Error, Options, Store, Version};

use crate::disk::{Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::power::block_on;
use crate::workload::{self, SPACE, commits, sized};

/// What each key holds, and the commit that wrote it.
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

#[derive(Debug, Default)]
struct Tally {
    harmless: usize,
    refused_to_open: usize,
    refused_rows: usize,
    served_beside_refused: usize,
}

/// A directory as a killed process leaves it. Either the last commits are in a log that holds nothing else, or the log
/// was begun anew over an older one.
async fn left_by_a_killed_process(has_old_log: bool) -> (Image, Rows) {
    let commits = commits(11, 120);
    let dir = directory(&Image::new());
    let store = workload::open(dir.path(), None, None).unwrap();
    assert!(workload::run(&store, &commits[..100], &Recorder::default()).await.is_none());
    store.close().await.unwrap();
    let base = image_of(dir.path());
    let recorder = Arc::new(Recorder::default());
    let checkpoint_pages = has_old_log.then_some(40);
    let options = Options { tap: Some(recorder.clone()), checkpoint_pages, ..Options::default() };
    let store = workload::open_with(dir.path(), options).unwrap();
    assert!(workload::run(&store, &commits[100..], &recorder).await.is_none());
    let trace = recorder.take();
    (after_power_cut(&base, &trace, trace.len(), &Luck::All), all_rows(&store).await.unwrap())
}

async fn all_rows(store: &Store) -> Result<Rows, Error> {
    let mut rows = Rows::new();
    for key in workload::dump(store).await?.into_keys() {
        if let Some(found) = store.get(SPACE, key.clone()).await? {
            rows.insert(key, (found.value.to_vec(), found.version));
        }
    }
    Ok(rows)
}

/// The image with one file damaged; whether it was the log, and what was done.
fn damage(image: &Image, chance: &Seeded) -> (Image, bool, String) {
    let mut image = image.clone();
    // A file is chosen first, so that the log and the database are struck alike.
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
    (image, path.ends_with("store.db-wal"), what)
}

async fn examine(store: &Store, expected: &Rows, tally: &mut Tally) -> Result<(), String> {
    let (mut served, mut refused) = (0, 0);
    for (key, (value, version)) in expected {
        match store.get(SPACE, key.clone()).await {
            Ok(Some(found)) if found.value == value[..] && found.version == *version => served += 1,
            Ok(Some(_)) => return Err("a wrong value was served".into()),
            Ok(None) => return Err(format!("key {} is missing", String::from_utf8_lossy(key))),
            Err(_) => refused += 1,
        }
    }
    // Ranges too: all of it, or an error.
    if let Ok(found) = workload::dump(store).await
        && !found.iter().eq(expected.iter().map(|(key, (value, _))| (key, value)))
    {
        return Err("a range was served wrong".into());
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

pub fn flips(case_count: usize, has_old_log: bool, mutant: Option<Mutant>) -> Result<(), String> {
    block_on(async {
        let (image, expected) = left_by_a_killed_process(has_old_log).await;
        let chance = Seeded::new(12);
        let mut tally = Tally::default();
        for _ in 0..case_count {
            let (damaged, is_log, what) = damage(&image, &chance);
            let dir = directory(&damaged);
            match workload::open(dir.path(), None, mutant) {
                Err(_) => tally.refused_to_open += 1,
                // Of a log without old frames, every byte matters.
                Ok(_) if is_log && !has_old_log => return Err(format!("{what}: the log was opened")),
                Ok(store) => {
                    examine(&store, &expected, &mut tally).await.map_err(|error| format!("{what}: {error}"))?
                }
            }
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
    flips(sized(100, 600), false, None).unwrap();
}

#[test]
fn a_flipped_bit_is_detected_or_harmless_where_the_log_was_begun_anew() {
    flips(sized(60, 400), true, None).unwrap();
}
