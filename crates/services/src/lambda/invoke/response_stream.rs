//! Invoking with a response that goes to the caller as the function writes it.
//!
//! The response's pieces are events of the answer, each taken from the function when the caller has taken the one before.
//! A function that does not stream answers in pieces too. How it ended is the last event.

use std::sync::Arc;

use base::AwsError;
use base::ports::{Invoked, ResponsePiece, UNHANDLED};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use wire::{Blob, Events, Value};

use super::{ACTION, Begun, InvokeInput, PAYLOAD_BYTES_MAX, Request, run, whole};
use crate::under_way::Going;
use crate::{Cloud, Ctx, Service};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvokeWithResponseStreamOutput {
    status_code: u16,
    executed_version: Option<String>,
}

#[derive(Serialize)]
enum Event {
    PayloadChunk(PayloadChunk),
    InvokeComplete(InvokeComplete),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PayloadChunk {
    payload: Blob,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeComplete {
    error_code: Option<&'static str>,
    error_details: Option<String>,
    log_result: Option<String>,
}

pub fn operations(service: Service) -> Service {
    service
        .streaming_operation("InvokeWithResponseStream", invoke)
        .action("InvokeWithResponseStream", ACTION)
        .body_bytes_max("InvokeWithResponseStream", PAYLOAD_BYTES_MAX as u64)
}

async fn invoke(ctx: Ctx, input: InvokeInput) -> Result<(InvokeWithResponseStreamOutput, Option<Events>), AwsError> {
    let request = Request { is_streamed: true, ..input.request(&ctx)? };
    let (ctx, asked, function) = input.locate(ctx).await?;
    if input.invocation_type.as_deref() == Some("DryRun") {
        return Ok((InvokeWithResponseStreamOutput { status_code: 204, executed_version: None }, None));
    }
    let Begun { invoked, version, going, .. } = run(&ctx, &asked, function, request).await?;
    let output = InvokeWithResponseStreamOutput { status_code: 200, executed_version: Some(version) };
    let response = Response { begun: Some((invoked, going)), cloud: ctx.cloud.clone() };
    Ok((output, Some(Events::unfold(Some(response), Response::next))))
}

/// A response that is under way. What its caller does not take is nobody's, but the function goes on to its end.
struct Response {
    begun: Option<(Invoked, Going)>,
    cloud: Arc<Cloud>,
}

type Answered = (Result<Value, AwsError>, Option<Response>);

impl Response {
    /// The next event. Behind the last there is no response any more.
    async fn next(response: Option<Response>) -> Option<Answered> {
        let mut response = response?;
        let (invoked, _) = response.begun.as_mut()?;
        if invoked.function_error.is_some() {
            let (invoked, _going) = response.begun.take()?;
            // What would be the response is how it failed.
            let ended = whole(invoked).await.map(|(_, error, log_tail)| {
                let error_details = Some(String::from_utf8_lossy(&error).into_owned());
                InvokeComplete { error_code: Some(UNHANDLED), error_details, log_result: log_tail.map(encoded) }
            });
            return Some((ended.and_then(|complete| value(&Event::InvokeComplete(complete))), None));
        }
        match invoked.response.next().await {
            ResponsePiece::Bytes(bytes) => {
                let chunk = value(&Event::PayloadChunk(PayloadChunk { payload: bytes.into() }));
                Some((chunk, Some(response)))
            }
            ResponsePiece::End { log_tail, error } => {
                response.begun = None;
                let complete = InvokeComplete {
                    error_code: error.as_ref().map(|_| UNHANDLED),
                    error_details: error.map(|(_, details)| details),
                    log_result: log_tail.map(encoded),
                };
                Some((value(&Event::InvokeComplete(complete)), None))
            }
        }
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        let Some((mut invoked, going)) = self.begun.take() else { return };
        let rest = async move {
            while let ResponsePiece::Bytes(_) = invoked.response.next().await {}
            drop(going);
        };
        self.cloud.spawn.spawn("a response whose caller has gone", Box::pin(rest));
    }
}

fn value(event: &Event) -> Result<Value, AwsError> {
    Ok(Value::of(event)?)
}

fn encoded(log_tail: Vec<u8>) -> String {
    STANDARD.encode(log_tail)
}
