//! `[prices]`: what calls would cost elsewhere than on AWS's list for us-east-1.

use engine::price::{Duration, Prices, Tier};
use serde::Deserialize;

use super::ConfigError;

/// What is not given is AWS's. All in dollars.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricesSection {
    request: Option<f64>,
    tmp_gb_second: Option<f64>,
    snapshot_gb_second: Option<f64>,
    restored_gb: Option<f64>,
    free_requests: Option<f64>,
    free_gb_seconds: Option<f64>,
    x86_64: DurationSection,
    arm64: DurationSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DurationSection {
    tiers: Option<Vec<TierSection>>,
    provisioned_gb_second: Option<f64>,
    provisioned_run_gb_second: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierSection {
    /// GB-seconds of a month.
    #[serde(default)]
    from: f64,
    gb_second: f64,
}

impl PricesSection {
    pub fn settle(self) -> Result<Prices, ConfigError> {
        let mut prices = Prices::default();
        for (name, given, price) in [
            ("request", self.request, &mut prices.request),
            ("tmp_gb_second", self.tmp_gb_second, &mut prices.tmp_gb_second),
            ("snapshot_gb_second", self.snapshot_gb_second, &mut prices.cached_gb_second),
            ("restored_gb", self.restored_gb, &mut prices.restored_gb),
            ("free_requests", self.free_requests, &mut prices.free_requests),
            ("free_gb_seconds", self.free_gb_seconds, &mut prices.free_gb_seconds),
        ] {
            set(price, name, given)?;
        }
        self.x86_64.settle(&mut prices.x86)?;
        self.arm64.settle(&mut prices.arm)?;
        Ok(prices)
    }
}

impl DurationSection {
    fn settle(self, duration: &mut Duration) -> Result<(), ConfigError> {
        set(&mut duration.provisioned_gb_second, "provisioned_gb_second", self.provisioned_gb_second)?;
        set(&mut duration.provisioned_run_gb_second, "provisioned_run_gb_second", self.provisioned_run_gb_second)?;
        let Some(given) = self.tiers else { return Ok(()) };
        let tiers: Vec<Tier> =
            given.iter().map(|tier| Tier { from_gb_seconds: tier.from, gb_second: tier.gb_second }).collect();
        let is_price = |tier: &Tier| is_amount(tier.from_gb_seconds) && is_amount(tier.gb_second);
        let rises = tiers.is_sorted_by(|a, b| a.from_gb_seconds < b.from_gb_seconds);
        if !tiers.iter().all(is_price) || !rises || tiers.first().is_none_or(|first| first.from_gb_seconds != 0.0) {
            return Err(ConfigError::PriceTiers);
        }
        duration.tiers = tiers;
        Ok(())
    }
}

fn set(price: &mut f64, name: &'static str, given: Option<f64>) -> Result<(), ConfigError> {
    let Some(given) = given else { return Ok(()) };
    if !is_amount(given) {
        return Err(ConfigError::Price(name));
    }
    *price = given;
    Ok(())
}

fn is_amount(amount: f64) -> bool {
    amount.is_finite() && amount >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(text: &str) -> Result<Prices, String> {
        let section: PricesSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.settle().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_is_on_the_list_of_aws() {
        assert_eq!(settle("").unwrap(), Prices::default());
        let given = "request = 1\n[x86_64]\ntiers = [{ gb_second = 0.5 }, { from = 1e9, gb_second = 0.25 }]\n\
                     [arm64]\nprovisioned_gb_second = 0";
        let prices = settle(given).unwrap();
        assert_eq!((prices.request, prices.restored_gb), (1.0, Prices::default().restored_gb));
        let second = Tier { from_gb_seconds: 1e9, gb_second: 0.25 };
        assert_eq!(prices.x86.tiers, [Tier { from_gb_seconds: 0.0, gb_second: 0.5 }, second]);
        assert_eq!((prices.arm.provisioned_gb_second, prices.arm.tiers.len()), (0.0, 3));
    }

    #[test]
    fn nobody_is_paid_and_tiers_rise() {
        for bad in ["request = -1", "free_requests = nan", "[arm64]\nprovisioned_gb_second = inf"] {
            assert!(settle(bad).unwrap_err().contains("[prices]"), "{bad}");
        }
        for bad in
            ["[]", "[{ from = 5, gb_second = 1 }]", "[{ gb_second = 1 }, { gb_second = 2 }]", "[{ gb_second = -1 }]"]
        {
            assert!(settle(&format!("[x86_64]\ntiers = {bad}")).unwrap_err().contains("from = 0"), "{bad}");
        }
        assert!(settle("requst = 1").unwrap_err().contains("unknown field `requst`"));
    }
}
