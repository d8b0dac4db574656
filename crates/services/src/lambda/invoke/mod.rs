//! Invoking: from a request to a [`FunctionSpec`](base::ports::FunctionSpec) and a [`Call`], and from what the function
//! answered to what AWS shows.
//!
//! ```text
//! Invoke ── request ── a function, a version, an event, all checked
//!    ├─ RequestResponse: run ── spec (the release as a value) ── base::ports::Invoke ── the whole response
//!    ├─ Event: event ── kept, synced, 202 ·· later, beside the requests: courier ── run ── `engine::events` (whether again, and when)
//!    └─ InvokeWithResponseStream: run ── response_stream, piece by piece
//! ```
//!
//! Nothing runs that goes round in a loop: [`chain`]. What became of an event in the end is told by [`ending`].
//!
//! Which release runs is decided here (qualifier, alias, weights); how it runs is behind [`base::ports::Invoke`].

mod backlog;
pub mod chain;
pub mod courier;
pub mod dead;
mod ending;
pub mod event;
pub mod operator;
mod response_stream;
mod spec;
pub mod young;

use std::sync::Arc;

use base::ports::{Call, Concurrency, InvokeError, Invoked, ResponsePiece, UNHANDLED};
use base::{AwsError, Cause, RequestId, trace};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use wire::Blob;

use super::function::{self, Function, Resolved};
use super::name::FunctionRef;
use super::{account, errors, snap_start};
use crate::under_way::{self, Going, Kind, Step};
use crate::{Ctx, Service};

pub use backlog::Backlogs;
pub use spec::Specs;

/// What policies and messages call every way to invoke.
const ACTION: &str = "InvokeFunction";
/// What a caller may send to a function that it waits for.
const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// What a function may answer when it does not stream, with AWS's hundred bytes of grace.
const RESPONSE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 100;
/// A client context, decoded.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;

/// Of both operations that wait.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct InvokeInput {
    function_name: String,
    qualifier: Option<String>,
    invocation_type: Option<String>,
    log_type: Option<String>,
    client_context: Option<String>,
    tenant_id: Option<String>,
    payload: Option<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvokeOutput {
    status_code: u16,
    function_error: Option<&'static str>,
    log_result: Option<String>,
    payload: Option<Blob>,
    executed_version: Option<String>,
    trace_header: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("Invoke", invoke)
        .action("Invoke", ACTION)
        .body_bytes_max("Invoke", PAYLOAD_BYTES_MAX as u64)
        .with(event::operations)
        .with(response_stream::operations)
}

pub async fn invoke(ctx: Ctx, input: InvokeInput) -> Result<InvokeOutput, AwsError> {
    let request = input.request(&ctx)?;
    let (ctx, asked, function) = input.locate(ctx).await?;
    match input.invocation_type.as_deref() {
        Some("DryRun") => return Ok(InvokeOutput::empty(204, None)),
        Some("Event") => {
            let trace_header = event::accept(&ctx, &asked, &function.function, request).await?;
            return Ok(InvokeOutput::empty(202, trace_header));
        }
        _ => {}
    }
    let Begun { invoked, version, trace_header, going: _going } = run(&ctx, &asked, function, request).await?;
    let (function_error, payload, log_tail) = whole(invoked).await?;
    Ok(InvokeOutput {
        status_code: 200,
        function_error,
        log_result: log_tail.map(|tail| STANDARD.encode(tail)),
        payload: Some(payload.into()),
        executed_version: Some(version),
        trace_header: Some(trace_header),
    })
}

impl InvokeInput {
    fn request(&self, ctx: &Ctx) -> Result<Request, AwsError> {
        Ok(Request {
            client_context: self.client_context.as_deref().map(client_context).transpose()?,
            tenant_id: self.tenant_id.clone(),
            wants_log_tail: self.log_type.as_deref() == Some("Tail"),
            ..Request::new(ctx, json(self.payload.as_ref())?)
        })
    }

    async fn locate(&self, ctx: Ctx) -> Result<(Ctx, FunctionRef, Resolved), AwsError> {
        locate(ctx, &self.function_name, self.qualifier.as_deref(), self.tenant_id.as_deref()).await
    }
}

impl InvokeOutput {
    fn empty(status_code: u16, trace_header: Option<String>) -> Self {
        let (function_error, log_result, payload, executed_version) = (None, None, None, None);
        Self { status_code, function_error, log_result, payload, executed_version, trace_header }
    }
}

/// What is to be run, before it is known by which release.
struct Request {
    id: RequestId,
    payload: Vec<u8>,
    client_context: Option<String>,
    /// Of the caller, if it traces.
    trace_header: Option<String>,
    tenant_id: Option<String>,
    wants_log_tail: bool,
    is_streamed: bool,
    is_async: bool,
    cause: Cause,
}

impl Request {
    fn new(ctx: &Ctx, payload: Vec<u8>) -> Self {
        Self {
            id: ctx.cx.request_id,
            payload,
            client_context: None,
            trace_header: ctx.cx.trace_header.as_deref().map(str::to_owned),
            tenant_id: None,
            wants_log_tail: false,
            is_streamed: false,
            is_async: false,
            cause: ctx.cx.cause,
        }
    }
}

/// Tells whoever runs functions of one that is new or has changed. Whether it can be run shows when it is.
pub async fn expect(ctx: &Ctx, function: &Function) {
    let latest = Resolved::latest(Arc::new(function.clone()));
    if let Ok(spec) = spec::build(ctx, &latest).await {
        ctx.cloud.functions.expect(Arc::new(spec));
    }
}

/// Finds what is to be run, in its owner's account, and checks that it may be run for this tenant.
async fn locate(
    ctx: Ctx,
    name: &str,
    qualifier: Option<&str>,
    tenant: Option<&str>,
) -> Result<(Ctx, FunctionRef, Resolved), AwsError> {
    let (ctx, asked) = FunctionRef::locate(ctx, ACTION, name, qualifier).await?;
    let resolved = target(&ctx, &asked).await?;
    check(&ctx, &resolved, tenant).await?;
    Ok((ctx, asked, resolved))
}

/// Whether it may be run now, for this tenant.
async fn check(ctx: &Ctx, resolved: &Resolved, tenant: Option<&str>) -> Result<(), AwsError> {
    snap_start::check_active(ctx, resolved).await?;
    match (&resolved.release().settings.tenancy, tenant) {
        (Some(_), None) => Err(errors::tenant_wanted()),
        (None, Some(_)) => Err(errors::tenant_unwanted()),
        _ => Ok(()),
    }
}

/// What a name and a qualifier mean for an invocation. Of an alias with a weight, chance decides.
async fn target(ctx: &Ctx, asked: &FunctionRef) -> Result<Resolved, AwsError> {
    let exact =
        FunctionRef { qualifier: Some(asked.qualifier.clone().unwrap_or_else(|| "$LATEST".into())), ..asked.clone() };
    function::resolve_by(ctx, &exact, |alias| alias.choose(|| dice(ctx)).to_owned()).await
}

/// A number from 0 up to 1.
fn dice(ctx: &Ctx) -> f64 {
    let mut bytes = [0; 4];
    ctx.cx.random().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// A response that has begun.
struct Begun {
    invoked: Invoked,
    /// Of the version that answers.
    version: String,
    /// What the function was told of its trace, and what follows from it belongs to.
    trace_header: String,
    /// Until the response has ended.
    going: Going,
}

/// Runs what was found, unless it goes round in a loop.
async fn run(ctx: &Ctx, asked: &FunctionRef, resolved: Resolved, request: Request) -> Result<Begun, AwsError> {
    let spec = ctx.cloud.memory.specs.of(ctx, &resolved).await?;
    let header = trace_header(ctx, request.trace_header.as_deref(), request.id, spec.is_traced);
    if chain::is_stopped(ctx, &resolved.function, &header) {
        chain::tell_stopped(ctx, (&asked.name, asked.qualifier.as_deref()), 1);
        return Err(errors::recursive());
    }
    let header = chain::extend(ctx, &resolved.function, &header);
    let call = Call {
        request_id: request.id,
        invoked_arn: asked.arn(ctx),
        payload: request.payload,
        client_context: request.client_context,
        trace_header: Some(header.clone()),
        tenant_id: request.tenant_id,
        wants_log_tail: request.wants_log_tail,
        is_streamed: request.is_streamed,
        concurrency: concurrency(ctx, &resolved.function).await?,
        allocated: account::allocated_concurrency(ctx).await?,
        is_async: request.is_async,
        cause: request.cause,
    };
    let kind = Kind::Invocation;
    let step = Step { scope: ctx.scope(), kind, name: asked.name.as_str().into(), trace_header: Some(header.clone()) };
    let going = ctx.cloud.memory.under_way.begin(step);
    let version = spec.version.clone();
    let invoked = ctx.cloud.functions.invoke(spec, call).await.map_err(refused)?;
    Ok(Begun { invoked, version, trace_header: header, going })
}

/// What a function answered in the end.
pub struct Called {
    pub function_error: Option<&'static str>,
    pub payload: Vec<u8>,
}

impl Called {
    /// What the function failed with, if it did.
    pub fn error(&self) -> Option<String> {
        self.function_error.map(|_| ending::error_of(&self.payload))
    }
}

/// Runs a function for whoever reads a source, and waits for its whole answer. Nobody but the caller tries again.
pub async fn call(
    ctx: &Ctx,
    name: &str,
    qualifier: Option<&str>,
    payload: Vec<u8>,
    trace_header: Option<String>,
) -> Result<Called, AwsError> {
    let (ctx, asked, resolved) = locate(ctx.clone(), name, qualifier, None).await?;
    let request = Request { trace_header, ..Request::new(&ctx, payload) };
    let begun = run(&ctx, &asked, resolved, request).await?;
    let (function_error, payload, _) = whole(begun.invoked).await?;
    Ok(Called { function_error, payload })
}

/// Whether there is a function to be called by this name.
pub async fn check_there(ctx: &Ctx, name: &str, qualifier: Option<&str>) -> Result<(), AwsError> {
    target(ctx, &FunctionRef { name: name.to_owned(), qualifier: qualifier.map(str::to_owned) }).await.map(drop)
}

async fn concurrency(ctx: &Ctx, function: &Function) -> Result<Concurrency, AwsError> {
    Ok(match function.reserved_concurrency {
        // What is provisioned runs beside.
        Some(reserved) => Concurrency::Reserved(reserved.saturating_sub(function.provisioned_concurrency)),
        None => Concurrency::Shared(account::free_concurrency(ctx).await?),
    })
}

/// An event, which must be JSON. Nothing is an empty object.
fn json(payload: Option<&Blob>) -> Result<Vec<u8>, AwsError> {
    let bytes = match payload {
        Some(payload) => payload.read_all().map_err(AwsError::internal)?.to_vec(),
        None => Vec::new(),
    };
    if bytes.is_empty() {
        return Ok(b"{}".to_vec());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(errors::no_json(&complaint(&bytes, &error))),
    }
}

/// What AWS's parser says of a text that is no JSON, as far as it says it of the first character; else what ours says.
fn complaint(bytes: &[u8], error: &serde_json::Error) -> String {
    const WANTED: &str =
        "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let what = match start.and_then(|at| bytes.get(at)) {
        Some(byte) if byte.is_ascii_control() || *byte >= 0x80 => {
            format!("Unexpected character ((CTRL-CHAR, code {byte})): {WANTED}")
        }
        // A word that is none of JSON's.
        Some(byte) if byte.is_ascii_alphabetic() => {
            let rest = start.and_then(|at| bytes.get(at..)).unwrap_or_default();
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'$';
            let word: Vec<u8> = rest.iter().take_while(is_part).copied().collect();
            let word = String::from_utf8_lossy(&word).into_owned();
            format!(
                "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
            )
        }
        Some(byte) if byte.is_ascii_punctuation() && !matches!(byte, b'{' | b'[' | b'"' | b'-') => {
            format!("Unexpected character ('{}' (code {byte})): {WANTED}", char::from(*byte))
        }
        _ => error.to_string(),
    };
    let (line, column) = (error.line().max(1), error.column().max(1));
    format!(
        "{what}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); \
         line: {line}, column: {column}]"
    )
}

fn client_context(text: &str) -> Result<String, AwsError> {
    let decoded = STANDARD.decode(text).ok().filter(|bytes| bytes.len() <= CLIENT_CONTEXT_BYTES_MAX);
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
        .ok_or_else(|| errors::invalid_request_content("Client context must be a valid Base64-encoded JSON object."))
}

/// The header that ties what the function calls to this request: the caller's, where it sent one that names a trace. What
/// nobody has decided to sample, the function decides.
fn trace_header(ctx: &Ctx, sent: Option<&str>, id: RequestId, is_traced: bool) -> String {
    let header = rooted(ctx, sent, id);
    match trace::field(&header, "Sampled") {
        Some(_) => header,
        None => format!("{header};Sampled={}", u8::from(is_traced)),
    }
}

/// A header that names a trace: the caller's, or one that begins with this request.
fn rooted(ctx: &Ctx, sent: Option<&str>, id: RequestId) -> String {
    match sent.filter(|sent| trace::field(sent, "Root").is_some()) {
        Some(sent) => sent.to_owned(),
        None => {
            let parent = under_way::digits(ctx.cx.id(), 16);
            format!("Root=1-{:08x}-{};Parent={parent}", ctx.cx.now().as_secs(), under_way::digits(id.0, 24))
        }
    }
}

/// The whole of a response that is not streamed: what the function failed by, if it did, its answer, and its log's end.
async fn whole(mut invoked: Invoked) -> Result<(Option<&'static str>, Vec<u8>, Option<Vec<u8>>), AwsError> {
    let mut payload = Vec::new();
    loop {
        match invoked.response.next().await {
            ResponsePiece::Bytes(bytes) if payload.is_empty() => payload = bytes,
            ResponsePiece::Bytes(bytes) => {
                // Whoever runs functions has this limit too; here it bounds what we hold.
                if payload.len().saturating_add(bytes.len()) > RESPONSE_BYTES_MAX {
                    return Err(AwsError::internal("a function answered more than it may"));
                }
                payload.extend_from_slice(&bytes);
            }
            ResponsePiece::End { log_tail, error } => {
                return Ok(match error {
                    Some((_, error)) => (Some(UNHANDLED), error.into_bytes(), log_tail),
                    None => (invoked.function_error, payload, log_tail),
                });
            }
        }
    }
}

fn refused(error: InvokeError) -> AwsError {
    match error {
        InvokeError::Throttled(reason) => errors::rate_exceeded(reason),
        InvokeError::CannotRun(why) => errors::cannot_run(why),
        InvokeError::HookFailed => errors::hook_failed(),
        InvokeError::RestoredLate => errors::restored_late(),
        InvokeError::Internal(why) => AwsError::internal(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused_in_the_words_of_aws() {
        let event = |bytes: &[u8]| json(Some(&Blob::from(bytes.to_vec())));
        assert_eq!(event(b"").unwrap(), b"{}");
        assert_eq!(event(br#"{"a": [1, null]}"#).unwrap(), br#"{"a": [1, null]}"#);
        assert_eq!(
            event(b"\x99\xeb,").unwrap_err().message,
            "Could not parse request body into json: Could not parse payload into json: Unexpected character \
             ((CTRL-CHAR, code 153)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' \
             or 'false')\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, \
             column: 1]"
        );
        for wrong in [b"{" as &[u8], b"hello", b"{}{}", b"'a'"] {
            assert!(event(wrong).is_err(), "{wrong:?}");
        }
    }
}
