//! The servers that are measured: ours, the limit, and the peers; each a process of its own on a free port.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::{Clock, Secret, SystemClock, hex};
use http::{HeaderMap, HeaderValue, Method};
use ring::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use wire::sigv4::{Head, Signer, sign};

use crate::functions::{self, Function, MEMORY_MB};
use crate::load::Client;

/// A server is idle that has used no more than so much of a processor for so long.
const IDLE_FOR: Duration = Duration::from_millis(250);
const IDLE_TICKS_MAX: u64 = 1;

/// Where a running server is, and what goes with it.
pub struct Peer {
    pub name: &'static str,
    pub port: u16,
    child: Child,
    _dir: Option<TempDir>,
}

impl Peer {
    pub fn lamp() -> Result<Self> {
        let dir = TempDir::new()?;
        let mut lamp = Self::lamp_on(&dir.path().join("data"))?;
        lamp._dir = Some(dir);
        Ok(lamp)
    }

    pub fn lamp_on(dir: &Path) -> Result<Self> {
        let mut command = Command::new(lamp_binary()?);
        command.args(["start", "--port", "0", "--log-level", "warn", "--data-dir"]).arg(dir);
        Self::announced("lamp", command)
    }

    /// One with these options that writes the log that it writes unless it is told otherwise, functions' lines included,
    /// to nowhere.
    pub fn lamp_with(options: &[&str]) -> Result<Self> {
        Self::lamp_by(Command::new(lamp_binary()?), options)
    }

    /// The same in a control group, given as its folder.
    pub fn lamp_within(group: &Path, options: &[&str]) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]).arg(group).arg(lamp_binary()?);
        Self::lamp_by(command, options)
    }

    fn lamp_by(mut command: Command, options: &[&str]) -> Result<Self> {
        let dir = TempDir::new()?;
        command.args(["start", "--port", "0", "--data-dir"]).arg(dir.path().join("data")).args(options);
        command.stderr(Stdio::null());
        let mut lamp = Self::announced("lamp", command)?;
        lamp._dir = Some(dir);
        Ok(lamp)
    }

    pub fn floor() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor");
        Self::announced("raw hyper", command)
    }

    /// The limit for functions in `language`.
    pub fn ceiling(language: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["ceiling", language]);
        Self::announced("ceiling", command)
    }

    /// Serves functions that are declared in `dir/serverless.yml`.
    pub fn serverless_offline(dir: &Path) -> Result<Self> {
        let (port, other) = (free_port()?, free_port()?);
        let mut command = Command::new(tools()?.join("peers-node/node_modules/.bin/osls"));
        let ports = [format!("--lambdaPort={port}"), format!("--httpPort={other}")];
        command.arg("offline").args(ports).args(["--noPrependStageInUrl", "--terminateIdleLambdaTime=3600"]);
        command.env("SLS_TELEMETRY_DISABLED", "1").env("SLS_NOTIFICATIONS_MODE", "off");
        Self::quiet_in("serverless-offline", command, port, dir)
    }

    pub fn functions_framework_python(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tools()?.join("peers/bin/functions-framework"));
        command.args(["--target=handler", "--source=framework.py", &format!("--port={port}")]);
        Self::quiet_in("functions-framework", command, port, dir)
    }

    pub fn functions_framework_node(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tools()?.join("peers-node/node_modules/.bin/functions-framework"));
        command.args(["--target=handler", "--source=framework.js", &format!("--port={port}")]);
        Self::quiet_in("functions-framework", command, port, dir)
    }

    pub fn workerd(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tools()?.join("peers-node/node_modules/.bin/workerd"));
        command.args(["serve", "worker.capnp", &format!("--socket-addr=http=127.0.0.1:{port}")]);
        Self::quiet_in("workerd", command, port, dir)
    }

    pub fn ministack() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tools()?.join("peers/bin/ministack"));
        command.env("GATEWAY_PORT", port.to_string()).env("LOG_LEVEL", "ERROR");
        Self::quiet("MiniStack", command, port)
    }

    pub fn moto() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tools()?.join("peers/bin/moto_server"));
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        Self::quiet("moto", command, port)
    }

    /// Starts a server that prints its address.
    fn announced(name: &'static str, mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start a server")?;
        let mut lines = BufReader::new(child.stdout.take().context("read a server's output")?).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_once("://").and_then(|(_, behind)| behind.trim().rsplit_once(':')?.1.parse().ok())
        });
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { name, port: port.context("learn a server's port")?, child, _dir: None })
    }

    /// Starts a server that is told its port.
    fn quiet(name: &'static str, command: Command, port: u16) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut peer = Self::quiet_in(name, command, port, dir.path())?;
        peer._dir = Some(dir);
        Ok(peer)
    }

    fn quiet_in(name: &'static str, mut command: Command, port: u16, dir: &Path) -> Result<Self> {
        command.current_dir(dir).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        // It costs a Node.js 100 ms at each start.
        command.env_remove("NODE_EXTRA_CA_CERTS").env("PATH", functions::path()?).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let peer = Self { name, port, child: child.with_context(|| format!("start {name}"))?, _dir: None };
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(peer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("start {name}: it does not listen");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has nothing left to do: until its processor time stands still.
    pub fn wait_until_idle(&self, at_most: Duration) -> Result<()> {
        let looks = at_most.as_millis() / IDLE_FOR.as_millis();
        let mut before = self.processor_ticks()?;
        for _ in 0..looks {
            std::thread::sleep(IDLE_FOR);
            let now = self.processor_ticks()?;
            if now - before <= IDLE_TICKS_MAX {
                return Ok(());
            }
            before = now;
        }
        bail!("wait for {}: it does not come to rest", self.name);
    }

    /// What its first process has used, in ticks of ten milliseconds.
    fn processor_ticks(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // Behind the program's name, which may have blanks: user and system are the 12th and 13th.
        let (_, behind) = stat.rsplit_once(')').context("read a process's times")?;
        let ticks = behind.split_whitespace().skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?));
        ticks.sum()
    }

    /// Ends it as an operator does, and waits until it has closed what it keeps.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("name a server's process")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("stop {}", self.name))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("stop {}: it ended with {status}", self.name);
        }
        Ok(())
    }

    /// Makes the function that is read and written, with boto3.
    pub fn prepare(&self) -> Result<()> {
        let output = Command::new(tools()?.join("python/bin/python"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("prepare.py"))
            .arg(format!("http://127.0.0.1:{}", self.port))
            .output()?;
        if !output.status.success() {
            bail!("prepare {}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Creates a function, `number` of those with this code.
    pub fn create(&self, function: &Function, name: &str, number: u32) -> Result<()> {
        self.create_sized(function, name, number, MEMORY_MB)
    }

    /// The same with so much memory.
    pub fn create_sized(&self, function: &Function, name: &str, number: u32, memory_mb: u32) -> Result<()> {
        let body = function.create(name, number, memory_mb)?.replace("000000000000", self.account());
        let request = self.signed(Method::POST, "/2015-03-31/functions", &body)?;
        let answer = Client::new(self.port)?.send(&request)?;
        answer.check().with_context(|| format!("create {name} on {}", self.name))?;
        self.wait_until_active(name)
    }

    /// The account that everybody is in.
    pub fn account(&self) -> &'static str {
        if self.name == "moto" { "123456789012" } else { "000000000000" }
    }

    fn wait_until_active(&self, name: &str) -> Result<()> {
        let request = self.signed(Method::GET, &format!("/2015-03-31/functions/{name}/configuration"), "")?;
        let mut client = Client::new(self.port)?;
        for _ in 0..1000 {
            let answer = client.send(&request)?;
            answer.check()?;
            if answer.body.windows(8).any(|window| window == b"\"Active\"") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("create {name} on {}: it does not become active", self.name);
    }

    /// A signed request to Lambda as a client sends it, byte for byte; good for fifteen minutes.
    pub fn signed(&self, method: Method, path: &str, body: &str) -> Result<Vec<u8>> {
        self.signed_with(HeaderMap::new(), method, path, body)
    }

    /// The same with more headers.
    pub fn signed_with(&self, headers: HeaderMap, method: Method, path: &str, body: &str) -> Result<Vec<u8>> {
        signed(self.port, headers, method, path, body)
    }
}

/// A signed request to Lambda on the server at a port.
pub fn signed(port: u16, headers: HeaderMap, method: Method, path: &str, body: &str) -> Result<Vec<u8>> {
    signed_for("lambda", port, headers, method, path, body)
}

/// A signed request to a service, which `headers` say the type of content of unless it is JSON.
pub fn signed_for(
    service: &str,
    port: u16,
    mut headers: HeaderMap,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Vec<u8>> {
    if !body.is_empty() {
        headers.entry("content-type").or_insert(HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from(body.len()));
    }
    let secret = Secret::new("test".to_owned());
    let signer = Signer {
        access_key_id: "test",
        secret_access_key: &secret,
        session_token: None,
        region: "us-east-1",
        service,
        now: SystemClock.now(),
    };
    let host = format!("127.0.0.1:{port}");
    let head = Head { method: method.as_str(), path, query: "", host: &host, headers: &headers };
    let payload = hex::encode(digest(&SHA256, body.as_bytes()).as_ref());
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in &sign(&signer, &head, &payload)? {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.as_bytes());
    Ok(request)
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A peer's group has what it started; ours ends with its server.
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The optimised `lamp` beside this program.
pub fn lamp_binary() -> Result<PathBuf> {
    let lamp = std::env::current_exe()?.with_file_name("lamp");
    if !lamp.exists() {
        bail!("find {}: run `cargo xtask bench`", lamp.display());
    }
    Ok(lamp)
}

/// Where `cargo xtask tools` keeps the peers.
pub fn tools() -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    of("LAMP_TOOLS").or_else(|| Some(cache?.join("lamplight"))).context("find the tools: set LAMP_TOOLS, or HOME")
}
