//! What was acknowledged is there after `kill -9`, a restart, and a backup carried elsewhere.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Lamp, binary, client, clients, python, run, wait_for};

/// Rounds of killing: a few in every test run, many in the long one.
fn rounds() -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { 50 } else { 4 }
}

/// A boto3 client that creates functions from 8 threads and appends the name of each to a file once it was answered.
fn creators(lamp: &Lamp, round: usize, journal: &Path) -> Child {
    let mut command = client(lamp, &python());
    command
        .arg(clients().join("python/create_until_gone.py"))
        .args([&round.to_string(), &journal.display().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("run the creators")
}

fn acknowledged(journal: &Path) -> BTreeSet<String> {
    // A line is written after its answer; the last one may be cut by our own kill of the client.
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

fn listed(lamp: &Lamp) -> BTreeSet<String> {
    let mut command = client(lamp, &python());
    command.arg(clients().join("python/list_names.py"));
    run(command).lines().map(str::to_owned).collect()
}

#[test]
fn acknowledged_functions_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let journal = dir.path().join("journal");
    for round in 0..rounds() {
        let mut lamp = Lamp::start_on(&data, &[]);
        let mut creators = creators(&lamp, round, &journal);
        let before = acknowledged(&journal).len();
        wait_for("functions are created", || (acknowledged(&journal).len() >= before + 10).then_some(()));
        std::thread::sleep(Duration::from_millis(37 * (round as u64 % 7)));
        lamp.kill();
        creators.wait().unwrap();

        let lamp = Lamp::start_on(&data, &[]);
        let there = listed(&lamp);
        let lost: Vec<_> = acknowledged(&journal).into_iter().filter(|name| !there.contains(name)).collect();
        assert!(lost.is_empty(), "round {round}: {} acknowledged functions are lost: {lost:?}", lost.len());
    }
}

/// A library that makes the syncs of files below a folder fail, from the moment that a file exists.
const FAILING_SYNC: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int fails(int fd) {
    char link[64], path[4096];
    if (access(getenv("FAIL_SYNC_WHEN"), F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, getenv("FAIL_SYNC_OF")) != NULL;
}
int fsync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
"#;

#[test]
fn a_failed_sync_of_the_database_ends_the_server_and_loses_nothing_acknowledged() {
    fail_syncs("/data/store.db");
}

#[test]
fn a_failed_sync_of_code_ends_the_server_and_loses_nothing_acknowledged() {
    fail_syncs("/data/blobs");
}

/// Makes the syncs of some files fail while functions are created.
fn fail_syncs(of: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (data, journal) = (dir.path().join("data"), dir.path().join("journal"));
    let (source, library, trigger) =
        (dir.path().join("sync.c"), dir.path().join("sync.so"), dir.path().join("fail-now"));
    std::fs::write(&source, FAILING_SYNC).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());

    let variables = [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAIL_SYNC_WHEN", trigger.as_os_str()),
        ("FAIL_SYNC_OF", OsStr::new(of)),
    ];
    let mut lamp = Lamp::start_in(&data, &[], &variables);
    let mut creators = creators(&lamp, 0, &journal);
    wait_for("functions are created", || (acknowledged(&journal).len() >= 20).then_some(()));
    std::fs::write(&trigger, "").unwrap();
    let status = wait_for("the server leaves", || lamp.exited());
    assert_eq!(status.code(), Some(1), "it says that it failed");
    creators.wait().unwrap();

    let lamp = Lamp::start_on(&data, &[]);
    let there = listed(&lamp);
    let lost: Vec<_> = acknowledged(&journal).into_iter().filter(|name| !there.contains(name)).collect();
    assert!(lost.is_empty(), "{} acknowledged functions are lost: {lost:?}", lost.len());
}

#[test]
fn secrets_are_nowhere_in_the_clear_and_open_after_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let (data, journal) = (dir.path().join("data"), dir.path().join("journal"));
    let log = dir.path().join("log");
    let mut lamp = Lamp::start_logging(&data, &["--log-level", "trace"], &log);
    let mut creators = creators(&lamp, 0, &journal);
    wait_for("functions are created", || (acknowledged(&journal).len() >= 20).then_some(()));
    let mut rotate = Command::new(binary());
    rotate.args(["rotate-key", "--data-dir"]).arg(&data);
    run(rotate);
    let count = acknowledged(&journal).len();
    wait_for("more functions are created", || (acknowledged(&journal).len() >= count + 10).then_some(()));
    lamp.kill();
    creators.wait().unwrap();

    let needle = b"canary-";
    let mut files = files(&data);
    files.push(log);
    assert!(files.len() > 20);
    for file in files {
        let content = std::fs::read(&file).unwrap();
        let found = content.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "a secret is in the clear in {}", file.display());
    }
    let lamp = Lamp::start_on(&data, &[]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/read_all.py"));
    run(command);
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn code_with_a_flipped_bit_is_an_error_and_never_served() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/damaged_code.py")).arg(lamp.dir.join("blobs"));
    run(command);
}

#[test]
fn everything_written_is_for_the_owner_alone() {
    let lamp = Lamp::start_with(&["--tls-self-signed"]);
    for path in files(&lamp.dir).into_iter().chain([lamp.dir.join("control.sock"), lamp.dir.clone()]) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn a_backup_of_a_running_server_is_whole_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut lamp = Lamp::start();
    let mut creators = creators(&lamp, 0, &journal);
    wait_for("functions are created", || (acknowledged(&journal).len() >= 20).then_some(()));
    let before = acknowledged(&journal);
    let backup = dir.path().join("backup");
    let mut command = Command::new(binary());
    command.args(["backup", "--data-dir"]).arg(&lamp.dir).arg(&backup);
    let said = run(command);
    assert!(said.contains("master"), "the master key is left out, and it says so: {said}");
    assert!(!backup.join("keys").exists());
    lamp.kill();
    creators.wait().unwrap();

    let restored = dir.path().join("restored");
    let mut command = Command::new(binary());
    command.arg("restore").arg(&backup).arg("--data-dir").arg(&restored);
    run(command);
    // Without the keys the data opens for nobody, and the server says what to do.
    let refused = Command::new(binary()).args(["start", "--port", "0", "--data-dir"]).arg(&restored).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("master.json"), "{said}");
    std::fs::remove_dir_all(restored.join("keys")).ok();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(lamp.dir.join("keys")).arg(restored.join("keys"));
    run(copy);
    let elsewhere = Lamp::start_on(&restored, &[]);
    let there = listed(&elsewhere);
    let lost: Vec<_> = before.into_iter().filter(|name| !there.contains(name)).collect();
    assert!(lost.is_empty(), "the backup lacks {lost:?}");
    let mut command = client(&elsewhere, &python());
    command.arg(clients().join("python/read_all.py"));
    run(command);
}
