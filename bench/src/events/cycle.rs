//! Messages that are sent, received and deleted, over and over: what a queue can do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::sqs::{Queue, received};
use crate::answer::Answer;
use crate::disk::Synced;
use crate::functions::{EVENT, Function};
use crate::load::{self, Figures, connect, exchange};
use crate::peer::Peer;
use crate::rounds::{rounds, undisturbed};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);
const WARMING: Duration = Duration::from_millis(300);
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const FIRST_CONNECTIONS: usize = 16;
/// Looks for a message in one cycle: others may have taken what was sent, and theirs is there in a moment.
const LOOKS_MAX: usize = 1_000;
/// Requests of a cycle.
const REQUESTS: f64 = 3.0;

/// The goals.
const OF_CEILING: f64 = 0.45;
const OF_MINISTACK: f64 = 20.0;

pub fn run() -> Result<()> {
    let (ceiling, lamp) = (Peer::ceiling("native")?, Peer::lamp_with(&[])?);
    let (ministack, moto) = (Peer::ministack()?, Peer::moto()?);
    let invoke = ceiling.signed(Method::POST, &Function::invoke_path("native"), EVENT)?;
    let queues = [&lamp, &ministack, &moto].map(|peer| Ok((peer, Arc::new(Requests::new(peer)?))));
    let queues = queues.into_iter().collect::<Result<Vec<_>>>()?;
    // A new server's files grow; one that has run for a while writes its log again.
    for (_, requests) in &queues {
        sample(requests, FIRST_CONNECTIONS)?;
    }
    println!(
        "{:<12}{:>6}{:>14}{:>10}{:>10}{:>15}{:>22}",
        "", "conns", "cycles/s", "p50 us", "p99 us", "lamp's / rate", "of ceiling's rate / 3"
    );
    for connections in CONNECTIONS {
        let (mut disk, mut most, mut figures) = (Vec::new(), Vec::new(), vec![Vec::new(); queues.len()]);
        for _ in 0..rounds(ROUNDS) {
            disk.push(Synced::measure()?);
            let ceiling = || load::run_warm(ceiling.port, &vec![invoke.clone(); connections], WARMING, TIME);
            most.push(undisturbed(ceiling)?);
            for ((_, requests), figures) in queues.iter().zip(&mut figures) {
                figures.push(undisturbed(|| sample(requests, connections))?);
            }
        }
        print(connections, Figures::medians(&most), &queues, &figures);
        Synced::print(&disk);
    }
    println!("(goals at 16: {OF_CEILING} of the ceiling's rate / 3, {OF_MINISTACK} x MiniStack)");
    Ok(())
}

fn print(connections: usize, ceiling: Figures, queues: &[(&Peer, Arc<Requests>)], figures: &[Vec<Figures>]) {
    let most = ceiling.per_second / REQUESTS;
    println!("{:<12}{connections:>6}{:>14}", "ceiling / 3", format!("{most:.0}"));
    let medians: Vec<Figures> = figures.iter().map(|rounds| Figures::medians(rounds)).collect();
    let ours = medians.first().map_or(f64::NAN, |ours| ours.per_second);
    for ((peer, _), figures) in queues.iter().zip(&medians) {
        println!(
            "{:<12}{connections:>6}{:>14.0}{:>10.1}{:>10.1}{:>15.2}{:>22.2}",
            peer.name,
            figures.per_second,
            figures.p50_us,
            figures.p99_us,
            ours / figures.per_second,
            figures.per_second / most
        );
    }
}

/// A queue, and the requests that are the same in each cycle.
struct Requests {
    port: u16,
    queue: Queue,
    send: Vec<u8>,
    receive: Vec<u8>,
}

impl Requests {
    fn new(peer: &Peer) -> Result<Self> {
        let queue = Queue::make(peer, "cycle")?;
        let send = queue.request("SendMessage", json!({ "MessageBody": "x".repeat(100) }))?;
        let receive = queue.request("ReceiveMessage", json!({}))?;
        Ok(Self { port: peer.port, queue, send, receive })
    }
}

fn sample(requests: &Arc<Requests>, connections: usize) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(one_connection(Arc::clone(requests)));
        }
        let mut micros = Vec::new();
        while let Some(done) = tasks.join_next().await {
            micros.extend(done??);
        }
        Ok(Figures::of(micros, TIME))
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
async fn one_connection(requests: Arc<Requests>) -> Result<Vec<f64>> {
    let begin = Instant::now() + WARMING;
    let end = begin + TIME;
    let mut line = Line { port: requests.port, stream: connect(requests.port).await? };
    let mut micros = Vec::with_capacity(1 << 15);
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(micros);
        }
        line.cycle(&requests).await?;
        if start >= begin {
            micros.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
    }
}

struct Line {
    port: u16,
    stream: TcpStream,
}

impl Line {
    async fn cycle(&mut self, requests: &Requests) -> Result<()> {
        self.send(&requests.send).await?;
        for _ in 0..LOOKS_MAX {
            let answer = self.send(&requests.receive).await?;
            if let Some(message) = received(&answer.body)? {
                let body = json!({ "ReceiptHandle": message.receipt });
                self.send(&requests.queue.request("DeleteMessage", body)?).await?;
                return Ok(());
            }
        }
        bail!("receive a message: there is none");
    }

    async fn send(&mut self, request: &[u8]) -> Result<Answer> {
        let answer = exchange(&mut self.stream, request).await?;
        answer.check()?;
        if !answer.stays {
            self.stream = connect(self.port).await?;
        }
        Ok(answer)
    }
}
