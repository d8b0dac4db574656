//! Bytes of a pipe, cut into lines, frames and marks.

use base::Timestamp;

use super::marked::Frame;
use crate::limits::LOG_EVENT_BYTES_MAX;

/// Cuts bytes into events.
pub enum Cutter {
    Lines { partial: Vec<u8> },
    Frames { partial: Vec<u8>, body_left: usize, head: Head },
}

/// What a frame says of itself.
#[derive(Clone, Copy, Default)]
pub struct Head {
    time: Timestamp,
    is_marked: bool,
}

/// A piece of what was read.
pub enum Cut {
    Line(String),
    /// The next marked frame belongs here.
    Mark,
    Frame {
        frame: Frame,
        is_marked: bool,
    },
}

const FRAME_HEAD_BYTES: usize = 16;

/// What a frame begins with.
const MAGIC: u8 = 0xa5;
const PLAIN: u8 = 0x5a;

/// The second byte of a frame's type, where its place is marked: AWS's with one bit more.
const MARKED: u8 = 0x5b;

/// A mark, which ends as a line does. It is no text, and short enough to be written as a whole.
pub const MARK: &[u8] = b"\xff\xfemark\xff\n";

/// What an event has of a frame: a line's end is put behind it.
const FRAME_PART_BYTES_MAX: usize = LOG_EVENT_BYTES_MAX - 1;

/// A frame that claims more is none: what follows it is looked through for the next.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Cutter {
    pub fn lines() -> Cutter {
        Cutter::Lines { partial: Vec::new() }
    }

    pub fn frames() -> Cutter {
        Cutter::Frames { partial: Vec::new(), body_left: 0, head: Head::default() }
    }

    pub fn cut(&mut self, mut bytes: &[u8], events: &mut Vec<Cut>) {
        while !bytes.is_empty() {
            bytes = match self {
                Cutter::Lines { partial } => cut_line(partial, bytes, events),
                Cutter::Frames { .. } => self.cut_frame(bytes, events),
            };
        }
    }

    /// Takes some of the bytes, and gives back the rest.
    fn cut_frame<'b>(&mut self, bytes: &'b [u8], events: &mut Vec<Cut>) -> &'b [u8] {
        let Cutter::Frames { partial, body_left, head: said } = self else { return &[] };
        if *body_left == 0 {
            let wanted = FRAME_HEAD_BYTES.saturating_sub(partial.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            partial.extend_from_slice(head);
            if partial.len() == FRAME_HEAD_BYTES {
                *body_left = begin_frame(partial, said, events);
            }
            return rest;
        }
        let room = FRAME_PART_BYTES_MAX.saturating_sub(partial.len());
        let (body, rest) = bytes.split_at((*body_left).min(bytes.len()).min(room));
        partial.extend_from_slice(body);
        *body_left = body_left.saturating_sub(body.len());
        if *body_left == 0 {
            add_frame(ended(std::mem::take(partial)), *said, true, events);
        } else if partial.len() >= FRAME_PART_BYTES_MAX {
            add_frame(ended(take_whole(partial)), *said, false, events);
        }
        rest
    }

    /// Makes an event of a line that has not ended.
    pub fn flush(&mut self, events: &mut Vec<Cut>) {
        if let Cutter::Lines { partial } = self
            && !partial.is_empty()
        {
            add_line(ended(std::mem::take(partial)), events);
        }
    }
}

/// Reads a frame's head, and gives how much follows it. Of what is no head, it leaves what may be the beginning of one.
fn begin_frame(partial: &mut Vec<u8>, said: &mut Head, events: &mut Vec<Cut>) -> usize {
    let [first, kind, _, _, l0, l1, l2, l3, t0, t1, t2, t3, t4, t5, t6, t7] = partial.as_slice() else { return 0 };
    let length = usize::try_from(u32::from_be_bytes([*l0, *l1, *l2, *l3])).unwrap_or(usize::MAX);
    let micros = i64::from_be_bytes([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7]);
    let is_head = *first == MAGIC && matches!(*kind, PLAIN | MARKED);
    *said = Head { time: Timestamp::from_micros(micros), is_marked: is_head && *kind == MARKED };
    let is_told = is_head && length <= FRAME_BYTES_MAX;
    if said.is_marked && (length == 0 || !is_told) {
        // Nothing is to be told, but its mark comes all the same.
        let frame = Frame { text: String::new(), time: said.time, is_last: true };
        events.push(Cut::Frame { frame, is_marked: true });
    }
    if is_told {
        partial.clear();
        return length;
    }
    let next = partial.iter().skip(1).position(|byte| *byte == MAGIC).map(|at| at.saturating_add(1));
    partial.drain(..next.unwrap_or(partial.len()));
    0
}

fn cut_line<'b>(partial: &mut Vec<u8>, bytes: &'b [u8], events: &mut Vec<Cut>) -> &'b [u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at.saturating_add(1));
    let room = LOG_EVENT_BYTES_MAX.saturating_sub(partial.len());
    let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()).min(room));
    partial.extend_from_slice(line);
    if partial.ends_with(MARK) {
        // What stands before it in its line goes on behind it.
        partial.truncate(partial.len().saturating_sub(MARK.len()));
        events.push(Cut::Mark);
    } else if line.last() == Some(&b'\n') {
        add_line(std::mem::take(partial), events);
    } else if partial.len() >= LOG_EVENT_BYTES_MAX {
        let rest = begun_mark(partial);
        add_line(take_whole(partial), events);
        partial.extend_from_slice(rest);
    }
    rest
}

/// Takes off the end what may be the beginning of a mark.
fn begun_mark(bytes: &mut Vec<u8>) -> &'static [u8] {
    let begun = (1..MARK.len()).rev().filter_map(|length| MARK.get(..length)).find(|begun| bytes.ends_with(begun));
    let begun = begun.unwrap_or_default();
    bytes.truncate(bytes.len().saturating_sub(begun.len()));
    begun
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

fn add_line(bytes: Vec<u8>, events: &mut Vec<Cut>) {
    events.extend(texts(bytes).into_iter().map(Cut::Line));
}

fn add_frame(bytes: Vec<u8>, Head { time, is_marked }: Head, is_end: bool, events: &mut Vec<Cut>) {
    let texts = texts(bytes);
    let count = texts.len();
    for (text, number) in texts.into_iter().zip(1..) {
        let frame = Frame { text, time, is_last: is_end && number == count };
        events.push(Cut::Frame { frame, is_marked });
    }
}

/// The text, or several: what is no text grows as it is made one.
fn texts(bytes: Vec<u8>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    while text.len() > LOG_EVENT_BYTES_MAX {
        let rest = text.split_off(text.floor_char_boundary(LOG_EVENT_BYTES_MAX));
        texts.push(std::mem::replace(&mut text, rest));
    }
    texts.push(text);
    texts
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn frame(bytes: &[u8]) -> Vec<u8> {
        frame_of(0xa55a_0003, bytes)
    }

    pub fn frame_of(kind: u32, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), &7_u64.to_be_bytes(), bytes].concat()
    }

    fn text(cut: Cut) -> String {
        match cut {
            Cut::Line(text) | Cut::Frame { frame: Frame { text, .. }, .. } => text,
            Cut::Mark => "MARK".into(),
        }
    }

    /// Cuts all, a piece after the other.
    fn cut(cutter: &mut Cutter, bytes: &[u8], piece: usize) -> Vec<String> {
        let mut found = Vec::new();
        bytes.chunks(piece).for_each(|piece| cutter.cut(piece, &mut found));
        cutter.flush(&mut found);
        found.into_iter().map(text).collect()
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
                prop_assert_eq!(&cut(&mut cutter, &bytes, piece), &lines);
            }
        }

        /// Marks stand anywhere in what is written, and change nothing of it.
        #[test]
        fn marks_are_found_wherever_they_are(
            parts in prop::collection::vec("[a-z\n]{0,40}", 1..10), piece in 1..50_usize,
        ) {
            let plain = parts.concat();
            let marked = parts.join("\0").into_bytes();
            let marked: Vec<u8> = marked.split(|byte| *byte == 0).collect::<Vec<_>>().join(MARK);
            let mut found = cut(&mut Cutter::lines(), &marked, piece);
            let marks = found.extract_if(.., |text| text == "MARK").count();
            prop_assert_eq!(marks, parts.len() - 1);
            prop_assert_eq!(found, cut(&mut Cutter::lines(), plain.as_bytes(), piece));
        }
    }

    /// A frame may claim anything: those behind it are found, and where its mark belongs is known.
    #[test]
    fn absurd_frames_swallow_nothing() {
        for kind in [0xa55a_0003_u32, 0xa55b_0003] {
            let absurd = [&kind.to_be_bytes()[..], &[0xff; 4], &(7_u64 << 40).to_be_bytes(), b"no \xa5 frame"].concat();
            for piece in [1, 7, 100] {
                let bytes = [&absurd[..], &frame(b"next"), &frame(b"last")].concat();
                let mut found = cut(&mut Cutter::frames(), &bytes, piece);
                let places = found.extract_if(.., |text| text.is_empty()).count();
                assert_eq!((places, found), (usize::from(kind == 0xa55b_0003), vec!["next\n".into(), "last\n".into()]));
            }
        }
    }

    #[test]
    fn long_lines_and_frames_are_cut() {
        let long = vec![b'x'; LOG_EVENT_BYTES_MAX + 5];
        let lengths = |found: Vec<String>| found.iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths(cut(&mut Cutter::lines(), &long, 1 << 20)), [LOG_EVENT_BYTES_MAX, 6]);
        let frames = [frame(&long), frame(b"next")].concat();
        assert_eq!(lengths(cut(&mut Cutter::frames(), &frames, 1 << 20)), [LOG_EVENT_BYTES_MAX, 7, 5]);
        for left in 0..MARK.len() {
            let line = [&vec![b'x'; LOG_EVENT_BYTES_MAX - left][..], MARK].concat();
            let found = cut(&mut Cutter::lines(), &line, 1 << 20);
            assert_eq!(found.iter().filter(|text| *text == "MARK").count(), 1);
            assert!(found.concat().bytes().all(|byte| b"xMARK\n".contains(&byte)), "no part of a mark is in a line");
        }
    }

    /// Characters of each length lie across each cut, and bytes that are no text grow threefold.
    #[test]
    fn no_event_is_too_long_and_no_character_is_cut() {
        for character in ["é", "€", "😀"] {
            for shift in 0..character.len() {
                let text = "x".repeat(shift) + &character.repeat(LOG_EVENT_BYTES_MAX / character.len() + 1) + "\n";
                let ways = [(Cutter::lines(), text.clone().into_bytes()), (Cutter::frames(), frame(text.as_bytes()))];
                for (mut cutter, bytes) in ways {
                    let found = cut(&mut cutter, &bytes, 1 << 20);
                    assert!(found.len() == 2 && found.iter().all(|event| event.len() <= LOG_EVENT_BYTES_MAX));
                    assert_eq!(found.concat().replace('\n', ""), text.trim_end());
                }
            }
        }
        let binary = vec![0xff; LOG_EVENT_BYTES_MAX + 5];
        for (mut cutter, bytes) in [(Cutter::lines(), binary.clone()), (Cutter::frames(), frame(&binary))] {
            let found = cut(&mut cutter, &bytes, 1 << 20);
            assert!(found.iter().all(|event| event.len() <= LOG_EVENT_BYTES_MAX));
            assert_eq!(found.concat().matches('\u{fffd}').count(), binary.len());
        }
    }
}
