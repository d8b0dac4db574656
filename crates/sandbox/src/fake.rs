//! Sandboxes without isolation, for the tests of what lies above: a program is a function, run on a thread, that finds
//! the same arguments, environment and descriptors as the real one would.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use crate::isolation::{
    Backend, Event, Exit, Freezing, Isolation, ProcessId, Room, RunError, StartError, Started, Status, Usage,
};
use crate::limits::PROGRAMS_MAX;
use crate::spec::{Limits, Mount, Program, Spec};

/// What a fake program sees, and by returning a `Status` exits with.
#[derive(Debug)]
pub struct FakeProcess {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub grants: BTreeMap<u16, OwnedFd>,
    /// The addresses at which the host listens for this sandbox, by the port inside.
    pub listeners: BTreeMap<u16, std::net::SocketAddr>,
}

type Body = dyn Fn(FakeProcess) -> Status + Send + Sync;

/// Isolation whose every program is `body`. A killed program's thread runs on until it returns, unseen; give it a
/// descriptor whose other end you close.
pub fn fake(body: impl Fn(FakeProcess) -> Status + Send + Sync + 'static) -> Isolation {
    Isolation(Arc::new(Fake { body: Arc::new(body) }))
}

struct Fake {
    body: Arc<Body>,
}

impl Backend for Fake {
    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Started, StartError>> {
        Box::pin(async move {
            let listen = |source| StartError::Step { step: "listen inside the sandbox".to_owned(), source };
            let mut listeners = Vec::new();
            let mut addresses = BTreeMap::new();
            for port in spec.listen {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(listen)?;
                listener.set_nonblocking(true).map_err(listen)?;
                addresses.insert(port, listener.local_addr().map_err(listen)?);
                listeners.push(listener);
            }
            let (tell, events) = mpsc::channel(PROGRAMS_MAX + 1);
            let room = FakeRoom {
                body: Arc::clone(&self.body),
                addresses,
                running: Arc::new(Mutex::new(Running { next: 2, ..Running::default() })),
                tell,
                events: AsyncMutex::new(events),
            };
            Ok((Box::new(room) as Box<dyn Room>, listeners))
        })
    }
}

struct FakeRoom {
    body: Arc<Body>,
    addresses: BTreeMap<u16, std::net::SocketAddr>,
    running: Arc<Mutex<Running>>,
    tell: mpsc::Sender<Event>,
    events: AsyncMutex<mpsc::Receiver<Event>>,
}

#[derive(Default)]
struct Running {
    next: u32,
    alive: Vec<ProcessId>,
    /// Programs started, less exits taken: what the queue of events must hold.
    outstanding: usize,
    gone: bool,
}

impl Running {
    /// Tells the exit of a process once, whether it returned or was killed first.
    fn exit(&mut self, process: ProcessId, status: Status, tell: &mpsc::Sender<Event>) {
        if let Some(at) = self.alive.iter().position(|alive| *alive == process) {
            self.alive.remove(at);
            // The queue holds all that is outstanding.
            let _ = tell.try_send(Event::Exited { process, exit: Exit { status, out_of_memory: false } });
        }
    }
}

impl Room for FakeRoom {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<ProcessId, RunError>> {
        Box::pin(async move {
            let process = {
                let mut running = self.running.lock();
                if running.gone {
                    return Err(RunError::Gone);
                }
                if running.outstanding >= PROGRAMS_MAX {
                    return Err(RunError::Program("the sandbox runs too many, or nobody takes its events"));
                }
                running.outstanding += 1;
                let process = ProcessId(running.next);
                running.next += 1;
                running.alive.push(process);
                process
            };
            let fake = FakeProcess {
                argv: program.argv,
                env: program.env.into_iter().collect(),
                grants: program.grants.into_iter().map(|grant| (grant.at, grant.fd)).collect(),
                listeners: self.addresses.clone(),
            };
            let (body, running, tell) = (Arc::clone(&self.body), Arc::clone(&self.running), self.tell.clone());
            std::thread::spawn(move || {
                let status = body(fake);
                running.lock().exit(process, status, &tell);
            });
            Ok(process)
        })
    }

    fn event(&self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            let mut events = self.events.lock().await;
            if self.running.lock().gone && events.is_empty() {
                return Event::Gone;
            }
            let event = events.recv().await.unwrap_or(Event::Gone);
            let mut running = self.running.lock();
            running.outstanding = running.outstanding.saturating_sub(1);
            event
        })
    }

    fn signal(&self, process: ProcessId, signal: i32) -> io::Result<()> {
        self.running.lock().exit(process, Status::Signal(signal), &self.tell);
        Ok(())
    }

    fn clear(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut running = self.running.lock();
            for process in running.alive.clone() {
                running.exit(process, Status::Signal(libc::SIGKILL), &self.tell);
            }
            Ok(())
        })
    }

    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        // Fake programs are in the host's own network.
        Box::pin(TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
    }

    fn mount(&self, _mounts: Vec<Mount>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn limit(&self, _limits: Limits) -> io::Result<()> {
        Ok(())
    }

    fn freeze(&self) -> io::Result<Freezing> {
        Ok(Freezing::Unsupported)
    }

    fn thaw(&self) -> io::Result<()> {
        Ok(())
    }

    fn usage(&self) -> io::Result<Usage> {
        Ok(Usage::default())
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut running = self.running.lock();
            for process in running.alive.clone() {
                running.exit(process, Status::Signal(libc::SIGKILL), &self.tell);
            }
            if !running.gone {
                running.gone = true;
                let _ = self.tell.try_send(Event::Gone);
            }
        })
    }
}
