//! The body of an answer: bytes that are there, a file's, or events that come as they are made.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::guard::Link;
use crate::{Blob, Spool};

/// How much of a file is in memory at a time.
const FILE_PIECE_BYTES: usize = 64 * 1024;

/// Makes the next piece of a streamed answer; `None` ends it, an error cuts the connection so that the client cannot
/// take the part for the whole.
pub trait Source: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;

    /// How much is still to come, where that is known.
    fn bytes_left(&self) -> Option<u64> {
        None
    }
}

pub enum Reply {
    Whole(Bytes),
    Stream(Box<dyn Source>),
}

impl Reply {
    /// The first `len` bytes of a file, read piece by piece where reading may block, as the client takes them. A file
    /// that turns out to be shorter cuts the connection.
    pub fn file(file: File, len: u64) -> Self {
        Blob::Spooled(Arc::new(Spool { file, len })).into()
    }

    /// How much is still to come, where that is known.
    pub fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Stream(source) => source.bytes_left(),
        }
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Blob> for Reply {
    fn from(blob: Blob) -> Self {
        match blob {
            Blob::Inline(bytes) => Self::Whole(bytes),
            Blob::Spooled(spool) => Self::Stream(Box::new(Pieces { spool, at: 0, reading: None })),
        }
    }
}

/// A file on its way out.
struct Pieces {
    spool: Arc<Spool>,
    at: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Source for Pieces {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let left = self.spool.len.saturating_sub(self.at);
        if left == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (spool, at) = (self.spool.clone(), self.at);
            let len = usize::try_from(left).unwrap_or(FILE_PIECE_BYTES).min(FILE_PIECE_BYTES);
            tokio::task::spawn_blocking(move || read(&spool.file, at, len))
        });
        let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        if let Ok(piece) = &read {
            self.at = self.at.saturating_add(piece.len() as u64);
        }
        Poll::Ready(Some(read))
    }

    fn bytes_left(&self) -> Option<u64> {
        Some(self.spool.len.saturating_sub(self.at))
    }
}

fn read(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; len];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.into())
}

/// One request's presence on its connection, from its arrival until its answer is done or given up.
pub(super) struct Flight {
    link: Arc<Link>,
    is_producing: bool,
}

impl Flight {
    pub fn begin(link: Arc<Link>) -> Self {
        link.in_flight.fetch_add(1, Ordering::Relaxed);
        link.producing.fetch_add(1, Ordering::Relaxed);
        Self { link, is_producing: true }
    }

    /// Notes who is waited for: our side, or else the client.
    fn set_producing(&mut self, is_producing: bool) {
        if is_producing != self.is_producing {
            self.is_producing = is_producing;
            if is_producing {
                self.link.producing.fetch_add(1, Ordering::Relaxed);
            } else {
                self.link.producing.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.link.progress.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.set_producing(false);
        self.link.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reply on its way out.
pub(super) struct Departing {
    reply: Reply,
    flight: Flight,
}

impl Departing {
    pub fn new(reply: Reply, mut flight: Flight) -> Self {
        flight.set_producing(false);
        Self { reply, flight }
    }
}

impl Body for Departing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match &mut this.reply {
            Reply::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::data(bytes))))
            }
            Reply::Stream(source) => {
                let next = source.poll_next(cx);
                this.flight.set_producing(next.is_pending());
                next.map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reply.bytes_left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.bytes_left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
