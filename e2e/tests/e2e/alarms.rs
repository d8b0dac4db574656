//! CloudWatch's alarms and dashboards: boto3 sees them change, a function is told, a kill forgets none of them; Terraform
//! finds what it made.

use std::time::Duration;

use e2e::{Lamp, Terraform, client, clients, python, run};

#[test]
fn boto3_alarms() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/alarms.py"));
    run(command);
}

#[test]
fn terraform_alarms() {
    let lamp = Lamp::start();
    let Some(terraform) = Terraform::open(&lamp, "alarms.tf") else { return };
    assert!(terraform.run("apply", &["-auto-approve"]).contains("5 added, 0 changed, 0 destroyed"));
    terraform.run("plan", &["-detailed-exitcode"]);
    assert_eq!(terraform.output("arn"), "arn:aws:cloudwatch:us-east-1:000000000000:alarm:any");
    let changed = ["-auto-approve", "-var=threshold=5"];
    assert!(terraform.run("apply", &changed).contains("0 added, 4 changed, 0 destroyed"));
    terraform.run("plan", &["-detailed-exitcode", "-var=threshold=5"]);
    assert!(terraform.run("destroy", &changed).contains("5 destroyed"));
}

/// What an alarm hangs on changed just before the server died: it follows after the next start.
#[test]
fn alarms_go_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let setup = "
import boto3
cloudwatch = boto3.client('cloudwatch')
cloudwatch.put_metric_alarm(AlarmName='child', MetricName='m', Namespace='n', Statistic='Sum', Period=10, Threshold=1,
    EvaluationPeriods=1, ComparisonOperator='GreaterThanThreshold', TreatMissingData='ignore')
cloudwatch.put_metric_alarm(AlarmName='silent', MetricName='m', Namespace='n', Statistic='Sum', Period=10, Threshold=1,
    EvaluationPeriods=1, ComparisonOperator='GreaterThanThreshold', TreatMissingData='breaching')
cloudwatch.put_composite_alarm(AlarmName='parent', AlarmRule='ALARM(child)')
cloudwatch.set_alarm_state(AlarmName='child', StateValue='ALARM', StateReason='x')
";
    let mut command = client(&lamp, &python());
    command.args(["-c", setup]);
    run(command);
    lamp.kill();
    lamp = Lamp::start_on(dir.path(), &[]);
    let states = "
import boto3
found = boto3.client('cloudwatch').describe_alarms(AlarmTypes=['MetricAlarm', 'CompositeAlarm'])
states = {alarm['AlarmName']: alarm['StateValue'] for alarm in found['MetricAlarms'] + found['CompositeAlarms']}
raise SystemExit(states != {'child': 'ALARM', 'silent': 'ALARM', 'parent': 'ALARM'})
";
    for _ in 0..100 {
        let mut command = client(&lamp, &python());
        if command.args(["-c", states]).status().unwrap().success() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("the alarms did not follow");
}
