//! What a sandbox costs: from `start` to the exit of a static program in it, against fork and exec of the same program
//! outside, taken in turns in one run.
//!
//! `cargo run --release -p sandbox --features testing --example start_speed -- ROUNDS`: with `egress` after the rounds,
//! the sandboxes have a way out.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a measurement: it reads the machine's clock")]

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{BoxFuture, Spawn};
use sandbox::{Event, Mount, Network, Program, Settings, Spec};

struct OnTokio;

impl Spawn for OnTokio {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::task::spawn(task));
    }
}

/// Starts at once: more than are made ahead.
const BURST: u32 = 40;

fn report(what: &str, times: &mut [Duration], plain: Option<Duration>) -> Duration {
    times.sort();
    let (least, median) = (times.first().copied().unwrap_or_default(), times.get(times.len() / 2).copied());
    let ratio =
        plain.map_or(String::new(), |plain| format!("  {:.1} times plain", least.as_secs_f64() / plain.as_secs_f64()));
    println!("{what:<44} min {least:>9.1?}  median {:>9.1?}{ratio}", median.unwrap_or_default());
    least
}

fn main() -> ExitCode {
    if let Some(code) = sandbox::take_over() {
        return code;
    }
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    let has_egress = std::env::args().nth(2).is_some_and(|word| word == "egress");
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let source = folder.path().join("program.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").expect("it is written");
    let program = folder.path().join("program");
    let built = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(&source).status();
    assert!(built.is_ok_and(|done| done.success()), "a C compiler is there");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (isolation, features) =
            sandbox::processes(Settings { has_egress, may_forward: true, ..Settings::default() }, Arc::new(OnTokio))
                .await
                .expect("isolation");
        for feature in features.list.iter().filter(|feature| feature.missing.is_some()) {
            println!("without {}: {}", feature.name, feature.missing.as_deref().unwrap_or_default());
        }
        let (mut plain, mut ready, mut whole, mut warm) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut frozen, mut counted, mut killed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begin = Instant::now();
            Command::new(&program).status().expect("it runs");
            plain.push(begin.elapsed());

            let mut spec = Spec::new("speed", 128 * 1024 * 1024);
            spec.listen = vec![9001];
            if has_egress {
                spec.network = Network::Egress;
            }
            spec.mounts = vec![Mount { host: folder.path().to_owned(), inside: "/var/task".into() }];
            let begin = Instant::now();
            let sandbox = isolation.start(spec).await.expect("it starts");
            ready.push(begin.elapsed());
            sandbox.run(Program::new(["/var/task/program"])).await.expect("it runs");
            assert!(matches!(sandbox.event().await, Event::Exited { .. }));
            whole.push(begin.elapsed());

            let begin = Instant::now();
            sandbox.run(Program::new(["/var/task/program"])).await.expect("it runs");
            assert!(matches!(sandbox.event().await, Event::Exited { .. }));
            warm.push(begin.elapsed());

            let begin = Instant::now();
            sandbox.freeze().and_then(|_| sandbox.thaw()).expect("it freezes");
            frozen.push(begin.elapsed());
            let begin = Instant::now();
            sandbox.usage().expect("it is counted");
            counted.push(begin.elapsed());
            let begin = Instant::now();
            sandbox.kill().await;
            killed.push(begin.elapsed());
        }
        let mut burst = Vec::new();
        for _ in 0..rounds / BURST {
            let begin = Instant::now();
            let starting: Vec<_> = (0..BURST)
                .map(|_| {
                    let mut spec = Spec::new("burst", 128 * 1024 * 1024);
                    if has_egress {
                        spec.network = Network::Egress;
                    }
                    let isolation = isolation.clone();
                    tokio::task::spawn(async move { isolation.start(spec).await.expect("it starts") })
                })
                .collect();
            let mut started = Vec::new();
            for one in starting {
                started.push(one.await.expect("it does not panic"));
            }
            burst.push(begin.elapsed() / BURST);
            for one in started {
                one.kill().await;
            }
        }
        let least = report("plain fork, exec, exit", &mut plain, None);
        report("sandbox: start", &mut ready, Some(least));
        report("sandbox: start, exec, exit", &mut whole, Some(least));
        report("sandbox: start, each of forty at once", &mut burst, Some(least));
        report("sandbox: exec, exit in a standing one", &mut warm, Some(least));
        report("freeze and thaw", &mut frozen, None);
        report("usage", &mut counted, None);
        report("kill, until nothing is left", &mut killed, None);
    });
    ExitCode::SUCCESS
}
