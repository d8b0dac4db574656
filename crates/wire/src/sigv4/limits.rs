//! Bounds of what a signature may cost to read and to check.

use std::time::Duration;

/// How far the clock of a client may be off, either way.
pub const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// A presigned URL lives no longer than this.
pub const PRESIGNED_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Names in one `SignedHeaders` list. SDKs sign about ten; each name is looked up and written once.
pub const SIGNED_HEADERS_MAX: usize = 128;

/// Bytes of a credential (`key/date/region/service/aws4_request`). AWS's key ids have at most 128 characters.
pub const CREDENTIAL_BYTES_MAX: usize = 512;

/// A canonical request longer than this is not shown in an error message.
pub const SHOWN_BYTES_MAX: usize = 8 * 1024;

/// Text of the caller's that an error message repeats is cut to this.
pub const QUOTED_BYTES_MAX: usize = 1024;

/// Signing keys held in each of the cache's two generations.
pub const KEYS_MAX: usize = 2048;

/// The line before a chunk: its size in hex, extensions and the signature.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// All trailer lines of a chunked body together.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
