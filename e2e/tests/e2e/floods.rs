//! Functions that write without end: the server's memory does not grow, and others are served meanwhile.

use std::path::Path;
use std::time::Duration;

use e2e::{Lamp, answer, ask, invoke, make_python};

/// Writes so many MB in lines of a hundred bytes, or in one, as far as it comes in its time.
const FUNCTION: &str = "
import os
def handler(event, context):
    end = context.get_remaining_time_in_millis() - 300000
    line = (b'x' * 99 + b'\\n') * 10000 if event['lines'] else b'x' * 1000000
    for megabyte in range(event['megabytes']):
        if context.get_remaining_time_in_millis() < end:
            return megabyte
        done = 0
        while done < len(line):
            done += os.write(1, line[done:])
    return event['megabytes']
";

/// MB in lines and in one line: little in every run; in the long one what comes in 30 seconds at 200 MB a second, of which a build
/// for debugging does not take all.
fn megabytes() -> [(bool, usize); 2] {
    if is_long() { [(true, 6_000), (false, 1_000)] } else { [(true, 24), (false, 80)] }
}

fn is_long() -> bool {
    std::env::var_os("LAMP_TORTURE").is_some()
}

const TIMEOUT: Duration = Duration::from_secs(900);

/// What the server may grow by, for any flood. It goes on growing a little in a flood's first minutes, so a short one may less.
fn growth_kb_max() -> u64 {
    1024 * if is_long() { 64 } else { 36 }
}

fn memory_kb(lamp: &Lamp, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", lamp.pid())).expect("read lamp's status");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel counts memory");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// It may take as long as the function may.
fn flood(lamp: &Lamp, event: &str) -> String {
    let stream = ask(lamp, "POST", "/2015-03-31/functions/flood/invocations", event);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    answer(stream)
}

#[test]
fn a_flood_of_output_costs_the_server_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    let lamp = Lamp::start_logging(&dir.path().join("data"), &["--log-level", "info"], Path::new("/dev/null"));
    ["flood", "victim"].iter().for_each(|name| make_python(&lamp, name, 512, TIMEOUT.as_secs() as u32, &code));
    let little = r#"{"lines": true, "megabytes": 1}"#;
    for function in ["flood", "victim"] {
        let answer = invoke(&lamp, function, little);
        assert!(answer.ends_with("\r\n1"), "{answer}");
    }
    let before = memory_kb(&lamp, "VmRSS");
    for (lines, megabytes) in megabytes() {
        let event = format!(r#"{{"lines": {lines}, "megabytes": {megabytes}}}"#);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&lamp, &event));
            let mut served = 0;
            while !flood.is_finished() {
                let answer = invoke(&lamp, "victim", r#"{"lines": true, "megabytes": 0}"#);
                assert!(answer.ends_with("\r\n0"), "{answer}");
                served += 1;
            }
            assert!(served > 0);
            let answer = flood.join().unwrap();
            let written: usize = answer.rsplit("\r\n").next().and_then(|said| said.parse().ok()).expect(&answer);
            assert!(written == megabytes || is_long() && written >= megabytes / 10, "it came to {written} MB");
            println!("lines {lines}: {written} MB");
        });
        let peak = memory_kb(&lamp, "VmHWM");
        println!("lines {lines}: {before} kB before, {peak} kB at most");
        assert!(peak <= before + growth_kb_max(), "lines {lines}: {before} kB before, {peak} kB at most");
    }
}
