//! AWS CloudFormation. Described, so that every operation answers in the service's own words; none is built yet.

use crate::Service;

pub fn service() -> Service {
    Service::new("cloudformation", include_str!("model.json"), include_str!("overlay.json"))
}
