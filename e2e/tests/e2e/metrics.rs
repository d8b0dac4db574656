//! CloudWatch's metrics: boto3 and the AWS CLI read what they put, and a kill neither loses what was answered nor counts it twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Lamp, aws_cli, client, clients, python, run};

#[test]
fn boto3_metrics_in_every_protocol() {
    for protocol in ["json", "query", "smithy-rpc-v2-cbor"] {
        let lamp = Lamp::start();
        let mut command = client(&lamp, &python());
        command.arg(clients().join("python/cloudwatch.py")).arg(protocol);
        run(command);
    }
}

#[test]
fn aws_cli_metrics() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, Path::new("bash"));
    command.arg(clients().join("cli/cloudwatch.sh")).env("AWS", aws_cli());
    run(command);
}

/// Some kills come before points were settled, some after.
#[test]
fn what_was_put_is_counted_once_whenever_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let mut taken: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for round in 0..if std::env::var_os("LAMP_TORTURE").is_some() { 20 } else { 3 } {
        // Once all have begun, at another moment in each round.
        let mut putting: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|who| {
                let mut command = client(&lamp, &python());
                command.arg(clients().join("python/put_metrics_until_gone.py")).args([who, &round.to_string()]);
                let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let first = lines.next().expect("something was taken").unwrap();
                (who.to_owned(), child, lines, first)
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100 + 2_300 * (round % 3) + 37 * round));
        lamp.kill();
        for (who, child, lines, first) in &mut putting {
            let last = lines.map(Result::unwrap).last().unwrap_or_else(|| first.clone());
            child.wait().unwrap();
            taken.insert((who.clone(), round), last.parse().unwrap());
        }
        lamp = Lamp::start_on(dir.path(), &[]);
        let mut command: Command = client(&lamp, &python());
        let taken: Vec<(&str, u64, usize)> =
            taken.iter().map(|((who, round), count)| (who.as_str(), *round, *count)).collect();
        command.args(["-c", &CHECK.replace("TAKEN", &format!("{taken:?}"))]);
        run(command);
    }
}

/// All that was answered is there, once; what was not answered may be there, once.
const CHECK: &str = "
import boto3, datetime
cloudwatch = boto3.client('cloudwatch')
now = datetime.datetime.now(datetime.timezone.utc)
for who, label, count in TAKEN:
    for at in range(3):
        named = [{'Name': 'who', 'Value': who}, {'Name': 'round', 'Value': str(label)}]
        found = cloudwatch.get_metric_statistics(
            Namespace='kept', MetricName=f'm{at}', Dimensions=named, Period=3600, Statistics=['Sum', 'SampleCount'],
            StartTime=now - datetime.timedelta(hours=3), EndTime=now + datetime.timedelta(hours=1))
        total = sum(point['Sum'] for point in found['Datapoints'])
        assert count <= total <= count + 1, (who, label, at, count, total)
        assert total == sum(point['SampleCount'] for point in found['Datapoints'])
";
