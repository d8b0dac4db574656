//! The SDKs that AWS ships in its runtimes: where they are kept, which are there, and what to say where one is missed.
//!
//! Below one folder, a folder for a runtime (`python3.13`) or for a whole language (`nodejs`); what is in them appears
//! in `/var/runtime`, the runtime's own over the language's. `lamp runtimes add` puts them there, or the operator does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Family;
use super::find::Interpreter;
use crate::limits::{ERROR_BYTES_READ, PACKAGE_CHARS_MAX};

/// An SDK that functions of a runtime find, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdk {
    /// Such as `boto3`.
    pub name: &'static str,
    pub version: String,
    pub folder: PathBuf,
}

/// The folders that make up a runtime's, those that are there; later ones go over earlier ones.
pub fn folders(sdk_dir: &Path, runtime: &str, family: Family) -> Vec<PathBuf> {
    let folders = [family.word(), runtime].map(|name| sdk_dir.join(name));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// Tells one state of a runtime's SDKs from the next, where folders are replaced as a whole.
pub type Edition = Vec<(u64, i64, i64)>;

pub fn edition(sdk_dir: &Path, runtime: &str, family: Family) -> Edition {
    let metadata = folders(sdk_dir, runtime, family).into_iter().filter_map(|folder| fs::metadata(folder).ok());
    metadata.map(|metadata| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())).collect()
}

/// The SDK that functions of a runtime find: what was put in place, else what the interpreter has itself.
pub fn of(sdk_dir: &Path, runtime: &str, family: Family, interpreter: &Interpreter) -> Option<Sdk> {
    let (major, minor) = interpreter.version();
    let own = (family == Family::Python)
        .then(|| interpreter.prefix.join(format!("lib/python{major}.{minor}/site-packages")))
        // Debian's own packages are not where AWS's search path leads.
        .filter(|_| !interpreter.program.starts_with("/usr"));
    let mut folders = folders(sdk_dir, runtime, family).into_iter().rev().chain(own);
    folders.find_map(|folder| Some(Sdk { name: family.sdk()?, version: within(family, &folder)?, folder }))
}

/// The version of the SDK in a folder, if it is there.
fn within(family: Family, folder: &Path) -> Option<String> {
    match family {
        Family::Python => {
            let installed = names(folder)
                .find_map(|name| version_in(&name, "boto3-")?.strip_suffix(".dist-info").map(str::to_owned));
            installed.or_else(|| folder.join("boto3").is_dir().then(String::new))
        }
        Family::Node => {
            let scope = folder.join("node_modules/@aws-sdk");
            let client = names(&scope).filter(|name| name.starts_with("client-")).min()?;
            let about = fs::read(scope.join(client).join("package.json")).ok()?;
            let about: serde_json::Value = serde_json::from_slice(&about).ok()?;
            Some(about["version"].as_str().unwrap_or_default().to_owned())
        }
        Family::Ruby => {
            names(&folder.join("gems")).find_map(|name| version_in(&name, "aws-sdk-core-").map(str::to_owned))
        }
        Family::Java | Family::Provided => None,
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn version_in<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    name.strip_prefix(prefix).filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// Knows what to say to functions of one runtime that miss an SDK which AWS ships with it.
#[derive(Debug, Clone)]
pub struct Advice {
    pub family: Family,
    pub runtime: String,
    /// How the operator puts one in place; the runtime's name goes behind it.
    pub add: String,
    pub sdk_dir: PathBuf,
    /// What the instance sees for its whole life.
    pub seen: Edition,
}

impl Advice {
    /// For the log of a function that failed with this error: the command that would have helped.
    pub fn on(&self, error: &[u8]) -> Option<String> {
        let error = String::from_utf8_lossy(error.get(..ERROR_BYTES_READ).unwrap_or(error));
        let (name, package) = missed(self.family, &error)?;
        let package = package.map(|package| format!(" --package {package}")).unwrap_or_default();
        let Advice { runtime, add, .. } = self;
        Some(format!(
            "Lamplight: AWS ships {name} with {runtime}; here this puts it in place: {add} {runtime}{package}"
        ))
    }

    /// Whether another instance may find what this one misses, now or soon. What a function says of its error alone is
    /// no reason to let an instance go.
    pub fn is_outdated(&self) -> bool {
        self.seen.is_empty() || self.seen != edition(&self.sdk_dir, &self.runtime, self.family)
    }
}

/// What an error says is missing of what AWS ships, and the package by which it is asked for where the SDK is many, of
/// which not all come unasked.
fn missed(family: Family, error: &str) -> Option<(String, Option<String>)> {
    let named = |before: &str| {
        let (_, rest) = error.split_once(before)?;
        let is_name = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
        Some(rest.chars().take_while(is_name).take(PACKAGE_CHARS_MAX).collect::<String>())
    };
    match family {
        Family::Python => {
            let name = named("No module named '")?;
            PYTHON.contains(&name.as_str()).then_some((name, None))
        }
        Family::Node => {
            let name = named("Cannot find module '").or_else(|| named("Cannot find package '"))?;
            let mut parts = name.split('/');
            let (scope, package) = (parts.next()?, parts.next()?);
            let name = format!("{scope}/{package}");
            matches!(scope, "@aws-sdk" | "@smithy").then(|| (name.clone(), Some(name)))
        }
        Family::Ruby => {
            let name = named("cannot load such file -- ")?;
            let gem = name.split('/').next().unwrap_or_default().to_owned();
            (gem == "aws-sdk" || gem.starts_with("aws-sdk-")).then_some((name, Some(gem)))
        }
        Family::Java | Family::Provided => None,
    }
}

/// What AWS has in its Python runtimes.
const PYTHON: [&str; 7] = ["boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"];

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(family: Family, error: &str) -> Option<String> {
        let (sdk_dir, seen) = ("/nowhere".into(), Edition::default());
        Advice { family, runtime: "r".into(), add: "add".into(), sdk_dir, seen }.on(error.as_bytes())
    }

    #[test]
    fn an_import_error_of_what_aws_ships_says_how_to_get_it() {
        let says = |name: &str, end: &str| {
            Some(format!("Lamplight: AWS ships {name} with r; here this puts it in place: add r{end}"))
        };
        let python = r#"{"errorMessage": "Unable to import module 'app': No module named 'boto3'", "errorType": "Runtime.ImportModuleError"}"#;
        assert_eq!(advice(Family::Python, python), says("boto3", ""));
        let node = "Error: Cannot find module '@aws-sdk/client-sts'\\nRequire stack:\\n- /var/task/index.js";
        assert_eq!(advice(Family::Node, node), says("@aws-sdk/client-sts", " --package @aws-sdk/client-sts"));
        let esm = "Cannot find package '@aws-sdk/lib-dynamodb' imported from /var/task/index.mjs";
        assert_eq!(advice(Family::Node, esm), says("@aws-sdk/lib-dynamodb", " --package @aws-sdk/lib-dynamodb"));
        let ruby = "cannot load such file -- aws-sdk-sts";
        assert_eq!(advice(Family::Ruby, ruby), says("aws-sdk-sts", " --package aws-sdk-sts"));
    }

    #[test]
    fn other_errors_say_nothing() {
        for (family, error) in [
            (Family::Python, "No module named 'requests'"),
            (Family::Python, "No module named 'boto3.missing'"),
            (Family::Python, "Cannot find module '@aws-sdk/client-sts'"),
            (Family::Node, "Cannot find module './lib'"),
            (Family::Node, "Cannot find module '@aws-sdk'"),
            (Family::Node, "Cannot find module 'lodash'"),
            (Family::Ruby, "cannot load such file -- nokogiri"),
            (Family::Java, "cannot load such file -- aws-sdk-sts"),
            (Family::Python, ""),
        ] {
            assert_eq!(advice(family, error), None, "{error}");
        }
    }

    #[test]
    fn what_is_in_place_tells_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(dir.path().join(path)).unwrap();
        make("python3.13/boto3-1.40.1.dist-info");
        make("ruby/gems/aws-sdk-core-3.240.0");
        make("ruby/gems/aws-sdk-s3-1.9.0");
        make("nodejs/node_modules/@aws-sdk/client-sts");
        let about = dir.path().join("nodejs/node_modules/@aws-sdk/client-sts/package.json");
        fs::write(about, r#"{"version": "3.9.1"}"#).unwrap();
        let interpreter = |family, version| Interpreter {
            family,
            full_version: version,
            prefix: "/nowhere".into(),
            program: "/nowhere/bin/it".into(),
        };
        let version = |family, runtime: &str| {
            of(dir.path(), runtime, family, &interpreter(family, (3, 13, 0))).map(|sdk| sdk.version)
        };
        assert_eq!(version(Family::Python, "python3.13").as_deref(), Some("1.40.1"));
        assert_eq!(version(Family::Python, "python3.12"), None);
        assert_eq!(version(Family::Node, "nodejs22.x").as_deref(), Some("3.9.1"));
        assert_eq!(version(Family::Ruby, "ruby3.4").as_deref(), Some("3.240.0"));
        assert_ne!(
            edition(dir.path(), "python3.13", Family::Python),
            edition(dir.path(), "python3.12", Family::Python)
        );
    }
}
