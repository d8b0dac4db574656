//! What AWS ships in each language's runtimes, and by which commands of the language's own package manager it is had.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runtime::{Family, Interpreter};
use serde_json::{Map, Value, json};

/// What AWS ships in Python's runtimes comes with these.
const PYTHON: [&str; 1] = ["boto3"];

/// Of the clients of Node.js and Ruby AWS ships all, some hundreds; these are those that functions ask for most.
const NODE: [&str; 42] = [
    "@aws-sdk/client-api-gateway",
    "@aws-sdk/client-apigatewaymanagementapi",
    "@aws-sdk/client-apigatewayv2",
    "@aws-sdk/client-athena",
    "@aws-sdk/client-bedrock-runtime",
    "@aws-sdk/client-cloudformation",
    "@aws-sdk/client-cloudwatch",
    "@aws-sdk/client-cloudwatch-logs",
    "@aws-sdk/client-cognito-identity-provider",
    "@aws-sdk/client-dynamodb",
    "@aws-sdk/client-dynamodb-streams",
    "@aws-sdk/client-ecr",
    "@aws-sdk/client-ecs",
    "@aws-sdk/client-eventbridge",
    "@aws-sdk/client-firehose",
    "@aws-sdk/client-glue",
    "@aws-sdk/client-iam",
    "@aws-sdk/client-iot-data-plane",
    "@aws-sdk/client-kinesis",
    "@aws-sdk/client-kms",
    "@aws-sdk/client-lambda",
    "@aws-sdk/client-pinpoint",
    "@aws-sdk/client-rds-data",
    "@aws-sdk/client-rekognition",
    "@aws-sdk/client-route-53",
    "@aws-sdk/client-s3",
    "@aws-sdk/client-scheduler",
    "@aws-sdk/client-secrets-manager",
    "@aws-sdk/client-ses",
    "@aws-sdk/client-sesv2",
    "@aws-sdk/client-sfn",
    "@aws-sdk/client-sns",
    "@aws-sdk/client-sqs",
    "@aws-sdk/client-ssm",
    "@aws-sdk/client-sts",
    "@aws-sdk/client-xray",
    "@aws-sdk/credential-providers",
    "@aws-sdk/lib-dynamodb",
    "@aws-sdk/lib-storage",
    "@aws-sdk/s3-presigned-post",
    "@aws-sdk/s3-request-presigner",
    "@aws-sdk/util-dynamodb",
];

const RUBY: [&str; 29] = [
    "aws-sdk-apigateway",
    "aws-sdk-apigatewaymanagementapi",
    "aws-sdk-bedrockruntime",
    "aws-sdk-cloudformation",
    "aws-sdk-cloudwatch",
    "aws-sdk-cloudwatchlogs",
    "aws-sdk-cognitoidentityprovider",
    "aws-sdk-core",
    "aws-sdk-dynamodb",
    "aws-sdk-dynamodbstreams",
    "aws-sdk-ecs",
    "aws-sdk-eventbridge",
    "aws-sdk-firehose",
    "aws-sdk-iam",
    "aws-sdk-kinesis",
    "aws-sdk-kms",
    "aws-sdk-lambda",
    "aws-sdk-rdsdataservice",
    "aws-sdk-s3",
    "aws-sdk-scheduler",
    "aws-sdk-secretsmanager",
    "aws-sdk-ses",
    "aws-sdk-sesv2",
    "aws-sdk-sns",
    "aws-sdk-sqs",
    "aws-sdk-ssm",
    "aws-sdk-states",
    "aws-sdk-xray",
    // By which the SDK reads XML: Ruby has its own where AWS's GEM_PATH does not lead.
    "rexml",
];

/// The last release of the SDK for each of these versions of Node.js and those before.
const NODE_LAST: [(u32, &str); 1] = [(18, "<3.968.0")];

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("find {tool} for {program}: {remedy}")]
    NoTool { tool: &'static str, program: PathBuf, remedy: String },
    #[error("run {tool}")]
    Run { tool: String, source: io::Error },
    #[error(
        "have {tool} fetch the packages; it ended with {status}:\n{said}\nIt takes a way to the package registry, by the \
         configuration and the proxy of {tool}. What was there before is still in place"
    )]
    Refused { tool: String, status: std::process::ExitStatus, said: String },
    #[error("write below {folder}")]
    Write { folder: PathBuf, source: io::Error },
}

/// The packages of a language that come unasked.
pub fn usual(family: Family) -> &'static [&'static str] {
    match family {
        Family::Python => &PYTHON,
        Family::Node => &NODE,
        Family::Ruby => &RUBY,
        Family::Java | Family::Provided => &[],
    }
}

/// Fetches packages into an empty folder, as it is to appear in `/var/runtime`.
pub fn fetch(interpreter: &Interpreter, packages: &[String], into: &Path) -> Result<(), RecipeError> {
    match interpreter.family {
        Family::Python => python(&interpreter.program, packages, into),
        Family::Node => node(interpreter, packages, into),
        Family::Ruby => ruby(interpreter, packages, into),
        Family::Java | Family::Provided => Ok(()),
    }
}

fn python(python: &Path, packages: &[String], into: &Path) -> Result<(), RecipeError> {
    let mut asked = Command::new(python);
    asked.args(["-I", "-c", "import pip"]).stdin(Stdio::null()).stderr(Stdio::null());
    if !asked.status().is_ok_and(|status| status.success()) {
        let remedy = format!("run {} -m ensurepip, or apt-get install python3-pip", python.display());
        return Err(RecipeError::NoTool { tool: "pip", program: python.to_owned(), remedy });
    }
    let mut pip = Command::new(python);
    pip.args(["-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"])
        .args(["--no-warn-script-location", "--root-user-action=ignore", "--target"])
        .arg(into)
        .args(packages)
        // What would put it elsewhere.
        .env("PIP_USER", "0");
    run("pip", into, &mut pip)?;
    remove(&into.join("bin"))?;
    // Compiled now, since nobody can write there later, and for wherever the files come to lie.
    let mut compile = Command::new(python);
    compile.args(["-I", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]);
    compile.arg("-s").arg(into).args(["-p", "/var/runtime"]).arg(into).stdin(Stdio::null());
    // What does not compile is not for this version, and runs as source if at all.
    compile.output().map_err(|source| RecipeError::Run { tool: "compileall".to_owned(), source })?;
    Ok(())
}

fn node(interpreter: &Interpreter, packages: &[String], into: &Path) -> Result<(), RecipeError> {
    let program = tool("npm", interpreter, "apt-get install npm, or take Node.js from nvm, which brings it")?;
    let (major, ..) = interpreter.full_version;
    let range = NODE_LAST.iter().find(|(last, _)| major <= *last).map_or("latest", |(_, range)| *range);
    let is_sdk = |package: &str| package.starts_with("@aws-sdk/");
    let wanted = packages.iter().map(|name| (name.clone(), Value::from(if is_sdk(name) { range } else { "latest" })));
    let about = json!({ "private": true, "dependencies": wanted.collect::<Map<String, Value>>() });
    let write = |source| RecipeError::Write { folder: into.to_owned(), source };
    fs::write(into.join("package.json"), about.to_string()).map_err(write)?;
    let mut npm = Command::new(program);
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--omit=dev"])
        .args(["--loglevel=error", "--no-update-notifier", "--global=false", "--prefix"])
        .arg(into);
    run("npm", into, &mut npm)?;
    remove(&into.join("package.json"))?;
    remove(&into.join("node_modules/.bin"))?;
    remove(&into.join("node_modules/.package-lock.json"))?;
    prune(&into.join("node_modules")).map_err(write)
}

/// Takes away what Node.js never loads: types, maps of sources, and what is for other bundlers.
fn prune(modules: &Path) -> io::Result<()> {
    let mut folders = vec![modules.to_owned()];
    while let Some(folder) = folders.pop() {
        let is_common = is_loaded_from_common(&folder);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            match entry.file_type()?.is_dir() {
                true if name == "dist-types" || (name == "dist-es" && is_common) => fs::remove_dir_all(path)?,
                true => folders.push(path),
                false if [".d.ts", ".map", ".md"].iter().any(|end| name.ends_with(end)) => fs::remove_file(path)?,
                false => {}
            }
        }
    }
    Ok(())
}

/// Whether Node.js takes a package from its `dist-cjs`, by `import` too.
fn is_loaded_from_common(package: &Path) -> bool {
    let about = fs::read(package.join("package.json")).ok();
    let about: Option<Value> = about.and_then(|about| serde_json::from_slice(&about).ok());
    let Some(about) = about else { return false };
    let is_common =
        |entry: &Value| entry.as_str().is_some_and(|entry| entry.trim_start_matches("./").starts_with("dist-cjs/"));
    match about.get("exports").and_then(Value::as_object) {
        None => is_common(&about["main"]),
        // What is under `node` goes before what is under `import`.
        Some(exports) => {
            exports.values().all(|export| is_common(&export["node"]) || !export.to_string().contains("dist-es/"))
        }
    }
}

fn ruby(interpreter: &Interpreter, packages: &[String], into: &Path) -> Result<(), RecipeError> {
    let program = tool("gem", interpreter, "apt-get install ruby, or take Ruby from rbenv, which brings it")?;
    let mut gem = Command::new(&interpreter.program);
    gem.arg(program)
        .args(["install", "--quiet", "--no-document", "--no-user-install", "--install-dir"])
        .arg(into)
        .args(packages)
        .env_remove("GEM_HOME")
        .env_remove("GEM_PATH")
        .env_remove("RUBYOPT");
    run("gem", into, &mut gem)?;
    ["bin", "cache", "doc", "build_info", "plugins"].iter().try_for_each(|name| remove(&into.join(name)))
}

/// A program that comes with an interpreter: beside it, else on the path.
fn tool(name: &'static str, interpreter: &Interpreter, remedy: &str) -> Result<PathBuf, RecipeError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(interpreter.prefix.join("bin")).chain(std::env::split_paths(&path));
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    let program = || interpreter.program.clone();
    found.ok_or_else(|| RecipeError::NoTool { tool: name, program: program(), remedy: remedy.to_owned() })
}

/// Runs a package manager to its end; what it says is shown where it fails. It runs where it writes: the names of
/// packages are no files' there.
fn run(tool: &str, into: &Path, command: &mut Command) -> Result<(), RecipeError> {
    let done = command.current_dir(into).stdin(Stdio::null()).output();
    let done = done.map_err(|source| RecipeError::Run { tool: tool.to_owned(), source })?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(RecipeError::Refused { tool: tool.to_owned(), status: done.status, said: last_lines(&said) })
}

/// What a failing program said last is why it failed.
fn last_lines(said: &[u8]) -> String {
    const LINES: usize = 6;
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    last.iter().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}

fn remove(path: &Path) -> Result<(), RecipeError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path).to_owned();
            Err(RecipeError::Write { folder, source })
        }
        _ => Ok(()),
    }
}

/// Whether a name can be a package's, with Node.js's scope or without, and not a flag, a path or an address.
pub fn is_package(name: &str) -> bool {
    let is_plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_plain(scope) && is_plain(name)),
        None => is_plain(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_names() {
        for (name, expected) in [
            ("@aws-sdk/client-sfn", true),
            ("aws-sdk", true),
            ("simplejson", true),
            // A folder where these tests run.
            ("src", true),
            ("src/main.rs", false),
            ("somebody/repository", false),
            ("@aws-sdk/client-sfn/dist", false),
            ("--index-url", false),
            ("https://example.org/x.tgz", false),
            ("../here", false),
            ("", false),
        ] {
            assert_eq!(is_package(name), expected, "{name}");
        }
    }

    #[test]
    fn why_it_failed_is_in_the_last_lines() {
        let said: String = (1..=20).map(|number| format!("line {number}\n\n")).collect();
        let last = last_lines(said.as_bytes());
        assert!(last.starts_with("  line 15\n") && last.ends_with("  line 20"), "{last}");
    }

    #[test]
    fn only_what_node_loads_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let files = ["dist-types/x.js", "dist-cjs/index.js", "dist-cjs/index.d.ts", "index.js.map", "dist-es/index.js"];
        for (package, about) in [
            ("main", r#"{"main": "./dist-cjs/index.js", "module": "./dist-es/index.js"}"#),
            (
                "node",
                r#"{"exports": {".": {"node": "./dist-cjs/a.js", "import": "./dist-es/a.js"}, "./package.json": "./package.json"}}"#,
            ),
            ("import", r#"{"main": "./dist-cjs/index.js", "exports": {".": {"import": "./dist-es/index.js"}}}"#),
        ] {
            write(&format!("{package}/package.json"), about);
            files.iter().for_each(|file| write(&format!("{package}/{file}"), ""));
        }
        prune(dir.path()).unwrap();
        let left = |package: &str| files.map(|file| dir.path().join(package).join(file).exists());
        assert_eq!(left("main"), [false, true, false, false, false]);
        assert_eq!(left("node"), [false, true, false, false, false]);
        assert_eq!(left("import"), [false, true, false, false, true]);
    }
}
