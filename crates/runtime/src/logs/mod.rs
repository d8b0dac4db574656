//! What a function writes: the ends of its pipes, cut into log events.
//!
//! Standard output and error give an event a line. The log pipe of AWS's runtimes (descriptor 62) gives an event a
//! frame: big-endian type u32, length u32, microseconds u64, then the bytes. What a runtime wrote before it said
//! something on its socket is there when the host reads what it said, so `read_out` before a step keeps the order.
//!
//! Two pipes have no order between them. A bootstrap of ours says so in a frame's type, and then writes a mark to standard
//! output: the frame belongs where its mark is, whoever else wrote there before or after. Until the mark is found, it waits.
//!
//! Invariant: an event is at most `LOG_EVENT_BYTES_MAX`; what is longer goes on in the next.

mod cutter;
mod marked;

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use base::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use crate::environment::Source;
use crate::limits::MARKED_BYTES_MAX;
use crate::scratch;
use cutter::{Cut, Cutter};
use marked::Marked;

/// The host's ends of the pipes of one runtime and its extensions. Empty before the first start.
#[derive(Default)]
pub struct Output {
    pipes: Vec<Pipe>,
    /// Where to look first: behind the pipe that was served last, as one that floods must not keep the others full.
    first: usize,
    marked: Marked,
}

/// An event, and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub source: Source,
    pub text: String,
    /// When it happened, as its frame says.
    pub time: Option<Timestamp>,
}

impl Written {
    pub fn new(source: Source, text: String) -> Written {
        Written { source, text, time: None }
    }
}

/// What the runtime is given: standard output, standard error and the log pipe. Marks go where standard output goes, and
/// wherever the function sends that meanwhile.
pub struct Given {
    pub output: OwnedFd,
    pub error: OwnedFd,
    pub log: OwnedFd,
    pub mark: OwnedFd,
}

/// What an extension is given.
pub struct GivenExtension {
    pub output: OwnedFd,
    pub error: OwnedFd,
}

struct Pipe {
    source: Source,
    end: Receiver,
    cutter: Cutter,
    is_ended: bool,
}

impl Output {
    /// Pipes for a runtime that is about to start.
    pub fn open_runtime(&mut self) -> io::Result<Given> {
        let output = self.open(Source::Function, Cutter::lines())?;
        Ok(Given {
            mark: output.try_clone()?,
            output,
            error: self.open(Source::Function, Cutter::lines())?,
            log: self.open(Source::Function, Cutter::frames())?,
        })
    }

    /// Pipes for an extension.
    pub fn open_extension(&mut self) -> io::Result<GivenExtension> {
        Ok(GivenExtension {
            output: self.open(Source::Extension, Cutter::lines())?,
            error: self.open(Source::Extension, Cutter::lines())?,
        })
    }

    fn open(&mut self, source: Source, cutter: Cutter) -> io::Result<OwnedFd> {
        let (ours, theirs) = pipe()?;
        self.pipes.push(Pipe { source, end: Receiver::from_owned_fd(ours)?, cutter, is_ended: false });
        Ok(theirs)
    }

    /// Waits until something was written, and adds the events that it makes. Cancelling it loses nothing.
    pub async fn next(&mut self, events: &mut Vec<Written>) {
        std::future::poll_fn(|context| {
            let before = events.len();
            let count = self.pipes.len();
            let order = (self.first..count).chain(0..self.first.min(count));
            for at in order {
                let Some(pipe) = self.pipes.get_mut(at).filter(|pipe| !pipe.is_ended) else { continue };
                pipe.poll(context, events, &mut self.marked);
                if events.len() > before || !self.marked.is_calm() {
                    self.first = at.saturating_add(1);
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
        self.place(events);
    }

    /// Adds what has been written by now; half lines wait for the rest.
    pub fn read_out(&mut self, events: &mut Vec<Written>) {
        for pipe in self.pipes.iter_mut().filter(|pipe| !pipe.is_ended) {
            // A writer that is faster than we are must not keep us here.
            pipe.read(READS_MAX, events, &mut self.marked);
        }
        self.place(events);
    }

    /// Adds half lines, too: nothing follows them that belongs to them.
    pub fn flush(&mut self, events: &mut Vec<Written>) {
        for pipe in &mut self.pipes {
            pipe.flush(events, &mut self.marked);
        }
        self.marked.give_up(events, 0);
    }

    /// Puts marked frames where their marks are among these events.
    fn place(&mut self, events: &mut Vec<Written>) {
        if self.marked.places.is_empty() {
            return self.marked.give_up(events, MARKED_BYTES_MAX);
        }
        // A frame was written before its mark, so it is there.
        let mut others = Vec::new();
        for pipe in self.pipes.iter_mut().filter(|pipe| !pipe.is_ended && matches!(pipe.cutter, Cutter::Frames { .. }))
        {
            pipe.read(READS_MAX, &mut others, &mut self.marked);
        }
        self.marked.place(events);
        events.append(&mut others);
        self.marked.give_up(events, MARKED_BYTES_MAX);
    }
}

/// A pipe holds 64 KiB: so many reads see the bottom of one that nobody fills meanwhile.
const READS_MAX: usize = 8;

impl Pipe {
    /// Reads until an event is whole, or nothing is there.
    fn poll(&mut self, context: &mut Context<'_>, events: &mut Vec<Written>, marked: &mut Marked) {
        let before = events.len();
        scratch::with(|bytes| {
            while events.len() == before && marked.is_calm() && !self.is_ended {
                let mut buffer = ReadBuf::new(bytes);
                match Pin::new(&mut self.end).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.cut(buffer.filled(), events, marked),
                    Poll::Ready(_) => {
                        self.is_ended = true;
                        self.flush(events, marked);
                    }
                    Poll::Pending => return,
                }
            }
        });
    }

    /// Reads what is there, at most so often. The readiness that the event loop knows may be older, so the kernel is asked.
    fn read(&mut self, reads_max: usize, events: &mut Vec<Written>, marked: &mut Marked) {
        for _ in 0..reads_max {
            let is_more = scratch::with(|buffer| match rustix::io::read(&self.end, &mut *buffer) {
                Ok(count) if count > 0 => {
                    self.cut(buffer.get(..count).unwrap_or_default(), events, marked);
                    count == buffer.len()
                }
                Err(rustix::io::Errno::INTR) => true,
                Err(rustix::io::Errno::AGAIN) => false,
                Ok(_) | Err(_) => {
                    self.is_ended = true;
                    false
                }
            });
            if !is_more {
                break;
            }
        }
    }

    fn cut(&mut self, bytes: &[u8], events: &mut Vec<Written>, marked: &mut Marked) {
        let mut cuts = Vec::new();
        self.cutter.cut(bytes, &mut cuts);
        self.take(cuts, events, marked);
    }

    fn flush(&mut self, events: &mut Vec<Written>, marked: &mut Marked) {
        let mut cuts = Vec::new();
        self.cutter.flush(&mut cuts);
        self.take(cuts, events, marked);
    }

    fn take(&self, cuts: Vec<Cut>, events: &mut Vec<Written>, marked: &mut Marked) {
        for cut in cuts {
            match cut {
                Cut::Line(text) => events.push(Written::new(self.source, text)),
                Cut::Mark => marked.places.push(events.len()),
                Cut::Frame { frame, is_marked: true } => marked.push(frame, events),
                Cut::Frame { frame, is_marked: false } => events.push(frame.into()),
            }
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Ours alone: a program expects its output to block.
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::cutter::MARK;
    use super::cutter::tests::{frame, frame_of};
    use super::*;

    fn function(text: &str) -> Written {
        Written::new(Source::Function, text.to_owned())
    }

    fn framed(text: &str) -> Written {
        Written { time: Some(Timestamp::from_micros(7)), ..function(text) }
    }

    #[tokio::test]
    async fn one_that_floods_does_not_starve_the_others() {
        let mut output = Output::default();
        let (flooding, given) = (output.open_extension().unwrap(), output.open_runtime().unwrap());
        rustix::io::write(&flooding.output, "flood\n".repeat(3 * scratch::SCRATCH_BYTES / 6).as_bytes()).unwrap();
        rustix::io::write(&given.error, b"heard\n").unwrap();
        let mut events = Vec::new();
        output.next(&mut events).await;
        output.next(&mut events).await;
        assert_eq!(events.last(), Some(&function("heard\n")));
    }

    #[tokio::test]
    async fn what_was_written_before_is_there_when_it_is_read_out() {
        let mut output = Output::default();
        let (given, extension) = (output.open_runtime().unwrap(), output.open_extension().unwrap());
        let mut events = Vec::new();
        rustix::io::write(&given.output, b"one\ntwo").unwrap();
        rustix::io::write(&given.error, b"three\n").unwrap();
        rustix::io::write(&extension.output, b"four\n").unwrap();
        output.read_out(&mut events);
        assert_eq!(events.len(), 3, "half a line waits");
        output.flush(&mut events);
        let four = Written::new(Source::Extension, "four\n".into());
        let written = [function("one\n"), function("three\n"), four, function("two\n")];
        assert_eq!(events, written);
        events.clear();
        rustix::io::write(&given.log, &frame(b"five")).unwrap();
        output.next(&mut events).await;
        assert_eq!(events, [framed("five\n")]);
    }

    /// What is written to the log pipe comes where its mark is, in whatever pieces and whichever pipe is looked at first.
    #[tokio::test]
    async fn marked_frames_stand_where_they_were_written() {
        for is_read_out in [true, false] {
            let mut output = Output::default();
            let given = output.open_runtime().unwrap();
            for (printed, logged) in [("one\n", "two"), ("three\nhal", "four"), ("f\n", "five")] {
                rustix::io::write(&given.output, printed.as_bytes()).unwrap();
                rustix::io::write(&given.log, &frame_of(0xa55b_0003, logged.as_bytes())).unwrap();
                rustix::io::write(&given.mark, MARK).unwrap();
            }
            // One whose writer was killed before the mark.
            rustix::io::write(&given.log, &frame_of(0xa55b_0003, b"last")).unwrap();
            let mut events = Vec::new();
            if is_read_out {
                output.read_out(&mut events);
            } else {
                output.first = 2;
                output.next(&mut events).await;
            }
            let lines = |events: &[Written]| events.iter().map(|line| line.text.clone()).collect::<String>();
            assert_eq!(lines(&events), "one\ntwo\nthree\nfour\nhalf\nfive\n");
            output.flush(&mut events);
            assert_eq!(events.last(), Some(&framed("last\n")));
            // Its mark comes late, and is not another's.
            rustix::io::write(&given.mark, &[MARK, b"six\n", MARK].concat()).unwrap();
            rustix::io::write(&given.log, &frame_of(0xa55b_0003, b"seven")).unwrap();
            events.clear();
            output.read_out(&mut events);
            assert_eq!(lines(&events), "six\nseven\n");
        }
    }

    /// A marked frame without text makes no event, and its mark is not another's.
    #[tokio::test]
    async fn empty_marked_frames_hold_their_places() {
        let mut output = Output::default();
        let given = output.open_runtime().unwrap();
        for (printed, logged) in [("one\n", ""), ("two\n", "three"), ("four\n", "five")] {
            rustix::io::write(&given.output, printed.as_bytes()).unwrap();
            rustix::io::write(&given.log, &frame_of(0xa55b_0003, logged.as_bytes())).unwrap();
            rustix::io::write(&given.mark, MARK).unwrap();
        }
        let mut events = Vec::new();
        output.read_out(&mut events);
        let lines: Vec<_> = events.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(lines, ["one\n", "two\n", "three\n", "four\n", "five\n"]);
    }

    /// Small frames take more than their text.
    #[tokio::test]
    async fn waiting_frames_without_text_are_bounded() {
        let mut output = Output::default();
        let given = output.open_runtime().unwrap();
        let mut events = Vec::new();
        for _ in 0..100 {
            rustix::io::write(&given.log, &frame_of(0xa55b_0003, b"").repeat(1000)).unwrap();
            output.read_out(&mut events);
        }
        assert!(output.marked.frames_count() * size_of::<marked::Frame>() <= MARKED_BYTES_MAX);
    }

    /// A frame that is too long for what may wait is there as it comes.
    #[tokio::test]
    async fn what_waits_for_marks_is_bounded() {
        let mut output = Output::default();
        let given = output.open_runtime().unwrap();
        let body = vec![b'y'; 3 * MARKED_BYTES_MAX];
        let whole = [frame_of(0xa55b_0003, &body), frame_of(0xa55b_0003, b"next")].concat();
        let mut events = Vec::new();
        for piece in whole.chunks(1 << 15) {
            rustix::io::write(&given.log, piece).unwrap();
            output.read_out(&mut events);
            assert!(output.marked.bytes <= MARKED_BYTES_MAX);
        }
        rustix::io::write(&given.mark, &[MARK, b"behind\n", MARK].concat()).unwrap();
        output.read_out(&mut events);
        let ends: Vec<_> = events.iter().rev().take(2).map(|line| line.text.as_str()).collect();
        assert_eq!(ends, ["next\n", "behind\n"]);
        assert_eq!(events.iter().map(|line| line.text.matches('y').count()).sum::<usize>(), body.len());
    }
}
