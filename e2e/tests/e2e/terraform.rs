//! Terraform's AWS provider manages an application: what it made is what it finds again, through a change, to the end.

use std::path::Path;
use std::process::Command;

use e2e::{Lamp, client, clients, python, run, terraform_mirror};

const QUIET: &[&str] = &["-no-color", "-input=false"];

/// A folder that Terraform works in, against one server.
struct Workspace<'a> {
    lamp: &'a Lamp,
    dir: &'a Path,
}

impl Workspace<'_> {
    /// Runs a command of Terraform's; fails with what it said if that is not a success.
    fn terraform(&self, command: &str, arguments: &[&str]) -> String {
        run(self.command(command, arguments))
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut terraform = client(self.lamp, Path::new("terraform"));
        terraform.arg(command).args(QUIET).args(arguments).current_dir(self.dir);
        terraform
    }

    /// With `-detailed-exitcode`, 0 means that nothing differs and 2 that something does: only 0 is a success.
    fn assert_nothing_differs(&self, variables: &[&str]) {
        self.terraform("plan", &[&["-detailed-exitcode"], variables].concat());
    }
}

/// Two states of the code of functions and layers.
fn write_zip(path: &Path, content: &str) {
    let code = "import sys, zipfile\n\
                with zipfile.ZipFile(sys.argv[1], 'w') as archive:\n    archive.writestr('app.py', sys.argv[2])";
    let mut command = Command::new(python());
    command.args(["-c", code]).arg(path).arg(content);
    run(command);
}

#[test]
fn an_application_is_made_kept_changed_and_taken_away() {
    if Command::new("terraform").arg("version").output().is_err() {
        eprintln!("skipped: terraform is not installed");
        return;
    }
    let lamp = Lamp::start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(clients().join("terraform/lambda/main.tf"), dir.path().join("main.tf")).unwrap();
    for (name, content) in
        [("one", "def handler(event, context): return 1"), ("two", "def handler(event, context): return 2")]
    {
        write_zip(&dir.path().join(format!("{name}.zip")), content);
    }
    let workspace = Workspace { lamp: &lamp, dir: dir.path() };
    let mirror = terraform_mirror().map(|dir| format!("-plugin-dir={}", dir.display()));
    workspace.terraform("init", &[mirror.as_deref().unwrap_or("-upgrade=false")]);

    let first = ["-var=code=one.zip", "-var=layer=one.zip"];
    workspace.terraform("apply", &[&["-auto-approve"], &first[..]].concat());
    workspace.assert_nothing_differs(&first);
    assert_eq!(output(&workspace, "version"), "1");
    let url = output(&workspace, "url");

    let second = ["-var=code=two.zip", "-var=layer=two.zip", "-var=change=true"];
    workspace.terraform("apply", &[&["-auto-approve"], &second[..]].concat());
    workspace.assert_nothing_differs(&second);
    assert_eq!(output(&workspace, "version"), "2");
    assert_eq!(output(&workspace, "url"), url, "a URL outlives its settings");

    workspace.terraform("destroy", &[&["-auto-approve"], &second[..]].concat());
    let mut nothing_left = client(&lamp, &python());
    nothing_left.arg(clients().join("python/nothing_left.py"));
    run(nothing_left);
}

fn output(workspace: &Workspace, name: &str) -> String {
    let mut command = client(workspace.lamp, Path::new("terraform"));
    command.args(["output", "-raw", name]).current_dir(workspace.dir);
    run(command)
}
