//! The six ports through which crates that must not see each other meet; `lamp` plugs them together.
//!
//! `Authority`, `Invoke` and `Telemetry` are here. `Deliver`, `Source` and `Desired` come with the first code that fills
//! them. A seventh needs a decision record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{Origin, Record};
use crate::{AccountId, AwsError, BoxFuture, Cause, Principal, Region, RequestId, Secret, Timestamp, Uuid, World};

/// A key that may sign requests.
#[derive(Debug, Clone)]
pub struct Credential {
    pub secret_access_key: Secret<String>,
    /// The token that must come with a temporary key.
    pub session_token: Option<Secret<String>>,
    pub principal: Arc<Principal>,
}

/// Who may sign, and what they may do.
pub trait Authority: Send + Sync {
    /// The credential behind an access key id; `None` when nobody has it.
    fn credential<'a>(&'a self, access_key_id: &'a str) -> BoxFuture<'a, Result<Option<Credential>, AwsError>>;
}

/// Runs functions.
pub trait Invoke: Send + Sync {
    /// Runs the function once and answers when its response begins. Dropping the future does not stop the function.
    fn invoke(&self, function: Arc<FunctionSpec>, call: Call) -> BoxFuture<'_, Result<Invoked, InvokeError>>;

    /// The function may be asked for soon: what can be made ready ahead of that, may be. It does not wait.
    fn expect(&self, function: Arc<FunctionSpec>);

    /// Nobody will ask for it again: what was made ahead of its calls goes. Those that run are not touched.
    fn forget(&self, _deleted: Deleted) {}

    /// Loads a version under SnapStart, and makes the snapshot that its instances begin with, when it is its turn. It may take minutes.
    /// Dropping the future ends what it has begun.
    fn snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), SnapshotError>>;

    /// From now on exactly these instances are kept ready. What was wanted before and is not any more, goes.
    fn provide(&self, wanted: Vec<Provision>);

    /// What has come of one of them so far.
    fn provided(&self, id: &ProvisionId) -> Provided;
}

/// A function that is deleted, or only one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub world: World,
    pub account: AccountId,
    pub region: Region,
    pub function: String,
    pub version: Option<String>,
}

/// Instances of a version that are to be ready before anybody calls.
#[derive(Debug, Clone)]
pub struct Provision {
    pub id: ProvisionId,
    pub function: Arc<FunctionSpec>,
    pub instances: u32,
    /// When it was asked for: what failed before is tried again.
    pub wanted_at: Timestamp,
}

/// Names a provision: the function's incarnation, and the version or alias that it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProvisionId {
    pub function: Uuid,
    pub qualifier: String,
}

/// What there is of a provision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provided {
    /// As it was asked for last; `None` if nobody has heard of it.
    pub wanted_at: Option<Timestamp>,
    /// Instances that are there, or being started.
    pub allocated: u32,
    /// Instances that have loaded their function.
    pub available: u32,
    /// Why there are not more, in AWS's word.
    pub failure: Option<String>,
}

/// One release of a function, as a value: all that running it needs, so that whoever runs it reads no tables.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    pub world: World,
    pub account: AccountId,
    pub region: Region,
    pub name: String,
    /// `$LATEST`, or a number.
    pub version: String,
    /// Another for any other settings or code. An instance is of one release.
    pub release: Uuid,
    /// A managed runtime, such as `python3.13`, or `provided.al2023`.
    pub runtime: String,
    /// The ARN of the build of that runtime, as `INIT_START` tells it.
    pub runtime_version_arn: String,
    pub handler: String,
    /// The ARN of the role that it runs as.
    pub role: String,
    pub timeout: Duration,
    pub memory_mb: u32,
    pub tmp_mb: u32,
    pub environment: Secret<BTreeMap<String, String>>,
    /// The zip with its code.
    pub code: CodeRef,
    /// The zips of its layers, in the order in which they are laid over each other.
    pub layers: Vec<CodeRef>,
    pub logging: Logging,
    /// Whether it traces by itself, or only what its caller traces.
    pub is_traced: bool,
    /// It is a published version under SnapStart: its instances begin with a snapshot of one that has loaded it.
    pub is_snap_start: bool,
}

/// Names stored code: its SHA-256, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeRef {
    pub hash: [u8; 32],
    pub size_bytes: u64,
}

/// How a function's log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    pub group: String,
    pub is_json: bool,
    /// `TRACE` to `FATAL`; only with JSON.
    pub application_level: Option<String>,
    /// `DEBUG`, `INFO` or `WARN`; only with JSON.
    pub system_level: Option<String>,
}

/// One invocation.
#[derive(Debug, Clone)]
pub struct Call {
    pub request_id: RequestId,
    /// The ARN as the caller wrote it, qualifier included if any.
    pub invoked_arn: String,
    pub payload: Vec<u8>,
    /// The JSON that the caller's SDK sends along, decoded from base64.
    pub client_context: Option<String>,
    pub trace_header: Option<String>,
    pub tenant_id: Option<String>,
    /// Whether the end of the log is wanted with the answer.
    pub wants_log_tail: bool,
    /// Whether the caller takes the response piece by piece, without the limit of one that is buffered.
    pub is_streamed: bool,
    pub concurrency: Concurrency,
    /// What functions of its account and region have reserved, and what else is provisioned. It is only told.
    pub allocated: u32,
    /// Nobody waits for it: it is bounded by concurrency, and not by the rate of requests.
    pub is_async: bool,
    pub cause: Cause,
}

/// How many invocations may run at once, on instances that were not provided beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// So many of this function: it has reserved them.
    Reserved(u32),
    /// So many of all the functions of its account and region that have not.
    Shared(u32),
}

/// AWS's one word for a function that failed.
pub const UNHANDLED: &str = "Unhandled";

/// What a function answered.
pub struct Invoked {
    /// What the function failed by, in AWS's word for the caller, [`UNHANDLED`]. The response is then the error.
    pub function_error: Option<&'static str>,
    pub content_type: Option<String>,
    pub response: Box<dyn ResponseStream>,
}

/// A response, piece by piece.
pub trait ResponseStream: Send {
    /// The next piece, or the end. Not asking holds the function back.
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece>;
}

#[derive(Debug)]
pub enum ResponsePiece {
    Bytes(Vec<u8>),
    End {
        /// The last 4 KB of the invocation's log, if they were wanted.
        log_tail: Option<Vec<u8>>,
        /// How a response failed that had begun: error type and the error as JSON.
        error: Option<(String, String)>,
    },
}

/// Why a function did not run.
#[derive(Debug)]
pub enum InvokeError {
    /// Too many run already; AWS's reason, such as `ReservedFunctionConcurrentInvocationLimitExceeded`.
    Throttled(&'static str),
    /// This server cannot run it; in words for its owner, who can do something about it.
    CannotRun(String),
    /// Under SnapStart: a hook failed that the function wanted run after its snapshot was restored.
    HookFailed,
    /// Under SnapStart: its snapshot was not restored in time, hooks included.
    RestoredLate,
    Internal(String),
}

/// Why there is no snapshot of a version.
#[derive(Debug)]
pub enum SnapshotError {
    /// It does not load; the error's type, such as `Runtime.ImportModuleError`.
    Function {
        error_type: String,
    },
    /// This server cannot run it; in words for its owner.
    CannotRun(String),
    Internal(String),
}

/// Takes what functions write, and what the platform writes about them.
pub trait Telemetry: Send + Sync {
    /// Takes one event. It neither blocks nor fails: what cannot be kept is counted by whoever keeps it.
    fn log(&self, stream: &Arc<LogStream>, event: LogEvent);

    /// Takes what happened to an invocation, at the moment when it happened. Its lines in the log, its metrics and what it
    /// costs are derived from that.
    fn record(&self, stream: &Arc<LogStream>, now: Timestamp, record: Record);

    /// Takes note of a call that was refused because too many ran.
    fn throttled(&self, function: &FunctionSpec, call: &Call);
}

/// Where one instance's log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    pub world: World,
    pub account: AccountId,
    pub region: Region,
    pub group: String,
    /// Such as `2026/04/03/[$LATEST]` and 32 hexadecimal digits.
    pub name: String,
    /// What all of the instance's records have in common.
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    pub time: Timestamp,
    /// As it was written, its line end included.
    pub message: String,
}
