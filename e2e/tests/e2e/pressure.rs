//! Memory that is short: idle instances go, then callers are told, and nobody dies (`--memory`).

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use e2e::{Lamp, invoke, make_python};

/// Holds so many MB for good from its first call on, and for so long before it answers.
const FUNCTION: &str = "
import time
held = []
def handler(event, context):
    if not held:
        held.append(b'x' * (event['megabytes'] << 20))
    time.sleep(event['seconds'])
    return 'done'
";

const LIMIT_MB: u64 = 256;

/// What a server and all that it runs hold, in MB: each process's own pages, and its part of those that it shares but for
/// files. `None` where that cannot be seen.
fn held_mb(lamp: &Lamp) -> Option<u64> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Gone meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        children.entry(parent).or_default().push(pid);
    }
    let (mut left, mut held_kb) = (vec![lamp.pid()], 0);
    while let Some(pid) = left.pop() {
        left.extend(children.get(&pid).into_iter().flatten());
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            if fs::metadata(format!("/proc/{pid}")).is_ok() {
                return None;
            }
            continue;
        };
        for name in ["Pss_Anon:", "Pss_Shmem:"] {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            held_kb += line.trim().trim_end_matches(" kB").parse::<u64>().ok()?;
        }
    }
    Some(held_kb / 1024)
}

/// Each holds 40 MB: five fit at most, and there are twice as many.
#[test]
fn a_server_stays_within_its_memory() {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("app.py");
    fs::write(&code, FUNCTION).unwrap();
    let lamp = Lamp::start_with(&["--memory", &format!("{LIMIT_MB}MB")]);
    let names: Vec<String> = (0..10).map(|number| format!("large-{number}")).collect();
    names.iter().for_each(|name| make_python(&lamp, name, 512, 60, &code));
    // One after the other: who is idle makes room, and nobody is told anything.
    for round in 0..2 {
        for name in &names {
            let answer = invoke(&lamp, name, r#"{"megabytes": 40, "seconds": 0}"#);
            assert!(answer.ends_with("\"done\""), "round {round}, {name}: {answer}");
            let held = held_mb(&lamp);
            assert!(held.is_none_or(|held| held <= LIMIT_MB), "{held:?} MB are held");
        }
    }
    // All at once: who does not fit is told so, as on AWS, and the others are answered.
    let answers: Vec<String> = std::thread::scope(|scope| {
        let calls = names.iter().map(|name| {
            let call = scope.spawn(|| invoke(&lamp, name, r#"{"megabytes": 40, "seconds": 3}"#));
            // What was started last shows before the next one comes.
            std::thread::sleep(Duration::from_millis(20));
            call
        });
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let done = answers.iter().filter(|answer| answer.ends_with("\"done\"")).count();
    let refused = answers.iter().filter(|answer| {
        answer.starts_with("HTTP/1.1 429 ") && answer.contains(r#""Reason":"ConcurrentInvocationLimitExceeded""#)
    });
    let refused = refused.count();
    assert_eq!(done + refused, answers.len(), "{answers:#?}");
    assert!(done >= 3 && refused >= 3, "{done} done, {refused} refused");
    let held = held_mb(&lamp);
    assert!(held.is_none_or(|held| held <= LIMIT_MB), "{held:?} MB are held");
    // And there is room again.
    let answer = invoke(&lamp, &names[0], r#"{"megabytes": 40, "seconds": 0}"#);
    assert!(answer.ends_with("\"done\""), "{answer}");
}
