//! Terraform's AWS provider manages an application: what it made is what it finds again, through a change, to the end.

use std::path::Path;
use std::process::Command;

use e2e::{Lamp, Terraform, client, clients, python, run};

/// With `-detailed-exitcode`, 0 means that nothing differs and 2 that something does: only 0 is a success.
fn assert_nothing_differs(terraform: &Terraform, variables: &[&str]) {
    terraform.run("plan", &[&["-detailed-exitcode"], variables].concat());
}

/// Two states of the code of functions and layers.
fn write_zip(path: &Path, content: &str) {
    let code = "import sys, zipfile\n\
                with zipfile.ZipFile(sys.argv[1], 'w') as archive:\n    archive.writestr('app.py', sys.argv[2])";
    let mut command = Command::new(python());
    command.args(["-c", code]).arg(path).arg(content);
    run(command);
}

/// Terraform mostly waits until what it did to a queue has been seen a few times: two wait in the time of one.
#[test]
fn applications_are_made_kept_changed_and_taken_away() {
    std::thread::scope(|scope| {
        scope.spawn(queues);
        application();
    });
}

fn queues() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "queues.tf") else { return };
    write_zip(&terraform.dir().join("one.zip"), "def handler(event, context): return 1");
    assert!(terraform.run("apply", &["-auto-approve"]).contains("10 added, 0 changed, 0 destroyed"));
    assert_nothing_differs(&terraform, &[]);
    assert_eq!(terraform.output("url"), format!("{}/000000000000/jobs", lamp.endpoint()));
    assert!(terraform.output("dead").ends_with("/dead-steps.fifo"), "{}", terraform.output("dead"));
    if std::env::var_os("LAMP_TORTURE").is_some() {
        let changed = ["-auto-approve", "-var=change=true"];
        assert!(terraform.run("apply", &changed).contains("0 added, 5 changed, 0 destroyed"));
        assert_nothing_differs(&terraform, &["-var=change=true"]);
        assert!(terraform.run("destroy", &changed).contains("10 destroyed"));
    }
}

fn application() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "lambda/main.tf") else { return };
    for (name, content) in
        [("one", "def handler(event, context): return 1"), ("two", "def handler(event, context): return 2")]
    {
        write_zip(&terraform.dir().join(format!("{name}.zip")), content);
    }

    let first = ["-var=code=one.zip", "-var=layer=one.zip"];
    terraform.run("apply", &[&["-auto-approve"], &first[..]].concat());
    assert_nothing_differs(&terraform, &first);
    assert_eq!(terraform.output("version"), "1");
    let url = terraform.output("url");

    let second = ["-var=code=two.zip", "-var=layer=two.zip", "-var=change=true"];
    terraform.run("apply", &[&["-auto-approve"], &second[..]].concat());
    assert_nothing_differs(&terraform, &second);
    assert_eq!(terraform.output("version"), "2");
    assert_eq!(terraform.output("url"), url, "a URL outlives its settings");

    terraform.run("destroy", &[&["-auto-approve"], &second[..]].concat());
    let mut nothing_left = client(&lamp, &python());
    nothing_left.arg(clients().join("python/nothing_left.py"));
    run(nothing_left);
}

#[test]
fn log_groups_and_their_filters_are_made_kept_changed_and_taken_away() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "logs.tf") else { return };
    write_zip(&terraform.dir().join("one.zip"), "def handler(event, context): return 1");
    assert!(terraform.run("apply", &["-auto-approve"]).contains("8 added, 0 changed, 0 destroyed"));
    assert_nothing_differs(&terraform, &[]);
    assert_eq!(terraform.output("arn"), "arn:aws:logs:us-east-1:000000000000:log-group:/shop/orders");
    let changed = ["-auto-approve", "-var=days=30"];
    assert!(terraform.run("apply", &changed).contains("0 added, 2 changed, 0 destroyed"));
    assert_nothing_differs(&terraform, &["-var=days=30"]);
    assert!(terraform.run("destroy", &changed).contains("8 destroyed"));
}
