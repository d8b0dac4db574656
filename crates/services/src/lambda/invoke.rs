//! Invoking: from a request to a [`FunctionSpec`] and a [`Call`], and from what the function answered to what AWS shows.
//!
//! Which release runs is decided here (qualifier, alias, weights); how it runs is behind [`base::ports::Invoke`]. Not
//! there yet: asynchronous invocation, which waits for its queue.

use std::sync::Arc;
use std::time::Duration;

use base::ports::{Call, CodeRef, FunctionSpec, InvokeError, Invoked, Logging, ResponsePiece};
use base::{AwsError, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use wire::Blob;

use super::code::Code;
use super::function::{self, Resolved};
use super::name::FunctionRef;
use super::release::Release;
use super::{alias, errors, runtime};
use crate::{Ctx, Service};

/// What a caller may send to a function that it waits for.
const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// What a function may answer when it does not stream, with AWS's hundred bytes of grace.
const RESPONSE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 100;
/// A client context, decoded.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;

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
}

pub fn operations(service: Service) -> Service {
    service.operation("Invoke", invoke).body_bytes_max("Invoke", PAYLOAD_BYTES_MAX as u64)
}

pub async fn invoke(ctx: Ctx, input: InvokeInput) -> Result<InvokeOutput, AwsError> {
    let (ctx, asked) =
        FunctionRef::locate(ctx, "InvokeFunction", &input.function_name, input.qualifier.as_deref()).await?;
    let resolved = target(&ctx, &asked).await?;
    let payload = event(input.payload.as_ref())?;
    let spec = spec(&ctx, &resolved).await?;
    match input.invocation_type.as_deref() {
        Some("DryRun") => return Ok(InvokeOutput::empty(204)),
        Some("Event") => return Err(AwsError::not_built("asynchronous invocation")),
        _ => {}
    }
    let wants_log_tail = input.log_type.as_deref() == Some("Tail");
    let call = Call {
        request_id: ctx.cx.request_id,
        invoked_arn: asked.arn(&ctx),
        payload,
        client_context: input.client_context.as_deref().map(client_context).transpose()?,
        trace_header: Some(trace_header(&ctx)),
        tenant_id: input.tenant_id,
        wants_log_tail,
        is_streamed: false,
        cause: ctx.cx.cause,
    };
    let invoked = ctx.cloud.functions.invoke(spec, call).await.map_err(refused)?;
    buffered(invoked, resolved.version()).await
}

impl InvokeOutput {
    fn empty(status_code: u16) -> Self {
        Self { status_code, function_error: None, log_result: None, payload: None, executed_version: None }
    }
}

/// What a name and a qualifier mean for an invocation. Of an alias with a weight, chance decides.
async fn target(ctx: &Ctx, asked: &FunctionRef) -> Result<Resolved, AwsError> {
    let mut exact =
        FunctionRef { qualifier: Some(asked.qualifier.clone().unwrap_or_else(|| "$LATEST".into())), ..asked.clone() };
    let resolved = function::resolve(ctx, &exact).await?;
    let Some(name) = exact.qualifier.as_deref().filter(|name| FunctionRef::is_alias(name)) else { return Ok(resolved) };
    let Some(found) = alias::get_shared(ctx, &resolved.function, name).await? else { return Ok(resolved) };
    let Some((other, weight)) = found.weights.first_key_value() else { return Ok(resolved) };
    if dice(ctx) >= *weight {
        return Ok(resolved);
    }
    exact.qualifier = Some(other.clone());
    function::resolve(ctx, &exact).await
}

/// A number from 0 up to 1.
fn dice(ctx: &Ctx) -> f64 {
    let mut bytes = [0; 4];
    ctx.cx.random().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// The event, which must be JSON. Nothing is an empty object.
fn event(payload: Option<&Blob>) -> Result<Vec<u8>, AwsError> {
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

/// The header that ties what the function calls to this request.
fn trace_header(ctx: &Ctx) -> String {
    let id: String = ctx.cx.request_id.to_string().chars().filter(char::is_ascii_hexdigit).take(24).collect();
    let parent: String = ctx.cx.id().to_string().chars().filter(char::is_ascii_hexdigit).take(16).collect();
    format!("Root=1-{:08x}-{id};Parent={parent};Sampled=0", ctx.cx.now().as_secs())
}

/// The release as a value.
async fn spec(ctx: &Ctx, resolved: &Resolved) -> Result<Arc<FunctionSpec>, AwsError> {
    let (function, release) = (&resolved.function, resolved.release());
    let Release { settings, code, revision, .. } = release;
    let Code::Zip { blob, .. } = code else {
        return Err(AwsError::not_built("running functions from container images"));
    };
    let reference = |blob: &store::Blob| CodeRef { hash: *blob.hash.as_bytes(), size_bytes: blob.size_bytes };
    let layers = settings.layers.iter().filter_map(|layer| match &layer.code {
        Code::Zip { blob, .. } => Some(reference(blob)),
        Code::Image { .. } => None,
    });
    Ok(Arc::new(FunctionSpec {
        world: ctx.cx.world,
        account: ctx.cx.account,
        region: ctx.cx.region.clone(),
        name: function.name.clone(),
        version: resolved.version(),
        release: *revision,
        runtime: settings.runtime.clone().unwrap_or_default(),
        runtime_version_arn: runtime::version_arn(&ctx.cx, settings.runtime.as_deref().unwrap_or_default()),
        handler: settings.handler.clone().unwrap_or_default(),
        role: settings.role.clone(),
        timeout: Duration::from_secs(settings.timeout_s.into()),
        memory_mb: settings.memory_mb,
        tmp_mb: settings.ephemeral_storage.size,
        environment: Secret::new(settings.variables(ctx, &function.owner(ctx)).await?.unwrap_or_default()),
        code: reference(blob),
        layers: layers.collect(),
        logging: Logging {
            group: settings.logging.log_group.clone().unwrap_or_default(),
            is_json: settings.logging.log_format.as_deref() == Some("JSON"),
            application_level: settings.logging.application_log_level.clone(),
            system_level: settings.logging.system_log_level.clone(),
        },
        is_traced: settings.tracing.mode == "Active",
        reserved_concurrency: function.reserved_concurrency,
    }))
}

/// Takes the whole of a response that is not streamed.
async fn buffered(mut invoked: Invoked, version: String) -> Result<InvokeOutput, AwsError> {
    let mut payload = Vec::new();
    let log_tail = loop {
        match invoked.response.next().await {
            ResponsePiece::Bytes(bytes) => {
                // Whoever runs functions has this limit too; here it bounds what we hold.
                if payload.len().saturating_add(bytes.len()) > RESPONSE_BYTES_MAX {
                    return Err(AwsError::internal("a function answered more than it may"));
                }
                payload.extend_from_slice(&bytes);
            }
            ResponsePiece::End { log_tail, error } => {
                if let Some((_, error)) = error {
                    invoked.function_error = Some("Unhandled");
                    payload = error.into_bytes();
                }
                break log_tail;
            }
        }
    };
    Ok(InvokeOutput {
        status_code: 200,
        function_error: invoked.function_error,
        log_result: log_tail.map(|tail| STANDARD.encode(tail)),
        payload: Some(payload.into()),
        executed_version: Some(version),
    })
}

fn refused(error: InvokeError) -> AwsError {
    match error {
        InvokeError::Throttled(reason) => errors::rate_exceeded(reason),
        InvokeError::CannotRun(why) => AwsError::not_built(why),
        InvokeError::Internal(why) => AwsError::internal(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused_in_the_words_of_aws() {
        let event = |bytes: &[u8]| event(Some(&Blob::from(bytes.to_vec())));
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
