//! Sandboxes as configured: which isolation, and which network. What the operator asked for by name is there or the
//! server does not start; what is left to the server is told in the log.

use std::sync::Arc;

use base::{Spawn, with_causes};
use sandbox::{EGRESS, Features, Isolation, IsolationError, Network};

use crate::cli::functions as cli;
use crate::config::functions::Functions;

#[derive(Debug, thiserror::Error)]
pub enum SandboxesError {
    #[error("keep functions apart by processes, as configured; {}", .0.remedy())]
    Process(#[source] IsolationError),
    #[error("run functions without isolation, as configured; {}", .0.remedy())]
    None(#[source] IsolationError),
    #[error(
        "keep functions from the network with isolation \"none\": they are in the host's; choose another isolation"
    )]
    NoWalls,
    #[error("lead functions to the internet, as configured: {missing}; {remedy}; or choose network \"none\"")]
    NoEgress { missing: String, remedy: String },
}

/// Where functions run.
pub struct Sandboxes {
    pub isolation: Isolation,
    pub features: Features,
    pub network: Network,
}

impl Sandboxes {
    /// `None` where the host lends none, and it was left to the server.
    pub async fn open(functions: &Functions, spawn: Arc<dyn Spawn>) -> Result<Option<Self>, SandboxesError> {
        if functions.isolation == cli::Isolation::None {
            return Self::without_walls(functions, spawn).await.map(Some);
        }
        let (isolation, features) = match sandbox::processes(settings(functions), spawn).await {
            Ok(lent) => lent,
            Err(error) if functions.isolation != cli::Isolation::Auto => return Err(SandboxesError::Process(error)),
            Err(error) => {
                tracing::warn!("functions cannot run here: failed to {}; {}", with_causes(&error), error.remedy());
                return Ok(None);
            }
        };
        tell_missing(&features);
        let network = network(functions.network, &features)?;
        if let (None, Network::Loopback, Some((missing, remedy))) = (functions.network, network, no_egress(&features)) {
            tracing::info!("functions have no way to the internet: {missing}; {remedy}");
        }
        Ok(Some(Self { isolation, features, network }))
    }

    /// Functions are in the host's own network then, whatever is asked for.
    async fn without_walls(functions: &Functions, spawn: Arc<dyn Spawn>) -> Result<Self, SandboxesError> {
        if functions.network == Some(cli::Network::None) {
            return Err(SandboxesError::NoWalls);
        }
        let (isolation, features) = sandbox::bare(settings(functions), spawn).await.map_err(SandboxesError::None)?;
        Ok(Self { isolation, features, network: Network::Egress })
    }
}

/// What walls lack here is said at every start.
fn tell_missing(features: &Features) {
    for feature in features.list.iter().filter(|feature| feature.name != EGRESS) {
        if let Some(missing) = &feature.missing {
            tracing::warn!("functions run without {}: {missing}; {}", feature.name, feature.remedy);
        }
    }
}

/// Whether functions run under users of their own, who read what everybody may.
pub fn has_own_users(functions: &Functions, features: &Features) -> bool {
    features.is_root && functions.isolation != cli::Isolation::None
}

pub fn settings(functions: &Functions) -> sandbox::Settings {
    sandbox::Settings {
        nameservers: functions.nameservers.clone(),
        allowed_networks: functions.allowed_networks.iter().map(|allowed| (allowed.address, allowed.prefix)).collect(),
        may_forward: functions.may_forward,
        has_egress: functions.network != Some(cli::Network::None),
        memory_bytes: functions.memory_bytes.map(runtime::of_sandboxes),
        ..sandbox::Settings::default()
    }
}

/// As wanted; else a way out where the host has one.
fn network(wanted: Option<cli::Network>, features: &Features) -> Result<Network, SandboxesError> {
    match (wanted, no_egress(features)) {
        (Some(cli::Network::None), _) | (None, Some(_)) => Ok(Network::Loopback),
        (_, None) => Ok(Network::Egress),
        (Some(cli::Network::Egress), Some((missing, remedy))) => {
            Err(SandboxesError::NoEgress { missing: missing.to_owned(), remedy: remedy.to_owned() })
        }
    }
}

/// Why functions cannot be led to the internet, and what would cure it.
fn no_egress(features: &Features) -> Option<(&str, &str)> {
    let feature = features.list.iter().find(|feature| feature.name == EGRESS);
    match feature {
        Some(feature) => feature.missing.as_deref().map(|missing| (missing, feature.remedy.as_str())),
        None => Some(("this isolation has none", "use another one")),
    }
}

#[cfg(test)]
mod tests {
    use sandbox::Feature;

    use super::*;
    use crate::config::Config;

    #[test]
    fn nothing_is_put_in_place_for_a_way_out_that_nobody_wants() {
        let place = crate::cli::Place { data_dir: Some("/data".into()), config: None };
        let functions = Config::of(place, cli::InterpreterFlags::default()).unwrap().functions;
        let has_egress = |network| settings(&Functions { network, ..functions.clone() }).has_egress;
        assert!(!has_egress(Some(cli::Network::None)));
        assert!(has_egress(Some(cli::Network::Egress)) && has_egress(None));
    }

    #[test]
    fn the_way_out_is_open_where_it_can_be_unless_told_otherwise() {
        let features = |missing: Option<&str>| Features {
            is_root: true,
            list: vec![Feature { name: EGRESS.into(), missing: missing.map(Into::into), remedy: "do".into() }],
        };
        let (can, cannot) = (features(None), features(Some("why")));
        assert_eq!(network(None, &can).unwrap(), Network::Egress);
        assert_eq!(network(None, &cannot).unwrap(), Network::Loopback);
        assert_eq!(network(Some(cli::Network::None), &can).unwrap(), Network::Loopback);
        assert_eq!(network(Some(cli::Network::Egress), &can).unwrap(), Network::Egress);
        let refused = network(Some(cli::Network::Egress), &cannot).unwrap_err().to_string();
        assert!(refused.contains("why; do; or choose"), "{refused}");
    }
}
