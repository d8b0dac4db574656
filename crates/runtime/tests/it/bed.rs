//! A runtime on real sandboxes and an in-memory store, and functions made of a few files.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{
    Call, CodeRef, Concurrency, FunctionSpec, Invoke, InvokeError, LogEvent, LogStream, Logging, ResponsePiece,
    Telemetry,
};
use base::record::{Ended, Record};
use base::{
    AccountId, BoxFuture, Cause, Chance, Clock, Region, RequestId, Secret, Spawn, SystemChance, SystemClock, Timestamp,
    Uuid, World,
};
use engine::platform;
use parking_lot::Mutex;
use runtime::{Host, Key, Parts, Runtime, Settings};
use sandbox::Isolation;
use serde_json::Value;
use store::{Blobs, Store};

use crate::zip::zip;

pub struct Bed {
    pub runtime: Arc<Runtime>,
    pub blobs: Blobs,
    pub seen: Arc<Seen>,
    /// Deleted with the bed.
    pub _dir: tempfile::TempDir,
}

/// What the runtime told its host.
#[derive(Default)]
pub struct Seen {
    pub log: Mutex<Vec<(String, String)>>,
    pub records: Mutex<Vec<Record>>,
    pub throttled: Mutex<Vec<RequestId>>,
    pub keys_out: Mutex<i32>,
}

struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

struct TestHost(Arc<Seen>);

struct KeyLease(Arc<Seen>);

impl Drop for KeyLease {
    fn drop(&mut self) {
        *self.0.keys_out.lock() -= 1;
    }
}

impl Host for TestHost {
    fn issue_key<'a>(&'a self, function: &'a FunctionSpec, _instance: Uuid) -> BoxFuture<'a, Result<Key, String>> {
        *self.0.keys_out.lock() += 1;
        let key = Key {
            access_key_id: format!("AKIA{}", function.name.to_uppercase()),
            secret_access_key: Secret::new("secret".to_owned()),
            session_token: Some(Secret::new("token".to_owned())),
            lease: Box::new(KeyLease(Arc::clone(&self.0))),
        };
        Box::pin(std::future::ready(Ok(key)))
    }

    fn serve_api(&self, _function: &FunctionSpec, _instance: Uuid, listener: TcpListener) -> Box<dyn Any + Send> {
        Box::new(listener)
    }
}

struct Log(Arc<Seen>);

impl Telemetry for Log {
    fn log(&self, stream: &Arc<LogStream>, event: LogEvent) {
        self.0.log.lock().push((stream.name.clone(), event.message));
    }

    fn record(&self, stream: &Arc<LogStream>, now: Timestamp, record: Record) {
        let lines = platform::lines(&stream.origin, now, &record);
        self.0.log.lock().extend(lines.into_iter().map(|line| (stream.name.clone(), line)));
        self.0.records.lock().push(record);
    }

    fn throttled(&self, _: &FunctionSpec, call: &Call) {
        self.0.throttled.lock().push(call.request_id);
    }
}

async fn isolation(as_user: Option<u32>) -> Isolation {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_runtime-spawner"));
    let settings = sandbox::Settings { binary, as_user, ..sandbox::Settings::default() };
    sandbox::processes(settings, Arc::new(Tasks)).await.unwrap().0
}

impl Bed {
    /// On real sandboxes.
    pub async fn new() -> Bed {
        Bed::with(|_| {}).await
    }

    pub async fn with(choose: impl FnOnce(&mut Settings)) -> Bed {
        Bed::on(isolation(None).await, choose)
    }

    /// On sandboxes that are made with the rights of an ordinary user.
    pub async fn as_user() -> Bed {
        const NOBODY: u32 = 65_534;
        Bed::on(isolation(rustix::process::geteuid().is_root().then_some(NOBODY)).await, |_| {})
    }

    /// Without isolation.
    pub async fn bare() -> Bed {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_runtime-spawner"));
        let settings = sandbox::Settings { binary, ..sandbox::Settings::default() };
        Bed::on(sandbox::bare(settings, Arc::new(Tasks)).await.unwrap().0, |_| {})
    }

    pub fn on(isolation: Isolation, choose: impl FnOnce(&mut Settings)) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::memory(clock.clone());
        let blobs = Blobs::temporary(&store, clock.clone()).unwrap();
        let seen = Arc::new(Seen::default());
        let mut settings = Settings::new(dir.path().join("cache"), dir.path().join("sdks"));
        choose(&mut settings);
        let parts = Parts {
            blobs: blobs.clone(),
            isolation,
            clock,
            chance: Arc::new(SystemChance::default()),
            spawn: Arc::new(Tasks),
            host: Arc::new(TestHost(Arc::clone(&seen))),
            telemetry: Arc::new(Log(Arc::clone(&seen))),
        };
        Bed { runtime: Runtime::new(settings, parts).unwrap(), blobs, seen, _dir: dir }
    }

    pub async fn code<T: AsRef<[u8]>>(&self, files: &[(&str, T)]) -> CodeRef {
        let zip = zip(files);
        let staged = self.blobs.put(std::io::Cursor::new(zip), u64::MAX).await.unwrap();
        let blob = staged.blob();
        // Nothing refers to it, and nothing collects here.
        CodeRef { hash: *blob.hash.as_bytes(), size_bytes: blob.size_bytes }
    }

    /// A function with AWS's defaults.
    pub async fn function<T: AsRef<[u8]>>(&self, runtime: &str, handler: &str, files: &[(&str, T)]) -> FunctionSpec {
        FunctionSpec {
            world: World(0),
            account: AccountId::ZERO,
            region: Region::default(),
            name: "probe".into(),
            version: "$LATEST".into(),
            release: SystemChance::default().uuid(),
            runtime: runtime.into(),
            runtime_version_arn: "arn:aws:lambda:us-east-1::runtime:0".into(),
            handler: handler.into(),
            role: "arn:aws:iam::000000000000:role/r".into(),
            timeout: Duration::from_secs(3),
            memory_mb: 256,
            tmp_mb: 512,
            environment: Secret::new(BTreeMap::new()),
            code: self.code(files).await,
            layers: vec![],
            logging: Logging {
                group: "/aws/lambda/probe".into(),
                is_json: false,
                application_level: None,
                system_level: None,
            },
            is_traced: false,
            is_snap_start: false,
        }
    }

    pub async fn invoke(&self, function: &FunctionSpec, payload: &str) -> Answer {
        self.call(function, call(payload)).await.unwrap()
    }

    pub async fn call(&self, function: &FunctionSpec, call: Call) -> Result<Answer, InvokeError> {
        let mut invoked = self.runtime.invoke(Arc::new(function.clone()), call).await?;
        let mut answer = Answer { failed: invoked.function_error, ..Answer::default() };
        loop {
            match invoked.response.next().await {
                ResponsePiece::Bytes(bytes) => answer.body.push_str(&String::from_utf8_lossy(&bytes)),
                ResponsePiece::End { log_tail, error } => {
                    answer.tail = log_tail.map(|tail| String::from_utf8_lossy(&tail).into_owned());
                    answer.error = error;
                    return Ok(answer);
                }
            }
        }
    }

    /// What invocations came to, in the order of their ends.
    pub fn ended(&self) -> Vec<Ended> {
        let records = self.seen.records.lock();
        let ended = |record: &Record| if let Record::Ended(ended) = record { Some(ended.clone()) } else { None };
        records.iter().filter_map(ended).collect()
    }

    pub fn log(&self) -> String {
        self.seen.log.lock().iter().map(|(_, message)| message.as_str()).collect()
    }
}

#[derive(Debug, Default)]
pub struct Answer {
    pub failed: Option<&'static str>,
    pub body: String,
    pub tail: Option<String>,
    pub error: Option<(String, String)>,
}

/// Type and message of the error that an invocation must have failed by, the latter without the request's id.
pub fn error(answer: &Answer) -> (String, String) {
    assert_eq!(answer.failed, Some("Unhandled"), "{answer:?}");
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    let message = error["errorMessage"].as_str().unwrap();
    let message = message.split_once(" Error: ").map_or(message, |(_, rest)| rest);
    (error["errorType"].as_str().unwrap().to_owned(), message.to_owned())
}

pub fn call(payload: &str) -> Call {
    Call {
        request_id: RequestId(SystemChance::default().uuid()),
        invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:probe".into(),
        payload: payload.as_bytes().to_vec(),
        client_context: None,
        trace_header: None,
        tenant_id: None,
        wants_log_tail: true,
        is_streamed: false,
        concurrency: Concurrency::Shared(1_000),
        allocated: 0,
        is_async: false,
        cause: Cause::origin(Uuid::NIL),
    }
}

/// All of them, at once.
pub async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in all.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(found) = future.as_mut().poll(context) {
                *output = Some(found);
            }
        }
        if all.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    all.into_iter().map(|(_, output)| output.unwrap()).collect()
}
