//! What a function writes: the ends of its pipes, cut into log events.
//!
//! Standard output and error give an event a line. The log pipe of AWS's runtimes (descriptor 62) gives an event a
//! frame: big-endian type u32, length u32, microseconds u64, then the bytes. What a runtime wrote before it said
//! something on its socket is there when the host reads what it said, so `read_out` before a step keeps the order.
//!
//! Invariant: an event is at most `LOG_EVENT_BYTES_MAX`; what is longer goes on in the next.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use crate::environment::Source;
use crate::limits::LOG_EVENT_BYTES_MAX;
use crate::scratch;

/// The host's ends of the pipes of one runtime and its extensions. Empty before the first start.
#[derive(Default)]
pub struct Output {
    pipes: Vec<Pipe>,
    /// Where to look first: behind the pipe that was served last, as one that floods must not keep the others full.
    first: usize,
}

/// An event, and who wrote it.
pub type Written = (Source, String);

/// What the runtime is given: standard output, standard error and the log pipe.
pub struct Given {
    pub output: OwnedFd,
    pub error: OwnedFd,
    pub log: OwnedFd,
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
        Ok(Given {
            output: self.open(Source::Function, Cutter::lines())?,
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
                pipe.poll(context, events);
                if events.len() > before {
                    self.first = at.saturating_add(1);
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Adds what has been written by now; half lines wait for the rest.
    pub fn read_out(&mut self, events: &mut Vec<Written>) {
        for pipe in self.pipes.iter_mut().filter(|pipe| !pipe.is_ended) {
            // A writer that is faster than we are must not keep us here.
            for _ in 0..READS_MAX {
                // The readiness that the event loop knows may be older than what is there, so the kernel is asked.
                let is_more = scratch::with(|buffer| match rustix::io::read(&pipe.end, &mut *buffer) {
                    Ok(count) if count > 0 => {
                        pipe.cut(buffer.get(..count).unwrap_or_default(), events);
                        count == buffer.len()
                    }
                    Err(rustix::io::Errno::INTR) => true,
                    Err(rustix::io::Errno::AGAIN) => false,
                    Ok(_) | Err(_) => {
                        pipe.is_ended = true;
                        false
                    }
                });
                if !is_more {
                    break;
                }
            }
        }
    }

    /// Adds half lines, too: nothing follows them that belongs to them.
    pub fn flush(&mut self, events: &mut Vec<Written>) {
        self.pipes.iter_mut().for_each(|pipe| pipe.flush(events));
    }
}

/// A pipe holds 64 KiB: so many reads see the bottom of one that nobody fills meanwhile.
const READS_MAX: usize = 8;

impl Pipe {
    /// Reads until an event is whole, or nothing is there.
    fn poll(&mut self, context: &mut Context<'_>, events: &mut Vec<Written>) {
        let before = events.len();
        scratch::with(|bytes| {
            while events.len() == before && !self.is_ended {
                let mut buffer = ReadBuf::new(bytes);
                match Pin::new(&mut self.end).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.cut(buffer.filled(), events),
                    Poll::Ready(_) => {
                        self.is_ended = true;
                        self.flush(events);
                    }
                    Poll::Pending => return,
                }
            }
        });
    }

    fn cut(&mut self, bytes: &[u8], events: &mut Vec<Written>) {
        let mut texts = Vec::new();
        self.cutter.cut(bytes, &mut texts);
        events.extend(texts.into_iter().map(|text| (self.source, text)));
    }

    fn flush(&mut self, events: &mut Vec<Written>) {
        let mut texts = Vec::new();
        self.cutter.flush(&mut texts);
        events.extend(texts.into_iter().map(|text| (self.source, text)));
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Ours alone: a program expects its output to block.
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// Cuts bytes into events.
enum Cutter {
    Lines { partial: Vec<u8> },
    Frames { partial: Vec<u8>, body_left: usize },
}

const FRAME_HEAD_BYTES: usize = 16;

/// What an event has of a frame: a line's end is put behind it.
const FRAME_PART_BYTES_MAX: usize = LOG_EVENT_BYTES_MAX - 1;

impl Cutter {
    fn lines() -> Cutter {
        Cutter::Lines { partial: Vec::new() }
    }

    fn frames() -> Cutter {
        Cutter::Frames { partial: Vec::new(), body_left: 0 }
    }

    fn cut(&mut self, mut bytes: &[u8], events: &mut Vec<String>) {
        while !bytes.is_empty() {
            bytes = match self {
                Cutter::Lines { partial } => cut_line(partial, bytes, events),
                Cutter::Frames { .. } => self.cut_frame(bytes, events),
            };
        }
    }

    /// Takes some of the bytes, and gives back the rest.
    fn cut_frame<'b>(&mut self, bytes: &'b [u8], events: &mut Vec<String>) -> &'b [u8] {
        let Cutter::Frames { partial, body_left } = self else { return &[] };
        if *body_left == 0 {
            let wanted = FRAME_HEAD_BYTES.saturating_sub(partial.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            partial.extend_from_slice(head);
            if let [_, _, _, _, l0, l1, l2, l3, _, _, _, _, _, _, _, _] = partial.as_slice() {
                *body_left = usize::try_from(u32::from_be_bytes([*l0, *l1, *l2, *l3])).unwrap_or(usize::MAX);
                partial.clear();
            }
            return rest;
        }
        let room = FRAME_PART_BYTES_MAX.saturating_sub(partial.len());
        let (body, rest) = bytes.split_at((*body_left).min(bytes.len()).min(room));
        partial.extend_from_slice(body);
        *body_left = body_left.saturating_sub(body.len());
        if *body_left == 0 {
            add(ended(std::mem::take(partial)), events);
        } else if partial.len() >= FRAME_PART_BYTES_MAX {
            add(ended(take_whole(partial)), events);
        }
        rest
    }

    /// Makes an event of a line that has not ended.
    fn flush(&mut self, events: &mut Vec<String>) {
        if let Cutter::Lines { partial } = self
            && !partial.is_empty()
        {
            add(ended(std::mem::take(partial)), events);
        }
    }
}

fn cut_line<'b>(partial: &mut Vec<u8>, bytes: &'b [u8], events: &mut Vec<String>) -> &'b [u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at.saturating_add(1));
    let room = LOG_EVENT_BYTES_MAX.saturating_sub(partial.len());
    let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()).min(room));
    partial.extend_from_slice(line);
    if line.last() == Some(&b'\n') {
        add(std::mem::take(partial), events);
    } else if partial.len() >= LOG_EVENT_BYTES_MAX {
        add(take_whole(partial), events);
    }
    rest
}

fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    bytes
}

/// Takes the bytes but those of a last character that goes on behind them.
fn take_whole(bytes: &mut Vec<u8>) -> Vec<u8> {
    const CHARACTER_BYTES_MAX: usize = 4;
    let from_end = bytes.iter().rev().take(CHARACTER_BYTES_MAX).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let begins = from_end.and_then(|from_end| bytes.len().checked_sub(from_end.saturating_add(1)));
    let is_cut = |begins: &usize| {
        let wanted = bytes.get(*begins).map_or(0, |byte| byte.leading_ones());
        wanted > 1 && u32::try_from(bytes.len().saturating_sub(*begins)).is_ok_and(|had| had < wanted)
    };
    let rest = begins.filter(is_cut).map(|begins| bytes.split_off(begins)).unwrap_or_default();
    std::mem::replace(bytes, rest)
}

/// Adds the event, or several: what is no text grows as it is made one.
fn add(bytes: Vec<u8>, events: &mut Vec<String>) {
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    while text.len() > LOG_EVENT_BYTES_MAX {
        let rest = text.split_off(text.floor_char_boundary(LOG_EVENT_BYTES_MAX));
        events.push(std::mem::replace(&mut text, rest));
    }
    events.push(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&0xa55a_0003_u32.to_be_bytes()[..], &length.to_be_bytes(), &7_u64.to_be_bytes(), bytes].concat()
    }

    proptest! {
        /// However the bytes arrive, the events are the same.
        #[test]
        fn events_do_not_depend_on_how_bytes_arrive(
            events in prop::collection::vec("[a-z]{1,40}", 0..10), piece in 1..50_usize,
        ) {
            let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
            let framed: Vec<u8> = events.iter().flat_map(|event| frame(event.as_bytes())).collect();
            for (mut cutter, bytes) in [(Cutter::lines(), lines.concat().into_bytes()), (Cutter::frames(), framed)] {
                let mut found = Vec::new();
                bytes.chunks(piece).for_each(|piece| cutter.cut(piece, &mut found));
                prop_assert_eq!(&found, &lines);
            }
        }
    }

    #[test]
    fn long_lines_and_frames_are_cut() {
        let mut found = Vec::new();
        Cutter::lines().cut(&vec![b'x'; LOG_EVENT_BYTES_MAX + 5], &mut found);
        assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [LOG_EVENT_BYTES_MAX]);
        found.clear();
        let mut cutter = Cutter::frames();
        cutter.cut(&frame(&vec![b'x'; LOG_EVENT_BYTES_MAX + 5]), &mut found);
        cutter.cut(&frame(b"next"), &mut found);
        assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [LOG_EVENT_BYTES_MAX, 7, 5]);
    }

    /// Characters of each length lie across each cut, and bytes that are no text grow threefold.
    #[test]
    fn no_event_is_too_long_and_no_character_is_cut() {
        for character in ["é", "€", "😀"] {
            for shift in 0..character.len() {
                let text = "x".repeat(shift) + &character.repeat(LOG_EVENT_BYTES_MAX / character.len() + 1) + "\n";
                let ways = [(Cutter::lines(), text.clone().into_bytes()), (Cutter::frames(), frame(text.as_bytes()))];
                for (mut cutter, bytes) in ways {
                    let mut found = Vec::new();
                    cutter.cut(&bytes, &mut found);
                    assert!(found.len() == 2 && found.iter().all(|event| event.len() <= LOG_EVENT_BYTES_MAX));
                    assert_eq!(found.concat().replace('\n', ""), text.trim_end());
                }
            }
        }
        let binary = vec![0xff; LOG_EVENT_BYTES_MAX + 5];
        for (mut cutter, bytes) in [(Cutter::lines(), binary.clone()), (Cutter::frames(), frame(&binary))] {
            let mut found = Vec::new();
            cutter.cut(&bytes, &mut found);
            cutter.flush(&mut found);
            assert!(found.iter().all(|event| event.len() <= LOG_EVENT_BYTES_MAX));
            assert_eq!(found.concat().matches('\u{fffd}').count(), binary.len());
        }
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
        assert_eq!(events.last(), Some(&(Source::Function, "heard\n".to_owned())));
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
        let function = |text: &str| (Source::Function, text.to_owned());
        let written = [function("one\n"), function("three\n"), (Source::Extension, "four\n".into()), function("two\n")];
        assert_eq!(events, written);
        events.clear();
        rustix::io::write(&given.log, &frame(b"five")).unwrap();
        output.next(&mut events).await;
        assert_eq!(events, [function("five\n")]);
    }
}
