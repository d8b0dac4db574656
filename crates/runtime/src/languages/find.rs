//! Looks for interpreters: on the path, where Debian and others install them, and where version managers keep them.
//!
//! Versions are read off names and files wherever those have them whole; else the interpreter is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Family, Version};
use crate::limits::{INTERPRETER_ANSWER_TIMEOUT, INTERPRETERS_MAX};

/// An interpreter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    pub family: Family,
    pub full_version: (u32, u32, u32),
    /// The folder that has its `bin`.
    pub prefix: PathBuf,
    pub program: PathBuf,
}

impl Interpreter {
    /// As far as its family's runtimes tell versions apart.
    pub fn version(&self) -> Version {
        let (major, minor, _) = self.full_version;
        match self.family {
            Family::Python | Family::Ruby => (major, minor),
            Family::Node | Family::Java | Family::Provided => (major, 0),
        }
    }

    /// Such as `3.13.0`.
    pub fn words(&self) -> String {
        let (major, minor, patch) = self.full_version;
        format!("{major}.{minor}.{patch}")
    }

    /// What of it programs under another uid cannot read. What lies above its prefix does not matter: the prefix itself
    /// is what a sandbox shows.
    pub fn closed(&self) -> Option<PathBuf> {
        let (major, minor, _) = self.full_version;
        // The first file that Python reads tells whether those below can be read as well.
        let library = format!("lib/python{major}.{minor}/encodings/__init__.py");
        let within = ["", "bin", "lib"].map(|name| self.prefix.join(name));
        let needed = within.into_iter().chain([self.program.clone(), self.prefix.join(library)]);
        needed.into_iter().find(|path| {
            // What this interpreter does not have it does not need.
            fs::metadata(path).is_ok_and(|metadata| {
                let bits = if metadata.is_dir() || *path == self.program { 0o005 } else { 0o004 };
                metadata.permissions().mode() & bits != bits
            })
        })
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folders of version managers, a version each.
    kept: Vec<(Family, PathBuf, &'static str)>,
    path: Vec<PathBuf>,
    /// Named by the operator: a runtime, and the folder that has `bin`.
    named: Vec<(String, PathBuf)>,
}

impl Places {
    pub fn of_this_machine(named: &BTreeMap<String, PathBuf>) -> Places {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let mut path: Vec<PathBuf> = std::env::split_paths(&variable("PATH").unwrap_or_default()).collect();
        // A service's path may be short.
        path.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
        path.extend(folder("JAVA_HOME").map(|home| home.join("bin")));
        Places {
            kept: kept(folder("HOME").as_deref(), folder),
            path,
            named: named.iter().map(|(runtime, folder)| (runtime.clone(), folder.clone())).collect(),
        }
    }
}

/// A version manager's folder: whose, the variable that moves it, where it is below the home folder otherwise, what of
/// it has a folder for each version, and what of those has `bin`.
struct Kept(Family, &'static str, &'static str, &'static str, &'static str);

const VERSION_MANAGERS: &[Kept] = &[
    Kept(Family::Python, "PYENV_ROOT", ".pyenv", "versions", ""),
    Kept(Family::Python, "UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", "", ""),
    Kept(Family::Python, "MISE_DATA_DIR", ".local/share/mise", "installs/python", ""),
    Kept(Family::Python, "ASDF_DATA_DIR", ".asdf", "installs/python", ""),
    Kept(Family::Node, "NVM_DIR", ".nvm", "versions/node", ""),
    Kept(Family::Node, "FNM_DIR", ".local/share/fnm", "node-versions", "installation"),
    Kept(Family::Node, "VOLTA_HOME", ".volta", "tools/image/node", ""),
    Kept(Family::Node, "N_PREFIX", "/usr/local", "n/versions/node", ""),
    Kept(Family::Node, "MISE_DATA_DIR", ".local/share/mise", "installs/node", ""),
    Kept(Family::Node, "ASDF_DATA_DIR", ".asdf", "installs/nodejs", ""),
    Kept(Family::Ruby, "RBENV_ROOT", ".rbenv", "versions", ""),
    Kept(Family::Ruby, "rvm_path", ".rvm", "rubies", ""),
    Kept(Family::Ruby, "", ".rubies", "", ""),
    Kept(Family::Ruby, "", "/opt/rubies", "", ""),
    Kept(Family::Ruby, "MISE_DATA_DIR", ".local/share/mise", "installs/ruby", ""),
    Kept(Family::Ruby, "ASDF_DATA_DIR", ".asdf", "installs/ruby", ""),
    Kept(Family::Java, "SDKMAN_DIR", ".sdkman", "candidates/java", ""),
    Kept(Family::Java, "MISE_DATA_DIR", ".local/share/mise", "installs/java", ""),
    Kept(Family::Java, "ASDF_DATA_DIR", ".asdf", "installs/java", ""),
    Kept(Family::Java, "", "/usr/lib/jvm", "", ""),
];

fn kept(home: Option<&Path>, variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<(Family, PathBuf, &'static str)> {
    let folder = |Kept(family, moved_by, usual, versions, inner): &Kept| {
        // An absolute place is one without a home folder too.
        let usual = home.unwrap_or(Path::new("")).join(usual);
        let root = variable(moved_by).or_else(|| usual.is_absolute().then_some(usual))?;
        Some((*family, root.join(versions), *inner))
    };
    VERSION_MANAGERS.iter().filter_map(folder).collect()
}

/// Every interpreter in those places, each once; those that the operator named first.
pub fn all(places: &Places) -> Vec<Interpreter> {
    let mut found = Vec::new();
    for (runtime, folder) in &places.named {
        if let Some((family, version)) = Family::of(runtime) {
            add(&mut found, named(family, version, folder));
        }
    }
    for (family, parent, inner) in &places.kept {
        for (name, folder) in folders(parent) {
            let version = numbers(&name).unwrap_or_default();
            add(&mut found, at(*family, version, &folder.join(inner)));
        }
    }
    for folder in places.path.iter().filter(|folder| !folder.ends_with("shims")) {
        on_path(folder, &mut found);
    }
    found
}

fn add(found: &mut Vec<Interpreter>, more: Option<Interpreter>) {
    if let Some(more) = more
        && more.version() >= more.family.oldest()
        && found.len() < INTERPRETERS_MAX
        && !knows(found, &more.program)
    {
        found.push(more);
    }
}

fn knows(found: &[Interpreter], program: &Path) -> bool {
    found.iter().any(|had| had.program == program)
}

fn folders(parent: &Path) -> Vec<(String, PathBuf)> {
    let mut folders: Vec<(String, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        // Links name a version twice (`3.13` beside `3.13.0`).
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    // Newest last; the order of a directory is no order.
    folders.sort();
    folders
}

/// The first version in a name, such as 3.13.0 in `cpython-3.13.0-linux` or 17 in `java-17-openjdk`.
fn numbers(name: &str) -> Option<(u32, u32, u32)> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let digits = name.get(start..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let mut numbers = digits.get(..end)?.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

/// The names of a family's program, most exact first.
fn names(family: Family, (major, minor, _): (u32, u32, u32)) -> Vec<String> {
    match family {
        Family::Python => vec![format!("python{major}.{minor}")],
        Family::Ruby => vec![format!("ruby{major}.{minor}"), "ruby".to_owned()],
        Family::Node => vec!["node".to_owned()],
        Family::Java => vec!["java".to_owned()],
        Family::Provided => Vec::new(),
    }
}

/// The interpreter of a folder that says its version in its name.
fn at(family: Family, said: (u32, u32, u32), prefix: &Path) -> Option<Interpreter> {
    let programs = names(family, said).into_iter().map(|name| prefix.join("bin").join(name));
    let program = programs.into_iter().find(|program| is_program(program) && is_inside(prefix, program))?;
    let is_whole = said.2 != 0 && family != Family::Java;
    let full_version = if is_whole { said } else { version_of(family, prefix, &program)? };
    Some(Interpreter { family, full_version, prefix: prefix.to_owned(), program })
}

/// The interpreter of a folder that the operator named, whatever version it has.
fn named(family: Family, (major, minor): Version, folder: &Path) -> Option<Interpreter> {
    let other = (family == Family::Python).then(|| "python3".to_owned());
    let mut programs =
        names(family, (major, minor, 0)).into_iter().chain(other).map(|name| folder.join("bin").join(name));
    let program = programs.find(|program| is_program(program) && is_inside(folder, program))?;
    let full_version = version_of(family, folder, &program)?;
    Some(Interpreter { family, full_version, prefix: folder.to_owned(), program })
}

fn on_path(folder: &Path, found: &mut Vec<Interpreter>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let family = match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
            // `python3` is a link to what has more of the version in its name.
            "python" if name.contains('.') => Family::Python,
            "ruby" => Family::Ruby,
            "node" => Family::Node,
            "java" => Family::Java,
            _ => continue,
        };
        add(found, real(family, &folder.join(&name), found));
    }
}

/// The interpreter that a path leads to in the end, unless it is known.
fn real(family: Family, path: &Path, found: &[Interpreter]) -> Option<Interpreter> {
    let program = fs::canonicalize(path).ok()?;
    let prefix = program.parent()?.parent()?.to_owned();
    if !is_program(&program) || knows(found, &program) {
        return None;
    }
    let full_version = version_of(family, &prefix, &program)?;
    Some(Interpreter { family, full_version, prefix, program })
}

/// The whole version, by what the interpreter's folder or the interpreter itself says.
fn version_of(family: Family, prefix: &Path, program: &Path) -> Option<(u32, u32, u32)> {
    match family {
        // To ask a Java machine takes as long as to run a function.
        Family::Java => release(&fs::read_to_string(prefix.join("release")).ok()?),
        _ => ask(program),
    }
}

/// The version in the file that every JDK has in its folder.
fn release(text: &str) -> Option<(u32, u32, u32)> {
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?.trim_matches('"');
    // Before 9 they began with 1.
    numbers(version.strip_prefix("1.").unwrap_or(version))
}

/// What the program says of itself, if it does within its time.
fn ask(program: &Path) -> Option<(u32, u32, u32)> {
    let mut command = Command::new(program);
    // A group of its own: a shim that hangs does so in a program that it started.
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().ok()?;
    let said = child.stdout.take().and_then(|output| first_words(output, INTERPRETER_ANSWER_TIMEOUT).ok());
    if said.is_none() {
        tracing::warn!(program = %program.display(), "an interpreter does not tell its version; it is not used");
    }
    kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
    child.wait().ok();
    numbers(&said?)
}

/// The beginning of what is written, up to its end.
fn first_words(mut output: ChildStdout, within: Duration) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "it bounds how long a program of this machine is waited for")]
    let began = Instant::now();
    let (mut said, mut length) = ([0; 64], 0);
    while let Some(room) = said.get_mut(length..).filter(|room| !room.is_empty()) {
        let left = Timespec::try_from(within.saturating_sub(began.elapsed())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => continue,
            found => found?,
        };
        match output.read(room)? {
            0 => break,
            count => length = length.saturating_add(count),
        }
    }
    Ok(String::from_utf8_lossy(said.get(..length).unwrap_or_default()).into_owned())
}

/// Whether a sandbox that is shown a folder, and `/usr` always, finds the program in it: a virtual environment's is
/// elsewhere.
fn is_inside(prefix: &Path, program: &Path) -> bool {
    let real = fs::canonicalize(prefix).ok().zip(fs::canonicalize(program).ok());
    real.is_some_and(|(prefix, program)| program.starts_with(prefix) || program.starts_with("/usr"))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path, says: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\necho {says}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn interpreters_are_found_where_they_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let below = |path: &str| home.path().join(path);
        program(&below(".pyenv/versions/3.13.1/bin/python3.13"), "");
        program(&below(".pyenv/shims/python3.12"), "Python 3.12.0");
        program(&below(".nvm/versions/node/v22.12.1/bin/node"), "");
        program(&below("sdkman/candidates/java/21.0.5-tem/bin/java"), "");
        fs::write(below("sdkman/candidates/java/21.0.5-tem/release"), "JAVA_VERSION=\"21.0.5\"\n").unwrap();
        program(&below("bin/node"), "v20.20.2");
        program(&below("bin/python3.11"), "Python 3.11.7");
        program(&below("jdk/bin/java"), "");
        fs::write(below("jdk/release"), "JAVA_VERSION=\"17\"\n").unwrap();
        std::os::unix::fs::symlink(below("jdk/bin/java"), below("bin/java")).unwrap();
        program(&below("named/bin/python3"), "Python 3.9.18");
        let sdkman = below("sdkman");
        let places = Places {
            kept: kept(Some(home.path()), |name| (name == "SDKMAN_DIR").then(|| sdkman.clone())),
            path: vec![below(".pyenv/shims"), below("bin"), below("bin")],
            named: vec![("python3.9".into(), below("named"))],
        };
        let found = all(&places);
        let mine = found.iter().filter(|found| found.program.starts_with(home.path()));
        let shown: Vec<_> = mine.map(|found| (found.family, found.full_version)).collect();
        assert_eq!(
            shown,
            [
                (Family::Python, (3, 9, 18)),
                (Family::Python, (3, 13, 1)),
                (Family::Node, (22, 12, 1)),
                (Family::Java, (21, 0, 5)),
                (Family::Java, (17, 0, 0)),
                (Family::Node, (20, 20, 2)),
                (Family::Python, (3, 11, 7)),
            ]
        );
    }

    /// Also where what hangs is a program that it started, which keeps its output open.
    #[test]
    fn a_program_that_does_not_answer_is_not_waited_for() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 3.1; sleep 600"]).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().unwrap();
        let heard = first_words(child.stdout.take().unwrap(), Duration::from_millis(1));
        kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_part_that_others_cannot_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (prefix, library) = (dir.path().join("py"), dir.path().join("py/lib/python3.13/encodings/__init__.py"));
        program(&prefix.join("bin/python3.13"), "");
        program(&library, "");
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for path in [&prefix, &prefix.join("bin"), &prefix.join("lib")] {
            mode(path, 0o755);
        }
        let interpreter = at(Family::Python, (3, 13, 1), &prefix).unwrap();
        assert_eq!(interpreter.closed(), None);
        mode(&library, 0o600);
        assert_eq!(interpreter.closed(), Some(library));
        mode(&prefix, 0o700);
        assert_eq!(interpreter.closed(), Some(prefix));
    }

    #[test]
    fn a_jdk_says_its_version_in_a_file() {
        assert_eq!(release("IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.15\"\n"), Some((17, 0, 15)));
        assert_eq!(release("JAVA_VERSION=\"1.8.0_392\"\n"), Some((8, 0, 0)));
        assert_eq!(release("OS_NAME=\"Linux\"\n"), None);
    }

    #[test]
    fn versions_are_read_off_names() {
        for (name, version) in [
            ("3.13.0", Some((3, 13, 0))),
            ("v22.12.0", Some((22, 12, 0))),
            ("cpython-3.12.1-linux-x86_64-gnu", Some((3, 12, 1))),
            ("java-17-openjdk-amd64", Some((17, 0, 0))),
            ("default-java", None),
            ("99999999999", None),
        ] {
            assert_eq!(numbers(name), version, "{name}");
        }
    }
}
