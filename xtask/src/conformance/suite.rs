//! LocalStack's test-suite on this machine: its files, a Python with the packages that it pins, and a run of its tests.
//!
//! The files are the user's checkout, or are unpacked from the user's bare git directory; nothing of them is ours. What
//! a run says comes from our pytest plugin, `xtask/conformance/lamp_conformance.py`, a JSON object a line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

const PYTHON: &str = "3.13";
const PYTEST_TIMEOUT: &str = "pytest-timeout==2.4.0";
const TEST_SECONDS_MAX: &str = "90";
/// A run that says nothing for so long is stuck where pytest's own timeout does not reach, and is ended.
const SILENCE_MAX: Duration = Duration::from_secs(300);

pub struct Suite {
    files: PathBuf,
    python: PathBuf,
}

/// What a test came to, as the plugin tells it.
pub struct Told {
    pub id: String,
    pub outcome: String,
    pub seconds: f64,
    pub reason: String,
}

impl Suite {
    /// `localstack` is a checkout of localstack/localstack or its bare git directory.
    pub fn prepare(localstack: &Path) -> Result<Self> {
        let localstack =
            localstack.canonicalize().with_context(|| format!("find the suite at {}", localstack.display()))?;
        let files = if localstack.join("tests/aws").is_dir() { localstack } else { unpacked(&localstack)? };
        let pins = files.join("requirements-test.txt");
        let dir = tools::dir()?.join("localstack-python");
        tools::keep(&dir, std::slice::from_ref(&pins), || {
            tools::call(Command::new(interpreter()?).args(["-m", "venv"]).arg(&dir))?;
            let mut pip = Command::new(dir.join("bin/pip"));
            // The list is a lock: it names all that is needed, in versions that some of their metadata disagrees with.
            pip.args(["install", "--quiet", "--no-deps", PYTEST_TIMEOUT, "--requirement"]).arg(&pins);
            tools::call(&mut pip)
        })?;
        Ok(Self { files, python: dir.join("bin/python") })
    }

    /// Starts the tests of one service against the server on `port`; all that pytest says goes to `log`.
    pub fn judge(&self, service: &str, ids: &[String], port: u16, orders: &Path, log: &Path) -> Result<Run> {
        let full: Vec<String> = ids.iter().map(|id| format!("tests/aws/services/{service}/{id}")).collect();
        fs::write(orders, full.join("\n"))?;
        let mut files: Vec<&str> = full.iter().filter_map(|id| Some(id.split_once("::")?.0)).collect();
        files.sort_unstable();
        files.dedup();
        for file in &files {
            if !self.files.join(file).exists() {
                bail!("find {file} in the suite at {}", self.files.display());
            }
        }
        let plugin = crate::root().join("xtask/conformance").canonicalize()?;
        let path = std::env::join_paths([plugin, self.files.join("localstack-core")])?;
        let mut child = Command::new(&self.python)
            .args([
                "-m",
                "pytest",
                "-p",
                "lamp_conformance",
                "-p",
                "no:cacheprovider",
                "--continue-on-collection-errors",
            ])
            .args(["--timeout", TEST_SECONDS_MAX, "--log-level=ERROR", "--tb=short", "--show-capture=no"])
            .args(files)
            .current_dir(&self.files)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "TMPDIR" | "LANG")))
            .envs(settings(port))
            .env("PYTHONPATH", path)
            .env("LAMP_CONFORMANCE_TESTS", orders)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .context("start pytest")?;
        let stdout = child.stdout.take().context("hear pytest")?;
        let (sender, lines) = sync_channel(64);
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Run { prefix: format!("tests/aws/services/{service}/"), child, lines })
    }
}

/// A run under way: what each test comes to, in the order in which they end.
pub struct Run {
    prefix: String,
    child: Child,
    lines: Receiver<String>,
}

impl Iterator for Run {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        loop {
            let line = self.lines.recv_timeout(SILENCE_MAX).ok()?;
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
            if let Some(id) = told["test"].as_str() {
                return Some(Told {
                    id: id.strip_prefix(&self.prefix).unwrap_or(id).to_owned(),
                    outcome: text("outcome"),
                    seconds: told["seconds"].as_f64().unwrap_or_default(),
                    reason: text("reason"),
                });
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What makes the suite's test library talk to a server that is already there, as an account that it knows.
fn settings(port: u16) -> Vec<(&'static str, String)> {
    let fixed = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_MAX_ATTEMPTS", "2"),
        ("TEST_AWS_ACCOUNT_ID", "000000000000"),
        ("TEST_SKIP_LOCALSTACK_START", "1"),
        ("DISABLE_EVENTS", "1"),
        ("SKIP_SSL_CERT_DOWNLOAD", "1"),
    ];
    let mut settings: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    settings.push(("TEST_AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")));
    settings.push(("LAMP_CONFORMANCE_PORT", port.to_string()));
    settings
}

/// The files of a bare git directory's newest commit, kept for the next time.
fn unpacked(git: &Path) -> Result<PathBuf> {
    let head = Command::new("git").arg("-C").arg(git).args(["rev-parse", "--short=12", "HEAD"]).output()?;
    let commit = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    if !head.status.success() || commit.is_empty() {
        bail!("find a checkout or a git directory of localstack/localstack at {}", git.display());
    }
    let dir = tools::dir()?.join(format!("localstack-{commit}"));
    tools::keep(&dir, &[], || {
        let archive = dir.join("archive.tar");
        let mut export = Command::new("git");
        export.arg("-C").arg(git).args(["archive", "--output"]).arg(&archive);
        tools::call(
            export
                .args(["HEAD", "localstack-core", "tests/__init__.py", "tests/conftest.py", "tests/aws"])
                .args(["pyproject.toml", "requirements-test.txt"]),
        )?;
        tools::call(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&dir))?;
        Ok(fs::remove_file(archive)?)
    })?;
    Ok(dir)
}

/// A Python of the version that the suite's packages are pinned for: `$PYTHON`, one on the path, or one of pyenv's.
fn interpreter() -> Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = std::env::var_os("PYTHON").map(PathBuf::from).into_iter().collect();
    candidates.push(format!("python{PYTHON}").into());
    let pyenv = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".pyenv/versions");
    for version in fs::read_dir(pyenv).into_iter().flatten().flatten() {
        candidates.push(version.path().join("bin/python"));
    }
    candidates.push("python3".into());
    let version = |python: &PathBuf| {
        let code = "import sys; print('%d.%d' % sys.version_info[:2])";
        let said = Command::new(python).args(["-c", code]).stderr(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let found = candidates.into_iter().find(|python| version(python).is_some_and(|found| found == PYTHON));
    found.with_context(|| format!("find Python {PYTHON}, which the suite needs: install it, or name it in PYTHON"))
}
