//! Event streams, `application/vnd.amazon.eventstream`: frames of typed headers and a payload, each under two CRCs.
//!
//! The pipeline writes a handler's events with [`event`], [`exception`] and [`initial_response`]; `Frames` takes a
//! client's stream apart. Where a client signs its events, each frame is an [`Envelope`] whose signature is checked by
//! `sigv4::event` before its payload is read as a frame of its own.
//!
//! Layout: total length, length of the headers, CRC-32 of these eight bytes; headers; payload; CRC-32 of all before.

mod events;

use base::Timestamp;
use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{EVENT_BYTES_MAX, EVENT_HEADERS_BYTES_MAX};

pub use events::{decode_event, event, exception, initial_response, stream_member};

/// Lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum behind everything.
const TRAILER_BYTES: usize = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    pub headers: Vec<(String, Header)>,
    pub payload: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Header {
    Bool(bool),
    Byte(i8),
    Short(i16),
    Integer(i32),
    Long(i64),
    Bytes(Bytes),
    String(String),
    /// Whole milliseconds.
    Timestamp(Timestamp),
    Uuid([u8; 16]),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("read an event: its checksum is wrong")]
    Checksum,
    #[error("read an event: its lengths do not fit each other")]
    Length,
    #[error("read an event: its headers are malformed")]
    Header,
    #[error("carry an event of {0} bytes: it is too large")]
    TooLarge(usize),
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of a header that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.header(name)? {
            Header::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn with_text(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Header::String(value.into())));
        self
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push(u8::try_from(name.len()).map_err(|_| FrameError::Header)?);
            headers.extend_from_slice(name.as_bytes());
            value.write(&mut headers)?;
        }
        let fixed = PRELUDE_BYTES.saturating_add(TRAILER_BYTES);
        let total = headers.len().saturating_add(self.payload.len()).saturating_add(fixed);
        if total > EVENT_BYTES_MAX || headers.len() > EVENT_HEADERS_BYTES_MAX {
            return Err(FrameError::TooLarge(total));
        }
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let mut frame = Vec::with_capacity(total);
        frame.extend_from_slice(&length(total));
        frame.extend_from_slice(&length(headers.len()));
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&headers);
        frame.extend_from_slice(&self.payload);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        Ok(frame.into())
    }
}

impl Header {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let sized = |out: &mut Vec<u8>, kind: u8, bytes: &[u8]| {
            let len = i16::try_from(bytes.len()).map_err(|_| FrameError::Header)?;
            out.push(kind);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(bytes);
            Ok(())
        };
        let fixed = |out: &mut Vec<u8>, kind: u8, bytes: &[u8]| {
            out.push(kind);
            out.extend_from_slice(bytes);
        };
        match self {
            Self::Bool(true) => out.push(0),
            Self::Bool(false) => out.push(1),
            Self::Byte(number) => fixed(out, 2, &number.to_be_bytes()),
            Self::Short(number) => fixed(out, 3, &number.to_be_bytes()),
            Self::Integer(number) => fixed(out, 4, &number.to_be_bytes()),
            Self::Long(number) => fixed(out, 5, &number.to_be_bytes()),
            Self::Bytes(bytes) => return sized(out, 6, bytes),
            Self::String(text) => return sized(out, 7, text.as_bytes()),
            Self::Timestamp(moment) => fixed(out, 8, &moment.as_millis().to_be_bytes()),
            Self::Uuid(uuid) => fixed(out, 9, uuid),
        }
        Ok(())
    }

    fn read(bytes: &mut Bytes) -> Result<Self, FrameError> {
        fn fixed<const N: usize>(bytes: &mut Bytes) -> Result<[u8; N], FrameError> {
            let mut taken = [0; N];
            bytes.try_copy_to_slice(&mut taken).map_err(|_| FrameError::Header)?;
            Ok(taken)
        }
        fn sized(bytes: &mut Bytes) -> Result<Bytes, FrameError> {
            let len = usize::try_from(i16::from_be_bytes(fixed(bytes)?));
            match len {
                Ok(len) if len <= bytes.len() => Ok(bytes.split_to(len)),
                _ => Err(FrameError::Header),
            }
        }
        let [kind] = fixed(bytes)?;
        Ok(match kind {
            0 => Self::Bool(true),
            1 => Self::Bool(false),
            2 => Self::Byte(i8::from_be_bytes(fixed(bytes)?)),
            3 => Self::Short(i16::from_be_bytes(fixed(bytes)?)),
            4 => Self::Integer(i32::from_be_bytes(fixed(bytes)?)),
            5 => Self::Long(i64::from_be_bytes(fixed(bytes)?)),
            6 => Self::Bytes(sized(bytes)?),
            7 => Self::String(String::from_utf8(sized(bytes)?.into()).map_err(|_| FrameError::Header)?),
            8 => {
                let micros = i64::from_be_bytes(fixed(bytes)?).checked_mul(1_000).ok_or(FrameError::Header)?;
                Self::Timestamp(Timestamp::from_micros(micros))
            }
            9 => Self::Uuid(fixed(bytes)?),
            _ => return Err(FrameError::Header),
        })
    }
}

/// Takes a stream of bytes apart, however it is cut. After an error the stream is broken.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Holds no more than the frame under way and what `bytes` brought beyond it, when `next` is called until it has
    /// nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        let Some(mut prelude) = self.buffer.get(..PRELUDE_BYTES) else { return Ok(None) };
        let lengths = crc32fast::hash(prelude.get(..8).unwrap_or_default());
        let (total, headers) = (prelude.get_u32() as usize, prelude.get_u32() as usize);
        if lengths != prelude.get_u32() {
            return Err(FrameError::Checksum);
        }
        let rest = total.checked_sub(PRELUDE_BYTES).and_then(|rest| rest.checked_sub(TRAILER_BYTES));
        if rest.is_none_or(|rest| headers > rest) {
            return Err(FrameError::Length);
        }
        if total > EVENT_BYTES_MAX || headers > EVENT_HEADERS_BYTES_MAX {
            return Err(FrameError::TooLarge(total));
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(total).freeze();
        let mut trailer = frame.split_off(total.saturating_sub(TRAILER_BYTES));
        if crc32fast::hash(&frame) != trailer.get_u32() {
            return Err(FrameError::Checksum);
        }
        frame.advance(PRELUDE_BYTES);
        let mut rest = frame.split_to(headers);
        let mut message = Message { headers: Vec::new(), payload: frame };
        while !rest.is_empty() {
            let len = usize::from(rest.get_u8());
            if len > rest.len() {
                return Err(FrameError::Header);
            }
            let name = String::from_utf8(rest.split_to(len).into()).map_err(|_| FrameError::Header)?;
            message.headers.push((name, Header::read(&mut rest)?));
        }
        Ok(Some(message))
    }

    /// Whether the stream may end here: no frame is under way.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// A signed event: the payload is a frame of its own, and an empty one ends the stream.
#[derive(Debug, PartialEq)]
pub struct Envelope<'a> {
    pub date: Timestamp,
    pub signature: &'a [u8],
    pub payload: &'a Bytes,
}

impl<'a> Envelope<'a> {
    /// `None` if the frame is not signed.
    pub fn of(message: &'a Message) -> Option<Self> {
        match (message.header(":date")?, message.header(":chunk-signature")?) {
            (Header::Timestamp(date), Header::Bytes(signature)) => {
                Some(Self { date: *date, signature, payload: &message.payload })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = Header> {
        prop_oneof![
            any::<bool>().prop_map(Header::Bool),
            any::<i8>().prop_map(Header::Byte),
            any::<i16>().prop_map(Header::Short),
            any::<i32>().prop_map(Header::Integer),
            any::<i64>().prop_map(Header::Long),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Header::Bytes(bytes.into())),
            ".{0,20}".prop_map(Header::String),
            (-9_000_000_000_000_i64..9_000_000_000_000).prop_map(|ms| Header::Timestamp(Timestamp::from_millis(ms))),
            any::<[u8; 16]>().prop_map(Header::Uuid),
        ]
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let headers = proptest::collection::vec(("[a-z:-]{1,20}", any_header()), 0..6);
        let payload = proptest::collection::vec(any::<u8>(), 0..200);
        (headers, payload).prop_map(|(headers, payload)| Message { headers, payload: payload.into() })
    }

    fn read_all(bytes: &[u8], cut: usize) -> Result<Vec<Message>, FrameError> {
        let mut frames = Frames::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(cut.max(1)) {
            frames.push(piece);
            while let Some(message) = frames.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_frame_has_the_documented_bytes() {
        // The empty message of the format's description.
        let empty = Message::default().encode().unwrap();
        assert_eq!(empty.as_ref(), b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff");
    }

    #[test]
    fn what_is_too_large_is_neither_written_nor_awaited() {
        let large = Message { headers: vec![], payload: vec![0; EVENT_BYTES_MAX].into() };
        assert!(matches!(large.encode(), Err(FrameError::TooLarge(_))));
        let mut prelude = [0xff_u8; 8].to_vec();
        prelude[4..].copy_from_slice(&[0; 4]);
        let checksum = crc32fast::hash(&prelude).to_be_bytes();
        prelude.extend_from_slice(&checksum);
        assert!(matches!(read_all(&prelude, 12), Err(FrameError::TooLarge(_))));
        let name = Message { headers: vec![("x".repeat(256), Header::Bool(true))], payload: Bytes::new() };
        assert_eq!(name.encode(), Err(FrameError::Header));
    }

    #[test]
    fn an_envelope_is_a_signed_frame() {
        let date = Timestamp::from_millis(1_767_225_600_123);
        let headers = vec![
            (":date".into(), Header::Timestamp(date)),
            (":chunk-signature".into(), Header::Bytes(Bytes::from_static(b"sig"))),
        ];
        let signed = Message { headers, payload: Bytes::from_static(b"inner") };
        let expected = Envelope { date, signature: b"sig", payload: &signed.payload };
        assert_eq!(Envelope::of(&signed), Some(expected));
        assert_eq!(Envelope::of(&Message::default()), None);
    }

    proptest! {
        #[test]
        fn frames_come_back_however_the_stream_is_cut(
            messages in proptest::collection::vec(any_message(), 0..4),
            cut in 1_usize..64,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| message.encode().unwrap()).collect();
            prop_assert_eq!(read_all(&bytes, cut), Ok(messages));
        }

        #[test]
        fn a_flipped_bit_is_found(message in any_message(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let mut bytes = message.encode().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(read_all(&bytes, usize::MAX).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), headers in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_all(&bytes, 7);
            // The same behind lengths and checksums that are right.
            let mut frame = (16 + headers.len() as u32).to_be_bytes().to_vec();
            frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
            let checksum = crc32fast::hash(&frame).to_be_bytes();
            frame.extend_from_slice(&checksum);
            frame.extend_from_slice(&headers);
            let checksum = crc32fast::hash(&frame).to_be_bytes();
            frame.extend_from_slice(&checksum);
            let _ = read_all(&frame, 1_000);
        }
    }
}
