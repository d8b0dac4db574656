//! The load: connections that send one request again and again, and how long each answer took.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::rounds::{median, percentile};

/// What a run of requests took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Figures {
    /// Of what each thing took in microseconds, all within `time`.
    pub fn of(mut micros: Vec<f64>, time: Duration) -> Self {
        micros.sort_unstable_by(f64::total_cmp);
        let per_second = micros.len() as f64 / time.as_secs_f64();
        Self { per_second, p50_us: percentile(&micros, 0.5), p99_us: percentile(&micros, 0.99) }
    }

    pub fn medians(rounds: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(rounds.iter().map(pick));
        Self { per_second: of(|f| f.per_second), p50_us: of(|f| f.p50_us), p99_us: of(|f| f.p99_us) }
    }
}

/// Sends over each connection its own one of `requests`, again and again for `time`. An answer of 300 or more fails.
pub fn run(port: u16, requests: &[Vec<u8>], time: Duration) -> Result<Figures> {
    run_warm(port, requests, Duration::ZERO, time)
}

/// The same after `warming`, which does not count.
pub fn run_warm(port: u16, requests: &[Vec<u8>], warming: Duration, time: Duration) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for request in requests {
            tasks.spawn(one_connection(port, request.clone(), warming, time));
        }
        let mut micros = Vec::new();
        while let Some(done) = tasks.join_next().await {
            micros.extend(done??);
        }
        Ok(Figures::of(micros, time))
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
async fn one_connection(port: u16, request: Vec<u8>, warming: Duration, time: Duration) -> Result<Vec<f64>> {
    let begin = Instant::now() + warming;
    let end = begin + time;
    let mut stream = connect(port).await?;
    let mut bytes = Vec::with_capacity(64 * 1024);
    let mut micros = Vec::with_capacity(1 << 16);
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(micros);
        }
        stream.write_all(&request).await?;
        bytes.clear();
        if !read_answer(&mut stream, &mut bytes).await? {
            // A server without keep-alive makes its clients connect each time, so that belongs to its time.
            stream = connect(port).await?;
        }
        if start >= begin {
            micros.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
    }
}

pub async fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer to its end, and tells whether the connection stays; fails if the answer is an error.
async fn read_answer(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<bool> {
    loop {
        if stream.read_buf(bytes).await? == 0 {
            bail!("read an answer: the connection was closed");
        }
        if let Some(answer) = Answer::parse(bytes)? {
            answer.check()?;
            return Ok(answer.stays);
        }
    }
}

/// Sends a request and reads what the server answers, whatever it says.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer> {
    stream.write_all(request).await?;
    let mut bytes = Vec::with_capacity(4 * 1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("read an answer: the connection was closed");
        }
        if let Some(answer) = Answer::parse(&bytes)? {
            return Ok(answer);
        }
    }
}

/// One connection that sends requests one after another.
pub struct Client {
    port: u16,
    stream: std::net::TcpStream,
}

impl Client {
    pub fn new(port: u16) -> Result<Self> {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { port, stream })
    }

    /// Sends a request and takes its answer, whatever it says.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request)?;
        let mut bytes = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                bail!("read an answer: the connection was closed");
            }
            bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(answer) = Answer::parse(&bytes)? {
                if !answer.stays {
                    *self = Self::new(self.port)?;
                }
                return Ok(answer);
            }
        }
    }
}

/// Sends one request `count` times over so many connections, each after the answer to the one before.
pub fn send_all(port: u16, request: &[u8], connections: u64, count: u64) -> Result<()> {
    std::thread::scope(|scope| {
        let share = |number: u64| count / connections + u64::from(number < count % connections);
        let one = |number| {
            scope.spawn(move || -> Result<()> {
                let mut client = Client::new(port)?;
                (0..share(number)).try_for_each(|_| client.send(request)?.check())
            })
        };
        let threads: Vec<_> = (0..connections).map(one).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("send requests: a thread ended"),
        })
    })
}
