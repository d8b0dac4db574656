//! The examples run as their READMEs say.

use std::process::Command;

use e2e::{Lamp, aws_cli, binary, client, clients, python, run};

/// Whoever was told to be registered is activated and confirmed, whatever becomes of the server meanwhile.
#[test]
fn user_registration() {
    let dir = tempfile::tempdir().unwrap();
    let mut add = Command::new(binary());
    add.args(["runtimes", "add", "python3.13", "--data-dir"]).arg(dir.path());
    run(add);
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let script = |lamp: &Lamp, what: &str| {
        let mut command = client(lamp, &python());
        command
            .arg(clients().join("python/registration.py"))
            .arg(what)
            .env("AWS", aws_cli())
            .env("LAMP_DATA_DIR", dir.path());
        command
    };
    let example = clients().join("../../examples/user-registration");
    let mut all = script(&lamp, "all");
    all.arg(&example);
    run(all);
    let said = run(script(&lamp, "register"));
    lamp.kill();
    let lamp = Lamp::start_on(dir.path(), &[]);
    let mut seen = script(&lamp, "seen");
    seen.arg(said.trim());
    run(seen);
    let mut removed = script(&lamp, "removed");
    removed.arg(&example);
    run(removed);
}
