//! The canonical request: one spelling of method, path, query, headers and payload, so that client and server hash
//! the same bytes.
//!
//! Total: any head has a canonical form, so nothing here fails. Its length is at most three times that of the head
//! for the path and the query (nine times for a path that is encoded twice), and once for each signed header.

use std::borrow::Cow;

use http::header::HeaderMap;

use super::Head;
use crate::percent::{self, Plus, decode};

/// Everything that goes into a canonical request.
pub struct Request<'a> {
    pub head: Head<'a>,
    /// `;`-separated lower-case names.
    pub signed_headers: &'a str,
    /// The hash of the body in hex, or what stands for it.
    pub payload: &'a str,
    /// S3: the path as it stands, encoded once.
    pub raw_path: bool,
    /// Presigned: the query without the signature itself.
    pub presigned: bool,
}

impl Request<'_> {
    pub fn write(&self) -> Vec<u8> {
        let Self { head, signed_headers, payload, .. } = self;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(head.method.as_bytes());
        out.push(b'\n');
        if self.raw_path {
            write_path_raw(head.path, &mut out)
        } else {
            write_path(head.path, &mut out)
        }
        out.push(b'\n');
        write_query(head.query, self.presigned, &mut out);
        out.push(b'\n');
        for name in signed_headers.split(';') {
            write_header(head, name, &mut out);
        }
        out.push(b'\n');
        out.extend_from_slice(signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(payload.as_bytes());
        out
    }
}

/// S3's path: decoded and encoded again, so that every client's spelling of a key is the same; dots and double
/// slashes are part of the key.
fn write_path_raw(path: &str, out: &mut Vec<u8>) {
    if path.is_empty() {
        out.push(b'/');
    }
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push(b'/');
        }
        // A slash that was encoded within a segment, as in the ARN of an access point, stays so.
        percent::encode(&decode(segment.as_bytes(), Plus::Literal), out);
    }
}

/// The path of all other services: normalised, and encoded once more than on the wire.
fn write_path(path: &str, out: &mut Vec<u8>) {
    for (index, segment) in normalised_path(path).split('/').enumerate() {
        if index > 0 {
            out.push(b'/');
        }
        percent::encode(segment.as_bytes(), out);
    }
}

/// The path without empty and dot segments, as all services but S3 have it signed. Two paths that are one here have
/// one signature, so an operation has to be found by this and not by the path on the wire.
pub fn normalised_path(path: &str) -> Cow<'_, str> {
    let inner = path.strip_prefix('/').unwrap_or_default();
    let last_may_be_empty = inner.strip_suffix('/').unwrap_or(inner);
    if path == "/" || (!inner.is_empty() && last_may_be_empty.split('/').all(|part| !matches!(part, "" | "." | ".."))) {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    // A trailing slash stays; a dot segment at the end leaves none, as botocore has it.
    if segments.is_empty() || path.ends_with('/') {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// Parameters sorted by name, then value, each decoded and encoded again.
fn write_query(query: &str, presigned: bool, out: &mut Vec<u8>) {
    if query.is_empty() {
        return;
    }
    let mut text = Vec::with_capacity(query.len());
    let mut parameters = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name.as_bytes(), Plus::Space);
        if presigned && *name == *b"X-Amz-Signature" {
            continue;
        }
        let start = text.len();
        percent::encode(&name, &mut text);
        let middle = text.len();
        percent::encode(&decode(value.as_bytes(), Plus::Space), &mut text);
        parameters.push((start..middle, middle..text.len()));
    }
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    parameters.sort_by(|a, b| (part(&a.0), part(&a.1)).cmp(&(part(&b.0), part(&b.1))));
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(part(name));
        out.push(b'=');
        out.extend_from_slice(part(value));
    }
}

/// `name:value,value\n`. A header that was signed but did not arrive counts as empty.
fn write_header(head: &Head<'_>, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    if matches!(name, "host" | ":authority") {
        write_header_value(head.host.as_bytes(), out);
    } else {
        for (index, value) in values(head.headers, name).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_header_value(value, out);
        }
    }
    out.push(b'\n');
}

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().map(|value| value.as_bytes())
}

/// Trimmed, and every run of blanks one space. Bytes that are no UTF-8 are read as Latin-1, which is what botocore
/// sends for text that it signed as UTF-8.
fn write_header_value(value: &[u8], out: &mut Vec<u8>) {
    let latin = std::str::from_utf8(value).is_err();
    let mut blank = false;
    for byte in value.trim_ascii() {
        match byte {
            b' ' | b'\t' => blank = true,
            byte => {
                if std::mem::take(&mut blank) {
                    out.push(b' ');
                }
                match byte {
                    0x80.. if latin => out.extend_from_slice(char::from(*byte).encode_utf8(&mut [0; 2]).as_bytes()),
                    byte => out.push(*byte),
                }
            }
        }
    }
}
