//! Images of programs with several threads, each of which is who it was, and of those that have none.

use std::path::Path;
use std::process::Command;

use sandbox::{Image, ImageError, Isolation, Mount, Program, RunError, Sandbox, Spec, Status};

use crate::common::{exit, isolation, isolation_without_root, public_folder, shell, soon, spec};
use crate::images::{Running, resume_in, take, template, works_here};
use crate::images_attacked::{fail, leave_nothing};

/// A folder with the program and the file that it keeps open.
fn build() -> tempfile::TempDir {
    let folder = public_folder();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/threads.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-w", "-pthread", "-o"]).arg(folder.path().join("threads")).arg(source);
    assert!(compiler.status().expect("a C compiler is there").success());
    std::fs::write(folder.path().join("data"), "data of the program").unwrap();
    folder
}

fn spec_with(folder: &Path) -> Spec {
    let mounts = vec![Mount { host: folder.to_owned(), inside: "/var/task".into() }];
    Spec { mounts, ..spec("threads") }
}

async fn room(isolation: &Isolation, folder: &Path) -> Sandbox {
    soon(isolation.start(spec_with(folder))).await.unwrap()
}

fn program() -> Program {
    Program::new(["/var/task/threads"]).directory("/")
}

async fn clone(isolation: &Isolation, folder: &Path, image: &Image) -> Result<Running, ImageError> {
    resume_in(room(isolation, folder).await, image, program()).await
}

async fn threads_go_on(isolation: &Isolation) {
    let folder = build();
    let mut first = template(room(isolation, folder.path()).await, program()).await;
    assert_eq!(first.say("x").await, "1 all well");
    let image = take(&first).await.unwrap();
    assert_eq!(image.descriptors(), [0, 1, 2, 3, 4]);
    // It is well, and an image of it can be taken again.
    assert_eq!(first.say("x").await, "2 all well");
    let again = take(&first).await.unwrap();
    assert_eq!(first.say("x").await, "3 all well");
    drop(first);
    for (image, rounds) in [(&image, 1), (&again, 2), (&image, 1)] {
        let mut clone = clone(isolation, folder.path(), image).await.unwrap();
        for more in 1..4 {
            assert_eq!(clone.say("x").await, format!("{} all well", rounds + more));
        }
        // And one of those who began with it.
        let image = take(&clone).await.unwrap();
        let mut second = self::clone(isolation, folder.path(), &image).await.unwrap();
        assert_eq!(second.say("x").await, format!("{} all well", rounds + 4));
        let learnt = soon(second.sandbox.learn(&image, second.process)).await.unwrap();
        let mut third = self::clone(isolation, folder.path(), &learnt).await.unwrap();
        assert_eq!(third.say("x").await, format!("{} all well", rounds + 4));
        third.sandbox.signal(third.process, libc::SIGTERM).unwrap();
        assert_eq!(exit(&third.sandbox).await.status, Status::Signal(libc::SIGTERM));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_go_on_where_others_were() {
    if works_here() {
        threads_go_on(&isolation().await.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_go_on_where_others_were_without_root() {
    if works_here() {
        threads_go_on(&isolation_without_root().await.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_threads_leave_nothing() {
    if works_here() {
        let folder = build();
        leave_nothing(&|| (spec_with(folder.path()), program()), ("x", "1 all well")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_fail_leave_nothing() {
    if works_here() {
        let folder = build();
        fail(&|| (spec_with(folder.path()), program()), 35).await;
    }
}

/// Threads have their numbers or there is no clone, and files their contents.
#[tokio::test(flavor = "multi_thread")]
async fn threads_want_their_numbers_and_files() {
    if !works_here() {
        return;
    }
    let (isolation, _) = isolation().await;
    let folder = build();
    let image = take(&template(room(&isolation, folder.path()).await, program()).await).await.unwrap();
    let used = room(&isolation, folder.path()).await;
    soon(used.run(shell("exit 0"))).await.unwrap();
    exit(&used).await;
    let error = resume_in(used, &image, program()).await.map(drop).unwrap_err();
    assert!(matches!(error, ImageError::Run(RunError::Exec(_))), "{error:?}");

    let other = build();
    let refused = clone(&isolation, other.path(), &image).await.map(drop).unwrap_err();
    assert!(matches!(&refused, ImageError::Step { step, .. } if step == "find the same files"), "{refused:?}");
    std::fs::remove_file(other.path().join("data")).unwrap();
    assert!(clone(&isolation, other.path(), &image).await.is_err());

    let nowhere = image.in_directory("/nowhere");
    let refused = clone(&isolation, folder.path(), &nowhere).await.map(drop).unwrap_err();
    assert!(matches!(&refused, ImageError::Step { step, .. } if step.contains("directory")), "{refused:?}");
    let mut fine = clone(&isolation, folder.path(), &image.in_directory("/var/task")).await.unwrap();
    assert_eq!(fine.say("x").await, "1 all well");
}
