//! What running functions needs of the server: keys for instances, the API inside their sandboxes, their logs.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::ports::{
    Authority, Call, Credential, FunctionSpec, Invoke, InvokeError, Invoked, LogEvent, LogStream, Provided, Provision,
    ProvisionId, SnapshotError, Telemetry,
};
use base::record::Record;
use base::{AwsError, BoxFuture, Chance, Clock, Principal, Secret, Spawn, Timestamp, Uuid, hex};
use chronicle::Chronicle;
use engine::platform;
use ring::digest;
use runtime::limits::ACCEPT_AGAIN_AFTER;
use services::derived;
use services::live::Live;
use store::Scope;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::cli::Place;
use crate::cli::functions::{Cpu, RuntimeMatch};
use crate::config::{self, Config};

/// Connections that one instance may have to the API at once.
const API_CONNECTIONS_MAX: usize = 256;

/// The keys of instances that live, beside those that another authority knows.
pub struct Keys {
    issued: Mutex<HashMap<String, Credential>>,
    others: Arc<dyn Authority>,
    chance: Arc<dyn Chance>,
}

/// An instance's key, taken back when it is dropped.
struct Lease {
    keys: Arc<Keys>,
    access_key_id: String,
}

impl Keys {
    pub fn new(others: Arc<dyn Authority>, chance: Arc<dyn Chance>) -> Arc<Self> {
        Arc::new(Self { issued: Mutex::default(), others, chance })
    }

    fn random(&self) -> String {
        let mut bytes = [0; 20];
        self.chance.fill(&mut bytes);
        hex::encode(&bytes)
    }

    fn issue(self: &Arc<Self>, function: &FunctionSpec) -> runtime::Key {
        let role = function.role.rsplit('/').next().unwrap_or_default();
        let (account, partition) = (function.account, function.region.partition());
        let id: String = self.random().to_ascii_uppercase().chars().take(16).collect();
        let access_key_id = format!("ASIA{id}");
        // A session's name has two characters at least.
        let session = match function.name.len() {
            1 => format!("{}@lambda_function", function.name),
            _ => function.name.clone(),
        };
        let credential = Credential {
            secret_access_key: Secret::new(self.random()),
            session_token: Some(Secret::new(self.random())),
            principal: Arc::new(Principal {
                account,
                arn: format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}"),
                user_id: format!("{}:{session}", role_id(&function.role)),
                access_key_id: Some(access_key_id.clone()),
            }),
        };
        let key = runtime::Key {
            access_key_id: access_key_id.clone(),
            secret_access_key: credential.secret_access_key.clone(),
            session_token: credential.session_token.clone(),
            lease: Box::new(Lease { keys: self.clone(), access_key_id: access_key_id.clone() }),
        };
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).insert(access_key_id, credential);
        key
    }
}

/// The unique id of a role that may not exist: the same for the same name.
fn role_id(arn: &str) -> String {
    let digest = hex::encode(digest::digest(&digest::SHA256, arn.as_bytes()).as_ref()).to_ascii_uppercase();
    format!("AROA{}", digest.get(..17).unwrap_or_default())
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keys.issued.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.access_key_id);
    }
}

impl Authority for Keys {
    fn credential<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, Result<Option<Credential>, AwsError>> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner).get(access_key_id).cloned();
        match issued {
            Some(credential) => Box::pin(std::future::ready(Ok(Some(credential)))),
            None => self.others.credential(access_key_id),
        }
    }
}

/// What the server does for each instance.
pub struct Host {
    pub keys: Arc<Keys>,
    /// Where the server listens.
    pub api: SocketAddr,
    pub spawn: Arc<dyn Spawn>,
}

impl runtime::Host for Host {
    fn issue_key<'a>(
        &'a self,
        function: &'a FunctionSpec,
        _instance: Uuid,
    ) -> BoxFuture<'a, Result<runtime::Key, String>> {
        Box::pin(std::future::ready(Ok(self.keys.issue(function))))
    }

    fn serve_api(&self, _function: &FunctionSpec, _instance: Uuid, listener: TcpListener) -> Box<dyn Any + Send> {
        let stop = CancellationToken::new();
        let (stopped, api, spawn) = (stop.clone(), self.api, self.spawn.clone());
        self.spawn.spawn("the API in a sandbox", Box::pin(forward(listener, api, spawn, stopped)));
        Box::new(stop.drop_guard())
    }
}

/// Takes connections from inside a sandbox to where the server listens.
async fn forward(listener: TcpListener, api: SocketAddr, spawn: Arc<dyn Spawn>, stop: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "failed to serve the API inside a sandbox"),
    };
    let room = Arc::new(Semaphore::new(API_CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut inside, _)) = accepted else {
            // Out of descriptors, most likely: others must end first.
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let stop = stop.clone();
        let carry = async move {
            if let Ok(mut outside) = TcpStream::connect(api).await {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = copy_bidirectional(&mut inside, &mut outside) => {}
                }
            }
            drop(place);
        };
        spawn.spawn("a connection to the API", Box::pin(carry));
    }
}

/// Stands where functions run on a machine that cannot run them.
pub struct Unable(pub String);

impl Invoke for Unable {
    fn invoke(&self, _: Arc<FunctionSpec>, _: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>> {
        Box::pin(std::future::ready(Err(InvokeError::CannotRun(self.0.clone()))))
    }

    fn expect(&self, _: Arc<FunctionSpec>) {}

    fn snapshot(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>> {
        Box::pin(std::future::ready(Err(SnapshotError::CannotRun(self.0.clone()))))
    }

    fn provide(&self, _: Vec<Provision>) {}

    fn provided(&self, _: &ProvisionId) -> Provided {
        Provided::default()
    }
}

/// Functions' logs go to the chronicle, to the server's own log for whoever watches that, and to a collector if there is one.
pub struct Logs {
    pub chronicle: Chronicle,
    pub collector: Option<otlp::Exporter>,
    pub live: Arc<Live>,
    pub clock: Arc<dyn Clock>,
}

impl Telemetry for Logs {
    fn log(&self, stream: &Arc<LogStream>, event: LogEvent) {
        show(stream, &event.message);
        self.collect(stream, || otlp::Kind::Log { time: event.time, message: event.message.clone() });
        self.chronicle.log(stream, event);
    }

    fn record(&self, stream: &Arc<LogStream>, now: Timestamp, record: Record) {
        // The chronicle makes these lines for itself.
        if tracing::enabled!(target: "function", Level::INFO) {
            platform::lines(&stream.origin, now, &record).iter().for_each(|line| show(stream, line));
        }
        self.chronicle.record(stream, now, &record);
        if let Record::Ended(ended) = record {
            self.collect(stream, || otlp::Kind::Span(Box::new(ended)));
        }
    }

    fn throttled(&self, function: &FunctionSpec, call: &Call) {
        let now = self.clock.now();
        self.chronicle.note_lazy(&derived::lambda::throttled(function, call, now));
        let region = Some(function.region.clone());
        let scope = Scope { world: function.world, account: function.account, region };
        self.live.throttled(&scope, &function.name, now);
    }
}

impl Logs {
    fn collect(&self, stream: &Arc<LogStream>, kind: impl FnOnce() -> otlp::Kind) {
        if let Some(collector) = &self.collector {
            collector.offer(otlp::Item { stream: Arc::clone(stream), kind: kind() });
        }
    }
}

/// In the server's own log.
fn show(stream: &LogStream, message: &str) {
    // A line for each of its lines, so that none can be taken for one of the server's own.
    for line in message.trim_end().split('\n') {
        let line = plain(line);
        tracing::info!(target: "function", group = stream.group, stream = stream.name, "{line}");
    }
}

/// Text in which nothing moves the cursor or ends a line.
fn plain(line: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_control() && c != '\t';
    if !line.contains(is_odd) {
        return line.into();
    }
    line.chars().map(|c| if is_odd(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// How functions run as configured, with what is kept below the data directory.
pub fn settings(config: &Config) -> runtime::Settings {
    let functions = &config.functions;
    let runtime_match = match functions.interpreters.runtime_match {
        RuntimeMatch::Nearest => runtime::Match::Nearest,
        RuntimeMatch::Exact => runtime::Match::Exact,
    };
    runtime::Settings {
        interpreters: functions.interpreters.named.clone(),
        runtime_match,
        is_cpu_hard: functions.cpu == Cpu::Quota,
        keep_alive: functions.keep_alive,
        memory_bytes: functions.memory_bytes,
        parked_per_kind: functions.parked,
        add_sdk: add_sdk(&config.data_dir),
        ..runtime::Settings::new(config.data_dir.join("cache"), sdk_dir(&config.data_dir))
    }
}

/// Where AWS's SDKs are kept.
pub fn sdk_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("sdk")
}

/// The command that puts an SDK in place for a server on this data directory, but for the runtime's name.
fn add_sdk(data_dir: &Path) -> String {
    let is_usual = config::data_dir(Place::default()).is_ok_and(|usual| usual == data_dir);
    let place = if is_usual { String::new() } else { format!(" --data-dir '{}'", data_dir.display()) };
    format!("lamp runtimes add{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_cannot_write_as_the_server_does() {
        assert_eq!(plain("a\tb é"), "a\tb é");
        assert_eq!(plain("a\0b\r\u{1b}[1m"), "a\\u{0}b\\r\\u{1b}[1m");
    }
}
