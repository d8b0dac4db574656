//! The operator's way into a running server: a socket in the data directory, so whoever may read the data may use it.
//!
//! One JSON line in, one JSON line out. `lamp backup` and `lamp rotate-key` speak it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Blobs, Store, Vault};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::wiring::Data;

const SOCKET: &str = "control.sock";
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What a server can be asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Backup { to: PathBuf },
    RotateKey,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done(Value),
    Failed(String),
}

/// The server's end.
pub struct Control {
    listener: UnixListener,
    store: Store,
    blobs: Blobs,
    vault: Vault,
}

impl Control {
    /// Listens in the data directory, which is locked: a socket that is there already is a dead one.
    pub fn listen(data_dir: &Path, data: &Data) -> io::Result<Self> {
        let near = Near::open(data_dir)?;
        match std::fs::remove_file(near.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(near.socket())?;
        Ok(Self { listener, store: data.store.clone(), blobs: data.blobs.clone(), vault: data.vault.clone() })
    }

    /// Serves one request after the other.
    pub async fn run(self) {
        loop {
            let answered = match self.listener.accept().await {
                Ok((stream, _)) => self.answer(stream).await,
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "failed to answer on the control socket");
            }
        }
    }

    async fn answer(&self, stream: tokio::net::UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        tokio::io::BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => match execute(request, &self.store, &self.blobs, &self.vault).await {
                Ok(done) => Answer::Done(done),
                Err(error) => Answer::Failed(error),
            },
            Err(error) => Answer::Failed(format!("understand the request: {error}")),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line).await
    }
}

/// Does what is asked, on open data; the error fits "failed to ...".
pub async fn execute(request: Request, store: &Store, blobs: &Blobs, vault: &Vault) -> Result<Value, String> {
    match request {
        Request::Backup { to } => {
            let manifest = store::backup::backup(store, blobs, &to).await.map_err(|error| with_source(&error))?;
            serde_json::to_value(manifest).map_err(|error| error.to_string())
        }
        Request::RotateKey => {
            let owners = vault.rotate().await.map_err(|error| with_source(&error))?;
            Ok(serde_json::json!({ "rewrapped_key_count": owners }))
        }
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Asks the server that runs on a data directory; `None` if none does.
pub fn ask(data_dir: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let near = Near::open(data_dir)?;
    let mut stream = match UnixStream::connect(near.socket()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
}

/// A short path to the socket however long the directory's is: a socket's address holds 108 bytes.
struct Near(File);

impl Near {
    fn open(data_dir: &Path) -> io::Result<Self> {
        File::open(data_dir).map(Self)
    }

    fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd()).into()
    }
}
