//! What a function's log says of its invocation: the line `REPORT`, which comes with the answer.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};

use crate::answer::Answer;
use crate::functions::Function;
use crate::peer::Peer;

#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// From the start of the runtime's process until the handler is loaded; not a number where that was before.
    pub init_ms: f64,
    pub handler_ms: f64,
}

impl Report {
    pub fn of(answer: &Answer) -> Result<Report> {
        let tail = STANDARD.decode(answer.header("x-amz-log-result").unwrap_or_default());
        let tail = tail.context("read the end of a log")?;
        Ok(Report::read(&String::from_utf8_lossy(&tail)))
    }

    fn read(tail: &str) -> Report {
        let figure = |name: &str| {
            let found = tail.split('\t').find_map(|part| part.trim().strip_prefix(name)?.strip_suffix(" ms"));
            found.and_then(|figure| figure.trim().parse().ok()).unwrap_or(f64::NAN)
        };
        Report { init_ms: figure("Init Duration:"), handler_ms: figure("Duration:") }
    }

    /// Whether this invocation began an instance.
    pub fn is_cold(&self) -> bool {
        !self.init_ms.is_nan()
    }
}

/// A signed invocation that asks for the report.
pub fn invocation(peer: &Peer, function: &str, event: &str) -> Result<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-log-type", HeaderValue::from_static("Tail"));
    peer.signed_with(headers, Method::POST, &Function::invoke_path(function), event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_is_cold_if_its_report_has_an_init() {
        let line = "REPORT RequestId: 1\tDuration: 1.70 ms\tBilled Duration: 99 ms\tMemory Size: 128 MB\t";
        let warm = Report::read(line);
        assert!(!warm.is_cold() && warm.handler_ms == 1.7);
        let cold = Report::read(&format!("{line}Init Duration: 96.32 ms\t\n"));
        assert!(cold.is_cold() && cold.init_ms == 96.32);
    }
}
