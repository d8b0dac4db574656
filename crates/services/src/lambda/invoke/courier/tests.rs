//! What couriers do with events, on a store in memory and with a function that answers as it is told.

use std::collections::VecDeque;
use std::path::Path;

use base::ports::{
    Call, FunctionSpec, Invoke, InvokeError, Invoked, Provided, Provision, ProvisionId, ResponsePiece, ResponseStream,
    SnapshotError,
};
use base::{BoxFuture, ManualClock};
use wire::server::Tasks;

use super::*;
use crate::cloud::testing;
use crate::lambda::function::{self, Function};
use crate::lambda::invoke::{Request, event};

/// Answers as it was told to, and then well.
#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<Answer>>,
    calls: Mutex<Vec<Call>>,
}

enum Answer {
    Error,
    Throttled,
}

struct Empty;

impl ResponseStream for Empty {
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece> {
        Box::pin(async { ResponsePiece::End { log_tail: None, error: None } })
    }
}

impl Invoke for Told {
    fn invoke(&self, _: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        self.calls.lock().unwrap().push(call);
        let function_error = match self.answers.lock().unwrap().pop_front() {
            Some(Answer::Throttled) => return Box::pin(async { Err(InvokeError::Throttled("busy")) }),
            Some(Answer::Error) => Some("Unhandled"),
            None => None,
        };
        let invoked = Invoked { function_error, content_type: None, response: Box::new(Empty) };
        Box::pin(async { Ok(invoked) })
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

struct Bed {
    ctx: Ctx,
    told: Arc<Told>,
    clock: ManualClock,
}

impl Bed {
    async fn new(dir: &Path) -> Bed {
        let (told, clock) = (Arc::new(Told::default()), ManualClock::at(Timestamp::from_secs(1_000)));
        let mut ctx = testing::ctx(dir, Arc::new(clock.clone()), told.clone()).await;
        Arc::get_mut(&mut ctx.cloud).unwrap().spawn = Arc::new(Tasks::default());
        let bed = Bed { ctx, told, clock };
        bed.keep(&function::testing::function()).await;
        bed
    }

    async fn keep(&self, function: &Function) {
        let batch = Batch::new().put(&FUNCTIONS, &self.ctx.scope(), &function.name, function);
        self.ctx.cloud.store.commit(batch).await.unwrap();
    }

    /// Accepts an event with an id of its own.
    async fn accept(&self) {
        self.accept_from(None).await;
    }

    async fn accept_from(&self, trace_header: Option<String>) {
        let mut ctx = self.ctx.clone();
        ctx.cx.request_id = RequestId(ctx.cx.id());
        let (asked, function) =
            (crate::lambda::name::FunctionRef { name: "f".into(), qualifier: None }, function::testing::function());
        let request = Request { trace_header, ..Request::new(&ctx, b"{}".to_vec()) };
        event::accept(&ctx, &asked, &function, request).await.unwrap();
    }

    async fn waiting(&self) -> Vec<Row<Key, Event>> {
        let page = EVENTS.page(&self.ctx.cloud.store, &self.ctx.scope(), Scan::all(100)).await.unwrap();
        page.rows
    }

    fn post(&self) -> Post {
        let chance = Arc::new(base::Seeded::new(2));
        let clock = Arc::new(self.clock.clone());
        Post { cloud: self.ctx.cloud.clone(), spawn: Arc::new(Tasks::default()), clock, chance }
    }

    /// Tries the one event that waits, and says when it is due again and how it stands.
    async fn settle(&self) -> Option<(u64, u32, u32)> {
        let row = self.waiting().await.pop()?;
        self.post().settle(&self.ctx.scope(), row, &Young::default()).await.unwrap();
        let row = self.waiting().await.pop()?;
        let wait = row.key.1.1.0.since(self.clock.now());
        Some((wait.as_secs(), row.value.failures, row.value.hold_ups))
    }

    fn tell(&self, answers: impl IntoIterator<Item = Answer>) {
        self.told.answers.lock().unwrap().extend(answers);
    }

    fn calls(&self) -> usize {
        self.told.calls.lock().unwrap().len()
    }
}

#[tokio::test]
async fn what_becomes_of_an_event_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(dir.path()).await;
    bed.accept().await;
    bed.tell([Answer::Throttled, Answer::Throttled, Answer::Error, Answer::Throttled, Answer::Error, Answer::Error]);
    let mut seen = Vec::new();
    while let Some(stands) = bed.settle().await {
        bed.clock.advance(Duration::from_secs(stands.0));
        seen.push(stands);
    }
    assert_eq!(seen, [(1, 0, 1), (2, 0, 2), (60, 1, 0), (1, 1, 1), (120, 2, 0)]);
    let calls = bed.told.calls.lock().unwrap();
    assert!(calls.len() == 6 && calls.iter().all(|call| call.request_id == calls[0].request_id));
}

#[tokio::test]
async fn an_event_goes_when_it_is_done_or_can_never_be() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(dir.path()).await;
    bed.accept().await;
    assert_eq!((bed.settle().await, bed.calls()), (None, 1));
    bed.accept().await;
    bed.keep(&Function { reserved_concurrency: Some(0), ..function::testing::function() }).await;
    assert_eq!((bed.settle().await, bed.calls()), (None, 1), "it reserves nothing");
    bed.keep(&function::testing::function()).await;
    bed.accept().await;
    bed.clock.advance(Duration::from_secs(6 * 60 * 60));
    assert_eq!((bed.settle().await, bed.calls()), (None, 1), "it is too old");
    bed.accept().await;
    bed.keep(&Function { incarnation: bed.ctx.cx.id(), ..function::testing::function() }).await;
    assert_eq!((bed.settle().await, bed.calls()), (None, 1), "it is another function");
}

/// What `g` was sent of an event that has ended.
async fn record_for(bed: &Bed) -> serde_json::Value {
    let rows = bed.waiting().await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(row.value.function, "g");
    bed.ctx.cloud.store.commit(Batch::new().delete(&EVENTS, &bed.ctx.scope(), row.key)).await.unwrap();
    serde_json::from_str(&row.value.payload).unwrap()
}

#[tokio::test]
async fn who_is_to_hear_of_an_end_has_it_when_the_event_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(dir.path()).await;
    let g = Function { name: "g".into(), incarnation: bed.ctx.cx.id(), ..function::testing::function() };
    bed.keep(&g).await;
    let to = serde_json::json!({"Destination": function::arn(&bed.ctx, "g")});
    let config = serde_json::json!({
        "FunctionName": "f", "MaximumRetryAttempts": 1, "DestinationConfig": {"OnSuccess": to, "OnFailure": to},
    });
    event_invoke::put(bed.ctx.clone(), serde_json::from_value(config).unwrap()).await.unwrap();
    let condition = |record: &serde_json::Value| {
        let context = &record["requestContext"];
        (context["condition"].as_str().unwrap().to_owned(), context["approximateInvokeCount"].as_u64().unwrap())
    };
    bed.accept().await;
    bed.settle().await;
    assert_eq!(condition(&record_for(&bed).await), ("Success".into(), 1));
    bed.accept().await;
    bed.tell([Answer::Error, Answer::Throttled, Answer::Error]);
    for _ in 0..3 {
        assert_eq!(bed.waiting().await[0].value.function, "f");
        bed.settle().await;
        bed.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(condition(&record_for(&bed).await), ("RetriesExhausted".into(), 2));

    // So often it was there before.
    let id = engine::lineage::FunctionId::of(&function::arn(&bed.ctx, "f"));
    let header = |times| (0..times).fold("Root=1-2-3".to_owned(), |header, _| engine::lineage::extend(&header, id));
    let calls = bed.calls();
    bed.accept_from(Some(header(15))).await;
    bed.settle().await;
    assert_eq!(condition(&record_for(&bed).await), ("Success".into(), 1));
    let told = bed.told.calls.lock().unwrap().last().unwrap().trace_header.clone();
    assert_eq!(told, Some(header(16).replace(";Lineage", ";Sampled=0;Lineage")), "what it calls is of this chain");
    bed.accept_from(told).await;
    bed.settle().await;
    assert_eq!(condition(&record_for(&bed).await), ("RecursiveInvocation".into(), 0));
    assert_eq!(bed.calls(), calls + 1);
    bed.keep(&Function { recursive_loop: Some("Allow".into()), ..function::testing::function() }).await;
    bed.accept_from(Some(header(99))).await;
    bed.settle().await;
    assert_eq!(condition(&record_for(&bed).await), ("Success".into(), 1));
}

/// A function that panics us once.
struct Panics(Arc<Told>, Mutex<bool>);

impl Invoke for Panics {
    fn invoke(&self, spec: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        assert!(std::mem::replace(&mut *self.1.lock().unwrap_or_else(PoisonError::into_inner), true), "once");
        self.0.invoke(spec, call)
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

#[tokio::test(start_paused = true)]
async fn an_event_whose_attempt_panicked_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (told, clock) = (Arc::new(Told::default()), ManualClock::at(Timestamp::from_secs(1_000)));
    let panics = Arc::new(Panics(told.clone(), Mutex::default()));
    let ctx = testing::ctx(dir.path(), Arc::new(clock.clone()), panics).await;
    let bed = Bed { ctx, told, clock };
    bed.keep(&function::testing::function()).await;
    let mut changes = EVENTS.watch_all(&bed.ctx.cloud.store);
    Tasks::default().spawn("couriers", Box::pin(run_all(bed.post())));
    bed.accept().await;
    changes.changed().await;
    while !bed.waiting().await.is_empty() {
        bed.clock.advance(REST);
        tokio::time::sleep(REST).await;
    }
    assert_eq!(bed.calls(), 1);
}

#[tokio::test]
async fn couriers_find_what_was_there_and_hear_of_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(dir.path()).await;
    for _ in 0..40 {
        bed.accept().await;
    }
    let mut changes = EVENTS.watch_all(&bed.ctx.cloud.store);
    Tasks::default().spawn("couriers", Box::pin(run_all(bed.post())));
    let all_gone = async |bed: &Bed, changes: &mut store::Watch| {
        while !bed.waiting().await.is_empty() {
            changes.changed().await;
        }
    };
    all_gone(&bed, &mut changes).await;
    assert_eq!(bed.calls(), 40);
    for _ in 0..200 {
        bed.accept().await;
    }
    all_gone(&bed, &mut changes).await;
    assert_eq!(bed.calls(), 240);
}
