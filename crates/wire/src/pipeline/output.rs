//! From what a codec wrote to what a connection sends: bytes, files, and events as they come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use tokio::task::JoinHandle;

use crate::server::{Reply, Source};
use crate::{Blob, Spool};

const PIECE_BYTES: usize = 64 * 1024;

/// A whole answer, its length told where the body itself does not.
pub(super) fn reply(response: Response<Blob>) -> Response<Reply> {
    let (mut parts, blob) = response.into_parts();
    let reply = match blob {
        Blob::Inline(bytes) => Reply::Whole(bytes),
        Blob::Spooled(spool) => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(spool.len));
            Reply::Stream(Box::new(Pieces { spool, at: 0, reading: None }))
        }
    };
    Response::from_parts(parts, reply)
}

/// The answer to a HEAD: what GET would answer, without its body.
pub(super) fn without_body(method: &Method, mut response: Response<Reply>) -> Response<Reply> {
    if method != Method::HEAD {
        return response;
    }
    if let Reply::Whole(bytes) = response.body() {
        let len = HeaderValue::from(bytes.len());
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(len);
    }
    *response.body_mut() = Reply::default();
    response
}

/// A spooled answer, read piece by piece where reading may block.
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
            let len = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            tokio::task::spawn_blocking(move || read(&spool.file, at, len))
        });
        let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        if let Ok(piece) = &read {
            self.at = self.at.saturating_add(piece.len() as u64);
        }
        Poll::Ready(Some(read))
    }
}

fn read(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; len];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.into())
}
