//! The body of an answer: bytes that are there, or events that come as they are made.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::guard::Link;

/// Makes the next piece of a streamed answer; `None` ends it, an error cuts the connection so that the client cannot
/// take the part for the whole.
pub trait Source: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
}

pub enum Reply {
    Whole(Bytes),
    Stream(Box<dyn Source>),
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
        matches!(&self.reply, Reply::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.reply {
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Reply::Stream(_) => SizeHint::default(),
        }
    }
}
