//! Sends what functions say, and a span for each of their invocations, to a collector of OpenTelemetry by OTLP/HTTP.
//!
//! ```text
//! offer ─> queue (bounded in bytes; what does not fit is counted) ─> batches ─> POST /v1/logs, /v1/traces, /v1/metrics
//! ```
//!
//! `encode` is pure: items to the JSON of the protocol's protobuf. `send` carries a body, and says whether it is worth another
//! try. Nothing here is promised: a collector that is away for long misses what the queue cannot hold, and functions
//! never wait for it.
//!
//! Not there: the protocol's binary form; all that take OTLP/HTTP take JSON.

mod encode;
mod exporter;
mod send;
mod settings;
mod tls;

pub use encode::{Count, Counter, Item, Kind};
pub use exporter::{Exporter, Metrics};
pub use send::Collector;
pub use settings::{Compression, Endpoint, Headers, Settings, SettingsError};
pub use tls::TlsError;
