//! Functions of the end-to-end tests whose runtime or libraries we did not write: from `e2e/functions` and the registries
//! to folders that become zips, below `functions` among the tools. And the interpreters that the bootstraps are tried with.
//!
//! A function whose tool chain is not on this machine is left out, and its test says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{Tool, call};

pub const FUNCTIONS: &[Tool] = &[
    Tool {
        name: "functions/go",
        needs: &["go"],
        pins: &["../functions/go/go.mod", "../functions/go/go.sum", "../functions/go/main.go"],
        install: go,
    },
    Tool {
        name: "functions/rust",
        needs: &[],
        pins: &[
            "../functions/rust/Cargo.toml",
            "../functions/rust/Cargo.lock",
            "../functions/rust/src/main.rs",
            "../../rust-toolchain.toml",
        ],
        install: rust,
    },
    Tool {
        name: "functions/java",
        needs: &["mvn", "javac", "jlink", "jar"],
        pins: &[
            "../functions/java/pom.xml",
            "../functions/java/bootstrap",
            "../functions/java/app/Client.java",
            "../functions/java/app/Orders.java",
            "../functions/java/cases/Cases.java",
            "../functions/java/snapped/Snapped.java",
        ],
        install: java,
    },
    Tool {
        name: "functions/python",
        needs: &["/usr/bin/python3"],
        pins: &["../functions/python/client.txt", "../functions/python/client.py", "../functions/python/bootstrap"],
        install: python_client,
    },
    Tool {
        name: "functions/powertools",
        needs: &[],
        pins: &["../functions/python/powertools.txt", "../functions/python/powertools.py"],
        install: powertools,
    },
    Tool {
        name: "functions/heavy",
        needs: &[],
        pins: &["../functions/python/heavy.txt", "../functions/python/heavy.py"],
        install: heavy,
    },
    Tool {
        name: "functions/node",
        needs: &[],
        pins: &[
            "../functions/node/libraries/package.json",
            "../functions/node/libraries/libraries.mjs",
            "../functions/node/libraries/sdk.js",
        ],
        install: node_libraries,
    },
    Tool { name: "interpreters", needs: &[], pins: &["../functions/node/interpreters.json"], install: interpreters },
];

/// What takes minutes to build: for the long tests, and whoever has it.
pub const SLOW_FUNCTIONS: &[Tool] = &[Tool {
    name: "functions/node-client",
    needs: &["autoreconf", "libtoolize", "cmake", "/usr/bin/node"],
    pins: &[
        "../functions/node/client/package.json",
        "../functions/node/client/client.js",
        "../functions/node/client/bootstrap",
    ],
    install: node_client,
}];

fn sources(clients: &Path, language: &str) -> PathBuf {
    clients.join("../functions").join(language)
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("copy {name}"))?;
    }
    Ok(())
}

fn go(clients: &Path, dir: &Path) -> Result<()> {
    let mut command = Command::new("go");
    command.args(["build", "-tags", "lambda.norpc", "-o"]).arg(dir.join("bootstrap")).arg(".");
    call(command.env("CGO_ENABLED", "0").current_dir(sources(clients, "go")))
}

fn rust(clients: &Path, dir: &Path) -> Result<()> {
    let target = dir.join("target");
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--locked"]).env("CARGO_TARGET_DIR", &target);
    call(command.current_dir(sources(clients, "rust")))?;
    copy(&target.join("debug"), dir, &["bootstrap"])?;
    Ok(fs::remove_dir_all(target)?)
}

/// `client` has the official client and a Java of its own; `apart` has jars in `lib`, `fat.jar` has all in one; `cases` is
/// what is tried on that client and on our own, `snapped` has hooks for SnapStart.
fn java(clients: &Path, dir: &Path) -> Result<()> {
    let java = sources(clients, "java");
    let (client, apart, all, snapped) = (dir.join("client"), dir.join("apart"), dir.join("all"), dir.join("snapped"));
    for folder in [&client, &apart.join("lib"), &all, &snapped.join("lib")] {
        fs::create_dir_all(folder)?;
    }
    let mut fetch = Command::new("mvn");
    fetch.args(["--quiet", "--batch-mode", "--file"]).arg(java.join("pom.xml")).arg("dependency:copy-dependencies");
    call(fetch.arg(format!("-DoutputDirectory={}", client.join("lib").display())))?;
    for jar in fs::read_dir(client.join("lib"))? {
        let jar = jar?.path();
        let name = jar.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("jackson") || name.starts_with("aws-lambda-java-core") {
            fs::copy(&jar, apart.join("lib").join(&name))?;
            call(Command::new("jar").arg("xf").arg(&jar).current_dir(&all))?;
        }
        if name.starts_with("crac") {
            fs::copy(&jar, snapped.join("lib").join(&name))?;
        }
    }
    for classes in [&client, &apart, &all] {
        let mut compile = Command::new("javac");
        compile.args(["--release", "11", "-Xlint:-options", "-cp"]).arg(client.join("lib/*")).arg("-d").arg(classes);
        call(compile.args(["app/Client.java", "app/Orders.java"]).current_dir(&java))?;
    }
    let mut compile = Command::new("javac");
    compile.args(["--release", "11", "-Xlint:-options", "-nowarn", "-cp"]).arg(client.join("lib/*"));
    call(compile.arg("-d").arg(dir.join("cases")).arg("cases/Cases.java").current_dir(&java))?;
    let mut compile = Command::new("javac");
    compile.args(["--release", "11", "-Xlint:-options", "-cp"]).arg(client.join("lib/*"));
    call(compile.arg("-d").arg(&snapped).arg("snapped/Snapped.java").current_dir(&java))?;
    call(Command::new("jar").arg("cf").arg(dir.join("fat.jar")).arg("-C").arg(&all).arg("."))?;
    fs::remove_dir_all(all)?;
    let mut link = Command::new("jlink");
    link.args(["--add-modules", "java.base,java.logging,java.management,jdk.unsupported", "--no-header-files"]);
    call(link.args(["--no-man-pages", "--strip-java-debug-attributes", "--output"]).arg(client.join("jre")))?;
    copy(&java, &client, &["bootstrap"])
}

/// For the Python that a sandbox has on its path, which need not be that of the tools.
fn python_client(clients: &Path, dir: &Path) -> Result<()> {
    let said = Command::new("/usr/bin/python3").arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.split_whitespace().nth(1).context("know the version of /usr/bin/python3")?;
    let python = sources(clients, "python");
    copy(&python, dir, &["client.py", "bootstrap"])?;
    pip(&python.join("client.txt"), dir, &["--python-version", version])
}

fn powertools(clients: &Path, dir: &Path) -> Result<()> {
    let python = sources(clients, "python");
    copy(&python, dir, &["powertools.py"])?;
    pip(&python.join("powertools.txt"), dir, &[])
}

fn heavy(clients: &Path, dir: &Path) -> Result<()> {
    let python = sources(clients, "python");
    copy(&python, dir, &["heavy.py"])?;
    pip(&python.join("heavy.txt"), dir, &[])
}

fn pip(requirements: &Path, dir: &Path, more: &[&str]) -> Result<()> {
    let mut command = Command::new(crate::tools::dir()?.join("python/bin/pip"));
    command.args(["install", "--quiet", "--no-compile", "--only-binary", ":all:"]).args(more);
    call(command.arg("--target").arg(dir).arg("--requirement").arg(requirements))
}

/// `libraries` is a folder of packages as npm leaves it, `bundled` one file that esbuild made.
fn node_libraries(clients: &Path, dir: &Path) -> Result<()> {
    let (libraries, bundled) = (dir.join("libraries"), dir.join("bundled"));
    fs::create_dir_all(&libraries)?;
    copy(&sources(clients, "node/libraries"), &libraries, &["package.json", "libraries.mjs", "sdk.js"])?;
    npm(&libraries)?;
    let mut bundle = Command::new(libraries.join("node_modules/.bin/esbuild"));
    bundle.args(["sdk.js", "--bundle", "--platform=node", "--target=node18", "--minify", "--log-level=warning"]);
    bundle.arg(format!("--outfile={}", bundled.join("index.js").display()));
    call(bundle.current_dir(&libraries))?;
    // What only the bundle needed.
    for name in [".bin", "esbuild", "@esbuild", "@aws-sdk", "@smithy"] {
        fs::remove_dir_all(libraries.join("node_modules").join(name))?;
    }
    Ok(())
}

fn node_client(clients: &Path, dir: &Path) -> Result<()> {
    copy(&sources(clients, "node/client"), dir, &["package.json", "client.js", "bootstrap"])?;
    npm(dir)?;
    // What its native part was built of is not what runs.
    let client = dir.join("node_modules/aws-lambda-ric");
    if !client.join("dist/rapid-client.node").exists() {
        bail!("build the native part of aws-lambda-ric");
    }
    for name in ["deps", "src", "scripts"] {
        fs::remove_dir_all(client.join(name))?;
    }
    for other in fs::read_dir(dir.join("node_modules"))? {
        let other = other?.path();
        if other.is_dir() && other != client {
            fs::remove_dir_all(other)?;
        }
    }
    Ok(())
}

fn interpreters(clients: &Path, dir: &Path) -> Result<()> {
    fs::copy(sources(clients, "node").join("interpreters.json"), dir.join("package.json"))?;
    npm(dir)
}

fn npm(dir: &Path) -> Result<()> {
    call(Command::new("npm").args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(dir))
}
