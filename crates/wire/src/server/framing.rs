//! Where one HTTP/1 message ends and the next begins, read strictly: the second opinion on what hyper reads leniently.
//!
//! hyper takes a bare line feed for a line end, silently prefers `Transfer-Encoding` over `Content-Length`, and folds
//! equal lengths into one; each is the seed of request smuggling behind a proxy that reads it differently (RFC 9112,
//! sections 6.3 and 11.2). Here all of that is refused, and what passes means the same to every reader. Tokens and
//! characters within a line are left to hyper, which is strict about them.
//!
//! Pure: bytes in, verdict out. [`super::guard`] feeds it and keeps a head back until it is known to be good.

use std::fmt;

use crate::limits;

/// Why a head is answered without being served; the connection closes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed(&'static str),
    UriTooLong,
    HeadTooLarge,
    VersionUnknown,
    TimedOut,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TimedOut => 408,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::VersionUnknown => 505,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::TimedOut => f.write_str("The request line and headers did not arrive in time."),
            Self::UriTooLong => write!(f, "The request target is longer than {} bytes.", limits::URI_BYTES_MAX),
            Self::HeadTooLarge => write!(
                f,
                "The headers are more than {} lines or {} bytes.",
                limits::HEADERS_MAX,
                limits::HEAD_BYTES_MAX
            ),
            Self::VersionUnknown => f.write_str("Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here."),
        }
    }
}

/// How the body behind a head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Length(u64),
    Chunked,
}

/// A head that is being read. Call [`HeadScan::advance`] with all bytes of the head so far, whenever there are more.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes looked at, and where the current line begins.
    scanned: usize,
    line_start: usize,
    /// Empty lines before the request line. One is taken, as RFC 9112 asks; more are not.
    blank_count: usize,
    version: Option<Version>,
    header_count: usize,
    host_count: usize,
    content_length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl HeadScan {
    /// The length of the head and how its body ends, once the head is whole.
    pub fn advance(&mut self, head: &[u8]) -> Result<Option<(usize, BodyEnd)>, Refusal> {
        while let Some(offset) = head.get(self.scanned..).and_then(|rest| memchr(b'\n', rest)) {
            let at = self.scanned.saturating_add(offset);
            let line = head.get(self.line_start..at).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::Malformed("A line ends in a line feed without a carriage return."));
            };
            let whole = self.line(line)?;
            self.scanned = at.saturating_add(1);
            self.line_start = self.scanned;
            if self.scanned > limits::HEAD_BYTES_MAX {
                return Err(Refusal::HeadTooLarge);
            }
            if whole {
                return self.end().map(|end| Some((self.scanned, end)));
            }
        }
        self.scanned = head.len();
        self.check_open_line(head.len())?;
        Ok(None)
    }

    /// The bounds hold for a line that has not ended, too.
    fn check_open_line(&self, len: usize) -> Result<(), Refusal> {
        // The longest method and version beside the longest target.
        const REQUEST_LINE_BYTES_MAX: usize = limits::URI_BYTES_MAX + 64;
        if self.version.is_none() && len.saturating_sub(self.line_start) > REQUEST_LINE_BYTES_MAX {
            return Err(Refusal::UriTooLong);
        }
        if len > limits::HEAD_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }

    /// Whether this was the line that ends the head.
    fn line(&mut self, line: &[u8]) -> Result<bool, Refusal> {
        match (self.version, line.is_empty()) {
            (None, true) if self.blank_count == 0 => {
                self.blank_count = 1;
                Ok(false)
            }
            (None, true) => Err(Refusal::Malformed("Empty lines precede the request line.")),
            (None, false) => self.request_line(line).map(|()| false),
            (Some(_), true) => Ok(true),
            (Some(_), false) => self.header(line).map(|()| false),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let mut parts = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed("The request line is not a method, a target and a version."));
        };
        if target.len() > limits::URI_BYTES_MAX {
            return Err(Refusal::UriTooLong);
        }
        if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(Refusal::Malformed("The request target holds characters that must be percent-encoded."));
        }
        // What follows a CONNECT is no HTTP, and there is nothing here to connect to.
        if method == b"CONNECT" {
            return Err(Refusal::Malformed("CONNECT is not served: this is no proxy."));
        }
        self.version = Some(match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Refusal::VersionUnknown);
            }
            _ => return Err(Refusal::Malformed("The request line ends in no HTTP version.")),
        });
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.header_count = self.header_count.saturating_add(1);
        if self.header_count > limits::HEADERS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(Refusal::Malformed("A header is folded over several lines."));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Refusal::Malformed("A header has no colon."));
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encoding(value)
        } else if name.eq_ignore_ascii_case(b"host") {
            self.host_count = self.host_count.saturating_add(1);
            Ok(())
        } else {
            Ok(())
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() {
            return Err(Refusal::Malformed("Content-Length is given twice."));
        }
        // 18 digits cannot overflow, and hyper keeps the two highest lengths for itself.
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|digits| digits.parse().ok());
        self.content_length = Some(length.ok_or(Refusal::Malformed("Content-Length is not a number."))?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::Malformed("Transfer-Encoding is given twice."));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Malformed("The only Transfer-Encoding that is understood is chunked."));
        }
        self.chunked = true;
        Ok(())
    }

    fn end(&self) -> Result<BodyEnd, Refusal> {
        match (self.version, self.host_count) {
            (Some(Version::Http11), 0) => return Err(Refusal::Malformed("The Host header is missing.")),
            (_, 2..) => return Err(Refusal::Malformed("Host is given twice.")),
            (Some(Version::Http10), _) if self.chunked => {
                return Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding."));
            }
            _ => {}
        }
        match (self.content_length, self.chunked) {
            (Some(_), true) => {
                Err(Refusal::Malformed("Content-Length and Transfer-Encoding together leave the length open."))
            }
            (length, false) => Ok(BodyEnd::Length(length.unwrap_or(0))),
            (None, true) => Ok(BodyEnd::Chunked),
        }
    }
}

/// A chunked body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkScan {
    /// In the line that opens a chunk: its digits so far, whether they have ended, and the bytes of the line.
    Size {
        digits: u8,
        size: u64,
        in_extension: bool,
        line_bytes: usize,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// Behind the last chunk: bytes of all trailers, and of the current line.
    Trailer {
        bytes: usize,
        line_bytes: usize,
    },
    TrailerLf {
        bytes: usize,
        line_bytes: usize,
    },
    End,
}

/// A chunked body that two readers could read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a chunked body: its framing is not exact")]
pub(super) struct ChunkError;

impl Default for ChunkScan {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0, in_extension: false, line_bytes: 0 }
    }
}

impl ChunkScan {
    /// How many of `bytes` belong to the body. Fewer than all only at [`ChunkScan::End`].
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        let mut at = 0_usize;
        while *self != Self::End {
            if let Self::Data { left } = self {
                let here = bytes.len().saturating_sub(at);
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left = left.saturating_sub(taken as u64);
                at = at.saturating_add(taken);
                if *left > 0 {
                    break;
                }
                *self = Self::DataCr;
            }
            let Some(byte) = bytes.get(at) else { break };
            *self = self.next(*byte)?;
            at = at.saturating_add(1);
        }
        Ok(at)
    }

    fn next(self, byte: u8) -> Result<Self, ChunkError> {
        match (self, byte) {
            (Self::Size { line_bytes, .. }, _) if line_bytes >= limits::CHUNK_LINE_BYTES_MAX => Err(ChunkError),
            (Self::Size { digits: 1.., size, .. }, b'\r') => Ok(Self::SizeLf { size }),
            (Self::Size { digits: digits @ 1.., size, in_extension: false, line_bytes }, b';') => {
                Ok(Self::Size { digits, size, in_extension: true, line_bytes: line_bytes.saturating_add(1) })
            }
            (Self::Size { digits, size, in_extension: false, line_bytes }, _) => {
                // 15 digits cannot overflow, and no chunk needs more.
                let digit = char::from(byte).to_digit(16).filter(|_| digits < 15).ok_or(ChunkError)?;
                let size = size.wrapping_mul(16).wrapping_add(u64::from(digit));
                Ok(Self::Size { digits: digits.saturating_add(1), size, in_extension: false, line_bytes })
            }
            (Self::Size { digits, size, in_extension: true, line_bytes }, b'\t' | b' '..=b'~') => {
                Ok(Self::Size { digits, size, in_extension: true, line_bytes: line_bytes.saturating_add(1) })
            }
            (Self::SizeLf { size: 0 }, b'\n') => Ok(Self::Trailer { bytes: 0, line_bytes: 0 }),
            (Self::SizeLf { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::default()),
            (Self::Trailer { bytes, .. }, _) if bytes >= limits::TRAILER_BYTES_MAX => Err(ChunkError),
            (Self::Trailer { bytes, line_bytes }, b'\r') => Ok(Self::TrailerLf { bytes, line_bytes }),
            (Self::Trailer { .. }, b'\n' | 0) => Err(ChunkError),
            (Self::Trailer { line_bytes: 0, .. }, b' ' | b'\t') => Err(ChunkError),
            (Self::Trailer { bytes, line_bytes }, _) => {
                Ok(Self::Trailer { bytes: bytes.saturating_add(1), line_bytes: line_bytes.saturating_add(1) })
            }
            (Self::TrailerLf { line_bytes: 0, .. }, b'\n') => Ok(Self::End),
            (Self::TrailerLf { bytes, .. }, b'\n') => Ok(Self::Trailer { bytes, line_bytes: 0 }),
            _ => Err(ChunkError),
        }
    }
}

fn memchr(needle: u8, hay: &[u8]) -> Option<usize> {
    hay.iter().position(|byte| *byte == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(head: &[u8]) -> Result<Option<(usize, BodyEnd)>, Refusal> {
        HeadScan::default().advance(head)
    }

    #[test]
    fn a_plain_head_ends_where_it_ends() {
        let head = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\nbody";
        assert_eq!(scan(head), Ok(Some((head.len() - 4, BodyEnd::Length(12)))));
        let head = b"\r\nPOST /a HTTP/1.1\r\nHOST:h\r\ntransfer-encoding:\t Chunked \r\n\r\n";
        assert_eq!(scan(head), Ok(Some((head.len(), BodyEnd::Chunked))));
    }

    #[test]
    fn bytes_that_come_one_by_one_mean_the_same() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
        let mut scan = HeadScan::default();
        for len in 0..head.len() {
            assert_eq!(scan.advance(&head[..len]), Ok(None), "{len}");
        }
        assert_eq!(scan.advance(head), Ok(Some((head.len(), BodyEnd::Length(0)))));
    }

    #[test]
    fn an_endless_line_is_refused_before_it_ends() {
        assert_eq!(scan(&[b'a'; limits::URI_BYTES_MAX + 65]), Err(Refusal::UriTooLong));
        let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; limits::HEAD_BYTES_MAX]].concat();
        assert_eq!(scan(&long), Err(Refusal::HeadTooLarge));
    }

    fn chunks(bytes: &[u8]) -> Result<(usize, bool), ChunkError> {
        let mut scan = ChunkScan::default();
        scan.advance(bytes).map(|taken| (taken, scan == ChunkScan::End))
    }

    #[test]
    fn chunks_end_behind_the_trailers() {
        assert_eq!(chunks(b"5;a=b\r\nhello\r\n0\r\nx-sum: 1\r\n\r\nGET"), Ok((29, true)));
        assert_eq!(chunks(b"5\r\nhel"), Ok((6, false)));
        for bad in
            ["5\nhello\r\n", "\r\n", "5 \r\n", "0x5\r\n", "-1\r\n", "5\r\nhelloX", "5;\n", "1000000000000000\r\n"]
        {
            assert_eq!(chunks(bad.as_bytes()), Err(ChunkError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_one_verdict(
            bytes in prop::collection::vec(prop::sample::select(b"5af;\r\n:h 0\0".to_vec()), 0..64), cut in 0_usize..64,
        ) {
            let cut = cut.min(bytes.len());
            let (mut whole, mut split) = (ChunkScan::default(), ChunkScan::default());
            let at_once = whole.advance(&bytes);
            let in_two = split.advance(&bytes[..cut]).and_then(|first| match split {
                ChunkScan::End => Ok(first),
                _ => split.advance(&bytes[cut..]).map(|second| first + second),
            });
            prop_assert_eq!(at_once, in_two);
            let mut scan = HeadScan::default();
            let in_two = scan.advance(&bytes[..cut]).and_then(|found| match found {
                Some(found) => Ok(Some(found)),
                None => scan.advance(&bytes),
            });
            prop_assert_eq!(HeadScan::default().advance(&bytes), in_two);
        }
    }
}
