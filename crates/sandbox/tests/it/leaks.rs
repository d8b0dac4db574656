//! Nothing stays behind: after many sandboxes, after starts that failed half-way, and after a server that was killed at
//! any moment.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox::testing::Fault;
use sandbox::{Settings, StartError};

use crate::common::{Named, OnTokio, exit, isolation, settings, shell, soon, spec, succeeded};

/// Starts and kills: a thousand at full length.
pub fn cycles() -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { 1_000 } else { 50 }
}

/// Groups of ours anywhere on this host.
fn groups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with("lamplight-") {
                found.insert(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

/// Our groups that have a part of this name, and processes in any of them.
pub fn groups_of(pid: u32) -> Vec<PathBuf> {
    groups().into_iter().filter(|path| path.to_string_lossy().contains(&format!("-{pid}-"))).collect()
}

/// Our groups whose spawner is not there any more.
fn orphans() -> BTreeSet<PathBuf> {
    let is_orphan = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let pid = name.rsplit('-').nth(1).map(str::to_owned).unwrap_or_default();
        std::fs::metadata(format!("/proc/{pid}")).is_err()
    };
    groups().into_iter().filter(is_orphan).collect()
}

/// Pids, and for each its namespaces: what processes there are, and which namespaces they hold.
fn children_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let ppid = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        if ppid == Some(parent) {
            found.push(pid);
        }
    }
    found
}

pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

async fn cycles_leave_nothing(as_user: Option<u32>) {
    let (named, settings) = Named::make();
    let settings = Settings { as_user, ..settings };
    let (isolation, _) = sandbox::processes(settings, std::sync::Arc::new(OnTokio)).await.unwrap();
    let alone = named.processes();
    let spawner = *alone.first().unwrap();
    // What it makes ahead is made, and stays as it is.
    soon(soon(isolation.start(spec("first"))).await.unwrap().kill()).await;
    eventually("the spawner is at rest", || named.processes() == alone).await;
    // Other tests give network namespaces names.
    let own_mounts = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| !line.contains("/run/netns")).count()
    };
    let mounts = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap().lines().count();
    let (files, mounted, on_host) = (open_files(spawner), mounts(spawner), own_mounts());
    let mut last = None;
    for round in 0..cycles() {
        let mut wanted = spec("cycle");
        wanted.listen = vec![9001, 4566];
        let sandbox = soon(isolation.start(wanted)).await.unwrap();
        soon(sandbox.run(shell("sleep 1000 & sleep 1000 & exit 0"))).await.unwrap();
        assert_eq!(exit(&sandbox).await, succeeded());
        match round % 3 {
            0 => soon(sandbox.kill()).await,
            1 => {
                let _ = sandbox.freeze();
            }
            _ => {}
        }
        last = Some(sandbox);
    }
    drop(last);
    eventually("no sandbox has processes", || named.processes() == alone).await;
    let has_groups =
        |path: &PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().any(|entry| entry.path().is_dir());
    eventually("no sandbox has groups", || !groups_of(spawner).iter().any(has_groups)).await;
    // Namespaces that the spawner makes ahead come and go.
    assert!(open_files(spawner) <= files + 4 && mounts(spawner) <= mounted);
    assert_eq!(own_mounts(), on_host);
    drop(isolation);
    eventually("nobody of the spawner's is left", || named.processes().is_empty()).await;
    assert_eq!(groups_of(spawner), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn many_sandboxes_leave_nothing() {
    cycles_leave_nothing(None).await;
}

#[tokio::test]
async fn many_sandboxes_leave_nothing_without_root() {
    cycles_leave_nothing(rustix::process::geteuid().is_root().then_some(65_534)).await;
}

/// Every step of a start fails once. Nobody gets a half-made sandbox, and the next start is as good as the first.
#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    let mut failed = BTreeSet::new();
    for step in 1.. {
        let settings = Settings { fault: Some(Fault::Fail(step)), ..settings() };
        let (isolation, _) = sandbox::processes(settings, std::sync::Arc::new(OnTokio)).await.unwrap();
        let mut wanted = spec("fault");
        wanted.listen = vec![9001];
        match soon(isolation.start(wanted.clone())).await {
            Err(StartError::Step { step, source }) => {
                // A spawner that cannot go home gives up, and takes the sandbox along.
                let is_collateral = source.kind() == std::io::ErrorKind::UnexpectedEof;
                assert!(source.raw_os_error() == Some(libc::ECANCELED) || is_collateral, "{step}: {source}");
                failed.insert(step);
                let sandbox = soon(isolation.start(wanted)).await.unwrap();
                soon(sandbox.run(shell("exit 0"))).await.unwrap();
                assert_eq!(exit(&sandbox).await, succeeded());
            }
            Err(error) => panic!("{error:?}"),
            // The fault lies beyond the last step.
            Ok(_) if !failed.is_empty() && step > 40 => break,
            Ok(_) => {}
        }
    }
    // An ordinary user may have no groups to join.
    let least = if rustix::process::geteuid().is_root() { 25 } else { 20 };
    assert!(failed.len() >= least, "only {} steps failed: {failed:#?}", failed.len());
}

/// The server is killed before each step of two starts: no process and no group outlives it.
#[tokio::test]
async fn a_server_that_is_killed_leaves_nothing() {
    let binary = env!("CARGO_BIN_EXE_sandbox-spawner");
    // Somebody else may have been killed together with its spawner, in a group of which nobody starts one again.
    let before = orphans();
    for step in 1.. {
        let mut server = Command::new(binary)
            .args(["server", &step.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut said, mut held) = (BufReader::new(server.stdout.take().unwrap()), server.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let spawners = children_of(server.id());
        let is_past = line == "alive\n";
        if is_past {
            server.kill().unwrap();
        }
        assert!(!server.wait().unwrap().success());
        // The spawner holds this too, until it has buried everything.
        let mut rest = String::new();
        held.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        for spawner in spawners {
            eventually("the groups are gone", || groups_of(spawner).is_empty()).await;
        }
        if is_past {
            break;
        }
    }
    // Those whose spawner's number was not learnt in time are found by their dead owner.
    eventually("no group is without its spawner", || orphans().is_subset(&before)).await;
}

/// A spawner that is killed takes its sandboxes along; the next one sweeps, and the server goes on.
#[tokio::test]
async fn a_spawner_that_is_killed_is_replaced() {
    let before: BTreeSet<u32> = children_of(std::process::id()).into_iter().collect();
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("orphan-to-be"))).await.unwrap();
    soon(sandbox.run(shell("sleep 1000"))).await.unwrap();
    let is_ours = |pid: &u32| {
        groups_of(*pid).iter().any(|path| {
            std::fs::read_dir(path)
                .unwrap()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("orphan"))
        })
    };
    let found = children_of(std::process::id()).into_iter().filter(|pid| !before.contains(pid)).find(is_ours);
    let Some(spawner) = found else {
        println!("skipped: this host lends no control groups to recognise the spawner by");
        return;
    };
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(spawner as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    while soon(sandbox.event()).await != sandbox::Event::Gone {}
    let next = soon(isolation.start(spec("next"))).await.unwrap();
    soon(next.run(shell("exit 0"))).await.unwrap();
    assert_eq!(exit(&next).await, succeeded());
    drop(next);
    // One more claims its groups, and sweeps again what was still dying when the one before did.
    let _ = crate::common::isolation().await;
    eventually("the dead spawner's groups are swept", || groups_of(spawner).is_empty()).await;
}
