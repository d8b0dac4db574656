//! What isolation this host lends us: each feature with the reason where it is missing, and what would cure it.

use serde::{Deserialize, Serialize};

/// The feature by which sandboxes reach the internet.
pub const EGRESS: &str = "egress";

/// Why root has no egress where all it takes is `Settings::may_forward`.
pub const NOT_FORWARDING: &str = "this host forwards no packets: net.ipv4.ip_forward is 0";

/// What was found when the spawner started. For `lamp doctor` and the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Features {
    /// Full limits and a uid for each sandbox; else one user's rights and what was delegated.
    pub is_root: bool,
    pub list: Vec<Feature>,
}

impl Features {
    pub fn works(&self, name: &str) -> bool {
        self.list.iter().any(|feature| feature.name == name && feature.missing.is_none())
    }

    /// Why a feature does not work.
    pub fn missing(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|feature| feature.name == name)?.missing.as_deref()
    }

    pub(crate) fn add(&mut self, name: &str, missing: Option<String>, remedy: &str) {
        self.list.push(Feature { name: name.to_owned(), missing, remedy: remedy.to_owned() });
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Feature {
    /// Such as `memory limit`, `landlock`, `egress`.
    pub name: String,
    /// Why it does not work here; `None` when it does.
    pub missing: Option<String>,
    /// What the operator can do about it.
    pub remedy: String,
}
