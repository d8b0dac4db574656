//! What routing must know of every service before it knows which one is meant.
//!
//! Read at start-up for all services; the models themselves, a hundred times longer, are read on first use.

use serde::Deserialize;

use super::file::{Overlay, RawProtocol, Text};
use super::{LoadError, Protocol};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub name: &'static str,
    pub api_version: &'static str,
    pub signing_name: &'static str,
    pub endpoint_prefix: &'static str,
    pub target_prefix: Option<&'static str>,
    pub protocols: Vec<Protocol>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"), rename_all = "camelCase")]
struct RawSummary {
    name: Text,
    api_version: Text,
    signing_name: Option<Text>,
    endpoint_prefix: Text,
    target_prefix: Option<Text>,
    protocols: Vec<RawProtocol>,
}

impl Summary {
    /// Reads only the lines before the operations, which `cargo xtask gen` puts there, and the overlay.
    pub fn read(
        service: &'static str,
        model_json: &'static str,
        overlay_json: &'static str,
    ) -> Result<Self, LoadError> {
        // These few hundred bytes live as long as the process, like the model that they are cut from.
        let head = model_json.split_once(",\n\"operations\":").map_or(model_json, |(head, _)| head);
        let raw: RawSummary = serde_json::from_str(&*format!("{head}}}").leak())
            .map_err(|source| LoadError::Model { service, source })?;
        let overlay: Overlay =
            serde_json::from_str(overlay_json).map_err(|source| LoadError::Overlay { service, source })?;
        let overlaid = overlay.corrections.into_iter().rev().find_map(|correction| correction.service.protocols);
        Ok(Self {
            name: raw.name.0,
            api_version: raw.api_version.0,
            signing_name: raw.signing_name.unwrap_or(raw.endpoint_prefix).0,
            endpoint_prefix: raw.endpoint_prefix.0,
            target_prefix: raw.target_prefix.map(|text| text.0),
            protocols: overlaid.unwrap_or(raw.protocols).into_iter().map(Into::into).collect(),
        })
    }

    pub fn offers(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// The protocol that names operations by method and path, if the service speaks one.
    pub fn rest(&self) -> Option<Protocol> {
        self.protocols.iter().copied().find(|protocol| matches!(protocol, Protocol::RestJson | Protocol::RestXml))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::{ALL, text};

    #[test]
    fn a_summary_says_what_the_model_says() {
        for model in ALL.iter() {
            let (model_json, overlay_json) = (text(model.name, "model.json"), text(model.name, "overlay.json"));
            let summary = Summary::read(model.name, model_json, overlay_json).unwrap();
            assert_eq!(
                summary,
                Summary {
                    name: model.name,
                    api_version: model.api_version,
                    signing_name: model.signing_name,
                    endpoint_prefix: model.endpoint_prefix,
                    target_prefix: model.target_prefix,
                    protocols: model.protocols.clone(),
                }
            );
        }
    }
}
