//! A response on its way from an instance to its caller.
//!
//! A buffered one goes whole. A streamed one goes through a buffer that holds no more than the runtime was let send:
//! the instance lets it send more as the caller takes what is there. A caller that went away takes everything at once.

use std::sync::Arc;

use base::BoxFuture;
use base::ports::{ResponsePiece, ResponseStream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::environment::{First, error_json};

/// A response that is there already.
pub struct Whole {
    pub body: Option<Vec<u8>>,
    pub log_tail: Option<Vec<u8>>,
}

impl ResponseStream for Whole {
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece> {
        let piece = match self.body.take() {
            Some(body) => ResponsePiece::Bytes(body),
            None => ResponsePiece::End { log_tail: self.log_tail.take(), error: None },
        };
        Box::pin(std::future::ready(piece))
    }
}

/// The two ends of a streamed response.
pub fn stream() -> (Feed, Taking) {
    let shared = Arc::new(Shared::default());
    (Feed(Arc::clone(&shared)), Taking(shared))
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    fed: Notify,
    taken: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// Bytes that the caller took and the instance does not know of yet.
    taken_bytes: u64,
    end: Option<End>,
    is_ended: bool,
    /// The caller went away.
    is_left: bool,
}

struct End {
    log_tail: Option<Vec<u8>>,
    error: Option<(String, String)>,
}

/// The instance's end.
pub struct Feed(Arc<Shared>);

impl Feed {
    pub fn push(&self, bytes: Vec<u8>) {
        let mut state = self.0.state.lock();
        if state.is_left {
            state.taken_bytes = state.taken_bytes.saturating_add(length(&bytes));
            self.0.taken.notify_one();
        } else if state.buffer.is_empty() {
            state.buffer = bytes;
        } else {
            state.buffer.extend_from_slice(&bytes);
        }
        drop(state);
        self.0.fed.notify_one();
    }

    pub fn end(self, log_tail: Option<Vec<u8>>, error: Option<(String, String)>) {
        self.0.end(End { log_tail, error });
    }

    /// How many more bytes the caller has taken; waits until there are some. Cancelling it loses nothing.
    pub async fn taken(&self) -> u64 {
        loop {
            let taken_bytes = std::mem::take(&mut self.0.state.lock().taken_bytes);
            if taken_bytes > 0 {
                return taken_bytes;
            }
            self.0.taken.notified().await;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // An instance that ends a response properly has done so before.
        const KIND: &str = "Runtime.ExitError";
        let why = error_json(First::Type, KIND, "The instance was stopped.");
        self.0.end(End { log_tail: None, error: Some((KIND.to_owned(), why)) });
    }
}

impl Shared {
    fn end(&self, end: End) {
        let mut state = self.state.lock();
        if !state.is_ended {
            state.is_ended = true;
            state.end = Some(end);
        }
        drop(state);
        self.fed.notify_one();
    }
}

/// The caller's end.
pub struct Taking(Arc<Shared>);

impl ResponseStream for Taking {
    fn next(&mut self) -> BoxFuture<'_, ResponsePiece> {
        Box::pin(async {
            loop {
                if let Some(piece) = self.now() {
                    return piece;
                }
                self.0.fed.notified().await;
            }
        })
    }
}

impl Taking {
    fn now(&self) -> Option<ResponsePiece> {
        let mut state = self.0.state.lock();
        if !state.buffer.is_empty() {
            let bytes = std::mem::take(&mut state.buffer);
            state.taken_bytes = state.taken_bytes.saturating_add(length(&bytes));
            drop(state);
            self.0.taken.notify_one();
            return Some(ResponsePiece::Bytes(bytes));
        }
        if !state.is_ended {
            return None;
        }
        let End { log_tail, error } = state.end.take().unwrap_or(End { log_tail: None, error: None });
        Some(ResponsePiece::End { log_tail, error })
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_left = true;
        let unread = std::mem::take(&mut state.buffer);
        state.taken_bytes = state.taken_bytes.saturating_add(length(&unread));
        drop(state);
        self.0.taken.notify_one();
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_told_and_what_is_left_too() {
        let (feed, mut taking) = stream();
        feed.push(b"one".to_vec());
        feed.push(b"two".to_vec());
        assert!(matches!(taking.next().await, ResponsePiece::Bytes(bytes) if bytes == b"onetwo"));
        assert_eq!(feed.taken().await, 6);
        feed.push(b"three".to_vec());
        drop(taking);
        assert_eq!(feed.taken().await, 5);
        feed.push(b"four".to_vec());
        assert_eq!(feed.taken().await, 4);
    }

    #[tokio::test]
    async fn a_stream_always_ends() {
        let (feed, mut taking) = stream();
        feed.push(b"x".to_vec());
        feed.end(Some(b"log".to_vec()), None);
        assert!(matches!(taking.next().await, ResponsePiece::Bytes(_)));
        let ResponsePiece::End { log_tail, error } = taking.next().await else { panic!() };
        assert_eq!((log_tail, error), (Some(b"log".to_vec()), None));
        let (feed, mut taking) = stream();
        drop(feed);
        assert!(matches!(taking.next().await, ResponsePiece::End { error: Some(_), .. }));
    }
}
