//! Events that wait for their function: what an asynchronous invocation leaves in the store before it is answered.
//!
//! Events lie by function, by shard, and by when they are due, so those of one function are no burden to another's, nor those of
//! one of its tenants to another's (`engine::events::shards`), and go with the function. Who takes them from here is [`courier`](super::courier). A function may see an event twice: it is done with
//! only when the store has heard of it.

use base::{AccountId, Arn, AwsError, Cause, RequestId, Timestamp, Uuid};
use engine::events::shards::Shard;
use metrics::Unit;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Scope, Table};
use wire::Blob;

use super::{ACTION, Request, json, locate, rooted, target};
use crate::deliver::{Parcel, Prepared};
use crate::lambda::function::Function;
use crate::lambda::name::FunctionRef;
use crate::lambda::policy::Source;
use crate::lambda::{errors, permission};
use crate::{Ctx, Service, derived};

/// What may be sent to a function that nobody waits for.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// What AWS lets its older operation send.
const INVOKE_ARGS_BYTES_MAX: u64 = 256 * 1024;

/// By the function's incarnation, the shard, when it is due, and the id of its request.
pub static EVENTS: Table<Key, Event> = Table::large("lambda_events");

/// A function's event: where it lies.
pub type Key = (Uuid, Place);

/// Its shard, when it is due, and the id of its request.
pub type Place = (Shard, (Timestamp, Uuid));

/// An event, and what has become of it so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub function: String,
    /// As it was asked for: which version that is shows when it runs.
    pub qualifier: Option<String>,
    /// JSON, as it was sent.
    pub payload: String,
    pub client_context: Option<String>,
    pub trace_header: Option<String>,
    pub tenant_id: Option<String>,
    pub cause: Cause,
    pub received: Timestamp,
    /// How often the function failed with it.
    pub failures: u32,
    /// How often it could not run since.
    pub hold_ups: u32,
    /// Why it was not done with when it was tried last.
    #[serde(default)]
    pub last_error: Option<String>,
}

impl Record for Event {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct InvokeAsyncInput {
    function_name: String,
    invoke_args: Option<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvokeAsyncOutput {
    status: u16,
}

pub fn operations(service: Service) -> Service {
    service
        .operation("InvokeAsync", invoke_async)
        .action("InvokeAsync", ACTION)
        .body_bytes_max("InvokeAsync", INVOKE_ARGS_BYTES_MAX)
}

/// The operation of 2014, which AWS keeps for those who still have it.
async fn invoke_async(ctx: Ctx, input: InvokeAsyncInput) -> Result<InvokeAsyncOutput, AwsError> {
    let request = Request::new(&ctx, json(input.invoke_args.as_ref())?);
    let (ctx, asked, resolved) = locate(ctx, &input.function_name, None, None).await?;
    accept(&ctx, &asked, &resolved.function, request).await?;
    Ok(InvokeAsyncOutput { status: 202 })
}

/// Keeps what is asked for. Once this has answered, it will be tried. The header says which trace it belongs to.
pub(super) async fn accept(
    ctx: &Ctx,
    asked: &FunctionRef,
    function: &Function,
    request: Request,
) -> Result<Option<String>, AwsError> {
    let due = due(ctx, asked, function, request)?;
    ctx.cloud.store.commit(due.add(Batch::new())).await?;
    Ok(due.event.trace_header)
}

/// An event that is not kept yet.
pub struct Due {
    scope: Scope,
    key: Key,
    event: Event,
}

impl Due {
    /// Once this batch has happened, the event will be tried.
    pub fn add(&self, batch: Batch) -> Batch {
        batch.put(&EVENTS, &self.scope, self.key, &self.event)
    }
}

impl Prepared for Due {
    fn add(&mut self, batch: Batch) -> Batch {
        Self::add(self, batch)
    }

    /// The couriers hear of it from the store.
    fn settled(self: Box<Self>, _: bool) {}
}

/// The event for a function that its own account sends something on to, or another's whose policy lets this one in.
pub async fn prepare(ctx: &Ctx, function: &str, parcel: Parcel) -> Result<Due, AwsError> {
    let (there, asked) = FunctionRef::locate(ctx.clone(), ACTION, function, None).await?;
    let Parcel { body, trace_header, cause, .. } = parcel;
    let request = Request { trace_header, cause, ..Request::new(&there, body.into_bytes()) };
    new(&there, &asked, request).await
}

/// The event for what is asked, which may be invoked.
async fn new(ctx: &Ctx, asked: &FunctionRef, request: Request) -> Result<Due, AwsError> {
    let resolved = target(ctx, asked).await?;
    if resolved.release().settings.tenancy.is_some() {
        return Err(errors::tenant_wanted());
    }
    // Each event is a request of its own, also where one commit has several.
    due(ctx, asked, &resolved.function, Request { id: RequestId(ctx.cx.id()), ..request })
}

/// A service of AWS that invokes functions in its own name.
pub struct Trigger<'a> {
    /// Whom the function's policy must let in, such as `s3.amazonaws.com`.
    pub principal: &'a str,
    /// The ARN of what it acts for, in the caller's account.
    pub source: &'a str,
}

impl Trigger<'_> {
    /// The event for a function, here or in another account. Errors below 500 last, 403 where the policy does not
    /// allow it.
    pub async fn event(&self, ctx: &Ctx, function: &str, payload: String) -> Result<Due, AwsError> {
        let mut there = ctx.clone();
        let owner = function.parse::<Arn>().ok().and_then(|arn| arn.account.parse::<AccountId>().ok());
        there.cx.account = owner.unwrap_or(ctx.cx.account);
        let asked = FunctionRef::parse(&there, ACTION, function, None)?;
        let regional = format!(".{}.amazonaws.com", ctx.cx.region.as_str());
        let services = [self.principal.to_owned(), self.principal.replace(".amazonaws.com", &regional)];
        let by = Source { services: &services, arn: self.source, account: ctx.cx.account.as_str() };
        if !permission::grants_service(&there, &asked, ACTION, &by).await? {
            return Err(errors::not_authorized(&there, ACTION, &asked.arn(&there)));
        }
        new(&there, &asked, Request::new(&there, payload.into_bytes())).await
    }
}

fn due(ctx: &Ctx, asked: &FunctionRef, function: &Function, request: Request) -> Result<Due, AwsError> {
    if request.payload.len() > EVENT_BYTES_MAX {
        return Err(errors::event_too_large(EVENT_BYTES_MAX));
    }
    let now = ctx.cx.now();
    let event = Event {
        function: asked.name.clone(),
        qualifier: asked.qualifier.clone(),
        // It has been read as JSON, which is UTF-8.
        payload: String::from_utf8(request.payload).map_err(AwsError::internal)?,
        client_context: request.client_context,
        trace_header: Some(rooted(ctx, request.trace_header.as_deref(), request.id)),
        tenant_id: request.tenant_id,
        cause: request.cause,
        received: now,
        failures: 0,
        hold_ups: 0,
        last_error: None,
    };
    event.tell(ctx, "AsyncEventsReceived", Unit::COUNT, 1.0);
    let (scope, incarnation) = (ctx.scope(), function.incarnation);
    let shard = ctx.cloud.memory.backlogs.enter((scope.clone(), incarnation), event.tenant_id.as_deref());
    Ok(Due { scope, key: (incarnation, (shard, (now, request.id.0))), event })
}

impl Event {
    /// Takes note of what happened to it.
    pub(super) fn tell(&self, ctx: &Ctx, metric: &str, unit: Unit, value: f64) {
        derived::lambda::tell_of_event(ctx, (&self.function, self.qualifier.as_deref()), metric, unit, value);
    }

    pub(super) fn asked(&self) -> FunctionRef {
        FunctionRef { name: self.function.clone(), qualifier: self.qualifier.clone() }
    }

    /// The invocation that it stands for. Every attempt has the id of the request that brought it, as on AWS.
    pub(super) fn request(&self, id: Uuid) -> Request {
        Request {
            id: RequestId(id),
            payload: self.payload.clone().into_bytes(),
            client_context: self.client_context.clone(),
            trace_header: self.trace_header.clone(),
            tenant_id: self.tenant_id.clone(),
            wants_log_tail: false,
            is_streamed: false,
            is_async: true,
            cause: self.cause,
        }
    }
}
