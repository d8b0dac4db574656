//! The Java bootstrap: compiled once, on this machine, by a JDK that is found here, because class files belong to no
//! source tree. A machine that has only a JRE says what it lacks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::hex;
use ring::digest;

use super::{Family, Interpreter};
use crate::code::make_dir;

/// The class path of the bootstrap, inside.
pub const CLASS_PATH: &str = "/var/runtime/bootstrap";
pub const MAIN_CLASS: &str = "lamplight.Bootstrap";

/// What AWS's own runtime is let see.
const OPEN_PACKAGES: [&str; 4] = ["java.lang", "java.io", "java.nio", "jdk.internal.misc"];

/// What the virtual machine is started with.
pub fn arguments(memory_mb: u32) -> Vec<String> {
    let mut arguments = vec![
        // AWS's share of the memory for the heap; the machine does not see its sandbox's limit.
        format!("-XX:MaxHeapSize={}m", memory_mb.saturating_mul(85) / 100),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-Xshare:auto".to_owned(),
        // Its counters, which nobody inside can read, wake the machine twenty times a second and fill a file in `/tmp`.
        "-XX:-UsePerfData".to_owned(),
        // Where `org.crac` finds who runs hooks round a snapshot.
        "-Dorg.crac.Core.Compat=com.amazonaws.services.lambda.crac".to_owned(),
    ];
    arguments.extend(OPEN_PACKAGES.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
    arguments.extend(["-cp".to_owned(), CLASS_PATH.to_owned()]);
    arguments
}

/// Whether it can compile.
pub fn is_jdk(found: &Interpreter) -> bool {
    found.family == Family::Java && found.prefix.join("bin/javac").exists()
}

/// The bootstrap's classes, in a folder below `cache_dir` that outlives the server: compiled with the newest JDK of
/// `jdks`, unless they are there. One at a time.
pub fn classes<'j>(cache_dir: &Path, jdks: impl Iterator<Item = &'j Interpreter>) -> io::Result<PathBuf> {
    let mut digest = digest::Context::new(&digest::SHA256);
    for (name, text) in SOURCES {
        digest.update(name.as_bytes());
        digest.update(text.as_bytes());
    }
    let classes = cache_dir.join(format!("java-{}", hex::encode(digest.finish().as_ref())));
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
    compile(&newest.prefix.join("bin/javac"), &making)?;
    fs::rename(making.join("classes"), &classes)?;
    remove(&making)?;
    Ok(classes)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compiles into `classes` below `folder`.
fn compile(javac: &Path, folder: &Path) -> io::Result<()> {
    let mut command = Command::new(javac);
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
    let done = command.stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(io::Error::other(format!("{} failed: {said}", javac.display())))
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
    ("lamplight/Transport.java", include_str!("../../bootstraps/java/lamplight/Transport.java")),
];
