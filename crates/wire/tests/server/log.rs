//! What the log says of a request, and what it must not.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;

use crate::support::{Raw, Setup, call, start};

/// Collects what is logged. The log is the whole process's, so lines of other tests are among it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a request, each parsed, by its id.
fn lines_of(log: &Log, id: &str) -> Vec<serde_json::Value> {
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains(id)).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty(), "no line of {id} in {log}");
    lines
}

#[tokio::test]
async fn a_failure_is_logged_with_its_request_and_without_what_the_caller_sent() {
    let log = Log::default();
    let (writer, log_of_all) = (log.clone(), log.clone());
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).json().with_writer(move || writer.clone()).init();
    let server = start(Setup::default()).await;
    let mut client = Raw::connect(&server).await;
    client.send(call("Fail", "{}")).await;
    let answer = client.answer().await.unwrap();
    assert!(answer.body.contains("hunter2"), "{answer:?}");
    let id = answer.header("x-amzn-requestid").unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no line of {id} in {log}"));
    assert!(line.contains("the disk is gone") && line.contains("500"), "{line}");
    assert!(!log.contains("hunter2"), "{log}");
    last_line_sums_up(&lines_of(&log_of_all, id), "InternalFailure");
    client.send(call("Unheard", "{}")).await;
    let answer = client.answer().await.unwrap();
    let id = answer.header("x-amzn-requestid").unwrap();
    last_line_sums_up(&lines_of(&log_of_all, id), "UnknownOperationException");
    client.send(call("Panic", "{}")).await;
    let answer = client.answer().await.unwrap();
    let lines = lines_of(&log_of_all, answer.header("x-amzn-requestid").unwrap());
    assert!(lines.iter().any(|line| line.to_string().contains("panicked")), "{lines:?}");
    last_line_sums_up(&lines, "InternalFailure");
    assert_eq!(lines.last().unwrap()["fields"]["operation"], "Panic");
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.0"));
}

fn last_line_sums_up(lines: &[serde_json::Value], code: &str) {
    let fields = &lines.last().unwrap()["fields"];
    assert_eq!((&fields["message"], &fields["error"]), (&"answered".into(), &code.into()), "{lines:?}");
    assert!(fields["took_us"].is_u64() && fields["status"].is_u64(), "{lines:?}");
}
