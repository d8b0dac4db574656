//! Requests that are sent when they are due, whether those before them are answered or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::load::{connect, exchange};

pub struct Call {
    pub due: Duration,
    pub request: Vec<u8>,
}

/// How a call went.
pub struct Reply {
    /// Which of the calls it was.
    pub number: usize,
    /// Whatever the server said, if it did.
    pub answer: Result<Answer>,
    /// From the moment at which the call was due.
    pub ms: f64,
}

impl Reply {
    /// The answer of a server that could do what it was asked for.
    pub fn answered(self) -> Result<Answer> {
        let answer = self.answer?;
        answer.check()?;
        Ok(answer)
    }
}

/// Servers close connections that nobody uses for longer than this, or twice as long.
const UNUSED_MAX: Duration = Duration::from_secs(50);

/// Connections that nobody uses at the moment, and since when.
struct Pool {
    port: u16,
    free: Mutex<Vec<(TcpStream, Instant)>>,
}

/// Makes `calls`, which are in the order in which they are due, over as many connections as that takes; `opened` of them
/// are open before the first is due. What is not answered within `patience` never is.
pub fn play(port: u16, calls: Vec<Call>, opened: usize, patience: Duration) -> Result<Vec<Reply>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let pool = Arc::new(Pool { port, free: Mutex::new(Vec::new()) });
        for _ in 0..opened {
            let stream = connect(port).await?;
            pool.free.lock().await.push((stream, now()));
        }
        let mut replies = Vec::with_capacity(calls.len());
        let mut tasks = JoinSet::new();
        let begin = now();
        for (number, call) in calls.into_iter().enumerate() {
            let due = begin + call.due;
            if due > now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let pool = Arc::clone(&pool);
            tasks.spawn(async move {
                let answer = timeout(patience, pool.send(&call.request)).await;
                let answer = answer.unwrap_or_else(|_| Err(anyhow!("wait for an answer: it took too long")));
                Reply { number, answer, ms: due.elapsed().as_secs_f64() * 1e3 }
            });
            while let Some(done) = tasks.try_join_next() {
                replies.push(done?);
            }
        }
        while let Some(done) = tasks.join_next().await {
            replies.push(done?);
        }
        Ok(replies)
    })
}

/// Makes the calls of `requests`, again and again in their order, `at_once` at any moment, until `time` is over.
pub fn keep_busy(port: u16, requests: &[Vec<u8>], at_once: usize, time: Duration) -> Result<Vec<Reply>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let pool = Arc::new(Pool { port, free: Mutex::new(Vec::new()) });
        let mut replies = Vec::new();
        let mut tasks = JoinSet::new();
        let begin = now();
        for (number, request) in requests.iter().enumerate().cycle() {
            if begin.elapsed() >= time {
                break;
            }
            let (pool, request) = (Arc::clone(&pool), request.clone());
            tasks.spawn(async move {
                let sent = now();
                let answer = pool.send(&request).await;
                Reply { number, answer, ms: sent.elapsed().as_secs_f64() * 1e3 }
            });
            if tasks.len() >= at_once
                && let Some(done) = tasks.join_next().await
            {
                replies.push(done?);
            }
        }
        // What is answered later does not count, but it must be answered.
        while let Some(done) = tasks.join_next().await {
            done?.answered()?;
        }
        Ok(replies)
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

impl Pool {
    async fn send(&self, request: &[u8]) -> Result<Answer> {
        let free = self.free.lock().await.pop();
        let mut stream = match free.filter(|(_, since)| since.elapsed() < UNUSED_MAX) {
            Some((stream, _)) => stream,
            None => connect(self.port).await?,
        };
        let answer = exchange(&mut stream, request).await?;
        if answer.stays {
            self.free.lock().await.push((stream, now()));
        }
        Ok(answer)
    }
}
