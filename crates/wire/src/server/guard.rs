//! The socket as hyper sees it: strict framing in front, and a deadline on every wait.
//!
//! An HTTP/1 head is kept back until [`HeadScan`] finds it whole and unambiguous, so hyper never waits for half a head
//! and never sees a smuggled one. A refused head is replaced by one of our own making with the method
//! [`REFUSED`]: its answer then takes hyper's usual way, behind the answers to earlier pipelined requests, and the
//! connection closes. HTTP/2 passes as it is; hyper's frame reader is strict, and [`super::connection`] watches its
//! pace. Bodies are not timed here but where they are read ([`crate::body`]), for both versions alike.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::limits::{self, Limits};

use super::framing::{BodyEnd, ChunkScan, HeadScan, Refusal};

/// The method of a stand-in for a refused head. A client that sends it itself is told that its request is malformed.
pub(super) const REFUSED: &str = "LAMP-REFUSED";

const STAND_IN: &[u8] = b"LAMP-REFUSED / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const READ_BYTES: usize = 8 * 1024;

/// A byte stream from a client, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// What the guard, the requests and the watch of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub http2: AtomicBool,
    pub became_http2: Notify,
    /// Requests between arrival and the last byte of their answer.
    pub in_flight: AtomicUsize,
    /// Grows when a request arrives, an answer moves or ends.
    pub progress: AtomicU64,
    /// Answers that wait for their own producer rather than for the client.
    pub producing: AtomicUsize,
    pub refusal: Mutex<Option<Refusal>>,
}

/// What a connection knows of the server's load.
pub(super) trait Pressure: Send + Sync {
    /// Whether idle connections should make room.
    fn is_high(&self) -> bool;
}

enum Phase {
    /// Nothing has come yet that tells HTTP/1 from HTTP/2.
    Sniff,
    Head(HeadScan),
    Length(u64),
    Chunked(ChunkScan),
    /// HTTP/2: bytes pass as they are.
    Open,
    /// A refusal is on its way out; what else comes is not read.
    Refused,
}

pub(super) struct Guard {
    socket: Box<dyn Socket>,
    link: Arc<Link>,
    pressure: Arc<dyn Pressure>,
    limits: Limits,
    phase: Phase,
    /// Bytes read from the socket and not yet by hyper; the first `cleared` may go to hyper.
    buffer: BytesMut,
    cleared: usize,
    read_timer: Pin<Box<Sleep>>,
    wait: Wait,
    /// Runs while the client does not take what is written.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that it took since the timer was set.
    sipped_bytes: usize,
    is_first: bool,
    linger: Option<Linger>,
}

/// What the reading side waits for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    None,
    Head,
    Idle { until: Instant },
}

struct Linger {
    timer: Pin<Box<Sleep>>,
    left_bytes: usize,
}

impl Guard {
    pub fn new(socket: Box<dyn Socket>, link: Arc<Link>, pressure: Arc<dyn Pressure>, limits: Limits) -> Self {
        Self {
            socket,
            link,
            pressure,
            read_timer: Box::pin(tokio::time::sleep(limits.head_timeout)),
            limits,
            phase: Phase::Sniff,
            buffer: BytesMut::new(),
            cleared: 0,
            wait: Wait::Head,
            write_timer: None,
            sipped_bytes: 0,
            is_first: true,
            linger: None,
        }
    }

    /// Looks at what is in the buffer; clears as much of it as may go on. Nothing cleared means: more is needed.
    fn inspect(&mut self) -> io::Result<()> {
        match &mut self.phase {
            Phase::Sniff => {
                if self.buffer.starts_with(PREFACE) {
                    self.phase = Phase::Open;
                    self.wait = Wait::None;
                    self.link.http2.store(true, Ordering::Relaxed);
                    self.link.became_http2.notify_one();
                    self.cleared = self.buffer.len();
                } else if !PREFACE.starts_with(&self.buffer) {
                    self.phase = Phase::Head(HeadScan::default());
                    return self.inspect();
                }
            }
            Phase::Head(scan) => match scan.advance(&self.buffer) {
                Ok(Some((len, end))) => {
                    self.cleared = len;
                    self.wait = Wait::None;
                    self.is_first = false;
                    self.phase = match end {
                        BodyEnd::Length(0) => Phase::Head(HeadScan::default()),
                        BodyEnd::Length(length) => Phase::Length(length),
                        BodyEnd::Chunked => Phase::Chunked(ChunkScan::default()),
                    };
                }
                Ok(None) => {}
                Err(refusal) => self.refuse(refusal),
            },
            Phase::Length(left) => {
                self.cleared = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left = left.saturating_sub(self.cleared as u64);
                if *left == 0 {
                    self.phase = Phase::Head(HeadScan::default());
                }
            }
            Phase::Chunked(scan) => {
                self.cleared =
                    scan.advance(&self.buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if *scan == ChunkScan::End {
                    self.phase = Phase::Head(HeadScan::default());
                }
            }
            Phase::Open => self.cleared = self.buffer.len(),
            Phase::Refused => {}
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        *self.link.refusal.lock() = Some(refusal);
        self.buffer.clear();
        self.buffer.extend_from_slice(STAND_IN);
        self.cleared = self.buffer.len();
        self.phase = Phase::Refused;
        self.wait = Wait::None;
    }

    /// Reads into the buffer; `true` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.buffer.reserve(READ_BYTES);
        let read = pin!(self.socket.read_buf(&mut self.buffer));
        read.poll(cx).map_ok(|len| len == 0)
    }

    /// The socket has nothing for us. Whether the wait has become too long.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let in_head = matches!(self.phase, Phase::Sniff | Phase::Head(_));
        if !in_head {
            return Poll::Pending;
        }
        if self.buffer.is_empty() && !self.is_first {
            return self.poll_idle(cx);
        }
        if self.wait != Wait::Head {
            self.wait = Wait::Head;
            self.arm(self.limits.head_timeout);
        }
        ready!(self.read_timer.as_mut().poll(cx));
        if self.buffer.is_empty() {
            return Poll::Ready(());
        }
        self.refuse(Refusal::TimedOut);
        Poll::Ready(())
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An answer being made is no idleness, however long it takes.
        let now = Instant::now();
        let is_busy = self.link.in_flight.load(Ordering::Relaxed) > 0;
        let until = match self.wait {
            Wait::Idle { until } if !is_busy => until,
            _ => now.checked_add(self.limits.idle_timeout).unwrap_or(now),
        };
        if self.wait != (Wait::Idle { until }) {
            self.wait = Wait::Idle { until };
            self.arm(self.limits.idle_check.min(self.limits.idle_timeout));
        }
        while self.read_timer.as_mut().poll(cx).is_ready() {
            if !is_busy && (now >= until || self.pressure.is_high()) {
                return Poll::Ready(());
            }
            self.arm(self.limits.idle_check.min(self.limits.idle_timeout));
        }
        Poll::Pending
    }

    fn arm(&mut self, after: Duration) {
        let now = Instant::now();
        self.read_timer.as_mut().reset(now.checked_add(after).unwrap_or(now));
    }

    /// A write of `len` bytes. One that is taken whole shows a client that reads; sips do not, until they add up.
    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(taken)) = &written {
            self.sipped_bytes = self.sipped_bytes.saturating_add(*taken);
            if *taken == len || self.sipped_bytes >= limits::WRITE_SIP_BYTES_MIN {
                self.write_timer = None;
            }
            return written;
        }
        self.poll_write_wait(cx, written)
    }

    /// Gives up on a client that takes nothing for too long.
    fn poll_write_wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let timer = match &mut self.write_timer {
            Some(timer) => timer,
            none => {
                self.sipped_bytes = 0;
                none.insert(Box::pin(tokio::time::sleep(self.limits.write_stall_timeout)))
            }
        };
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes what the client still sends, so that its own system does not drop our answer for the reset that closing
    /// over unread bytes would cause.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            timer: Box::pin(tokio::time::sleep(limits::LINGER_TIMEOUT)),
            left_bytes: limits::LINGER_BYTES_MAX,
        });
        loop {
            if linger.left_bytes == 0 || linger.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {
                    linger.left_bytes = linger.left_bytes.saturating_sub(read.filled().len());
                }
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Whether the client is in the middle of sending something that nobody will read.
    fn has_unread(&self) -> bool {
        match self.phase {
            Phase::Refused | Phase::Length(_) | Phase::Chunked(_) => true,
            Phase::Sniff | Phase::Head(_) => !self.buffer.is_empty(),
            Phase::Open => false,
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let len = this.cleared.min(out.remaining());
                out.put_slice(this.buffer.get(..len).unwrap_or_default());
                this.buffer.advance(len);
                this.cleared = this.cleared.saturating_sub(len);
                return Poll::Ready(Ok(()));
            }
            match &mut this.phase {
                Phase::Refused => return Poll::Pending,
                Phase::Open if this.buffer.is_empty() => return Pin::new(&mut this.socket).poll_read(cx, out),
                // A body of known length goes to hyper without a stop in our buffer.
                Phase::Length(left) if this.buffer.is_empty() => {
                    let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(out.remaining());
                    let mut part = ReadBuf::new(out.initialize_unfilled_to(wanted));
                    ready!(Pin::new(&mut this.socket).poll_read(cx, &mut part))?;
                    let len = part.filled().len();
                    out.advance(len);
                    *left = left.saturating_sub(len as u64);
                    if *left == 0 {
                        this.phase = Phase::Head(HeadScan::default());
                    }
                    return Poll::Ready(Ok(()));
                }
                _ if !this.buffer.is_empty() => this.inspect()?,
                _ => {}
            }
            if this.cleared > 0 {
                continue;
            }
            match this.poll_fill(cx) {
                // The end; half a head is dropped with it.
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_wait(cx));
                    if this.cleared == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.poll_written(cx, bytes.len(), written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = parts.iter().fold(0_usize, |len, part| len.saturating_add(part.len()));
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, parts);
        this.poll_written(cx, len, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.poll_write_wait(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let shut = Pin::new(&mut this.socket).poll_shutdown(cx);
            ready!(this.poll_write_wait(cx, shut))?;
        }
        if this.has_unread() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
