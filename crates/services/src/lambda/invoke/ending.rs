//! What is told of an event's end, and to whom: the function's dead letters get the event itself, destinations get a record
//! of the invocation. Both are handed on in the commit that ends the event.
//!
//! Follows AWS: <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>.

use base::{AwsError, RequestId, Timestamp, Uuid};
use engine::events::retry::{Attempt, Reason};
use metrics::Unit;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::event::Event;
use crate::Ctx;
use crate::deliver::{self, Attribute, Parcel, Prepared};
use crate::lambda::errors;
use crate::lambda::event_invoke::Destinations;
use crate::lambda::function;

/// What dead letters say of a failure, at most.
const ERROR_MESSAGE_BYTES_MAX: usize = 1024;

/// How an attempt ended, and by what.
pub struct Tried {
    pub attempt: Attempt,
    pub outcome: Result<Answer, AwsError>,
}

/// What a function answered.
pub struct Answer {
    pub version: String,
    pub function_error: Option<&'static str>,
    pub payload: Vec<u8>,
    pub trace_header: String,
}

/// Who hears of an event's end.
pub struct Listeners {
    pub dead_letters: Option<String>,
    pub destinations: Destinations,
}

/// An event's end.
pub struct Ending<'a> {
    pub event: &'a Event,
    pub id: Uuid,
    pub tried: &'a Tried,
    /// Why it was given up, if it was.
    pub reason: Option<Reason>,
    pub now: Timestamp,
}

impl Tried {
    pub fn of(outcome: Result<Answer, AwsError>) -> Self {
        let attempt = match &outcome {
            Ok(Answer { function_error: None, .. }) => Attempt::Succeeded,
            Ok(_) => Attempt::Failed,
            Err(error) if error.code == errors::RECURSIVE => Attempt::Looped,
            Err(_) => Attempt::HeldUp,
        };
        Self { attempt, outcome }
    }

    /// What it failed by, in a kilobyte at most; nothing if it did not.
    pub fn error(&self) -> Option<String> {
        match &self.outcome {
            Ok(Answer { function_error: None, .. }) => None,
            Ok(answer) => Some(error_of(&answer.payload)),
            Err(error) => Some(first(&error.message, ERROR_MESSAGE_BYTES_MAX).to_owned()),
        }
    }

    /// The error that is told of it, the one before included.
    pub fn last_error(&self, before: Option<String>) -> Option<String> {
        match self.attempt {
            Attempt::TooLate => before.or_else(|| self.error()),
            _ => self.error().or(before),
        }
    }

    /// The function reserves no concurrency.
    pub fn forbidden() -> Self {
        let refusal = errors::rate_exceeded("ReservedFunctionConcurrentInvocationLimitExceeded");
        Self { attempt: Attempt::Forbidden, outcome: Err(refusal) }
    }

    /// Others kept it waiting for as long as it may be old.
    pub fn too_late() -> Self {
        let refusal = errors::rate_exceeded("ConcurrentInvocationLimitExceeded");
        Self { attempt: Attempt::TooLate, outcome: Err(refusal) }
    }
}

impl Ending<'_> {
    /// What is handed on. What cannot be delivered is told to the log and to metrics, and keeps nothing else back.
    pub async fn prepare(&self, ctx: &Ctx, listeners: &Listeners) -> Result<Vec<Box<dyn Prepared>>, AwsError> {
        let destination = match self.reason {
            None => &listeners.destinations.on_success,
            Some(_) => &listeners.destinations.on_failure,
        };
        let dead_letters = listeners.dead_letters.as_ref().filter(|_| self.reason.is_some());
        let mut prepared = Vec::new();
        if let Some(to) = destination {
            prepared.extend(self.hand_on(ctx, to, self.record(ctx), "DestinationDeliveryFailures").await?);
        }
        if let Some(to) = dead_letters {
            prepared.extend(self.hand_on(ctx, to, self.dead_letter(), "DeadLetterErrors").await?);
        }
        Ok(prepared)
    }

    async fn hand_on(
        &self,
        ctx: &Ctx,
        to: &str,
        parcel: Parcel,
        lost: &str,
    ) -> Result<Option<Box<dyn Prepared>>, AwsError> {
        match deliver::prepare(ctx, to, parcel).await {
            Ok(prepared) => Ok(Some(prepared)),
            Err(error) if error.fault == base::Fault::Client => {
                let (function, id) = (&self.event.function, self.id);
                tracing::warn!(
                    function, to, %id, %error,
                    "what became of an asynchronous invocation could not be delivered: see that the target is there and takes it"
                );
                self.event.tell(ctx, lost, Unit::COUNT, 1.0);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The event itself, and beside it why it is dead.
    fn dead_letter(&self) -> Parcel {
        let status = self.tried.outcome.as_ref().err().map_or(200, |error| error.status);
        let message = self.tried.error().unwrap_or_default();
        let attribute = |name, data_type, value| Attribute { name, data_type, value };
        let mut attributes = vec![
            attribute("RequestID", "String", RequestId(self.id).to_string()),
            attribute("ErrorCode", "Number", status.to_string()),
        ];
        if !message.is_empty() {
            attributes.push(attribute("ErrorMessage", "String", message));
        }
        self.parcel(self.event.payload.clone(), attributes)
    }

    fn record(&self, ctx: &Ctx) -> Parcel {
        let arn = function::arn(ctx, &self.event.function);
        let qualifier = self.event.qualifier.as_deref().unwrap_or("$LATEST");
        self.parcel(self.told(&format!("{arn}:{qualifier}")), Vec::new())
    }

    /// AWS's record of an invocation. Both payloads are in it as they were written.
    fn told(&self, function_arn: &str) -> String {
        let ran = u32::from(self.tried.outcome.is_ok());
        let context = json!({
            "requestId": RequestId(self.id).to_string(),
            "functionArn": function_arn,
            "condition": self.reason.map_or("Success", Reason::word),
            "approximateInvokeCount": self.event.failures.saturating_add(ran),
        });
        let (timestamp, request) = (Value::from(self.now.iso8601_millis()), &self.event.payload);
        let mut record = format!(
            r#"{{"version":"1.0","timestamp":{timestamp},"requestContext":{context},"requestPayload":{request}"#
        );
        if let Ok(answer) = &self.tried.outcome {
            let mut response = json!({"statusCode": 200, "executedVersion": answer.version});
            if let (Some(error), Value::Object(members)) = (answer.function_error, &mut response) {
                members.insert("functionError".into(), error.into());
            }
            let payload = as_json(&answer.payload);
            record.push_str(&format!(r#","responseContext":{response},"responsePayload":{payload}"#));
        }
        record.push('}');
        record
    }

    /// Belongs to the chain that the event is of, as far as that has come.
    fn parcel(&self, body: String, attributes: Vec<Attribute>) -> Parcel {
        let told = self.tried.outcome.as_ref().ok().map(|answer| answer.trace_header.clone());
        let trace_header = told.or_else(|| self.event.trace_header.clone());
        Parcel { body, attributes, trace_header, cause: self.event.cause.next(self.id) }
    }
}

/// What a function answered, if it is JSON, as most of it is; else as text.
fn as_json(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok("") => "null".into(),
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => text.to_owned(),
        _ => Value::from(String::from_utf8_lossy(payload)).to_string(),
    }
}

/// What a function says that it failed by.
/// What a function said that it failed with, as it is shown.
pub fn error_of(payload: &[u8]) -> String {
    first(&error_message(payload), ERROR_MESSAGE_BYTES_MAX).to_owned()
}

fn error_message(payload: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(payload).ok();
    let message = said.as_ref().and_then(|said| said.get("errorMessage")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(payload).into_owned(), str::to_owned)
}

/// As much of a text as fits, in whole characters.
fn first(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST";

    fn event(failures: u32) -> Event {
        let cause = base::Cause::origin(Uuid::NIL);
        let (function, payload) = ("f".to_owned(), r#"{"b": 1.50, "a": []}"#.to_owned());
        Event {
            function,
            payload,
            failures,
            cause,
            qualifier: None,
            client_context: None,
            trace_header: Some("Root=1-2-3".into()),
            tenant_id: None,
            received: Timestamp::default(),
            hold_ups: 0,
            last_error: None,
        }
    }

    fn answer(function_error: Option<&'static str>, payload: &[u8]) -> Tried {
        let trace_header = "Root=1-2-3;Lineage=0000000a:0".to_owned();
        Tried::of(Ok(Answer { version: "7".into(), function_error, payload: payload.to_vec(), trace_header }))
    }

    fn ending<'a>(event: &'a Event, tried: &'a Tried, reason: Option<Reason>) -> Ending<'a> {
        Ending { event, id: Uuid::NIL, tried, reason, now: Timestamp::from_secs(1) }
    }

    #[test]
    fn records_are_those_of_aws() {
        let (event, tried) = (event(2), answer(Some("Unhandled"), br#"{"errorMessage": "no"}"#));
        assert_eq!(
            ending(&event, &tried, Some(Reason::RetriesExhausted)).told(ARN),
            format!(
                r#"{{"version":"1.0","timestamp":"1970-01-01T00:00:01.000Z","requestContext":{{"requestId":"{}","functionArn":"{ARN}","condition":"RetriesExhausted","approximateInvokeCount":3}},"requestPayload":{{"b": 1.50, "a": []}},"responseContext":{{"statusCode":200,"executedVersion":"7","functionError":"Unhandled"}},"responsePayload":{{"errorMessage": "no"}}}}"#,
                Uuid::NIL
            )
        );
        let (event, forbidden) = (self::event(0), Tried::forbidden());
        let told = ending(&event, &forbidden, Some(Reason::ZeroReservedConcurrency)).told(ARN);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["requestContext"]["approximateInvokeCount"], 0);
        assert!(told.get("responseContext").is_none() && told.get("responsePayload").is_none(), "{told}");
    }

    #[test]
    fn an_answer_that_is_no_json_is_told_as_text() {
        assert_eq!(
            [b"1" as &[u8], b"", b"say \"a\"", b"\xff"].map(as_json),
            ["1", "null", r#""say \"a\"""#, "\"\u{fffd}\""]
        );
    }

    #[test]
    fn dead_letters_say_why_in_a_kilobyte() {
        let long = format!(r#"{{"errorMessage": "{}"}}"#, "é".repeat(1_000));
        for (tried, code, says) in [
            (answer(Some("Unhandled"), long.as_bytes()), "200", "é".repeat(512)),
            (answer(Some("Unhandled"), b"plain"), "200", "plain".into()),
            (Tried::forbidden(), "429", "Rate Exceeded.".into()),
        ] {
            let event = event(0);
            let parcel = ending(&event, &tried, Some(Reason::RetriesExhausted)).dead_letter();
            assert_eq!(parcel.body, event.payload);
            let said: Vec<_> =
                parcel.attributes.iter().map(|one| (one.name, one.data_type, one.value.as_str())).collect();
            let id = Uuid::NIL.to_string();
            let wanted = [
                ("RequestID", "String", id.as_str()),
                ("ErrorCode", "Number", code),
                ("ErrorMessage", "String", &says),
            ];
            assert_eq!(said, wanted);
        }
        let (event, silent) = (event(0), answer(Some("Unhandled"), b""));
        assert_eq!(ending(&event, &silent, Some(Reason::RetriesExhausted)).dead_letter().attributes.len(), 2);
    }
}
