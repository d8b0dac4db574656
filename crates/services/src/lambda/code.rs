//! A function's code: taken in, checked, stored once by content, and fetched again through a signed link.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use archive::limits::ARCHIVE_BYTES_MAX;
use archive::{ArchiveError, Limits};
use base::{AwsError, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use store::blobs::Staged;
use store::{Batch, Blob};
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
    s3_object_version: Option<String>,
    image_uri: Option<String>,
    #[serde(rename = "SourceKMSKeyArn")]
    source_kms_key_arn: Option<String>,
}

/// The code of a function or a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Code {
    Zip {
        blob: Blob,
        /// What it takes on the disk of a sandbox.
        unzipped_bytes: u64,
        /// The key that its owner wants the zip encrypted with. Kept as given: what is stored is not encrypted with it.
        source_kms_key_arn: Option<String>,
    },
    /// A container image, where its registry has it. Kept as named: no registry is asked.
    Image { uri: String },
}

/// Checked code that is stored, but not yet anybody's.
pub struct Taken {
    pub code: Code,
    /// Keeps the blob from being collected until a batch holds it.
    staged: Option<Staged>,
}

/// How the code of a function comes to Lambda, which it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageType {
    Zip,
    Image,
}

impl PackageType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zip => "Zip",
            Self::Image => "Image",
        }
    }
}

impl PackageType {
    /// Refuses code of another type, for a function that `verb` says what is done to.
    pub fn check(self, given: Self, verb: &str) -> Result<(), AwsError> {
        let please = match (self, given) {
            (Self::Zip, Self::Image) => "Please don't provide",
            (Self::Image, Self::Zip) => "Please provide",
            _ => return Ok(()),
        };
        let wanted = self.as_str();
        Err(errors::invalid_parameter(format!("{please} ImageUri when {verb} a function with packageType {wanted}.")))
    }
}

impl Code {
    pub fn package_type(&self) -> PackageType {
        match self {
            Self::Zip { .. } => PackageType::Zip,
            Self::Image { .. } => PackageType::Image,
        }
    }

    /// What counts towards the account's quota.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Zip { blob, .. } => blob.size_bytes,
            Self::Image { .. } => 0,
        }
    }

    pub fn unzipped_bytes(&self) -> u64 {
        match self {
            Self::Zip { unzipped_bytes, .. } => *unzipped_bytes,
            Self::Image { .. } => 0,
        }
    }

    /// The hash that Lambda shows. Of an image it is the digest, which only a name that has it tells.
    pub fn sha256(&self) -> Option<String> {
        match self {
            Self::Zip { blob, .. } => Some(sha256(blob)),
            Self::Image { uri } => Some(uri.split_once("@sha256:")?.1.to_owned()),
        }
    }

    /// Keeps the blob from being collected until a batch of ours holds it for one owner more.
    pub async fn pin(&self, ctx: &Ctx) -> Result<Taken, AwsError> {
        let staged = match self {
            Self::Zip { blob, .. } => Some(ctx.cloud.blobs.pin(blob).await?),
            Self::Image { .. } => None,
        };
        Ok(Taken { code: self.clone(), staged })
    }

    /// Lets `owner` go of the code.
    pub fn release(&self, cloud: &Cloud, batch: Batch, owner: &str) -> Result<Batch, AwsError> {
        match self {
            Self::Zip { blob, .. } => Ok(cloud.blobs.release(batch, blob, owner.as_bytes())?),
            Self::Image { .. } => Ok(batch),
        }
    }
}

impl Taken {
    /// Lets `owner` hold the code from this batch on.
    pub fn retain(&self, ctx: &Ctx, batch: Batch, owner: &str) -> Result<Batch, AwsError> {
        match &self.staged {
            Some(staged) => Ok(ctx.cloud.blobs.retain(batch, staged, owner.as_bytes())?),
            None => Ok(batch),
        }
    }
}

impl CodeInput {
    /// Whether code for a function of this package type can be in it, by what was given.
    pub fn check_type(&self, wanted: PackageType, verb: &str) -> Result<(), AwsError> {
        match (wanted, &self.image_uri, &self.zip_file) {
            (PackageType::Zip, Some(_), _) => wanted.check(PackageType::Image, verb),
            (PackageType::Image, None, _) => wanted.check(PackageType::Zip, verb),
            (PackageType::Image, Some(_), Some(_)) => Err(errors::invalid_parameter(format!(
                "Please don't provide ZipFile when {verb} a function with packageType Image."
            ))),
            _ => Ok(()),
        }
    }

    /// Checks the code and puts it where a batch may refer to it. What no batch refers to is collected.
    pub async fn take(self, ctx: &Ctx) -> Result<Taken, AwsError> {
        if let Some(uri) = self.image_uri {
            return Ok(Taken { code: Code::Image { uri }, staged: None });
        }
        let key = self.source_kms_key_arn.clone();
        take_zip(ctx, self.zip()?, key).await
    }

    /// Checks the code and says what it would be, storing nothing.
    pub async fn rehearse(self) -> Result<Code, AwsError> {
        if let Some(uri) = self.image_uri {
            return Ok(Code::Image { uri });
        }
        let source_kms_key_arn = self.source_kms_key_arn.clone();
        let (zip, unzipped_bytes) = checked(self.zip()?).await?;
        let measured = tokio::task::spawn_blocking(move || {
            let mut hash = digest::Context::new(&digest::SHA256);
            let mut piece = [0; 16 * 1024];
            let mut reader = zip.reader();
            loop {
                match reader.read(&mut piece)? {
                    0 => break,
                    read => hash.update(piece.get(..read).unwrap_or_default()),
                }
            }
            Ok::<_, io::Error>((hash.finish(), zip.len()))
        });
        let (hash, size_bytes) = measured.await.map_err(AwsError::internal)?.map_err(AwsError::internal)?;
        let hash: [u8; 32] = hash.as_ref().try_into().map_err(AwsError::internal)?;
        Ok(Code::Zip { blob: Blob { hash: hash.into(), size_bytes }, unzipped_bytes, source_kms_key_arn })
    }

    fn zip(self) -> Result<Zip, AwsError> {
        match self {
            Self { zip_file: Some(zip), s3_bucket: None, s3_key: None, s3_object_version: None, .. } => Ok(zip),
            Self { zip_file: None, s3_bucket: Some(_), s3_key: Some(_), .. } => {
                Err(AwsError::not_built("function code from S3"))
            }
            Self { zip_file: None, s3_bucket: None, s3_key: None, .. } => {
                Err(errors::invalid_parameter("Please provide a source for function code."))
            }
            _ => Err(errors::invalid_parameter(
                "Please do not provide other FunctionCode parameters when providing a ZipFile.",
            )),
        }
    }
}

/// Checks a zip and puts it where a batch may refer to it. What no batch refers to is collected.
pub async fn take_zip(ctx: &Ctx, zip: Zip, source_kms_key_arn: Option<String>) -> Result<Taken, AwsError> {
    let (zip, unzipped_bytes) = checked(zip).await?;
    let staged = ctx.cloud.blobs.put(zip.reader(), ARCHIVE_BYTES_MAX).await?;
    let code = Code::Zip { blob: staged.blob(), unzipped_bytes, source_kms_key_arn };
    Ok(Taken { code, staged: Some(staged) })
}

/// The zip and what it unpacks to, if it is one that a function may have.
async fn checked(zip: Zip) -> Result<(Zip, u64), AwsError> {
    // Inflating takes its time: not on a thread that answers requests.
    let inspected = tokio::task::spawn_blocking(move || inspect(&zip).map(|unzipped_bytes| (zip, unzipped_bytes)));
    inspected.await.map_err(AwsError::internal)?
}

fn inspect(zip: &Zip) -> Result<u64, AwsError> {
    let limits = Limits::default();
    let inspected = match zip {
        Zip::Inline(bytes) => archive::inspect(&&bytes[..], &limits),
        Zip::Spooled(spool) => archive::inspect(&spool.file, &limits),
    };
    match inspected {
        Ok(summary) => Ok(summary.unzipped_bytes),
        Err(ArchiveError::UnzippedTooLarge { max }) => Err(errors::unzipped_too_large(max)),
        Err(ArchiveError::ArchiveTooLarge { max, .. }) => Err(errors::zipped_too_large(max)),
        Err(ArchiveError::Empty) => Err(errors::invalid_parameter("Uploaded file must be a non-empty zip")),
        Err(ArchiveError::Read(error)) => Err(AwsError::internal(error)),
        Err(error) => Err(errors::not_a_zip().with_detail(error)),
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
/// not ours or has expired. Code that is not what its name says is an error and not served.
pub async fn download(cloud: &Cloud, now: Timestamp, path: &str, query: &str) -> Result<Option<(File, u64)>, AwsError> {
    let Some(code) = linked(cloud, now, path, query) else { return Ok(None) };
    cloud.blobs.verify(&code).await?;
    Ok(Some((cloud.blobs.file(&code).await?, code.size_bytes)))
}

/// What a link is for, if it is ours and has not expired.
fn linked(cloud: &Cloud, now: Timestamp, path: &str, query: &str) -> Option<Blob> {
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let code = Blob { hash: path.parse().ok()?, size_bytes: parameter("size")?.parse().ok()? };
    let expires: i64 = parameter("expires")?.parse().ok()?;
    let signature = URL_SAFE_NO_PAD.decode(parameter("signature")?).ok()?;
    hmac::verify(&cloud.links, &signed_text(&code, expires), &signature).ok()?;
    (now.as_secs() <= expires).then_some(code)
}

fn signed_text(code: &Blob, expires: i64) -> Vec<u8> {
    format!("code {} {} {expires}", code.hash, code.size_bytes).into_bytes()
}
