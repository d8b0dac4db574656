//! The layers that a function uses.
//!
//! A function holds the code of its layers itself, so that it goes on working when a version is deleted: whoever puts
//! [`LayerUse`]s into a record retains their code in the same commit, and releases that of those which it takes out.
//! [`resolve`] pins what it finds, so no deletion can come between.

use base::AwsError;
use serde::{Deserialize, Serialize};
use store::Batch;

use super::{LayerRef, find_permitted};
use crate::lambda::code::{Code, Taken};
use crate::lambda::errors;
use crate::{Cloud, Ctx};

/// AWS's quota of layers that a function uses.
const LAYERS_MAX: usize = 5;
/// AWS's quota of the function's code and all its layers, unzipped.
const UNZIPPED_BYTES_MAX: u64 = archive::limits::UNZIPPED_BYTES_MAX;

/// A layer version in a function's record, as it was when it was put there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerUse {
    /// The version's.
    pub arn: String,
    pub code: Code,
}

/// A layer version whose code cannot be collected before a batch retains it.
pub struct Pinned {
    pub layer: LayerUse,
    taken: Taken,
}

/// A layer of a function, as AWS shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerShown {
    arn: String,
    code_size: u64,
}

/// Finds the layer versions that a function is to use, in their order, or says why it cannot use them.
pub async fn resolve(ctx: &Ctx, arns: &[String]) -> Result<Vec<Pinned>, AwsError> {
    if arns.len() > LAYERS_MAX {
        return Err(errors::invalid_parameter(format!("Cannot reference more than {LAYERS_MAX} layers.")));
    }
    let mut pinned: Vec<Pinned> = Vec::with_capacity(arns.len());
    for arn in arns {
        let missing = || errors::invalid_parameter(errors::layer_version_missing(arn));
        let (layer, number) = LayerRef::parse_version(arn).ok_or_else(missing)?;
        if layer.is_in_account(ctx) && !layer.is_in_region(ctx) {
            return Err(errors::invalid_parameter(format!(
                "Layers are not in the same region as the function. Layers are expected to be in region {}.",
                ctx.cx.region
            )));
        }
        let version = find_permitted(ctx, &layer, number).await?.ok_or_else(missing)?;
        if let Some(other) = pinned.iter().find(|other| other.layer.is_of(&layer)) {
            return Err(errors::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. \
                 {} and {arn} are versions of the same layer.",
                other.layer.arn
            )));
        }
        // Where the version is deleted right now, its code stays for a grace period.
        let taken = version.code.pin(ctx).await?;
        pinned.push(Pinned { layer: LayerUse { arn: layer.version_arn(number), code: version.code.clone() }, taken });
    }
    if unzipped_bytes(pinned.iter().map(|pinned| &pinned.layer)) > UNZIPPED_BYTES_MAX {
        return Err(errors::invalid_parameter(format!(
            "Layers consume more than the available size of {UNZIPPED_BYTES_MAX} bytes"
        )));
    }
    Ok(pinned)
}

/// Pins the layers of one record for another, as when a version is published.
pub async fn pin(ctx: &Ctx, layers: &[LayerUse]) -> Result<Vec<Pinned>, AwsError> {
    let mut pinned = Vec::with_capacity(layers.len());
    for layer in layers {
        pinned.push(Pinned { taken: layer.code.pin(ctx).await?, layer: layer.clone() });
    }
    Ok(pinned)
}

/// Lets `owner` hold the code of these layers from this batch on.
pub fn retain(ctx: &Ctx, batch: Batch, layers: &[Pinned], owner: &str) -> Result<Batch, AwsError> {
    layers.iter().try_fold(batch, |batch, pinned| pinned.taken.retain(ctx, batch, &pinned.layer.owner(owner)))
}

/// Lets `owner` go of the code of these layers. To come before [`retain`] in a batch that has both.
pub fn release(cloud: &Cloud, batch: Batch, layers: &[LayerUse], owner: &str) -> Result<Batch, AwsError> {
    layers.iter().try_fold(batch, |batch, layer| layer.code.release(cloud, batch, &layer.owner(owner)))
}

/// Refuses code that is too much together with its layers.
pub fn check_unzipped(code: &Code, layers: &[LayerUse]) -> Result<(), AwsError> {
    let bytes = unzipped_bytes(layers).saturating_add(code.unzipped_bytes());
    if layers.is_empty() || bytes <= UNZIPPED_BYTES_MAX {
        return Ok(());
    }
    Err(errors::invalid_parameter(format!(
        "Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_BYTES_MAX} bytes. \
         The actual size is {bytes} bytes."
    )))
}

/// What AWS shows of a function's layers; nothing of none.
pub fn show(layers: &[LayerUse]) -> Option<Vec<LayerShown>> {
    let shown = |layer: &LayerUse| LayerShown { arn: layer.arn.clone(), code_size: layer.code.size_bytes() };
    (!layers.is_empty()).then(|| layers.iter().map(shown).collect())
}

fn unzipped_bytes<'a>(layers: impl IntoIterator<Item = &'a LayerUse>) -> u64 {
    layers.into_iter().fold(0, |sum, layer| sum.saturating_add(layer.code.unzipped_bytes()))
}

impl LayerUse {
    fn is_of(&self, layer: &LayerRef) -> bool {
        self.arn.rsplit_once(':').is_some_and(|(of, _)| of == layer.arn())
    }

    /// Who holds the code for `function`. Layers of equal content are held apart, so that each can be let go alone.
    fn owner(&self, function: &str) -> String {
        format!("{function}/{}", self.arn)
    }
}
