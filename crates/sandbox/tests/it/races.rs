//! S2: directories that are not what they were a moment ago, or that are full of links, while sandboxes are made of
//! them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sandbox::{Isolation, Mount, StartError};

use crate::common::{isolation, isolation_without_root, output, public_folder, soon, spec, succeeded};

/// Starts: ten thousand at full length.
fn starts() -> usize {
    if std::env::var_os("LAMP_TORTURE").is_some() { 10_000 } else { 60 }
}

/// Exchanges two names as fast as it can until it is dropped.
struct Swapper {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapper {
    fn start(one: &Path, other: &Path) -> Swapper {
        let (is_over, one, other) = (Arc::new(AtomicBool::new(false)), one.to_owned(), other.to_owned());
        let done = Arc::clone(&is_over);
        let swap = move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                count += 1;
                std::thread::yield_now();
            }
            count
        };
        Swapper { is_over, thread: Some(std::thread::spawn(swap)) }
    }

    fn stop(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// A directory that is now and then a link to one that nobody may see.
async fn swapped_directories_lead_nowhere_else(isolation: &Isolation) {
    let folder = public_folder();
    let (code, link, secret) = (folder.path().join("code"), folder.path().join("link"), folder.path().join("secret"));
    for (at, content) in [(&code, "code"), (&secret, "secret")] {
        std::fs::create_dir(at).unwrap();
        std::fs::write(at.join("file"), content).unwrap();
    }
    symlink(&secret, &link).unwrap();
    let swapper = Swapper::start(&code, &link);
    let (mut refused, mut shown) = (0, 0);
    for round in 0..starts() {
        let mut wanted = spec("swapped");
        let mount = Mount { host: code.clone(), inside: "/var/task".into() };
        wanted.mounts = if round % 2 == 0 { vec![mount.clone()] } else { Vec::new() };
        let started = soon(isolation.start(wanted)).await;
        let sandbox = match started {
            Ok(sandbox) => sandbox,
            Err(StartError::Step { .. }) => {
                refused += 1;
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        if round % 2 == 1 && soon(sandbox.mount(vec![mount])).await.is_err() {
            refused += 1;
            // Nothing was mounted half-way, and the room is as good as before.
            assert_eq!(output(&sandbox, "ls /var/task").await, (String::new(), succeeded()));
        } else {
            shown += 1;
            assert_eq!(output(&sandbox, "cat /var/task/file").await, ("code".to_owned(), succeeded()));
        }
        soon(sandbox.kill()).await;
    }
    let swaps = swapper.stop();
    println!("{shown} starts, {refused} refused, {swaps} swaps");
    assert!(swaps > 0 && shown > 0 && refused > 0, "{swaps} swaps, {shown} starts, {refused} refused: it was no race");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_swapped_for_a_link_is_refused() {
    swapped_directories_lead_nowhere_else(&isolation().await.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_swapped_for_a_link_is_refused_without_root() {
    swapped_directories_lead_nowhere_else(&isolation_without_root().await.0).await;
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: a root full of links, and names of what a sandbox mounts itself. All
/// that lies below the places for it, and resolves inside.
#[tokio::test]
async fn a_layer_full_of_links_covers_nothing_and_leads_nowhere() {
    let host = public_folder();
    std::fs::write(host.path().join("canary"), "secret").unwrap();
    let layer = public_folder();
    let canary = host.path().join("canary");
    let link = |target: &Path, name: &str| symlink(target, layer.path().join(name)).unwrap();
    for name in ["dev", "proc", "tmp", "var", "etc", "usr", "task", "lang"] {
        link(host.path(), name);
    }
    link(&canary, "canary");
    link(Path::new("/proc/1/root"), "init");
    link(Path::new("/proc/self/fd"), "descriptors");
    link(Path::new("../../../../../../../../../.."), "above");
    let (isolation, _) = isolation().await;
    let mut wanted = spec("links");
    wanted.mounts = ["/opt", "/var/task", "/var/lang", "/var/runtime"]
        .map(|inside| Mount { host: layer.path().to_owned(), inside: inside.into() })
        .into();
    let sandbox = soon(isolation.start(wanted)).await.unwrap();
    let script = format!(
        "cat /opt/canary /opt/dev/canary /opt/init/root /opt/above{0} /var/task/tmp/canary 2>/dev/null; \
         (echo x >/opt/descriptors/9) 2>/dev/null && echo BAD; (echo x >/opt/above/etc/passwd) 2>/dev/null && echo BAD; \
         test -c /dev/null && echo x >/dev/null && cat /dev/null && test -r /proc/self/stat && echo x >/tmp/x && \
         cat /proc/keys /proc/cmdline && echo fine",
        canary.display()
    );
    let (text, done) = output(&sandbox, &script).await;
    assert_eq!((text.as_str(), done), ("fine\n", succeeded()));
    assert_eq!(std::fs::read_to_string(canary).unwrap(), "secret");
}
