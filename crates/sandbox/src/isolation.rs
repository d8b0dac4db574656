//! What the server holds: `Isolation`, and the `Sandbox`es that it starts. Concrete outside, one object-safe trait a
//! backend inside.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::BoxFuture;
use tokio::net::TcpStream;

use crate::process::image::Description;
use crate::spec::{Limits, Mount, Program, Spec};

/// Starts sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Isolation(pub(crate) Arc<dyn Backend>);

/// A room, and the host's sockets in it.
pub(crate) type Started = (Box<dyn Room>, Vec<TcpListener>);

pub(crate) trait Backend: Send + Sync {
    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Started, StartError>>;
    fn held_bytes(&self) -> Option<u64> {
        None
    }
}

impl Isolation {
    /// A complete, confined and empty sandbox. Cancelling the call leaves nothing behind.
    pub async fn start(&self, spec: Spec) -> Result<Sandbox, StartError> {
        let (room, listeners) = self.0.start(spec).await?;
        Ok(Sandbox { room, listeners })
    }

    /// What all sandboxes together hold that the host cannot take back, where it counts that. Files, opened and read.
    pub fn held_bytes(&self) -> Option<u64> {
        self.0.held_bytes()
    }
}

impl fmt::Debug for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolation").finish_non_exhaustive()
    }
}

/// A room in which untrusted programs run. Dropping it kills them all.
///
/// Methods take `&self`, so that an `Arc<Sandbox>` can be awaited for events in one task and ordered about in another.
pub struct Sandbox {
    room: Box<dyn Room>,
    listeners: Vec<TcpListener>,
}

pub(crate) trait Room: Send + Sync {
    fn locate(&self, text: &str) -> String {
        text.to_owned()
    }
    fn run(&self, program: Program) -> BoxFuture<'_, Result<ProcessId, RunError>>;
    fn take(&self, _process: ProcessId) -> BoxFuture<'_, Result<Image, ImageError>> {
        Box::pin(async { Err(ImageError::unsupported()) })
    }
    fn learn<'a>(&'a self, _image: &'a Image, _process: ProcessId) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async { Err(ImageError::unsupported()) })
    }
    fn resume<'a>(&'a self, _image: &'a Image, _program: Program) -> BoxFuture<'a, Result<ProcessId, ImageError>> {
        Box::pin(async { Err(ImageError::unsupported()) })
    }
    fn go_to<'a>(&'a self, _process: ProcessId, _directory: &'a Path) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async { Err(ImageError::unsupported()) })
    }
    fn event(&self) -> BoxFuture<'_, Event>;
    fn signal(&self, process: ProcessId, signal: i32) -> io::Result<()>;
    fn clear(&self) -> BoxFuture<'_, io::Result<()>>;
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>>;
    fn mount(&self, mounts: Vec<Mount>) -> BoxFuture<'_, io::Result<()>>;
    fn limit(&self, limits: Limits) -> io::Result<()>;
    fn freeze(&self) -> io::Result<Freezing>;
    fn thaw(&self) -> io::Result<()>;
    fn usage(&self) -> io::Result<Usage>;
    fn memory_peak_bytes(&self) -> Option<u64> {
        None
    }
    fn cpu_time(&self) -> Option<Duration> {
        None
    }
    fn held_bytes(&self) -> Option<u64> {
        None
    }
    fn kill(&self) -> BoxFuture<'_, ()>;
}

impl Sandbox {
    /// The host's sockets inside, in the order of `Spec::listen`, non-blocking. Empty from the second call on.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// A text for programs inside, such as a value of their environment, in which paths and loopback ports of a sandbox
    /// are by the names under which these programs find them: the same, unless there are no walls (`bare`). `run` does
    /// this to what it is given; it is for what a program is told otherwise.
    pub fn locate(&self, text: &str) -> String {
        self.room.locate(text)
    }

    /// Starts a program by a fresh exec. Answers when the program's first instruction is due, or says why it is not.
    pub async fn run(&self, program: Program) -> Result<ProcessId, RunError> {
        self.room.run(program).await
    }

    /// An image of a program that waits in a syscall for its first order, with all loaded that it needs: others begin
    /// where it is (`resume`). All its threads wait, it is alone in this sandbox, and has nothing open but what it was
    /// given, files that it only reads, which its clones open themselves, and pipes and the like of its own. It goes on
    /// afterwards, as if nothing had happened, also after an error; only one that could not be read in time is killed.
    /// `EAGAIN` means that one of its threads did not wait: soon it may.
    ///
    /// Who begins with it has another number than it, as a process. Its other threads keep theirs, which only a sandbox can
    /// give in which nothing has run yet.
    ///
    /// Everybody who begins with an image knows its secrets, random numbers to come among them: the program makes them
    /// anew when it goes on. What it is told before it waits is in there too.
    pub async fn take(&self, process: ProcessId) -> Result<Image, ImageError> {
        self.room.take(process).await
    }

    /// Starts a program as `run` does, and makes it begin where the image is: with the image's memory, environment and
    /// directory (`Image::in_directory`), and with the grants, limits and files of this sandbox. `program` is the same
    /// interpreter, since the kernel goes on naming it: none of its instructions runs. Its grants are under the numbers that
    /// the image has open.
    ///
    /// After an error the sandbox is gone.
    pub async fn resume(&self, image: &Image, program: Program) -> Result<ProcessId, ImageError> {
        self.room.resume(image, program).await
    }

    /// The same image, with what a program that began with it has written since: those who begin with the answer have
    /// these pages of their own at once, and not one after the other when somebody waits. Best asked after the first
    /// order of the first clone. The program does not notice.
    pub async fn learn(&self, image: &Image, process: ProcessId) -> Result<Image, ImageError> {
        self.room.learn(image, process).await
    }

    /// Has a program that waits in a syscall go to another directory, all its threads: one that cannot do so itself, and
    /// was started before the directory was mounted. It goes on afterwards, as if nothing had happened, also after an
    /// error. `EAGAIN` means that its main thread did not wait: soon it may.
    pub async fn go_to(&self, process: ProcessId, directory: &Path) -> Result<(), ImageError> {
        self.room.go_to(process, directory).await
    }

    /// What happened next. Each exit of a program that `run` started is told once, after the `run` that started it has
    /// answered, also when the whole sandbox dies; orphans are reaped silently. After `Event::Gone` it answers `Gone`
    /// for ever. One task may wait at a time. Cancelling the call loses nothing.
    pub async fn event(&self) -> Event {
        self.room.event().await
    }

    /// Sends a signal, such as 15 for SIGTERM, to one process. One that has gone already is no error.
    pub fn signal(&self, process: ProcessId, signal: i32) -> io::Result<()> {
        self.room.signal(process, signal)
    }

    /// Kills every process inside and answers when none is left. The room stays, with its `/tmp` and its listeners, and
    /// may run programs again. The killed programs' exits are told as usual.
    pub async fn clear(&self) -> io::Result<()> {
        self.room.clear().await
    }

    /// Connects to a program inside that listens on this port of its 127.0.0.1. A frozen sandbox answers after `thaw`.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        self.room.connect(port).await
    }

    /// Shows more directories of the host inside, as if they had been in the `Spec`. After an error some may be shown.
    pub async fn mount(&self, mounts: Vec<Mount>) -> io::Result<()> {
        self.room.mount(mounts).await
    }

    /// Other limits of memory, CPU and processes from now on. The rest stays as it was started.
    pub fn limit(&self, limits: Limits) -> io::Result<()> {
        self.room.limit(limits)
    }

    /// Stops every process inside where it stands, without its knowledge, our init too: `run` and `signal` take effect
    /// after `thaw`. It takes effect within some milliseconds.
    pub fn freeze(&self) -> io::Result<Freezing> {
        self.room.freeze()
    }

    pub fn thaw(&self) -> io::Result<()> {
        self.room.thaw()
    }

    /// The most memory that it has held at once, where the host counts it. One call of the kernel: cheap enough to ask
    /// after each invocation.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        self.room.memory_peak_bytes()
    }

    /// What it has had of processors so far, where the host counts that. As cheap.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.room.cpu_time()
    }

    /// What it holds now and gives back when it ends, where the host counts it: not what it has read of files. Two files,
    /// opened and read: too much for each invocation.
    pub fn held_bytes(&self) -> Option<u64> {
        self.room.held_bytes()
    }

    /// What it holds and has used, from its cgroups: a file for each figure, opened and read anew.
    pub fn usage(&self) -> io::Result<Usage> {
        self.room.usage()
    }

    /// Kills all that runs inside and answers when nothing is left of the sandbox on the host: no process, mount,
    /// cgroup or uid. Frozen ones too. Its network ends with the last of its listeners. More calls do nothing.
    pub async fn kill(&self) {
        self.room.kill().await;
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// What a program was when it waited. Cheap to clone; its memory is held until the last clone is gone, and by all who
/// began with it. It is for this server's lifetime and this machine's.
#[derive(Clone)]
pub struct Image(pub(crate) Arc<(Description, Arc<OwnedFd>)>);

impl Image {
    /// Memory of this server's that it takes, and those who begin with it share.
    pub fn memory_bytes(&self) -> u64 {
        self.0.0.memory_bytes
    }

    /// The same image, whose clones begin in this directory of their sandbox and not in that of the program.
    pub fn in_directory(&self, directory: impl Into<PathBuf>) -> Image {
        let (mut description, memory) = self.0.as_ref().clone();
        description.directory = Some(directory.into());
        Image(Arc::new((description, memory)))
    }

    /// The numbers of what the program was given.
    pub fn descriptors(&self) -> &[u16] {
        &self.0.0.descriptors
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

/// A process that `run` started: its number inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Exited {
        process: ProcessId,
        exit: Exit,
    },
    /// The sandbox as a whole is no more: killed, or its init died.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub status: Status,
    /// The kernel killed something in this sandbox for memory since the exit before.
    pub out_of_memory: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Code(i32),
    Signal(i32),
}

/// What `freeze` could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezing {
    Done,
    /// The host lends no freezer: the processes run on.
    Unsupported,
}

/// `None` where the host does not count it for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: Option<u64>,
    /// The most it ever held, `/tmp` and page cache of its own included, as AWS's `Max Memory Used` does.
    pub memory_peak_bytes: Option<u64>,
    pub cpu: Option<Duration>,
    pub processes: Option<u64>,
    /// How often the kernel killed here for memory.
    pub out_of_memory: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("accept the sandbox's description: {0}")]
    Spec(&'static str),
    #[error("{step}")]
    Step {
        /// What was being done, in words that fit "failed to ...".
        step: String,
        #[source]
        source: io::Error,
    },
    #[error("give the sandbox a way to the internet: {0}")]
    NoEgress(String),
    #[error("reach the process that starts sandboxes")]
    SpawnerGone,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{step}")]
    Step {
        /// What was being done, or why such a program has no image, in words that fit "failed to ...".
        step: String,
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    fn unsupported() -> ImageError {
        ImageError::Step { step: "take an image without walls".to_owned(), source: io::ErrorKind::Unsupported.into() }
    }

    /// Whether who was asked for did not wait yet, and soon may.
    pub fn is_too_soon(&self) -> bool {
        matches!(self, ImageError::Step { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether there are no images here at all, of whatever program.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, ImageError::Step { source, .. }
            if source.kind() == io::ErrorKind::Unsupported && source.raw_os_error().is_none())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program was not found, may not be run, or is none.
    #[error("run the program")]
    Exec(#[source] io::Error),
    #[error("accept the program: {0}")]
    Program(&'static str),
    #[error("run a program in a sandbox that is gone")]
    Gone,
}
