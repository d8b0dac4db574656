//! Nothing of a function outlives the server, at whichever step of starting an instance that is killed.
//!
//! A library that is loaded before libc counts calls in the process that starts sandboxes, and in its children, and stops
//! before one of them until the server is dead: groups made, limits written, listeners bound, the init born, each wall put up, the
//! function's program executed.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Lamp, client, clients, python, run, wait_for};

const COUNTING: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
static struct { unsigned left, done, is_there, may_go; } *steps;
__attribute__((constructor)) static void begin(void) {
    char line[4096] = { 0 };
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    if (length < 0 || !memmem(line, length, "__spawner", 9)) return;
    fd = open(getenv("COUNTED_STEPS"), O_RDWR);
    void *found = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED) steps = found;
}
static void step(void) {
    if (!steps || !__atomic_load_n(&steps->left, __ATOMIC_SEQ_CST)) return;
    __atomic_add_fetch(&steps->done, 1, __ATOMIC_SEQ_CST);
    if (__atomic_sub_fetch(&steps->left, 1, __ATOMIC_SEQ_CST)) return;
    __atomic_store_n(&steps->is_there, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&steps->may_go, __ATOMIC_SEQ_CST)) sched_yield();
}
#define REAL(name) static __typeof__(name) *real; if (!real) real = (void *)dlsym(RTLD_NEXT, #name); step()
long syscall(long number, ...) {
    va_list given;
    va_start(given, number);
    long a = va_arg(given, long), b = va_arg(given, long), c = va_arg(given, long);
    long d = va_arg(given, long), e = va_arg(given, long), f = va_arg(given, long);
    va_end(given);
    REAL(syscall);
    return real(number, a, b, c, d, e, f);
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return real(path, mode); }
int rmdir(const char *path) { REAL(rmdir); return real(path); }
int bind(int fd, const struct sockaddr *to, socklen_t length) { REAL(bind); return real(fd, to, length); }
int execve(const char *path, char *const argv[], char *const env[]) { REAL(execve); return real(path, argv, env); }
ssize_t write(int fd, const void *bytes, size_t count) { REAL(write); return real(fd, bytes, count); }
int open64(const char *path, int flags, ...) {
    va_list given;
    va_start(given, flags);
    mode_t mode = va_arg(given, mode_t);
    va_end(given);
    REAL(open64);
    return real(path, flags, mode);
}
"#;

const FUNCTION: &str = "
import subprocess
def handler(event, context):
    subprocess.Popen(['sleep', '1000'], start_new_session=True)
    return 'done'
";

/// In every run some of the steps, in the long one all of them, a thousand times at least.
fn is_long() -> bool {
    std::env::var_os("LAMP_TORTURE").is_some()
}

fn children_of(parent: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().expect("run ps");
    String::from_utf8_lossy(&listed.stdout).split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Groups on this host whose name says that they are of one of these processes.
fn groups_of(spawners: &[u32]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("lamplight-") && spawners.iter().any(|pid| name.contains(&format!("-{pid}-"))) {
                found.push(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

/// Processes that began as a server, or a copy of one, with this file in their environment.
fn alive(counter: &Path) -> Vec<String> {
    let mark = format!("COUNTED_STEPS={}", counter.display());
    let is_ours = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("list processes").flatten();
    processes
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(is_ours)
        .collect()
}

/// Of this host. Network namespaces that others give a name are none of ours.
fn mounts() -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    table.lines().filter(|line| !line.contains("/run/netns")).count()
}

struct Steps {
    file: File,
    path: PathBuf,
}

impl Steps {
    fn open(path: PathBuf) -> Steps {
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("make the counter");
        file.set_len(4096).expect("size the counter");
        Steps { file, path }
    }

    fn write(&self, at: u64, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        self.file.write_all_at(&bytes, at * 4).expect("write the counter");
    }

    fn read(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at * 4).expect("read the counter");
        u32::from_ne_bytes(bytes)
    }

    /// Stops at the step after so many.
    fn arm(&self, left: u32) {
        self.write(1, &[0, 0, 0]);
        self.write(0, &[left]);
    }

    fn disarm(&self) {
        self.write(0, &[0]);
    }

    fn done(&self) -> u32 {
        self.read(1)
    }

    fn is_there(&self) -> bool {
        self.read(2) == 1
    }

    /// Whoever stopped goes on.
    fn let_go(&self) {
        self.write(3, &[1]);
    }
}

fn ask(lamp: &Lamp) -> TcpStream {
    e2e::ask(lamp, "POST", "/2015-03-31/functions/probe/invocations", "{}")
}

/// The answer, if there is one.
fn answer(mut stream: TcpStream) -> Option<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("\r\n\r\n").then_some(answer)
}

#[test]
fn a_server_that_is_killed_while_it_starts_an_instance_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, source, library) = (dir.path().join("data"), dir.path().join("steps.c"), dir.path().join("steps.so"));
    let code = dir.path().join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    std::fs::write(&source, COUNTING).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    let steps = Steps::open(dir.path().join("counter"));
    let variables = [("LD_PRELOAD", library.as_os_str()), ("COUNTED_STEPS", steps.path.as_os_str())];
    let start = || {
        // Made from nothing: what is made ahead beside it would be counted too.
        let lamp = Lamp::start_in(&data, &["--isolation", "strict"], &variables);
        let spawners = children_of(lamp.pid());
        assert_eq!(spawners.len(), 1, "lamp has one child");
        (lamp, spawners)
    };

    // How many steps there are, first; and a server that is killed when the instance runs is one case more.
    let (mut lamp, spawners) = start();
    let mut make = client(&lamp, &python());
    make.arg(clients().join("python/make_function.py")).args(["probe", "128", "10"]).arg(&code);
    run(make);
    steps.arm(u32::MAX);
    let said = answer(ask(&lamp)).expect("it answers");
    assert!(said.ends_with("\"done\""), "{said}");
    let total = steps.done();
    // An ordinary user may have no groups to make.
    assert!(total >= 20, "only {total} steps are seen: the counter is dead");
    steps.disarm();
    lamp.kill();
    gone(&steps, &spawners);

    let before = mounts();
    let rounds: Vec<u32> = if is_long() {
        (1..=total).cycle().take(1_000.max(total as usize)).collect()
    } else {
        (1..=total).step_by(total as usize / 12).collect()
    };
    for step in rounds {
        let (mut lamp, spawners) = start();
        steps.arm(step);
        let stream = ask(&lamp);
        wait_for("a start is at its step", || steps.is_there().then_some(()));
        lamp.kill();
        steps.let_go();
        assert_eq!(answer(stream), None, "killed before step {step} of {total}, it does not answer");
        gone(&steps, &spawners);
        assert_eq!(mounts(), before, "after step {step}");
    }
    // The data survived all that.
    let (lamp, _) = start();
    assert!(answer(ask(&lamp)).is_some_and(|answer| answer.ends_with("\"done\"")));
}

fn gone(steps: &Steps, spawners: &[u32]) {
    wait_for("no process of the server is left", || alive(&steps.path).is_empty().then_some(()));
    wait_for("no group is left", || groups_of(spawners).is_empty().then_some(()));
}
