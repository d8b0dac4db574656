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

#[tokio::test]
async fn a_failure_is_logged_with_its_request_and_without_what_the_caller_sent() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(move || writer.clone()).init();
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
}
