//! What functions do, read at the machine while they run: `lamp logs`, `lamp cost`, `lamp top`, and by Prometheus.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use e2e::{Lamp, binary, client, clients, invoke, make_python, python, run, send, wait_for};

/// A command of `lamp` about a server's data.
fn lamp_on(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    let kept = |(name, _): &(String, String)| matches!(name.as_str(), "PATH" | "HOME" | "TMPDIR");
    command.env_clear().envs(std::env::vars().filter(kept)).args(arguments).arg("--data-dir").arg(dir);
    command
}

fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A function that says what it is sent.
fn make_speaker(lamp: &Lamp) {
    let code = tempfile::tempdir().unwrap();
    let file = code.path().join("app.py");
    std::fs::write(&file, "def handler(event, context):\n    print('heard', event['n'], '\\x1b[31m')\n").unwrap();
    make_python(lamp, "speaker", 128, 10, &file);
}

struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(1_024);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn until(&self, words: &str) {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("{words} did not come: {seen:#?}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn who_follows_a_function_sees_what_it_says() {
    let lamp = Lamp::start();
    make_speaker(&lamp);
    // Before the function has said anything, and so before its log group is there.
    let following = Following::start(lamp_on(&lamp.dir, &["logs", "speaker", "--follow"]));
    let finding = Following::start(lamp_on(&lamp.dir, &["logs", "speaker", "--follow", "--filter", "2", "--json"]));
    for number in 1..=3 {
        assert!(invoke(&lamp, "speaker", &format!("{{\"n\": {number}}}")).contains("200 OK"));
        following.until(&format!("heard {number} \\u{{1b}}[31m"));
    }
    finding.until("\"message\":\"heard 2 \\u001b[31m\\n\"");

    let all = wait_for("the last line is there", || {
        let all = run(lamp_on(&lamp.dir, &["logs", "speaker", "--since", "1h"]));
        (all.matches("REPORT RequestId").count() == 3).then_some(all)
    });
    let said: Vec<&str> = all.lines().filter(|line| line.contains("heard")).collect();
    assert!(said.len() == 3 && said.is_sorted(), "{all}");
    let found = run(lamp_on(&lamp.dir, &["logs", "/aws/lambda/speaker", "--filter", "\"heard 3\"", "--json"]));
    assert!(found.lines().count() == 1 && found.contains("\"group\":\"/aws/lambda/speaker\""), "{found}");
    assert!(run(lamp_on(&lamp.dir, &["logs", "speaker", "--since", "0s"])).is_empty());
}

#[test]
fn who_asks_for_what_is_not_there_is_told_what_is() {
    let mut lamp = Lamp::start();
    make_speaker(&lamp);
    let said = refused(lamp_on(&lamp.dir, &["logs", "speakr"]));
    assert!(said.contains("did you mean speaker?"), "{said}");
    let said = refused(lamp_on(&lamp.dir, &["logs", "speaker", "--region", "eu-west-1"]));
    assert!(said.contains("in eu-west-1 of account 000000000000: there is no function"), "{said}");
    let said = refused(lamp_on(&lamp.dir, &["logs", "speaker", "--filter", "{ $.a = 1"]));
    assert!(said.contains("failed to read the pattern: "), "{said}");
    let said = refused(lamp_on(&lamp.dir, &["logs", "speaker", "--since", "soon"]));
    assert!(said.contains("it takes 90s, 5m, 2h or 1d"), "{said}");
    assert!(lamp.stop());
    let said = refused(lamp_on(&lamp.dir, &["logs", "speaker"]));
    assert!(said.contains("none runs") && said.contains("lamp start --data-dir"), "{said}");
}

#[test]
fn prometheus_reads_what_functions_do() {
    let lamp = Lamp::start();
    make_speaker(&lamp);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/prometheus.py"));
    run(command);
}

fn json(command: Command) -> serde_json::Value {
    serde_json::from_str(&run(command)).unwrap()
}

#[test]
fn what_functions_used_and_cost_is_told_and_outlives_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("lamp.toml");
    std::fs::write(&config, "[prices]\nrequest = 1\nfree_requests = 1\n").unwrap();
    let data = dir.path().join("data");
    let mut lamp = Lamp::start_on(&data, &["--config", config.to_str().unwrap()]);
    make_speaker(&lamp);
    assert!(run(lamp_on(&data, &["top", "--once"])).contains("No function has run since the server began."));
    for _ in 0..3 {
        invoke(&lamp, "speaker", "{\"n\": 1}");
    }
    assert!(invoke(&lamp, "speaker", "{}").contains("KeyError"));
    let told = wait_for("all calls are counted", || {
        let told = json(lamp_on(&data, &["cost", "--json"]));
        (told["total"]["invocations"] == 4).then_some(told)
    });
    let row = &told["rows"][0];
    assert_eq!((row["function"].as_str(), row["errors"].as_u64()), (Some("speaker"), Some(1)), "{told}");
    assert!(row["cold_starts"].as_u64() >= Some(1) && row["billed_ms"].as_f64() >= Some(4.0), "{told}");
    let cost = row["cost"].as_f64().unwrap();
    assert!(cost > 4.0 && cost < 4.01, "four calls at a dollar: {told}");
    let month = &told["month"];
    assert!((month["cost"].as_f64().unwrap() - cost).abs() < 1e-6, "{told}");
    assert!((month["cost_beyond_free"].as_f64().unwrap() - 3.0).abs() < 0.01, "one call is free: {told}");
    assert!(month["forecast"]["cost"].as_f64().unwrap() >= cost, "{told}");
    let by_day = run(lamp_on(&data, &["cost", "--by", "day"]));
    assert!(by_day.starts_with(told["month"]["month"].as_str().unwrap()) && by_day.contains("\nDAY "), "{by_day}");

    let answer = send(&lamp, "GET", "/_lamp/usage?since=1h&by=function", "");
    assert!(answer.contains("200 OK") && answer.contains("\"function\":\"speaker\""), "{answer}");
    let answer = send(&lamp, "GET", "/_lamp/usage?by=week", "");
    assert!(answer.contains("400 Bad Request") && answer.contains("it takes day, month or function"), "{answer}");

    let top = json(lamp_on(&data, &["top", "--once", "--json"]));
    let row = &top["functions"][0];
    assert_eq!((row["invocations"].as_u64(), row["errors"].as_u64()), (Some(4), Some(1)), "{top}");
    assert!(row["instances"].as_u64() >= Some(1), "{top}");
    let watching = Following::start(lamp_on(&data, &["top", "--json"]));
    watching.until("\"invocations_since_start\":4");
    invoke(&lamp, "speaker", "{\"n\": 1}");
    watching.until("\"invocations_since_start\":5");
    // No terminal: one table, and nothing that moves a cursor.
    let table = run(lamp_on(&data, &["top"]));
    assert!(table.contains("\nspeaker ") && !table.contains('\x1b'), "{table}");
    drop(watching);

    assert!(lamp.stop());
    let lamp = Lamp::start_on(&data, &["--config", config.to_str().unwrap()]);
    assert_eq!(json(lamp_on(&lamp.dir, &["cost", "--json"]))["total"]["invocations"], 5);
    let top = json(lamp_on(&lamp.dir, &["top", "--once", "--json"]));
    assert_eq!(top["functions"].as_array().map(Vec::len), Some(0), "it counts from the server's start on: {top}");
}
