//! The way of a request, from its head to its answer. [`Pipeline::answer`] is the story; each step is a function below
//! it or a file beside it.
//!
//! The order is the security of it: a host or page that has no business here is turned away before anything else
//! looks, no body is read before its head is acceptable and its limit known, and nothing of a body is decoded before
//! the signature over it has been checked. Every answer carries a request id, every request leaves one log line and
//! one count, and every error is in the words and the shape of the protocol that the client speaks.
//!
//! Not there yet: authorisation by policies; it will stand between [`auth`] and the handler.

mod auth;
mod builtin;
mod events;
mod output;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use base::ports::Authority;
use base::{AccountId, AwsError, BoxFuture, CatchPanic, Chance, Clock, Cx, Fault, Listener, RequestId, trace};
use bytes::BytesMut;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::Instrument;

use crate::body::{self, Bodies, BodyError, Filter, Received};
use crate::hosts::Hosts;
use crate::metrics::{Labels, Metrics};
use crate::protocol::{self, Recipient};
use crate::registry::Output;
use crate::route::{self, Route, Router};
use crate::schema::{Model, Operation, Protocol, validate};
use crate::server::{Counts, Peer, Reply, Serve, Unserved};
use crate::sigv4::{self, AuthError, Family, Head, Payload, Streaming, chunked};
use crate::{Blob, Value, limits};

pub use auth::Mode;
pub use builtin::{Access, Builtin, BuiltinRequest};

use auth::Caller;
use events::Encoded;

const REQUEST_ID_NAMES: [&str; 2] = ["x-amzn-requestid", "x-amz-request-id"];

/// Serves the AWS protocols, and the paths of our own beside them.
pub struct Pipeline {
    pub router: Router,
    pub authority: Arc<dyn Authority>,
    pub mode: Mode,
    pub hosts: Hosts,
    pub bodies: Bodies,
    pub builtins: Vec<Builtin>,
    pub metrics: Arc<Metrics>,
    /// The machine's: signatures are judged by it, durations measured.
    pub machine_clock: Arc<dyn Clock>,
    /// The world's: what operations see.
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub verifier: sigv4::Verifier,
}

/// What is known of a request so far: enough to word an error at any step.
struct Exchange {
    recipient: Recipient,
    protocol: Protocol,
    /// Signed for EC2, whose errors have a form of their own.
    is_ec2: bool,
    route: Option<Route>,
    body_bytes: u64,
    account: Option<AccountId>,
    /// The configured origin that asks.
    origin: Option<HeaderValue>,
}

impl Serve for Pipeline {
    fn serve(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<'static, Response<Reply>> {
        let request_id = RequestId(self.chance.uuid());
        // On at every level, so that no line of a request goes without its id.
        let span = tracing::error_span!("request", id = %request_id);
        Box::pin(async move { self.run(request, peer, request_id).await }.instrument(span))
    }

    fn refuse(&self, unserved: Unserved) -> Response<Reply> {
        let request_id = RequestId(self.chance.uuid());
        let error = match unserved {
            Unserved::Head { status, message } => AwsError::client(status, head_code(status), message),
            Unserved::Panicked => {
                self.metrics.panicked();
                AwsError::internal("a request panicked")
            }
            Unserved::Busy => AwsError::unavailable("too many requests at once"),
        };
        self.metrics.record(Labels::default(), error.status, std::time::Duration::ZERO);
        tracing::info!(id = %request_id, status = error.status, ?error, "refused");
        output::reply(protocol::encode_error(
            None,
            None,
            Protocol::RestJson,
            &error,
            Recipient { request_id, prefers_json: false },
        ))
    }

    fn counts(&self) -> Arc<Counts> {
        self.metrics.connections.clone()
    }
}

impl Pipeline {
    async fn run(self: Arc<Self>, request: Request<Incoming>, peer: Peer, request_id: RequestId) -> Response<Reply> {
        let started = self.machine_clock.now();
        let _in_flight = self.metrics.begin();
        let (parts, body) = request.into_parts();
        let mut exchange = Exchange::new(Recipient::of(request_id, &parts.headers), spoken(&parts));
        let answer = CatchPanic(pin!(self.answer(&mut exchange, &parts, body, peer))).await;
        // Caught here, where it is known which request it was and what it speaks.
        let answer = answer.unwrap_or_else(|| {
            self.metrics.panicked();
            Err(AwsError::internal("the request panicked"))
        });
        let (mut response, code) = match answer {
            Ok(response) => (response, None),
            Err(error) => (exchange.refuse(&error), Some(error.code)),
        };
        let headers = response.headers_mut();
        if let Some(origin) = &exchange.origin {
            Hosts::allow(headers, origin);
        }
        // Codecs name it as their protocol does; what comes past them must not go without.
        if !REQUEST_ID_NAMES.iter().any(|name| headers.contains_key(*name))
            && let Ok(id) = HeaderValue::try_from(request_id.to_string())
        {
            headers.insert(REQUEST_ID_NAMES[0], id);
        }
        let Labels { service, operation } = exchange.labels();
        let (status, took) = (response.status().as_u16(), self.machine_clock.now().since(started));
        self.metrics.record(exchange.labels(), status, took);
        self.metrics.received(exchange.body_bytes);
        let account = exchange.account.as_ref().map(AccountId::as_str);
        let (body_bytes, peer) = (exchange.body_bytes, peer.address);
        // A wider number would be text in a log for machines.
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(service, operation, status, error = code, took_us, body_bytes, account, %peer, "answered");
        output::without_body(&parts.method, response)
    }

    async fn answer(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        parts: &Parts,
        body: Incoming,
        peer: Peer,
    ) -> Result<Response<Reply>, AwsError> {
        check_head(parts)?;
        let admitted = self.hosts.admit(parts);
        let admitted = admitted.map_err(|error| head_error(error.status(), error.to_string()))?;
        exchange.origin = admitted.origin.cloned();
        if let Some(preflight) = admitted.origin.and_then(|_| Hosts::preflight(parts)) {
            return Ok(preflight);
        }
        if let Some(found) = builtin::find(&self.builtins, &parts.method, parts.uri.path(), self.mode, peer) {
            return self.run_builtin(exchange, found, parts, body, peer).await;
        }
        let head = Head::of(parts);
        let claim = sigv4::parse(&head).map_err(|error| error.answer(exchange.family()))?;
        exchange.is_ec2 = claim.as_ref().is_some_and(|claim| claim.scope.service() == "ec2");
        let caller = Caller::look_up(&*self.authority, self.mode, claim).await?;
        let asked = self.ask(exchange, &head, &caller, body).await?;
        let endpoint = endpoint(peer, admitted.authority);
        let mut cx = self.context(exchange.recipient.request_id, &caller, admitted.authority, endpoint);
        cx.trace_header = trace_header(&parts.headers);
        cx.listener = parts.extensions.get::<Listener>().cloned().unwrap_or_default();
        exchange.account = Some(cx.account);
        let (asked, input) = self.input(asked, parts).await?;
        self.run_operation(exchange.recipient, &asked, cx, input).await
    }

    /// Finds the operation, takes the body in within the operation's limit, and checks the signature over both.
    async fn ask(
        &self,
        exchange: &mut Exchange,
        head: &Head<'_>,
        caller: &Caller,
        body: Incoming,
    ) -> Result<Asked, AwsError> {
        // A signature is over the normalised path, so that is the one that counts; but for S3, which signs as it is.
        let path = match caller.claim() {
            Some(claim) if !sigv4::is_s3(claim.scope.service()) => sigv4::normalised_path(head.path),
            _ => Cow::Borrowed(head.path),
        };
        let request = route::Request {
            method: head.method,
            path: &path,
            query: head.query,
            host: Some(head.host),
            headers: head.headers,
            form: None,
            signing_name: caller.claim().map(|claim| claim.scope.service()),
        };
        if self.router.needs_form(&request) {
            // Operations that anyone may call can be among the unsigned ones only.
            if let Some(claim) = caller.claim().filter(|_| caller.is_nobody()) {
                let unknown = AuthError::UnknownKey(claim.scope.access_key_id().into());
                return Err(unknown.answer(Family::Query));
            }
            let mut received = self.receive_form(exchange, caller, body).await?;
            self.inflate_form(&mut received, head.headers).await?;
            let form = received.blob.read_all().map_err(AwsError::internal)?;
            let form = std::str::from_utf8(&form).map_err(|_| malformed_form())?;
            let route = exchange.route_to(self.router.route(&route::Request { form: Some(form), ..request }))?;
            return self.verified(exchange, head, caller, route, received);
        }
        let route = exchange.route_to(self.router.route(&request))?;
        if self.mode == Mode::Dev && caller.claim().is_none() {
            check_deliberate(head.method, route.protocol)?;
        }
        if caller.is_nobody() {
            // Nothing is read, let alone spooled, for someone whom the body cannot help.
            self.verify(exchange, head, caller, &route, sigv4::Body::EMPTY)?;
        }
        let bytes_max = route.service.body_limit(operation_of(&route)?.name);
        let Some(streaming) = caller.claim().and_then(|claim| chunks(claim.payload)) else {
            let received = self.receive(exchange, body, bytes_max, None).await?;
            return self.verified(exchange, head, caller, route, received);
        };
        // A body in chunks is signed chunk by chunk, on from the signature of the head.
        let proof = self.verify(exchange, head, caller, &route, sigv4::Body::Streamed)?;
        let framing = chunked::Framing::of(streaming, head.headers).map_err(|error| error.answer())?;
        let decoder = match proof {
            Some(verified) => chunked::Decoder::verifying(framing, verified),
            None => chunked::Decoder::trusting(framing),
        };
        let received = self.receive(exchange, body, bytes_max, Some(&mut Chunks(Some(decoder)))).await?;
        Ok(Asked { route, received })
    }

    fn verified(
        &self,
        exchange: &Exchange,
        head: &Head<'_>,
        caller: &Caller,
        route: Route,
        received: Received,
    ) -> Result<Asked, AwsError> {
        self.verify(exchange, head, caller, &route, sigv4::Body::Sha256(received.sha256))?;
        Ok(Asked { route, received })
    }

    fn verify(
        &self,
        exchange: &Exchange,
        head: &Head<'_>,
        caller: &Caller,
        route: &Route,
        body: sigv4::Body,
    ) -> Result<Option<sigv4::Verified>, AwsError> {
        let service = route.service.model.signing_name;
        let is_open = operation_of(route)?.unsigned;
        let now = self.machine_clock.now();
        let verdict = caller.verify(&self.verifier, head, body, service, is_open, now);
        verdict.map_err(|error| error.answer(exchange.family()))
    }

    async fn receive(
        &self,
        exchange: &mut Exchange,
        body: Incoming,
        bytes_max: u64,
        filter: Option<&mut dyn Filter>,
    ) -> Result<Received, AwsError> {
        let action = exchange.action();
        let received = self.bodies.read(pin!(body), bytes_max, filter).await;
        let received = received.map_err(|error| body_error(error, action))?;
        exchange.body_bytes = received.blob.len();
        Ok(received)
    }

    /// A form that says which operation it is for. Of one that is not signed no more is read than unsigned operations
    /// take: what is longer is none of theirs.
    async fn receive_form(
        &self,
        exchange: &mut Exchange,
        caller: &Caller,
        body: Incoming,
    ) -> Result<Received, AwsError> {
        if !caller.is_nobody() {
            return self.receive(exchange, body, limits::BODY_BYTES_MAX, None).await;
        }
        let received = self.receive(exchange, body, limits::UNSIGNED_FORM_BYTES_MAX, None).await;
        received.map_err(|error| match error.status {
            413 => AuthError::Missing.answer(Family::Query),
            _ => error,
        })
    }

    /// A compressed form says which operation it is for once it is none any more. It grows to what a form may have.
    async fn inflate_form(&self, received: &mut Received, headers: &HeaderMap) -> Result<(), AwsError> {
        if !headers.get(header::CONTENT_ENCODING).is_some_and(is_gzip) {
            return Ok(());
        }
        let bytes_max = limits::BODY_BYTES_MAX;
        self.bodies.hold_decoded(received, bytes_max).map_err(|error| body_error(error, ""))?;
        let inflated = body::inflate(received.blob.clone(), bytes_max).await;
        received.blob = inflated.map_err(|error| body_error(error, ""))?;
        received.is_inflated = true;
        Ok(())
    }

    fn context(&self, request_id: RequestId, caller: &Caller, host: &str, endpoint: Arc<str>) -> Cx {
        let (principal, region) = (caller.principal(), caller.region(host));
        Cx::new(principal, region, request_id, endpoint, self.clock.clone(), self.chance.clone())
    }

    /// Decodes the body and holds it against the model. A spooled one takes its time, where that holds up nobody.
    async fn input(self: &Arc<Self>, mut asked: Asked, parts: &Parts) -> Result<(Asked, Value), AwsError> {
        let body = self.plain(&mut asked, parts).await?;
        let query = parts.uri.query().unwrap_or_default();
        if let Blob::Inline(_) = body {
            let input = self.decode(&asked, query, &parts.headers, &body)?;
            return Ok((asked, input));
        }
        let decoded_bytes = body.len().min(limits::BODY_TEXT_BYTES_MAX as u64);
        self.bodies.hold_decoded(&mut asked.received, decoded_bytes).map_err(|error| body_error(error, ""))?;
        let (pipeline, query, headers) = (self.clone(), query.to_owned(), parts.headers.clone());
        let decoding = move || pipeline.decode(&asked, &query, &headers, &body).map(|input| (asked, input));
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(decoding)).await.map_err(AwsError::internal)?
    }

    /// The body without its compression. S3 keeps a compressed object as it is.
    async fn plain(&self, asked: &mut Asked, parts: &Parts) -> Result<Blob, AwsError> {
        let blob = asked.received.blob.clone();
        let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING) else { return Ok(blob) };
        if asked.route.protocol == Protocol::RestXml || asked.received.is_inflated {
            return Ok(blob);
        }
        match encoding.as_bytes() {
            _ if is_gzip(encoding) => {
                let operation = operation_of(&asked.route)?.name;
                let bytes_max = asked.route.service.body_limit(operation).min(limits::BODY_INFLATED_BYTES_MAX);
                let held = self.bodies.hold_decoded(&mut asked.received, bytes_max);
                let action = asked.route.service.action(operation);
                held.map_err(|error| body_error(error, action))?;
                body::inflate(blob, bytes_max).await.map_err(|error| body_error(error, action))
            }
            b"" | b"identity" => Ok(blob),
            _ => {
                let message = "The only Content-Encoding of a request that is understood is gzip.";
                Err(AwsError::client(415, "UnsupportedMediaTypeException", message))
            }
        }
    }

    fn decode(&self, asked: &Asked, query: &str, headers: &HeaderMap, body: &Blob) -> Result<Value, AwsError> {
        let Route { service, protocol, labels, .. } = &asked.route;
        let operation = operation_of(&asked.route)?;
        let spool = || self.bodies.spool_file();
        let request = protocol::Request { labels, query, headers, body, spool: &spool };
        let input = protocol::decode(&service.model, operation, *protocol, &request)?;
        validate::validate(&service.model, operation, *protocol, &input)?;
        Ok(input)
    }

    async fn run_operation(
        &self,
        recipient: Recipient,
        asked: &Asked,
        cx: Cx,
        input: Value,
    ) -> Result<Response<Reply>, AwsError> {
        let Route { service, protocol, .. } = &asked.route;
        let operation = operation_of(&asked.route)?;
        let handler = service.handlers.get(operation.name).ok_or_else(|| {
            let (service, operation) = (service.name, operation.name);
            AwsError::not_built(format_args!("{service}:{operation}"))
        })?;
        let Output { value, status, events } = handler(cx, input).await?;
        let response = protocol::encode(&service.model, operation, *protocol, &value, status, recipient)?;
        let Some(incoming) = events else { return Ok(output::reply(response)) };
        let events = Encoded::new(&asked.route, &value, incoming).map_err(AwsError::internal)?;
        let events = events.ok_or_else(|| AwsError::internal("the model knows of no events of this operation"))?;
        Ok(response.map(|_| Reply::Stream(Box::new(events))))
    }

    async fn run_builtin(
        &self,
        exchange: &mut Exchange,
        found: Result<&Builtin, StatusCode>,
        parts: &Parts,
        body: Incoming,
        peer: Peer,
    ) -> Result<Response<Reply>, AwsError> {
        let builtin = match found {
            Ok(builtin) => builtin,
            Err(status) => return Ok(builtin::refusal(status)),
        };
        let received = self.receive(exchange, body, limits::BUILTIN_BODY_BYTES_MAX, None).await?;
        let request = BuiltinRequest {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: received.blob.read_all().map_err(AwsError::internal)?,
            peer,
            authorization: parts.headers.get(header::AUTHORIZATION).cloned(),
        };
        Ok((builtin.run)(request).await)
    }
}

/// A request whose operation is known, with its body.
struct Asked {
    route: Route,
    received: Received,
}

impl Exchange {
    fn new(recipient: Recipient, protocol: Protocol) -> Self {
        Self { recipient, protocol, is_ec2: false, route: None, body_bytes: 0, account: None, origin: None }
    }

    fn route_to(&mut self, routed: Result<Route, route::Misroute>) -> Result<Route, AwsError> {
        match routed {
            Ok(route) => {
                self.protocol = route.protocol;
                self.route = Some(route.clone());
                Ok(route)
            }
            Err(misroute) => {
                self.protocol = misroute.protocol;
                Err(misroute.error)
            }
        }
    }

    fn labels(&self) -> Labels {
        let Some(route) = &self.route else { return Labels::default() };
        Labels { service: route.service.name, operation: route.operation().map_or("", |operation| operation.name) }
    }

    /// What messages call the operation, once it is known.
    fn action(&self) -> &'static str {
        self.route.as_ref().map_or("", |route| route.service.action(self.labels().operation))
    }

    fn family(&self) -> Family {
        match self.protocol {
            Protocol::Json10 | Protocol::Json11 | Protocol::Cbor => Family::Json,
            Protocol::RestJson => Family::RestJson,
            Protocol::Query => Family::Query,
            Protocol::RestXml => Family::S3,
        }
    }

    /// The error in the client's protocol. What only we may know goes to the log, here, where it ends.
    fn refuse(&self, error: &AwsError) -> Response<Reply> {
        match error.fault {
            Fault::Server => tracing::error!(?error, "request failed"),
            _ => tracing::debug!(?error, "request refused"),
        }
        if self.is_ec2 && self.protocol == Protocol::Query {
            return output::reply(protocol::encode_ec2_error(error, self.recipient.request_id));
        }
        let model: Option<&Model> = self.route.as_ref().map(|route| &*route.service.model);
        let operation = self.route.as_ref().and_then(Route::operation);
        output::reply(protocol::encode_error(model, operation, self.protocol, error, self.recipient))
    }
}

/// Bounds that HTTP/1 heads have passed already, and HTTP/2's have not.
fn check_head(parts: &Parts) -> Result<(), AwsError> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let too_large = |message: &str| Err(head_error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message.to_owned()));
    if target > limits::URI_BYTES_MAX {
        return Err(head_error(StatusCode::URI_TOO_LONG, "The request target is too long.".into()));
    }
    if parts.headers.len() > limits::HEADERS_MAX {
        return too_large("The request has too many headers.");
    }
    match parts.headers.get(header::EXPECT) {
        Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(head_error(StatusCode::EXPECTATION_FAILED, "The only expectation is 100-continue.".into()))
        }
        _ => Ok(()),
    }
}

fn head_error(status: StatusCode, message: String) -> AwsError {
    AwsError::client(status.as_u16(), head_code(status.as_u16()), message)
}

fn head_code(status: u16) -> &'static str {
    match status {
        403 => "AccessDeniedException",
        404 => "NotFoundException",
        405 => "MethodNotAllowedException",
        408 => "RequestTimeoutException",
        _ => "BadRequestException",
    }
}

/// The protocol that a request seems to speak, before it is known which service it is for.
fn spoken(parts: &Parts) -> Protocol {
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if parts.headers.contains_key("x-amz-target") {
        match content_type {
            b"application/x-amz-json-1.0" => Protocol::Json10,
            _ => Protocol::Json11,
        }
    } else if parts.headers.contains_key("smithy-protocol") {
        Protocol::Cbor
    } else if content_type.starts_with(b"application/x-www-form-urlencoded") {
        Protocol::Query
    } else {
        Protocol::RestJson
    }
}

/// An action in a URL would run for an image or a link of any web page: to an address that a browser does not trust it
/// does not say that there is a page, unless the method is POST. A page that goes as far as to presign its URL passes,
/// in this mode, in which any key is believed.
fn check_deliberate(method: &str, protocol: Protocol) -> Result<(), AwsError> {
    if protocol != Protocol::Query || method == "POST" {
        return Ok(());
    }
    let message = "An action that is not sent by POST has to be signed: any web page could have asked for this one.";
    Err(AwsError::client(403, "AccessDenied", message))
}

fn operation_of(route: &Route) -> Result<&Operation, AwsError> {
    route.operation().ok_or_else(|| AwsError::internal("the route leads to no operation of its model"))
}

/// How the body is cut up and signed, if by S3's chunks.
fn chunks(payload: Payload) -> Option<Streaming> {
    match payload {
        Payload::Streaming(Streaming::Events) => None,
        Payload::Streaming(streaming) => Some(streaming),
        _ => None,
    }
}

struct Chunks(Option<chunked::Decoder>);

impl Filter for Chunks {
    fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), AwsError> {
        let Some(decoder) = &mut self.0 else { return Ok(()) };
        decoder.feed(bytes, |data| out.extend_from_slice(data)).map_err(|error| error.answer())
    }

    fn end(&mut self) -> Result<(), AwsError> {
        let Some(decoder) = self.0.take() else { return Ok(()) };
        decoder.finish().map(|_| ()).map_err(|error| error.answer())
    }
}

fn body_error(error: BodyError, action: &'static str) -> AwsError {
    match error {
        BodyError::TooLarge { bytes_max } => AwsError::client(
            413,
            "RequestEntityTooLargeException",
            match action {
                "" => format!("Request must be smaller than {bytes_max} bytes"),
                action => format!("Request must be smaller than {bytes_max} bytes for the {action} operation"),
            },
        ),
        BodyError::Filter(error) => error,
        BodyError::TooSlow => AwsError::client(408, "RequestTimeoutException", "The body came too slowly."),
        BodyError::Broken(_) => AwsError::client(400, "BadRequestException", "The body could not be read."),
        BodyError::Inflate(_) => AwsError::client(400, "SerializationException", "The body is not valid gzip."),
        BodyError::Full | BodyError::Spool { .. } => AwsError::unavailable(&error),
    }
}

fn is_gzip(encoding: &HeaderValue) -> bool {
    encoding.as_bytes().eq_ignore_ascii_case(b"gzip")
}

fn malformed_form() -> AwsError {
    AwsError::client(400, "MalformedInput", "The form is not UTF-8.")
}

/// What the client says of its trace.
fn trace_header(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get("x-amzn-trace-id")?.to_str().ok()?;
    trace::sent(text).map(Into::into)
}

fn endpoint(peer: Peer, authority: &str) -> Arc<str> {
    let scheme = if peer.is_tls { "https" } else { "http" };
    format!("{scheme}://{authority}").into()
}
