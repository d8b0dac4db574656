//! Frames as bytes: `docs/decisions/0007-runtime-frames.md`.

/// The header: length, kind, flags, two zeros, stream.
pub const HEAD_BYTES: usize = 12;

pub const PAYLOAD_BYTES_MAX: usize = 65_536;

const MORE: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Parked = 1,
    Init = 2,
    Ready = 3,
    InitError = 4,
    Invoke = 5,
    Event = 6,
    Credit = 7,
    Head = 8,
    Response = 9,
    Error = 10,
    Next = 11,
    // 12 asks a runtime to exit: where there are no extensions, AWS kills it without asking.
    Prepare = 13,
    Prepared = 14,
    Harmless = 15,
    Unfit = 16,
    Loaded = 17,
}

impl Kind {
    /// The kinds that a runtime may send.
    fn from_runtime(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Parked,
            3 => Kind::Ready,
            4 => Kind::InitError,
            8 => Kind::Head,
            9 => Kind::Response,
            10 => Kind::Error,
            11 => Kind::Next,
            14 => Kind::Prepared,
            15 => Kind::Harmless,
            16 => Kind::Unfit,
            17 => Kind::Loaded,
            _ => return None,
        })
    }
}

/// A frame from a runtime. The payload follows its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    /// The message goes on in the next frame.
    pub is_more: bool,
    pub stream: u32,
    pub payload_bytes: usize,
}

impl Head {
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Head, &'static str> {
        let [l0, l1, l2, l3, kind, flags, 0, 0, s0, s1, s2, s3] = bytes else {
            return Err("it sent a frame whose spare bytes are not zero");
        };
        let payload_bytes = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err("it sent a frame longer than a frame may be");
        }
        if flags & !MORE != 0 {
            return Err("it sent a frame with unknown flags");
        }
        let kind = Kind::from_runtime(kind).ok_or("it sent a frame of no kind that a runtime sends")?;
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        Ok(Head { kind, is_more: flags & MORE != 0, stream, payload_bytes })
    }
}

/// Appends a message, cut into frames.
pub fn write(out: &mut Vec<u8>, kind: Kind, stream: u32, message: &[u8]) {
    let frames = message.len().div_ceil(PAYLOAD_BYTES_MAX).max(1);
    out.reserve(message.len().saturating_add(frames.saturating_mul(HEAD_BYTES)));
    let mut rest = message;
    loop {
        let (payload, after) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let flags = if after.is_empty() { 0 } else { MORE };
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[kind as u8, flags, 0, 0]);
        out.extend_from_slice(&stream.to_le_bytes());
        out.extend_from_slice(payload);
        if after.is_empty() {
            return;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_cut_into_frames() {
        let mut out = Vec::new();
        write(&mut out, Kind::Next, 7, b"");
        assert_eq!(out, [0, 0, 0, 0, 11, 0, 0, 0, 7, 0, 0, 0]);
        out.clear();
        write(&mut out, Kind::Response, 1, &vec![1; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(out.len(), PAYLOAD_BYTES_MAX + 1 + 2 * HEAD_BYTES);
        assert_eq!(out[..HEAD_BYTES], [0, 0, 1, 0, 9, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(out[HEAD_BYTES + PAYLOAD_BYTES_MAX..], [1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn heads_read_back_and_nonsense_is_refused(bytes: [u8; HEAD_BYTES]) {
            if let Ok(head) = Head::parse(bytes) {
                let mut out = Vec::new();
                write(&mut out, head.kind, head.stream, &vec![0; head.payload_bytes]);
                out[5] |= u8::from(head.is_more);
                prop_assert_eq!(&out[..HEAD_BYTES], &bytes[..]);
            }
        }
    }
}
