//! A server starts on much that waits (D13): it is ready, gives the first message, and does not hold it all in memory. How
//! fast and how much is printed; `LAMP_TORTURE=1` has a million messages beside the hundred thousand.

use std::time::Duration;

use e2e::Lamp;
use serde_json::json;

use crate::api::{Client, counts, is_long, now, queue};
use crate::journal::memory_mb;
use crate::mapped::fill;

const SENDERS: usize = 16;

#[test]
fn a_server_starts_on_many_waiting_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let url = queue(&mut Client::new(&lamp), "jobs", json!({}));
    let path = url.split_once("/000000000000").unwrap().1.to_owned();
    let url = |lamp: &Lamp| format!("{}/000000000000{path}", lamp.endpoint());
    let mut held = 0;
    for total in if is_long() { vec![100_000, 1_000_000] } else { vec![10_000] } {
        let began = now();
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                let (lamp, url) = (&lamp, url(&lamp));
                scope.spawn(move || fill(&mut Client::new(lamp), &url, (total - held) / SENDERS));
            }
        });
        held += (total - held) / SENDERS * SENDERS;
        let filled = began.elapsed();
        lamp.kill();
        let began = now();
        lamp = Lamp::start_on(dir.path(), &[]);
        let ready = began.elapsed();
        let began = now();
        let mut client = Client::new(&lamp);
        let answer = client.must("ReceiveMessage", json!({"QueueUrl": url(&lamp), "VisibilityTimeout": 0}));
        let (first, memory) = (began.elapsed(), memory_mb(&lamp));
        assert!(answer["Messages"].is_array(), "{answer}");
        assert_eq!(counts(&mut client, &url(&lamp)), [held as u64, 0, 0]);
        let receive = || {
            let began = now();
            client.must("ReceiveMessage", json!({"QueueUrl": url(&lamp), "VisibilityTimeout": 0}));
            began.elapsed()
        };
        let mut later: Vec<Duration> = std::iter::repeat_with(receive).take(100).collect();
        later.sort();
        let middle = later[50];
        println!(
            "{held} messages, sent in {filled:.1?}: ready after {ready:.0?}, the first received after {first:.0?}, then {middle:.1?}; \
             {memory} MB resident"
        );
    }
}
