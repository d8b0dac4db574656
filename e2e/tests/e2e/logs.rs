//! CloudWatch Logs: boto3 and the AWS CLI read what they and functions wrote, and a kill loses nothing that was answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Lamp, aws_cli, client, clients, python, run};

#[test]
fn boto3_logs() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs.py"));
    run(command);
}

#[test]
fn boto3_logs_filters() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs_filters.py"));
    run(command);
}

#[test]
fn boto3_logs_insights() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs_insights.py"));
    run(command);
}

#[test]
fn boto3_logs_search() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs_search.py"));
    run(command);
}

#[test]
fn boto3_logs_policies() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs_policies.py"));
    run(command);
}

#[test]
fn printed_and_logged_lines_stand_in_order() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/logs_order.py"));
    run(command);
}

#[test]
fn aws_cli_logs() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("bash"));
    command.arg(clients().join("cli/logs.sh")).env("AWS", aws_cli());
    run(command);
}

#[test]
fn what_was_put_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let setup = "import boto3\nlogs = boto3.client('logs')\nlogs.create_log_group(logGroupName='kept')\n\
                 [logs.create_log_stream(logGroupName='kept', logStreamName=name) for name in 'abc']";
    let mut command = client(&lamp, &python());
    command.args(["-c", setup]);
    run(command);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..if std::env::var_os("LAMP_TORTURE").is_some() { 20 } else { 3 } {
        let putting: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|stream| {
                let mut command = client(&lamp, &python());
                command.arg(clients().join("python/put_logs_until_gone.py")).args([stream, &round.to_string()]);
                (format!("{stream} {round}"), command.stdout(Stdio::piped()).spawn().unwrap())
            })
            .collect();
        // Once all have begun, at another moment in each round.
        let mut putting: Vec<_> = putting
            .into_iter()
            .map(|(who, mut child)| {
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let first = lines.next().expect("something was taken").unwrap();
                (who, child, lines, first)
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + 37 * round));
        lamp.kill();
        for (who, child, lines, first) in &mut putting {
            let last = lines.map(Result::unwrap).last().unwrap_or_else(|| first.clone());
            child.wait().unwrap();
            taken.insert(who.clone(), last.parse().unwrap());
        }
        lamp = Lamp::start_on(dir.path(), &[]);
        let mut command: Command = client(&lamp, &python());
        command.args(["-c", &CHECK.replace("TAKEN", &format!("{taken:?}"))]);
        run(command);
    }
    assert!(!taken.is_empty());
}

/// A start reads what the journal has before it takes requests.
#[test]
fn what_was_put_is_there_as_soon_as_the_server_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let put = "
import boto3, time
logs = boto3.client('logs')
logs.create_log_group(logGroupName='many')
logs.create_log_stream(logGroupName='many', logStreamName='one')
now = int(time.time() * 1000)
for batch in range(4):
    events = [{'timestamp': now, 'message': f'{batch} {number} ' + 'x' * 60} for number in range(5_000)]
    logs.put_log_events(logGroupName='many', logStreamName='one', logEvents=events)
";
    let look = "
import boto3
pages = boto3.client('logs').get_paginator('filter_log_events').paginate(logGroupName='many')
count = sum(len(page['events']) for page in pages)
assert count == 20_000, count
";
    for (round, script) in [put, look, look].into_iter().enumerate() {
        let mut command = client(&lamp, &python());
        command.args(["-c", script]);
        run(command);
        if round % 2 == 0 {
            lamp.kill();
        } else {
            assert!(lamp.stop());
        }
        lamp = Lamp::start_on(dir.path(), &[]);
    }
}

/// All that was answered is there, and nothing twice.
const CHECK: &str = "
import boto3
pages = boto3.client('logs').get_paginator('filter_log_events').paginate(logGroupName='kept')
found = [event['message'] for page in pages for event in page['events']]
there = set(found)
lost = [f'{who} {n}' for who, count in TAKEN.items() for n in range(count) if f'{who} {n}' not in there]
assert not lost and len(there) == len(found), (lost, len(there), len(found))
";
