//! The queue, and who empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base::{Clock, Timestamp};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::encode::{self, Counter, Item};
use crate::send::{Collector, SendError};

/// What may wait for the collector.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
const QUEUE_ITEMS_MAX: usize = 65_536;
/// A batch, and how long its first item waits for others.
const BATCH_ITEMS_MAX: usize = 2_048;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// Between tries of one batch.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// So long a batch is tried.
const TRY_MAX: Duration = Duration::from_secs(300);
const METRICS_EVERY: Duration = Duration::from_secs(15);

/// Tells the counters of functions as they stand.
pub type Metrics = Arc<dyn Fn() -> Vec<Counter> + Send + Sync>;

/// Cheap to clone; all clones are the same exporter.
#[derive(Clone)]
pub struct Exporter(Arc<Inner>);

struct Inner {
    collector: Collector,
    clock: Arc<dyn Clock>,
    began: Timestamp,
    queue: mpsc::Sender<Item>,
    queued: Mutex<mpsc::Receiver<Item>>,
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Exporter {
    pub fn new(collector: Collector, clock: Arc<dyn Clock>) -> Exporter {
        let (queue, queued) = mpsc::channel(QUEUE_ITEMS_MAX);
        let began = clock.now();
        let queued = Mutex::new(queued);
        let (queued_bytes, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Exporter(Arc::new(Inner { collector, clock, began, queue, queued, queued_bytes, dropped }))
    }

    /// Takes an item, if there is room. It neither waits nor fails.
    pub fn offer(&self, item: Item) {
        let bytes = item.bytes();
        let held = self.0.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if held.saturating_add(bytes) > QUEUE_BYTES_MAX || self.0.queue.try_send(item).is_err() {
            self.0.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Items that no collector got.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Sends what is offered, until it is cancelled.
    pub async fn run(&self) {
        let mut queued = self.0.queued.lock().await;
        while let Some(first) = queued.recv().await {
            let batch = self.batch(first, &mut queued).await;
            let now = self.0.clock.now();
            let bodies = [("/v1/logs", encode::logs(&batch, now)), ("/v1/traces", encode::spans(&batch))];
            for (path, body) in bodies {
                if let Some(body) = body
                    && !self.deliver(path, &body).await
                {
                    self.0.dropped.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            }
            // Only now, so that what is on its way counts as well.
            let bytes: usize = batch.iter().map(Item::bytes).sum();
            self.0.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Sends counters from time to time, until it is cancelled.
    pub async fn run_metrics(&self, metrics: Metrics) {
        let mut due = Instant::now();
        loop {
            due = due.checked_add(METRICS_EVERY).unwrap_or(due);
            sleep_until(due).await;
            // What is not taken is told again by the next.
            if let Some(body) = encode::metrics(&metrics(), self.0.began, self.0.clock.now())
                && let Err(error) = self.0.collector.send("/v1/metrics", self.0.collector.body(&body)).await
            {
                tracing::debug!(%error, "metrics were not exported");
            }
        }
    }

    async fn batch(&self, first: Item, queued: &mut mpsc::Receiver<Item>) -> Vec<Item> {
        let until = Instant::now().checked_add(BATCH_WAIT).unwrap_or_else(Instant::now);
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(Some(item)) = timeout_at(until, queued.recv()).await else { break };
            bytes = bytes.saturating_add(item.bytes());
            batch.push(item);
        }
        batch
    }

    /// Sends a body until it is taken; `false` if it is given up.
    async fn deliver(&self, path: &str, body: &Value) -> bool {
        let body = self.0.collector.body(body);
        let (began, mut pause) = (Instant::now(), PAUSE_FIRST);
        loop {
            match self.0.collector.send(path, body.clone()).await {
                Ok(()) => return true,
                Err(SendError::Later(why)) if began.elapsed() < TRY_MAX => {
                    tracing::debug!(why, "telemetry waits for its collector");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
                Err(error) => {
                    tracing::warn!(%error, endpoint = %self.0.collector.endpoint(), "telemetry is lost");
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::ManualClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::encode::tests::{log, stream};
    use crate::settings::{Compression, Settings};

    fn exporter(port: u16) -> Exporter {
        let endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
        let (headers, compression) = ("api-key=k".parse().unwrap(), Compression::None);
        let collector = Collector::new(Settings { endpoint, headers, certificate: None, compression }).unwrap();
        Exporter::new(collector, Arc::new(ManualClock::at(Timestamp::from_secs(1))))
    }

    /// Reads a request whole and answers it; gives its head and body.
    async fn answer(listener: &TcpListener, status: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
                return text;
            }
        }
    }

    #[tokio::test]
    async fn what_is_refused_for_now_is_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let exporter = exporter(listener.local_addr().unwrap().port());
        let stream = stream("f");
        exporter.offer(log(&stream, "hello\n"));
        let taken = async {
            let first = answer(&listener, "503 Service Unavailable").await;
            let second = answer(&listener, "200 OK").await;
            (first, second)
        };
        tokio::select! {
            () = exporter.run() => unreachable!("it runs for ever"),
            (first, second) = taken => {
                assert!(first.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{first}");
                assert!(first.contains(r#""stringValue":"hello""#), "{first}");
                assert!(first.contains("api-key: k\r\n"), "{first}");
                assert_eq!(first, second);
            }
        }
        assert_eq!(exporter.dropped(), 0);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted() {
        let exporter = exporter(1);
        let stream = stream("f");
        let large = "x".repeat(1024 * 1024);
        (0..10).for_each(|_| exporter.offer(log(&stream, &large)));
        assert_eq!(exporter.dropped(), 3);
    }
}
