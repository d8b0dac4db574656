//! What no server of functions can beat: HTTP, the signature of a known key, and one frame each way to a process. No
//! sandbox, no routing, no limits, no records, no log.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base::ports::Credential;
use base::{AccountId, Clock, Principal, Secret, SystemClock};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Semaphore};
use wire::sigv4::{Body, Head, Rules, Verifier, parse};

use crate::floor;

/// More make throughput worse on two cores.
const INSTANCES: usize = 4;
const HEAD_BYTES: usize = 4;

/// Serves until it is killed. Functions run in processes of `language`.
pub fn serve(language: &str) -> Result<()> {
    floor::serve_with(|| {
        let server = Arc::new(Server::new(language)?);
        Ok(move |request| {
            let server = Arc::clone(&server);
            async move { server.answer(request).await }
        })
    })
}

struct Server {
    verifier: Verifier,
    credential: Credential,
    /// As many as are idle.
    permits: Semaphore,
    /// The one that was used last is used next.
    idle: Mutex<Vec<Instance>>,
}

/// A process, and our end of its socket.
struct Instance {
    _process: Child,
    socket: UnixStream,
}

impl Server {
    fn new(language: &str) -> Result<Self> {
        let instances = (0..INSTANCES).map(|_| Instance::start(language)).collect::<Result<Vec<_>>>()?;
        let principal = Principal {
            account: AccountId::ZERO,
            arn: "arn:aws:iam::000000000000:root".to_owned(),
            user_id: "000000000000".to_owned(),
            access_key_id: Some("test".to_owned()),
        };
        let credential = Credential {
            secret_access_key: Secret::new("test".to_owned()),
            session_token: None,
            principal: Arc::new(principal),
        };
        let permits = Semaphore::new(instances.len());
        Ok(Self { verifier: Verifier::default(), credential, permits, idle: Mutex::new(instances) })
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let event = body.collect().await?.to_bytes();
        self.verify(&parts, &event)?;
        let _permit = self.permits.acquire().await?;
        let mut instance = self.idle.lock().await.pop().context("find an idle instance")?;
        let answer = instance.call(&event).await;
        self.idle.lock().await.push(instance);
        Ok(Response::new(Full::new(answer?)))
    }

    fn verify(&self, parts: &http::request::Parts, event: &[u8]) -> Result<()> {
        let head = Head::of(parts);
        let Some(claim) = parse(&head)? else { bail!("find a signature") };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, event).as_ref());
        let rules = Rules { service: "lambda", now: SystemClock.now() };
        self.verifier.verify(&claim, &head, Body::Sha256(hash), Some(&self.credential), &rules)?;
        Ok(())
    }
}

impl Instance {
    fn start(language: &str) -> Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = match language {
            "native" => Command::new(std::env::current_exe()?),
            "python" => Command::new("python3"),
            "node" => Command::new("node"),
            other => bail!("run functions in {other}"),
        };
        match language {
            "native" => command.arg("echo"),
            "python" => command.args(["-S", concat!(env!("CARGO_MANIFEST_DIR"), "/ceiling.py")]),
            _ => command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/ceiling.js")),
        };
        let process = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn().context("start a process")?;
        Ok(Self { _process: process, socket: UnixStream::from_std(ours)? })
    }

    async fn call(&mut self, event: &[u8]) -> Result<Bytes> {
        self.socket.write_all(&frame(event)).await?;
        let mut answer = BytesMut::with_capacity(16 * 1024);
        // A small frame comes with one read.
        while !is_whole(&answer) {
            if self.socket.read_buf(&mut answer).await? == 0 {
                bail!("read a frame: the process is gone");
            }
        }
        answer.advance(HEAD_BYTES);
        Ok(answer.freeze())
    }
}

fn is_whole(frame: &[u8]) -> bool {
    let head = frame.first_chunk::<HEAD_BYTES>();
    head.is_some_and(|head| frame.len() >= HEAD_BYTES + u32::from_le_bytes(*head) as usize)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// The native process: answers each frame on its standard input, which is a socket, with the same.
pub fn echo() -> Result<()> {
    use std::os::fd::AsFd;
    let mut socket = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut piece = vec![0; 64 * 1024];
    loop {
        // A small frame comes whole; what is longer goes back in the same pieces.
        let count = socket.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        socket.write_all(piece.get(..count).unwrap_or_default())?;
    }
}
