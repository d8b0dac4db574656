//! The Java bootstrap: compiled once, on this machine, by a JDK that is found here, because class files belong to no
//! source tree. A machine that has only a JRE says what it lacks.
//!
//! A virtual machine starts sooner with an archive of the classes that it will load (class-data sharing; from Java 25 on
//! an AOT cache). Ours has our classes and the library's, and nothing of any function: it is made once for an
//! interpreter (`recipe`), and shown to whoever runs on it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base::hex;
use ring::digest;

use super::prepare::{Recipe, Sees};
use super::{Family, Interpreter, Served};
use crate::code::make_dir;
use crate::variables;

/// The class path of the bootstrap, inside. Archives are of jars alone.
const CLASS_PATH: &str = "/var/runtime/bootstrap/lamplight.jar";
pub const MAIN_CLASS: &str = "lamplight.Bootstrap";
const TRAINING_CLASS: &str = "lamplight.Training";
/// Where an archive is written before it is read.
const ARCHIVE: &str = "/tmp/archive";
const ARCHIVE_MEMORY_BYTES: u64 = 768 * 1024 * 1024;
/// A busy host gives what is made ahead little of its processors.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(120);
const TRAINING_MEMORY_MB: u32 = 256;

/// What AWS's own runtime is let see.
const OPEN_PACKAGES: [&str; 4] = ["java.lang", "java.io", "java.nio", "jdk.internal.misc"];

/// The default. An AOT cache does not go with it.
const SHARE: &str = "-Xshare:auto";

/// What the virtual machine is started with.
pub fn arguments(memory_mb: u32) -> Vec<String> {
    let mut arguments = vec![
        // AWS's share of the memory for the heap; the machine does not see its sandbox's limit.
        format!("-XX:MaxHeapSize={}m", memory_mb.saturating_mul(85) / 100),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        SHARE.to_owned(),
        // Its counters, which nobody inside can read, wake the machine twenty times a second and fill a file in `/tmp`.
        "-XX:-UsePerfData".to_owned(),
        // Where `org.crac` finds who runs hooks round a snapshot.
        "-Dorg.crac.Core.Compat=com.amazonaws.services.lambda.crac".to_owned(),
    ];
    arguments.extend(OPEN_PACKAGES.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
    arguments.extend(["-cp".to_owned(), CLASS_PATH.to_owned()]);
    arguments
}

/// How an archive is made and used, by the version of Java.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Archives {
    None,
    /// Of what is loaded beyond the JDK's own archive, which has come with it since 13.
    Dynamic,
    Ahead,
}

fn archives(served: &Served) -> Archives {
    let major = served.label.trim_start_matches("java:").split('.').next().and_then(|major| major.parse().ok());
    match major.unwrap_or(0_u32) {
        0..=16 => Archives::None,
        17..=24 => Archives::Dynamic,
        _ => Archives::Ahead,
    }
}

/// A virtual machine that loads our classes, writes an archive of them when it ends, and shows it.
pub fn recipe(served: &Served) -> Option<Recipe> {
    let write = match archives(served) {
        Archives::None => return None,
        Archives::Dynamic => format!("-XX:ArchiveClassesAtExit={ARCHIVE}"),
        Archives::Ahead => format!("-XX:AOTCacheOutput={ARCHIVE}"),
    };
    const SCRIPT: &str = "\"$@\" >/dev/null 2>&1 && cat /tmp/archive";
    let mut argv: Vec<String> = ["/bin/sh", "-c", SCRIPT, "sh"].map(str::to_owned).into();
    argv.push(served.program.display().to_string());
    // The heap's size is what differs between functions, and is none of the archive's business.
    argv.extend(arguments(TRAINING_MEMORY_MB).into_iter().filter(|argument| *argument != SHARE));
    argv.extend([write, TRAINING_CLASS.to_owned()]);
    Some(Recipe {
        argv,
        env: variables::libraries(served.is_relocated),
        sees: Sees::Runtime,
        memory_bytes: ARCHIVE_MEMORY_BYTES,
        within: ARCHIVE_WITHIN,
    })
}

/// Whether a function with this environment can have an archive: its own switches may not go with ours.
pub fn takes_archive(env: &BTreeMap<String, String>) -> bool {
    ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"].iter().all(|name| !env.contains_key(*name))
}

/// Has a command line (`arguments`) use the archive at `path`. What the machine says of one that does not fit is nobody's
/// concern.
pub fn use_archive(argv: &mut Vec<String>, served: &Served, path: &str) {
    let more = match archives(served) {
        Archives::None => return,
        Archives::Dynamic => [format!("-XX:SharedArchiveFile={path}"), "-Xlog:cds*=off".to_owned()],
        Archives::Ahead => [format!("-XX:AOTCache={path}"), "-Xlog:cds*=off,aot*=off".to_owned()],
    };
    if let Some(at) = argv.iter().position(|argument| argument == SHARE) {
        argv.splice(at..=at, more);
    }
}

/// Takes that back.
pub fn forget_archive(argv: &mut [String]) {
    let is_archive = |argument: &&mut String| {
        argument.starts_with("-XX:SharedArchiveFile=") || argument.starts_with("-XX:AOTCache=")
    };
    argv.iter_mut().filter(is_archive).for_each(|argument| SHARE.clone_into(argument));
}

/// Whether it can compile.
pub fn is_jdk(found: &Interpreter) -> bool {
    found.family == Family::Java && found.prefix.join("bin/javac").exists()
}

/// The bootstrap's classes, in a folder below `cache_dir` that outlives the server: compiled with the newest JDK of
/// `jdks`, unless they are there. One at a time.
pub fn classes<'j>(cache_dir: &Path, jdks: impl Iterator<Item = &'j Interpreter>) -> io::Result<PathBuf> {
    let classes = cache_dir.join(format!("java-{}", sources()));
    if classes.exists() {
        return Ok(classes);
    }
    let newest = jdks.filter(|jdk| is_jdk(jdk)).max_by_key(|jdk| jdk.full_version).ok_or_else(|| {
        io::Error::other(
            "it takes a JDK to prepare Java, and only a JRE was found; install a JDK, which also has javac",
        )
    })?;
    let making = cache_dir.join("java.making");
    remove(&making)?;
    make_dir(&making)?;
    compile(&newest.prefix.join("bin"), &making)?;
    fs::rename(making.join("jar"), &classes)?;
    remove(&making)?;
    Ok(classes)
}

/// Tells these classes from those of another version of ours.
pub fn sources() -> String {
    let mut digest = digest::Context::new(&digest::SHA256);
    digest.update(b"jar");
    for (name, text) in SOURCES {
        digest.update(name.as_bytes());
        digest.update(text.as_bytes());
    }
    hex::encode(digest.finish().as_ref())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compiles into a jar in `jar` below `folder`.
fn compile(bin: &Path, folder: &Path) -> io::Result<()> {
    let mut command = Command::new(bin.join("javac"));
    // The oldest that AWS's runtimes need and every JDK still writes.
    command.args(["--release", "11", "-nowarn", "-Xlint:-options", "-XDstringConcat=inline", "-d"]);
    command.arg(folder.join("classes"));
    for (name, text) in SOURCES {
        let path = folder.join("sources").join(name);
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        fs::write(&path, text)?;
        command.arg(path);
    }
    succeed(command)?;
    make_dir(&folder.join("jar"))?;
    let file = folder.join("jar/lamplight.jar");
    let mut command = Command::new(bin.join("jar"));
    command.args(["--create", "--no-compress", "--file"]).arg(&file).arg("-C").arg(folder.join("classes")).arg(".");
    succeed(command)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))
}

fn succeed(mut command: Command) -> io::Result<()> {
    let done = command.stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(io::Error::other(format!("{} failed: {said}", command.get_program().display())))
}

/// Names below the sources, and the files.
const SOURCES: &[(&str, &str)] = &[
    (
        "com/amazonaws/services/lambda/crac/CheckpointException.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/CheckpointException.java"),
    ),
    (
        "com/amazonaws/services/lambda/crac/Context.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/Context.java"),
    ),
    (
        "com/amazonaws/services/lambda/crac/Core.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/Core.java"),
    ),
    (
        "com/amazonaws/services/lambda/crac/GlobalContext.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/GlobalContext.java"),
    ),
    (
        "com/amazonaws/services/lambda/crac/Resource.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/Resource.java"),
    ),
    (
        "com/amazonaws/services/lambda/crac/RestoreException.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/crac/RestoreException.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/Client.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/Client.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/ClientContext.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/ClientContext.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/CognitoIdentity.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/CognitoIdentity.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/Context.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/Context.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/CustomPojoSerializer.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/CustomPojoSerializer.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/LambdaLogger.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/LambdaLogger.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/LambdaRuntime.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/LambdaRuntime.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/LambdaRuntimeInternal.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/LambdaRuntimeInternal.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/RequestHandler.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/RequestHandler.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/RequestStreamHandler.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/RequestStreamHandler.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/logging/LogFormat.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/logging/LogFormat.java"),
    ),
    (
        "com/amazonaws/services/lambda/runtime/logging/LogLevel.java",
        include_str!("../../bootstraps/java/com/amazonaws/services/lambda/runtime/logging/LogLevel.java"),
    ),
    ("lamplight/Beans.java", include_str!("../../bootstraps/java/lamplight/Beans.java")),
    ("lamplight/Bootstrap.java", include_str!("../../bootstraps/java/lamplight/Bootstrap.java")),
    ("lamplight/Environment.java", include_str!("../../bootstraps/java/lamplight/Environment.java")),
    ("lamplight/Fault.java", include_str!("../../bootstraps/java/lamplight/Fault.java")),
    ("lamplight/Frames.java", include_str!("../../bootstraps/java/lamplight/Frames.java")),
    ("lamplight/Handler.java", include_str!("../../bootstraps/java/lamplight/Handler.java")),
    ("lamplight/Http.java", include_str!("../../bootstraps/java/lamplight/Http.java")),
    ("lamplight/Json.java", include_str!("../../bootstraps/java/lamplight/Json.java")),
    ("lamplight/Logger.java", include_str!("../../bootstraps/java/lamplight/Logger.java")),
    ("lamplight/Training.java", include_str!("../../bootstraps/java/lamplight/Training.java")),
    ("lamplight/Transport.java", include_str!("../../bootstraps/java/lamplight/Transport.java")),
];
