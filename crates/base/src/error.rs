//! The error that an operation answers with: AWS's code, status and words, and what only the log may see.

use std::fmt::{self, Write};

/// Whose mistake it was. Clients retry the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Client,
    Server,
}

/// An error as a client of AWS receives it.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsError {
    /// Such as `ResourceNotFoundException`.
    pub code: String,
    pub status: u16,
    pub fault: Fault,
    /// AWS's wording, for the caller.
    pub message: String,
    /// Further members of the error's shape, such as Lambda's `Type`, in order.
    pub members: Vec<(&'static str, String)>,
    /// For the log only: it may name paths and causes that no caller should see.
    pub detail: Option<String>,
}

impl AwsError {
    /// The caller's mistake.
    pub fn client(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            status,
            fault: Fault::Client,
            message: message.into(),
            members: Vec::new(),
            detail: None,
        }
    }

    /// Ours. Says nothing to the caller; `detail` goes to the log with the request id.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self {
            code: "InternalFailure".into(),
            status: 500,
            fault: Fault::Server,
            message: "The request processing has failed because of an unknown error, exception or failure.".into(),
            members: Vec::new(),
            detail: Some(detail.to_string()),
        }
    }

    /// We cannot take the request now; the client should come back.
    pub fn unavailable(detail: impl fmt::Display) -> Self {
        Self {
            code: "ServiceUnavailable".into(),
            status: 503,
            message: "The request has failed due to a temporary failure of the server.".into(),
            ..Self::internal(detail)
        }
    }

    /// What AWS takes here and Lamplight does not yet, such as `functions from container images`. It counts as the
    /// caller's mistake: nothing has failed, and coming back does not help.
    pub fn not_built(what: impl fmt::Display) -> Self {
        Self::client(501, "NotImplementedException", format!("Lamplight does not implement {what} yet."))
    }

    pub fn with_member(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

/// What the log may have: the message and the members are the caller's and may repeat what the caller sent, secrets
/// among it.
impl fmt::Debug for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Escaped(&self.code), self.status)?;
        match &self.detail {
            Some(detail) => write!(f, " [{}]", Escaped(detail)),
            None => Ok(()),
        }
    }
}

/// Text that stays on its line and moves no cursor, whoever wrote it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

impl std::error::Error for AwsError {}

/// An error and the causes below it in one line: "outer: cause: cause". A cause whose words the one above it already
/// ends with, as a transparent error's do, is not said twice.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("open the store")]
        Named(#[source] Inner),
        #[error(transparent)]
        Transparent(#[from] Inner),
        #[error("quote it ({0})")]
        Quoting(#[source] io::Error),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("read page 7")]
    struct Inner(#[source] io::Error);

    #[test]
    fn every_cause_is_said_once() {
        let inner = || Inner(io::Error::other("no such device"));
        assert_eq!(with_causes(&Outer::Named(inner())), "open the store: read page 7: no such device");
        assert_eq!(with_causes(&Outer::Transparent(inner())), "read page 7: no such device");
        // An `io::Error` that wraps another error says what that one says.
        assert_eq!(with_causes(&io::Error::other(inner())), "read page 7: no such device");
        let quoting = Outer::Quoting(io::Error::other("no such device"));
        assert_eq!(with_causes(&quoting), "quote it (no such device): no such device");
        assert_eq!(with_causes(&io::Error::other("alone")), "alone");
    }

    #[test]
    fn an_error_is_one_line_of_the_log() {
        let error = AwsError::internal("the action \"é\"\r\n2026 INFO all is well\u{1b}[2J\u{9b}2J");
        let line = r#"InternalFailure (500) [the action "é"\r\n2026 INFO all is well\u{1b}[2J\u{9b}2J]"#;
        assert_eq!(format!("{error:?}"), line);
    }

    #[test]
    fn what_a_caller_sent_is_not_in_the_log() {
        let error = AwsError::client(400, "InvalidParameterValueException", "Environment: {PASSWORD=hunter2}");
        let error = error.with_member("Value", "hunter2").with_detail("5,000 bytes");
        assert_eq!(format!("{error:?}"), "InvalidParameterValueException (400) [5,000 bytes]");
    }

    #[test]
    fn what_is_not_built_says_so_and_is_no_failure_of_ours() {
        let error = AwsError::not_built(format_args!("{}:{}", "lambda", "Invoke"));
        assert_eq!(error.to_string(), "NotImplementedException (501): Lamplight does not implement lambda:Invoke yet.");
        assert_eq!((error.fault, error.detail), (Fault::Client, None));
    }
}
