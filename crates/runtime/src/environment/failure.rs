//! How a runtime can break, and what AWS says of it to the caller.

use std::time::Duration;

use base::record::Failure;
use sandbox::{Exit, Status};
use serde_json::json;

/// Why an init or an invocation ended without its runtime's own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breakage {
    /// Over its time.
    Timeout(Duration),
    Exited(Exit),
    /// The program could not be started; in AWS's words for it.
    NotStarted(String),
    /// It posted an error in init: type and body, which the caller gets as they are.
    InitError {
        kind: String,
        body: Vec<u8>,
    },
    /// It answered with more than a response may be.
    TooLarge,
    /// It did not keep to the protocol; for the server's log.
    Protocol(&'static str),
    /// An extension broke; its type, such as `Extension.Crash`, and AWS's words for it.
    Extension {
        kind: String,
        message: String,
    },
}

impl Breakage {
    pub fn extension(kind: &str, message: String) -> Breakage {
        Breakage::Extension { kind: kind.to_owned(), message }
    }

    /// An extension's process ended without being asked to.
    pub fn crash(exit: Exit) -> Breakage {
        let message = if exit.status == Status::Code(0) { "exit code 0".to_owned() } else { ended(exit) };
        Breakage::extension("Extension.Crash", message)
    }

    /// The same, if an extension had said before that it failed.
    pub fn blamed_on(self, fatal: Option<&str>) -> Breakage {
        match (fatal, self) {
            (Some(kind), Breakage::Exited(exit)) => Breakage::extension(kind, told(exit)),
            (Some(kind), Breakage::Extension { message, .. }) => Breakage::extension(kind, message),
            (_, breakage) => breakage,
        }
    }

    /// What the Logs API tells of it.
    pub fn fault(&self, request_id: &str) -> Option<String> {
        let message = match self {
            Breakage::Exited(exit) => told(*exit),
            Breakage::NotStarted(message) | Breakage::Extension { message, .. } => message.clone(),
            _ => return None,
        };
        Some(format!("RequestId: {request_id} Error: {message}\n{}\n", self.kind()))
    }

    /// What the caller gets.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let (kind, message) = match self {
            Breakage::InitError { body, .. } => return body.clone(),
            Breakage::TooLarge => (
                "Function.ResponseSizeTooLarge",
                format!(
                    "Response payload size exceeded maximum allowed payload size ({} bytes).",
                    crate::limits::RESPONSE_BYTES_MAX
                ),
            ),
            Breakage::Timeout(timeout) => (
                "Sandbox.Timedout",
                format!("RequestId: {request_id} Error: Task timed out after {:.2} seconds", timeout.as_secs_f64()),
            ),
            Breakage::Extension { kind, message } => {
                (kind.as_str(), format!("RequestId: {request_id} Error: {message}"))
            }
            Breakage::NotStarted(why) => ("Runtime.InvalidEntrypoint", format!("RequestId: {request_id} Error: {why}")),
            Breakage::Exited(exit) => ("Runtime.ExitError", format!("RequestId: {request_id} Error: {}", told(*exit))),
            Breakage::Protocol(_) => (
                "Runtime.ExitError",
                format!("RequestId: {request_id} Error: Runtime exited without providing a reason"),
            ),
        };
        let first = if matches!(self, Breakage::TooLarge) { First::Message } else { First::Type };
        error_json(first, kind, &message).into_bytes()
    }

    /// The type in reports, and in the end of a response that had begun.
    pub fn kind(&self) -> &str {
        match self {
            Breakage::Timeout(_) => "Sandbox.Timedout",
            Breakage::Exited(exit) if exit.out_of_memory => "Runtime.OutOfMemory",
            Breakage::Exited(_) | Breakage::Protocol(_) => "Runtime.ExitError",
            Breakage::NotStarted(_) => "Runtime.InvalidEntrypoint",
            Breakage::InitError { kind, .. } | Breakage::Extension { kind, .. } => kind,
            Breakage::TooLarge => "Function.ResponseSizeTooLarge",
        }
    }

    pub fn failure(&self) -> Failure {
        match self {
            Breakage::Timeout(_) => Failure::Timeout,
            Breakage::TooLarge => Failure::Handler(self.kind().to_owned()),
            _ => Failure::Broke(self.kind().to_owned()),
        }
    }
}

/// AWS writes what its Runtime API says with the message first, and what it says of a function with the type first.
#[derive(Debug, Clone, Copy)]
pub enum First {
    Message,
    Type,
}

/// An error as AWS writes it.
pub fn error_json(first: First, kind: &str, message: &str) -> String {
    match first {
        First::Message => json!({ "errorMessage": message, "errorType": kind }),
        First::Type => json!({ "errorType": kind, "errorMessage": message }),
    }
    .to_string()
}

fn told(exit: Exit) -> String {
    match exit.status {
        Status::Code(0) => "Runtime exited without providing a reason".to_owned(),
        _ => format!("Runtime exited with error: {}", ended(exit)),
    }
}

fn ended(exit: Exit) -> String {
    match exit.status {
        Status::Code(code) => format!("exit status {code}"),
        Status::Signal(signal) => match signal_name(signal) {
            Some(name) => format!("signal: {name}"),
            None => format!("signal: signal {signal}"),
        },
    }
}

/// Linux's signals, in the words that AWS has for them.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        _ => return None,
    })
}

/// How the types begin that runtimes name.
pub const BY_RUNTIMES: [&str; 2] = ["Runtime.", "Function."];

/// An error's type as reports show it: what a runtime or an extension says, if it looks like one of AWS's, which begin
/// so.
pub fn kind(said: &str, beginnings: &[&str], otherwise: &str) -> String {
    let name = beginnings.iter().find_map(|beginning| said.strip_prefix(beginning));
    let is_name = |name: &str| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
    };
    if name.is_some_and(is_name) { said.to_owned() } else { otherwise.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_of_aws_s_form_are_shown() {
        for (said, shown) in [
            ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
            ("Function.X", "Function.Unknown"),
            ("Function.Xy", "Function.Xy"),
            ("Exception", "Function.Unknown"),
            ("Runtime.no\t", "Function.Unknown"),
        ] {
            assert_eq!(kind(said, &BY_RUNTIMES, "Function.Unknown"), shown);
        }
    }
}
