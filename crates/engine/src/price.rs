//! What invocations would cost at AWS: its list prices as data, and the sum of a month by them.
//!
//! Follows <https://aws.amazon.com/lambda/pricing/>. Prices are those of us-east-1 unless the operator gives others. Not
//! priced: what other services charge for what functions call, traffic, what responses stream beyond 6 MB, environments
//! of tenants, and what asynchronous events are above 256 KB.
//!
//! Dollars are `f64`: of a sum of a million dollars the cents are still exact, and no bill is written from it.

use base::record::{Ended, Kind, Origin};

/// What AWS has everybody pay who runs functions.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    pub x86: Duration,
    pub arm: Duration,
    /// A request.
    pub request: f64,
    /// Of what `/tmp` may hold beyond 512 MB, while the function runs.
    pub tmp_gb_second: f64,
    /// Of a snapshot, as long as its version is there; three hours at least.
    pub cached_gb_second: f64,
    /// Of the memory of a function that begins with its snapshot, each time.
    pub restored_gb: f64,
    /// A month, for all functions together that have no provisioned concurrency.
    pub free_requests: f64,
    pub free_gb_seconds: f64,
}

/// What it costs to run on one architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Duration {
    /// By what was used in the month before, least first. Without one, running costs nothing.
    pub tiers: Vec<Tier>,
    /// Of instances that are provisioned, whether they run or not.
    pub provisioned_gb_second: f64,
    /// Of those, while they run.
    pub provisioned_run_gb_second: f64,
}

/// From so many GB-seconds of a month on, each costs so much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    pub from_gb_seconds: f64,
    pub gb_second: f64,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub x86: Run,
    pub arm: Run,
    /// Beyond the 512 MB that come with it.
    pub tmp_gb_seconds: f64,
    pub cached_gb_seconds: f64,
    pub restored_gb: f64,
}

/// What was used of one architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Run {
    pub requests: f64,
    pub gb_seconds: f64,
    /// Of instances that are provisioned.
    pub provisioned_requests: f64,
    pub provisioned_run_gb_seconds: f64,
    pub provisioned_gb_seconds: f64,
}

/// What that comes to, in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bill {
    pub duration: f64,
    pub requests: f64,
    pub provisioned: f64,
    pub tmp: f64,
    pub snapshots: f64,
}

const MB_OF_GB: f64 = 1_024.0;
/// Of `/tmp`, this much costs nothing.
const TMP_FREE_MB: u32 = 512;

impl Default for Prices {
    /// AWS's list for us-east-1: the offer `AWSLambda` of its price list as published on 2026-09-19.
    fn default() -> Prices {
        let tier = |from_gb_seconds, gb_second| Tier { from_gb_seconds, gb_second };
        Prices {
            x86: Duration {
                tiers: vec![tier(0.0, 0.000_016_666_7), tier(6e9, 0.000_015), tier(15e9, 0.000_013_333_4)],
                provisioned_gb_second: 0.000_004_166_7,
                provisioned_run_gb_second: 0.000_009_722_2,
            },
            arm: Duration {
                tiers: vec![tier(0.0, 0.000_013_333_4), tier(7.5e9, 0.000_012_000_1), tier(18.75e9, 0.000_010_666_7)],
                provisioned_gb_second: 0.000_003_333_4,
                provisioned_run_gb_second: 0.000_007_777_8,
            },
            request: 0.000_000_2,
            tmp_gb_second: 0.000_000_030_9,
            cached_gb_second: 0.000_001_504_6,
            restored_gb: 0.000_139_799_8,
            free_requests: 1e6,
            free_gb_seconds: 400_000.0,
        }
    }
}

/// What one invocation cost by these prices, as the first of its month, without what is free.
pub fn cost(prices: &Prices, origin: &Origin, ended: &Ended) -> f64 {
    prices.bill(&Usage::of(origin, ended)).total()
}

/// The GB-seconds that an invocation is billed for.
pub fn gb_seconds(origin: &Origin, ended: &Ended) -> f64 {
    gb(origin.memory_mb) * billed_seconds(ended)
}

pub fn gb(memory_mb: u32) -> f64 {
    f64::from(memory_mb) / MB_OF_GB
}

/// What is billed of the time before it is billed with it: of an init, or of a restore.
fn billed_seconds(ended: &Ended) -> f64 {
    let restored = ended.restored.map_or(0, |(_, billed)| base::record::billed_millis(billed));
    ended.billed_millis().saturating_add(restored) as f64 / 1e3
}

impl Usage {
    /// Of one invocation. That a snapshot of Java's costs nothing to restore cannot be told from its record.
    pub fn of(origin: &Origin, ended: &Ended) -> Usage {
        let gb_seconds = gb_seconds(origin, ended);
        let run = match origin.kind {
            Kind::Provisioned => {
                Run { provisioned_requests: 1.0, provisioned_run_gb_seconds: gb_seconds, ..Run::default() }
            }
            Kind::OnDemand | Kind::SnapStart => Run { requests: 1.0, gb_seconds, ..Run::default() },
        };
        let tmp_gb = gb(origin.tmp_mb.saturating_sub(TMP_FREE_MB));
        let restored_gb = ended.restored.map_or(0.0, |_| gb(origin.memory_mb));
        let tmp_gb_seconds = tmp_gb * billed_seconds(ended);
        Usage { tmp_gb_seconds, restored_gb, ..Usage::of_run(run, origin.is_arm) }
    }

    pub fn of_run(run: Run, is_arm: bool) -> Usage {
        let (x86, arm) = if is_arm { (Run::default(), run) } else { (run, Run::default()) };
        Usage { x86, arm, ..Usage::default() }
    }

    /// So many times as much.
    pub fn times(&self, factor: f64) -> Usage {
        Usage {
            x86: self.x86.times(factor),
            arm: self.arm.times(factor),
            tmp_gb_seconds: self.tmp_gb_seconds * factor,
            cached_gb_seconds: self.cached_gb_seconds * factor,
            restored_gb: self.restored_gb * factor,
        }
    }

    /// What is left of it when a month's free requests and GB-seconds are taken off: of both architectures together, of each
    /// its share.
    fn beyond_free(&self, prices: &Prices) -> Usage {
        let left = |used: f64, free: f64| if used > free { (used - free) / used } else { 0.0 };
        let requests = left(self.x86.requests + self.arm.requests, prices.free_requests);
        let gb_seconds = left(self.x86.gb_seconds + self.arm.gb_seconds, prices.free_gb_seconds);
        let of = |run: Run| Run { requests: run.requests * requests, gb_seconds: run.gb_seconds * gb_seconds, ..run };
        Usage { x86: of(self.x86), arm: of(self.arm), ..*self }
    }
}

impl Run {
    fn times(&self, factor: f64) -> Run {
        Run {
            requests: self.requests * factor,
            gb_seconds: self.gb_seconds * factor,
            provisioned_requests: self.provisioned_requests * factor,
            provisioned_run_gb_seconds: self.provisioned_run_gb_seconds * factor,
            provisioned_gb_seconds: self.provisioned_gb_seconds * factor,
        }
    }
}

impl Prices {
    /// What a month's use costs, all of it paid.
    pub fn bill(&self, usage: &Usage) -> Bill {
        let provisioned = |run: Run, price: &Duration| {
            run.provisioned_gb_seconds * price.provisioned_gb_second
                + run.provisioned_run_gb_seconds * price.provisioned_run_gb_second
        };
        let requests = |run: Run| run.requests + run.provisioned_requests;
        Bill {
            duration: self.x86.tiered(usage.x86.gb_seconds) + self.arm.tiered(usage.arm.gb_seconds),
            requests: (requests(usage.x86) + requests(usage.arm)) * self.request,
            provisioned: provisioned(usage.x86, &self.x86) + provisioned(usage.arm, &self.arm),
            tmp: usage.tmp_gb_seconds * self.tmp_gb_second,
            snapshots: usage.cached_gb_seconds * self.cached_gb_second + usage.restored_gb * self.restored_gb,
        }
    }

    /// The same with what AWS gives each account a month.
    pub fn bill_beyond_free(&self, usage: &Usage) -> Bill {
        self.bill(&usage.beyond_free(self))
    }
}

impl Duration {
    fn tiered(&self, gb_seconds: f64) -> f64 {
        let ends = self.tiers.iter().skip(1).map(|next| next.from_gb_seconds).chain([f64::INFINITY]);
        let within = |(tier, end): (&Tier, f64)| (gb_seconds.min(end) - tier.from_gb_seconds).max(0.0) * tier.gb_second;
        self.tiers.iter().zip(ends).map(within).sum()
    }
}

impl Bill {
    pub fn total(&self) -> f64 {
        self.duration + self.requests + self.provisioned + self.tmp + self.snapshots
    }
}

/// What a month may come to that is not over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    pub expected: f64,
    /// In four months of five it is between these, if the days that are left are as the days before were; known from some
    /// whole days on.
    pub range: Option<(f64, f64)>,
    /// How many days it goes by: less than one says little.
    pub days_seen: f64,
}

/// Days that a forecast goes by; what was before says little.
pub const FORECAST_DAYS: usize = 14;
/// Whole days without which nothing is said of how far days are from each other.
const RANGE_DAYS_MIN: usize = 3;
/// A normal variable is within so many standard deviations in four cases of five.
const SPREAD: f64 = 1.28;

/// Foretells a month of which `so_far` is spent and `days_left` are left, by the last whole days, the latest last, and by what
/// today has spent in its part that is over. Days before the first on which anything was spent do not count: whoever began
/// on the 20th did not spend little before.
pub fn forecast(so_far: f64, whole_days: &[f64], (today, part): (f64, f64), days_left: f64) -> Forecast {
    let recent = whole_days.get(whole_days.len().saturating_sub(FORECAST_DAYS)..).unwrap_or_default();
    let began = whole_days.iter().position(|spent| *spent > 0.0).unwrap_or(whole_days.len());
    let skipped = began.saturating_sub(whole_days.len().saturating_sub(recent.len()));
    let days = recent.get(skipped..).unwrap_or_default();
    let (count, spent) = (days.len() as f64 + part, days.iter().sum::<f64>() + today);
    if count <= 0.0 {
        return Forecast { expected: so_far, range: None, days_seen: 0.0 };
    }
    let a_day = spent / count;
    let expected = so_far + a_day * days_left;
    let range = (days.len() >= RANGE_DAYS_MIN).then(|| {
        let n = days.len() as f64;
        let mean = days.iter().sum::<f64>() / n;
        let variance = days.iter().map(|day| (day - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // What the days left differ among themselves, and by how much the mean itself may be off.
        let spread = SPREAD * (variance * days_left + variance / n * days_left.powi(2)).sqrt();
        ((expected - spread).max(so_far), expected + spread)
    });
    Forecast { expected, range, days_seen: count }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Time;

    use base::record::AtOnce;
    use base::{RequestId, Timestamp, Uuid};
    use proptest::prelude::*;

    use super::*;

    fn ended(millis: u64) -> Ended {
        Ended {
            request_id: RequestId(Uuid::NIL),
            qualifier: String::new(),
            began: Timestamp::default(),
            took: Time::from_millis(millis),
            init: None,
            restored: None,
            is_cold: false,
            memory_peak_bytes: None,
            cpu: None,
            failure: None,
            extensions: None,
            trace: None,
            at_once: AtOnce::default(),
        }
    }

    fn origin(memory_mb: u32, kind: Kind) -> Origin {
        Origin { memory_mb, tmp_mb: 512, kind, ..Origin::default() }
    }

    /// What so many invocations like this one use.
    fn month(origin: &Origin, ended: &Ended, count: f64) -> Usage {
        Usage::of(origin, ended).times(count)
    }

    /// To the cent, as AWS's examples are.
    fn cents(dollars: f64) -> f64 {
        (dollars * 100.0).round() / 100.0
    }

    #[test]
    fn aws_first_example_a_mobile_backend() {
        // Three million requests of 120 ms with 1,536 MB: $2.33 and $0.40.
        let used = month(&origin(1_536, Kind::OnDemand), &ended(120), 3e6);
        assert_eq!(used.x86.gb_seconds.round(), 540_000.0);
        let bill = Prices::default().bill_beyond_free(&used);
        assert_eq!((cents(bill.duration), cents(bill.requests), cents(bill.total())), (2.33, 0.40, 2.73));
        assert_eq!(cents(Prices::default().bill(&used).total()), 9.60);
    }

    #[test]
    fn aws_older_examples_come_out_too() {
        // 512 MB, three million times for a second: $18.33 (with today's price) and $0.40.
        let bill = Prices::default().bill_beyond_free(&month(&origin(512, Kind::OnDemand), &ended(1_000), 3e6));
        assert_eq!((cents(bill.duration), cents(bill.requests)), (18.33, 0.40));
        // 128 MB, thirty million times for 200 ms: $5.83 and $5.80.
        let bill = Prices::default().bill_beyond_free(&month(&origin(128, Kind::OnDemand), &ended(200), 30e6));
        assert_eq!((cents(bill.duration), cents(bill.requests), cents(bill.total())), (5.83, 5.80, 11.63));
    }

    #[test]
    fn aws_example_of_provisioned_concurrency() {
        // 1,000 instances with 1,024 MB for two hours, which run 1.2 million times for a second: $30, $0.24 and $11.67.
        let mut used = month(&origin(1_024, Kind::Provisioned), &ended(1_000), 1.2e6);
        used.x86.provisioned_gb_seconds = 1_000.0 * 7_200.0;
        let bill = Prices::default().bill_beyond_free(&used);
        assert_eq!((cents(bill.requests), cents(bill.provisioned)), (0.24, 41.67), "nothing of it is free");
        assert_eq!(cents(bill.total()), 41.91);
    }

    #[test]
    fn who_uses_much_pays_less_for_more() {
        let bill = |x86: f64, arm: f64| {
            let run = |gb_seconds| Run { gb_seconds, ..Run::default() };
            Prices::default().bill(&Usage { x86: run(x86), arm: run(arm), ..Usage::default() }).duration
        };
        assert_eq!(cents(bill(6e9, 0.0)), 100_000.2);
        assert_eq!(cents(bill(15e9, 0.0)), 235_000.2);
        assert_eq!(cents(bill(16e9, 0.0)), 248_333.6);
        assert_eq!(cents(bill(0.0, 7.5e9)), 100_000.5);
        assert_eq!(cents(bill(0.0, 19.75e9)), 245_668.33);
    }

    #[test]
    fn what_is_beside_the_time_costs_too() {
        let prices = Prices::default();
        let large = Origin { tmp_mb: 10_240, ..origin(1_024, Kind::OnDemand) };
        let near = |a: f64, b: f64| assert!((a - b).abs() < b * 1e-9, "{a} is not {b}");
        near(cost(&prices, &large, &ended(1_000)), 0.000_016_666_7 + 0.000_000_2 + 9.5 * 0.000_000_030_9);
        let cold = Ended { init: Some(Time::from_micros(500_001)), ..ended(500) };
        near(cost(&prices, &origin(1_024, Kind::OnDemand), &cold), 1.001 * 0.000_016_666_7 + 0.000_000_2);
        let restored = Ended { restored: Some((Time::from_millis(300), Time::from_millis(100))), ..ended(900) };
        let expected = 0.5 * 0.000_016_666_7 + 0.000_000_2 + 0.5 * 0.000_139_799_8;
        near(cost(&prices, &origin(512, Kind::SnapStart), &restored), expected);
        let arm = Origin { is_arm: true, ..origin(1_024, Kind::Provisioned) };
        near(cost(&prices, &arm, &ended(1_000)), 0.000_007_777_8 + 0.000_000_2);
    }

    #[test]
    fn a_month_is_foretold_by_its_last_days() {
        let told = forecast(10.0, &[1.0; 10], (0.0, 0.0), 20.0);
        assert_eq!((told.expected, told.range), (30.0, Some((30.0, 30.0))));
        // Begun two days ago, on the 20th of 30.
        let told = forecast(5.0, &[&[0.0; 18][..], &[2.0, 2.0]].concat(), (1.0, 0.5), 9.5);
        assert_eq!((told.expected, told.range, told.days_seen), (24.0, None, 2.5));
        // A day without use counts once there was any.
        let told = forecast(8.0, &[4.0, 0.0, 0.0, 4.0], (0.0, 0.0), 10.0);
        assert_eq!(told.expected, 28.0);
        let (low, high) = told.range.unwrap();
        assert!((8.0..28.0).contains(&low) && high > 28.0, "{told:?}");
        // What was long ago says nothing, and a new one goes by today alone.
        assert_eq!(forecast(0.0, &[&[100.0; 3][..], &[1.0; 14]].concat(), (0.0, 0.0), 1.0).expected, 1.0);
        assert_eq!(forecast(3.0, &[], (3.0, 0.5), 2.0).expected, 15.0);
        assert_eq!(forecast(0.0, &[0.0; 9], (0.0, 0.0), 9.0).expected, 0.0);
    }

    proptest! {
        #[test]
        fn more_never_costs_less_and_free_is_never_dearer(
            x86 in 0.0..1e11_f64, arm in 0.0..1e11_f64, requests in 0.0..1e10_f64, more in 1.0..3.0_f64,
        ) {
            let prices = Prices::default();
            let run = |gb_seconds| Run { gb_seconds, requests, ..Run::default() };
            let used = Usage { x86: run(x86), arm: run(arm), ..Usage::default() };
            let (all, beyond) = (prices.bill(&used).total(), prices.bill_beyond_free(&used).total());
            prop_assert!(beyond >= 0.0 && beyond <= all);
            prop_assert!(prices.bill(&used.times(more)).total() >= all);
            prop_assert!(prices.bill_beyond_free(&used.times(more)).total() >= beyond);
            let free = prices.bill(&Usage {
                x86: Run { requests: prices.free_requests, gb_seconds: prices.free_gb_seconds, ..Run::default() },
                ..Usage::default()
            });
            prop_assert!(all - beyond <= free.total() * 1.000_001);
        }

        #[test]
        fn a_forecast_holds_what_is_spent(
            days in proptest::collection::vec(0.0..100.0_f64, 0..40), today in 0.0..100.0_f64, part in 0.0..1.0_f64, left in 0.0..31.0_f64,
        ) {
            let so_far = days.iter().sum::<f64>() + today;
            let told = forecast(so_far, &days, (today, part), left);
            prop_assert!(told.expected >= so_far && told.expected.is_finite());
            if let Some((low, high)) = told.range {
                prop_assert!(so_far <= low && low <= told.expected + 1e-9 && told.expected <= high + 1e-9);
            }
        }
    }
}
