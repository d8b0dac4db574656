//! Bodies in `aws-chunked` encoding, as S3's clients send what they stream.
//!
//! ```text
//! 10000;chunk-signature=SIGNATURE\r\n  <65536 bytes>  \r\n
//! 0;chunk-signature=SIGNATURE\r\n
//! x-amz-checksum-crc32:BASE64\r\n
//! x-amz-trailer-signature:SIGNATURE\r\n
//! \r\n
//! ```
//!
//! [`Decoder`] is pushed the bytes as they come and hands the content out at once; it keeps no more than a line.
//! **Invariant:** what came out is nothing to act upon before [`Decoder::finish`] has returned `Ok`: signatures follow
//! from chunk to chunk, and length and checksum are known at the end only.

use base::{AwsError, hex};
use http::HeaderMap;
use ring::digest;

use super::checksum::{Algorithm, Checksum};
use super::error::MISMATCH_S3;
use super::verify::Verified;
use super::{EMPTY_SHA256, Streaming};
use crate::limits::{AWS_CHUNK_LINE_BYTES_MAX, AWS_TRAILER_BYTES_MAX};

/// What is wrong with a body in chunks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("find the decoded length of the body")]
    LengthMissing,
    #[error("read {0:?} as the length of a chunk")]
    Size(String),
    #[error("read a chunk: {0}")]
    Framing(&'static str),
    #[error("read a chunk: the body ended within it")]
    Truncated,
    #[error("decode {declared} bytes as declared, not {decoded}")]
    Length { declared: u64, decoded: u64 },
    #[error("match the signature of a chunk")]
    Signature,
    #[error("read the trailer")]
    Trailer,
    #[error("match the {0} checksum of the trailer")]
    Checksum(&'static str),
}

impl ChunkError {
    /// In S3's words; no other service takes such bodies.
    pub fn answer(&self) -> AwsError {
        match self {
            Self::LengthMissing => {
                AwsError::client(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
            }
            Self::Size(_) | Self::Framing(_) => {
                AwsError::client(400, "InvalidRequest", "The body is not in a valid aws-chunked encoding.")
            }
            Self::Truncated | Self::Length { .. } => AwsError::client(
                400,
                "IncompleteBody",
                "You did not provide the number of bytes specified by the Content-Length HTTP header",
            ),
            Self::Signature => AwsError::client(403, "SignatureDoesNotMatch", MISMATCH_S3),
            Self::Trailer => AwsError::client(
                400,
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not conform to our published \
                 schema.",
            ),
            Self::Checksum(name) => AwsError::client(
                400,
                "BadDigest",
                format!("The {name} you specified did not match the calculated checksum."),
            ),
        }
        .with_detail(self)
    }
}

/// What the headers of the request say about its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    pub streaming: Streaming,
    /// `x-amz-decoded-content-length`
    pub decoded_bytes: u64,
    /// `x-amz-trailer`: the checksum that will follow the body.
    pub checksum: Option<Algorithm>,
}

impl Framing {
    pub fn of(streaming: Streaming, headers: &HeaderMap) -> Result<Self, ChunkError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let decoded_bytes = text("x-amz-decoded-content-length").and_then(|length| length.parse().ok());
        let trailers = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let checksum = trailers.split(',').find_map(|name| Algorithm::of_header(name.trim()));
        Ok(Self { streaming, decoded_bytes: decoded_bytes.ok_or(ChunkError::LengthMissing)?, checksum })
    }
}

/// A body being decoded.
pub struct Decoder {
    framing: Framing,
    state: State,
    /// A line that has not ended yet.
    line: Vec<u8>,
    decoded_bytes: u64,
    chain: Option<Chain>,
    checksum: Option<Checksum>,
    trailers: Trailers,
}

/// Where in the body the next byte is.
enum State {
    /// The line before a chunk.
    Size,
    Data {
        left: u64,
    },
    /// The line break behind a chunk.
    DataEnd,
    /// Behind the last chunk: trailers, then an empty line.
    Trailer,
    Done,
}

/// The signatures from chunk to chunk.
struct Chain {
    head: Verified,
    previous: String,
    /// Of the chunk under way: what its line claims, and the hash so far.
    claimed: String,
    hash: digest::Context,
}

/// The lines behind the last chunk, as they are signed.
#[derive(Default)]
struct Trailers {
    bytes: usize,
    canonical: Vec<u8>,
    checksum: Option<String>,
    signature: Option<String>,
}

impl Decoder {
    /// For a body whose head has been verified.
    pub fn verifying(framing: Framing, head: Verified) -> Self {
        let signed = matches!(framing.streaming, Streaming::Signed | Streaming::SignedTrailer);
        let chain = signed.then(|| Chain {
            previous: head.signature.clone(),
            head,
            claimed: String::new(),
            hash: digest::Context::new(&digest::SHA256),
        });
        Self { chain, ..Self::trusting(framing) }
    }

    /// For a request that nobody has to have signed: framing, length and checksum count, signatures do not.
    pub fn trusting(framing: Framing) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            decoded_bytes: 0,
            chain: None,
            checksum: framing.checksum.map(Checksum::new),
            trailers: Trailers::default(),
            framing,
        }
    }

    /// Decodes `input` and calls `sink` with the content in it, in order.
    pub fn feed(&mut self, mut input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), ChunkError> {
        while !input.is_empty() {
            if let State::Data { left } = &mut self.state {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let (data, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
                *left = left.saturating_sub(data.len() as u64);
                let ended = *left == 0;
                input = rest;
                self.data(data)?;
                sink(data);
                if ended {
                    self.state = State::DataEnd;
                }
                continue;
            }
            if matches!(self.state, State::Done) {
                return Err(ChunkError::Framing("bytes behind the end"));
            }
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                self.extend_line(input)?;
                return Ok(());
            };
            let (line, rest) = input.split_at_checked(end.saturating_add(1)).unwrap_or((input, &[]));
            input = rest;
            self.extend_line(line)?;
            let line = std::mem::take(&mut self.line);
            self.line(&line)?;
            // Its memory serves the next line.
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    /// The verdict, when the body has ended: the number of bytes that came out.
    pub fn finish(self) -> Result<u64, ChunkError> {
        if !matches!(self.state, State::Done) {
            return Err(ChunkError::Truncated);
        }
        let Framing { decoded_bytes: declared, checksum: algorithm, .. } = self.framing;
        if self.decoded_bytes != declared {
            return Err(ChunkError::Length { declared, decoded: self.decoded_bytes });
        }
        let Some(algorithm) = algorithm else {
            return Ok(self.decoded_bytes);
        };
        let claimed = self.trailers.checksum.ok_or(ChunkError::Trailer)?;
        if self.checksum.map(Checksum::finish) != Some(claimed) {
            return Err(ChunkError::Checksum(algorithm.name()));
        }
        Ok(self.decoded_bytes)
    }

    fn extend_line(&mut self, part: &[u8]) -> Result<(), ChunkError> {
        if self.line.len().saturating_add(part.len()) > AWS_CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::Framing("a line is too long"));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<(), ChunkError> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(data.len() as u64);
        if let Some(checksum) = &mut self.checksum {
            checksum.update(data);
        }
        if let Some(chain) = &mut self.chain {
            chain.hash.update(data);
        }
        Ok(())
    }

    /// One line with its line break.
    fn line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        match self.state {
            State::Size => self.size_line(line),
            State::DataEnd => {
                if line != b"\r\n" {
                    return Err(ChunkError::Framing("no line break behind a chunk"));
                }
                if let Some(chain) = &mut self.chain {
                    chain.verify_chunk()?;
                }
                self.state = State::Size;
                Ok(())
            }
            State::Trailer => self.trailer_line(line),
            State::Data { .. } | State::Done => Err(ChunkError::Framing("a line where there is none")),
        }
    }

    fn size_line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let line = line.strip_suffix(b"\r\n").ok_or(ChunkError::Framing("no line break before a chunk"))?;
        let line = std::str::from_utf8(line).map_err(|_| ChunkError::Framing("no text before a chunk"))?;
        let (size, extensions) = line.split_once(';').unwrap_or((line, ""));
        let digits = (1..=16).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = Some(size).filter(|_| digits).and_then(|size| u64::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| ChunkError::Size(line.into()))?;
        let decoded = self.decoded_bytes.saturating_add(size);
        let declared = self.framing.decoded_bytes;
        if decoded > declared {
            return Err(ChunkError::Length { declared, decoded });
        }
        if let Some(chain) = &mut self.chain {
            let signature =
                extensions.split(';').find_map(|extension| extension.trim().strip_prefix("chunk-signature="));
            chain.claimed = signature.ok_or(ChunkError::Signature)?.to_owned();
        }
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        if let Some(chain) = &mut self.chain {
            chain.verify_chunk()?;
        }
        self.state = State::Trailer;
        Ok(())
    }

    /// `name:value`, or the empty line that ends the body. AWS's own example has an empty line before the signature
    /// of the trailer too.
    fn trailer_line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        self.trailers.bytes = self.trailers.bytes.saturating_add(line.len());
        let text = std::str::from_utf8(line).map_err(|_| ChunkError::Trailer)?.trim_ascii();
        let has_trailer = self.framing.streaming != Streaming::Signed;
        if self.trailers.bytes > AWS_TRAILER_BYTES_MAX || (!has_trailer && !text.is_empty()) {
            return Err(ChunkError::Trailer);
        }
        if text.is_empty() {
            let awaits_signature = self.framing.streaming == Streaming::SignedTrailer
                && self.trailers.signature.is_none()
                && !self.trailers.canonical.is_empty();
            if !awaits_signature {
                self.end_trailer()?;
            }
            return Ok(());
        }
        let (name, value) = text.split_once(':').ok_or(ChunkError::Trailer)?;
        let (name, value) = (name.trim_ascii().to_ascii_lowercase(), value.trim_ascii());
        if name == "x-amz-trailer-signature" {
            return match self.trailers.signature.replace(value.into()) {
                None => Ok(()),
                Some(_) => Err(ChunkError::Trailer),
            };
        }
        // A checksum that was not announced could not be compared, and nothing else may follow a body.
        let announced = Algorithm::of_header(&name).is_some_and(|found| Some(found) == self.framing.checksum);
        if !announced || self.trailers.checksum.replace(value.into()).is_some() {
            return Err(ChunkError::Trailer);
        }
        for part in [name.as_bytes(), b":", value.as_bytes(), b"\n"] {
            self.trailers.canonical.extend_from_slice(part);
        }
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<(), ChunkError> {
        if let (Some(chain), Streaming::SignedTrailer) = (&self.chain, self.framing.streaming) {
            chain.verify_trailer(&self.trailers)?;
        }
        self.state = State::Done;
        Ok(())
    }
}

impl Chain {
    fn verify_chunk(&mut self) -> Result<(), ChunkError> {
        let hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256)).finish();
        let hash = hex::encode(hash.as_ref());
        let text = self.string_to_sign("AWS4-HMAC-SHA256-PAYLOAD", &[&hex::encode(&EMPTY_SHA256), &hash]);
        if !self.head.key.verify(text.as_bytes(), &self.claimed) {
            return Err(ChunkError::Signature);
        }
        self.previous = std::mem::take(&mut self.claimed);
        Ok(())
    }

    fn verify_trailer(&self, trailers: &Trailers) -> Result<(), ChunkError> {
        let hash = hex::encode(digest::digest(&digest::SHA256, &trailers.canonical).as_ref());
        let text = self.string_to_sign("AWS4-HMAC-SHA256-TRAILER", &[&hash]);
        match &trailers.signature {
            Some(signature) if self.head.key.verify(text.as_bytes(), signature) => Ok(()),
            _ => Err(ChunkError::Signature),
        }
    }

    fn string_to_sign(&self, algorithm: &str, hashes: &[&str]) -> String {
        let lines = [algorithm, &self.head.signed_at_text, self.head.scope.tail(), &self.previous];
        [&lines, hashes].concat().join("\n")
    }
}
