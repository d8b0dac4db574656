//! `kill -9`: a child commits and reports each answer; whatever it reported is there when the store is opened again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::{Chance, Seeded};
use store::{Batch, Space};

use crate::backends::{block_on, open};

const SPACE: Space = Space::new("s");
const DIRECTORY: &str = "LAMP_TEST_KILL_DIR";
const ROUND: &str = "LAMP_TEST_KILL_ROUND";
const PRODUCER_COUNT: u32 = 8;

/// The child's whole life, which it does not end by itself. Without a directory it is nobody's child, and no test.
#[test]
fn child() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else { return };
    let store = open(Path::new(&dir));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for producer in 0..PRODUCER_COUNT {
            let (store, round) = (store.clone(), round.clone());
            tasks.spawn(async move {
                for number in 0_u64.. {
                    let key = format!("{round}/{producer}/{number}");
                    // Two rows, so that half a batch would show.
                    let twin = format!("{key}/twin");
                    let batch = Batch::new().put_raw(SPACE, key.clone(), &[7; 500]).put_raw(SPACE, twin, b"");
                    assert!(store.commit(batch).await.unwrap().is_committed());
                    println!("\nacked {key} .");
                }
            });
        }
        tasks.join_next().await.unwrap().unwrap();
    });
}

fn spawn(dir: &Path, round: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_answered_survives_a_kill() {
    let is_full_run = std::env::var_os("LAMP_TORTURE").is_some();
    let (round_count, seed) = (if is_full_run { 100 } else { 5 }, 42);
    let chance = Seeded::new(seed);
    let temp = tempfile::tempdir().unwrap();
    let mut acked = Vec::new();
    for round in 0..round_count {
        let mut child = spawn(temp.path(), round);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed at a random moment after a random number of answers; the rest of its words still count.
        let answer_count = chance.random_u64() % 300;
        let before = acked.len();
        let key = |line: String| Some(line.strip_prefix("acked ")?.strip_suffix(" .")?.to_owned());
        let mut take = |wanted: u64| {
            let answers = lines.by_ref().map_while(Result::ok).filter_map(key);
            acked.extend(answers.take(usize::try_from(wanted).unwrap()));
        };
        take(1 + answer_count);
        std::thread::sleep(Duration::from_micros(chance.random_u64() % 3_000));
        child.kill().unwrap();
        take(u64::from(u32::MAX));
        child.wait().unwrap();
        assert!(acked.len() > before, "the child of round {round} did something");

        let store = open(temp.path());
        block_on(async {
            for key in &acked {
                let found = store.get(SPACE, key.clone()).await.unwrap();
                assert!(found.is_some_and(|row| row.value == [7; 500][..]), "{key} was answered and is lost");
                let twin = store.get(SPACE, format!("{key}/twin")).await.unwrap();
                assert!(twin.is_some(), "half of the batch of {key} is lost");
            }
        });
    }
}
