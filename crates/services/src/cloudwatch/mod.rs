//! Amazon CloudWatch: metrics and alarms. Described, so that every operation answers in the service's own words; none is built yet.

use crate::Service;

pub fn service() -> Service {
    Service::new("cloudwatch", include_str!("model.json"), include_str!("overlay.json"))
}
