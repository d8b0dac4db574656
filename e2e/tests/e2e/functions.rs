//! What runs on AWS runs here unmodified: the official runtime clients on `provided.al2023`, and libraries that functions
//! of the managed runtimes are made of. None of it is ours; `xtask/src/functions.rs` puts it in place.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Lamp, client, clients, python, run, tools};

/// A function's folder among the tools. `None`, and a word about it, where this machine could not make it.
fn prepared(name: &str) -> Option<PathBuf> {
    let folder = tools().join("functions").join(name);
    // Whole only with its stamp.
    if !folder.ancestors().take(2).any(|made| made.join(".pins").exists()) {
        eprintln!("skipped: the function {name} was left out when tools were prepared");
        return None;
    }
    Some(folder)
}

/// Runs one of the scripts that take what to try and the function's folder.
fn script(script: &str, what: &str, folder: &Path) {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python").join(script)).arg(what).arg(folder);
    run(command);
}

fn runtime_client(what: &str, name: &str) {
    if let Some(folder) = prepared(name) {
        script("runtime_clients.py", what, &folder);
    }
}

fn library(what: &str, name: &str) {
    if let Some(folder) = prepared(name) {
        script("libraries.py", what, &folder);
    }
}

#[test]
fn bash_and_curl() {
    script("runtime_clients.py", "bash", &clients().join("../functions/bash"));
}

#[test]
fn awslambdaric() {
    runtime_client("python", "python");
}

#[test]
fn lambda_runtime() {
    runtime_client("rust", "rust");
}

#[test]
fn aws_lambda_go() {
    runtime_client("go", "go");
}

#[test]
fn aws_lambda_java_runtime_interface_client() {
    runtime_client("java", "java/client");
}

/// Its native part takes minutes to build, so only the long tests make sure that it is there.
#[test]
fn aws_lambda_ric() {
    runtime_client("node", "node-client");
}

#[test]
fn powertools_for_python() {
    library("powertools_for_python", "powertools");
}

#[test]
fn powertools_for_typescript_and_middy() {
    library("powertools_for_typescript_and_middy", "node/libraries");
}

/// Powertools behind event source mappings, of standard and FIFO queues.
fn batches(runtime: &str, module: &str, name: &str) {
    let Some(folder) = prepared(name) else { return };
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/batches.py")).args([runtime, module]).arg(folder);
    run(command);
}

#[test]
fn batches_of_powertools_for_python() {
    let mut version = Command::new(python());
    version.args(["-c", "import sys; print('python%d.%d' % sys.version_info[:2], end='')"]);
    batches(&run(version), "powertools", "powertools");
}

#[test]
fn batches_of_powertools_for_typescript() {
    batches("nodejs20.x", "libraries", "node/libraries");
}

#[test]
fn numpy_and_pillow() {
    library("numpy_and_pillow", "heavy");
}

#[test]
fn sdk_for_javascript_in_a_bundle() {
    library("sdk_for_javascript", "node/bundled");
}

#[test]
fn jackson_in_a_fat_jar_and_in_lib() {
    library("jackson", "java");
}

#[test]
fn hooks_of_org_crac_in_java() {
    let Some(java) = prepared("java/snapped") else { return };
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/snap_start_java.py")).arg(java);
    run(command);
}

/// The bootstraps' own tests, on every version of their language that this machine has.
fn bootstrap(language: &str) {
    let tests = clients().join("../../crates/runtime/bootstraps/test");
    let nodes = ["node18", "node22", "node24"]
        .map(|name| tools().join(format!("interpreters/node_modules/{name}/bin/node")).display().to_string());
    let mut command = Command::new("python3");
    command
        .arg(tests.join(format!("{language}_test.py")))
        .env("NODES", nodes.join(":"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    println!("{}", run(command));
}

#[test]
fn bootstrap_of_python() {
    bootstrap("python");
}

#[test]
fn bootstrap_of_node() {
    bootstrap("node");
}

#[test]
fn bootstrap_of_ruby() {
    bootstrap("ruby");
}

#[test]
fn bootstrap_of_java() {
    bootstrap("java");
}

/// The same code on AWS's own client and on our bootstrap: what the caller gets and what the log says is the same.
fn likeness(language: &str, runtime: &str, theirs: &Path, code: &Path) {
    let lamp = Lamp::start();
    let plan = clients().join("../functions").join(language).join("cases/cases.json");
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/likeness.py")).args([language, runtime]).args([theirs, code, &plan]);
    run(command);
}

#[test]
fn python_is_like_awslambdaric() {
    let Some(theirs) = prepared("python") else { return };
    // Both must be of one version: that of the sandbox's own Python.
    let mut version = Command::new("/usr/bin/python3");
    version.args(["-c", "import sys; print('python%d.%d' % sys.version_info[:2])"]);
    likeness("python", run(version).trim(), &theirs, &clients().join("../functions/python/cases"));
}

#[test]
fn node_is_like_aws_lambda_ric() {
    let Some(theirs) = prepared("node-client") else { return };
    let mut version = Command::new("/usr/bin/node");
    version.args(["-p", "process.versions.node.split('.')[0]"]);
    let version = run(version);
    let runtime = format!("nodejs{}.x", version.trim());
    if !["nodejs18.x", "nodejs20.x", "nodejs22.x"].contains(&runtime.as_str()) {
        eprintln!("skipped: this client is not that of {runtime}");
        return;
    }
    likeness("node", &runtime, &theirs, &clients().join("../functions/node/cases"));
}

/// Some fifty starts of a virtual machine: for the long tests.
#[test]
fn java_is_like_its_runtime_interface_client() {
    if std::env::var_os("LAMP_TORTURE").is_none() {
        return;
    }
    let Some(java) = prepared("java") else { return };
    likeness("java", "java17", &java.join("client"), &java.join("cases"));
}
