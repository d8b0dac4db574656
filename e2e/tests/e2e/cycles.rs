//! Instances come and go by the thousand, with everything that is made ahead: nothing of them is left, neither while the server
//! runs nor when it has stopped, and its memory stays what it was.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use e2e::{Lamp, client, clients, python, run, send, wait_for};
use serde_json::{Value, json};

/// Its import is harmless, so that each release of it gets a template.
const FUNCTION: &str = "
import json, os, time
def handler(event, context):
    with open('/tmp/own', 'a') as file:
        file.write('x')
    if 'for' in event:
        return time.sleep(event['for']) or os.path.getsize('/tmp/own')
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.connect(('192.0.2.1', 9))
        except OSError:
            return [os.environ['RELEASE'], os.path.getsize('/tmp/own'), None]
        return [os.environ['RELEASE'], os.path.getsize('/tmp/own'), udp.getsockname()[0]]
";

/// Each starts two instances and ends those of the release before.
fn cycles() -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { 500 } else { 20 }
}

/// Cycles after which all that is held ready is there, and buffers are as large as they get.
const FIRST: usize = 10;

/// Where the addresses of sandboxes begin: two for each device.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// What the server may grow by: its allocator keeps what it once had.
const GROWTH_KB_MAX: u64 = 24 * 1024;

fn ask(lamp: &Lamp, method: &str, path: &str, body: &str) -> String {
    let answer = send(lamp, method, path, body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

/// A new release, and two instances of it at once: one that is made, and one that may begin with its template. The number of
/// the first one's network device, if it has one.
fn cycle(lamp: &Lamp, number: usize) -> Option<u32> {
    let variables = format!(r#"{{"Environment": {{"Variables": {{"RELEASE": "{number}"}}}}}}"#);
    ask(lamp, "PUT", "/2015-03-31/functions/probe/configuration", &variables);
    let invoke = |event: &str| ask(lamp, "POST", "/2015-03-31/functions/probe/invocations", event);
    let first: Value = serde_json::from_str(&invoke("{}")).expect("it answers");
    assert_eq!((&first[0], &first[1]), (&json!(number.to_string()), &json!(1)), "it is new");
    sleep(Duration::from_millis(150));
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| invoke(r#"{"for": 0.1}"#)));
        let mut answers = both.map(|one| one.join().expect("it answers"));
        answers.sort();
        assert_eq!(answers, ["1", "2"], "one each, and nobody else's file");
    });
    let address: Ipv4Addr = first[2].as_str()?.parse().expect("an address");
    Some((address.to_bits() - FIRST_ADDRESS.to_bits()) / 2)
}

/// All descendants, by their parents.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("list processes").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        let more = children.remove(parent).unwrap_or_default();
        found.extend(more);
        at += 1;
    }
    found.split_off(1)
}

fn entries(folder: impl AsRef<Path>) -> usize {
    std::fs::read_dir(folder).into_iter().flatten().flatten().count()
}

/// Groups on this host whose name says that they are of this process.
fn groups_of(pid: u32) -> usize {
    let mut count = 0;
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                count += usize::from(entry.path().to_string_lossy().contains(&format!("-{pid}-")));
                folders.push(entry.path());
            }
        }
    }
    count
}

/// Network namespaces that others give a name are none of ours.
fn mounts(pid: &str) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    table.lines().filter(|line| !line.contains("/run/netns")).count()
}

/// Those of sandboxes. A server counts up, so that it has those from its first to its last, and others have others.
fn devices() -> Vec<u32> {
    let names = std::fs::read_dir("/sys/class/net").expect("list network devices").flatten();
    names.filter_map(|entry| u32::from_str_radix(entry.file_name().to_str()?.strip_prefix("lmp")?, 16).ok()).collect()
}

/// Its own, and that of the images that it or the process that starts sandboxes holds.
fn memory_kb(lamp: &Lamp, spawner: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", lamp.pid())).expect("read lamp's status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel counts memory");
    let own: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    let mut images = BTreeMap::new();
    for pid in [lamp.pid(), spawner] {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let is_image = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"));
            if is_image && let Ok(file) = std::fs::metadata(entry.path()) {
                images.insert(file.ino(), file.blocks() / 2);
            }
        }
    }
    own + images.values().sum::<u64>()
}

/// What a server and the process that starts its sandboxes hold.
#[derive(Debug, Clone, Copy)]
struct Held {
    processes: usize,
    groups: usize,
    mounts: usize,
    files: usize,
    spawner_files: usize,
    folders: usize,
}

impl Held {
    fn by(lamp: &Lamp, spawner: u32) -> Held {
        let boots = std::fs::read_dir(lamp.dir.join("cache/code")).into_iter().flatten().flatten();
        Held {
            processes: descendants(lamp.pid()).len(),
            groups: groups_of(spawner),
            mounts: mounts(&spawner.to_string()),
            files: entries(format!("/proc/{}/fd", lamp.pid())),
            spawner_files: entries(format!("/proc/{spawner}/fd")),
            folders: boots.map(|boot| entries(boot.path().join("trees")) + entries(boot.path().join("tmp"))).sum(),
        }
    }

    /// What waits to be used comes and goes, by a room of each kind or two.
    fn is_like(&self, before: &Held) -> bool {
        self.processes <= before.processes + 6
            && self.groups <= before.groups + 24
            && self.mounts <= before.mounts + 2
            && self.files <= before.files + 40
            && self.spawner_files <= before.spawner_files + 16
            && self.folders <= before.folders + 1
    }
}

#[test]
fn instances_that_come_and_go_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    let host_mounts = mounts("self");
    let mut lamp = Lamp::start_on(&dir.path().join("data"), &[]);
    let mut make = client(&lamp, &python());
    make.arg(clients().join("python/make_function.py")).args(["probe", "128", "20"]).arg(&code);
    run(make);
    let spawner = *descendants(lamp.pid()).first().expect("a process that starts sandboxes");

    let mut own_devices = Vec::new();
    for number in 0..FIRST {
        own_devices.extend(cycle(&lamp, number));
    }
    sleep(Duration::from_millis(500));
    let (before, memory) = (Held::by(&lamp, spawner), memory_kb(&lamp, spawner));
    assert!(before.processes > 1 && before.groups > 0, "it is looked at the wrong way: {before:?}");
    for number in FIRST..FIRST + cycles() {
        own_devices.extend(cycle(&lamp, number));
    }
    wait_for("nothing more is held than after the first", || Held::by(&lamp, spawner).is_like(&before).then_some(()));
    let now = memory_kb(&lamp, spawner);
    println!("{before:?}, {memory} kB; then {:?}, {now} kB", Held::by(&lamp, spawner));
    assert!(now <= memory + GROWTH_KB_MAX, "the server grew from {memory} kB to {now} kB");

    let all = descendants(lamp.pid());
    assert!(lamp.stop(), "it leaves in peace");
    let is_alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    wait_for("no process is left", || (!all.iter().any(is_alive)).then_some(()));
    wait_for("no group is left", || (groups_of(spawner) == 0).then_some(()));
    wait_for("no mount is left", || (mounts("self") <= host_mounts).then_some(()));
    let is_own = |device: &u32| own_devices.iter().any(|own| own.abs_diff(*device) <= 4);
    wait_for("no network device is left", || (!devices().iter().any(is_own)).then_some(()));
    let made = Command::new("find").arg(lamp.dir.join("cache")).args(["-name", "tmp", "-not", "-empty"]).output();
    assert_eq!(String::from_utf8_lossy(&made.expect("run find").stdout), "", "nothing half made is left");
}

/// The runtimes below a server, those that wait for a function among them, and files that were prepared of code.
fn made_ahead(lamp: &Lamp) -> (usize, usize) {
    let is_runtime = |pid: &&u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("/var/runtime/bootstrap")
    };
    let boots = std::fs::read_dir(lamp.dir.join("cache/code")).into_iter().flatten().flatten();
    let trees = boots.flat_map(|boot| std::fs::read_dir(boot.path().join("trees")).into_iter().flatten().flatten());
    let prepared = trees.filter(|tree| tree.file_name().to_string_lossy().starts_with("p-"));
    (descendants(lamp.pid()).iter().filter(is_runtime).count(), prepared.count())
}

#[test]
fn strict_isolation_does_without_all_that_is_made_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("app.py");
    std::fs::write(&code, FUNCTION).unwrap();
    for isolation in ["process", "strict"] {
        let lamp = Lamp::start_on(&dir.path().join(isolation), &["--isolation", isolation]);
        let mut make = client(&lamp, &python());
        make.arg(clients().join("python/make_function.py")).args(["probe", "128", "20"]).arg(&code);
        run(make);
        cycle(&lamp, 1);
        if isolation == "process" {
            // Two instances, what waits for others, and compiled code.
            wait_for("it is made ahead", || {
                let (runtimes, prepared) = made_ahead(&lamp);
                (runtimes > 2 && prepared > 0).then_some(())
            });
        } else {
            sleep(Duration::from_secs(1));
            assert_eq!(made_ahead(&lamp), (2, 0));
        }
    }
}
