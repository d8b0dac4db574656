//! The messages that are JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Serialize)]
pub struct Init<'a> {
    pub env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prepare: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<&'a str>,
}

/// What the runtime is told of code that was prepared for its version.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// Where it is, inside.
    pub path: Option<String>,
    /// There is none, and the runtime can make it.
    pub is_wanted: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoke<'a> {
    pub request_id: String,
    pub deadline_ms: i64,
    pub invoked_function_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseHead {
    pub content_type: Option<String>,
    #[serde(default)]
    pub streaming: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub error_type: Option<String>,
}
