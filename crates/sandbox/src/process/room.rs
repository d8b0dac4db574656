//! One sandbox from the server's side: commands to its init, news from it, and the kernel's handles on the rest.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{BoxFuture, Spawn};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use crate::isolation::{
    Event, Exit, Freezing, Image, ImageError, ProcessId, Room, RunError, StartError, Status, Usage,
};
use crate::limits::{GRANT_NUMBER_MAX, GRANTS_MAX, MOUNTS_MAX, PROGRAMS_MAX};
use crate::message::{self, Command, News, Number, Order};
use crate::places::Places;
use crate::process::cgroup::{Count, Group};
use crate::process::gauges::Gauges;
use crate::process::held::Held;
use crate::process::image::IMAGE_AT;
use crate::process::step::{Failure, Step};
use crate::process::{Kind, Spawner, Started, is_mountable, next, rlimits, transmit};
use crate::spec::{Grant, Limits, Mount, Program, Spec};
use crate::sys;

pub struct ProcessRoom {
    token: u64,
    inner: Arc<Inner>,
    events: AsyncMutex<mpsc::Receiver<Event>>,
    gone: watch::Receiver<Option<u64>>,
    limits: Mutex<Limits>,
    kind: Kind,
    /// Of what is elsewhere than programs are told.
    places: Mutex<Places>,
    spawner: Arc<Spawner>,
}

struct Inner {
    control: AsyncFd<OwnedFd>,
    /// The init's pidfd.
    init: OwnedFd,
    group: Group,
    gauges: Gauges,
    held: Held,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    is_gone: bool,
    runs: HashMap<u64, oneshot::Sender<Result<ProcessId, RunError>>>,
    clears: HashMap<u64, oneshot::Sender<()>>,
    sockets: HashMap<u64, oneshot::Sender<OwnedFd>>,
    /// Programs whose exit has not been told.
    running: BTreeSet<ProcessId>,
    /// Programs asked for, less exits taken by the caller: what the queue of events must hold.
    outstanding: usize,
    /// Kills for memory that an exit has told of already.
    out_of_memory: u64,
    /// Those by us.
    killed: u64,
}

impl ProcessRoom {
    /// Waits until the init has confined itself.
    #[expect(clippy::too_many_arguments, reason = "the parts of a sandbox, each of another kind")]
    pub async fn open(
        token: u64,
        started: Started,
        kind: Kind,
        spec: &Spec,
        places: Places,
        gone: watch::Receiver<Option<u64>>,
        spawner: Arc<Spawner>,
        spawn: &dyn Spawn,
    ) -> Result<ProcessRoom, StartError> {
        let step = |source| StartError::Step { step: "hear from the sandbox's init".to_owned(), source };
        let Started { control, init, group, .. } = started;
        let control = sys::register(control).map_err(step)?;
        let inner = Inner {
            control,
            init,
            group,
            gauges: Gauges::default(),
            held: Held::default(),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        };
        let inner = Arc::new(inner);
        let (tell, events) = mpsc::channel(PROGRAMS_MAX + 1);
        let events = AsyncMutex::new(events);
        // From here on, dropping it kills.
        let room = ProcessRoom {
            token,
            inner,
            events,
            gone,
            limits: Mutex::new(spec.limits.clone()),
            kind,
            places: Mutex::new(places),
            spawner,
        };
        match next(&room.inner.control).await {
            Ok(Some((News::Up, _))) => {}
            Ok(Some((News::Down { step, errno }, _))) => {
                return Err(StartError::Step { step, source: io::Error::from_raw_os_error(errno) });
            }
            Ok(_) => return Err(step(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(step(error)),
        }
        if !spec.is_ahead {
            room.hold(&spec.limits);
        }
        let (inner, gone) = (Arc::clone(&room.inner), room.gone.clone());
        spawn.spawn("sandbox", Box::pin(listen(inner, tell, gone)));
        Ok(room)
    }
}

/// Passes on what the init says until it is gone, and then that everything is.
async fn listen(inner: Arc<Inner>, tell: mpsc::Sender<Event>, mut gone: watch::Receiver<Option<u64>>) {
    loop {
        tokio::select! {
            news = next::<News>(&inner.control) => {
                let Ok(Some((news, fds))) = news else { break };
                inner.held.has_changed();
                inner.take(news, fds, &tell);
            }
            () = inner.held.due() => inner.hold(),
        }
    }
    // Whatever the init said last, nobody may live on after this.
    inner.kill();
    let out_of_memory = gone.wait_for(Option::is_some).await.ok().and_then(|gone| *gone).unwrap_or(0);
    let running = {
        let mut waiting = inner.waiting.lock();
        waiting.is_gone = true;
        waiting.runs.clear();
        waiting.clears.clear();
        waiting.sockets.clear();
        std::mem::take(&mut waiting.running)
    };
    let out_of_memory = out_of_memory.saturating_add(inner.waiting.lock().killed);
    let exit = Exit { status: Status::Signal(libc::SIGKILL), out_of_memory: inner.is_news(out_of_memory) };
    for process in running {
        let _ = tell.try_send(Event::Exited { process, exit });
    }
    let _ = tell.try_send(Event::Gone);
}

fn gone<E>(_: E) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Inner {
    /// Numbers a question to the init, whose answer is awaited in a table.
    fn question<T>(
        &self,
        table: fn(&mut Waiting) -> &mut HashMap<u64, oneshot::Sender<T>>,
    ) -> io::Result<(u64, oneshot::Receiver<T>)> {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.is_gone {
            return Err(gone(()));
        }
        let table = table(&mut waiting);
        // Whoever asked before and went away is forgotten.
        table.retain(|_, answer| !answer.is_closed());
        table.insert(request, answered);
        Ok((request, answer))
    }

    fn take(&self, news: News, fds: Vec<OwnedFd>, tell: &mpsc::Sender<Event>) {
        match news {
            News::Running { request, process } => {
                let process = ProcessId(process);
                self.waiting.lock().running.insert(process);
                self.answer(request, Ok(process));
            }
            News::NotRunning { request, errno } => {
                self.answer(request, Err(RunError::Exec(io::Error::from_raw_os_error(errno))));
            }
            News::Exited { process, code, signal } => {
                let status = signal.map_or(Status::Code(code.unwrap_or(0)), Status::Signal);
                let process = ProcessId(process);
                let out_of_memory = self.is_news(self.out_of_memory().unwrap_or(0));
                // An init that tells more than it was asked to start is not believed.
                if self.waiting.lock().running.remove(&process) {
                    let _ = tell.try_send(Event::Exited { process, exit: Exit { status, out_of_memory } });
                }
            }
            News::Cleared { request } => {
                if let Some(answer) = self.waiting.lock().clears.remove(&request) {
                    let _ = answer.send(());
                }
            }
            News::Socket { request } => {
                let answer = self.waiting.lock().sockets.remove(&request);
                if let (Some(answer), Some(socket)) = (answer, fds.into_iter().next()) {
                    let _ = answer.send(socket);
                }
            }
            News::Up | News::Down { .. } => {}
        }
    }

    fn answer(&self, request: u64, result: Result<ProcessId, RunError>) {
        let mut waiting = self.waiting.lock();
        if result.is_err() {
            waiting.outstanding = waiting.outstanding.saturating_sub(1);
        }
        if let Some(answer) = waiting.runs.remove(&request) {
            let _ = answer.send(result);
        }
    }

    /// Whether the kernel has killed here for memory since this was asked last.
    fn is_news(&self, count: u64) -> bool {
        let mut waiting = self.waiting.lock();
        std::mem::replace(&mut waiting.out_of_memory, count) < count
    }

    fn freeze(&self, frozen: bool) -> io::Result<Freezing> {
        let freezing = self.group.freeze(frozen)?;
        self.held.stands_still(frozen);
        Ok(freezing)
    }

    /// Kills its programs if they hold too much, and says why when their exits are told.
    fn hold(&self) {
        if !self.held.look(&self.group, &self.gauges, || self.tmp()) {
            return;
        }
        let running = {
            let mut waiting = self.waiting.lock();
            waiting.killed = waiting.killed.saturating_add(1);
            waiting.running.clone()
        };
        for ProcessId(process) in running {
            // A full socket is emptied soon, and this is looked at again.
            let _ = message::send(&self.control, &Command::Signal { process, signal: libc::SIGKILL }, &[]);
        }
    }

    /// How often somebody was killed here for memory, by the kernel or by us.
    fn out_of_memory(&self) -> Option<u64> {
        Some(self.group.out_of_memory()?.saturating_add(self.waiting.lock().killed))
    }

    /// Where the server finds its `/tmp`.
    fn tmp(&self) -> Option<PathBuf> {
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.init.as_raw_fd())).ok()?;
        let pid: u32 = about.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())?;
        Some(PathBuf::from(format!("/proc/{pid}/root/tmp")))
    }

    /// The kernel kills the whole pid namespace with its init; frozen tasks of v1 die when they thaw.
    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.init, Signal::KILL);
        let _ = self.group.freeze(false);
    }
}

impl Drop for ProcessRoom {
    fn drop(&mut self) {
        self.inner.kill();
    }
}

/// Kills the sandbox when it is dropped before its work is done.
struct HalfMade<'a>(Option<&'a Inner>);

impl Drop for HalfMade<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.0 {
            inner.kill();
        }
    }
}

fn no_answer() -> ImageError {
    ImageError::Step { step: "receive an image".to_owned(), source: io::ErrorKind::InvalidData.into() }
}

fn no_image(failure: Failure) -> ImageError {
    ImageError::Step { step: failure.step, source: failure.source }
}

fn check(program: &Program) -> Result<(), RunError> {
    if !program.argv.first().is_some_and(|path| path.starts_with('/')) {
        return Err(RunError::Program("its path is absolute"));
    }
    if program.grants.len() > GRANTS_MAX || program.grants.iter().any(|grant| grant.at > GRANT_NUMBER_MAX) {
        return Err(RunError::Program("it is given too many descriptors, or under too high numbers"));
    }
    Ok(())
}

impl ProcessRoom {
    /// The program with every place by its real name.
    fn at_home(&self, mut program: Program) -> Program {
        if self.kind == Kind::Bare {
            let places = self.places.lock();
            program.argv.iter_mut().for_each(|word| *word = places.translate(word));
            program.env.iter_mut().for_each(|(_, value)| *value = places.translate(value));
            program.directory = places.translate_path(&program.directory);
            if !program.env.iter().any(|(name, _)| name == "TMPDIR") {
                program.env.push(("TMPDIR".to_owned(), places.translate("/tmp")));
            }
        }
        program
    }

    /// Without walls `/tmp` is a folder of the host's, and there is nothing to tell apart.
    fn hold(&self, limits: &Limits) {
        if self.kind == Kind::Confined {
            self.inner.held.to(limits);
        }
    }

    /// A program; if it is to become an image, it stops before its first instruction.
    async fn start(&self, program: Program, held: Option<Number>) -> Result<ProcessId, RunError> {
        check(&program)?;
        let request = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        {
            let mut waiting = self.inner.waiting.lock();
            if waiting.is_gone {
                return Err(RunError::Gone);
            }
            if waiting.outstanding >= PROGRAMS_MAX {
                return Err(RunError::Program("the sandbox runs too many, or nobody takes its events"));
            }
            waiting.outstanding += 1;
            waiting.runs.insert(request, answered);
        }
        let has_memory_group = self.inner.group.out_of_memory().is_some();
        let rlimits = rlimits(&self.limits.lock(), self.kind, has_memory_group);
        let Program { argv, env, directory, grants } = self.at_home(program);
        let places = grants.iter().map(|grant| grant.at).collect();
        let fds: Vec<_> = grants.iter().map(|grant| grant.fd.as_fd()).collect();
        let command = Command::Run { request, argv, env, directory, places, rlimits, held };
        match transmit(&self.inner.control, &command, &fds).await {
            Ok(()) => answer.await.unwrap_or(Err(RunError::Gone)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.inner.answer(request, Err(RunError::Gone));
                Err(RunError::Program("its arguments and environment are too long"))
            }
            Err(_) => Err(RunError::Gone),
        }
    }
}

impl Room for ProcessRoom {
    fn locate(&self, text: &str) -> String {
        match self.kind {
            Kind::Confined => text.to_owned(),
            Kind::Bare => self.places.lock().translate(text),
        }
    }

    fn run(&self, program: Program) -> BoxFuture<'_, Result<ProcessId, RunError>> {
        Box::pin(self.start(program, None))
    }

    fn take(&self, process: ProcessId) -> BoxFuture<'_, Result<Image, ImageError>> {
        Box::pin(async move {
            let (token, process) = (self.token, process.0);
            let taken = self.spawner.image(|request| Order::Take { token, request, process }, None).await;
            let Some((description, Some(memory))) = taken.map_err(no_image)? else { return Err(no_answer()) };
            Ok(Image(Arc::new((description, Arc::new(memory)))))
        })
    }

    fn learn<'a>(&'a self, image: &'a Image, process: ProcessId) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async move {
            let (description, memory) = &*image.0;
            let (token, process, image) = (self.token, process.0, description.clone());
            let order = |request| Order::Learn { token, request, process, image };
            let learnt = self.spawner.image(order, Some(memory.as_fd())).await;
            let Some((description, _)) = learnt.map_err(no_image)? else { return Err(no_answer()) };
            Ok(Image(Arc::new((description, Arc::clone(memory)))))
        })
    }

    fn resume<'a>(&'a self, image: &'a Image, mut program: Program) -> BoxFuture<'a, Result<ProcessId, ImageError>> {
        Box::pin(async move {
            let (description, memory) = &*image.0;
            let given: BTreeSet<u16> = program.grants.iter().map(|grant| grant.at).chain(0..3).collect();
            if !given.iter().eq(&description.descriptors) {
                return Err(RunError::Program("its descriptors are not those of the image").into());
            }
            let own = memory.try_clone().step("share an image").map_err(no_image)?;
            program.grants.push(Grant { at: IMAGE_AT, fd: own });
            // Whoever goes away half-way leaves nobody half-made.
            let mut half_made = HalfMade(Some(&self.inner));
            let number = Number { unlike: description.process, below: description.threads_from.unwrap_or(u32::MAX) };
            let process = self.start(program, Some(number)).await?;
            let (token, image) = (self.token, description.clone());
            let order = |request| Order::Resume { token, request, process: process.0, image };
            self.spawner.image(order, Some(memory.as_fd())).await.map_err(no_image)?;
            half_made.0 = None;
            Ok(process)
        })
    }

    fn go_to<'a>(&'a self, process: ProcessId, directory: &'a Path) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            let (token, process, directory) = (self.token, process.0, directory.to_owned());
            let order = |request| Order::GoTo { token, request, process, directory };
            self.spawner.image(order, None).await.map(drop).map_err(no_image)
        })
    }

    fn event(&self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            let event = self.events.lock().await.recv().await.unwrap_or(Event::Gone);
            if event != Event::Gone {
                let mut waiting = self.inner.waiting.lock();
                waiting.outstanding = waiting.outstanding.saturating_sub(1);
            }
            event
        })
    }

    fn signal(&self, process: ProcessId, signal: i32) -> io::Result<()> {
        // The init reads faster than anybody orders; a full socket is an error like any other.
        match message::send(&self.inner.control, &Command::Signal { process: process.0, signal }, &[]) {
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            other => other,
        }
    }

    fn clear(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let (request, answer) = self.inner.question(|waiting| &mut waiting.clears)?;
            transmit(&self.inner.control, &Command::Clear { request }, &[]).await?;
            // Who is frozen cannot die.
            self.inner.freeze(false)?;
            answer.await.map_err(gone)
        })
    }

    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let (request, answer) = self.inner.question(|waiting| &mut waiting.sockets)?;
            transmit(&self.inner.control, &Command::Socket { request }, &[]).await?;
            let socket = answer.await.map_err(gone)?;
            // An init that hands out something else gets an error from the kernel here, and no further.
            rustix::io::ioctl_fionbio(&socket, true)?;
            let socket = TcpSocket::from_std_stream(socket.into());
            socket.connect((Ipv4Addr::LOCALHOST, port).into()).await
        })
    }

    fn mount(&self, mounts: Vec<Mount>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            if mounts.len() > MOUNTS_MAX || !mounts.iter().all(is_mountable) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            self.spawner.mount(self.token, mounts.clone()).await?;
            let mut places = self.places.lock();
            mounts.into_iter().for_each(|mount| places.folder(mount.inside, mount.host));
            Ok(())
        })
    }

    fn limit(&self, limits: Limits) -> io::Result<()> {
        self.inner.group.limit(&limits, self.kind)?;
        self.hold(&limits);
        *self.limits.lock() = limits;
        Ok(())
    }

    fn freeze(&self) -> io::Result<Freezing> {
        self.inner.freeze(true)
    }

    fn thaw(&self) -> io::Result<()> {
        self.inner.freeze(false).map(|_| ())
    }

    fn usage(&self) -> io::Result<Usage> {
        Ok(Usage { out_of_memory: self.inner.out_of_memory(), ..self.inner.group.usage() })
    }

    fn memory_peak_bytes(&self) -> Option<u64> {
        self.inner.gauges.read(&self.inner.group, Count::MemoryPeak)
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.inner.gauges.read(&self.inner.group, Count::CpuNanos).map(Duration::from_nanos)
    }

    fn held_bytes(&self) -> Option<u64> {
        self.inner.group.held_bytes()
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.kill();
            let _ = self.gone.clone().wait_for(Option::is_some).await;
        })
    }
}
