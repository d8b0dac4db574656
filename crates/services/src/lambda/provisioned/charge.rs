//! What provisioned concurrency costs, whether it runs or not: by AWS's rule for each five minutes begun, from when it was put.
//!
//! What calls on it cost is in their records. Nothing is charged for time when there was no server.

use base::Timestamp;
use base::ports::Provision;
use engine::price::{self, Prices};
use metrics::Datum;
use store::Scope;

use crate::derived;

const PERIOD_S: i64 = 300;

/// Charges periods as they begin.
pub struct Charges {
    prices: Prices,
    /// What began until then is charged.
    until: Timestamp,
}

impl Charges {
    pub fn new(prices: Prices, now: Timestamp) -> Charges {
        Charges { prices, until: now }
    }

    /// What has become due since it was asked last.
    pub fn due(&mut self, provisions: &[Provision], now: Timestamp) -> Vec<Datum> {
        let since = self.until;
        self.until = now.max(since);
        let due = |provision: &Provision| {
            let begun = begun(provision.wanted_at, (since, self.until));
            (begun > 0).then(|| self.charge(provision, begun.saturating_mul(PERIOD_S)))
        };
        provisions.iter().filter_map(due).flatten().collect()
    }

    fn charge(&self, provision: &Provision, seconds: i64) -> [Datum; 2] {
        let function = &provision.function;
        let gb_seconds = price::gb(function.memory_mb) * f64::from(provision.instances) * seconds as f64;
        let run = price::Run { provisioned_gb_seconds: gb_seconds, ..price::Run::default() };
        let cost = self.prices.bill(&price::Usage::of_run(run, cfg!(target_arch = "aarch64"))).total();
        let scope = Scope { world: function.world, account: function.account, region: Some(function.region.clone()) };
        derived::lambda::provisioned_usage(&scope, &function.name, (gb_seconds, cost), self.until)
    }
}

/// How many periods of what was put at `from` have begun after `since`, and by `until`.
fn begun(from: Timestamp, (since, until): (Timestamp, Timestamp)) -> i64 {
    let by = |time: Timestamp| match time < from {
        true => 0,
        false => i64::try_from(time.since(from).as_secs()).unwrap_or(i64::MAX).div_euclid(PERIOD_S).saturating_add(1),
    };
    by(until).saturating_sub(by(since))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_put_is_charged_for_five_minutes_at_once_and_then_for_each_that_begins() {
        let begun = |from, since, until| {
            begun(Timestamp::from_secs(from), (Timestamp::from_secs(since), Timestamp::from_secs(until)))
        };
        assert_eq!([begun(10, 0, 9), begun(10, 0, 10), begun(10, 9, 309)], [0, 1, 1]);
        assert_eq!([begun(10, 10, 309), begun(10, 10, 310), begun(10, 309, 910)], [0, 1, 3]);
        // The server began when it had been there for long: what has begun is charged already.
        assert_eq!([begun(10, 1_000, 1_000), begun(10, 1_000, 1_300)], [0, 1]);
    }

    proptest! {
        #[test]
        fn however_often_it_is_looked_at_it_costs_the_same(from: i32, moments in proptest::collection::vec(any::<i32>(), 2..20)) {
            let at = |second: &i32| Timestamp::from_secs((*second).into());
            let mut moments = moments;
            moments.sort_unstable();
            let steps: i64 = moments.windows(2).map(|two| begun(at(&from), (at(&two[0]), at(&two[1])))).sum();
            prop_assert_eq!(steps, begun(at(&from), (at(&moments[0]), at(moments.last().unwrap()))));
        }
    }
}
