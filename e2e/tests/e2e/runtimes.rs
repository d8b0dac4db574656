//! What runs functions on this machine: `lamp doctor`, `lamp runtimes`, and the SDKs that functions do not bring.

use std::process::{Command, Output};

use e2e::{Lamp, binary, client, clients, python, run};
use serde_json::Value;

fn lamp(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("run lamp")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

fn check<'j>(told: &'j Value, name: &str) -> &'j Value {
    let checks = told["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} is checked: {told}"))
}

#[test]
fn the_doctor_looks_at_everything_and_has_remedies() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output = lamp(&["doctor", "--json", "--port", "0", "--data-dir", data.to_str().unwrap()]);
    let told = json(&output);
    assert_eq!(told["ok"], output.status.success(), "{told}");
    for name in ["data directory", "port", "kernel", "memory", "limits", "disk", "clock", "isolation", "runtimes"] {
        check(&told, name);
    }
    for check in told["checks"].as_array().unwrap() {
        assert_eq!(check["state"] != "ok", check["remedy"].is_string(), "{check}");
    }
    assert!(!data.exists(), "it only looks");
}

#[test]
fn the_doctor_disturbs_no_server() {
    let lamp_beside = Lamp::start();
    let (data, port) = (lamp_beside.dir.to_str().unwrap(), lamp_beside.port.to_string());
    let told = json(&lamp(&["doctor", "--json", "--port", &port, "--data-dir", data]));
    let found = |name: &str| check(&told, name)["found"].as_str().unwrap().to_owned();
    assert!(found("data directory").ends_with(&format!("served at {}", lamp_beside.endpoint())), "{told}");
    assert!(found("port").ends_with("this server's"), "{told}");
    let mut identity = client(&lamp_beside, &python());
    identity.arg(clients().join("python/identity.py"));
    run(identity);
}

#[test]
fn a_port_of_another_program_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = lamp(&["doctor", "--json", "--port", &port, "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = json(&output);
    assert_eq!(check(&told, "port")["state"], "fail");
    assert!(check(&told, "port")["remedy"].as_str().unwrap().contains("--port"));
}

fn runtimes(data: &str, more: &[&str]) -> Vec<Value> {
    let told = json(&lamp(&[&["runtimes", "--json", "--data-dir", data], more].concat()));
    told["runtimes"].as_array().unwrap().clone()
}

#[test]
fn runtimes_are_told_with_what_serves_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let offers = runtimes(data, &[]);
    let of = |offers: &[Value], name: &str| offers.iter().find(|offer| offer["runtime"] == name).unwrap().clone();
    assert_eq!(of(&offers, "provided.al2023")["state"], "own");
    // The Python by which these tests run is of a version that AWS has.
    let exact = offers.iter().find(|offer| offer["state"] == "exact").expect("some runtime is served exactly");
    let version = exact["version"].as_str().unwrap();
    assert!(version.split('.').count() == 3, "{exact}");

    // What the operator names serves, whatever is found elsewhere; a name that means nothing is refused.
    let program = exact["program"].as_str().unwrap();
    let prefix = program.rsplit_once("/bin/").unwrap().0;
    let runtime = exact["runtime"].as_str().unwrap();
    let named = runtimes(data, &["--runtime", &format!("{runtime}={prefix}")]);
    assert_eq!(
        (&of(&named, runtime)["state"], of(&named, runtime)["version"].as_str()),
        (&exact["state"], Some(version))
    );
    let bad = lamp(&["runtimes", "--runtime", "cobol=/usr", "--data-dir", data]);
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("cobol"));
}

/// Functions of a language that bundle no SDK: they fail as on AWS and say what helps; that helps, at once.
fn sdk_is_put_in_place(language: &str, wanted: &str, takes_registry: bool) {
    let server = Lamp::start();
    let data = server.dir.to_str().unwrap();
    let served = |offer: &&Value| {
        let is_served = matches!(offer["state"].as_str(), Some("exact" | "nearest"));
        is_served && offer["runtime"].as_str().unwrap().starts_with(language) && offer["sdk"].is_null()
    };
    let offers = runtimes(data, &[]);
    let first = || offers.iter().find(served);
    let Some(offer) = offers.iter().filter(served).find(|offer| offer["runtime"] == wanted).or_else(first) else {
        eprintln!("skipped: no {language} without an SDK of its own is on this machine");
        return;
    };
    let runtime = offer["runtime"].as_str().unwrap();
    let script = |phase: &str| {
        let mut command = client(&server, &python());
        command.arg(clients().join("python/sdks.py")).args([phase, runtime]);
        run(command)
    };
    if script("missing").contains("skipped") {
        return;
    }
    let mut add = Command::new(binary());
    add.args(["runtimes", "add", runtime, "--data-dir", data]).env("npm_config_prefer_offline", "true");
    let added = add.output().unwrap();
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    if !takes_registry && said.contains("It takes a way to the package registry") {
        eprintln!("skipped: no registry of {language}'s packages can be reached from here");
        return;
    }
    assert!(added.status.success(), "{said}");
    script("there");

    let sdk = || runtimes(data, &[]).into_iter().find(|offer| offer["runtime"] == runtime).unwrap()["sdk"].clone();
    assert!(sdk()["version"].as_str().is_some_and(|version| !version.is_empty()), "{}", sdk());
    assert!(lamp(&["runtimes", "remove", runtime, "--data-dir", data]).status.success());
    assert!(sdk().is_null());
    assert!(!lamp(&["runtimes", "remove", runtime, "--data-dir", data]).status.success());
}

#[test]
fn boto3_is_put_in_place() {
    sdk_is_put_in_place("python", "python3.13", true);
}

#[test]
fn the_javascript_sdk_is_put_in_place() {
    sdk_is_put_in_place("nodejs", "nodejs20.x", true);
}

/// Ruby's package manager takes half a minute, also to say that there is no registry.
#[test]
fn the_ruby_sdk_is_put_in_place() {
    if std::env::var_os("LAMP_TORTURE").is_some() {
        sdk_is_put_in_place("ruby", "ruby3.3", false);
    }
}

#[test]
fn what_cannot_be_added_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let add = |arguments: &[&str]| lamp(&[&["runtimes", "add", "--data-dir", data], arguments].concat());
    let refused = |arguments: &[&str]| {
        let output = add(arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["cobol85"]).contains("python3.13"));
    assert!(refused(&["python3.13", "--package", "https://example.org/x"]).contains("for a package"));
    // AWS ships no SDK in these.
    assert!(add(&["provided.al2023"]).status.success());
    assert!(!dir.path().join("sdk").exists());
}
