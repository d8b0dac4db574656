//! What the server counts of its requests, in OpenMetrics text.
//!
//! The pipeline and the listener feed it; the binary mounts [`Metrics::render`] at `/_lamp/metrics`. **Invariant:** labels take only
//! names that come from a model or from this file, never text of a client, so there are no more series than
//! operations.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::server::Counts;

/// Upper bounds in seconds: from a cached read to the longest that a client waits.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// Which requests are counted together. Requests that never reached an operation have empty names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct Labels {
    pub service: &'static str,
    pub operation: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    service: &'static str,
    operation: &'static str,
    /// `2xx` and so on.
    status: &'static str,
}

/// The request metrics of one server.
pub struct Metrics {
    /// Fed by the listener.
    pub connections: Arc<Counts>,
    registry: Registry,
    requests: Family<Outcome, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    panics: Counter,
    received_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lamp");
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            connections: Arc::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            panics: Counter::default(),
            received_bytes: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("requests_in_flight", "Requests being served", metrics.in_flight.clone());
        registry.register("request_panics", "Requests that ended in a panic", metrics.panics.clone());
        registry.register_with_unit("request_body", "Body bytes taken in", Unit::Bytes, metrics.received_bytes.clone());
        registry.register_collector(Box::new(Connections(metrics.connections.clone())));
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// With what others count. **Invariant:** they bound how many series they have.
    pub fn with(collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut metrics = Self::default();
        collectors.into_iter().for_each(|collector| metrics.registry.register_collector(collector));
        metrics
    }

    /// Counts a request as being served until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn record(&self, labels: Labels, status: u16, took: Duration) {
        let Labels { service, operation } = labels;
        let status = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Outcome { service, operation, status }).inc();
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn received(&self, bytes: u64) {
        self.received_bytes.inc_by(bytes);
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// All of it as `application/openmetrics-text`.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Shows the listener's counts among the metrics.
#[derive(Debug)]
struct Connections(Arc<Counts>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut counter = |name, help, value| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("connections_accepted", "Connections accepted", load(&self.0.accepted))?;
        counter("connections_refused", "Connections closed because their peer had too many", load(&self.0.refused))?;
        let open = ConstGauge::new(i64::try_from(load(&self.0.open)).unwrap_or(i64::MAX));
        let descriptor = encoder.encode_descriptor("connections_open", "Connections open", None, open.metric_type())?;
        open.encode(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered() {
        let metrics = Metrics::default();
        metrics.connections.open.store(3, Ordering::Relaxed);
        let labels = Labels { service: "sts", operation: "GetCallerIdentity" };
        metrics.record(labels, 200, Duration::from_micros(300));
        let begun = metrics.begin();
        let text = metrics.render().unwrap();
        for line in [
            r#"lamp_requests_total{service="sts",operation="GetCallerIdentity",status="2xx"} 1"#,
            r#"lamp_request_duration_seconds_bucket{le="0.0005",service="sts",operation="GetCallerIdentity"} 1"#,
            "lamp_requests_in_flight 1",
            "lamp_connections_open 3",
            "lamp_connections_accepted_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        drop(begun);
        assert!(metrics.render().unwrap().contains("lamp_requests_in_flight 0"));
    }
}
