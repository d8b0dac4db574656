//! A function with a crowd of slow events, or fed by a queue with one, beside others that get ten events a second (Q14): how
//! late the others begin. In every run it is only asserted that they are served while the crowd waits; `LAMP_TORTURE=1`
//! has crowds of 100,000, and asserts that the others begin in time.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::{Lamp, client, clients, python, run};
use serde_json::json;

use crate::api::{Client, counts, is_long, now, queue, sized};
use crate::journal::{Journal, OPEN, map, wall};
use crate::mapped;

const OTHER: &str = "111122223333";
const SENDERS: usize = 8;
const EACH_S: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

const SLOW: &str = "
def handler(event, context):
    say('slow', 1, time.time())
    time.sleep(1)
";
/// How late it begins.
const QUICK: &str = "
def handler(event, context):
    if 'Records' in event:
        event = json.loads(event['Records'][0]['body'])
    say(event['to'], event['number'], time.time() - event['sent'])
";

struct Town {
    lamp: Lamp,
    journal: Journal,
    /// Events sent to each of the others so far.
    sent: usize,
}

impl Town {
    fn new() -> Self {
        let (lamp, journal) = (Lamp::start_with(&OPEN), Journal::new());
        journal.function(&lamp, "crowded", 30, SLOW);
        journal.function(&lamp, "quick", 30, QUICK);
        let mut other: Command = client(&lamp, &python());
        other.env("AWS_ACCESS_KEY_ID", OTHER);
        let code: PathBuf = journal.path().with_file_name("app.py");
        other.arg(clients().join("python/make_function.py")).args(["quick", "128", "30"]).arg(code);
        run(other);
        let mut client = Client::new(&lamp);
        queue(&mut client, "quick", json!({"VisibilityTimeout": "60"}));
        map(&mut client, "quick", "quick", 1);
        Self { lamp, journal, sent: 0 }
    }

    /// Sends to the others for so many seconds, and says how late they began, in seconds, the last first.
    fn serve(&mut self, seconds: usize) -> Vec<(&'static str, Vec<f64>)> {
        let (mut same, mut other) = (Client::new(&self.lamp), Client::of(&self.lamp, OTHER));
        let url = format!("{}/000000000000/quick", self.lamp.endpoint());
        let (began, first) = (now(), self.sent);
        for at in 0..seconds * EACH_S {
            let due = Duration::from_secs_f64(at as f64 / EACH_S as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let number = first + at;
            let event = |to: &str| json!({"to": to, "number": number, "sent": wall()}).to_string();
            assert_eq!(same.event("quick", &event("same")).unwrap().status, 202);
            let answer = other.event("quick", &event("other")).unwrap();
            assert_eq!(answer.status, 202, "{}", answer.body);
            same.must("SendMessage", json!({"QueueUrl": url, "MessageBody": event("mapped")}));
        }
        self.sent = first + seconds * EACH_S;
        ["same", "other", "mapped"]
            .map(|to| {
                let is_of = |line: &&Vec<String>| line[0] == to && line[1].parse::<usize>().unwrap() >= first;
                let lines = self.journal.wait(&format!("{to} is served"), PATIENCE, |lines| {
                    lines.iter().filter(is_of).count() == seconds * EACH_S
                });
                let mut late: Vec<f64> = lines.iter().filter(is_of).map(|line| line[2].parse().unwrap()).collect();
                late.sort_by(f64::total_cmp);
                (to, late)
            })
            .into()
    }

    /// Serves the others alone, then beside what `crowd` makes and `waiting` still sees, and compares.
    fn compare(&mut self, what: &str, crowd: impl FnOnce(&Lamp), waiting: impl Fn(&Lamp, &Journal) -> bool) {
        // Instances and connections are there.
        self.serve(1);
        let idle = self.serve(sized(1, 20));
        crowd(&self.lamp);
        let crowded = self.serve(sized(2, 60));
        assert!(waiting(&self.lamp, &self.journal), "the crowd is gone: nothing is shown by this");
        for ((to, idle), (_, crowded)) in idle.iter().zip(&crowded) {
            let of = |late: &[f64], part: f64| late[((late.len() - 1) as f64 * part) as usize] * 1e3;
            let (idle, p50, p99) = (of(idle, 0.99), of(crowded, 0.5), of(crowded, 0.99));
            println!("beside {what}, {to}: begins p50 {p50:.0} ms, p99 {p99:.0} ms late; idle p99 {idle:.0} ms");
            assert!(!is_long() || p99 <= f64::max(1_000.0, 2.0 * idle), "{to} begins {p99:.0} ms late");
        }
    }
}

#[test]
fn a_crowd_of_events_delays_no_other_function() {
    let (mut town, total) = (Town::new(), sized(1_500, 100_000));
    let crowd = |lamp: &Lamp| {
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    let mut client = Client::new(lamp);
                    for _ in 0..total / SENDERS {
                        assert_eq!(client.event("crowded", "{}").unwrap().status, 202);
                    }
                });
            }
        });
    };
    let slow = |journal: &Journal| journal.lines().iter().filter(|line| line[0] == "slow").count();
    town.compare(&format!("{total} slow events"), crowd, |_, journal| slow(journal) < total / SENDERS * SENDERS);
}

#[test]
fn a_crowd_in_a_queue_delays_no_other_function() {
    let (mut town, total) = (Town::new(), sized(1_500, 100_000));
    let crowd = |lamp: &Lamp| {
        let mut client = Client::new(lamp);
        let url = queue(&mut client, "crowded", json!({"VisibilityTimeout": "60"}));
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| mapped::fill(&mut Client::new(lamp), &url, total / SENDERS));
            }
        });
        map(&mut client, "crowded", "crowded", 1);
    };
    let waits = |lamp: &Lamp, _: &Journal| {
        let url = format!("{}/000000000000/crowded", lamp.endpoint());
        counts(&mut Client::new(lamp), &url)[0] > 0
    };
    town.compare(&format!("{total} messages for a slow function"), crowd, waits);
}
