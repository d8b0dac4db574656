//! Reading a body: into memory while it is short, into an unlinked file beyond that, hashed on the way.
//!
//! The pipeline calls [`Bodies::read`] once the head is accepted and the operation's limit is known; nothing is read
//! before. Invariants: no more than [`limits::BODY_INLINE_BYTES_MAX`] of one body is in memory, no more than two
//! quotas over all bodies in memory and in files, and a body that is slower than the floor in [`limits`] is given up.
//! `aws-chunked` framing is undone by a [`Filter`], so that what is stored is what the client meant.

use std::fs::{File, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::AwsError;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body::Body;
use ring::digest::{self, SHA256};
use rustix::fs::{Mode, OFlags};
use tokio::time::{Instant, timeout};

use crate::limits::{self, Limits};
use crate::{Blob, Spool};

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("hold the body: it is longer than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("wait for the body: it comes too slowly")]
    TooSlow,
    #[error("read the body")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("undo the body's chunks")]
    Filter(#[source] AwsError),
    #[error("inflate the body")]
    Inflate(#[source] io::Error),
    #[error("hold the body: {SPOOL_FULL}")]
    Full,
    #[error("spool the body to {dir}")]
    Spool {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

const SPOOL_FULL: &str = "requests under way fill the spool";

/// Undoes a framing within the body. What it is fed in total is bounded by the reader.
pub trait Filter: Send {
    /// Takes wire bytes, appends what they mean.
    fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), AwsError>;

    /// The wire has ended; an error if it may not end here.
    fn end(&mut self) -> Result<(), AwsError>;
}

/// A body that has arrived. Its share of the quotas is given back when this is dropped.
#[derive(Debug)]
pub struct Received {
    pub blob: Blob,
    /// Of what came, before any inflating.
    pub sha256: [u8; 32],
    /// What came was compressed, and `blob` is not any more.
    pub is_inflated: bool,
    holds: Vec<Hold>,
}

/// Reads the bodies of all requests.
#[derive(Debug)]
pub struct Bodies {
    spool_dir: PathBuf,
    memory: Arc<Quota>,
    disk: Arc<Quota>,
    decoded: Arc<Quota>,
    stall_timeout: Duration,
    grace: Duration,
    bytes_per_sec_min: u64,
    spool_count: AtomicU64,
}

impl Bodies {
    /// `spool_dir` exists and is on a disk rather than in memory, or spooling would be pointless.
    pub fn new(spool_dir: PathBuf, limits: &Limits) -> Self {
        Self {
            spool_dir,
            memory: Quota::new(limits.body_memory_bytes_max),
            disk: Quota::new(limits.spool_bytes_max),
            decoded: Quota::new(limits::BODY_DECODED_BYTES_MAX),
            stall_timeout: limits.body_stall_timeout,
            grace: limits.body_grace,
            bytes_per_sec_min: limits.body_bytes_per_sec_min.max(1),
            spool_count: AtomicU64::new(0),
        }
    }

    /// Bytes held in memory and in spool files now.
    pub fn held_bytes(&self) -> (u64, u64) {
        (self.memory.used(), self.disk.used())
    }

    /// Reads `body` to its end. A length that is declared and too large is refused before the first byte, so that a
    /// client that waits for `100 Continue` never sends it.
    pub async fn read<B>(
        &self,
        mut body: Pin<&mut B>,
        bytes_max: u64,
        mut filter: Option<&mut dyn Filter>,
    ) -> Result<Received, BodyError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if body.size_hint().lower() > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        let state = State::Inline(BytesMut::new());
        let mut intake = Intake { bodies: self, state, holds: Vec::new(), memory_bytes: 0, len: 0 };
        let started = Instant::now();
        let mut wire_bytes = 0_u64;
        loop {
            let patience = self.patience(started, wire_bytes)?;
            let frame = match timeout(patience, poll_fn(|cx| body.as_mut().poll_frame(cx))).await {
                Ok(None) => break,
                Ok(Some(frame)) => frame.map_err(|error| BodyError::Broken(error.into()))?,
                Err(_) => return Err(BodyError::TooSlow),
            };
            // HTTP trailers say nothing that is used; those of aws-chunked are inside the body.
            let Ok(data) = frame.into_data() else { continue };
            wire_bytes = wire_bytes.saturating_add(data.len() as u64);
            if wire_bytes > bytes_max {
                return Err(BodyError::TooLarge { bytes_max });
            }
            match &mut filter {
                None => {
                    let is_whole = wire_bytes == data.len() as u64 && body.is_end_stream();
                    if let Some(received) = is_whole.then(|| self.take_whole(&data)).flatten() {
                        return Ok(received);
                    }
                    intake.put(&data).await?;
                }
                Some(filter) => {
                    let mut plain = BytesMut::with_capacity(data.len());
                    filter.feed(&data, &mut plain).map_err(BodyError::Filter)?;
                    intake.put(&plain).await?;
                }
            }
        }
        if let Some(filter) = filter {
            filter.end().map_err(BodyError::Filter)?;
        }
        intake.finish().await
    }

    /// A body that came in one piece stays in the buffer that it was read into; `None` if memory has no room for it.
    fn take_whole(&self, data: &Bytes) -> Option<Received> {
        let hold = self.memory.hold(data.len() as u64)?;
        Some(Received { sha256: sha256(data), blob: Blob::Inline(data.clone()), is_inflated: false, holds: vec![hold] })
    }

    /// How long the next piece may take.
    fn patience(&self, started: Instant, wire_bytes: u64) -> Result<Duration, BodyError> {
        let earned = Duration::from_secs(wire_bytes / self.bytes_per_sec_min);
        let left = self.grace.saturating_add(earned).saturating_sub(started.elapsed());
        if left.is_zero() { Err(BodyError::TooSlow) } else { Ok(left.min(self.stall_timeout)) }
    }

    /// Makes room in memory for what is decoded or inflated out of a body; the room is the body's until it is dropped.
    pub fn hold_decoded(&self, received: &mut Received, bytes: u64) -> Result<(), BodyError> {
        received.holds.push(self.decoded.hold(bytes).ok_or(BodyError::Full)?);
        Ok(())
    }

    /// A new file that has no name: it goes with its last descriptor, also when the process is killed.
    pub fn spool_file(&self) -> io::Result<File> {
        match rustix::fs::open(
            &self.spool_dir,
            OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        ) {
            Ok(file) => Ok(file.into()),
            // Some file systems (overlays, network mounts) have no nameless files.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                self.unlinked_file(&self.spool_dir)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn unlinked_file(&self, dir: &Path) -> io::Result<File> {
        let count = self.spool_count.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("spool-{}-{count}", std::process::id()));
        // A process of this id that was killed in the next two lines may have left one.
        std::fs::remove_file(&path).ok();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    fn spool_error(&self, source: io::Error) -> BodyError {
        BodyError::Spool { dir: self.spool_dir.clone(), source }
    }
}

/// What has arrived of one body.
struct Intake<'a> {
    bodies: &'a Bodies,
    state: State,
    holds: Vec<Hold>,
    /// What the body has of the memory quota.
    memory_bytes: usize,
    len: u64,
}

enum State {
    Inline(BytesMut),
    /// The file with all that is written, the hash over it, and what waits to be written in one go.
    Spooling(Box<Sink>, BytesMut),
}

struct Sink {
    file: File,
    hash: digest::Context,
}

impl Intake<'_> {
    async fn put(&mut self, data: &[u8]) -> Result<(), BodyError> {
        self.len = self.len.saturating_add(data.len() as u64);
        if let State::Inline(held) = &mut self.state {
            let fits = held.len().saturating_add(data.len()) <= limits::BODY_INLINE_BYTES_MAX;
            match self.bodies.memory.hold(data.len() as u64).filter(|_| fits) {
                Some(hold) => {
                    self.holds.push(hold);
                    self.memory_bytes = self.memory_bytes.saturating_add(data.len());
                    held.extend_from_slice(data);
                    coalesce(&mut self.holds);
                    return Ok(());
                }
                None => {
                    let file = self.bodies.spool_file().map_err(|source| self.bodies.spool_error(source))?;
                    let sink = Box::new(Sink { file, hash: digest::Context::new(&SHA256) });
                    let held = std::mem::take(held);
                    // The file's share, and as much again for what a codec decodes out of it into a file of its own.
                    self.hold_disk(held.len() as u64)?;
                    self.state = State::Spooling(sink, held);
                }
            }
        }
        self.hold_disk(data.len() as u64)?;
        let State::Spooling(_, pending) = &mut self.state else { return Ok(()) };
        pending.extend_from_slice(data);
        // The memory that it got before it grew too long is still the body's; without, it has next to none.
        if pending.len() >= self.memory_bytes.max(limits::SPOOL_PENDING_BYTES_MAX) {
            self.flush().await?;
        }
        Ok(())
    }

    fn hold_disk(&mut self, bytes: u64) -> Result<(), BodyError> {
        let hold = self.bodies.disk.hold(bytes.saturating_mul(2)).ok_or(BodyError::Full)?;
        self.holds.push(hold);
        coalesce(&mut self.holds);
        Ok(())
    }

    /// Writes and hashes what is pending, where it may block.
    async fn flush(&mut self) -> Result<(), BodyError> {
        let State::Spooling(sink, pending) = std::mem::replace(&mut self.state, State::Inline(BytesMut::new())) else {
            return Ok(());
        };
        let written = tokio::task::spawn_blocking(move || {
            let mut sink = sink;
            sink.hash.update(&pending);
            sink.file.write_all(&pending).map(|()| (sink, pending))
        })
        .await
        .map_err(io::Error::other)
        .flatten();
        let (sink, mut pending) = written.map_err(|source| self.bodies.spool_error(source))?;
        pending.clear();
        self.state = State::Spooling(sink, pending);
        Ok(())
    }

    async fn finish(mut self) -> Result<Received, BodyError> {
        self.flush_if_spooling().await?;
        let (blob, sha256) = match self.state {
            State::Inline(held) => {
                let bytes = held.freeze();
                let sha256 = sha256(&bytes);
                (Blob::Inline(bytes), sha256)
            }
            State::Spooling(sink, _) => {
                let Sink { file, hash } = *sink;
                (Blob::Spooled(Arc::new(Spool { file, len: self.len })), digest_bytes(&hash.finish()))
            }
        };
        Ok(Received { blob, sha256, is_inflated: false, holds: self.holds })
    }

    async fn flush_if_spooling(&mut self) -> Result<(), BodyError> {
        match &self.state {
            State::Inline(_) => Ok(()),
            State::Spooling(..) => self.flush().await,
        }
    }
}

/// Undoes gzip, up to `bytes_max`.
pub async fn inflate(blob: Blob, bytes_max: u64) -> Result<Blob, BodyError> {
    let inflating = move || {
        let bytes = blob.read_all().map_err(BodyError::Inflate)?;
        let mut plain = Vec::new();
        // One byte more than allowed tells too long from just right.
        let mut reader = MultiGzDecoder::new(bytes.as_ref()).take(bytes_max.saturating_add(1));
        reader.read_to_end(&mut plain).map_err(BodyError::Inflate)?;
        if plain.len() as u64 > bytes_max { Err(BodyError::TooLarge { bytes_max }) } else { Ok(plain.into()) }
    };
    tokio::task::spawn_blocking(inflating).await.map_err(|error| BodyError::Inflate(io::Error::other(error)))?
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest_bytes(&digest::digest(&SHA256, bytes))
}

fn digest_bytes(digest: &digest::Digest) -> [u8; 32] {
    // SHA-256 has 32 bytes; zeros would match no body, should ring ever disagree.
    digest.as_ref().try_into().unwrap_or_default()
}

/// A bound that all requests share.
#[derive(Debug)]
struct Quota {
    used: AtomicU64,
    max: u64,
}

/// A share of a quota, given back on drop.
#[derive(Debug)]
struct Hold {
    quota: Arc<Quota>,
    bytes: u64,
}

impl Quota {
    fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), max })
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn hold(self: &Arc<Self>, bytes: u64) -> Option<Hold> {
        let grow = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok()?;
        Some(Hold { quota: self.clone(), bytes })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Folds the newest hold into the one before it, when both are of one quota.
fn coalesce(holds: &mut Vec<Hold>) {
    if let [.., before, last] = holds.as_mut_slice()
        && Arc::ptr_eq(&before.quota, &last.quota)
    {
        before.bytes = before.bytes.saturating_add(last.bytes);
        last.bytes = 0;
        holds.pop();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use http_body_util::Full;

    use super::*;

    fn bodies(limits: &Limits) -> (tempfile::TempDir, Bodies) {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::new(dir.path().into(), limits);
        (dir, bodies)
    }

    async fn read(bodies: &Bodies, content: &[u8], bytes_max: u64) -> Result<Received, BodyError> {
        let pieces: Vec<_> = content
            .chunks(40_000)
            .map(|piece| Ok::<_, io::Error>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let mut pieces = pieces.into_iter();
        let stream = Pieces(Box::new(move || pieces.next()));
        bodies.read(pin!(stream), bytes_max, None).await
    }

    type Piece = Result<http_body::Frame<Bytes>, io::Error>;

    struct Pieces(Box<dyn FnMut() -> Option<Piece> + Send>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Piece>> {
            std::task::Poll::Ready((self.0)())
        }
    }

    #[tokio::test]
    async fn short_bodies_stay_in_memory_and_long_ones_go_to_a_nameless_file() {
        let (dir, bodies) = bodies(&Limits::default());
        for len in [0, 1, 100_000, limits::BODY_INLINE_BYTES_MAX, limits::BODY_INLINE_BYTES_MAX + 1, 3_000_000] {
            let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let received = read(&bodies, &content, 4_000_000).await.unwrap();
            assert_eq!(received.blob.len(), len as u64);
            assert_eq!(received.blob.read_all().unwrap(), content);
            assert_eq!(received.sha256, sha256(&content));
            let is_spooled = matches!(received.blob, Blob::Spooled(_));
            assert_eq!(is_spooled, len > limits::BODY_INLINE_BYTES_MAX, "{len}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            drop(received);
            assert_eq!(bodies.held_bytes(), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_named_file_serves_where_nameless_ones_do_not_exist() {
        let (dir, bodies) = bodies(&Limits::default());
        let mut file = bodies.unlinked_file(dir.path()).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_given_up() {
        let (_dir, bodies) = bodies(&Limits::default());
        assert!(matches!(read(&bodies, &[0; 11], 10).await, Err(BodyError::TooLarge { bytes_max: 10 })));
        let declared = Full::new(Bytes::from_static(&[0; 11]));
        let refused = bodies.read(pin!(declared), 10, None).await;
        assert!(matches!(refused, Err(BodyError::TooLarge { bytes_max: 10 })));
    }

    #[tokio::test]
    async fn full_quotas_first_spool_and_then_refuse() {
        let limits = Limits { body_memory_bytes_max: 50_000, spool_bytes_max: 400_000, ..Limits::default() };
        let (_dir, bodies) = bodies(&limits);
        let first = read(&bodies, &[1; 50_000], 1_000_000).await.unwrap();
        let second = read(&bodies, &[2; 60_000], 1_000_000).await.unwrap();
        assert!(matches!(second.blob, Blob::Spooled(_)));
        assert!(matches!(read(&bodies, &[3; 200_000], 1_000_000).await, Err(BodyError::Full)));
        drop((first, second));
        assert_eq!(bodies.held_bytes(), (0, 0));
    }

    #[tokio::test]
    async fn a_short_body_that_finds_memory_full_is_spooled() {
        let limits = Limits { body_memory_bytes_max: 8, ..Limits::default() };
        let (_dir, bodies) = bodies(&limits);
        let _first = read(&bodies, b"12345678", 100).await.unwrap();
        let whole = bodies.read(pin!(Full::new(Bytes::from_static(b"{}"))), 100, None).await.unwrap();
        assert!(matches!(whole.blob, Blob::Spooled(_)));
        assert_eq!((whole.blob.read_all().unwrap(), whole.sha256), ("{}".into(), sha256(b"{}")));
    }

    #[tokio::test]
    async fn a_body_without_memory_waits_for_the_file_in_small_parts_only() {
        let limits = Limits { body_memory_bytes_max: 8, ..Limits::default() };
        let (_dir, bodies) = bodies(&limits);
        let state = State::Inline(BytesMut::new());
        let mut intake = Intake { bodies: &bodies, state, holds: Vec::new(), memory_bytes: 0, len: 0 };
        for _ in 0..100 {
            intake.put(&[7; 10_000]).await.unwrap();
            let State::Spooling(_, pending) = &intake.state else { panic!("not spooling") };
            assert!(pending.len() < limits::SPOOL_PENDING_BYTES_MAX);
        }
        assert_eq!(intake.finish().await.unwrap().blob.read_all().unwrap(), [7; 1_000_000].as_slice());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_or_drips_is_given_up() {
        let (_dir, bodies) = bodies(&Limits::default());
        let (sender, receiver) = tokio::sync::mpsc::channel::<Piece>(1);
        let drip = tokio::time::timeout(Duration::from_secs(60), async move {
            while sender.send(Ok(http_body::Frame::data(Bytes::from_static(b"x")))).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        let body = Channel(receiver);
        let reading = async { bodies.read(pin!(body), 1_000, None).await };
        let (drip, read) = tokio::join!(drip, reading);
        assert!(drip.is_ok() && matches!(read, Err(BodyError::TooSlow)));
    }

    struct Channel(tokio::sync::mpsc::Receiver<Piece>);

    impl Body for Channel {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Piece>> {
            self.0.poll_recv(cx)
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![0; 1_000_000]).unwrap();
        let packed = Blob::from(packed.finish().unwrap());
        assert!(packed.len() < 2_000);
        assert_eq!(inflate(packed.clone(), 1_000_000).await.unwrap().len(), 1_000_000);
        assert!(matches!(inflate(packed, 999_999).await, Err(BodyError::TooLarge { .. })));
        assert!(matches!(inflate(Blob::from(vec![1, 2, 3]), 10).await, Err(BodyError::Inflate(_))));
    }
}
