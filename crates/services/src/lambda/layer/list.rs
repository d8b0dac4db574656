//! Listings of layers and of their versions, the newest version first.
//!
//! A filter may pass over many versions for one that it lets through, so a listing reads so often at most and then
//! answers with what it has and a marker, as AWS does too.

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::Scan;

use super::{LayerRef, LayerVersion, VERSIONS};
use crate::Ctx;
use crate::lambda::{errors, paging};

/// Versions read at once.
const STEP: usize = 50;
/// Reads of one listing.
const READS_MAX: usize = 100;

type Key = (String, u64);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListLayers {
    compatible_runtime: Option<String>,
    compatible_architecture: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListLayerVersions {
    layer_name: String,
    compatible_runtime: Option<String>,
    compatible_architecture: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerList {
    layers: Vec<LayerItem>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerVersionList {
    layer_versions: Vec<VersionItem>,
    next_marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LayerItem {
    layer_name: String,
    layer_arn: String,
    latest_matching_version: VersionItem,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionItem {
    layer_version_arn: String,
    version: u64,
    description: String,
    created_date: String,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
    license_info: Option<String>,
}

/// What a listing asks of a version.
struct Filter {
    runtime: Option<String>,
    architecture: Option<String>,
}

/// The layers that have versions, each with its newest that the filter lets through.
pub async fn layers(ctx: Ctx, input: ListLayers) -> Result<LayerList, AwsError> {
    const OPERATION: &str = "lambda:ListLayers";
    let filter = Filter { runtime: input.compatible_runtime, architecture: input.compatible_architecture };
    let limit = paging::size(input.max_items);
    let mut position = position(&ctx, OPERATION, input.marker.as_deref())?;
    let mut layers: Vec<LayerItem> = Vec::new();
    for _ in 0..READS_MAX {
        let mut scan = Scan::<Key>::all(STEP);
        if let Some((name, version)) = &position {
            scan = scan.after((name, *version));
        }
        let page = VERSIONS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
        for row in page.rows {
            let (name, _) = &row.key;
            if layers.last().is_some_and(|last| last.layer_name == *name) {
                continue;
            }
            if layers.len() >= limit {
                return Ok(LayerList { layers, next_marker: ctx.marker(OPERATION, position.as_ref()) });
            }
            position = Some(row.key.clone());
            if filter.lets_through(&row.value) {
                let layer = LayerRef::parse(&ctx, name)?;
                // The layer's other versions are behind us.
                position = Some((name.clone(), u64::MAX));
                layers.push(LayerItem {
                    layer_name: layer.name.clone(),
                    layer_arn: layer.arn(),
                    latest_matching_version: row.value.item(&layer),
                });
            }
        }
        if page.next.is_none() {
            return Ok(LayerList { layers, next_marker: None });
        }
    }
    Ok(LayerList { layers, next_marker: ctx.marker(OPERATION, position.as_ref()) })
}

/// The versions of a layer. A layer that is not there has none.
pub async fn versions(ctx: Ctx, input: ListLayerVersions) -> Result<LayerVersionList, AwsError> {
    const OPERATION: &str = "lambda:ListLayerVersions";
    let layer = LayerRef::parse(&ctx, &input.layer_name)?;
    layer.check_own(&ctx, "ListLayerVersions", &layer.arn())?;
    let filter = Filter { runtime: input.compatible_runtime, architecture: input.compatible_architecture };
    let limit = paging::size(input.max_items);
    let mut position = position(&ctx, OPERATION, input.marker.as_deref())?;
    let mut layer_versions = Vec::new();
    for _ in 0..READS_MAX {
        let mut scan = Scan::<Key>::all(STEP).under::<String>(&layer.name);
        if let Some((name, version)) = &position {
            scan = scan.after((name, *version));
        }
        let page = VERSIONS.page(&ctx.cloud.store, &ctx.scope(), scan).await?;
        for row in page.rows {
            if layer_versions.len() >= limit {
                return Ok(LayerVersionList { layer_versions, next_marker: ctx.marker(OPERATION, position.as_ref()) });
            }
            position = Some(row.key);
            if filter.lets_through(&row.value) {
                layer_versions.push(row.value.item(&layer));
            }
        }
        if page.next.is_none() {
            return Ok(LayerVersionList { layer_versions, next_marker: None });
        }
    }
    Ok(LayerVersionList { layer_versions, next_marker: ctx.marker(OPERATION, position.as_ref()) })
}

fn position(ctx: &Ctx, operation: &str, marker: Option<&str>) -> Result<Option<Key>, AwsError> {
    let Some(marker) = marker else { return Ok(None) };
    ctx.position(operation, marker).map(Some).ok_or_else(errors::invalid_marker)
}

impl Filter {
    /// A version that names nothing that it is compatible with is not asked for by a filter.
    fn lets_through(&self, version: &LayerVersion) -> bool {
        let names = |names: &Option<Vec<String>>, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| names.as_ref().is_some_and(|names| names.contains(wanted)))
        };
        names(&version.runtimes, &self.runtime) && names(&version.architectures, &self.architecture)
    }
}

impl LayerVersion {
    fn item(self, layer: &LayerRef) -> VersionItem {
        VersionItem {
            layer_version_arn: layer.version_arn(self.number),
            version: self.number,
            description: self.description,
            created_date: self.created.lambda(),
            compatible_runtimes: self.runtimes,
            compatible_architectures: self.architectures,
            license_info: self.license_info,
        }
    }
}
