//! What the tests of this crate share: an isolation on the test's own runtime, and programs of the host's shell.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{BoxFuture, Spawn};
use sandbox::{Event, Exit, Features, Isolation, Program, Sandbox, Settings, Spec, Status};

pub const MIB: u64 = 1024 * 1024;

pub struct OnTokio;

impl Spawn for OnTokio {
    #[expect(clippy::disallowed_methods, reason = "this is where tasks start")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::task::spawn(task));
    }
}

pub fn settings() -> Settings {
    let binary = env!("CARGO_BIN_EXE_sandbox-spawner").into();
    // The machine's own switches stay as they are.
    Settings { binary, may_forward: false, ..Settings::default() }
}

pub async fn isolation() -> (Isolation, Features) {
    sandbox::processes(settings(), Arc::new(OnTokio)).await.expect("this host starts sandboxes")
}

/// The same for an ordinary user: who runs the tests, or nobody, if that is root.
pub async fn isolation_without_root() -> (Isolation, Features) {
    let nobody = rustix::process::geteuid().is_root().then_some(65_534);
    let settings = Settings { as_user: nobody, ..settings() };
    sandbox::processes(settings, Arc::new(OnTokio)).await.expect("this host starts sandboxes for users")
}

/// No walls, as whom. Only root may choose.
pub async fn bare(as_user: Option<u32>) -> (Isolation, Features) {
    let as_user = as_user.filter(|_| rustix::process::geteuid().is_root());
    sandbox::bare(Settings { as_user, ..settings() }, Arc::new(OnTokio)).await.expect("every host starts processes")
}

/// Nothing in these tests takes longer, unless it hangs.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes no half minute")
}

pub fn spec(name: &str) -> Spec {
    Spec::new(name, 256 * MIB)
}

pub fn shell(script: &str) -> Program {
    Program::new(["/bin/sh", "-c", script]).env("PATH", "/usr/bin:/bin").directory("/")
}

pub async fn exit(sandbox: &Sandbox) -> Exit {
    match soon(sandbox.event()).await {
        Event::Exited { exit, .. } => exit,
        Event::Gone => panic!("the sandbox is gone"),
    }
}

/// Runs a script and gives all that it wrote, with its exit.
pub async fn output(sandbox: &Sandbox, script: &str) -> (String, Exit) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let program = shell(script).grant(1, writer.try_clone().unwrap()).grant(2, writer);
    soon(sandbox.run(program)).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let text = soon(read).await.unwrap();
    (text, exit(sandbox).await)
}

/// Directories of the host as a sandbox sees them: readable by everybody.
pub fn public_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

pub fn succeeded() -> Exit {
    Exit { status: Status::Code(0), out_of_memory: false }
}

/// The spawner under a name of its own, and who runs by that name: it, its inits, and whoever leads it out.
pub struct Named {
    folder: tempfile::TempDir,
}

impl Named {
    pub fn make() -> (Named, Settings) {
        let named = Named { folder: public_folder() };
        std::os::unix::fs::symlink(settings().binary, named.path()).unwrap();
        let settings = Settings { binary: named.path(), ..settings() };
        (named, settings)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("spawner")
    }

    pub fn processes(&self) -> Vec<u32> {
        let name = self.path().into_os_string().into_encoded_bytes();
        let is_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next() == Some(&name)
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }
}
