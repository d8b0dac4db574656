//! `lamp start`: build, say where it listens, serve, and leave in order.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use base::Spawn;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{AuthMode, Settings};
use crate::config::Config;
use crate::control::Control;
use crate::platform::VERSION;
use crate::wiring::Lamp;
use crate::{log, root};

/// How long background work may take to yield when the server leaves.
const TASKS_STOP: Duration = Duration::from_secs(2);
/// How often code that nothing refers to is looked for, and how long it is left lying.
const COLLECT_EVERY: Duration = Duration::from_secs(600);
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
    let lamp = Lamp::build(&config).await?;
    let control = Control::listen(&config.data_dir, &lamp.data)?;
    lamp.tasks.spawn("control", Box::pin(control.run()));
    lamp.tasks.spawn("collect blobs", Box::pin(collect_blobs(lamp.data.blobs.clone())));
    announce(&config, &lamp)?;

    let Lamp { data, server, listener, tasks, .. } = lamp;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let serving = server.run(vec![listener], stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = data.store.failed() => {
            // What could not be synced must not be answered, nor tried again: recovery is the next start's work.
            return Err(format!("write to the data directory: {reason}; nothing acknowledged is lost: start again").into());
        }
    }
    tracing::info!("leaving: requests in flight may end");
    stop.cancel();
    if !serving.await {
        tracing::warn!("some requests did not end in time");
    }
    if !tasks.stop(TASKS_STOP).await {
        tracing::warn!("some background work did not end in time");
    }
    data.store.close().await?;
    Ok(())
}

/// A reconciler: deletes code that no function has had for an hour.
async fn collect_blobs(blobs: store::Blobs) {
    loop {
        tokio::time::sleep(COLLECT_EVERY).await;
        match blobs.collect(COLLECT_GRACE).await {
            Ok(collected) => tracing::debug!(?collected, "collected blobs"),
            Err(error) => tracing::warn!(%error, "failed to collect blobs"),
        }
    }
}

/// Says where the server listens, who may talk to it, and what to type next.
fn announce(config: &Config, lamp: &Lamp) -> io::Result<()> {
    let scheme = if lamp.is_tls { "https" } else { "http" };
    let address = lamp.listener.local_addr();
    let mut out = io::stdout().lock();
    writeln!(out, "Lamplight {VERSION} listens on {scheme}://{address}")?;
    writeln!(out, "  data    {}", config.data_dir.display())?;
    let (key, secret) = match config.auth {
        AuthMode::Dev => {
            writeln!(out, "  access  dev: any key; \"test\" is account 000000000000, twelve digits are that account")?;
            ("test", "test".to_owned())
        }
        AuthMode::Strict => {
            writeln!(out, "  access  strict: only keys that the server knows")?;
            (lamp.root.access_key_id.as_str(), shown_once(&lamp.root))
        }
    };
    writeln!(out, "\nNext:")?;
    writeln!(out, "  export AWS_ENDPOINT_URL={scheme}://{address} AWS_DEFAULT_REGION=us-east-1")?;
    writeln!(out, "  export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret}")?;
    writeln!(out, "  aws sts get-caller-identity")?;
    out.flush()
}

/// The root secret if this start made it; else where it is.
fn shown_once(root: &root::Root) -> String {
    if root.is_new {
        root.secret_access_key.expose().clone()
    } else {
        format!("$(the secret_access_key in {})", root.path.display())
    }
}
