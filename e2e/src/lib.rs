//! A running `lamp`, and the clients' tools, for tests that drive the real thing from outside.
//!
//! The binary is the one that was built beside the tests, or `$LAMP_BIN`. Tools that are not Rust's (a Python with
//! boto3 and the AWS CLI, Node.js packages, the Go client) are put in place by `cargo xtask tools`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long a start or an exit may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

/// A server of its own, on a free port. Dropping it kills it.
pub struct Lamp {
    child: Child,
    pub port: u16,
    pub dir: PathBuf,
    _owned_dir: Option<TempDir>,
}

impl Lamp {
    /// Starts on an empty directory.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Self {
        let dir = TempDir::new().expect("make a directory");
        let data = dir.path().join("data");
        let mut lamp = Self::start_on(&data, flags);
        lamp._owned_dir = Some(dir);
        lamp
    }

    /// Starts on a directory that is there already, or will be.
    pub fn start_on(dir: &Path, flags: &[&str]) -> Self {
        Self::start_in(dir, flags, &[])
    }

    /// Starts with further environment variables.
    pub fn start_in(dir: &Path, flags: &[&str], variables: &[(&str, &OsStr)]) -> Self {
        Self::spawn(Command::new(binary()), dir, flags, variables, Stdio::inherit())
    }

    /// Starts by a command that becomes the program whose name and arguments follow, such as `nsenter -m -t 7`.
    pub fn start_by(mut command: Command, dir: &Path, flags: &[&str]) -> Self {
        command.arg(binary());
        Self::spawn(command, dir, flags, &[], Stdio::inherit())
    }

    /// Starts with its log in a file.
    pub fn start_logging(dir: &Path, flags: &[&str], log: &Path) -> Self {
        Self::spawn(Command::new(binary()), dir, flags, &[], File::create(log).expect("create the log").into())
    }

    fn spawn(mut command: Command, dir: &Path, flags: &[&str], variables: &[(&str, &OsStr)], log: Stdio) -> Self {
        let mut child = command
            .env("LAMP_LOG_LEVEL", "warn")
            .args(["start", "--port", "0", "--data-dir"])
            .arg(dir)
            .args(flags)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("run lamp: build it first (`cargo build -p lamp`)");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let port =
            lines.by_ref().map_while(Result::ok).find_map(|line| port_in(&line)).expect("lamp says where it listens");
        // What else it prints must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, port, dir: dir.to_owned(), _owned_dir: None }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask after lamp")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to lamp");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill lamp");
        self.child.wait().expect("wait for lamp");
    }

    /// SIGTERM; true if it left with status 0.
    pub fn stop(&mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("run kill").success());
        wait_for("lamp leaves on SIGTERM", || self.child.try_wait().expect("wait for lamp")).success()
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn port_in(line: &str) -> Option<u16> {
    line.split_once("://").and_then(|(_, behind)| behind.trim().rsplit_once(':')?.1.parse().ok())
}

/// Polls until there is an answer, or fails with what was waited for.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if let Some(answer) = poll() {
            return answer;
        }
        std::thread::sleep(STEP);
    }
    panic!("gave up waiting: {what}");
}

/// Sends a request to the API, on a connection of its own, and gives all of its answer.
pub fn send(lamp: &Lamp, method: &str, path: &str, body: &str) -> String {
    answer(ask(lamp, method, path, body))
}

/// Sends it, and leaves it to the caller to wait.
pub fn ask(lamp: &Lamp, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = lamp.connect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("send the request");
    stream
}

/// Waits for the answer to what was asked.
pub fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    answer
}

/// Invokes a function, and gives the answer with its head.
pub fn invoke(lamp: &Lamp, function: &str, event: &str) -> String {
    send(lamp, "POST", &format!("/2015-03-31/functions/{function}/invocations"), event)
}

/// Makes a Python function of a file, with so many MB and a time-out in seconds.
pub fn make_python(lamp: &Lamp, name: &str, memory_mb: u32, timeout: u32, code: &Path) {
    let mut make = client(lamp, &python());
    make.arg(clients().join("python/make_function.py"));
    make.args([name, &memory_mb.to_string(), &timeout.to_string()]).arg(code);
    run(make);
}

/// The `lamp` under test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LAMP_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("know this test");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("lamp")
}

/// Where `cargo xtask tools` keeps what the clients need.
pub fn tools() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    of("LAMP_TOOLS").unwrap_or_else(|| {
        let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache"))).expect("HOME is set");
        cache.join("lamplight")
    })
}

/// The folder of the client programs.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A client program with the environment that a user would set: an endpoint, a key, a region, and nothing else.
pub fn client(lamp: &Lamp, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "TMPDIR")))
        .env("AWS_ENDPOINT_URL", lamp.endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("LAMP_BIN", binary());
    command
}

/// Runs a client to its end; fails with all that it said if it does not succeed.
pub fn run(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n--- stdout\n{stdout}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Terraform in a folder of its own with its AWS provider, against one server.
pub struct Terraform<'a> {
    lamp: &'a Lamp,
    dir: TempDir,
}

impl<'a> Terraform<'a> {
    /// Prepares a configuration, named below the clients' folder for Terraform. `None`, and a word about it, where
    /// Terraform is not installed; its provider is in a mirror on this machine or within reach.
    pub fn open(lamp: &'a Lamp, configuration: &str) -> Option<Self> {
        if Command::new("terraform").arg("version").output().is_err() {
            eprintln!("skipped: terraform is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(clients().join("terraform").join(configuration), dir.path().join("main.tf")).unwrap();
        let terraform = Self { lamp, dir };
        let mirror = terraform_mirror().map(|dir| format!("-plugin-dir={}", dir.display()));
        terraform.run("init", &[mirror.as_deref().unwrap_or("-upgrade=false")]);
        Some(terraform)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command of Terraform's; fails with what it said if that is not a success.
    pub fn run(&self, command: &str, arguments: &[&str]) -> String {
        self.quiet(command, &[&["-no-color", "-input=false"], arguments].concat())
    }

    pub fn output(&self, name: &str) -> String {
        self.quiet("output", &["-raw", name])
    }

    fn quiet(&self, command: &str, arguments: &[&str]) -> String {
        let mut terraform = client(self.lamp, Path::new("terraform"));
        terraform.arg(command).args(arguments).current_dir(self.dir());
        run(terraform)
    }
}

/// A folder with Terraform's AWS provider, where a distribution or an administrator puts one.
fn terraform_mirror() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let usual = [home.join(".terraform.d/plugins"), "/usr/local/share/terraform/plugins".into()];
    let optional = std::fs::read_dir("/opt").into_iter().flatten().flatten().map(|entry| entry.path());
    // A mirror has a folder for each source of providers.
    let has_provider = |dir: &PathBuf| {
        let mut sources = std::fs::read_dir(dir).into_iter().flatten().flatten();
        sources.any(|source| source.path().join("hashicorp/aws").exists())
    };
    usual.into_iter().chain(optional).find(has_provider)
}

/// The Python that has boto3.
pub fn python() -> PathBuf {
    tools().join("python/bin/python")
}

/// The AWS CLI.
pub fn aws_cli() -> PathBuf {
    tools().join("python/bin/aws")
}
