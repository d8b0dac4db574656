//! The operator's way into a running server: a socket in the data directory, so whoever may read the data may use it.
//!
//! One JSON line in, one JSON line out, or many for what is read on and on. `lamp backup`, `lamp rotate-key`, `lamp doctor` and
//! those that read what functions do speak it.

mod reading;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, Region, Spawn, Timestamp, with_causes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use services::Cloud;
use store::{Blobs, Store, Vault};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use wire::server::Tasks;

use crate::steering::{self, Steering};
use crate::usage::{Asked, Books};

const SOCKET: &str = "control.sock";
const LINE_BYTES_MAX: u64 = 64 * 1024;
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server can be asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Backup {
        to: PathBuf,
    },
    RotateKey,
    /// Where the server can be reached.
    Endpoint,
    /// What is in a log group, and what comes to it: many answers.
    Logs(LogsRequest),
    /// What functions used.
    Usage(Asked),
    /// What functions do right now.
    Top,
    /// What becomes of queues, mappings and events.
    Steer(steering::Asked),
    /// What comes to a queue from now on: many answers.
    Tail {
        whose: Whose,
        queue: String,
    },
}

/// Whose functions are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    pub account: AccountId,
    pub region: Region,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LogsRequest {
    pub whose: Whose,
    /// A function, or a log group: that begins with `/`.
    pub name: String,
    pub since: Timestamp,
    pub pattern: String,
    pub is_followed: bool,
}

/// An event of a log group.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub time: Timestamp,
    pub ingested: Timestamp,
    pub group: String,
    pub stream: String,
    pub message: String,
}

/// What goes with the last answer about a log group.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogsRead {
    pub group: String,
    /// Whether there is anything in the group at all.
    pub is_there: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done(Value),
    Failed(String),
}

/// A line that the server says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// There is more to come after this.
    More(Value),
    #[serde(untagged)]
    Last(Answer),
}

/// The server's end.
pub struct Control {
    listener: UnixListener,
    served: Arc<Served>,
    tasks: Tasks,
}

/// What a request can be about.
pub struct Served {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
    /// Of a server that runs.
    pub running: Option<Running>,
}

/// What only a server that runs can tell of.
pub struct Running {
    pub endpoint: String,
    pub cloud: Arc<Cloud>,
    pub books: Books,
    pub steering: Steering,
}

impl Control {
    /// Listens in the data directory, which is locked: a socket that is there already is a dead one.
    pub fn listen(data_dir: &Path, served: Served, tasks: Tasks) -> io::Result<Self> {
        let near = Near::open(data_dir)?;
        match std::fs::remove_file(near.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { listener: UnixListener::bind(near.socket())?, served: Arc::new(served), tasks })
    }

    /// Serves each client in a task of its own, so that one that says nothing keeps nobody waiting.
    pub async fn run(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let served = self.served.clone();
                    self.tasks.spawn("control client", Box::pin(async move { served.answer(stream).await }));
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept on the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Served {
    async fn answer(&self, stream: tokio::net::UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(reader.take(LINE_BYTES_MAX));
        if !matches!(tokio::time::timeout(LINE_TIMEOUT, reader.read_line(&mut line)).await, Ok(Ok(_))) {
            return;
        }
        let answered = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let is_left = request.is_for_its_reader();
                // A client that goes away is heard of here: it says nothing more.
                let mut more = [0];
                tokio::select! {
                    done = self.tell(request, &mut writer) => done,
                    _ = reader.read(&mut more), if is_left => return,
                }
            }
            Err(error) => Err(format!("understand the request: {error}")),
        };
        let answer = answered.map_or_else(Answer::Failed, Answer::Done);
        // A client that went away wanted no answer.
        send(&mut writer, &Line::Last(answer)).await.ok();
    }

    /// Does what is asked, saying more before the last answer where there is more to say.
    async fn tell(&self, request: Request, writer: &mut OwnedWriteHalf) -> Result<Value, String> {
        match request {
            Request::Logs(request) => self.tell_logs(request, writer).await,
            Request::Tail { whose, queue } => self.tell_messages(&whose, &queue, writer).await,
            request => self.execute(request).await,
        }
    }

    /// Does what is asked; the error fits "failed to ...".
    pub async fn execute(&self, request: Request) -> Result<Value, String> {
        match request {
            Request::Backup { to } => {
                let manifest = store::backup::backup(&self.store, &self.blobs, &to).await;
                serde_json::to_value(manifest.map_err(|error| with_causes(&error))?).map_err(|error| error.to_string())
            }
            Request::RotateKey => {
                let owners = self.vault.rotate().await.map_err(|error| with_causes(&error))?;
                Ok(json!({ "rewrapped_key_count": owners }))
            }
            Request::Endpoint => {
                let endpoint = self.running.as_ref().map(|running| &running.endpoint);
                Ok(json!({ "endpoint": endpoint }))
            }
            Request::Usage(asked) => self.running()?.books.usage(&asked).await.map_err(|error| {
                tracing::warn!(?error, "failed to read usage");
                format!("read usage: {}", error.message)
            }),
            Request::Top => Ok(self.running()?.books.top()),
            Request::Steer(asked) => self.running()?.steering.answer(asked).await,
            Request::Logs(_) | Request::Tail { .. } => Err("answer with more than one line".to_owned()),
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, line: &Line) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

impl Request {
    /// How long a server may take that is well; `None`: as long as there is data.
    fn answered_within(&self) -> Option<Duration> {
        match self {
            Request::Endpoint | Request::Top => Some(ANSWER_TIMEOUT),
            Request::Backup { .. } | Request::RotateKey | Request::Logs(_) | Request::Usage(_) => None,
            Request::Steer(asked) => Some(asked.answered_within()),
            Request::Tail { .. } => None,
        }
    }

    /// Whether it changes nothing, and may end when nobody listens any more.
    fn is_for_its_reader(&self) -> bool {
        matches!(self, Request::Logs(_) | Request::Tail { .. } | Request::Steer(steering::Asked::Wait { .. }))
    }
}

/// Asks the server that runs on a data directory; `None` if none does, `TimedOut` if it hangs.
pub fn ask(data_dir: &Path, request: &Request) -> io::Result<Option<Answer>> {
    ask_on(data_dir, request, |_| Ok(()))
}

/// The same for what has many answers: all but the last go to `take`.
pub fn ask_on(
    data_dir: &Path,
    request: &Request,
    take: impl FnMut(Value) -> io::Result<()>,
) -> io::Result<Option<Answer>> {
    let near = Near::open(data_dir)?;
    let stream = match UnixStream::connect(near.socket()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match converse(stream, request, take) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "get an answer from the server: it hangs"))
        }
        done => done.map(Some),
    }
}

fn converse(
    mut stream: UnixStream,
    request: &Request,
    mut take: impl FnMut(Value) -> io::Result<()>,
) -> io::Result<Answer> {
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    stream.set_read_timeout(request.answered_within())?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    loop {
        answer.clear();
        if stream.read_line(&mut answer)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "hear the server out: it has left"));
        }
        let line = serde_json::from_str(&answer).map_err(|error| {
            let what = format!("understand the server, which seems to be of another version: {error}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        match line {
            Line::More(value) => take(value)?,
            Line::Last(answer) => return Ok(answer),
        }
    }
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
