//! Clients invoke functions and do not wait: what has ended well is told to a queue, what has failed is told there and is a dead
//! letter too.
//!
//! Pass line, at whichever moment the power goes: each event whose 202 was seen ends, and its end is told once, to both or
//! to none; nobody is told of an event twice, nor of one that nobody sent; and an event that was seen to end does not run
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::ports::{
    Call, FunctionSpec, Invoke, InvokeError, Invoked, Provided, Provision, ProvisionId, ResponsePiece, ResponseStream,
    SnapshotError, UNHANDLED,
};
use base::{BoxFuture, ManualClock, Seeded, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use store::testing::Mutant;
use wire::Blob;

use crate::bed::{Bed, Under};
use crate::disk::{Event, Image, Luck, Recorder, after_power_cut, directory, image_of};
use crate::world::{arn, url};
use crate::{after_answers, cut_anywhere, mark, sized};

/// A zip with an empty module.
const CODE: &str = "UEsDBBQAAAAAAAAAIQAk1HDOBAAAAAQAAAAGAAAAYXBwLnB5cGFzc1BLAQIUAxQAAAAAAAAAIQAk1HDOBAAAAAQAAAAGAAAAAAAAAAAAAACAAQAAAABhcHAucHlQSwUGAAAAAAEAAQA0AAAAKAAAAAAA";
const CLIENTS: u64 = 3;

/// Runs functions: those that are told to fail do so.
#[derive(Default)]
pub struct Functions {
    ran: Mutex<Vec<u64>>,
}

impl Functions {
    pub fn none() -> Arc<dyn Invoke> {
        Arc::new(Self::default())
    }

    /// The numbers of the events that it was called with.
    pub fn ran(&self) -> Vec<u64> {
        self.ran.lock().unwrap().clone()
    }
}

struct Empty;

impl ResponseStream for Empty {
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece> {
        Box::pin(async { ResponsePiece::End { log_tail: None, error: None } })
    }
}

impl Invoke for Functions {
    fn invoke(&self, _: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        let number: u64 = serde_json::from_slice(&call.payload).unwrap();
        self.ran.lock().unwrap().push(number);
        let function_error = fails(number).then_some(UNHANDLED);
        Box::pin(async move { Ok(Invoked { function_error, content_type: None, response: Box::new(Empty) }) })
    }

    fn expect(&self, _: Arc<FunctionSpec>) {}

    fn snapshot(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>> {
        Box::pin(async { Ok(()) })
    }

    fn provide(&self, _: Vec<Provision>) {}

    fn provided(&self, _: &ProvisionId) -> Provided {
        Provided::default()
    }
}

fn fails(number: u64) -> bool {
    number.is_multiple_of(3)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Code {
    zip_file: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Function {
    function_name: &'static str,
    code: Code,
    runtime: &'static str,
    handler: &'static str,
    role: &'static str,
    dead_letter_config: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Send {
    function_name: &'static str,
    invocation_type: &'static str,
    payload: Blob,
}

impl Send {
    pub fn new(number: u64) -> Self {
        let payload = number.to_string().into_bytes().into();
        Self { function_name: "f", invocation_type: "Event", payload }
    }
}

/// A function, and the queues that hear of its events.
pub async fn make(bed: &Bed) {
    for queue in ["told", "dead"] {
        bed.sqs("CreateQueue", json!({"QueueName": queue})).await;
    }
    let function = Function {
        function_name: "f",
        code: Code { zip_file: STANDARD.decode(CODE).unwrap().into() },
        runtime: "python3.13",
        handler: "app.handler",
        role: "arn:aws:iam::000000000000:role/r",
        dead_letter_config: json!({"TargetArn": arn("dead")}),
    };
    bed.call("lambda", "CreateFunction", function).await.unwrap();
    let told = json!({"Destination": arn("told")});
    let config = json!({
        "FunctionName": "f", "MaximumRetryAttempts": 0, "DestinationConfig": {"OnSuccess": told, "OnFailure": told},
    });
    bed.call("lambda", "PutFunctionEventInvokeConfig", config).await.unwrap();
}

/// Sends events, the so manieth of each client. Marks are as of queues: even before, odd behind the answer.
async fn send(bed: &Bed, recorder: &Recorder, client: u64, count: u64) {
    for at in 0..count {
        let number = at * CLIENTS + client;
        recorder.note(Event::Acked { id: 2 * number });
        bed.call("lambda", "Invoke", Send::new(number)).await.unwrap();
        recorder.note(Event::Acked { id: 2 * number + 1 });
    }
}

struct Record {
    base: Image,
    trace: Vec<Event>,
}

impl Record {
    async fn make(count: u64, mutant: Option<Mutant>) -> Record {
        let (dir, clock) = (directory(&Image::new()), ManualClock::at(Timestamp::from_secs(1_000_000)));
        let bed = Bed::open(dir.path(), &clock, Functions::none(), Under::default()).await;
        make(&bed).await;
        bed.close().await;
        let base = image_of(dir.path());
        let recorder = Arc::new(Recorder::default());
        let under = Under { tap: Some(recorder.clone()), mutant, life: 1 };
        let bed = Bed::open(dir.path(), &clock, Functions::none(), under).await;
        let work = async {
            let all = (0..CLIENTS).map(|client| send(&bed, &recorder, client, count / CLIENTS));
            let mut all: Vec<_> = all.map(Box::pin).collect();
            let [a, b, c] = &mut all[..] else { unreachable!("there are three clients") };
            tokio::join!(a, b, c);
            ended(&bed, (count - count % CLIENTS) as usize).await;
        };
        tokio::select! {
            () = work => {}
            () = services::run_couriers(bed.post()) => unreachable!("they run for ever"),
        }
        let trace = recorder.take();
        bed.close().await;
        Record { base, trace }
    }

    async fn check(&self, cut: usize, luck: &Luck<'_>) {
        let dir = directory(&after_power_cut(&self.base, &self.trace, cut, luck));
        let (functions, clock) = (Arc::new(Functions::default()), ManualClock::at(Timestamp::from_secs(1_000_001)));
        let under = Under { life: 2, ..Under::default() };
        let bed = Bed::open(dir.path(), &clock, functions.clone(), under).await;
        let marks: BTreeSet<u64> = self.trace[..cut].iter().filter_map(mark).collect();
        let checked = tokio::time::timeout(Duration::from_secs(60), verify(&bed, &functions, &marks)).await;
        checked.unwrap_or_else(|_| panic!("cut before {cut} of {}: nothing goes on", self.trace.len()));
        bed.close().await;
    }
}

/// Waits until so many ends were told.
pub async fn ended(bed: &Bed, count: usize) {
    while held(bed, "told").await < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn held(bed: &Bed, queue: &str) -> usize {
    let input = json!({"QueueUrl": url(queue), "AttributeNames": ["ApproximateNumberOfMessages"]});
    let found = bed.sqs("GetQueueAttributes", input).await;
    found["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
}

async fn verify(bed: &Bed, functions: &Functions, marks: &BTreeSet<u64>) {
    // Before anything goes on: what was told by then.
    let before = numbers(bed, "told", |body| body["requestPayload"].as_u64().unwrap()).await;
    let dead = numbers(bed, "dead", |body| body.as_u64().unwrap()).await;
    for number in before.keys() {
        assert_eq!(dead.contains_key(number), fails(*number), "the end of {number} is told by halves");
    }
    assert!(dead.keys().all(|number| before.contains_key(number)), "{dead:?} died, {before:?} were told");
    let acked: BTreeSet<u64> = marks.iter().filter(|mark| *mark % 2 == 1).map(|mark| mark / 2).collect();
    let begun: BTreeSet<u64> = marks.iter().map(|mark| mark / 2).collect();
    let work = async {
        // One more: when its end is told, its function's courier is on its way, and goes when nothing is left.
        let last = u64::from(u32::MAX);
        bed.call("lambda", "Invoke", Send::new(last)).await.unwrap();
        ended(bed, 1).await;
        while bed.tasks.count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = services::run_couriers(bed.post()) => unreachable!("they run for ever"),
    }
    let mut after = numbers(bed, "told", |body| body["requestPayload"].as_u64().unwrap()).await;
    let dead = numbers(bed, "dead", |body| body.as_u64().unwrap()).await;
    assert!(after.remove(&u64::from(u32::MAX)).is_some());
    for (number, times) in before.iter().chain(&after) {
        assert!(*times == 1 && begun.contains(number), "{number} is told of {times} times");
        assert!(!before.contains_key(number) || !after.contains_key(number), "{number} is told of again");
    }
    for number in &acked {
        assert!(before.contains_key(number) || after.contains_key(number), "{number} is lost");
    }
    let failed: Vec<u64> = after.keys().copied().filter(|number| fails(*number)).collect();
    let died: Vec<u64> = dead.into_keys().filter(|number| *number != u64::from(u32::MAX)).collect();
    assert_eq!(died, failed);
    let ran = functions.ran();
    assert!(ran.iter().all(|number| !before.contains_key(number)), "{ran:?} ran, {before:?} were told before");
}

/// Takes all that a queue has, and counts it by the number that it is about.
async fn numbers(bed: &Bed, queue: &str, number: impl Fn(&Value) -> u64) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    loop {
        let answer = bed.sqs("ReceiveMessage", json!({"QueueUrl": url(queue), "MaxNumberOfMessages": 10})).await;
        let Some(messages) = answer["Messages"].as_array() else { return found };
        for message in messages {
            let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            *found.entry(number(&body)).or_default() += 1;
            bed.sqs("DeleteMessage", json!({"QueueUrl": url(queue), "ReceiptHandle": message["ReceiptHandle"]})).await;
        }
    }
}

#[tokio::test]
async fn a_power_cut_loses_no_event_and_tells_of_each_end_once() {
    let record = Record::make(sized(24, 120) as u64, None).await;
    let chance = Seeded::new(6);
    cut_anywhere(&record.trace, &chance, sized(30, 300), async |cut, luck| record.check(cut, luck).await).await;
}

#[tokio::test]
async fn no_event_is_acknowledged_before_its_sync() {
    check_acknowledgements(&Record::make(sized(12, 60) as u64, None).await).await;
}

/// Or the tests prove nothing.
#[tokio::test]
async fn an_acknowledgement_of_an_event_before_its_sync_is_found() {
    // What is acknowledged too early may be synced in time all the same: not each time.
    for _ in 0..20 {
        let record = Record::make(6, Some(Mutant::AckBeforeSync)).await;
        let mut checked = tokio::task::JoinSet::new();
        checked.spawn(async move { check_acknowledgements(&record).await });
        if let Err(error) = checked.join_next().await.unwrap() {
            let panic = error.into_panic();
            let said = panic.downcast_ref::<String>().unwrap();
            return assert!(said.contains("is lost"), "{said}");
        }
    }
    panic!("it was not found");
}

async fn check_acknowledgements(record: &Record) {
    for cut in after_answers(&record.trace) {
        record.check(cut, &Luck::Nothing).await;
    }
}
