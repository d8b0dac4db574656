//! Every bound on what the network may make us hold, do or wait for, each with its reason.
//!
//! The constants are what a server runs with unless its operator says otherwise; [`Limits`] carries those that an
//! operator or a test may choose, so that a test can wait milliseconds where a server waits seconds. First the
//! listener, then bodies, then what a decoded body may hold, then signatures.

use std::time::Duration;

/// Sockets open at once. Each costs a file descriptor and some 30 KiB; the binary lowers this to what the process may
/// open.
pub const CONNECTIONS_MAX: usize = 4_096;

/// Sockets of one peer (an IPv4 address or an IPv6 /64), so that one machine cannot take all. Loopback is exempt: every
/// client and every function of a development machine is that one address.
pub const CONNECTIONS_PER_PEER_MAX: usize = 1_024;

/// Beyond this share of [`CONNECTIONS_MAX`], idle connections are closed after [`IDLE_CHECK`] instead of
/// [`IDLE_TIMEOUT`]: whoever hoards them must not keep others out.
pub const CONNECTIONS_PRESSURE_PERCENT: usize = 75;

/// Connections not accepted yet, waiting in the kernel.
pub const LISTEN_BACKLOG: u32 = 1_024;

/// How long accepting pauses when the process is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// All lines of a head together. A session token may take 4 KiB and Lambda's client context 3.5 KiB; nothing that a
/// client of AWS sends comes near.
pub const HEAD_BYTES_MAX: usize = 48 * 1024;

/// The request target. Presigned URLs with a session token take up to about 8 KiB.
pub const URI_BYTES_MAX: usize = 16 * 1024;

/// Header lines. S3 metadata is the widest use, and S3 itself stops at 2 KiB of it; up to 100, hyper parses without
/// allocating.
pub const HEADERS_MAX: usize = 100;

/// The line that opens a chunk: its length in hexadecimal and extensions that nobody reads.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Lines behind the last chunk. Checksums and a signature take well under 1 KiB.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// From the first byte of a head (of a connection, for the first) to its last. Covers the TLS handshake too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two requests. Longer than the pools of the AWS SDKs keep a connection unused.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often an idle connection asks itself whether it has become unwelcome.
pub const IDLE_CHECK: Duration = Duration::from_secs(5);

/// A client that takes nothing of its answer for this long is gone.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Taking less than this in that time counts as taking nothing.
pub const WRITE_SIP_BYTES_MIN: usize = 64 * 1024;

/// After an answer that comes before the request was read whole, the rest is thrown away for this long, so that the
/// client sees the answer and no reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// And no more than this of it.
pub const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Requests being served at once, over all connections; more are told to come back. Many more would only wait for the
/// same processors, holding memory.
pub const REQUESTS_MAX: usize = 8_192;

/// From the signal to stop until what still runs is cut off.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests of one HTTP/2 connection at once.
pub const STREAMS_MAX: u32 = 128;

/// Streams that the peer opened and reset, and that we have not noticed yet (rapid reset, CVE-2023-44487).
pub const STREAM_RESETS_PENDING_MAX: usize = 20;

/// Streams that we had to reset because of what the peer sent on them (MadeYouReset, CVE-2025-8671), in the life of a
/// connection. No client of AWS earns one.
pub const STREAM_ERRORS_MAX: usize = 128;

/// Flow control: what a peer may send ahead on one stream, and on one connection.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Answer bytes buffered for one HTTP/2 stream.
pub const STREAM_SEND_BYTES_MAX: usize = 256 * 1024;

/// Pings find peers that left without a word.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
pub const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// A body may pause this long at most, wherever it is.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A body may take this long before its rate counts, so that short bodies and slow starts pass.
pub const BODY_GRACE: Duration = Duration::from_secs(10);

/// The slowest upload that is still served: 256 kbit/s is slower than any link that people deploy over, and holds a
/// 67 MB upload under 40 minutes.
pub const BODY_BYTES_PER_SEC_MIN: u64 = 32 * 1024;

/// Body that is held in memory; what is longer goes to an unlinked file.
pub const BODY_INLINE_BYTES_MAX: usize = 1024 * 1024;

/// In memory over all requests. Bodies that find it used up are spooled from their first byte.
pub const BODY_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What waits in memory to be written to a spool file, of a body that got no share of [`BODY_MEMORY_BYTES_MAX`].
pub const SPOOL_PENDING_BYTES_MAX: usize = 64 * 1024;

/// In memory over all requests, of what is inflated, or decoded out of a spooled body.
pub const BODY_DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// In spool files over all requests.
pub const SPOOL_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Body of an operation whose service names no limit: Lambda's Invoke takes 6 MiB, the most of any that names none.
pub const BODY_BYTES_MAX: u64 = 6 * 1024 * 1024;

/// In strict mode, a form that nobody has signed. Only the operations that hand out keys come so; their longest
/// parameter that is common, a web identity's token, has at most 20,000 characters.
pub const UNSIGNED_FORM_BYTES_MAX: u64 = 64 * 1024;

/// What a compressed body may grow to.
pub const BODY_INFLATED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Body of a path of our own (`/_lamp/...`).
pub const BUILTIN_BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes sealed in one pagination token: keys are at most 2,000 bytes, and tokens of most services at most 8 KiB.
pub const PAGE_BYTES_MAX: usize = 4 * 1024;

/// How deep a body may nest. DynamoDB's items nest 32 levels, which is 64 levels of JSON and a few around them.
pub const BODY_DEPTH_MAX: u32 = 128;
/// How many elements, entries and members a decoded body may have; an entry of a map counts twice. It bounds memory
/// at some 10 MB where the bytes of a body alone would not.
pub const BODY_ELEMENT_COUNT_MAX: usize = 200_000;
/// How many bytes of text and of inline blobs a decoded body may have: DynamoDB's largest request is 16 MiB.
pub const BODY_TEXT_BYTES_MAX: usize = 16 << 20;
/// A decoded blob beyond this goes into an unlinked file.
pub const BLOB_INLINE_BYTES_MAX: usize = 1 << 20;
/// The longest number that a body may spell.
pub const NUMBER_BYTES_MAX: usize = 128;

/// How many violations of the model one answer reports, as many as AWS does.
pub const VIOLATIONS_MAX: usize = 10;

/// How much of an offending value a message shows, about; AWS shows all of it, which may be megabytes.
pub const SHOWN_VALUE_BYTES_MAX: usize = 16 * 1024;

/// And how much of a key in the path to it.
pub const SHOWN_KEY_BYTES_MAX: usize = 1024;

/// How long a message about violations may get, with all of them.
pub const VIOLATIONS_BYTES_MAX: usize = 64 * 1024;

/// What a compiled pattern may take. The largest of the models takes some 300 KiB.
pub const PATTERN_BYTES_MAX: usize = 4 << 20;

/// Text that is still matched against a pattern whose shape does not allow more; longer text fails it.
pub const PATTERN_SUBJECT_BYTES_MAX: usize = 256 * 1024;

/// How many parameters a form may have. CloudWatch's largest request, 1 MB, has fewer.
pub const FORM_PAIR_COUNT_MAX: usize = 50_000;

/// How many attributes an element of XML may have; S3 knows one.
pub const XML_ATTRIBUTE_COUNT_MAX: usize = 16;

/// The largest frame of an event stream, either way: the payload's limit of the format, 16 MiB, and its headers.
pub const EVENT_BYTES_MAX: usize = (16 << 20) + EVENT_HEADERS_BYTES_MAX;

/// The format's own limit on the headers of a frame.
pub const EVENT_HEADERS_BYTES_MAX: usize = 128 << 10;

/// How far the clock of a client may be off, either way.
pub const SIGNATURE_SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// A presigned URL lives no longer than this.
pub const PRESIGNED_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Names in one `SignedHeaders` list. SDKs sign about ten; each name is looked up and written once.
pub const SIGNED_HEADERS_MAX: usize = 128;

/// Bytes of a credential (`key/date/region/service/aws4_request`). AWS's key ids have at most 128 characters.
pub const CREDENTIAL_BYTES_MAX: usize = 512;

/// A canonical request longer than this is not shown in an error message.
pub const SHOWN_CANONICAL_BYTES_MAX: usize = 8 * 1024;

/// Text of the caller's that an error message repeats is cut to this.
pub const QUOTED_BYTES_MAX: usize = 1024;

/// Signing keys held in each of the cache's two generations.
pub const SIGNING_KEYS_MAX: usize = 2048;

/// The line before a chunk of `aws-chunked`: its size in hex, extensions and the signature.
pub const AWS_CHUNK_LINE_BYTES_MAX: usize = 1024;

/// All trailer lines of an `aws-chunked` body together.
pub const AWS_TRAILER_BYTES_MAX: usize = 8 * 1024;

/// The limits that an operator or a test may choose.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections_max: usize,
    pub connections_per_peer_max: usize,
    pub requests_max: usize,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub idle_check: Duration,
    pub write_stall_timeout: Duration,
    pub drain_timeout: Duration,
    pub body_stall_timeout: Duration,
    pub body_grace: Duration,
    pub body_bytes_per_sec_min: u64,
    pub body_memory_bytes_max: u64,
    pub spool_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_per_peer_max: CONNECTIONS_PER_PEER_MAX,
            requests_max: REQUESTS_MAX,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            idle_check: IDLE_CHECK,
            write_stall_timeout: WRITE_STALL_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            body_stall_timeout: BODY_STALL_TIMEOUT,
            body_grace: BODY_GRACE,
            body_bytes_per_sec_min: BODY_BYTES_PER_SEC_MIN,
            body_memory_bytes_max: BODY_MEMORY_BYTES_MAX,
            spool_bytes_max: SPOOL_BYTES_MAX,
        }
    }
}
