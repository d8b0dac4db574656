//! Tenants of one function: Q14 of the plan for reliability.

use std::time::Duration;

use serde_json::json;

use crate::bed::{Bed, Called, well};

#[tokio::test(start_paused = true)]
async fn slow_events_of_one_tenant_delay_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let answer = |called: &Called| match called.tenant.as_deref() {
        Some("noisy") => well(Duration::from_secs(600), ""),
        _ => well(Duration::from_millis(20), ""),
    };
    let bed = Bed::open(dir.path(), answer).await;
    bed.function("f", json!({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}})).await;
    for _ in 0..300 {
        bed.leave("f", Some("noisy")).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for tenant in 0..40 {
        let (name, sent) = (format!("tenant-{tenant}"), bed.called().len());
        bed.leave("f", Some(&name)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let others = bed.called()[sent..].iter().any(|called| called.tenant.as_deref() == Some(&*name));
        assert!(others, "{name} waits");
    }
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(bed.called().len(), 340);
}
