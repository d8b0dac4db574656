//! Carries batches to a listener inside the sandbox, and again until it takes them or has refused them too often.
//!
//! A batch over HTTP is a JSON array, over TCP a line an event. A listener that is not there yet, breaks off or answers
//! with an error gets the batch again after a pause; over TCP nobody says that it has read anything. The time in which
//! the instance is stopped where it stands is nobody's. The task ends with the receiver of what it has sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sandbox::Sandbox;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::buffer::Dropped;
use super::subscription::Destination;
use crate::limits::{
    DELIVERY_PAUSE_FIRST, DELIVERY_PAUSE_MAX, DELIVERY_REPLY_BYTES_MAX, DELIVERY_TIMEOUT, DELIVERY_TRIES_MAX,
};

pub async fn deliver(
    mut way: Way,
    name: String,
    mut batches: mpsc::Receiver<Vec<String>>,
    sent: mpsc::Sender<Sent>,
    subscriber: usize,
) {
    let carry = async {
        while let Some(batch) = batches.recv().await {
            let body = way.body(&batch);
            let (mut pause, mut tries, mut lost) = (DELIVERY_PAUSE_FIRST, 1_u32, Dropped::default());
            while let Err(error) = way.carry(&body).await {
                tracing::debug!(extension = name, %error, "failed to deliver telemetry");
                tries = tries.saturating_add(1);
                if tries > DELIVERY_TRIES_MAX {
                    lost = Dropped { records: number(batch.len()), bytes: number(body.len()) };
                    break;
                }
                awake(pause, way.is_frozen.clone()).await;
                pause = pause.saturating_mul(2).min(DELIVERY_PAUSE_MAX);
            }
            if sent.send(Sent { subscriber, lost }).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = sent.closed() => {}
        () = carry => {}
    }
}

/// A subscriber is done with a batch.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub subscriber: usize,
    /// All of it, if it would not take it.
    pub lost: Dropped,
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Waits for so much time in which the instance runs.
async fn awake(mut time: Duration, mut is_frozen: watch::Receiver<bool>) {
    loop {
        // Whoever freezes it is gone at its end alone.
        is_frozen.wait_for(|is_frozen| !is_frozen).await.ok();
        let began = Instant::now();
        let freezes = async { is_frozen.wait_for(|is_frozen| *is_frozen).await.is_ok() };
        tokio::select! {
            () = sleep(time) => return,
            true = freezes => time = time.saturating_sub(began.elapsed()),
        }
    }
}

/// To a listener.
pub struct Way {
    sandbox: Arc<Sandbox>,
    destination: Destination,
    is_frozen: watch::Receiver<bool>,
    /// Over TCP, which is one stream for all.
    stream: Option<TcpStream>,
}

impl Way {
    pub fn new(sandbox: Arc<Sandbox>, destination: Destination, is_frozen: watch::Receiver<bool>) -> Way {
        Way { sandbox, destination, is_frozen, stream: None }
    }

    fn body(&self, batch: &[String]) -> Bytes {
        match self.destination {
            Destination::Http { .. } => format!("[{}]", batch.join(",")).into(),
            Destination::Tcp { .. } => batch.iter().flat_map(|event| [event.as_str(), "\n"]).collect::<String>().into(),
        }
    }

    async fn carry(&mut self, body: &Bytes) -> io::Result<()> {
        let late = awake(DELIVERY_TIMEOUT, self.is_frozen.clone());
        let once = async {
            match self.destination.clone() {
                Destination::Http { port, path, is_put } => self.request(port, &path, is_put, body).await,
                Destination::Tcp { port } => self.write(port, body).await,
            }
        };
        tokio::select! {
            done = once => done,
            () = late => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn request(&self, port: u16, path: &str, is_put: bool, body: &Bytes) -> io::Result<()> {
        let stream = self.sandbox.connect(port).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = Request::builder()
            .method(if is_put { Method::PUT } else { Method::POST })
            .uri(path)
            .header("host", format!("sandbox.localdomain:{port}"))
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .map_err(io::Error::other)?;
        let exchange = async {
            let reply = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = reply.status();
            // Read, so that its sender may finish it; what it says is nobody's affair.
            Limited::new(reply.into_body(), DELIVERY_REPLY_BYTES_MAX).collect().await.ok();
            if status.is_success() { Ok(()) } else { Err(io::Error::other(format!("it answered {status}"))) }
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // The connection may end with the reply that it brought.
            _ = connection => {
                timeout(Duration::ZERO, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    async fn write(&mut self, port: u16, body: &Bytes) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.sandbox.connect(port).await?,
        };
        stream.write_all(body).await?;
        // Kept only while it is whole.
        self.stream = Some(stream);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{Spec, Status};

    use super::*;

    async fn way(port: u16) -> (Way, watch::Sender<bool>) {
        let isolation = sandbox::fake(|_| Status::Code(0));
        let sandbox = Arc::new(isolation.start(Spec::new("telemetry", 1)).await.unwrap());
        let is_frozen = watch::Sender::new(false);
        let destination = Destination::Http { port, path: "/".into(), is_put: false };
        (Way::new(sandbox, destination, is_frozen.subscribe()), is_frozen)
    }

    /// Time passes as fast as nobody works. Nobody listens at a port that was given back, and at the other one nobody
    /// answers.
    #[tokio::test(start_paused = true)]
    async fn a_batch_that_nobody_takes_is_given_up_and_the_next_is_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for listener in [Some(listener), None] {
            let (way, _is_frozen) = way(port).await;
            let ((batches, received), (sent, mut done)) = (mpsc::channel(1), mpsc::channel(1));
            let delivering = deliver(way, "x".into(), received, sent, 3);
            let watching = async move {
                for _ in 0..2 {
                    batches.send(vec!["{}".into(), "{}".into()]).await.unwrap();
                    let Sent { subscriber, lost } = done.recv().await.unwrap();
                    assert_eq!((subscriber, lost), (3, Dropped { records: 2, bytes: 7 }));
                }
                drop(done);
            };
            tokio::join!(delivering, watching);
            drop(listener);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_an_instance_is_stopped_does_not_count() {
        let second = Duration::from_secs(1);
        let is_frozen = watch::Sender::new(true);
        let began = Instant::now();
        let freezing = async {
            sleep(10 * second).await;
            is_frozen.send_replace(false);
            sleep(second).await;
            is_frozen.send_replace(true);
            sleep(10 * second).await;
            is_frozen.send_replace(false);
        };
        tokio::join!(awake(3 * second, is_frozen.subscribe()), freezing);
        assert_eq!(began.elapsed(), 23 * second);
    }
}
