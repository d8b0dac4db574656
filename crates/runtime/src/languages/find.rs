//! Looks for interpreters: on the path, where Debian and others install them, and where version managers keep them.
//!
//! Versions are read off names wherever names have them; only a bare `node` or `ruby` is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Family, Version};
use crate::limits::INTERPRETERS_MAX;

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

    /// Whether programs under another uid can run it. What lies above its prefix does not matter: the prefix itself is
    /// what a sandbox shows.
    pub fn check_readable(&self) -> io::Result<()> {
        for (path, bits) in [(&self.prefix, 0o005), (&self.program, 0o005)] {
            if fs::metadata(path)?.permissions().mode() & bits != bits {
                let remedy = format!("other users may not read it; run: chmod -R o+rX {}", self.prefix.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, remedy));
            }
        }
        Ok(())
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    home: Option<PathBuf>,
    path: Vec<PathBuf>,
    /// Named by the operator: a runtime, and the folder that has `bin`.
    named: Vec<(String, PathBuf)>,
}

impl Places {
    pub fn of_this_machine(named: &BTreeMap<String, PathBuf>) -> Places {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        // A service's path may be short.
        for usual in ["/usr/local/bin", "/usr/bin"] {
            if !path.iter().any(|place| place == Path::new(usual)) {
                path.push(usual.into());
            }
        }
        Places {
            home: std::env::var_os("HOME").map(PathBuf::from),
            path,
            named: named.iter().map(|(runtime, folder)| (runtime.clone(), folder.clone())).collect(),
        }
    }
}

/// Below the home folder: one folder a version, each with `bin`, or with it below `inner`.
const VERSION_MANAGERS: &[(Family, &str, &str)] = &[
    (Family::Python, ".pyenv/versions", ""),
    (Family::Python, ".local/share/uv/python", ""),
    (Family::Python, ".local/share/mise/installs/python", ""),
    (Family::Python, ".asdf/installs/python", ""),
    (Family::Node, ".nvm/versions/node", ""),
    (Family::Node, ".local/share/fnm/node-versions", "installation"),
    (Family::Node, ".volta/tools/image/node", ""),
    (Family::Node, ".local/share/mise/installs/node", ""),
    (Family::Node, ".asdf/installs/nodejs", ""),
    (Family::Ruby, ".rbenv/versions", ""),
    (Family::Ruby, ".local/share/mise/installs/ruby", ""),
    (Family::Ruby, ".asdf/installs/ruby", ""),
    (Family::Java, ".sdkman/candidates/java", ""),
    (Family::Java, ".local/share/mise/installs/java", ""),
    (Family::Java, ".asdf/installs/java", ""),
];

/// Every interpreter in those places, each once; those that the operator named first.
pub fn all(places: &Places) -> Vec<Interpreter> {
    let mut found = Vec::new();
    for (runtime, folder) in &places.named {
        if let Some((family, version)) = Family::of(runtime) {
            add(&mut found, named(family, version, folder));
        }
    }
    if let Some(home) = &places.home {
        for (family, folder, inner) in VERSION_MANAGERS {
            for (name, folder) in folders(&home.join(folder)) {
                add(&mut found, numbers(&name).and_then(|version| at(*family, version, &folder.join(inner))));
            }
        }
    }
    for (name, folder) in folders(Path::new("/usr/lib/jvm")) {
        add(&mut found, numbers(&name).and_then(|version| at(Family::Java, version, &folder)));
    }
    for folder in places.path.iter().filter(|folder| !folder.ends_with("shims")) {
        on_path(folder, &mut found);
    }
    found
}

fn add(found: &mut Vec<Interpreter>, more: Option<Interpreter>) {
    if let Some(more) = more
        && found.len() < INTERPRETERS_MAX
        && !found.iter().any(|had| had.program == more.program)
    {
        found.push(more);
    }
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

fn at(family: Family, full_version: (u32, u32, u32), prefix: &Path) -> Option<Interpreter> {
    let programs = names(family, full_version).into_iter().map(|name| prefix.join("bin").join(name));
    let program = programs.into_iter().find(|program| is_program(program))?;
    Some(Interpreter { family, full_version, prefix: prefix.to_owned(), program })
}

fn named(family: Family, (major, minor): Version, folder: &Path) -> Option<Interpreter> {
    let found = at(family, (major, minor, 0), folder);
    if found.is_none() {
        tracing::warn!(folder = %folder.display(), "no {} {major} is in the folder's bin", family.word());
    }
    found
}

fn on_path(folder: &Path, found: &mut Vec<Interpreter>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let family = match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
            "python" => Family::Python,
            "ruby" => Family::Ruby,
            "node" => Family::Node,
            _ => continue,
        };
        let version = match numbers(&name) {
            Some(version) if name.contains('.') => Some(version),
            // `python3` is a link to what has the whole version in its name.
            _ if family == Family::Python => None,
            _ => ask(&folder.join(&name)),
        };
        add(found, version.and_then(|version| real(family, version, &folder.join(&name))));
    }
}

/// The interpreter that a path leads to in the end.
fn real(family: Family, full_version: (u32, u32, u32), path: &Path) -> Option<Interpreter> {
    let program = fs::canonicalize(path).ok()?;
    let prefix = program.parent()?.parent()?.to_owned();
    is_program(&program).then_some(Interpreter { family, full_version, prefix, program })
}

/// What the program says of itself.
fn ask(program: &Path) -> Option<(u32, u32, u32)> {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    numbers(&String::from_utf8_lossy(said.stdout.get(..64.min(said.stdout.len()))?))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\necho v20.20.2\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn interpreters_are_found_where_they_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let below = |path: &str| home.path().join(path);
        program(&below(".pyenv/versions/3.13.0/bin/python3.13"));
        program(&below(".pyenv/shims/python3.12"));
        program(&below(".nvm/versions/node/v22.12.0/bin/node"));
        program(&below(".sdkman/candidates/java/21.0.5-tem/bin/java"));
        program(&below("bin/node"));
        program(&below("bin/python3.11"));
        program(&below("named/bin/python3.9"));
        let places = Places {
            home: Some(home.path().to_owned()),
            path: vec![below(".pyenv/shims"), below("bin"), below("bin")],
            named: vec![("python3.9".into(), below("named"))],
        };
        let found = all(&places);
        let mine = found.iter().filter(|found| found.program.starts_with(home.path()));
        let shown: Vec<_> = mine.map(|found| (found.family, found.full_version)).collect();
        assert_eq!(
            shown,
            [
                (Family::Python, (3, 9, 0)),
                (Family::Python, (3, 13, 0)),
                (Family::Node, (22, 12, 0)),
                (Family::Java, (21, 0, 5)),
                (Family::Node, (20, 20, 2)),
                (Family::Python, (3, 11, 0)),
            ]
        );
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
