//! A cloud in memory whose clock is the runtime's, which stands still while anything is to be done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::ports::{
    Call, FunctionSpec, Invoke, InvokeError, Invoked, Provided, Provision, ProvisionId, ResponsePiece, ResponseStream,
    SnapshotError, UNHANDLED,
};
use base::{BoxFuture, Clock, Seeded, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use store::Store;
use tokio::time::Instant;
use wire::Blob;

use crate::world::{World, url};

/// An archive with one file.
const CODE: &str = "UEsDBBQAAAAAAAAAIQCWkhoOBQAAAAUAAAAGAAAAYXBwLnB5cGFzcwpQSwECFAMUAAAAAAAAACEAlpIaDgUAAAAFAAAABgAAAAAAAAAAAAAAgAEAAAAAYXBwLnB5UEsFBgAAAAABAAEANAAAACkAAAAAAA==";
const BEGAN: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Copy)]
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        BEGAN.plus(self.0.elapsed())
    }
}

/// What a function does with a call: how long it takes, and what it answers.
pub type Answer = (Duration, Result<(Option<&'static str>, String), InvokeError>);

/// A call of a function: when, of which, and what it was given.
#[derive(Debug, Clone)]
pub struct Called {
    pub after: Duration,
    pub function: String,
    pub payload: Value,
    pub tenant: Option<String>,
}

/// Functions whose code is here.
pub struct Functions {
    began: Instant,
    answer: Box<dyn Fn(&Called) -> Answer + Send + Sync>,
    called: Mutex<Vec<Called>>,
}

struct Whole(Option<String>);

impl ResponseStream for Whole {
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece> {
        let piece = match self.0.take().filter(|payload| !payload.is_empty()) {
            Some(payload) => ResponsePiece::Bytes(payload.into_bytes()),
            None => ResponsePiece::End { log_tail: None, error: None },
        };
        Box::pin(async { piece })
    }
}

impl Invoke for Functions {
    fn invoke(&self, _: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        let called = Called {
            after: self.began.elapsed(),
            function: call.invoked_arn.split(':').nth(6).unwrap().to_owned(),
            payload: serde_json::from_slice(&call.payload).unwrap(),
            tenant: call.tenant_id,
        };
        let (takes, answer) = (self.answer)(&called);
        self.called.lock().unwrap().push(called);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let (function_error, payload) = answer?;
            Ok(Invoked { function_error, content_type: None, response: Box::new(Whole(Some(payload))) })
        })
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

pub fn well(takes: Duration, payload: impl Into<String>) -> Answer {
    (takes, Ok((None, payload.into())))
}

pub fn fails(takes: Duration, message: &str) -> Answer {
    (takes, Ok((Some(UNHANDLED), json!({"errorMessage": message}).to_string())))
}

pub struct Bed {
    functions: Arc<Functions>,
    world: World,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Code {
    zip_file: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Function {
    function_name: String,
    code: Code,
    runtime: &'static str,
    handler: &'static str,
    role: &'static str,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    function_name: String,
    invocation_type: &'static str,
    payload: Blob,
    tenant_id: Option<String>,
}

impl Bed {
    /// With functions that answer so, couriers and pollers.
    pub async fn open(dir: &Path, answer: impl Fn(&Called) -> Answer + Send + Sync + 'static) -> Self {
        let paused = Paused(Instant::now());
        let clock: Arc<dyn Clock> = Arc::new(paused);
        let functions = Functions { began: paused.0, answer: Box::new(answer), called: Mutex::default() };
        let functions = Arc::new(functions);
        let (store, chance) = (Store::memory(clock.clone()), Arc::new(Seeded::new(1)));
        let world = World::open(store, dir, clock, chance, functions.clone()).await;
        base::Spawn::spawn(&world.tasks, "couriers", Box::pin(services::run_couriers(world.post())));
        base::Spawn::spawn(
            &world.tasks,
            "pollers",
            Box::pin(services::run_pollers(world.post(), Box::pin(std::future::pending()))),
        );
        Self { functions, world }
    }

    /// Calls an operation that succeeds, and gives its answer.
    pub async fn call(&self, service: &'static str, operation: &'static str, input: impl Serialize) -> Value {
        let answer = self.world.call(service, operation, input).await;
        answer.unwrap_or_else(|error| panic!("{operation}: {error}")).1
    }

    pub async fn function(&self, name: &str, more: Value) {
        let function = Function {
            function_name: name.to_owned(),
            code: Code { zip_file: STANDARD.decode(CODE).unwrap().into() },
            runtime: "python3.13",
            handler: "app.handler",
            role: "arn:aws:iam::000000000000:role/r",
            more: serde_json::from_value(more).unwrap(),
        };
        self.call("lambda", "CreateFunction", function).await;
    }

    /// Leaves an event to a function.
    pub async fn leave(&self, function: &str, tenant: Option<&str>) {
        let (function_name, payload) = (function.to_owned(), b"{}".to_vec().into());
        let event = Event { function_name, invocation_type: "Event", payload, tenant_id: tenant.map(str::to_owned) };
        self.call("lambda", "Invoke", event).await;
    }

    pub async fn queue(&self, name: &str, attributes: Value) {
        self.call("sqs", "CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
    }

    /// All that a queue gives now.
    pub async fn receive_all(&self, queue: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let input = json!({
                "QueueUrl": url(queue), "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"],
                "MessageSystemAttributeNames": ["All"],
            });
            match self.call("sqs", "ReceiveMessage", input).await["Messages"].as_array() {
                Some(messages) if !messages.is_empty() => all.extend(messages.clone()),
                _ => return all,
            }
        }
    }

    pub fn called(&self) -> Vec<Called> {
        self.functions.called.lock().unwrap().clone()
    }

    /// When a function was called, in seconds.
    pub fn seconds(&self, function: &str) -> Vec<u64> {
        let called = self.called().into_iter().filter(|called| called.function == function);
        called.map(|called| ((called.after.as_millis() + 500) / 1_000) as u64).collect()
    }
}
