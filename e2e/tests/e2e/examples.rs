//! The examples run as their READMEs say.

use std::process::Command;

use e2e::{Lamp, aws_cli, binary, client, clients, python, run};

#[test]
fn user_registration() {
    let lamp = Lamp::start();
    let mut add = Command::new(binary());
    run({
        add.args(["runtimes", "add", "python3.13", "--data-dir"]).arg(&lamp.dir);
        add
    });
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/registration.py")).arg(clients().join("../../examples/user-registration"));
    command.env("AWS", aws_cli());
    run(command);
}
