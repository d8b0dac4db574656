//! `lamp start`: build, say where it listens, serve, and leave in order.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use base::{BoxFuture, Clock, Spawn};
use chronicle::Chronicle;
use runtime::limits::{SHUTDOWN_EXTERNAL, SHUTDOWN_TELEMETRY};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::limits::DRAIN_TIMEOUT;

use crate::cli::{AuthMode, Settings};
use crate::config::{Config, Tls, usual_data_dir};
use crate::control::Control;
use crate::log;
use crate::platform::VERSION;
use crate::platform::functions::exported;
use crate::wiring::Lamp;

/// How long background work may take to yield when the server leaves.
const TASKS_STOP: Duration = Duration::from_secs(2);
/// How long functions may take to end: as long as requests, for what nobody waits for; then extensions have AWS's time for
/// it, and their sandboxes are cleared.
const DRAIN_MAX: Duration =
    DRAIN_TIMEOUT.saturating_add(SHUTDOWN_EXTERNAL).saturating_add(SHUTDOWN_TELEMETRY).saturating_add(TASKS_STOP);
/// How often code that nothing refers to is looked for, and how long it is left lying.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
/// Between two looks for points that are too old for their tier.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How long a start waits for what was logged before.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const COLLECT_GRACE: Duration = Duration::from_secs(3600);

pub fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let config = Config::new(settings)?;
    log::start(config.log, &config.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    // What still hangs on the disk must not keep a failed server from leaving.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let lamp = Lamp::build(&config).await?;
    let control = Control::listen(&config.data_dir, lamp.served(), lamp.tasks.clone())?;
    lamp.tasks.spawn("control", Box::pin(control.run()));
    catch_up(&lamp).await;
    let leaves = CancellationToken::new();
    let pollers = work(&lamp, &leaves);
    announce(&config, &lamp)?;
    if config.is_open_to_all() {
        tracing::warn!(
            "anybody who reaches {} may do anything: drop --auth dev, or listen on loopback only",
            config.listen
        );
    }

    let Lamp { data, server, listener, inner, tasks, functions, cloud, derived, .. } = lamp;
    let (outer, inner) = (server.open(listener), server.open(inner));
    tokio::select! {
        () = signals.next() => {}
        reason = data.store.failed() => return Err(failed(&reason)),
    }
    tracing::info!("leaving: requests in flight may end; a second signal does not wait for them");
    // Who waits for a message gets none any more, and no mapping takes more.
    leaves.cancel();
    cloud.memory.live_queues.end();
    tokio::select! {
        ended = outer.close() => if !ended {
            tracing::warn!("some requests did not end in time");
        },
        () = signals.next() => tracing::warn!("left requests in flight behind"),
        reason = data.store.failed() => return Err(failed(&reason)),
    }
    if let Some(functions) = functions {
        tokio::select! {
            drained = timeout(DRAIN_MAX, functions.drain()) => if drained.is_err() {
                tracing::warn!("some functions did not end in time; events that they had are run again");
            },
            () = signals.next() => tracing::warn!("left running functions behind"),
        }
    }
    if timeout(TASKS_STOP, pollers).await.is_err() {
        tracing::warn!("some messages that mappings had taken are hidden until their time is over");
    }
    // Those that ran could ask for something till now.
    tokio::select! {
        _ = inner.close() => {}
        () = signals.next() => {}
    }
    if !tasks.stop(TASKS_STOP).await {
        tracing::warn!("some background work did not end in time");
    }
    services::tell_of_queues(&cloud, data.clock.now());
    // What functions wrote at last.
    cloud.chronicle.flush().await?;
    derived.settle().await?;
    data.store.close().await?;
    Ok(())
}

/// Has what was said and done before be read and derived from, so that nobody misses what was answered before a restart.
async fn catch_up(lamp: &Lamp) {
    for (name, task) in chronicling(&lamp.cloud.chronicle).into_iter().chain(measuring(lamp)) {
        lamp.tasks.spawn(name, task);
    }
    if timeout(CATCH_UP_MAX, lamp.cloud.chronicle.ready()).await.is_err() {
        tracing::warn!("what was logged last before this start is not there yet: it will be");
    }
}

/// Begins all that goes on beside the requests. What it gives is told when mappings have left.
fn work(lamp: &Lamp, leaves: &CancellationToken) -> oneshot::Receiver<()> {
    lamp.tasks.spawn("collect blobs", Box::pin(collect_blobs(lamp.data.blobs.clone())));
    lamp.tasks.spawn("clear away", Box::pin(clear_away(lamp.cloud.clone(), lamp.data.clock.clone())));
    if let Some(collector) = lamp.collector.clone() {
        let (counting, books) = (collector.clone(), lamp.books.clone());
        let counters: otlp::Metrics = Arc::new(move || exported(&books.live.snapshot(books.clock.now())));
        lamp.tasks.spawn("exporter", Box::pin(async move { collector.run().await }));
        lamp.tasks.spawn("exporter of metrics", Box::pin(async move { counting.run_metrics(counters).await }));
    }
    lamp.tasks.spawn("subscribers", Box::pin(services::derived::outgoing::run(lamp.post())));
    lamp.tasks.spawn("couriers", Box::pin(services::run_couriers(lamp.post())));
    let (tell, told) = oneshot::channel();
    let pollers = services::run_pollers(lamp.post(), Box::pin(leaves.clone().cancelled_owned()));
    let pollers = async move {
        pollers.await;
        drop::<oneshot::Sender<()>>(tell);
    };
    lamp.tasks.spawn("pollers", Box::pin(pollers));
    lamp.tasks.spawn("moves of messages", Box::pin(services::resume_moves(lamp.post())));
    lamp.tasks
        .spawn("provisioned concurrency", Box::pin(services::keep_provisioned(lamp.post(), lamp.books.prices.clone())));
    lamp.tasks.spawn("meters of queues", Box::pin(services::measure_queues(lamp.post())));
    lamp.tasks.spawn("alarms", Box::pin(services::keep_alarms(lamp.post())));
    lamp.tasks.spawn("snapshots", Box::pin(services::keep_snapshots(lamp.post())));
    told
}

/// What the chronicle does beside those who write and read it.
fn chronicling(chronicle: &Chronicle) -> [(&'static str, BoxFuture<'static, ()>); 3] {
    let [writer, follower, keeper] = [(); 3].map(|()| chronicle.clone());
    [
        ("log writer", Box::pin(async move { writer.write().await })),
        ("log follower", Box::pin(async move { follower.follow().await })),
        ("log keeper", Box::pin(async move { keeper.tend().await })),
    ]
}

/// What is derived from it, and kept by time.
fn measuring(lamp: &Lamp) -> [(&'static str, BoxFuture<'static, ()>); 3] {
    let (derived, rules, metrics) = (lamp.derived.clone(), lamp.cloud.rules.clone(), lamp.cloud.metrics.clone());
    [
        ("deriver", Box::pin(async move { derived.run().await })),
        ("rules", Box::pin(async move { rules.watch().await })),
        ("metrics keeper", Box::pin(async move { keep_metrics(metrics).await })),
    ]
}

/// A reconciler: takes points that grow old from tier to tier.
async fn keep_metrics(metrics: metrics::Metrics) {
    loop {
        if let Err(error) = metrics.tend().await {
            tracing::warn!(%error, "failed to roll up metrics");
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// What could not be synced must not be answered, nor tried again: recovery is the next start's work.
fn failed(reason: &str) -> Box<dyn Error> {
    format!("write to the data directory: {reason}; nothing acknowledged is lost: start again").into()
}

/// The signals that ask the server to leave.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A reconciler: what deletions left behind that were cut short, and what is too old.
async fn clear_away(cloud: Arc<services::Cloud>, clock: Arc<dyn Clock>) {
    loop {
        if let Err(error) = services::clear_away(&cloud, clock.now()).await {
            tracing::warn!(%error, "failed to clear away all that deletions left");
        }
        tokio::time::sleep(COLLECT_EVERY).await;
    }
}

/// A reconciler: deletes code that no function has had for an hour.
async fn collect_blobs(blobs: store::Blobs) {
    loop {
        match blobs.collect(COLLECT_GRACE).await {
            Ok(collected) => tracing::debug!(?collected, "collected blobs"),
            Err(error) => tracing::warn!(%error, "failed to collect blobs"),
        }
        tokio::time::sleep(COLLECT_EVERY).await;
    }
}

/// Says where the server listens, who may talk to it, and what to type next.
fn announce(config: &Config, lamp: &Lamp) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let endpoint = lamp.endpoint();
    let root = &lamp.root;
    writeln!(out, "Lamplight {VERSION} listens on {endpoint}")?;
    writeln!(out, "  data    {}", config.data_dir.display())?;
    match config.auth {
        AuthMode::Dev => {
            writeln!(out, "  access  dev: any key; \"test\" is account 000000000000, twelve digits are that account")?;
        }
        AuthMode::Strict => writeln!(out, "  access  strict: only keys that the server knows")?,
    }
    if root.is_new {
        let secret = root.secret_access_key.expose();
        writeln!(out, "  root    {} {secret} (shown once; kept in {})", root.access_key_id, root.path.display())?;
    }
    writeln!(out, "\nNext:")?;
    match config.auth {
        AuthMode::Dev => {
            writeln!(out, "  export AWS_ENDPOINT_URL={endpoint} AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1")?;
            writeln!(out, "  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test")?;
            if config.tls == Some(Tls::SelfSigned) {
                writeln!(out, "  export AWS_CA_BUNDLE={}", config.data_dir.join("tls/certificate.pem").display())?;
            }
        }
        AuthMode::Strict => writeln!(out, "  eval \"$(lamp credentials --data-dir '{}')\"", config.data_dir.display())?,
    }
    if let Some(line) = find_by(config) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  aws sts get-caller-identity")?;
    out.flush()
}

/// How a shell finds this command, and the command this server, where they would not.
fn find_by(config: &Config) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let is_on_path = std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir == folder);
    let path = (!is_on_path).then(|| format!(" PATH=\"{}:$PATH\"", folder.display()));
    let is_usual = usual_data_dir().is_ok_and(|usual| usual == config.data_dir);
    let data = (!is_usual).then(|| format!(" LAMP_DATA_DIR='{}'", config.data_dir.display()));
    (path.is_some() || data.is_some())
        .then(|| format!("export{}{}", data.unwrap_or_default(), path.unwrap_or_default()))
}
