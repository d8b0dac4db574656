//! Events that nobody waits for, over kills: none is lost that was acknowledged, and none runs again that was not under way
//! as the server died.
//!
//! `LAMP_TORTURE=1` has the full sizes: 10,000 events of 16 clients and 50 kills; and 10,000 waiting events over one.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Lamp, clients, python, run, tools, wait_for};

use crate::api::{Client, Dice, is_long, now, sized};
use crate::journal::{Journal, OPEN, reserve, times, wall};

const CLIENTS: usize = 16;
const AT_ONCE: usize = 16;
const ENDS: Duration = Duration::from_secs(180);
/// What a function says that had been called as the server died, a moment later.
const LATE_SECONDS: f64 = 0.5;

/// Many clients send events until so many are sent, or the server is gone. What was acknowledged is kept.
fn send(port: u16, function: &str, next: &AtomicUsize, stop: usize, acked: &Mutex<BTreeSet<String>>) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::at(port);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= stop {
                        return;
                    }
                    let Ok(answer) = client.event(function, &format!("\"e{number}\"")) else { return };
                    assert_eq!(answer.status, 202, "{}", answer.body);
                    acked.lock().unwrap().insert(format!("e{number}"));
                }
            });
        }
    });
}

/// Starts again, and says how many milliseconds it took until the server listened.
fn restart(dir: &std::path::Path, ready_ms: &mut Vec<f64>) -> Lamp {
    let began = now();
    let lamp = Lamp::start_on(dir, &OPEN);
    ready_ms.push(began.elapsed().as_secs_f64() * 1e3);
    lamp
}

#[test]
fn acknowledged_events_survive_kill_nine() {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Journal::new());
    let (kills, total) = (sized(3, 50), sized(300, 10_000));
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut lamp = Lamp::start_on(dir.path(), &OPEN);
    journal.function(&lamp, "f", 30, "def handler(event, context):\n    say('ran', event, time.time())\n");
    reserve(&mut Client::new(&lamp), "f", Some(AT_ONCE as u32));
    let (acked, next) = (Mutex::<BTreeSet<String>>::default(), AtomicUsize::new(0));
    let (mut killed, mut ready_ms) = (Vec::new(), Vec::new());
    for round in 0..kills {
        let stop = total * (round + 1) / kills;
        let millis = 50 + Dice::new(seed + round as u64).roll(450);
        std::thread::scope(|scope| {
            let pid = lamp.pid().to_string();
            let (port, next, acked) = (lamp.port, &next, &acked);
            scope.spawn(move || send(port, "f", next, stop, acked));
            std::thread::sleep(Duration::from_millis(millis));
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        });
        lamp.kill();
        killed.push(wall());
        next.fetch_min(stop, Ordering::Relaxed);
        lamp = restart(dir.path(), &mut ready_ms);
    }
    // As many more as were not answered.
    let (count, missing) = (next.fetch_min(total, Ordering::Relaxed).min(total), total - acked.lock().unwrap().len());
    send(lamp.port, "f", &next, count + missing, &acked);
    let acked = acked.into_inner().unwrap();
    let has_run = |lines: &[Vec<String>]| {
        let ran = times(lines, "ran");
        acked.iter().all(|event| ran.contains_key(event))
    };
    let lines = journal.wait("all events that were acknowledged have run", ENDS, has_run);
    let ran = times(&lines, "ran");
    // Each that ran again had been under way at a kill, and no more than could be: those that ran, and as many whose end was
    // being written while the next ran.
    let mut under_way = vec![0; killed.len()];
    for (event, times) in &ran {
        for pair in times.windows(2) {
            let kill = killed.iter().position(|kill| pair[0] < *kill + LATE_SECONDS && *kill < pair[1]);
            under_way[kill.unwrap_or_else(|| panic!("{event} ran again for no reason: {times:?}"))] += 1;
        }
    }
    let again: usize = under_way.iter().sum();
    assert!(under_way.iter().all(|count| *count <= 2 * AT_ONCE), "{under_way:?} ran again");
    ready_ms.sort_by(f64::total_cmp);
    let p95 = ready_ms[(ready_ms.len() - 1) * 95 / 100];
    println!(
        "{} events acknowledged of {total}, {kills} kills: 0 lost, {again} ran again; ready after {p95:.0} ms (p95)",
        acked.len()
    );
}

#[test]
fn waiting_events_survive_kill_nine() {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Journal::new());
    let total = sized(100, 10_000);
    let mut lamp = Lamp::start_on(dir.path(), &OPEN);
    let code = "def handler(event, context):\n    if event == 'holds':\n        say('holds')\n        time.sleep(100)\n    \
                say('ran', event, time.time())\n";
    journal.function(&lamp, "f", 200, code);
    let mut client = Client::new(&lamp);
    reserve(&mut client, "f", Some(1));
    client.event("f", "\"holds\"").unwrap();
    journal.wait("one holds up all others", ENDS, |lines| !lines.is_empty());
    let acked = Mutex::default();
    send(lamp.port, "f", &AtomicUsize::new(0), total, &acked);
    lamp.kill();
    let mut ready_ms = Vec::new();
    lamp = restart(dir.path(), &mut ready_ms);
    reserve(&mut Client::new(&lamp), "f", None);
    let acked = acked.into_inner().unwrap();
    assert_eq!(acked.len(), total);
    let began = now();
    let lines = journal.wait("all that waited have run", ENDS, |lines| times(lines, "ran").len() >= total);
    let ran = times(&lines, "ran");
    assert!(acked.iter().all(|event| ran.get(event).is_some_and(|times| times.len() == 1)), "each once");
    println!(
        "{total} waiting events, a kill: 0 lost, ready after {:.0} ms, all ran in {:.1?}",
        ready_ms[0],
        began.elapsed()
    );
}

/// What runs while a server is told to leave ends, and that is written down.
#[test]
fn events_that_run_while_a_server_leaves_run_once() {
    let (dir, journal, total) = (tempfile::tempdir().unwrap(), Journal::new(), 100);
    let mut lamp = Lamp::start_on(dir.path(), &OPEN);
    journal.function(
        &lamp,
        "f",
        30,
        "import os, urllib.request\n\
         def handler(event, context):\n    say('ran', event, time.time())\n    time.sleep(0.2)\n    \
         urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/_lamp/health')\n    \
         say('asked', event, time.time())\n",
    );
    reserve(&mut Client::new(&lamp), "f", Some(AT_ONCE as u32));
    let acked = Mutex::default();
    send(lamp.port, "f", &AtomicUsize::new(0), total, &acked);
    for times_left in 1..=3 {
        journal.wait("some have begun", ENDS, |lines| times(lines, "ran").len() >= 20 * times_left);
        assert!(lamp.stop());
        lamp = Lamp::start_on(dir.path(), &OPEN);
    }
    journal.wait("all have asked", ENDS, |lines| times(lines, "asked").len() >= total);
    // Those that would run again run within a moment.
    assert!(lamp.stop());
    lamp = Lamp::start_on(dir.path(), &OPEN);
    std::thread::sleep(Duration::from_secs(1));
    let lines = journal.wait("all have asked", ENDS, |lines| times(lines, "asked").len() >= total);
    let again: Vec<_> = times(&lines, "ran").into_iter().filter(|(_, times)| times.len() != 1).collect();
    assert!(again.is_empty(), "{again:?}");
    drop(lamp);
}

/// Starts a peer that is told its port and keeps its state in a folder, and waits until it listens.
fn peer(port: u16, state: &std::path::Path) -> Child {
    let mut command = Command::new(tools().join("peers/bin/ministack"));
    command.env("GATEWAY_PORT", port.to_string()).env("LOG_LEVEL", "ERROR").current_dir(state);
    command.env("PERSIST_STATE", "1").env("STATE_DIR", state).process_group(0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the peer listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

/// Kills a peer with all that it started.
fn kill(mut peer: Child) {
    let group = format!("-{}", peer.id());
    Command::new("kill").args(["-9", "--", &group]).status().unwrap();
    peer.wait().unwrap();
}

/// What becomes of a peer's waiting events is only reported.
#[test]
fn waiting_events_of_a_peer_are_counted_over_kill_nine() {
    if !is_long() || !tools().join("peers/bin/ministack").exists() {
        eprintln!("skipped: for the long run, where the peers are installed (cargo xtask bench)");
        return;
    }
    let (dir, journal, total) = (tempfile::tempdir().unwrap(), Journal::new(), 10_000);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let first = peer(port, dir.path());
    let mut make = Command::new(python());
    make.arg(clients().join("python/make_function.py")).args(["f", "128", "30"]);
    make.arg(journal.code("def handler(event, context):\n    time.sleep(1)\n    say('ran', event, time.time())\n"));
    make.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")).env("AWS_DEFAULT_REGION", "us-east-1");
    make.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    run(make);
    let acked = Mutex::default();
    send(port, "f", &AtomicUsize::new(0), total, &acked);
    let before = times(&journal.lines(), "ran").len();
    kill(first);
    let second = peer(port, dir.path());
    std::thread::sleep(Duration::from_secs(30));
    let ran = times(&journal.lines(), "ran").len();
    kill(second);
    let acked = acked.into_inner().unwrap().len();
    println!("MiniStack: {acked} events acknowledged, {before} had run at the kill, {ran} half a minute behind it");
}
