//! The programs that run in an instance: its runtime, and its extensions.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use sandbox::{Exit, ProcessId, Program, RunError, Status};
use tokio::time::timeout;

use super::Instance;
use crate::environment::{Event, Who};
use crate::frames::{Connection, Prepared};
use crate::limits::CLEAR_TIMEOUT;
use crate::logs::Output;
use crate::stock::Recipe;
use crate::template::Template;

/// How the function's program is started.
pub struct Start {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The environment of extensions.
    pub extension_env: BTreeMap<String, String>,
    /// It is a bootstrap of ours and speaks frames.
    pub is_framed: bool,
    /// It is given AWS's log pipe.
    pub has_log_pipe: bool,
    /// Why there is no program to run, in AWS's words.
    pub missing: Option<String>,
    pub prepared: Prepared,
    /// A wrapper that is not there is, as on AWS, an exit.
    pub is_wrapped: bool,
}

/// The number under which a bootstrap finds its end of the frames.
const CONTROL_FD: u16 = 3;
/// AWS's number of the log pipe.
const LOG_FD: u16 = 62;
/// Where our bootstraps mark the places of what they write there.
const MARK_FD: u16 = 61;

impl Start {
    /// A runtime that is to wait for its function.
    pub fn parked(recipe: &Recipe) -> Start {
        Start::parked_with(recipe.argv.clone(), recipe.env.clone())
    }

    pub fn parked_with(argv: Vec<String>, env: BTreeMap<String, String>) -> Start {
        Start {
            argv,
            env,
            extension_env: BTreeMap::new(),
            is_framed: true,
            has_log_pipe: true,
            missing: None,
            prepared: Prepared::default(),
            is_wrapped: false,
        }
    }

    /// The runtime's program, and our end of its frames if it speaks them.
    pub fn runtime(&self, output: &mut Output) -> io::Result<(Program, Option<Connection>)> {
        let given = output.open_runtime()?;
        let mut program = with(Program::new(self.argv.iter().cloned()), &self.env);
        program = program.grant(1, given.output).grant(2, given.error);
        if self.has_log_pipe {
            program = program.grant(LOG_FD, given.log).env("_LAMBDA_TELEMETRY_LOG_FD", LOG_FD.to_string());
        }
        if !self.is_framed {
            return Ok((program, None));
        }
        let (connection, theirs) = Connection::pair()?;
        if self.has_log_pipe {
            program = program.grant(MARK_FD, given.mark);
        }
        program = program.grant(CONTROL_FD, theirs).env("_LAMP_CONTROL_FD", CONTROL_FD.to_string());
        Ok((program, Some(connection)))
    }

    /// Tells a runtime that waits which function it is for, or which instance, if it has its function.
    pub fn greet(&self, connection: &mut Connection, is_clone: bool) {
        if is_clone {
            connection.init_clone(&Template::own(&self.env));
        } else {
            connection.init(&self.env, &self.prepared);
        }
    }

    pub fn extension(&self, name: &str, output: &mut Output) -> io::Result<Program> {
        let given = output.open_extension()?;
        let program = with(Program::new([extension_path(name)]), &self.extension_env);
        Ok(program.grant(1, given.output).grant(2, given.error))
    }

    /// A runtime that did not start, as AWS tells it.
    pub fn not_started(&self, error: &RunError) -> Event {
        let RunError::Exec(source) = error else {
            tracing::error!(%error, "failed to run a function's program");
            return Event::Gone;
        };
        let exit = |code| Event::Exited(Exit { status: Status::Code(code), out_of_memory: false });
        let is_missing = source.kind() == io::ErrorKind::NotFound;
        if self.is_wrapped {
            // As the shell that AWS starts it from would say.
            return exit(if is_missing { 127 } else { 126 });
        }
        Event::NotStarted(why(self.argv.first().map_or("", String::as_str), source))
    }
}

impl Instance {
    pub(super) async fn start(&mut self) -> Option<Event> {
        if let Some(missing) = &self.start.missing {
            return Some(Event::NotStarted(missing.clone()));
        }
        self.trusts_prepared = self.start.prepared.path.is_some() && self.start.is_framed && self.template.is_none();
        if let Some((process, mut connection)) = self.waiting.take() {
            self.start.greet(&mut connection, self.template.is_some());
            self.transport.connect(connection);
            self.processes.add(process, Who::Runtime);
            return None;
        }
        let (program, connection) = match self.start.runtime(&mut self.output) {
            Ok(made) => made,
            Err(error) => return Some(no_pipes(&error)),
        };
        if let Some(mut connection) = connection {
            connection.init(&self.start.env, &self.start.prepared);
            self.transport.connect(connection);
        }
        match timeout(CLEAR_TIMEOUT, self.sandbox.run(program)).await {
            Ok(Ok(process)) => {
                self.processes.add(process, Who::Runtime);
                None
            }
            Ok(Err(error)) => Some(self.start.not_started(&error)),
            Err(_) => Some(Event::Gone),
        }
    }

    pub(super) async fn start_extension(&mut self, name: String) -> Option<Event> {
        let program = match self.start.extension(&name, &mut self.output) {
            Ok(program) => program,
            Err(error) => return Some(no_pipes(&error)),
        };
        match timeout(CLEAR_TIMEOUT, self.sandbox.run(program)).await {
            Ok(Ok(process)) => {
                self.processes.add(process, Who::Extension(name));
                None
            }
            Ok(Err(error)) => Some(extension_not_started(name, &error)),
            Err(_) => Some(Event::Gone),
        }
    }
}

fn extension_not_started(name: String, error: &RunError) -> Event {
    let RunError::Exec(source) = error else {
        tracing::error!(%error, "failed to run an extension");
        return Event::Gone;
    };
    let is_forbidden = source.kind() == io::ErrorKind::PermissionDenied;
    Event::ExtensionNotStarted { why: why(&extension_path(&name), source), name, is_forbidden }
}

fn no_pipes(error: &io::Error) -> Event {
    tracing::error!(%error, "failed to open pipes for a program");
    Event::Gone
}

fn extension_path(name: &str) -> String {
    format!("/opt/extensions/{name}")
}

fn with(program: Program, env: &BTreeMap<String, String>) -> Program {
    let program = program.directory(PathBuf::from("/var/task"));
    env.iter().fold(program, |program, (name, value)| program.env(name, value))
}

fn why(program: &str, source: &io::Error) -> String {
    let why = match source.raw_os_error() {
        Some(2) => "no such file or directory".to_owned(),
        Some(8) => "exec format error".to_owned(),
        Some(13) => "permission denied".to_owned(),
        _ => source.to_string(),
    };
    format!("fork/exec {program}: {why}")
}

/// Which processes are whose.
#[derive(Default)]
pub struct Processes(Vec<(ProcessId, Who)>);

impl Processes {
    pub fn add(&mut self, process: ProcessId, who: Who) {
        self.0.push((process, who));
    }

    pub fn has(&self, process: ProcessId) -> bool {
        self.0.iter().any(|(found, _)| *found == process)
    }

    /// Forgets a process that is gone. Others are of a life before this one.
    pub fn take(&mut self, process: ProcessId) -> Option<Who> {
        let at = self.0.iter().position(|(found, _)| *found == process)?;
        Some(self.0.swap_remove(at).1)
    }

    pub fn of(&self, who: &Who) -> Option<ProcessId> {
        self.0.iter().find_map(|(process, found)| (found == who).then_some(*process))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
