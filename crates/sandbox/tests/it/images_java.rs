//! Images of a Java virtual machine: a program of many threads, none of which notices.

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{Image, Isolation, Mount, Program, Sandbox, Spec, Status};

use crate::common::{MIB, exit, isolation, isolation_without_root, public_folder, soon, spec};
use crate::images::{Running, resume_in, take, template};

/// Every JDK of this machine.
fn machines() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut homes: Vec<PathBuf> =
        folders.filter(|home| home.join("bin/javac").exists()).filter_map(|home| home.canonicalize().ok()).collect();
    homes.sort();
    homes.dedup();
    if homes.is_empty() || !cfg!(target_arch = "x86_64") {
        println!("skipped: no JDK in /usr/lib/jvm, or images are not made of programs of this architecture");
        homes.clear();
    }
    homes
}

struct Java {
    home: PathBuf,
    classes: tempfile::TempDir,
}

impl Java {
    fn new(home: PathBuf) -> Java {
        let classes = public_folder();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/Talk.java");
        let mut command = Command::new(home.join("bin/javac"));
        assert!(command.arg("-d").arg(classes.path()).arg(source).status().unwrap().success());
        Java { home, classes }
    }

    fn spec(&self) -> Spec {
        let mut spec = spec("java");
        spec.limits = Spec::new("java", 512 * MIB).limits;
        spec.mounts = vec![Mount { host: self.classes.path().to_owned(), inside: "/var/task".into() }];
        spec
    }

    fn program(&self) -> Program {
        let java = self.home.join("bin/java");
        let words = [
            java.to_str().unwrap(),
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Xshare:auto",
            "-Xmx128m",
            "--add-opens=java.base/java.io=ALL-UNNAMED",
            "-cp",
            "/var/task",
            "Talk",
        ];
        Program::new(words).env("TOLD", "before").directory("/")
    }

    async fn room(&self, isolation: &Isolation) -> Sandbox {
        soon(isolation.start(self.spec())).await.unwrap()
    }

    async fn template(&self, isolation: &Isolation) -> Running {
        template(self.room(isolation).await, self.program()).await
    }

    async fn clone(&self, isolation: &Isolation, image: &Image) -> Running {
        resume_in(self.room(isolation).await, image, self.waiting()).await.unwrap()
    }

    /// Runs not one instruction.
    fn waiting(&self) -> Program {
        Program::new([self.home.join("bin/java").to_str().unwrap()]).directory("/")
    }
}

async fn goes_on(isolation: &Isolation, home: &Path) {
    let java = Java::new(home.to_owned());
    let mut first = java.template(isolation).await;
    assert_eq!(first.say("said").await, "1 100 1077");
    let image = take(&first).await.unwrap();
    assert_eq!(first.say("ticks").await, "true");
    let names = first.say("names").await;
    let mut drawn = Vec::new();
    for directory in ["/", "/var/task"] {
        let mut clone = java.clone(isolation, &image.in_directory(directory)).await;
        assert_eq!(clone.say("said").await, "2 100 1077");
        // Compilers come and go.
        let here = clone.say("names").await;
        for name in names.split(',').filter(|name| !name.starts_with("C1") && !name.starts_with("Sweeper")) {
            assert_eq!(here.matches(name).count(), names.matches(name).count(), "{here} {names}");
        }
        assert_eq!(clone.say("where").await, format!("{directory} 2 java before"));
        drawn.push(clone.say("random").await);
        let answers = [
            ("ticks", "true"),
            ("pool", "pool-1-thread-1 pool-1-thread-2 pool-1-thread-3"),
            ("null", "caught"),
            ("deep", "caught"),
            ("gc", "collected 1000000"),
            ("hot", "true"),
            ("threads", "20"),
            ("sleep", "true"),
            ("process", "0"),
            ("gc", "collected 1000000"),
            ("classes", "java.util.zip.CRC32C 0003.142 +02:00"),
        ];
        for (word, answer) in answers {
            assert_eq!(clone.say(word).await, answer, "{word}");
        }
        assert_eq!(clone.say("exit").await, "bye");
        assert_eq!(exit(&clone.sandbox).await.status, Status::Code(7));
    }
    assert_ne!(drawn[0], drawn[1]);
    // Whoever ends it from outside is heard by a thread of its own.
    let mut clone = java.clone(isolation, &image).await;
    clone.sandbox.signal(clone.process, libc::SIGTERM).unwrap();
    assert_eq!(clone.hear().await, "bye");
    assert_eq!(exit(&clone.sandbox).await.status, Status::Code(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_machine_goes_on_where_another_was() {
    for home in machines() {
        goes_on(&isolation().await.0, &home).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_machine_goes_on_where_another_was_without_root() {
    for home in machines() {
        goes_on(&isolation_without_root().await.0, &home).await;
    }
}
