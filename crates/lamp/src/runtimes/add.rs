//! `lamp runtimes add` and `remove`: SDKs below the data directory, each folder made beside and put in place as a
//! whole. A server that runs shows the new one to instances that it starts from then on; those that run keep what they
//! have.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use runtime::{Family, RUNTIMES, Serving};
use rustix::fs::{CWD, FlockOperation, Mode, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::recipe;
use crate::cli::{AddRuntime, RemoveRuntime};
use crate::config::{self, Config};
use crate::functions;

/// In each folder: what it was made from.
const NOTE: &str = ".lamp-sdk.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Packages that were asked for by name.
    packages: BTreeSet<String>,
}

pub fn add(options: AddRuntime) -> Result<(), Box<dyn Error>> {
    let config = Config::of(options.place, options.interpreters)?;
    let settings = functions::settings(&config);
    if let Some(bad) = options.packages.iter().find(|package| !recipe::is_package(package)) {
        return Err(
            format!("take {bad:?} for a package: it takes a name, such as those that import errors tell").into()
        );
    }
    // What suits one version of a language may not suit the next, so each gets its own.
    let mut names = match Family::named(&options.name) {
        Some(family) => served(&settings, family),
        None => Vec::new(),
    };
    if names.is_empty() {
        names.push(options.name);
    }
    for name in &names {
        add_to(&settings, &config.data_dir, name, &options.packages)?;
    }
    println!("New instances find it; a server need not be started again.");
    Ok(())
}

/// The runtimes of a language that this machine serves.
fn served(settings: &runtime::Settings, family: Family) -> Vec<String> {
    let offers = runtime::survey(settings, &RUNTIMES).into_iter();
    let offers = offers.filter(|offer| offer.family == family && matches!(offer.serving, Serving::By { .. }));
    offers.map(|offer| offer.runtime).collect()
}

fn add_to(
    settings: &runtime::Settings,
    data_dir: &Path,
    name: &str,
    packages: &[String],
) -> Result<(), Box<dyn Error>> {
    let Some(offer) = runtime::survey(settings, &[name]).pop() else {
        return Err(
            format!("know {name:?}: it is a runtime, such as {}, or python, nodejs or ruby", RUNTIMES[4]).into()
        );
    };
    let Some(sdk) = offer.family.sdk() else {
        println!("{name} needs nothing: AWS ships no SDK in it");
        return Ok(());
    };
    let interpreter = match offer.serving {
        Serving::By { interpreter, is_other_version, .. } => {
            if is_other_version {
                eprintln!("lamp: this machine has no {name}: {} serves it", interpreter.words());
            }
            interpreter
        }
        Serving::Own => return Ok(()),
        Serving::None { reason, remedy } => return Err(format!("serve {name}: {reason}; {remedy}").into()),
    };
    let sdks = Sdks::open(functions::sdk_dir(data_dir))?;
    let mut note = sdks.note(name);
    note.packages.extend(packages.iter().cloned());
    let usual = recipe::usual(offer.family);
    let more = note.packages.iter().filter(|package| !usual.contains(&package.as_str()));
    let packages: Vec<String> = usual.iter().map(|package| (*package).to_owned()).chain(more.cloned()).collect();
    println!("{name}: fetching {} for {}", named(sdk, &packages), interpreter.program.display());
    let made = sdks.make(name, &note, |folder| recipe::fetch(&interpreter, &packages, folder))?;
    let sdk = runtime::survey(settings, &[name]).pop().and_then(|offer| match offer.serving {
        Serving::By { sdk, .. } => sdk,
        Serving::Own | Serving::None { .. } => None,
    });
    let version = sdk.map(|sdk| format!("{} {}, ", sdk.name, sdk.version)).unwrap_or_default();
    println!("{name}: {version}{} MB, in {}", made.bytes.div_ceil(1_000_000), made.folder.display());
    Ok(())
}

/// What is fetched, short.
fn named(sdk: &str, packages: &[String]) -> String {
    if let [one] = packages { one.clone() } else { format!("{sdk}, {} packages", packages.len()) }
}

pub fn remove(options: RemoveRuntime) -> Result<(), Box<dyn Error>> {
    let name = options.name;
    let dir = functions::sdk_dir(&config::data_dir(options.place)?);
    let family = Family::named(&name);
    // The name becomes a path.
    let mut names = Vec::from_iter((family.is_some() || runtime::has_interpreter(&name)).then(|| name.clone()));
    let is_of_family = |name: &&str| family.is_some() && Family::of(name).map(|(family, _)| family) == family;
    names.extend(RUNTIMES.into_iter().filter(is_of_family).map(str::to_owned));
    names.retain(|name| dir.join(name).is_dir());
    if names.is_empty() {
        return Err(format!("remove the SDK of {name}: there is none in {}", dir.display()).into());
    }
    let sdks = Sdks::open(dir)?;
    for name in names {
        sdks.remove(&name)?;
        println!("{name}: removed");
    }
    Ok(())
}

/// The folder of SDKs, for one process at a time to change.
struct Sdks {
    dir: PathBuf,
    _lock: File,
}

/// An SDK, in place.
struct Made {
    folder: PathBuf,
    bytes: u64,
}

impl Sdks {
    fn open(dir: PathBuf) -> Result<Self, Box<dyn Error>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(at(&dir))?;
        let path = dir.join(".lock");
        let lock = File::create(&path).map_err(at(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(Errno::WOULDBLOCK) => {
                Err(format!("change {}: another lamp runtimes is doing so", dir.display()).into())
            }
            Err(error) => Err(at(&path)(error.into()).into()),
        }
    }

    fn note(&self, name: &str) -> Note {
        let note = fs::read(self.dir.join(name).join(NOTE)).ok();
        // A folder that somebody else made has none.
        note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default()
    }

    /// Has a folder filled and puts it in place of the one that is there.
    fn make(
        &self,
        name: &str,
        note: &Note,
        fill: impl FnOnce(&Path) -> Result<(), recipe::RecipeError>,
    ) -> Result<Made, Box<dyn Error>> {
        let making = Making::new(self.dir.join(format!(".making-{name}")))?;
        // Functions run as other users.
        let before = rustix::process::umask(Mode::from_raw_mode(0o022));
        let filled = fill(&making.0);
        rustix::process::umask(before);
        filled?;
        fs::write(making.0.join(NOTE), serde_json::to_vec(note)?).map_err(at(&making.0))?;
        let bytes = open_to_all(&making.0).map_err(at(&making.0))?;
        // What is in place must be whole, also after a power cut.
        let synced = File::open(&making.0).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?));
        synced.map_err(at(&making.0))?;
        let folder = self.dir.join(name);
        match renameat_with(CWD, &making.0, CWD, &folder, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // The old one, if any, cannot be exchanged: this moment without any has no cure.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
                remove_dir(&folder).and_then(|()| fs::rename(&making.0, &folder)).map_err(at(&folder))?;
            }
            Err(error) => return Err(at(&folder)(error.into()).into()),
        }
        Ok(Made { folder, bytes })
    }

    fn remove(&self, name: &str) -> Result<(), Box<dyn Error>> {
        let going = Making::new(self.dir.join(format!(".making-{name}")))?;
        fs::remove_dir(&going.0).and_then(|()| fs::rename(self.dir.join(name), &going.0)).map_err(at(&going.0))?;
        Ok(())
    }
}

/// A folder that is not in place: whatever is in it when this is dropped goes.
struct Making(PathBuf);

impl Making {
    /// Takes away what an earlier try left.
    fn new(folder: PathBuf) -> Result<Self, String> {
        let made = remove_dir(&folder).and_then(|()| DirBuilder::new().mode(0o755).create(&folder));
        made.map_err(at(&folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // What stays goes next time.
        remove_dir(&self.0).ok();
    }
}

fn remove_dir(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lets everybody read what is in a folder, and counts its bytes.
fn open_to_all(top: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
                fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    Ok(bytes)
}

/// An error about a path, that fits "failed to ...".
fn at(path: &Path) -> impl Fn(io::Error) -> String + use<> {
    let path = path.to_owned();
    move |error| format!("write {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(sdks: &Sdks, name: &str) -> Option<String> {
        fs::read_to_string(sdks.dir.join(name).join("sdk.py")).ok()
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let sdks = Sdks::open(dir.path().join("data/sdk")).unwrap();
        let note = Note { packages: ["more".to_owned()].into() };
        let fill = |text: &'static str| {
            move |folder: &Path| {
                fs::write(folder.join("sdk.py"), text).unwrap();
                fs::set_permissions(folder.join("sdk.py"), Permissions::from_mode(0o600)).unwrap();
                Ok(())
            }
        };
        sdks.make("python3.13", &note, fill("one")).unwrap();
        let made = sdks.make("python3.13", &note, fill("two")).unwrap();
        assert_eq!(content(&sdks, "python3.13").as_deref(), Some("two"));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(made.folder.clone()), mode(made.folder.join("sdk.py"))), (0o755, 0o644));
        assert!(sdks.note("python3.13").packages.contains("more"));

        let fails = |_: &Path| Err(recipe::RecipeError::Run { tool: "pip".into(), source: io::Error::other("no") });
        assert!(sdks.make("python3.13", &note, fails).is_err());
        assert_eq!(content(&sdks, "python3.13").as_deref(), Some("two"));
        sdks.remove("python3.13").unwrap();
        let left: Vec<_> = fs::read_dir(&sdks.dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn one_process_changes_them_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Sdks::open(dir.path().to_owned()).unwrap();
        let second = Sdks::open(dir.path().to_owned()).map(|_| ()).unwrap_err().to_string();
        assert!(second.contains("another lamp runtimes"), "{second}");
    }
}
