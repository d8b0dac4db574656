//! Functions that queues feed, over kills and failures: order within groups, and each message's share of two functions.
//!
//! `LAMP_TORTURE=1` has the full sizes: 50 groups of 200 messages and 20 kills.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::Lamp;
use serde_json::json;

use crate::api::{Client, Dice, counts, is_long, queue, sized, wait_until_empty};
use crate::journal::{Journal, OPEN, map, wall};

const ENDS: Duration = Duration::from_secs(240);

/// Says which messages of which groups it is given, fails at times, and says when it is done.
const STEPS: &str = "
def handler(event, context):
    bodies = [record['body'] for record in event['Records']]
    call = os.urandom(6).hex()
    say('begin', call, time.time(), *bodies)
    time.sleep(PAUSE)
    if random.random() < 0.1:
        say('fail', call, time.time())
        raise ValueError('at times')
    say('done', call, time.time())
";

/// A call of the function.
struct Call {
    began: f64,
    bodies: Vec<(String, u32)>,
    ended: Option<(f64, bool)>,
}

fn calls(lines: &[Vec<String>]) -> Vec<Call> {
    let (mut calls, mut places): (Vec<Call>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
    for line in lines {
        let time = line[2].parse().unwrap();
        if line[0] == "begin" {
            let split = |body: &String| {
                let (group, number) = body.rsplit_once('-').unwrap();
                (group.to_owned(), number.parse().unwrap())
            };
            places.insert(line[1].clone(), calls.len());
            calls.push(Call { began: time, bodies: line[3..].iter().map(split).collect(), ended: None });
        } else {
            calls[places[&line[1]]].ended = Some((time, line[0] == "done"));
        }
    }
    calls
}

/// All that is wrong with how groups were given to the function.
fn wrong(calls: &[Call], killed: &[f64], hidden_seconds: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    // Of each group: which were done with when, and the call that has it.
    let mut done: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        let was_killed = |since: f64| killed.iter().any(|kill| since < kill + 0.5 && *kill < call.began);
        let mut before: BTreeMap<&str, u32> = BTreeMap::new();
        for (group, number) in &call.bodies {
            let ended = |other: &u32| {
                let ends =
                    calls[..at].iter().filter(|call| call.bodies.iter().any(|body| body == &(group.clone(), *other)));
                ends.filter_map(|call| call.ended).any(|(time, is_done)| is_done && time < call.began)
            };
            let known = done.entry(group).or_default();
            for other in (0..*number).filter(|other| before.get(group.as_str()).is_none_or(|first| other < first)) {
                if !known.contains_key(&other) && !ended(&other) {
                    wrong.push(format!("{group}-{number} began before {group}-{other} was done with"));
                }
            }
            if let Some(time) = known.get(number).filter(|time| **time < call.began)
                && !was_killed(*time)
            {
                wrong.push(format!("{group}-{number} was done with and came again"));
            }
            before.entry(group).or_insert(*number);
        }
        for other in calls[..at].iter().filter(|other| other.ended.is_none_or(|(end, _)| end > call.began)) {
            let shares = other.bodies.iter().any(|(group, _)| before.contains_key(group.as_str()));
            if shares && !was_killed(other.began) && call.began < other.began + hidden_seconds {
                wrong.push(format!("a group was given to two calls at once, at {}", call.began));
            }
        }
        if let Some((end, true)) = call.ended {
            for (group, number) in &call.bodies {
                done.entry(group).or_default().entry(*number).or_insert(end);
            }
        }
    }
    wrong
}

#[test]
fn groups_reach_a_function_in_order_over_failures_and_kills() {
    const HIDDEN_SECONDS: u32 = 3;
    let (dir, journal) = (tempfile::tempdir().unwrap(), Journal::new());
    let (groups, each, kills) = (sized(6, 50), sized(20, 200), sized(1, 20));
    let mut lamp = Lamp::start_on(dir.path(), &OPEN);
    let mut client = Client::new(&lamp);
    journal.function(
        &lamp,
        "steps",
        HIDDEN_SECONDS - 1,
        &STEPS.replace("PAUSE", if is_long() { "0.3" } else { "0.05" }),
    );
    let attributes = json!({"VisibilityTimeout": HIDDEN_SECONDS.to_string(), "FifoQueue": "true"});
    let url = queue(&mut client, "steps.fifo", attributes);
    for first in (0..each).step_by(10) {
        for group in 0..groups {
            let entry = |number: usize| {
                let body = format!("g{group}-{number}");
                json!({
                    "Id": number.to_string(), "MessageBody": body,
                    "MessageGroupId": format!("g{group}"), "MessageDeduplicationId": body,
                })
            };
            let entries: Vec<_> = (first..(first + 10).min(each)).map(entry).collect();
            client.must("SendMessageBatch", json!({"QueueUrl": url, "Entries": entries}));
        }
    }
    map(&mut client, "steps.fifo", "steps", 10);
    let is_over = |lines: &[Vec<String>]| {
        let done = calls(lines).into_iter().filter(|call| matches!(call.ended, Some((_, true))));
        done.flat_map(|call| call.bodies).collect::<BTreeSet<_>>().len() == groups * each
    };
    let (mut killed, mut interrupted) = (Vec::new(), 0);
    for round in 0..kills {
        std::thread::sleep(Duration::from_millis(Dice::new(round as u64 + 7).roll(sized(100, 1_000) as u64)));
        let open = |lines: &[Vec<String>]| calls(lines).iter().filter(|call| call.ended.is_none()).count();
        let before = open(&journal.lines());
        let lines = journal.wait("the function is called", ENDS, |lines| open(lines) > before || is_over(lines));
        if is_over(&lines) {
            break;
        }
        lamp.kill();
        killed.push(wall());
        interrupted += open(&journal.lines()) - before;
        lamp = Lamp::start_on(dir.path(), &OPEN);
    }
    let mut client = Client::new(&lamp);
    let url = queue_url(&lamp);
    wait_until_empty(&mut client, &url, ENDS);
    let calls = calls(&journal.lines());
    let seen: BTreeSet<_> = calls.iter().flat_map(|call| call.bodies.iter().cloned()).collect();
    assert_eq!(seen.len(), groups * each, "each was given");
    let wrong = wrong(&calls, &killed, HIDDEN_SECONDS.into());
    assert!(wrong.is_empty(), "{} faults: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    let failed = calls.iter().filter(|call| matches!(call.ended, Some((_, false)))).count();
    println!(
        "{} messages, {} calls of which {failed} failed, {} kills in the middle of {interrupted} calls: in order",
        seen.len(),
        calls.len(),
        killed.len()
    );
}

#[test]
fn what_a_mapping_has_gathered_is_given_back_when_the_server_leaves() {
    let (dir, journal) = (tempfile::tempdir().unwrap(), Journal::new());
    let mut lamp = Lamp::start_on(dir.path(), &OPEN);
    let mut client = Client::new(&lamp);
    journal.function(&lamp, "patient", 30, "def handler(event, context):\n    say('ran', time.time())\n");
    let url = queue(&mut client, "gathered", json!({"VisibilityTimeout": "600"}));
    let mapping = json!({
        "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:gathered", "FunctionName": "patient",
        "BatchSize": 10, "MaximumBatchingWindowInSeconds": 10,
    });
    let made = client.ask("POST", "/2015-03-31/event-source-mappings", "", &mapping.to_string()).unwrap();
    assert_eq!(made.status, 202, "{}", made.body);
    client.must("SendMessage", json!({"QueueUrl": url, "MessageBody": "m"}));
    while counts(&mut client, &url) != [0, 1, 0] {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(lamp.stop());
    // Hidden, it would come in ten minutes.
    lamp = Lamp::start_on(dir.path(), &OPEN);
    journal.wait("the function is called", ENDS, |lines| !lines.is_empty());
    drop(lamp);
}

fn queue_url(lamp: &Lamp) -> String {
    format!("{}/000000000000/steps.fifo", lamp.endpoint())
}

/// What finds wrong orders must be able to.
#[test]
fn an_order_that_is_wrong_is_found() {
    let call = |began: f64, numbers: &[u32], ended: Option<(f64, bool)>| Call {
        began,
        bodies: numbers.iter().map(|number| ("g".to_owned(), *number)).collect(),
        ended,
    };
    let good = [call(1.0, &[0, 1], Some((1.1, false))), call(5.0, &[0, 1], Some((5.1, true))), call(6.0, &[2], None)];
    assert_eq!(wrong(&good, &[], 4.0), Vec::<String>::new());
    let skips = [call(1.0, &[0], Some((1.1, false))), call(2.0, &[1], Some((2.1, true)))];
    assert!(wrong(&skips, &[], 4.0)[0].contains("before g-0"));
    let swaps = [call(1.0, &[1, 0], Some((1.1, true)))];
    assert!(wrong(&swaps, &[], 4.0)[0].contains("before g-0"));
    let again = [call(1.0, &[0], Some((1.1, true))), call(9.0, &[0], Some((9.1, true)))];
    assert!(wrong(&again, &[], 4.0)[0].contains("came again"));
    assert_eq!(wrong(&again, &[2.0], 4.0), Vec::<String>::new());
    let both = [call(1.0, &[0], Some((3.0, true))), call(2.0, &[0], Some((2.5, true)))];
    assert!(wrong(&both, &[], 4.0)[0].contains("two calls"));
}

/// Two mappings share what a queue has: each message is one function's.
#[test]
fn a_queue_that_feeds_two_functions_gives_each_message_to_one() {
    let (lamp, journal) = (Lamp::start_with(&OPEN), Journal::new());
    let total = sized(200, 5_000);
    let mut client = Client::new(&lamp);
    let url = queue(&mut client, "jobs", json!({"VisibilityTimeout": "60"}));
    for name in ["one", "two"] {
        let code = format!(
            "def handler(event, context):\n    time.sleep(0.02)\n    for record in event['Records']:\n        \
             say('{name}', record['body'], time.time())\n"
        );
        journal.function(&lamp, name, 30, &code);
        map(&mut client, "jobs", name, 5);
    }
    fill(&mut client, &url, total);
    wait_until_empty(&mut client, &url, ENDS);
    let lines = journal.lines();
    let given: BTreeSet<&str> = lines.iter().map(|line| line[1].as_str()).collect();
    let of = |name: &str| lines.iter().filter(|line| line[0] == name).count();
    println!("{total} messages: {} to one function, {} to the other", of("one"), of("two"));
    assert_eq!((given.len(), lines.len()), (total, total), "each once");
    assert!(of("one") > 0 && of("two") > 0);
}

/// Sends so many messages.
pub fn fill(client: &mut Client, url: &str, total: usize) {
    for first in (0..total).step_by(10) {
        let entry = |number: usize| json!({"Id": number.to_string(), "MessageBody": format!("m{number}")});
        let entries: Vec<_> = (first..(first + 10).min(total)).map(entry).collect();
        client.must("SendMessageBatch", json!({"QueueUrl": url, "Entries": entries}));
    }
}
