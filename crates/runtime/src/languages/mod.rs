//! Which interpreter runs a function, and what its sandbox must show for it.
//!
//! `Family` knows what a runtime's name means; `find` looks for interpreters on this machine; `choice` says which of
//! them serves a runtime; `sdk` knows AWS's SDKs; `Languages::serve` puts them together: the directory for `/var/lang`,
//! the one for `/var/runtime` (our bootstrap, and the SDKs), and the command line. `survey` tells the same to people.
//!
//! An interpreter below `/usr` is visible inside as it is, and `/var/lang/bin` has links to it; one elsewhere appears
//! with its whole prefix as `/var/lang`.
//!
//! Interpreters are looked for once; SDKs at each start of an instance, so that those put in place meanwhile are found.
//!
//! Not yet: .NET.

mod choice;
mod find;
mod java;
mod parked;
mod prepare;
mod sdk;
mod survey;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::code::make_dir;
use crate::runtime::Settings;
use choice::Unserved;

pub use find::Interpreter;
pub use java::{forget_archive, takes_archive, use_archive};
pub use parked::needs_own_process;
pub use prepare::{Owner, PREPARED_BYTES_MAX, Preparation, Recipe, Sees, preparation, prepared_name};
pub use sdk::{Advice, Sdk};
pub use survey::{Offer, RUNTIMES, Serving, survey};

/// A language that AWS manages, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Python,
    Node,
    Java,
    Ruby,
    /// The function brings its own program.
    Provided,
}

/// A version as far as a family's runtimes tell versions apart: `3.13` of Python and Ruby, `22` of Node.js and Java.
pub type Version = (u32, u32);

impl Family {
    /// What a runtime's name means, such as `python3.13`.
    pub fn of(runtime: &str) -> Option<(Family, Version)> {
        let number = |text: &str| text.parse::<u32>().ok();
        let pair = |text: &str| {
            let (major, minor) = text.split_once('.')?;
            Some((number(major)?, number(minor)?))
        };
        if let Some(version) = runtime.strip_prefix("python") {
            Some((Family::Python, pair(version)?))
        } else if let Some(version) = runtime.strip_prefix("ruby") {
            Some((Family::Ruby, pair(version)?))
        } else if let Some(version) = runtime.strip_prefix("nodejs") {
            Some((Family::Node, (number(version.strip_suffix(".x")?)?, 0)))
        } else if let Some(version) = runtime.strip_prefix("java") {
            Some((Family::Java, (number(version.split('.').next()?)?, 0)))
        } else if runtime == "provided" || runtime.starts_with("provided.") {
            Some((Family::Provided, (0, 0)))
        } else {
            None
        }
    }

    /// Its name in `INIT_START`, in folders, and in words.
    pub fn word(self) -> &'static str {
        match self {
            Family::Python => "python",
            Family::Node => "nodejs",
            Family::Java => "java",
            Family::Ruby => "ruby",
            Family::Provided => "provided",
        }
    }

    /// The SDK that AWS ships in the language's runtimes, if it ships one.
    pub fn sdk(self) -> Option<&'static str> {
        match self {
            Family::Python => Some("boto3"),
            Family::Node => Some("@aws-sdk"),
            Family::Ruby => Some("aws-sdk"),
            Family::Java | Family::Provided => None,
        }
    }

    /// What an instance is taken to hold before any of its function has been measured.
    pub fn bytes_guess(self) -> u64 {
        const MIB: u64 = 1024 * 1024;
        match self {
            Family::Provided => 8 * MIB,
            Family::Python | Family::Ruby => 24 * MIB,
            Family::Node => 40 * MIB,
            Family::Java => 96 * MIB,
        }
    }

    /// Whether its runtime can be started before it is known for which function.
    pub fn can_wait(self) -> bool {
        match self {
            Family::Python | Family::Node | Family::Ruby => true,
            Family::Java => cfg!(target_arch = "x86_64"),
            Family::Provided => false,
        }
    }

    /// Whether it cannot go to its function's folder itself, which is mounted after it has started.
    pub fn must_be_led(self) -> bool {
        self == Family::Java
    }

    /// How many times `PARKED_BYTES` it holds while it waits, about.
    pub fn parked_weight(self) -> u32 {
        match self {
            Family::Java => 4,
            Family::Python | Family::Node | Family::Ruby | Family::Provided => 1,
        }
    }

    /// The language of a folder for SDKs, such as `nodejs`.
    pub fn named(word: &str) -> Option<Family> {
        [Family::Python, Family::Node, Family::Java, Family::Ruby].into_iter().find(|family| family.word() == word)
    }

    /// The oldest version that our part of the runtime runs on.
    fn oldest(self) -> Version {
        match self {
            Family::Python => (3, 8),
            Family::Node => (16, 0),
            Family::Java => (11, 0),
            Family::Ruby => (2, 7),
            Family::Provided => (0, 0),
        }
    }

    /// How an operator gets an interpreter, in words.
    fn install(self) -> &'static str {
        match self {
            Family::Python => "install Python (apt-get install python3, or pyenv or uv for other versions)",
            Family::Node => "install Node.js (apt-get install nodejs, or nvm for other versions)",
            Family::Java => "install a JDK, which has javac (apt-get install openjdk-17-jdk-headless, or SDKMAN)",
            Family::Ruby => "install Ruby (apt-get install ruby, or rbenv for other versions)",
            Family::Provided => "functions bring their own program",
        }
    }

    /// What its interpreter is started with, before the bootstrap.
    pub fn arguments(self, memory_mb: u32) -> Vec<String> {
        match self {
            // The bootstrap sets up what `site` would, as far as a function sees it.
            Family::Python => vec!["-S".to_owned()],
            // AWS's own.
            Family::Node => vec![
                "--expose-gc".to_owned(),
                "--max-http-header-size=81920".to_owned(),
                format!("--max-semi-space-size={}", memory_mb.saturating_mul(5) / 100),
                format!("--max-old-space-size={}", memory_mb.saturating_mul(90) / 100),
            ],
            Family::Java => java::arguments(memory_mb),
            Family::Ruby | Family::Provided => Vec::new(),
        }
    }

    /// What its interpreter runs: a file of ours below `/var/runtime`, with its text, or the name of a class.
    fn bootstrap(self) -> Option<Bootstrap> {
        let file = |name, text| Some(Bootstrap::File { name, text });
        match self {
            Family::Python => file("bootstrap.py", include_str!("../../bootstraps/python/bootstrap.py")),
            Family::Node => file("bootstrap.cjs", include_str!("../../bootstraps/node/bootstrap.cjs")),
            Family::Ruby => file("bootstrap.rb", include_str!("../../bootstraps/ruby/bootstrap.rb")),
            Family::Java => Some(Bootstrap::Java),
            Family::Provided => None,
        }
    }

    /// The name of version `version` as AWS's runtimes have it.
    fn runtime(self, (major, minor): Version) -> String {
        match self {
            Family::Python | Family::Ruby => format!("{}{major}.{minor}", self.word()),
            Family::Node => format!("nodejs{major}.x"),
            Family::Java => format!("java{major}"),
            Family::Provided => "provided".to_owned(),
        }
    }
}

/// Whether `runtime` is a name that means something, and its functions need an interpreter of this machine.
pub fn has_interpreter(runtime: &str) -> bool {
    Family::of(runtime).is_some_and(|(family, _)| family != Family::Provided)
}

enum Bootstrap {
    File { name: &'static str, text: &'static str },
    Java,
}

/// A language, ready to be shown in a sandbox.
#[derive(Debug, Clone)]
pub struct Served {
    pub family: Family,
    /// As it is told in `INIT_START`, such as `python:3.13.v2`.
    pub label: String,
    /// All of its interpreter's version.
    pub version: (u32, u32, u32),
    /// For `/var/lang` and `/var/runtime`; a custom runtime needs neither.
    pub lang_dir: Option<PathBuf>,
    pub runtime_dir: Option<PathBuf>,
    /// The interpreter inside, and what it runs. Empty for a custom runtime.
    pub program: PathBuf,
    pub bootstrap: String,
    /// It is not where it was built for.
    pub is_relocated: bool,
    /// The SDKs in `runtime_dir`.
    pub sdks: sdk::Edition,
    /// That another version serves, in words for the function's log.
    pub warning: Option<String>,
}

pub struct Languages {
    maker: Arc<Maker>,
    found: OnceCell<Arc<Vec<Interpreter>>>,
    /// By runtime: what serves it, with the SDKs that it was made with.
    served: Mutex<BTreeMap<String, (sdk::Edition, Cell)>>,
}

type Cell = Arc<OnceCell<Served>>;

/// Makes what sandboxes show.
struct Maker {
    settings: Settings,
    /// Where directories for `/var/lang` and `/var/runtime` are made.
    dir: PathBuf,
    /// Held while Java's bootstrap is compiled; in a thread that may block.
    compiling: Mutex<()>,
    /// How many directories for `/var/runtime` were made: instances that run keep theirs.
    made: AtomicU32,
}

impl Languages {
    /// Makes directories below `dir`, which is its own.
    pub fn new(settings: Settings, dir: PathBuf) -> Languages {
        let maker = Arc::new(Maker { settings, dir, compiling: Mutex::default(), made: AtomicU32::default() });
        Languages { maker, found: OnceCell::new(), served: Mutex::default() }
    }

    /// The interpreters of this machine. Looks for them once, when first asked.
    pub async fn found(&self) -> Result<Arc<Vec<Interpreter>>, String> {
        let look = || async {
            let places = find::Places::of_this_machine(&self.maker.settings.interpreters);
            let found = tokio::task::spawn_blocking(move || find::all(&places));
            found.await.map(Arc::new).map_err(|error| format!("Looking for interpreters failed: {error}"))
        };
        self.found.get_or_try_init(look).await.cloned()
    }

    /// What runs functions of `runtime`; else why none can, in words for the function's owner.
    pub async fn serve(&self, runtime: &str) -> Result<Served, String> {
        let (family, version) = Family::of(runtime).ok_or_else(|| Unserved::Unknown(runtime.to_owned()).to_string())?;
        if family == Family::Provided {
            return Ok(provided(runtime));
        }
        let edition = sdk::edition(&self.maker.settings.sdk_dir, runtime, family);
        let cell = self.cell(runtime, edition);
        let make = || async {
            let (maker, found, runtime) = (Arc::clone(&self.maker), self.found().await?, runtime.to_owned());
            let made = tokio::task::spawn_blocking(move || maker.make(&found, &runtime, family, version));
            made.await.unwrap_or_else(|error| Err(format!("Preparing the runtime failed: {error}")))
        };
        cell.get_or_try_init(make).await.cloned()
    }

    fn cell(&self, runtime: &str, edition: sdk::Edition) -> Cell {
        // As many as there are names that mean something, at most.
        let mut served = self.served.lock();
        match served.get(runtime) {
            Some((made_with, cell)) if *made_with == edition => Arc::clone(cell),
            _ => {
                let cell = Cell::default();
                served.insert(runtime.to_owned(), (edition, Arc::clone(&cell)));
                cell
            }
        }
    }
}

impl Maker {
    fn make(&self, found: &[Interpreter], runtime: &str, family: Family, version: Version) -> Result<Served, String> {
        let chosen = choice::choose(found, &self.settings, runtime, family, version);
        let interpreter = chosen.map_err(|error| error.to_string())?;
        let served = self.prepare(found, runtime, version, interpreter).map_err(|error| {
            format!("Lamplight failed to prepare {} for {runtime}: {error}", interpreter.program.display())
        })?;
        if let Some(warning) = &served.warning {
            tracing::warn!(runtime, "{warning}");
        }
        Ok(served)
    }

    fn prepare(
        &self,
        found: &[Interpreter],
        runtime: &str,
        version: Version,
        interpreter: &Interpreter,
    ) -> io::Result<Served> {
        let family = interpreter.family;
        let below_usr = interpreter.program.starts_with("/usr");
        let lang_dir = if below_usr { self.links_to(runtime, interpreter)? } else { interpreter.prefix.clone() };
        let name = interpreter.program.file_name().unwrap_or_default();
        let (major, minor, patch) = interpreter.full_version;
        let numbers = match family {
            Family::Python | Family::Ruby => format!("{major}.{minor}.v{patch}"),
            Family::Node | Family::Java | Family::Provided => format!("{major}.v{minor}"),
        };
        let sdks = sdk::edition(&self.settings.sdk_dir, runtime, family);
        let (runtime_dir, bootstrap) = self.runtime_dir(found, runtime, interpreter)?;
        let warning = (interpreter.version() != version).then(|| {
            format!(
                "Lamplight: this machine has no {runtime}; {} ({major}.{minor}.{patch}) runs it instead",
                family.runtime(interpreter.version())
            )
        });
        Ok(Served {
            family,
            label: format!("{}:{numbers}", family.word()),
            version: interpreter.full_version,
            program: Path::new("/var/lang/bin").join(name),
            bootstrap,
            runtime_dir: Some(runtime_dir),
            lang_dir: Some(lang_dir),
            is_relocated: !below_usr,
            sdks,
            warning,
        })
    }

    /// A `/var/lang` whose `bin` has links to an interpreter below `/usr`.
    fn links_to(&self, runtime: &str, interpreter: &Interpreter) -> io::Result<PathBuf> {
        let dir = self.dir.join(format!("lang-{runtime}"));
        let bin = dir.join("bin");
        make_dir(&dir)?;
        make_dir(&bin)?;
        let name = interpreter.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned();
        let (major, ..) = interpreter.full_version;
        for link in [name, format!("{bare}{major}"), bare] {
            match symlink(&interpreter.program, bin.join(link)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(dir)
    }

    /// A `/var/runtime` with the SDKs that are in place and our bootstrap, and what of it the interpreter runs.
    fn runtime_dir(
        &self,
        found: &[Interpreter],
        runtime: &str,
        interpreter: &Interpreter,
    ) -> io::Result<(PathBuf, String)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("runtime-{runtime}-{number}"));
        make_dir(&dir)?;
        match self.fill(&dir, found, runtime, interpreter) {
            Ok(bootstrap) => Ok((dir, bootstrap)),
            Err(error) => {
                // The next cold start makes another.
                fs::remove_dir_all(&dir).ok();
                Err(error)
            }
        }
    }

    fn fill(&self, dir: &Path, found: &[Interpreter], runtime: &str, interpreter: &Interpreter) -> io::Result<String> {
        let family = interpreter.family;
        for sdk in sdk::folders(&self.settings.sdk_dir, runtime, family) {
            crate::code::copy_over(&sdk, dir)?;
        }
        match family.bootstrap() {
            Some(Bootstrap::File { name, text }) => {
                let path = dir.join(name);
                // What the SDKs have there is a link to the operator's file.
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => fs::write(&path, text)?,
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
                let compiled =
                    (family == Family::Python).then(|| compile_python(&interpreter.program, &path)).flatten();
                Ok(format!("/var/runtime/{}", compiled.unwrap_or(name)))
            }
            Some(Bootstrap::Java) => {
                let _one_at_a_time = self.compiling.lock();
                let classes = java::classes(&self.settings.cache_dir, found.iter())?;
                make_dir(&dir.join("bootstrap"))?;
                crate::code::copy_over(&classes, &dir.join("bootstrap"))?;
                Ok(java::MAIN_CLASS.to_owned())
            }
            None => Ok(String::new()),
        }
    }
}

/// Compiles the bootstrap at `path`, which an interpreter would otherwise do at each start; its new name.
fn compile_python(python: &Path, path: &Path) -> Option<&'static str> {
    const COMPILE: &str =
        "import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], sys.argv[3], doraise=True)";
    const NAME: &str = "bootstrap.pyc";
    let mut command = Command::new(python);
    // Stack traces name the file as it is seen inside.
    command.args(["-I", "-S", "-c", COMPILE]).arg(path).arg(path.with_file_name(NAME)).arg("/var/runtime/bootstrap.py");
    let compiled = command.stdin(Stdio::null()).output();
    let is_compiled = compiled.is_ok_and(|compiled| compiled.status.success())
        && fs::set_permissions(path.with_file_name(NAME), fs::Permissions::from_mode(0o644)).is_ok();
    // As source it runs as well.
    is_compiled.then_some(NAME)
}

fn provided(runtime: &str) -> Served {
    let system = runtime.strip_prefix("provided.").unwrap_or("al1");
    Served {
        family: Family::Provided,
        label: format!("provided:{system}.v1"),
        version: (0, 0, 0),
        lang_dir: None,
        runtime_dir: None,
        program: PathBuf::new(),
        bootstrap: String::new(),
        is_relocated: false,
        sdks: sdk::Edition::default(),
        warning: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> (Maker, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::new(dir.path().join("cache"), dir.path().join("sdks"));
        let (compiling, made) = (Mutex::default(), AtomicU32::default());
        (Maker { settings, dir: dir.path().join("made"), compiling, made }, dir)
    }

    fn python(minor: u32, patch: u32) -> Interpreter {
        let program = PathBuf::from(format!("/usr/bin/python3.{minor}"));
        Interpreter { family: Family::Python, full_version: (3, minor, patch), prefix: "/usr".into(), program }
    }

    #[test]
    fn names_of_runtimes_are_understood() {
        for (name, expected) in [
            ("python3.13", Some((Family::Python, (3, 13)))),
            ("nodejs22.x", Some((Family::Node, (22, 0)))),
            ("java8.al2", Some((Family::Java, (8, 0)))),
            ("java21", Some((Family::Java, (21, 0)))),
            ("ruby3.4", Some((Family::Ruby, (3, 4)))),
            ("provided.al2023", Some((Family::Provided, (0, 0)))),
            ("dotnet8", None),
            ("python", None),
            ("python3.x", None),
            ("providedx", None),
        ] {
            assert_eq!(Family::of(name), expected, "{name}");
        }
    }

    #[test]
    fn another_version_warns_and_is_linked() {
        let (maker, dir) = maker();
        make_dir(&dir.path().join("made")).unwrap();
        fs::create_dir_all(dir.path().join("sdks/python")).unwrap();
        fs::write(dir.path().join("sdks/python/sdk.py"), "").unwrap();
        let program = PathBuf::from("/usr/bin/env");
        let interpreter = Interpreter { program, ..python(13, 7) };
        let served = maker.prepare(&[], "python3.14", (3, 14), &interpreter).unwrap();
        assert_eq!(served.label, "python:3.13.v7");
        assert!(served.warning.unwrap().contains("python3.13 (3.13.7) runs it instead"));
        assert!(fs::symlink_metadata(served.lang_dir.unwrap().join("bin/env3")).unwrap().is_symlink());
        let runtime_dir = served.runtime_dir.unwrap();
        assert!(runtime_dir.join("sdk.py").exists() && runtime_dir.join("bootstrap.py").exists());
    }

    #[test]
    fn what_cannot_be_prepared_leaves_nothing() {
        let (maker, dir) = maker();
        make_dir(&dir.path().join("made")).unwrap();
        let jre = Interpreter {
            family: Family::Java,
            full_version: (21, 0, 5),
            prefix: "/nowhere/jre".into(),
            program: "/nowhere/jre/bin/java".into(),
        };
        let error = maker.prepare(std::slice::from_ref(&jre), "java21", (21, 0), &jre).unwrap_err();
        assert!(error.to_string().contains("only a JRE was found"), "{error}");
        assert_eq!(fs::read_dir(dir.path().join("made")).unwrap().count(), 0);
    }
}
