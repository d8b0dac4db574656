//! Clients send, receive, hide and delete messages of a standard queue with dead letters and of a FIFO queue.
//!
//! Pass line, at whichever moment the power goes: each message is as what its clients had been told says it is, or as what they
//! were about to be told. So none is lost or there twice, none is given within the time for which it is hidden, its
//! receive count is exact, groups keep their order, and what is sent once more is known again. A cut right behind an
//! acknowledgement, of which nothing is found that was not synced, says that none came too early.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Chance, Clock, ManualClock, Seeded, Timestamp};
use serde_json::{Value, json};
use store::testing::Mutant;

use crate::bed::{Bed, Under};
use crate::disk::{Event, Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::events::Functions;
use crate::world::{arn, url};
use crate::{after_answers, cut_anywhere, mark, sized};

const HIDDEN: Duration = Duration::from_secs(20);
/// Less than it takes until what was sent to a FIFO queue is known no more.
const ROUND: Duration = Duration::from_secs(7);
const RECEIVES_MAX: u32 = 2;
const LONG: i64 = 12 * 60 * 60;
const QUEUES: [&str; 3] = ["jobs", "steps.fifo", "dead"];

/// What an operation did to a message.
#[derive(Debug, Clone)]
enum Effect {
    Sent { id: String },
    Received { from: &'static str, count: u32, until: Timestamp },
    Hidden { until: Timestamp },
    Deleted,
}

/// An operation that a client asked for.
struct Op {
    at: Timestamp,
    /// By the bodies of its messages, once its answer has come.
    effects: Vec<(String, Effect)>,
}

/// How a message may stand.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Absent,
    There { visible_at: Timestamp, receives: u32, was_dead: bool },
    Gone,
}

impl State {
    fn after(&self, effect: &Effect) -> State {
        match (self, effect) {
            (_, Effect::Sent { .. }) => State::There { visible_at: Timestamp::default(), receives: 0, was_dead: false },
            (State::There { was_dead, .. }, Effect::Received { from, count, until }) => {
                State::There { visible_at: *until, receives: *count, was_dead: *was_dead || *from == "dead" }
            }
            (State::There { receives, was_dead, .. }, Effect::Hidden { until }) => {
                State::There { visible_at: *until, receives: *receives, was_dead: *was_dead }
            }
            (_, Effect::Deleted) => State::Gone,
            (state, effect) => panic!("{effect:?} of a message that is {state:?}"),
        }
    }

    /// Whether it may be given by a queue now, for the so manieth time.
    fn allows(&self, now: Timestamp, queue: &str, count: u32) -> bool {
        let State::There { visible_at, receives, was_dead } = self else { return false };
        let is_dead = *was_dead || (queue == "dead" && *receives == RECEIVES_MAX);
        *visible_at <= now && receives + 1 == count && (queue == "dead") == is_dead
    }
}

/// Clients of the queues, and what they were told.
struct Clients<'a> {
    bed: &'a Bed,
    recorder: &'a Recorder,
    ops: RefCell<Vec<Op>>,
    sent: Cell<usize>,
    chance: Seeded,
}

impl Clients<'_> {
    /// Asks for something. Marks of an operation are two: what is even begins, what is odd is its answer.
    async fn ask(
        &self,
        operation: &'static str,
        input: Value,
        effects: impl FnOnce(&Value) -> Vec<(String, Effect)>,
    ) -> Value {
        let number = self.ops.borrow().len();
        self.ops.borrow_mut().push(Op { at: self.bed.clock.now(), effects: Vec::new() });
        self.recorder.note(Event::Acked { id: 2 * number as u64 });
        let answer = self.bed.sqs(operation, input).await;
        self.recorder.note(Event::Acked { id: 2 * number as u64 + 1 });
        self.ops.borrow_mut()[number].effects = effects(&answer);
        answer
    }

    fn pick(&self, of: u64) -> u64 {
        self.chance.random_u64() % of
    }

    /// Bodies say in which group they are, and where they stand there.
    fn bodies(&self, group: &str, count: usize) -> Vec<String> {
        let first = self.sent.replace(self.sent.get() + count);
        (first..first + count).map(|number| format!("{group}-{number:04}")).collect()
    }

    async fn send(&self) {
        for body in self.bodies("single", 2) {
            let input = json!({"QueueUrl": url("jobs"), "MessageBody": body});
            self.ask("SendMessage", input, |answer| vec![(body, sent(answer))]).await;
        }
    }

    async fn send_batch(&self, queue: &str, group: &str) {
        let bodies = self.bodies(group, 3);
        let entry = |(at, body): (usize, &String)| match queue.ends_with(".fifo") {
            true => {
                json!({"Id": at.to_string(), "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": body})
            }
            false => json!({"Id": at.to_string(), "MessageBody": body}),
        };
        let entries: Vec<Value> = bodies.iter().enumerate().map(entry).collect();
        self.ask("SendMessageBatch", json!({"QueueUrl": url(queue), "Entries": entries}), |answer| {
            let successes = answer["Successful"].as_array().unwrap();
            assert_eq!(successes.len(), bodies.len());
            bodies.iter().cloned().zip(successes.iter().map(sent)).collect()
        })
        .await;
    }

    /// Receives, and does with what comes what chance says: deletes it, lets others have it, or lets it be.
    async fn work(&self, queue: &'static str) {
        let until = self.bed.clock.now().plus(HIDDEN);
        let input = json!({"QueueUrl": url(queue), "MaxNumberOfMessages": 3, "AttributeNames": ["All"]});
        let answer = self.ask("ReceiveMessage", input, |answer| {
            let received = |message: &Message| {
                (message.body.clone(), Effect::Received { from: queue, count: message.count, until })
            };
            messages(answer).iter().map(received).collect()
        });
        for Message { body, handle, .. } in messages(&answer.await) {
            let (input, body) = (json!({"QueueUrl": url(queue), "ReceiptHandle": handle}), body.clone());
            match self.pick(4) {
                0 => drop(self.ask("DeleteMessage", input, |_| vec![(body, Effect::Deleted)]).await),
                wish @ (1 | 2) => {
                    let seconds = if wish == 1 { 0 } else { self.pick(40) };
                    let until = self.bed.clock.now().plus(Duration::from_secs(seconds));
                    let mut input = input;
                    input["VisibilityTimeout"] = seconds.into();
                    self.ask("ChangeMessageVisibility", input, |_| vec![(body, Effect::Hidden { until })]).await;
                }
                _ => {}
            }
        }
    }

    async fn run(&self, rounds: usize) {
        for _ in 0..rounds {
            tokio::join!(
                self.send(),
                self.send_batch("jobs", "batch"),
                self.send_batch("steps.fifo", "a"),
                self.send_batch("steps.fifo", "b"),
                self.work("jobs"),
                self.work("jobs"),
                self.work("steps.fifo"),
                self.work("steps.fifo"),
                self.work("dead"),
            );
            self.bed.clock.advance(ROUND);
        }
    }
}

fn sent(answer: &Value) -> Effect {
    Effect::Sent { id: answer["MessageId"].as_str().unwrap().to_owned() }
}

struct Message {
    body: String,
    handle: String,
    count: u32,
}

fn messages(answer: &Value) -> Vec<Message> {
    let message = |shown: &Value| Message {
        body: shown["Body"].as_str().unwrap().to_owned(),
        handle: shown["ReceiptHandle"].as_str().unwrap().to_owned(),
        count: shown["Attributes"]["ApproximateReceiveCount"].as_str().unwrap().parse().unwrap(),
    };
    answer["Messages"].as_array().into_iter().flatten().map(message).collect()
}

/// What clients did until the power went, and the disk before.
struct Record {
    base: Image,
    trace: Vec<Event>,
    ops: Vec<Op>,
}

impl Record {
    async fn make(rounds: usize, mutant: Option<Mutant>) -> Record {
        let (dir, clock) = (directory(&Image::new()), ManualClock::at(Timestamp::from_secs(1_000_000)));
        let bed = Bed::open(dir.path(), &clock, Functions::none(), Under::default()).await;
        let hidden = HIDDEN.as_secs().to_string();
        bed.sqs("CreateQueue", json!({"QueueName": "dead", "Attributes": {"VisibilityTimeout": hidden}})).await;
        let redrive = json!({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": RECEIVES_MAX}).to_string();
        let attributes = json!({"VisibilityTimeout": hidden, "RedrivePolicy": redrive});
        bed.sqs("CreateQueue", json!({"QueueName": "jobs", "Attributes": attributes})).await;
        let attributes = json!({"VisibilityTimeout": hidden, "FifoQueue": "true"});
        bed.sqs("CreateQueue", json!({"QueueName": "steps.fifo", "Attributes": attributes})).await;
        bed.close().await;
        let base = image_of(dir.path());
        let recorder = Arc::new(Recorder::default());
        let under = Under { tap: Some(recorder.clone()), mutant, life: 1 };
        let bed = Bed::open(dir.path(), &clock, Functions::none(), under).await;
        let (ops, sent, chance) = (RefCell::default(), Cell::default(), Seeded::new(4));
        let clients = Clients { bed: &bed, recorder: &recorder, ops, sent, chance };
        clients.run(rounds).await;
        let ops = clients.ops.into_inner();
        let trace = recorder.take();
        bed.close().await;
        Record { base, trace, ops }
    }

    /// What the clients knew when the power went.
    fn known(&self, cut: usize) -> Known {
        let mut known = Known::default();
        let marks = |part: &[Event]| part.iter().filter_map(mark).collect::<Vec<u64>>();
        let (before, behind) = (marks(&self.trace[..cut]), marks(&self.trace[cut..]));
        let op = |mark: &u64| &self.ops[(mark / 2) as usize];
        known.now = before.last().map_or(Timestamp::from_secs(1_000_000), |mark| op(mark).at);
        for mark in before.iter().filter(|mark| *mark % 2 == 1) {
            known.learn(op(mark), false);
        }
        // In the order in which they were answered later: what was decided of one message was written in that order.
        for mark in behind.iter().filter(|mark| *mark % 2 == 1 && before.contains(&(*mark - 1))) {
            known.learn(op(mark), true);
        }
        known
    }

    async fn check(&self, cut: usize, luck: &Luck<'_>) {
        let known = self.known(cut);
        let dir = directory(&after_power_cut(&self.base, &self.trace, cut, luck));
        let clock = ManualClock::at(known.now);
        let under = Under { life: 2, ..Under::default() };
        let bed = Bed::open(dir.path(), &clock, Functions::none(), under).await;
        let verified = tokio::time::timeout(Duration::from_secs(60), known.verify(&bed)).await;
        verified.unwrap_or_else(|_| panic!("cut before {cut} of {}: nothing goes on", self.trace.len()));
        bed.close().await;
    }
}

#[derive(Default)]
struct Known {
    now: Timestamp,
    /// How each message may stand, the first as its clients know it.
    messages: BTreeMap<String, Vec<State>>,
    ids: BTreeMap<String, String>,
}

impl Known {
    fn learn(&mut self, op: &Op, may_be: bool) {
        for (body, effect) in &op.effects {
            let states = self.messages.entry(body.clone()).or_insert_with(|| vec![State::Absent]);
            let next = states.last().unwrap().after(effect);
            if !may_be {
                states.clear();
            }
            states.push(next);
            if let Effect::Sent { id } = effect
                && !may_be
            {
                self.ids.insert(body.clone(), id.clone());
            }
        }
    }

    async fn verify(mut self, bed: &Bed) {
        self.send_again(bed).await;
        let mut given = BTreeSet::new();
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        for queue in QUEUES {
            self.receive_all(bed, queue, &mut given, &mut last).await;
        }
        for (body, states) in self.messages.iter().filter(|(body, _)| !is_fifo(body)) {
            let must = |state: &State| matches!(state, State::There { visible_at, .. } if *visible_at <= self.now);
            assert!(!states.iter().all(must) || given.contains(body), "{body} is not given: {states:?}");
        }
        // Now the time of everything is over.
        bed.clock.advance(Duration::from_secs(LONG as u64 + 1));
        self.now = bed.clock.now();
        for queue in QUEUES {
            self.receive_all(bed, queue, &mut given, &mut last).await;
        }
        for (body, states) in &self.messages {
            let is_there = |state: &State| matches!(state, State::There { .. });
            assert!(!states.iter().all(is_there) || given.contains(body), "{body} is lost: {states:?}");
            assert!(states.iter().any(is_there) || !given.contains(body), "{body} came back: {states:?}");
        }
        for queue in QUEUES {
            let input = json!({"QueueUrl": url(queue), "AttributeNames": ["All"]});
            let found = bed.sqs("GetQueueAttributes", input).await;
            for end in ["", "NotVisible", "Delayed"] {
                let name = format!("ApproximateNumberOfMessages{end}");
                assert_eq!(found["Attributes"][&name], "0", "{queue}: something is left that nobody is given");
            }
        }
    }

    /// What was sent to the FIFO queue is known again, and what was about to be sent is there from now on.
    async fn send_again(&mut self, bed: &Bed) {
        for (body, states) in self.messages.iter_mut().filter(|(body, _)| is_fifo(body)) {
            let input = json!({
                "QueueUrl": url("steps.fifo"), "MessageBody": body,
                "MessageGroupId": body[..1], "MessageDeduplicationId": body,
            });
            let answer = bed.sqs("SendMessage", input).await;
            if let Some(id) = self.ids.get(body) {
                assert_eq!(answer["MessageId"], id.as_str(), "{body} was sent before");
            }
            let is_there = |state: State| if state == State::Absent { state.after(&sent(&answer)) } else { state };
            *states = std::mem::take(states).into_iter().map(is_there).collect();
        }
    }

    /// Receives and deletes what a queue gives, and compares.
    async fn receive_all(
        &self,
        bed: &Bed,
        queue: &str,
        given: &mut BTreeSet<String>,
        last: &mut BTreeMap<String, String>,
    ) {
        loop {
            let input = json!({
                "QueueUrl": url(queue), "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "VisibilityTimeout": LONG,
            });
            let messages = messages(&bed.sqs("ReceiveMessage", input).await);
            if messages.is_empty() {
                return;
            }
            for Message { body, handle, count } in messages {
                let states = self.messages.get(&body).unwrap_or_else(|| panic!("{queue}: nobody sent {body}"));
                let is_allowed = states.iter().any(|state| state.allows(self.now, queue, count));
                assert!(is_allowed, "{queue} gives {body} for the {count}. time at {:?}: {states:?}", self.now);
                assert!(given.insert(body.clone()), "{queue}: {body} is there twice");
                if is_fifo(&body) {
                    let before = last.insert(body[..1].to_owned(), body.clone());
                    assert!(before.is_none_or(|before| before < body), "{body} comes out of order");
                }
                bed.sqs("DeleteMessage", json!({"QueueUrl": url(queue), "ReceiptHandle": handle})).await;
            }
        }
    }
}

fn is_fifo(body: &str) -> bool {
    body.starts_with("a-") || body.starts_with("b-")
}

#[tokio::test]
async fn a_power_cut_leaves_queues_as_their_clients_know_them() {
    let record = Record::make(sized(6, 30), None).await;
    let chance = Seeded::new(5);
    cut_anywhere(&record.trace, &chance, sized(40, 400), async |cut, luck| record.check(cut, luck).await).await;
}

#[tokio::test]
async fn no_queue_acknowledges_before_its_sync() {
    let record = Record::make(sized(2, 24), None).await;
    check_acknowledgements(&record).await;
}

/// Or the tests prove nothing.
#[tokio::test]
async fn an_acknowledgement_of_a_queue_before_its_sync_is_found() {
    let record = Record::make(1, Some(Mutant::AckBeforeSync)).await;
    let mut checked = tokio::task::JoinSet::new();
    checked.spawn(async move { check_acknowledgements(&record).await });
    let panic = checked.join_next().await.unwrap().unwrap_err().into_panic();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(!said.contains("unwrap"), "{said}");
}

async fn check_acknowledgements(record: &Record) {
    for cut in after_answers(&record.trace) {
        record.check(cut, &Luck::Nothing).await;
    }
}
