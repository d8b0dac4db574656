//! Roles and policies through boto3 and Terraform; the AWS CLI runs the examples of `docs/iam.md`.

use e2e::{Lamp, Terraform, client, clients, python, run};

#[test]
fn boto3() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/iam.py"));
    run(command);
}

#[test]
fn terraform() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "iam.tf") else { return };
    assert!(terraform.run("apply", &["-auto-approve"]).contains("7 added, 0 changed, 0 destroyed"));
    assert!(terraform.run("plan", &[]).contains("No changes"));
    let changed = ["-auto-approve", "-var=description=rests", "-var=action=s3:PutObject"];
    assert!(terraform.run("apply", &changed).contains("0 added, 3 changed, 0 destroyed"));
    assert!(terraform.run("destroy", &changed).contains("7 destroyed"));
}
