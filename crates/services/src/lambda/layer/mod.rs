//! Layers: code that functions share, in versions that never change.
//!
//! A layer is a name and the number of its next version, which stays when all versions are deleted: no number is given
//! twice. A version holds its code in the same commits that make and delete it. Functions that use a version hold the
//! code themselves ([`used`]), so they go on working when it is deleted.
//!
//! Follows Lambda's PublishLayerVersion and its siblings. Not there yet: code from S3, signed code.

pub mod list;
mod name;
pub mod permission;
pub mod used;

use std::sync::Arc;

use base::{AwsError, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Record, Table};
use wire::Blob as Zip;

use super::code::{self, Code};
use super::policy::Policy;
use super::{CODE_BODY_BYTES_MAX, account, errors};
use crate::{Ctx, Service};
use name::LayerRef;

/// The operation that a version's policy can grant to others.
const GET: &str = "GetLayerVersion";

static LAYERS: Table<String, Layer> = Table::new("lambda_layers");
/// By the layer's name and [`newest_first`] of the number.
static VERSIONS: Table<(String, u64), LayerVersion> = Table::new("lambda_layer_versions");

/// What is kept of a layer beside its versions, for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Layer {
    last_version: u64,
}

impl Record for Layer {
    const VERSION: u8 = 1;
}

/// A version as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LayerVersion {
    number: u64,
    description: String,
    license_info: Option<String>,
    /// Absent if never given, which AWS tells from an empty list.
    runtimes: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    code: Code,
    created: Timestamp,
    policy: Option<Policy>,
}

impl Record for LayerVersion {
    const VERSION: u8 = 1;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PublishLayerVersion {
    layer_name: String,
    content: ContentInput,
    description: Option<String>,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
    license_info: Option<String>,
}

/// Where a request says that the code is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ContentInput {
    zip_file: Option<Zip>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    s3_object_version: Option<String>,
    /// How the code is kept that comes from S3.
    #[serde(rename = "S3ObjectStorageMode")]
    s3_object_storage_mode: Option<String>,
}

/// Input of the operations that only name a version.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct NamedVersion {
    layer_name: String,
    version_number: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetByArn {
    arn: String,
}

/// A version as AWS shows it to those who may use it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionShown {
    content: ContentShown,
    layer_arn: String,
    layer_version_arn: String,
    description: String,
    created_date: String,
    version: u64,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
    license_info: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContentShown {
    location: Option<String>,
    code_sha256: Option<String>,
    code_size: u64,
}

/// The operations on layers, for the list of Lambda's.
pub fn operations(service: Service) -> Service {
    service
        .operation("AddLayerVersionPermission", permission::add)
        .operation("DeleteLayerVersion", delete)
        .operation("GetLayerVersion", get)
        .operation("GetLayerVersionByArn", get_by_arn)
        .operation("GetLayerVersionPolicy", permission::get)
        .operation("ListLayerVersions", list::versions)
        .operation("ListLayers", list::layers)
        .operation("PublishLayerVersion", publish)
        .operation("RemoveLayerVersionPermission", permission::remove)
        .body_bytes_max("PublishLayerVersion", CODE_BODY_BYTES_MAX)
}

pub async fn publish(ctx: Ctx, input: PublishLayerVersion) -> Result<VersionShown, AwsError> {
    let layer = LayerRef::parse(&ctx, &input.layer_name)?;
    layer.check_own(&ctx, "PublishLayerVersion", &layer.arn())?;
    let taken = code::take_zip(&ctx, input.content.zip()?, None).await?;
    let mut version = LayerVersion {
        number: 0,
        description: input.description.unwrap_or_default(),
        license_info: input.license_info,
        runtimes: input.compatible_runtimes,
        architectures: input.compatible_architectures,
        code: taken.code.clone(),
        created: ctx.cx.now(),
        policy: None,
    };
    let scope = layer.scope(&ctx);
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &LAYERS, &scope, &layer.name).await;
    loop {
        let (found, batch) = edit.read().await?;
        version.number = found.map_or(0, |layer| layer.last_version).saturating_add(1);
        let batch = taken.retain(&ctx, batch, &owner(&ctx, &layer, version.number))?;
        let batch = batch.put(&LAYERS, &scope, &layer.name, &Layer { last_version: version.number }).put(
            &VERSIONS,
            &scope,
            (&layer.name, newest_first(version.number)),
            &version,
        );
        let batch = account::charge(&ctx, batch, |usage| usage.store_code(version.code.size_bytes())).await?;
        if edit.commit(batch).await? {
            return Ok(version.show(&ctx, &layer));
        }
    }
}

pub async fn get(ctx: Ctx, input: NamedVersion) -> Result<VersionShown, AwsError> {
    let (layer, number) = input.parse(&ctx)?;
    let found = find_permitted(&ctx, &layer, number).await?;
    let version = found.ok_or_else(errors::requested_resource_not_found)?;
    Ok(Arc::unwrap_or_clone(version).show(&ctx, &layer))
}

pub async fn get_by_arn(ctx: Ctx, input: GetByArn) -> Result<VersionShown, AwsError> {
    let (layer, number) = LayerRef::parse_version(&input.arn).ok_or_else(errors::requested_resource_not_found)?;
    let found = find_permitted(&ctx, &layer, number).await?;
    let version = found.ok_or_else(errors::requested_resource_not_found)?;
    Ok(Arc::unwrap_or_clone(version).show(&ctx, &layer))
}

/// Deletes a version. That there is none is no error, as on AWS.
pub async fn delete(ctx: Ctx, input: NamedVersion) -> Result<(), AwsError> {
    let (layer, number) = input.parse(&ctx)?;
    layer.check_own(&ctx, "DeleteLayerVersion", &layer.version_arn(number))?;
    let scope = layer.scope(&ctx);
    let key = (layer.name.as_str(), newest_first(number));
    let mut edit = ctx.edit_with(vec![account::turn(&ctx)], &VERSIONS, &scope, key).await;
    loop {
        let (found, batch) = edit.read().await?;
        let Some(version) = found else { return Ok(()) };
        let batch = version.code.release(&ctx.cloud, batch, &owner(&ctx, &layer, number))?;
        let batch = batch.delete(&VERSIONS, &scope, key);
        let batch = account::charge(&ctx, batch, |usage| {
            usage.drop_code(version.code.size_bytes());
            Ok(())
        });
        if edit.commit(batch.await?).await? {
            return Ok(());
        }
    }
}

impl NamedVersion {
    fn parse(&self, ctx: &Ctx) -> Result<(LayerRef, u64), AwsError> {
        let layer = LayerRef::parse(ctx, &self.layer_name)?;
        Ok((layer, number(self.version_number)?))
    }
}

fn number(given: i64) -> Result<u64, AwsError> {
    match u64::try_from(given) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(errors::invalid_parameter("Layer Version Cannot be less than 1")),
    }
}

impl ContentInput {
    fn zip(self) -> Result<Zip, AwsError> {
        let names_s3 = [&self.s3_bucket, &self.s3_key, &self.s3_object_version, &self.s3_object_storage_mode];
        let names_s3 = names_s3.into_iter().any(Option::is_some);
        match self {
            Self { zip_file: Some(zip), .. } if !names_s3 => Ok(zip),
            Self { zip_file: Some(_), .. } => Err(errors::invalid_parameter(
                "Please do not provide other LayerVersionContent parameters when providing a ZipFile.",
            )),
            Self { s3_bucket: Some(_), s3_key: Some(_), .. } => Err(AwsError::not_built("layer code from S3")),
            _ => Err(errors::invalid_parameter("Please provide a source for layer code.")),
        }
    }
}

/// Who holds on to a version's code.
fn owner(ctx: &Ctx, layer: &LayerRef, number: u64) -> String {
    format!("{}/{}", ctx.cx.world.0, layer.version_arn(number))
}

/// A number as the key by which the newest version comes first.
fn newest_first(number: u64) -> u64 {
    u64::MAX - number
}

async fn find(ctx: &Ctx, layer: &LayerRef, number: u64) -> Result<Option<Arc<LayerVersion>>, AwsError> {
    let key = (layer.name.as_str(), newest_first(number));
    Ok(VERSIONS.get_shared(&ctx.cloud.store, &layer.scope(ctx), key).await?)
}

/// A version that the caller may use: one of its own, or one whose policy says so. Who may not is not told whether
/// there is one.
async fn find_permitted(ctx: &Ctx, layer: &LayerRef, number: u64) -> Result<Option<Arc<LayerVersion>>, AwsError> {
    let found = if layer.is_in_region(ctx) { find(ctx, layer, number).await? } else { None };
    if !layer.is_in_account(ctx)
        && !found.as_ref().is_some_and(|version| version.permits(ctx, &layer.version_arn(number)))
    {
        return Err(errors::not_authorized(ctx, GET, &layer.version_arn(number)));
    }
    Ok(found)
}

impl LayerVersion {
    fn permits(&self, ctx: &Ctx, arn: &str) -> bool {
        let (action, partition) = (format!("lambda:{GET}"), ctx.cx.region.partition());
        self.policy.as_ref().is_some_and(|policy| policy.grants(&action, arn, partition, &ctx.cx.principal))
    }

    fn show(self, ctx: &Ctx, layer: &LayerRef) -> VersionShown {
        let location = match &self.code {
            Code::Zip { blob, .. } => Some(code::link(ctx, blob)),
            Code::Image { .. } => None,
        };
        VersionShown {
            content: ContentShown { location, code_sha256: self.code.sha256(), code_size: self.code.size_bytes() },
            layer_arn: layer.arn(),
            layer_version_arn: layer.version_arn(self.number),
            description: self.description,
            created_date: self.created.lambda(),
            version: self.number,
            compatible_runtimes: self.runtimes,
            compatible_architectures: self.architectures,
            license_info: self.license_info,
        }
    }
}
