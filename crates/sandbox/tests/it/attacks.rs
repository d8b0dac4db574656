//! What hostile code tries, and that it gets nowhere. Each attempt of `attack.c` is made twice: outside, where it must
//! succeed, or it proves nothing; and inside, where it must be refused.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use sandbox::{Exit, Isolation, Mount, Program, Sandbox};

use crate::common::{exit, isolation, isolation_without_root, output, public_folder, soon, spec, succeeded};
use crate::images;

/// Builds the attacks, without any library of the host's.
fn build(folder: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/attack.c");
    let program = folder.join("attack");
    let built = Command::new("cc").args(["-static", "-O1", "-w", "-o"]).arg(&program).arg(source).status();
    assert!(built.expect("a C compiler is there").success());
    std::fs::write(folder.join("attack.canary"), "alive").unwrap();
}

fn lines(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect()
}

/// What of the host attacks reach for.
struct Bait {
    folder: tempfile::TempDir,
    listener: std::net::TcpListener,
    name: String,
    _socket: UnixListener,
    shm_key: i32,
    shm_id: String,
}

impl Bait {
    fn lay() -> Bait {
        let folder = public_folder();
        build(folder.path());
        let name = format!("lamp-test-{}-{}", std::process::id(), folder.path().display()).replace('/', "-");
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let made = Command::new("ipcmk").args(["-M", "4096"]).output().expect("util-linux is there");
        let shm_id = String::from_utf8(made.stdout).unwrap().split_whitespace().last().unwrap().to_owned();
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        let row = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&shm_id)).unwrap();
        let shm_key = row.split_whitespace().next().unwrap().parse().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Bait { folder, listener, name, _socket: socket, shm_key, shm_id }
    }

    fn arguments(&self, target: u32) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("{port} {} {} {target}", self.name, self.shm_key)
    }

    async fn sandbox(&self, isolation: &Isolation) -> Sandbox {
        let mut spec = spec("attack");
        spec.mounts = vec![Mount { host: self.folder.path().to_owned(), inside: "/var/task".into() }];
        soon(isolation.start(spec)).await.unwrap()
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        let _ = Command::new("ipcrm").args(["-m", &self.shm_id]).status();
    }
}

/// Kernels are built without some of what attacks try, and hosts may be closed themselves.
const ALLOWED_OUTSIDE_MIN: usize = 60;

fn outside(bait: &Bait) -> BTreeMap<String, String> {
    let arguments = bait.arguments(std::process::id());
    let run = Command::new(bait.folder.path().join("attack")).args(arguments.split(' ')).output().unwrap();
    lines(&String::from_utf8_lossy(&run.stdout))
}

/// Who attacks: a program that was started afresh, or one that began as the image of another.
#[derive(Clone, Copy, PartialEq)]
enum Attacker {
    Fresh,
    Clone,
}

impl Attacker {
    /// What the attacks say inside.
    async fn run(self, isolation: &Isolation, bait: &Bait, arguments: &str) -> (String, Exit) {
        let sandbox = bait.sandbox(isolation).await;
        if self == Attacker::Fresh {
            return output(&sandbox, &format!("/var/task/attack {arguments}")).await;
        }
        let template = images::template(sandbox, images::python("")).await;
        let image = images::take(&template).await.unwrap();
        drop(template);
        let clone = images::resume(bait.sandbox(isolation).await, &image).await.unwrap();
        clone.replace(&format!("/var/task/attack {arguments}")).await
    }
}

async fn nothing_is_allowed(isolation: &Isolation, attacker: Attacker) {
    let bait = Bait::lay();
    let control = outside(&bait);
    let allowed = control.values().filter(|result| *result == "ALLOWED").count();
    if rustix::process::geteuid().is_root() {
        for (name, result) in control.iter().filter(|(_, result)| *result != "ALLOWED") {
            println!("not proven on this host: {name}: {result}");
        }
        assert!(allowed >= ALLOWED_OUTSIDE_MIN, "only {allowed} attempts succeed outside: the probe is dead");
    } else {
        println!("skipped: only root can show that attempts succeed outside");
    }
    let (text, done) = attacker.run(isolation, &bait, &bait.arguments(1)).await;
    assert_eq!(done, succeeded(), "{text}");
    let inside = lines(&text);
    assert_eq!(inside.len(), control.len(), "{text}");
    let open: Vec<_> = inside.iter().filter(|(_, result)| *result == "ALLOWED").collect();
    assert!(open.is_empty(), "open: {open:?}");
}

#[tokio::test]
async fn no_attack_succeeds() {
    nothing_is_allowed(&isolation().await.0, Attacker::Fresh).await;
}

#[tokio::test]
async fn no_attack_succeeds_without_root() {
    nothing_is_allowed(&isolation_without_root().await.0, Attacker::Fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_of_a_clone_succeeds() {
    if images::works_here() {
        nothing_is_allowed(&isolation().await.0, Attacker::Clone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_of_a_clone_succeeds_without_root() {
    if images::works_here() {
        nothing_is_allowed(&isolation_without_root().await.0, Attacker::Clone).await;
    }
}

/// The running filter, against its table, for every number there is: what the table refuses is refused.
#[tokio::test]
async fn every_syscall_is_refused_or_not_as_the_table_says() {
    the_filter_is_its_table(Attacker::Fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_syscall_of_a_clone_is_refused_or_not_as_the_table_says() {
    if images::works_here() {
        the_filter_is_its_table(Attacker::Clone).await;
    }
}

async fn the_filter_is_its_table(attacker: Attacker) {
    let (isolation, _) = isolation().await;
    let bait = Bait::lay();
    let (text, done) = attacker.run(&isolation, &bait, "numbers").await;
    assert_eq!(done, succeeded(), "{text}");
    let inside = lines(&text);
    assert_eq!(inside.len(), 471, "{text}");
    let mut offences = Vec::new();
    for (number, result) in &inside {
        let (number, result): (u32, i32) = (number.parse().unwrap(), result.parse().unwrap());
        let refused = sandbox::testing::refusal(number);
        if refused.is_some_and(|errno| errno != result) {
            offences.push((number, result, refused));
        }
    }
    assert!(offences.is_empty(), "number, answer, table: {offences:?}");
}

/// Two tenants side by side: what one leaves lying about, the other does not find.
#[tokio::test]
async fn neighbours_do_not_see_each_other() {
    let (isolation, _) = isolation().await;
    let bait = Bait::lay();
    let victim = bait.sandbox(&isolation).await;
    let script = "echo secret >/tmp/secret; exec python3 -c \"
import socket, time
a = socket.socket(socket.AF_UNIX); a.bind('\\0neighbour'); a.listen()
b = socket.create_server(('127.0.0.1', 7777))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.bind(('0.0.0.0', 7778))
print('ready', flush=True)
time.sleep(1000)\"";
    let (mut reader, writer) = std::io::pipe().unwrap();
    let program =
        Program::new(["/bin/sh", "-c", script]).env("PATH", "/usr/bin:/bin").env("SECRET", "x").directory("/");
    soon(victim.run(program.grant(1, writer))).await.unwrap();
    let ready = tokio::task::spawn_blocking(move || std::io::Read::read_exact(&mut reader, &mut [0; 5]));
    if soon(ready).await.unwrap().is_err() {
        println!("skipped: the host has no Python in /usr");
        return;
    }
    let probe = "exec python3 -c \"
import os, socket
seen = []
pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]
if any(p > 20 for p in pids) or len(pids) > 3: seen.append(('pids', pids))
if os.listdir('/tmp'): seen.append('tmp')
for family, address in [(socket.AF_UNIX, '\\0neighbour'), (socket.AF_INET, ('127.0.0.1', 7777))]:
    try: socket.socket(family).connect(address); seen.append(address)
    except OSError: pass
for pid in range(1, 400):
    if pid == os.getpid(): continue
    try: os.kill(pid, 0); seen.append(('kill', pid)) if pid > 1 else None
    except OSError: pass
if open('/proc/net/unix').read().count('neighbour'): seen.append('unix')
if len(open('/proc/sysvipc/shm').readlines()) > 1: seen.append('shm')
print(seen)\"";
    let prober = bait.sandbox(&isolation).await;
    assert_eq!(output(&prober, probe).await, ("[]\n".to_owned(), succeeded()));
    drop(victim);
}

/// CVE-2024-21626 and its like: nothing of the host hangs on to a program.
#[tokio::test]
async fn a_program_starts_with_nothing_but_its_own() {
    let (isolation, _) = isolation().await;
    let bait = Bait::lay();
    let sandbox = bait.sandbox(&isolation).await;
    let script = "ls -l /proc/self/fd/ | grep -v -e total -e /proc/ -e /dev/null -e pipe; env | grep -v -e ^PATH= -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; \
                  readlink /proc/self/cwd /proc/self/root; grep -v -e ' /usr/' -e ' */lib' -e '\\[' -e ' 0 *$' /proc/self/maps; true";
    let (text, done) = output(&sandbox, script).await;
    assert_eq!((text.as_str(), done), ("/\n/\n", succeeded()));
}

/// A process that will not die by asking, and one that has left its session, are gone with the room.
#[tokio::test]
async fn nobody_survives_a_clear() {
    let (isolation, _) = isolation().await;
    let sandbox = soon(isolation.start(spec("survive"))).await.unwrap();
    let script = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; echo kept >/tmp/file; sleep 1000";
    soon(sandbox.run(crate::common::shell(script))).await.unwrap();
    let (listed, _) = output(&sandbox, "until [ -e /tmp/file ]; do :; done; ls /proc | grep -c '^[0-9]'").await;
    assert!(listed.trim().parse::<u32>().unwrap() >= 4, "{listed}");
    soon(sandbox.clear()).await.unwrap();
    assert_eq!(exit(&sandbox).await.status, sandbox::Status::Signal(libc::SIGKILL));
    // Only this shell, ls and cat are there; the file stayed.
    let (text, _) = output(&sandbox, "echo /proc/[0-9]*; cat /tmp/file").await;
    let mut words = text.split_whitespace();
    assert_eq!((words.next().is_some(), words.next()), (true, Some("kept")), "{text}");
}
