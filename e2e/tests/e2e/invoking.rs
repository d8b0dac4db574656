//! Functions run: asked for and waited for, streamed, and left to run later.

use e2e::{Lamp, client, clients, python, run};

#[test]
fn boto3_invokes() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/invoke.py"));
    run(command);
}

#[test]
fn functions_find_a_server_that_speaks_tls() {
    let lamp = Lamp::start_with(&["--tls-self-signed"]);
    let mut command = client(&lamp, &python());
    command
        .arg(clients().join("python/inner.py"))
        .env("AWS_ENDPOINT_URL", format!("https://localhost:{}", lamp.port))
        .env("AWS_CA_BUNDLE", lamp.dir.join("tls/certificate.pem"));
    run(command);
}

#[test]
fn boto3_begins_with_snapshots() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/snap_start.py"));
    run(command);
}

#[test]
fn boto3_hears_what_fails_of_snapshots() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/snap_start_failures.py"));
    run(command);
}

/// The same to see, but for the time that it takes.
#[test]
fn boto3_begins_as_with_snapshots_where_every_instance_is_made_from_nothing() {
    let lamp = Lamp::start_with(&["--isolation", "strict"]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/snap_start_failures.py")).arg("anew");
    run(command);
}

#[test]
fn snapshots_that_a_crash_interrupts_are_made_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let script = clients().join("python/snap_start.py");
    let mut begin = client(&lamp, &python());
    begin.arg(&script).arg("begin");
    let said = run(begin);
    lamp.kill();
    if said.contains("skipped") {
        return;
    }
    let lamp = Lamp::start_on(dir.path(), &[]);
    let mut go_on = client(&lamp, &python());
    go_on.arg(&script).arg("go on");
    run(go_on);
}

/// Where the operator asks for it, functions run without walls, and what does not depend on walls is the same.
#[test]
fn boto3_invokes_without_isolation() {
    let lamp = Lamp::start_with(&["--isolation", "none"]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/streams.py"));
    run(command);
}

#[test]
fn boto3_takes_responses_as_they_are_written() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/streams.py"));
    run(command);
}

#[test]
fn boto3_runs_extensions() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/extensions.py"));
    run(command);
}

#[test]
fn events_that_were_accepted_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let script = clients().join("python/events.py");
    let mut send = client(&lamp, &python());
    send.arg(&script).arg("send");
    let said = run(send);
    let sent = said.lines().last().unwrap_or_default().to_owned();
    lamp.kill();
    if !sent.starts_with('{') {
        return;
    }
    let lamp = Lamp::start_on(dir.path(), &[]);
    let mut seen = client(&lamp, &python());
    seen.arg(&script).args(["seen", &sent]);
    run(seen);
}

#[test]
fn boto3_finds_provisioned_instances_ready_also_after_a_crash_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/provisioned.py"));
    run(command);
    lamp.kill();
    let lamp = Lamp::start_on(dir.path(), &[]);
    let mut command = client(&lamp, &python());
    command.arg("-c").arg(
        "import boto3, time\n\
         l = boto3.client('lambda')\n\
         get = lambda: l.get_provisioned_concurrency_config(FunctionName='f', Qualifier='live')['Status']\n\
         while get() != 'READY': time.sleep(0.01)\n\
         assert b'provisioned' in l.invoke(FunctionName='f', Qualifier='live')['Payload'].read()\n",
    );
    run(command);
}
