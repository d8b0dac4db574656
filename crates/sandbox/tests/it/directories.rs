//! Programs that are led to another directory while they wait: all their threads, and nothing else of them.

use std::path::Path;

use sandbox::{ImageError, Isolation, Mount, ProcessId, Sandbox, Status};

use crate::common::{exit, isolation, isolation_without_root, public_folder, shell, soon};
use crate::images::{errno, python, room, template, when_it_waits, works_here};

/// It has said that it is ready, and is on its way to wait.
async fn lead(sandbox: &Sandbox, process: ProcessId, directory: &str) -> Result<(), ImageError> {
    when_it_waits(|| sandbox.go_to(process, Path::new(directory))).await
}

/// Two threads, of which the second says where it is.
const TWO: &str = "
import threading, queue
asked, told = queue.Queue(), queue.Queue()
def second():
    while True:
        asked.get()
        told.put(os.getcwd())
threading.Thread(target=second, daemon=True).start()
def where():
    asked.put(1)
    return [os.getcwd(), told.get(), sorted(os.listdir('.'))]
";

async fn goes_there(isolation: &Isolation) {
    let folder = public_folder();
    std::fs::write(folder.path().join("late"), "").unwrap();
    let mut running = template(room(isolation).await, python(TWO)).await;
    assert!(running.say("where()").await.starts_with("['/', '/', ["));
    let (sandbox, process) = (&running.sandbox, running.process);
    lead(sandbox, process, "/var/task").await.unwrap();
    assert_eq!(running.say("where()").await, "['/var/task', '/var/task', []]");
    // What is mounted where it is, it does not see, until it is led there again.
    let mount = Mount { host: folder.path().to_owned(), inside: "/var/task".into() };
    soon(running.sandbox.mount(vec![mount])).await.unwrap();
    assert_eq!(running.say("where()").await, "['/var/task', '/var/task', []]");
    for _ in 0..3 {
        lead(&running.sandbox, process, "/var/task").await.unwrap();
        assert_eq!(running.say("where()").await, "['/var/task', '/var/task', ['late']]");
    }
    // Where it cannot go it does not, and is as well as before.
    let long = "/x".repeat(600);
    for (directory, why) in [("/nowhere", libc::ENOENT), ("/var/task/late", libc::ENOTDIR), (&long, libc::ENAMETOOLONG)]
    {
        let refused = lead(&running.sandbox, process, directory).await.unwrap_err();
        assert_eq!(errno(&refused), Some(why), "{refused:?}");
        assert_eq!(running.say("where()").await, "['/var/task', '/var/task', ['late']]");
    }
    running.sandbox.signal(process, libc::SIGTERM).unwrap();
    assert_eq!(exit(&running.sandbox).await.status, Status::Signal(libc::SIGTERM));
    let refused = lead(&running.sandbox, process, "/").await.unwrap_err();
    assert_eq!(errno(&refused), Some(libc::ESRCH), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_led_to_what_was_mounted_after_it_started() {
    if works_here() {
        goes_there(&isolation().await.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_led_to_what_was_mounted_after_it_started_without_root() {
    if works_here() {
        goes_there(&isolation_without_root().await.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_is_left_alone() {
    if !works_here() {
        return;
    }
    let sandbox = room(&isolation().await.0).await;
    let process = soon(sandbox.run(shell("while :; do :; done"))).await.unwrap();
    for _ in 0..20 {
        let refused = soon(sandbox.go_to(process, Path::new("/tmp"))).await.unwrap_err();
        assert_eq!(errno(&refused), Some(libc::EAGAIN), "{refused:?}");
    }
    sandbox.signal(process, libc::SIGTERM).unwrap();
    assert_eq!(exit(&sandbox).await.status, Status::Signal(libc::SIGTERM));
}
