//! The functions that are measured, as `functions/build.py` made them: an echo that prints a line, in each language, plain
//! and with a heavy import.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::peer::tools;

/// What each is called with.
pub const EVENT: &str = r#"{"name":"lamp"}"#;
/// What each has, unless it is said otherwise.
pub const MEMORY_MB: u32 = 512;
/// The role of all functions.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/r";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Native,
    Python,
    Node,
    Java,
    Ruby,
}

const LANGUAGES: &[Language] = &[Language::Native, Language::Python, Language::Node, Language::Java, Language::Ruby];

/// The plain ones have their language's name.
const FUNCTIONS: &[(&str, Language)] = &[
    ("native", Language::Native),
    ("python", Language::Python),
    ("node", Language::Node),
    ("java", Language::Java),
    ("ruby", Language::Ruby),
    ("python-boto3", Language::Python),
    ("node-s3", Language::Node),
    ("node-bundle", Language::Node),
    ("java-jackson", Language::Java),
];

#[derive(Debug, Clone)]
pub struct Function {
    pub name: &'static str,
    pub language: Language,
    /// Its language's on this machine.
    interpreter: PathBuf,
    /// AWS's name of the runtime that is nearest to it.
    pub runtime: String,
}

/// The functions that could be built on this machine.
pub fn built() -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    for language in LANGUAGES {
        let of_it = FUNCTIONS.iter().filter(|(_, of)| of == language);
        let names: Vec<&str> = of_it.map(|(name, _)| *name).filter(|name| is_built(name)).collect();
        if !names.is_empty() {
            let (interpreter, runtime) = language.interpreter()?;
            let function = |name| Function {
                name,
                language: *language,
                interpreter: interpreter.clone(),
                runtime: runtime.clone(),
            };
            functions.extend(names.into_iter().map(function));
        }
    }
    Ok(functions)
}

fn is_built(name: &str) -> bool {
    folder().is_ok_and(|folder| folder.join(format!("{name}.zip")).exists())
}

impl Language {
    fn handler(self) -> &'static str {
        match self {
            Language::Native => "bootstrap",
            Language::Python | Language::Ruby => "app.handler",
            Language::Node => "index.handler",
            Language::Java => "bench.App::handle",
        }
    }

    /// Its interpreter itself, where what is on `PATH` may be a script that chooses one, and AWS's name of the runtime that
    /// is nearest.
    fn interpreter(self) -> Result<(PathBuf, String)> {
        let (program, arguments): (&str, &[&str]) = match self {
            Language::Native => return Ok((PathBuf::new(), "provided.al2023".to_owned())),
            Language::Python => {
                ("python3", &["-c", "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"])
            }
            Language::Node => ("node", &["-p", "[process.execPath, ...process.versions.node.split('.')].join('\\n')"]),
            Language::Java => ("java", &["-XshowSettings:properties", "-version"]),
            Language::Ruby => ("ruby", &["-e", "puts RbConfig.ruby, RUBY_VERSION.split('.')"]),
        };
        let said = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let said = said.with_context(|| format!("run {program}"))?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        if self == Language::Java {
            let property = |name: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "));
                line.with_context(|| format!("learn {name} of Java"))
            };
            let major: u32 = property("java.specification.version")?.parse().context("read Java's version")?;
            let newest = [11, 17, 21, 25].into_iter().rfind(|version| *version <= major).unwrap_or(11);
            return Ok((PathBuf::from(property("java.home")?).join("bin/java"), format!("java{newest}")));
        }
        let mut lines = text.lines();
        let (path, major, minor) = (lines.next(), lines.next(), lines.next());
        let number = |text: Option<&str>| -> Result<u32> { Ok(text.unwrap_or_default().parse()?) };
        let (major, minor) = (number(major)?, number(minor)?);
        let runtime = match self {
            Language::Python => format!("python{major}.{minor}"),
            Language::Node => format!("nodejs{}.x", major + major % 2),
            _ => format!("ruby{}", if (major, minor) < (3, 2) { "3.2".to_owned() } else { format!("{major}.{minor}") }),
        };
        Ok((PathBuf::from(path.unwrap_or_default()), runtime))
    }
}

impl Function {
    /// Whether it imports nothing.
    pub fn is_plain(&self) -> bool {
        !self.name.contains('-')
    }

    /// Its code, unpacked.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(folder()?.join(self.name))
    }

    /// The body of `CreateFunction`. Each `number` makes other code of it: a comment at the end of the zip.
    pub fn create(&self, name: &str, number: u32, memory_mb: u32) -> Result<String> {
        let mut zip = fs::read(folder()?.join(format!("{}.zip", self.name)))?;
        let comment = format!("{number:08}");
        if !zip.ends_with(&[0, 0]) {
            bail!("number {}: its zip has a comment", self.name);
        }
        zip.truncate(zip.len() - 2);
        zip.extend_from_slice(&(comment.len() as u16).to_le_bytes());
        zip.extend_from_slice(comment.as_bytes());
        Ok(format!(
            r#"{{"FunctionName":"{name}","Runtime":"{}","Handler":"{}","Role":"{ROLE}","MemorySize":{memory_mb},"#,
            self.runtime,
            self.language.handler(),
        ) + &format!(r#""Timeout":900,"Code":{{"ZipFile":"{}"}}}}"#, STANDARD.encode(zip)))
    }

    /// The path at which every server of Lambda's API invokes function `name`.
    pub fn invoke_path(name: &str) -> String {
        format!("/2015-03-31/functions/{name}/invocations")
    }

    /// The same work in a fresh process outside of any sandbox; it prints a line when it is done.
    pub fn fresh(&self) -> Result<Command> {
        let arguments: &[&str] = match self.language {
            Language::Native => &["once"],
            Language::Python => &["-u", "-c", "import app; app.handler({}, None)"],
            Language::Node => &["-e", "require('./index.js').handler({})"],
            Language::Java => &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ".:lib/*", "bench.App"],
            Language::Ruby => &["-e", "$stdout.sync = true; require './app'; handler(event: {}, context: nil)"],
        };
        let program = match self.language {
            Language::Native => self.folder()?.join("bootstrap"),
            _ => self.interpreter.clone(),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command.current_dir(self.folder()?).env_remove("NODE_EXTRA_CA_CERTS");
        Ok(command)
    }
}

/// The event that makes a function hold its instance for so long: a plain one in native code, Python or Node.js.
pub fn sleep_event(ms: u64) -> String {
    format!(r#"{{"sleep_ms":{ms}}}"#)
}

fn folder() -> Result<PathBuf> {
    Ok(tools()?.join("bench-functions"))
}

/// `PATH` for peers, with Python itself first: where a script that chooses one stands there, it costs each start some
/// 30 ms.
pub fn path() -> Result<OsString> {
    let (python, _) = Language::Python.interpreter()?;
    let first = python.parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))?)
}
