//! Roles and policies through boto3 and Terraform; the AWS CLI runs the examples of `docs/iam.md`.

use std::path::Path;
use std::process::Command;

use e2e::{Lamp, client, clients, python, run, terraform_mirror};

#[test]
fn boto3() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/iam.py"));
    run(command);
}

/// Where Terraform is installed, with its AWS provider in a mirror on this machine or within reach.
#[test]
fn terraform() {
    if Command::new("terraform").arg("version").output().is_err() {
        eprintln!("skipped: terraform is not installed");
        return;
    }
    let lamp = Lamp::start();
    let work = tempfile::tempdir().unwrap();
    std::fs::copy(clients().join("terraform/iam.tf"), work.path().join("main.tf")).unwrap();
    let run_in = |args: &[&str]| {
        let mut command = client(&lamp, Path::new("terraform"));
        command.args(args).args(["-no-color", "-input=false"]).current_dir(work.path());
        run(command)
    };
    let mirror = terraform_mirror().map(|dir| format!("-plugin-dir={}", dir.display()));
    run_in(&["init", mirror.as_deref().unwrap_or("-upgrade=false")]);
    assert!(run_in(&["apply", "-auto-approve"]).contains("7 added, 0 changed, 0 destroyed"));
    assert!(run_in(&["plan"]).contains("No changes"));
    let changes = ["-var=description=rests", "-var=action=s3:PutObject"];
    assert!(run_in(&[&["apply", "-auto-approve"], &changes[..]].concat()).contains("0 added, 3 changed, 0 destroyed"));
    assert!(run_in(&[&["destroy", "-auto-approve"], &changes[..]].concat()).contains("7 destroyed"));
}
