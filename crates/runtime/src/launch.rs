//! From a release to an instance that can run it: code, interpreter, key, sandbox, environment.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::ports::{FunctionSpec, InvokeError, LogEvent, LogStream};
use base::record::{Kind, Origin};
use base::{Uuid, hex, with_causes};
use engine::dispatch::{InstanceId, Why};
use sandbox::{Limits, Mount, Sandbox};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::books::Starting;
use crate::code::{Lease, Prepared as Found, PreparedName};
use crate::environment::{Beginning, Environment, Outcome, Writer};
use crate::frames::Prepared;
use crate::home::{NoPlace, Place};
use crate::http::{Api, Credentials, Identity};
use crate::instance::{self, Body, Home, Left, Order, Start};
use crate::languages::{Advice, Family, Owner, Preparation, Served};
use crate::limits::EXTENSION_FILES_MAX;
use crate::room::{self, Room};
use crate::runtime::{INTERNAL, Inner, Key};
use crate::stock::{Launch, Waiting};
use crate::template::Shape;
use crate::{access, http, languages, template, variables};

/// Makes the instance and runs it to its end. An instance that cannot be made says why to who waits for it.
pub async fn launch(inner: &Arc<Inner>, starting: Starting) -> Left {
    let Starting { id, function, tenant, why, mut orders } = starting;
    if is_unwanted(&orders) {
        return Left { orders, failure: None, snapshot: None, outcome: Outcome::Gone };
    }
    let purpose = Purpose::Orders(id, why);
    match make(inner, &function, tenant.as_deref(), &purpose).await {
        Ok(made) if is_unwanted(&orders) => {
            made.sandbox.kill().await;
            Left { orders, failure: None, snapshot: None, outcome: Outcome::Gone }
        }
        Ok(made) => {
            if made.lacks_prepared {
                inner.preparer.expect(Arc::clone(&function));
            }
            let mut left = instance::run(made.body(inner, &purpose, &function, tenant, orders)).await;
            left.orders.close();
            left
        }
        Err(error) => {
            orders.close();
            match orders.try_recv() {
                Ok(order) => order.refuse(error),
                Err(_) => tracing::warn!(function = function.name, ?error, "failed to start an instance ahead"),
            }
            // Its function has not run, so it is not to blame.
            Left { orders, failure: Some(INTERNAL.to_owned()), snapshot: None, outcome: Outcome::Gone }
        }
    }
}

/// Whether one that nobody has called is told to end already: behind the order to begin waits another one.
fn is_unwanted(orders: &mpsc::Receiver<Order>) -> bool {
    orders.len() > 1
}

/// What an instance is for.
pub enum Purpose {
    Orders(InstanceId, Why),
    /// That a snapshot of it be taken.
    Snapshot,
}

pub struct Made {
    sandbox: Sandbox,
    served: Served,
    start: Start,
    waiting: Option<Waiting>,
    launch: Launch,
    /// The name under which its version's prepared code is kept.
    prepared_name: Option<PreparedName>,
    /// Somebody else can prepare it.
    lacks_prepared: bool,
    beginning: Beginning,
    /// Its runtime became a copy while its caller waited.
    copied_in: Duration,
    /// What its sandbox shows and is held to, if it was made for it.
    shown: Option<(Vec<Mount>, Limits)>,
    token: Option<String>,
    api: Api,
    /// Files of `/opt/extensions`.
    extensions: Vec<String>,
    log: Arc<LogStream>,
    held: Vec<Box<dyn std::any::Any + Send>>,
}

/// What an instance will hold, as far as anybody knows who has seen none.
pub fn bytes_expected(function: &FunctionSpec, family: Family) -> u64 {
    let most = u64::from(function.memory_mb).saturating_mul(MEGABYTE);
    family.bytes_guess().min(most)
}

/// A function's code and layers, unpacked.
pub struct Code {
    pub task: Lease,
    pub opt: Option<Lease>,
    /// What was prepared for its version.
    pub prepared: Option<Lease>,
}

impl Code {
    /// Whether something is still to be prepared under this name.
    pub fn find_prepared(&mut self, inner: &Inner, name: Option<&PreparedName>) -> bool {
        match name.map(|name| inner.code.prepared(name)) {
            None | Some(Found::Without) => false,
            Some(Found::Nothing) => true,
            Some(Found::Ready(lease)) => {
                self.prepared = Some(lease);
                false
            }
        }
    }

    /// Where it is, inside.
    pub fn prepared_path(&self) -> Option<String> {
        self.prepared.as_ref().map(|_| format!("{PREPARED_FOLDER}/{}", crate::code::PREPARED))
    }

    pub fn extensions(&self) -> Vec<String> {
        self.opt.as_ref().map_or_else(Vec::new, |lease| extensions(lease.path()))
    }
}

/// What an instance's programs are started with.
pub struct Source<'a> {
    pub function: &'a FunctionSpec,
    pub served: &'a Served,
    pub code: &'a Code,
    pub key: &'a Key,
    pub log: &'a LogStream,
    pub initialization: Kind,
    pub token: Option<&'a str>,
}

/// An instance that loads the function, and nobody calls.
pub async fn make_for_snapshot(inner: &Arc<Inner>, function: &FunctionSpec) -> Result<Made, InvokeError> {
    make(inner, function, None, &Purpose::Snapshot).await
}

/// All that a version's instances run, held.
pub async fn code_of(inner: &Inner, function: &FunctionSpec, served: &Served) -> Result<Code, InvokeError> {
    let mut code = unpack(inner, function).await?;
    code.find_prepared(inner, prepared_name(inner, function, served, None).as_ref());
    Ok(code)
}

async fn make(
    inner: &Arc<Inner>,
    function: &FunctionSpec,
    tenant: Option<&str>,
    purpose: &Purpose,
) -> Result<Made, InvokeError> {
    let launch = inner.stock.launch();
    let served = inner.languages.serve(&function.runtime).await.map_err(InvokeError::CannotRun)?;
    let (number, began) = (inner.parts.chance.uuid(), Instant::now());
    let clone = room::clone(inner, function, &served, tenant, purpose).await;
    let template = clone.as_ref().and_then(|clone| clone.runtime.as_ref()?.template.clone());
    let cloned = Instant::now();
    let (code, key) = tokio::join!(unpack(inner, function), access::key(inner, function, number, template.as_deref()));
    let unpacked = Instant::now();
    let (mut code, key) = (code?, key.map_err(InvokeError::Internal)?);
    let prepared_name = prepared_name(inner, function, &served, tenant);
    let preparation = preparation(&served, code.find_prepared(inner, prepared_name.as_ref()));
    let (initialization, beginning) = begins(function, purpose, clone.is_some().then(|| began.elapsed()));
    let log = Arc::new(log_stream(function, initialization, inner.parts.clock.now(), number));
    let token = access::token(inner, function, template.as_deref());
    let asks = token.as_deref();
    let mut start =
        Source { function, served: &served, code: &code, key: &key, log: &log, initialization, token: asks }
            .start(inner.settings.api_port);
    let extensions = code.extensions();
    let (room, shown) = match clone {
        Some(room) => (room, None),
        None => room::fresh(inner, function, tenant, purpose, &served, &code).await?,
    };
    let Room { mut sandbox, runtime: waiting, copied_in } = room;
    locate(&sandbox, &mut start);
    show_prepared(&mut start, &served, code.prepared_path().map(|path| sandbox.locate(&path)));
    start.prepared.is_wanted = matches!(preparation, Preparation::Instance);
    let mut listeners = sandbox.take_listeners().into_iter();
    let credentials = token.clone().map(|token| access::credentials(inner, token, &key, beginning));
    let mut held: Vec<Box<dyn std::any::Any + Send>> = vec![Box::new(code), Box::new(template), key.lease];
    if let Some(listener) = listeners.next() {
        held.push(inner.parts.host.serve_api(function, number, listener));
    }
    let api = runtime_api(inner, function, listeners.next(), !start.is_framed, credentials)?;
    log_steps(function, waiting.as_ref(), copied_in, [began, cloned, unpacked]);
    Ok(Made {
        sandbox,
        served,
        start,
        waiting,
        launch,
        prepared_name,
        lacks_prepared: matches!(preparation, Preparation::Program(_)),
        beginning,
        copied_in,
        shown,
        token,
        api,
        extensions,
        log,
        held,
    })
}

fn show_prepared(start: &mut Start, served: &Served, path: Option<String>) {
    if let Some(path) = path.as_ref().filter(|_| served.family == Family::Java) {
        languages::use_archive(&mut start.argv, served, path);
    }
    start.prepared.path = path;
}

fn preparation(served: &Served, is_wanted: bool) -> Preparation {
    if is_wanted { languages::preparation(served) } else { Preparation::Nothing }
}

/// Where the time went, in microseconds, until now.
fn log_steps(function: &FunctionSpec, waiting: Option<&Waiting>, copied_in: Duration, at: [Instant; 3]) {
    let [began, cloned, unpacked] = at;
    let name = &function.name;
    let from = match waiting {
        None => "program",
        Some(waiting) if waiting.template.is_some() => "clone",
        Some(_) if copied_in > Duration::ZERO => "copy of a runtime",
        Some(_) => "parked runtime",
    };
    let micros = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros();
    let (copy, code, room) = (micros(began, cloned), micros(cloned, unpacked), micros(unpacked, Instant::now()));
    tracing::debug!(name, from, copy, code, room, "an instance was made");
}

/// Where the operator wants no walls, places are elsewhere.
fn locate(sandbox: &Sandbox, start: &mut Start) {
    let given = start.env.values_mut().chain(start.extension_env.values_mut());
    given.for_each(|value| *value = sandbox.locate(value));
    let opt = sandbox.locate("/opt");
    if opt != "/opt" {
        start.env.insert("_LAMP_OPT".to_owned(), opt);
    }
}

fn runtime_api(
    inner: &Inner,
    function: &FunctionSpec,
    listener: Option<TcpListener>,
    has_runtime: bool,
    credentials: Option<Credentials>,
) -> Result<Api, InvokeError> {
    let parts = &inner.parts;
    let listener = listener.ok_or_else(|| InvokeError::Internal("the sandbox has no Runtime API".to_owned()))?;
    let served = http::serve(listener, has_runtime, credentials, &parts.spawn, &parts.chance);
    let served = served.map_err(|error| InvokeError::Internal(format!("serve the Runtime API: {error}")))?;
    let identity = Identity {
        account: function.account.to_string(),
        function_name: function.name.clone(),
        version: function.version.clone(),
        handler: function.handler.clone(),
    };
    Ok(Api::new(served, identity, Arc::clone(&parts.clock), Arc::clone(&parts.chance)))
}

pub async fn unpack(inner: &Inner, function: &FunctionSpec) -> Result<Code, InvokeError> {
    let unpacked = async {
        let task = inner.code.code(function.code).await?;
        let opt = inner.code.layers(&function.layers).await?;
        Ok(Code { task, opt, prepared: None })
    };
    let failed = |error: crate::code::CodeError| InvokeError::Internal(with_causes(&error));
    unpacked.await.map_err(failed)
}

/// The name of what is prepared for a version, if anything is. `tenant` is whom its instance serves alone.
pub fn prepared_name(
    inner: &Inner,
    function: &FunctionSpec,
    served: &Served,
    tenant: Option<&str>,
) -> Option<PreparedName> {
    let goes_with_it = served.family != Family::Java || languages::takes_archive(function.environment.expose());
    if !inner.settings.makes_ahead() || !goes_with_it {
        return None;
    }
    let trees: Vec<[u8; 32]> = std::iter::once(&function.code).chain(&function.layers).map(|code| code.hash).collect();
    // A release is one function's, with all its settings.
    let instances = format!("{} {}", function.release, tenant.unwrap_or_default());
    let owner = Owner { account: &format!("{} {}", function.world.0, function.account), instances: &instances };
    let file = languages::prepared_name(served, &trees, &owner)?;
    Some(PreparedName { file, release: function.release })
}

pub const TASK: &str = "/var/task";
pub const OPT: &str = "/opt";
pub const LANG: &str = "/var/lang";
pub const RUNTIME: &str = "/var/runtime";
pub const PREPARED_FOLDER: &str = "/var/rapid";

/// Every file there is an extension, whether it can be run or not. No link is followed: it would lead through the host.
fn extensions(opt: &Path) -> Vec<String> {
    let folder = opt.join("extensions");
    if !std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(EXTENSION_FILES_MAX);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

pub const MEGABYTE: u64 = 1024 * 1024;

impl Source<'_> {
    pub fn start(&self, api_port: u16) -> Start {
        let Source { function, served, code, key, log, initialization, token } = *self;
        let is_relocated = served.is_relocated;
        let given = variables::Given {
            function,
            family: served.family,
            key,
            log,
            api_port,
            is_relocated,
            initialization,
            token,
        };
        let env = variables::of(&given);
        let extension_env = variables::of_extensions(&env);
        if served.family == Family::Provided {
            let opt = code.opt.as_ref().map(|lease| lease.path().join("bootstrap"));
            let places = [(Some(code.task.path().join("bootstrap")), "/var/task/bootstrap"), (opt, "/opt/bootstrap")];
            let found = places.into_iter().find(|(host, _)| host.as_ref().is_some_and(|path| path.exists()));
            let missing = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
            return Start {
                argv: found.iter().map(|(_, inside)| (*inside).to_owned()).collect(),
                env,
                extension_env,
                is_framed: false,
                has_log_pipe: false,
                missing: found.is_none().then(|| missing.to_owned()),
                prepared: Prepared::default(),
                is_wrapped: false,
            };
        }
        let mut argv = argv(function, served);
        // A wrapper may put itself between the runtime and its API, so the runtime must speak what the wrapper can.
        let wrapper = wrapper(&env).cloned();
        let is_wrapped = wrapper.is_some();
        if let Some(wrapper) = wrapper {
            argv.insert(0, wrapper);
        }
        let prepared = Prepared::default();
        Start {
            argv,
            env,
            extension_env,
            is_framed: !is_wrapped,
            has_log_pipe: true,
            missing: None,
            prepared,
            is_wrapped,
        }
    }
}

pub fn argv(function: &FunctionSpec, served: &Served) -> Vec<String> {
    let mut argv = vec![served.program.display().to_string()];
    argv.extend(served.family.arguments(function.memory_mb));
    argv.push(served.bootstrap.clone());
    argv
}

fn wrapper(env: &BTreeMap<String, String>) -> Option<&String> {
    env.get("AWS_LAMBDA_EXEC_WRAPPER").filter(|wrapper| !wrapper.is_empty())
}

pub fn log_stream(function: &FunctionSpec, initialization: Kind, now: base::Timestamp, number: Uuid) -> LogStream {
    let date = now.iso8601_millis().get(..10).unwrap_or_default().replace('-', "/");
    let (name, version) = (&function.name, &function.version);
    // A group that functions share tells them apart.
    let own = if function.logging.group == format!("/aws/lambda/{name}") { "" } else { name.as_str() };
    LogStream {
        world: function.world,
        account: function.account,
        region: function.region.clone(),
        group: function.logging.group.clone(),
        name: format!("{date}/{own}[{version}]{}", hex::encode(number.as_bytes())),
        origin: Origin {
            function: name.clone(),
            version: version.clone(),
            memory_mb: function.memory_mb,
            tmp_mb: function.tmp_mb,
            is_arm: cfg!(target_arch = "aarch64"),
            kind: initialization,
            is_json: function.logging.is_json,
            system_level: function.logging.system_level.clone(),
        },
    }
}

impl Made {
    /// What its programs may hold together.
    pub fn memory_bytes_max(&self) -> u64 {
        self.shown.as_ref().map_or(u64::MAX, |(_, limits)| limits.memory_bytes)
    }

    /// What clones of it run in and with, if there can be any.
    pub fn shape(&self) -> Option<Shape> {
        let (mounts, limits) = self.shown.clone()?;
        let argv = template::waiting(self.served.family, &self.start.argv)?;
        let env = self.start.env.clone();
        Some(Shape { argv, env, mounts, limits, token: self.token.clone()? })
    }

    fn writer(&self, function: &FunctionSpec) -> Writer {
        Writer {
            origin: self.log.origin.clone(),
            runtime_version: self.served.label.clone(),
            runtime_version_arn: function.runtime_version_arn.clone(),
            application_level: function.logging.application_level.clone(),
            instance: self.log.name.clone(),
        }
    }

    pub fn body(
        self,
        inner: &Arc<Inner>,
        purpose: &Purpose,
        function: &Arc<FunctionSpec>,
        tenant: Option<String>,
        orders: mpsc::Receiver<Order>,
    ) -> Body {
        let parts = &inner.parts;
        let is_clone = self.waiting.as_ref().is_some_and(|waiting| waiting.template.is_some());
        let may_have_template =
            (self.served.family == Family::Python || self.beginning == Beginning::Anew) && self.extensions.is_empty();
        let wishes = may_have_template && !is_clone && !inner.templates.is_closed();
        let writer = self.writer(function);
        let home: Box<dyn Home> = match *purpose {
            Purpose::Orders(id, _) => Box::new(Place::new(inner, id, function, tenant, self.prepared_name, wishes)),
            Purpose::Snapshot => Box::new(NoPlace),
        };
        if let Some(warning) = &self.served.warning {
            let event = LogEvent { time: parts.clock.now(), message: format!("{warning}\n") };
            parts.telemetry.log(&self.log, event);
        }
        let sandbox = match *purpose {
            Purpose::Orders(id, _) => inner.memory.weighing(id, self.sandbox),
            Purpose::Snapshot => {
                inner.memory.weighing_apart(self.sandbox, bytes_expected(function, self.served.family))
            }
        };
        Body {
            sandbox,
            environment: Environment::new(function.timeout, writer, self.extensions, self.beginning)
                .copied_in(self.copied_in),
            start: self.start,
            waiting: self.waiting,
            launch: self.launch,
            api: self.api,
            orders,
            home,
            clock: Arc::clone(&parts.clock),
            chance: Arc::clone(&parts.chance),
            spawn: Arc::clone(&parts.spawn),
            telemetry: Arc::clone(&parts.telemetry),
            log: self.log,
            is_json: function.logging.is_json,
            advice: Advice {
                family: self.served.family,
                runtime: function.runtime.clone(),
                add: inner.settings.add_sdk.clone(),
                sdk_dir: inner.settings.sdk_dir.clone(),
                seen: self.served.sdks,
            },
            held: self.held,
        }
    }
}

impl Purpose {
    /// Tells its sandbox from others of the function.
    pub fn name(&self) -> String {
        match self {
            Purpose::Orders(id, _) => id.as_u64().to_string(),
            Purpose::Snapshot => "snapshot".to_owned(),
        }
    }
}

/// What its instance tells of its beginning, and what that is. `restored_in`: it is a clone, which was had so soon.
fn begins(function: &FunctionSpec, purpose: &Purpose, restored_in: Option<Duration>) -> (Kind, Beginning) {
    match (purpose, restored_in) {
        (Purpose::Snapshot, _) => (Kind::SnapStart, Beginning::Snapshot),
        (Purpose::Orders(..), Some(after)) if function.is_snap_start => (Kind::SnapStart, Beginning::Restored(after)),
        (Purpose::Orders(..), _) if function.is_snap_start => (Kind::SnapStart, Beginning::Anew),
        (Purpose::Orders(_, Why::Provisioned), _) => (Kind::Provisioned, Beginning::Init),
        (Purpose::Orders(_, Why::Asked | Why::Expected), _) => (Kind::OnDemand, Beginning::Init),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn extensions_are_files_of_one_folder_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        assert!(extensions(dir.path()).is_empty());
        fs::create_dir_all(dir.path().join("real/extensions/folder")).unwrap();
        fs::write(dir.path().join("real/extensions/b"), "").unwrap();
        symlink("/etc", dir.path().join("real/extensions/a")).unwrap();
        assert_eq!(extensions(&dir.path().join("real")), ["a", "b"]);
        fs::create_dir(dir.path().join("linked")).unwrap();
        symlink("/etc", dir.path().join("linked/extensions")).unwrap();
        assert!(extensions(&dir.path().join("linked")).is_empty());
    }
}
