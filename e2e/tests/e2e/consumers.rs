//! Consumers of queues and the server's death, again and again: what they were told is checked as a history.
//!
//! `LAMP_TORTURE=1` has the full sizes: 10,000 messages, 8 consumers, 20 kills, for a standard queue with dead letters and
//! for a FIFO queue of 50 groups.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::Lamp;
use serde_json::{Value, json};

use crate::api::{Client, Dice, counts, now, queue, sized};
use crate::history::{Given, Happened, Promise, What, check};

const HIDDEN: Duration = Duration::from_secs(2);
/// A consumer that is late does nothing: the message may be another's.
const LATE: Duration = Duration::from_millis(1_200);
const CONSUMERS: u64 = 8;
const PRODUCERS: usize = 4;
const BATCH: usize = 10;
/// How long what is left may take at the end.
const DRAINS: Duration = Duration::from_secs(120);

/// What all clients of one run share.
struct Run {
    began: Instant,
    history: Mutex<Vec<Happened>>,
    is_fifo: bool,
    /// The last consumers leave nothing alone that can be done.
    drains: AtomicBool,
    has_ended: AtomicBool,
    seed: u64,
}

/// One client, until the server is gone.
struct Worker {
    run: Arc<Run>,
    client: Client,
    dice: Dice,
}

/// A producer's messages that it has yet to send.
type Left = Vec<String>;

impl Worker {
    /// Asks, and notes what happened. `None` is an answer that did not come.
    fn ask(&mut self, operation: &str, input: &Value, what: impl FnOnce(Option<&Value>) -> Vec<What>) -> Option<Value> {
        let began = self.run.began.elapsed();
        let answer = self.client.sqs(operation, input);
        let ended = self.run.began.elapsed();
        if let Ok(answer) = &answer {
            assert_eq!(answer.status, 200, "{operation}: {}", answer.body);
        }
        let (answered, body) = (answer.is_ok(), answer.ok().map(|answer| answer.body));
        let what = what(body.as_ref()).into_iter().map(|what| Happened { began, ended, answered, what });
        self.run.history.lock().unwrap().extend(what);
        body
    }

    fn url(&self, name: &str) -> String {
        let port = self.client.port();
        format!("http://127.0.0.1:{port}/000000000000/{name}")
    }

    fn send(&mut self, bodies: &[String]) -> Option<()> {
        let is_fifo = self.run.is_fifo;
        let entry = |(at, body): (usize, &String)| match is_fifo {
            true => json!({
                "Id": at.to_string(), "MessageBody": body,
                "MessageGroupId": group_of(body), "MessageDeduplicationId": body,
            }),
            false => json!({"Id": at.to_string(), "MessageBody": body}),
        };
        let entries: Vec<Value> = bodies.iter().enumerate().map(entry).collect();
        let input = json!({"QueueUrl": self.url(self.run.source()), "Entries": entries});
        let answer = self.ask("SendMessageBatch", &input, |answer| {
            let id = |at: usize| answer.map_or("", |answer| answer["Successful"][at]["MessageId"].as_str().unwrap());
            let sent = |(at, body): (usize, &String)| What::Sent { body: body.clone(), id: id(at).to_owned() };
            bodies.iter().enumerate().map(sent).collect()
        });
        answer.map(drop)
    }

    /// Sends what is left, the first so many. What was not answered is sent again where that is known.
    fn produce(mut self, left: &mut Left, most: usize) {
        let stop = left.len().saturating_sub(most);
        while left.len() > stop {
            let count = (1 + self.dice.roll(BATCH as u64) as usize).min(left.len() - stop);
            let bodies: Vec<String> = left.iter().rev().take(count).cloned().collect();
            let sent = self.send(&bodies);
            if sent.is_some() || !self.run.is_fifo {
                left.truncate(left.len() - count);
            }
            if sent.is_none() {
                return;
            }
            // Some is sent once more, though it was taken.
            if self.run.is_fifo && self.dice.roll(10) == 0 && self.send(&bodies).is_none() {
                return;
            }
        }
    }

    fn receive(&mut self, name: &str) -> Option<(Duration, Vec<(Given, String)>)> {
        let is_dead = name == "dead";
        let (most, wait) = (1 + self.dice.roll(BATCH as u64), self.dice.roll(2));
        let input = json!({
            "QueueUrl": self.url(name), "MaxNumberOfMessages": most, "WaitTimeSeconds": wait, "AttributeNames": ["All"],
        });
        let began = self.run.began.elapsed();
        let read = |answer: &Value| answer["Messages"].as_array().into_iter().flatten().map(given).collect::<Vec<_>>();
        let answer = self.ask("ReceiveMessage", &input, |answer| {
            let given = answer.map(read).unwrap_or_default().into_iter().map(|(given, _)| given).collect();
            vec![What::Received { is_dead, given, hidden_for: HIDDEN }]
        });
        Some((began, read(&answer?)))
    }

    fn delete(&mut self, name: &str, body: &str, handle: &str) -> Option<Value> {
        let input = json!({"QueueUrl": self.url(name), "ReceiptHandle": handle});
        self.ask("DeleteMessage", &input, |_| vec![What::Deleted { body: body.to_owned() }])
    }

    fn hide(&mut self, name: &str, body: &str, handle: &str, seconds: u64) -> Option<Value> {
        let input = json!({"QueueUrl": self.url(name), "ReceiptHandle": handle, "VisibilityTimeout": seconds});
        let by = Duration::from_secs(seconds);
        self.ask("ChangeMessageVisibility", &input, |_| vec![What::Hidden { body: body.to_owned(), by }])
    }

    /// Works until the server is gone, or until all is done.
    fn consume(mut self, name: &'static str) {
        while !self.run.has_ended.load(Ordering::Relaxed) {
            let Some((began, messages)) = self.receive(name) else { return };
            let mut blocked: BTreeSet<String> = BTreeSet::new();
            for (Given { body, .. }, handle) in messages {
                if self.run.began.elapsed() > began + LATE {
                    break;
                }
                let group = group_of(&body).to_owned();
                match self.handle(name, &body, &handle, blocked.contains(&group)) {
                    None => return,
                    Some(is_deleted) if !is_deleted && self.run.is_fifo => drop(blocked.insert(group)),
                    Some(_) => {}
                }
            }
        }
    }

    /// Deletes a message, or hides it for longer, or lets it go, or leaves it. One behind a failure is not deleted.
    fn handle(&mut self, name: &str, body: &str, handle: &str, is_blocked: bool) -> Option<bool> {
        let is_poison = !self.run.is_fifo && name != "dead" && number_of(body).is_multiple_of(11);
        let drains = self.run.drains.load(Ordering::Relaxed);
        let seconds = match self.dice.roll(if self.run.is_fifo { 40 } else { 10 }) {
            _ if is_poison || is_blocked => 0,
            0 if !drains => 0,
            1 if !drains => self.dice.roll(4),
            2 if !drains => return Some(false),
            _ => return self.delete(name, body, handle).map(|_| true),
        };
        self.hide(name, body, handle, seconds).map(|_| false)
    }
}

fn given(shown: &Value) -> (Given, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let count = text(&shown["Attributes"]["ApproximateReceiveCount"]).parse().unwrap();
    (Given { body: text(&shown["Body"]), id: text(&shown["MessageId"]), count }, text(&shown["ReceiptHandle"]))
}

fn group_of(body: &str) -> &str {
    body.rsplit_once('-').unwrap().0
}

fn number_of(body: &str) -> u64 {
    body.rsplit_once('-').unwrap().1.parse().unwrap()
}

impl Run {
    fn source(&self) -> &'static str {
        if self.is_fifo { "steps.fifo" } else { "jobs" }
    }

    fn new(is_fifo: bool) -> Arc<Self> {
        let (drains, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let seed = u64::from(std::process::id());
        println!("seed {seed}");
        Arc::new(Self { began: now(), history: Mutex::default(), is_fifo, drains, has_ended, seed })
    }

    fn worker(self: &Arc<Self>, lamp: &Lamp, salt: u64) -> Worker {
        Worker { run: self.clone(), client: Client::new(lamp), dice: Dice::new(self.seed ^ (salt << 20)) }
    }

    /// The last consumer of a standard queue has the dead letters.
    fn works(&self, number: u64) -> &'static str {
        if !self.is_fifo && number == CONSUMERS - 1 { "dead" } else { self.source() }
    }

    /// Some of what is left is sent and worked on, until the server is killed.
    fn round(self: &Arc<Self>, lamp: &mut Lamp, round: u64, left: &mut [Left], most: usize) {
        let begun: Vec<_> = (0..CONSUMERS)
            .map(|number| {
                let (worker, name) = (self.worker(lamp, round * 100 + number), self.works(number));
                std::thread::spawn(move || worker.consume(name))
            })
            .collect();
        std::thread::scope(|scope| {
            for (number, left) in left.iter_mut().enumerate() {
                let worker = self.worker(lamp, round * 100 + 50 + number as u64);
                scope.spawn(move || worker.produce(left, most));
            }
            let millis = 400 + Dice::new(self.seed + round).roll(800);
            std::thread::sleep(Duration::from_millis(millis));
            lamp.kill();
        });
        begun.into_iter().for_each(|consumer| consumer.join().unwrap());
    }

    /// Sends and works until nothing is left.
    fn drain(self: &Arc<Self>, lamp: &Lamp, left: &mut [Left]) {
        self.drains.store(true, Ordering::Relaxed);
        for (number, left) in left.iter_mut().enumerate() {
            while !left.is_empty() {
                self.worker(lamp, 90_000 + number as u64).produce(left, usize::MAX);
            }
        }
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|number| {
                let (worker, name) = (self.worker(lamp, 80_000 + number), self.works(number));
                std::thread::spawn(move || worker.consume(name))
            })
            .collect();
        let mut client = Client::new(lamp);
        let began = now();
        let names = if self.is_fifo { vec!["steps.fifo"] } else { vec!["jobs", "dead"] };
        let urls: Vec<String> = names.iter().map(|name| self.worker(lamp, 0).url(name)).collect();
        while urls.iter().any(|url| counts(&mut client, url) != [0; 3]) {
            let held: Vec<_> = urls.iter().map(|url| counts(&mut client, url)).collect();
            assert!(began.elapsed() < DRAINS, "still there: {held:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.has_ended.store(true, Ordering::Relaxed);
        consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
    }
}

/// Runs it all and checks what was told.
fn survive(is_fifo: bool, mut left: Vec<Left>, receives_max: u32) {
    let (dir, run) = (tempfile::tempdir().unwrap(), Run::new(is_fifo));
    let mut lamp = Lamp::start_on(dir.path(), &[]);
    let mut client = Client::new(&lamp);
    let hidden = HIDDEN.as_secs().to_string();
    if is_fifo {
        queue(&mut client, "steps.fifo", json!({"VisibilityTimeout": hidden, "FifoQueue": "true"}));
    } else {
        queue(&mut client, "dead", json!({"VisibilityTimeout": hidden}));
        let dead = "arn:aws:sqs:us-east-1:000000000000:dead";
        let redrive = json!({"deadLetterTargetArn": dead, "maxReceiveCount": receives_max}).to_string();
        queue(&mut client, "jobs", json!({"VisibilityTimeout": hidden, "RedrivePolicy": redrive}));
    }
    let kills = sized(2, 20);
    let most = left.iter().map(Vec::len).max().unwrap_or_default().div_ceil(kills);
    let total: usize = left.iter().map(Vec::len).sum();
    for round in 0..kills {
        run.round(&mut lamp, round as u64, &mut left, most);
        lamp = Lamp::start_on(dir.path(), &[]);
    }
    run.drain(&lamp, &mut left);
    let history = std::mem::take(&mut *run.history.lock().unwrap());
    let received = |happened: &Happened| match &happened.what {
        What::Received { given, .. } => given.len(),
        _ => 0,
    };
    let unanswered = history.iter().filter(|happened| !happened.answered).count();
    let (calls, given) = (history.len(), history.iter().map(received).sum::<usize>());
    let took = run.began.elapsed();
    println!("{total} messages, {kills} kills: {calls} calls, {unanswered} unanswered, {given} given, {took:.1?}");
    let wrong = check(&history, Promise { receives_max, is_ordered: is_fifo, batch_max: BATCH });
    assert!(wrong.is_empty(), "{} faults: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(given >= total / 2, "nobody worked");
}

#[test]
fn consumers_of_a_queue_see_what_it_promises_over_kills() {
    let each = sized(600, 10_000) / PRODUCERS;
    // The last is sent first.
    let bodies = |producer: usize| (0..each).rev().map(|number| format!("p{producer}-{number}")).collect();
    survive(false, (0..PRODUCERS).map(bodies).collect(), 3);
}

#[test]
fn groups_of_a_queue_keep_their_order_over_kills() {
    let (groups, each) = (sized(12, 50), sized(40, 200));
    let mut left = vec![Left::new(); PRODUCERS];
    for number in (0..each).rev() {
        for group in 0..groups {
            left[group % PRODUCERS].push(format!("g{group}-{number}"));
        }
    }
    survive(true, left, u32::MAX);
}
