//! What functions do, among the server's metrics, and for a collector.
//!
//! **Invariant:** there are no more series than [`Live`] holds functions, and their names are all that a client chose.

use std::fmt;
use std::sync::Arc;

use base::{Clock, Region};
use chronicle::Chronicle;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use services::live::{BUCKETS, Live, Row, Snapshot};

/// Of a function: its account, its region and its name.
type Labels<'l> = [(&'static str, &'l str); 3];

/// What is told of.
pub struct Functions {
    pub live: Arc<Live>,
    pub clock: Arc<dyn Clock>,
    pub chronicle: Chronicle,
    pub metrics: metrics::Metrics,
    pub collector: Option<otlp::Exporter>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

impl Collector for Functions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.live.snapshot(self.clock.now());
        counters(&mut encoder, &snapshot)?;
        durations(&mut encoder, &snapshot)?;
        gauges(&mut encoder, &snapshot)?;
        let dropped = self.collector.as_ref().map_or(0, otlp::Exporter::dropped);
        let lost = [
            (
                "function_invocations_left_out",
                "Invocations of functions beyond those counted here",
                None,
                snapshot.left_out,
            ),
            (
                "function_log_lost",
                "What functions wrote too fast, and nobody has",
                Some(Unit::Bytes),
                self.chronicle.lost_bytes(),
            ),
            ("metric_series_refused", "Samples whose account had too many series", None, self.metrics.refused_series()),
            ("telemetry_dropped", "Log lines and spans that no collector got", None, dropped),
        ];
        for (name, help, unit, value) in lost {
            encoder
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// The same for a collector of OpenTelemetry, as far as its conventions name it.
pub fn exported(snapshot: &Snapshot) -> Vec<otlp::Counter> {
    let count = |name, unit, value| otlp::Count { name, unit, value };
    let exported = |row: &Row| otlp::Counter {
        account: row.account.to_string(),
        region: row.region.as_ref().map(Region::to_string).unwrap_or_default(),
        function: row.function.clone(),
        counts: vec![
            count("faas.invocations", "{invocation}", row.totals.invocations),
            count("faas.errors", "{error}", row.totals.errors),
            count("faas.coldstarts", "{coldstart}", row.totals.cold_starts),
        ],
    };
    snapshot.rows.iter().map(exported).collect()
}

fn labels(row: &Row) -> Labels<'_> {
    let region = row.region.as_ref().map_or("", Region::as_str);
    [("account", row.account.as_str()), ("region", region), ("function", &row.function)]
}

fn counters(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    type Value = fn(&Row) -> u64;
    type Amount = fn(&Row) -> f64;
    let counts: [(&str, &str, Value); 4] = [
        ("function_invocations", "Invocations that ended", |row| row.totals.invocations),
        ("function_errors", "Of those, how many failed", |row| row.totals.errors),
        ("function_throttles", "Calls refused because too many ran", |row| row.totals.throttles),
        ("function_cold_starts", "Invocations for which nothing was ready", |row| row.totals.cold_starts),
    ];
    for (name, help, value) in counts {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for row in &snapshot.rows {
            family.encode_family(&labels(row))?.encode_counter::<NoLabelSet, u64, u64>(&value(row), None)?;
        }
    }
    let amounts: [(&str, &str, Option<Unit>, Amount); 4] = [
        ("function_billed", "Time that AWS would bill", Some(Unit::Seconds), |row| row.totals.billed_ms as f64 / 1e3),
        ("function_cpu", "Time of a processor that was used", Some(Unit::Seconds), |row| row.totals.cpu.as_secs_f64()),
        ("function_gb_seconds", "Memory times billed time", None, |row| row.totals.gb_seconds),
        ("function_cost_dollars", "What AWS would take, without its free tier", None, |row| row.totals.cost),
    ];
    for (name, help, unit, value) in amounts {
        let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for row in &snapshot.rows {
            family.encode_family(&labels(row))?.encode_counter::<NoLabelSet, f64, f64>(&value(row), None)?;
        }
    }
    Ok(())
}

fn durations(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    const HELP: &str = "What an invocation takes, without its init";
    let seconds = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor("function_duration", HELP, seconds, MetricType::Histogram)?;
    for row in &snapshot.rows {
        let totals = &row.totals;
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(totals.buckets).collect();
        let took = totals.took.as_secs_f64();
        family.encode_family(&labels(row))?.encode_histogram::<NoLabelSet>(took, totals.invocations, &buckets, None)?;
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    const MB: f64 = 1_048_576.0;
    let family = encoder.encode_descriptor(
        "function_memory_configured",
        "What an instance may hold",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    gauge(family, snapshot, |row| {
        // Of one that was only refused so far, nobody has said.
        (row.memory_mb > 0).then(|| f64::from(row.memory_mb) * MB)
    })?;
    let family = encoder.encode_descriptor(
        "function_memory_peak",
        "The most that an instance held within the last minute",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    gauge(family, snapshot, |row| row.minute.memory_peak_bytes.map(|bytes| bytes as f64))?;
    let help = "How many ran at once within the last minute, at most";
    let family = encoder.encode_descriptor("function_concurrency", help, None, MetricType::Gauge)?;
    gauge(family, snapshot, |row| Some(f64::from(row.minute.at_once)))
}

fn gauge(mut family: MetricEncoder<'_>, snapshot: &Snapshot, value: fn(&Row) -> Option<f64>) -> fmt::Result {
    for row in &snapshot.rows {
        if let Some(value) = value(row) {
            family.encode_family(&labels(row))?.encode_gauge(&value)?;
        }
    }
    Ok(())
}
