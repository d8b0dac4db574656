//! A function's code: taken in, checked, stored once by content, and fetched again through a signed link.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use archive::limits::ARCHIVE_BYTES_MAX;
use archive::{ArchiveError, Limits};
use base::{AwsError, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde::Deserialize;
use store::Blob;
use store::blobs::Staged;
use wire::Blob as Zip;

use super::errors;
use crate::{Cloud, Ctx};

/// As long as AWS's links last.
const LINK_LIFETIME: Duration = Duration::from_secs(600);
/// Where the server answers links to code.
pub const LINK_PATH: &str = "/_lamp/code/";

/// Where a request says that the code is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct CodeInput {
    zip_file: Option<Zip>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    image_uri: Option<String>,
}

impl CodeInput {
    pub fn new(
        zip_file: Option<Zip>,
        s3_bucket: Option<String>,
        s3_key: Option<String>,
        image_uri: Option<String>,
    ) -> Self {
        Self { zip_file, s3_bucket, s3_key, image_uri }
    }

    /// Checks the code and puts it where a batch may refer to it. What no batch refers to is collected.
    pub async fn take(self, ctx: &Ctx) -> Result<Staged, AwsError> {
        match self {
            Self { zip_file: Some(zip), s3_bucket: None, s3_key: None, image_uri: None } => take_zip(ctx, zip).await,
            Self { zip_file: None, s3_bucket: Some(_), s3_key: Some(_), image_uri: None } => {
                Err(AwsError::not_built("function code from S3"))
            }
            Self { image_uri: Some(_), .. } => Err(AwsError::not_built("functions from container images")),
            Self { zip_file: None, s3_bucket: None, s3_key: None, image_uri: None } => {
                Err(errors::invalid_parameter("Please provide a source for function code."))
            }
            _ => Err(errors::invalid_parameter(
                "Please do not provide other FunctionCode parameters when providing a ZipFile.",
            )),
        }
    }
}

async fn take_zip(ctx: &Ctx, zip: Zip) -> Result<Staged, AwsError> {
    // Inflating takes its time: not on a thread that answers requests.
    let inspected = zip.clone();
    tokio::task::spawn_blocking(move || inspect(&inspected)).await.map_err(AwsError::internal)??;
    Ok(ctx.cloud.blobs.put(ZipReader { zip, at: 0 }, ARCHIVE_BYTES_MAX).await?)
}

fn inspect(zip: &Zip) -> Result<(), AwsError> {
    let limits = Limits::default();
    let inspected = match zip {
        Zip::Inline(bytes) => archive::inspect(&&bytes[..], &limits),
        Zip::Spooled(spool) => archive::inspect(&spool.file, &limits),
    };
    match inspected {
        Ok(_) => Ok(()),
        Err(ArchiveError::UnzippedTooLarge { max }) => Err(errors::unzipped_too_large(max)),
        Err(ArchiveError::ArchiveTooLarge { max, .. }) => Err(errors::zipped_too_large(max)),
        Err(ArchiveError::Empty) => Err(errors::invalid_parameter("Uploaded file must be a non-empty zip")),
        Err(ArchiveError::Read(error)) => Err(AwsError::internal(error)),
        Err(error) => Err(errors::not_a_zip().with_detail(error)),
    }
}

/// Reads a zip from its start, without moving the position of a file that others share.
struct ZipReader {
    zip: Zip,
    at: u64,
}

impl Read for ZipReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &self.zip {
            Zip::Inline(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                bytes.get(at..).unwrap_or_default().read(into)?
            }
            Zip::Spooled(spool) => spool.file.read_at(into, self.at)?,
        };
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

/// A hash as Lambda shows it.
pub fn sha256(code: &Blob) -> String {
    STANDARD.encode(code.hash.as_bytes())
}

/// A link under which the code can be fetched for ten minutes by whoever has it.
pub fn link(ctx: &Ctx, code: &Blob) -> String {
    let expires = ctx.cx.now().plus(LINK_LIFETIME).as_secs();
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&ctx.cloud.links, &signed_text(code, expires)));
    let Blob { hash, size_bytes } = code;
    format!("{}{LINK_PATH}{hash}?size={size_bytes}&expires={expires}&signature={signature}", ctx.cx.endpoint)
}

/// Opens the code behind a link of ours, given by its path below [`LINK_PATH`] and its query; `None` if the link is
/// not ours or has expired.
pub async fn download(cloud: &Cloud, now: Timestamp, path: &str, query: &str) -> Option<(File, u64)> {
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let code = Blob { hash: path.parse().ok()?, size_bytes: parameter("size")?.parse().ok()? };
    let expires: i64 = parameter("expires")?.parse().ok()?;
    let signature = URL_SAFE_NO_PAD.decode(parameter("signature")?).ok()?;
    hmac::verify(&cloud.links, &signed_text(&code, expires), &signature).ok()?;
    if now.as_secs() > expires {
        return None;
    }
    let file = cloud.blobs.file(&code).await.ok()?;
    Some((file, code.size_bytes))
}

fn signed_text(code: &Blob, expires: i64) -> Vec<u8> {
    format!("code {} {} {expires}", code.hash, code.size_bytes).into_bytes()
}
