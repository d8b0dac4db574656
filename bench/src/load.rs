//! The load: connections that send one request again and again, and how long each answer took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a run of requests took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Sends over each connection its own one of `requests`, again and again for `time`. An answer of 300 or more fails.
pub fn run(port: u16, requests: &[Vec<u8>], time: Duration) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for request in requests {
            tasks.spawn(one_connection(port, request.clone(), time));
        }
        let mut micros = Vec::new();
        while let Some(done) = tasks.join_next().await {
            micros.extend(done??);
        }
        micros.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Ok(Figures { per_second: micros.len() as f64 / time.as_secs_f64(), p50_us: at(0.5), p99_us: at(0.99) })
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
async fn one_connection(port: u16, request: Vec<u8>, time: Duration) -> Result<Vec<f64>> {
    let mut stream = connect(port).await?;
    let mut answer = Vec::with_capacity(64 * 1024);
    let mut micros = Vec::with_capacity(1 << 16);
    let end = Instant::now() + time;
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(micros);
        }
        stream.write_all(&request).await?;
        answer.clear();
        if !read_answer(&mut stream, &mut answer).await? {
            // A server without keep-alive makes its clients connect each time, so that belongs to its time.
            stream = connect(port).await?;
        }
        micros.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
}

async fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer to its end, and tells whether the connection stays; fails if the answer is an error.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<bool> {
    let (head_end, length, stays) = loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("read an answer: the connection was closed");
        }
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&answer[..end]).context("read an answer's head")?;
            let stays = head.starts_with("HTTP/1.1") && !head.to_ascii_lowercase().contains("connection: close");
            break (end + 4, content_length(head)?, stays);
        }
    };
    while answer.len() < head_end + length {
        if stream.read_buf(answer).await? == 0 {
            bail!("read an answer: the connection was closed");
        }
    }
    Ok(stays)
}

fn content_length(head: &str) -> Result<usize> {
    let status: u16 = head.split(' ').nth(1).unwrap_or_default().parse().context("read a status")?;
    if status >= 300 {
        bail!("get an answer: {head}");
    }
    let mut length = 0;
    for line in head.lines().skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("read a length")?;
        }
    }
    Ok(length)
}
