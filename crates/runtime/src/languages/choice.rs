//! Which of the interpreters found serves a runtime: a pure choice, and why there may be none.
//!
//! What the operator named for a runtime serves it, else its own version, else the next newer one of its family, else
//! the newest older one. Of several that are equally near, one that functions can read serves, the newest first.

use std::path::PathBuf;

use super::find::Interpreter;
use super::{Family, Version};
use crate::runtime::{Match, Settings};

/// Why no interpreter serves a runtime, in words for the function's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    #[error("Lamplight does not run functions of runtime {0} yet.")]
    Unknown(String),
    #[error(
        "No {} was found on this machine, which {runtime} needs. Install it, or name its folder in the configuration \
         under [runtimes].",
        family.word()
    )]
    Missing { runtime: String, family: Family },
    #[error(
        "The configuration names {} for {runtime}, and in its bin is no {} that Lamplight can run.",
        folder.display(), family.word()
    )]
    Named { runtime: String, family: Family, folder: PathBuf },
    #[error("This machine has no {runtime}; the nearest is {nearest}, which runtime_match = \"exact\" refuses.")]
    NotExact { runtime: String, nearest: String },
    #[error(
        "{runtime} needs {}, and functions, which run as other users, may not read {}; run: chmod -R o+rX {}",
        program.display(), closed.display(), prefix.display()
    )]
    Closed { runtime: String, program: PathBuf, closed: PathBuf, prefix: PathBuf },
}

impl Unserved {
    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Unserved::Unknown(_) => "use another runtime".to_owned(),
            Unserved::Missing { family, .. } => family.install().to_owned(),
            Unserved::Named { runtime, .. } => format!("name the folder that has bin, under [runtimes], {runtime}"),
            Unserved::NotExact { .. } => "install the very version, or set runtime_match = \"nearest\"".to_owned(),
            Unserved::Closed { prefix, .. } => format!("chmod -R o+rX {}", prefix.display()),
        }
    }
}

pub fn choose<'f>(
    found: &'f [Interpreter],
    settings: &Settings,
    runtime: &str,
    family: Family,
    version: Version,
) -> Result<&'f Interpreter, Unserved> {
    let of_family = || found.iter().filter(|found| found.family == family);
    // Functions that run as the server's own user read what it reads.
    let closed = |found: &Interpreter| if settings.has_own_users { found.closed() } else { None };
    let chosen = if let Some(folder) = settings.interpreters.get(runtime) {
        let named = of_family().find(|found| found.prefix == *folder);
        named.ok_or_else(|| Unserved::Named { runtime: runtime.to_owned(), family, folder: folder.clone() })?
    } else {
        let newer = of_family().map(Interpreter::version).filter(|found| *found >= version).min();
        let nearest = newer.or_else(|| of_family().map(Interpreter::version).max());
        let nearest = nearest.ok_or_else(|| Unserved::Missing { runtime: runtime.to_owned(), family })?;
        if nearest != version && settings.runtime_match == Match::Exact {
            return Err(Unserved::NotExact { runtime: runtime.to_owned(), nearest: family.runtime(nearest) });
        }
        let equal = of_family().filter(|found| found.version() == nearest);
        let best = equal.max_by_key(|found| (closed(found).is_none(), found.full_version));
        best.ok_or_else(|| Unserved::Missing { runtime: runtime.to_owned(), family })?
    };
    match closed(chosen) {
        None => Ok(chosen),
        Some(closed) => Err(Unserved::Closed {
            runtime: runtime.to_owned(),
            program: chosen.program.clone(),
            closed,
            prefix: chosen.prefix.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn python(minor: u32, patch: u32) -> Interpreter {
        let program = PathBuf::from(format!("/usr/bin/python3.{minor}"));
        Interpreter { family: Family::Python, full_version: (3, minor, patch), prefix: "/usr".into(), program }
    }

    fn settings() -> Settings {
        Settings::new("/cache".into(), "/sdk".into())
    }

    #[test]
    fn the_next_newer_version_serves_else_the_newest_older_one() {
        let found = [python(9, 1), python(11, 2), python(11, 4), python(13, 0)];
        let chosen = |minor| {
            let chosen = choose(&found, &settings(), "python", Family::Python, (3, minor)).unwrap();
            (chosen.full_version.1, chosen.full_version.2)
        };
        assert_eq!([9, 10, 11, 12, 13, 14].map(chosen), [(9, 1), (11, 4), (11, 4), (13, 0), (13, 0), (13, 0)]);
    }

    #[test]
    fn what_is_missing_says_what_to_do() {
        let exact = Settings { runtime_match: Match::Exact, ..settings() };
        let refused = |found: &[Interpreter], settings: &Settings| {
            choose(found, settings, "python3.12", Family::Python, (3, 12)).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refused(&[], &exact).contains("Install it"));
        assert!(refused(&[python(13, 0)], &exact).contains("the nearest is python3.13"));
        let named = Settings { interpreters: [("python3.12".into(), "/nowhere".into())].into(), ..settings() };
        // What was named is not silently replaced.
        assert!(refused(&[python(12, 0)], &named).contains("names /nowhere for python3.12"));
    }

    #[test]
    fn what_functions_cannot_read_serves_only_who_runs_as_they_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let closed = Interpreter { prefix: dir.path().to_owned(), program: dir.path().join("python"), ..python(12, 9) };
        let found = [closed.clone(), python(12, 1), python(13, 0)];
        let chosen = |found, settings: &Settings| {
            choose(found, settings, "python3.12", Family::Python, (3, 12)).map(|found| found.full_version.2)
        };
        assert_eq!(chosen(&found, &settings()), Ok(1));
        assert_eq!(chosen(&found, &Settings { has_own_users: false, ..settings() }), Ok(9));
        let refused = chosen(&found[..1], &settings()).unwrap_err();
        assert_eq!(refused.remedy(), format!("chmod -R o+rX {}", dir.path().display()));
    }
}
