//! SQS: boto3 uses queues as programs do, and kills of the server lose nothing, double nothing and show nothing too early.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use e2e::{Lamp, client, clients, python, run};

/// As the queues of the tests with kills hide what is received.
const HIDDEN_SECONDS: f64 = 4.0;
const QUEUES: [&str; 2] = ["standard", "steps.fifo"];

#[test]
fn boto3_queues() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/queues.py"));
    run(command);
}

/// A server that leaves tells what it has counted, so nobody waits for a minute to be over.
#[test]
fn queues_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    for step in ["use", "wait", "look"] {
        let mut lamp = Lamp::start_on(dir.path(), &[]);
        let mut command = client(&lamp, &python());
        command.arg(clients().join("python/queue_metrics.py")).arg(step);
        run(command);
        assert!(lamp.stop());
    }
}

/// What workers of one queue were told, over all kills.
#[derive(Default)]
struct Seen {
    sent: BTreeSet<String>,
    /// By message: when, and how often it had been received until then.
    got: BTreeMap<String, Vec<(f64, u32)>>,
    deleted: BTreeSet<String>,
}

impl Seen {
    fn read(&mut self, said: &str) {
        for line in said.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                [body] => drop(self.sent.insert(body.to_owned())),
                ["got", at, body, count] => {
                    let got = self.got.entry(body.to_owned()).or_default();
                    got.push((at.parse().unwrap(), count.parse().unwrap()));
                }
                ["deleted", _, body, _] => drop(self.deleted.insert(body.to_owned())),
                _ => panic!("a worker said {line:?}"),
            }
        }
    }

    fn check(&mut self, queue: &str) {
        let lost: Vec<_> = self.sent.iter().filter(|body| !self.got.contains_key(*body)).collect();
        assert!(lost.is_empty(), "{queue}: {lost:?} were taken and never given");
        for (body, got) in &mut self.got {
            got.sort_by(|one, other| one.0.total_cmp(&other.0));
            for pair in got.windows(2) {
                assert!(
                    pair[1].0 - pair[0].0 > HIDDEN_SECONDS - 1.0,
                    "{queue}: {body} was given twice at once: {got:?}"
                );
                assert!(pair[1].1 > pair[0].1, "{queue}: {body} was counted twice: {got:?}");
            }
        }
    }
}

/// A program that uses a queue.
struct Worker {
    queue: &'static str,
    child: Child,
    said: BufReader<ChildStdout>,
    first: String,
}

impl Worker {
    fn start(lamp: &Lamp, what: &str, queue: &'static str, label: &str) -> Self {
        let mut command: Command = client(lamp, &python());
        command.arg(clients().join("python/work_until_gone.py")).args([what, queue, label]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { queue, child, said, first: String::new() }
    }

    /// Waits until it has begun.
    fn begun(mut self) -> Self {
        self.said.read_line(&mut self.first).unwrap();
        self
    }

    fn end(mut self, seen: &mut BTreeMap<&str, Seen>) {
        let mut said = self.first;
        self.said.read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        seen.get_mut(self.queue).unwrap().read(&said);
    }
}

#[test]
fn nothing_of_a_queue_is_lost_or_doubled_by_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let setup = "import boto3\nsqs = boto3.client('sqs')\nhidden = {'VisibilityTimeout': '4'}\n\
                 sqs.create_queue(QueueName='standard', Attributes=hidden)\n\
                 sqs.create_queue(QueueName='steps.fifo', Attributes=dict(hidden, FifoQueue='true'))";
    let mut command = client(&lamp, &python());
    command.args(["-c", setup]);
    run(command);
    let mut seen: BTreeMap<&str, Seen> = QUEUES.into_iter().map(|queue| (queue, Seen::default())).collect();
    for round in 0..if std::env::var_os("LAMP_TORTURE").is_some() { 20 } else { 3 } {
        let label = format!("round{round}");
        let start = |(what, queue)| Worker::start(&lamp, what, queue, &label);
        let both = |what| QUEUES.map(|queue| (what, queue));
        let workers: Vec<Worker> =
            [both("send"), both("work"), both("work")].into_iter().flatten().map(start).collect();
        let workers: Vec<Worker> = workers.into_iter().map(Worker::begun).collect();
        std::thread::sleep(Duration::from_millis(1_000 + 137 * round));
        lamp.kill();
        workers.into_iter().for_each(|worker| worker.end(&mut seen));
        lamp = Lamp::start_on(dir.path(), &[]);
    }
    // Whatever is left comes, or comes back.
    let workers = QUEUES.map(|queue| Worker::start(&lamp, "drain", queue, ""));
    workers.into_iter().for_each(|worker| worker.end(&mut seen));
    for (queue, seen) in &mut seen {
        seen.check(queue);
        assert!(!seen.deleted.is_empty(), "{queue}: nobody worked");
    }
}

#[test]
fn a_queue_feeds_a_function() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/queue_to_function.py"));
    run(command);
}

#[test]
fn what_was_read_for_a_function_that_becomes_slow_is_left_to_others() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/read_ahead.py"));
    run(command);
}

#[test]
fn a_server_that_ends_lets_nobody_wait() {
    let mut lamp = Lamp::start();
    let wait = "import boto3, time\nsqs = boto3.client('sqs')\nurl = sqs.create_queue(QueueName='q')['QueueUrl']\n\
                print('waits', flush=True)\nbegan = time.monotonic()\n\
                assert 'Messages' not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)\n\
                assert time.monotonic() - began < 10, 'it waited to the end'";
    let mut command = client(&lamp, &python());
    let mut waits = command.args(["-c", wait]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(waits.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(lamp.stop());
    assert!(waits.wait().unwrap().success(), "it was answered at once");
}

#[test]
fn what_becomes_of_events_is_told_and_loops_end() {
    let lamp = Lamp::start();
    let mut command = client(&lamp, &python());
    command.arg(clients().join("python/destinations.py")).arg("all");
    run(command);
}

#[test]
fn what_becomes_of_an_event_is_told_once_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let script = clients().join("python/destinations.py");
    let mut send = client(&lamp, &python());
    send.arg(&script).arg("send");
    let said = run(send);
    let sent = said.lines().last().unwrap_or_default().to_owned();
    for round in 0..3 {
        lamp.kill();
        if !sent.starts_with('[') {
            return;
        }
        lamp = Lamp::start_on(dir.path(), &[]);
        if round < 2 {
            std::thread::sleep(Duration::from_millis(700));
        }
    }
    let mut seen = client(&lamp, &python());
    seen.arg(&script).args(["seen", &sent]);
    run(seen);
}
