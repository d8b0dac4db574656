//! Metrics: what is put, what is asked of it, and which there are. The points themselves are kept by the crate `metrics`.
//!
//! Follows PutMetricData, GetMetricStatistics, GetMetricData and ListMetrics. The first two and the last check their
//! input themselves, in words that are older than the model's constraints: `overlay.json` takes those away.

mod data;
mod fetch;
mod list;
mod put;
mod read;
mod refusal;
mod statistics;

use crate::Service;

pub fn operations(service: Service) -> Service {
    service
        .operation("GetMetricData", data::get)
        .operation("GetMetricStatistics", statistics::get)
        .operation("ListMetrics", list::list)
        .operation("PutMetricData", put::put)
}

/// The units as CloudWatch's messages list them, and of several that a metric has the one that is taken.
const UNITS_SHOWN: [&str; 27] = [
    "Megabits",
    "Terabits",
    "Gigabits",
    "Count",
    "Bytes",
    "Gigabytes",
    "Gigabytes/Second",
    "Kilobytes",
    "Kilobits/Second",
    "Terabytes",
    "Terabits/Second",
    "Bytes/Second",
    "Percent",
    "Megabytes",
    "Megabits/Second",
    "Milliseconds",
    "Microseconds",
    "Kilobytes/Second",
    "Gigabits/Second",
    "Megabytes/Second",
    "Bits",
    "Bits/Second",
    "Count/Second",
    "Seconds",
    "Kilobits",
    "Terabytes/Second",
    "None",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engine::emf::UNITS;

    #[test]
    fn all_units_are_shown() {
        assert_eq!(super::UNITS_SHOWN.into_iter().collect::<BTreeSet<_>>(), UNITS.into_iter().collect());
    }
}
