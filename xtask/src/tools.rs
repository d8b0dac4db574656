//! Puts what tests drive or compare with in place: a Python with boto3 and the AWS CLI, the last botocore that spoke
//! SQS's Query protocol, Node.js packages, the Go client. What is there already is left alone; a changed pin installs anew.
//!
//! Everything lands below `$LAMP_TOOLS`, or `~/.cache/lamplight`, outside the checkout, so that a fresh clone on a
//! kept machine starts warm.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::functions::{FUNCTIONS, SLOW_FUNCTIONS};

/// Where the tools are.
pub fn dir() -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = of("LAMP_TOOLS") {
        return Ok(dir);
    }
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    Ok(cache.context("find a place for the tools: set LAMP_TOOLS, or HOME")?.join("lamplight"))
}

/// One set of tools: where it goes, what decides whether it is current, and how it is made.
pub struct Tool {
    pub name: &'static str,
    /// Programs without which it is left out; the tests that want it say so.
    pub needs: &'static [&'static str],
    /// Files, as seen from `e2e/clients`; a change of any makes the tool stale.
    pub pins: &'static [&'static str],
    pub install: fn(&Path, &Path) -> Result<()>,
}

const TOOLS: &[Tool] = &[
    Tool { name: "python", needs: &[], pins: &["python/requirements.txt"], install: python },
    Tool { name: "botocore-query", needs: &[], pins: &["../keystone/requirements-query.txt"], install: botocore_query },
    Tool { name: "celery", needs: &[], pins: &["celery/requirements.txt"], install: celery },
    Tool { name: "node", needs: &[], pins: &["node/package.json"], install: node },
    Tool {
        name: "spring",
        needs: &["mvn", "javac"],
        pins: &["spring/pom.xml", "spring/app/Shop.java"],
        install: spring,
    },
    Tool { name: "go", needs: &[], pins: &["go/go.mod", "go/go.sum", "go/main.go", "go/queues.go"], install: go },
];

/// What the benchmark compares with.
const PEERS: &[Tool] = &[
    Tool { name: "peers", needs: &[], pins: &["../../bench/peers/requirements.txt"], install: peers },
    Tool { name: "peers-node", needs: &[], pins: &["../../bench/peers/package.json"], install: peers_node },
];

/// The functions that it calls.
const BENCH_FUNCTIONS: &[Tool] = &[Tool {
    name: "bench-functions",
    needs: &[],
    pins: &[
        "../../bench/functions/build.py",
        "../../bench/functions/java/bench/App.java",
        "../../bench/functions/java-jackson/bench/App.java",
        "../../bench/functions/java-jackson/pom.xml",
        "../../bench/functions/native/bootstrap.rs",
        "../../bench/functions/node/index.js",
        "../../bench/functions/node-bundle/package.json",
        "../../bench/functions/node-bundle/source.js",
        "../../bench/functions/node-s3/index.js",
        "../../bench/functions/node-s3/package.json",
        "../../bench/functions/python/app.py",
        "../../bench/functions/python-boto3/app.py",
        "../../bench/functions/ruby/app.rb",
    ],
    install: bench_functions,
}];

/// What only the long tests talk to.
const SLOW_TOOLS: &[Tool] = &[Tool {
    name: "collector",
    needs: &["go"],
    pins: &["collector/go.mod", "collector/go.sum", "collector/main.go"],
    install: collector,
}];

pub fn run() -> Result<()> {
    install_programs()?;
    install(TOOLS)?;
    install(FUNCTIONS)
}

/// And what only the long tests wait for.
pub fn with_slow() -> Result<()> {
    run()?;
    install(SLOW_TOOLS)?;
    install(SLOW_FUNCTIONS)
}

pub fn with_peers() -> Result<()> {
    install(TOOLS)?;
    install(PEERS)?;
    with_bench_functions()
}

pub fn with_bench_functions() -> Result<()> {
    install(BENCH_FUNCTIONS)
}

/// Programs that tests run functions in, and that nobody has put in place on a fresh machine, with the packages of Debian that
/// have them.
const PROGRAMS: &[(&str, &str)] = &[("ruby", "ruby")];

/// Where it may, this installs what is missing; elsewhere it says what is.
fn install_programs() -> Result<()> {
    for (program, package) in PROGRAMS.iter().filter(|(program, _)| !is_installed(program)) {
        if !is_installed("apt-get") || !is_root()? {
            bail!("find {program}, which tests run functions in: install it (Debian: apt-get install {package})");
        }
        eprintln!("tools: installing Debian's {package}");
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        let flags = ["install", "--yes", "--quiet", "--no-install-recommends", package];
        if call(apt.args(flags)).is_err() {
            // Its lists may be older than what there is.
            call(Command::new("apt-get").args(["update", "--quiet"]))?;
            call(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(flags))?;
        }
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("read who runs this")?;
    Ok(status.lines().any(|line| line.starts_with("Uid:\t0\t")))
}

fn install(tools: &[Tool]) -> Result<()> {
    let clients = crate::root().join("e2e/clients");
    for tool in tools {
        if let Some(missing) = tool.needs.iter().find(|program| !is_installed(program)) {
            eprintln!("tools: leaving out {}: this machine has no {missing}", tool.name);
            continue;
        }
        let dir = dir()?.join(tool.name);
        let pins: Vec<PathBuf> = tool.pins.iter().map(|pin| clients.join(pin)).collect();
        keep(&dir, &pins, || (tool.install)(&clients, &dir))?;
    }
    Ok(())
}

/// Whether a program is on `PATH`, or at its place.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Leaves a folder alone if what is in it was installed under the same pins, and else installs it anew.
pub fn keep(dir: &Path, pins: &[PathBuf], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = dir.join(".pins");
    let pins = fingerprint(pins)?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
        return Ok(());
    }
    eprintln!("tools: installing {}", dir.display());
    fs::remove_dir_all(dir).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    fs::create_dir_all(dir)?;
    install().with_context(|| format!("install {}", dir.display()))?;
    Ok(fs::write(stamp, pins)?)
}

fn fingerprint(pins: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for pin in pins {
        fs::read(pin).with_context(|| format!("read {}", pin.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn python(clients: &Path, dir: &Path) -> Result<()> {
    venv(dir, &clients.join("python/requirements.txt"))
}

fn celery(clients: &Path, dir: &Path) -> Result<()> {
    venv(dir, &clients.join("celery/requirements.txt"))
}

fn botocore_query(clients: &Path, dir: &Path) -> Result<()> {
    venv(dir, &clients.join("../keystone/requirements-query.txt"))
}

fn peers(clients: &Path, dir: &Path) -> Result<()> {
    venv(dir, &clients.join("../../bench/peers/requirements.txt"))
}

fn peers_node(clients: &Path, dir: &Path) -> Result<()> {
    fs::copy(clients.join("../../bench/peers/package.json"), dir.join("package.json"))?;
    // serverless-offline names Serverless, of which osls is the open continuation.
    let flags = ["install", "--silent", "--no-audit", "--no-fund", "--legacy-peer-deps"];
    call(Command::new("npm").args(flags).current_dir(dir))
}

/// The functions that the benchmark calls, compiled and zipped.
fn bench_functions(clients: &Path, dir: &Path) -> Result<()> {
    call(Command::new("python3").arg(clients.join("../../bench/functions/build.py")).arg(dir))
}

fn venv(dir: &Path, requirements: &Path) -> Result<()> {
    call(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    call(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(requirements))
}

fn node(clients: &Path, dir: &Path) -> Result<()> {
    fs::copy(clients.join("node/package.json"), dir.join("package.json"))?;
    call(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(dir))
}

fn go(clients: &Path, dir: &Path) -> Result<()> {
    build_go(&clients.join("go"), &dir.join("client"))
}

/// Jars below `lib`, the application's classes beside them.
fn spring(clients: &Path, dir: &Path) -> Result<()> {
    let (sources, lib) = (clients.join("spring"), dir.join("lib"));
    let mut fetch = Command::new("mvn");
    fetch.args(["--quiet", "--batch-mode", "--file"]).arg(sources.join("pom.xml"));
    fetch.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    call(fetch.arg(format!("-DoutputDirectory={}", lib.display())))?;
    let mut compile = Command::new("javac");
    compile.args(["--release", "17", "-Xlint:-options", "-parameters", "-cp"]).arg(lib.join("*"));
    call(compile.arg("-d").arg(dir.join("classes")).arg("app/Shop.java").current_dir(sources))
}

fn collector(clients: &Path, dir: &Path) -> Result<()> {
    build_go(&clients.join("collector"), &dir.join("collector"))
}

fn build_go(sources: &Path, program: &Path) -> Result<()> {
    call(Command::new("go").args(["build", "-o"]).arg(program).arg(".").current_dir(sources))
}

/// Runs a command to its end; its output is the user's to see.
pub fn call(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("run {program}: is it installed?"))?;
    if !status.success() {
        bail!("run {command:?}: it ended with {status}");
    }
    Ok(())
}
