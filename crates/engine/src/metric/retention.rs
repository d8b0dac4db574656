//! How fine a point is kept: the older, the coarser.
//!
//! | tier | kept |
//! |---|---|
//! | a second | 3 hours |
//! | a minute | 15 days |
//! | 5 minutes | 63 days |
//! | an hour | 455 days |
//!
//! **Invariant:** a sample is in one tier. Rolling up *moves* it, in one commit, so a reader asks all tiers and counts
//! nothing twice, however late the rolling up is.
//!
//! Follows "Metrics retention" of CloudWatch's guide.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;

use super::aggregate::Aggregate;

/// How fine points are, the finest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Second,
    Minute,
    FiveMinutes,
    Hour,
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Second, Tier::Minute, Tier::FiveMinutes, Tier::Hour];

    /// Seconds of one point.
    pub const fn step_s(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
        }
    }

    pub const fn kept(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 3 * HOUR,
            Self::Minute => 15 * DAY,
            Self::FiveMinutes => 63 * DAY,
            Self::Hour => 455 * DAY,
        })
    }

    /// Where its points go. From the coarsest they go for good.
    pub const fn coarser(self) -> Option<Tier> {
        match self {
            Self::Second => Some(Self::Minute),
            Self::Minute => Some(Self::FiveMinutes),
            Self::FiveMinutes => Some(Self::Hour),
            Self::Hour => None,
        }
    }

    /// The finest that keeps points of that age.
    pub fn of_age(age: Duration) -> Option<Tier> {
        Self::ALL.into_iter().find(|tier| age <= tier.kept())
    }

    /// Where a new point goes whose `StorageResolution` is so many seconds. A late one may be too old for that.
    pub fn of_new(resolution_s: u32, age: Duration) -> Option<Tier> {
        let wanted = if resolution_s < 60 { Self::Second } else { Self::Minute };
        Self::of_age(age).map(|oldest| oldest.max(wanted))
    }

    /// The point that a moment belongs to.
    pub fn stamp(self, at: Timestamp) -> Timestamp {
        floor(at, self.step_s())
    }

    /// Points stamped earlier are to leave this tier: all of a coarser point at once, so that none is rolled up twice.
    pub fn due_before(self, now: Timestamp) -> Timestamp {
        self.coarser().unwrap_or(self).stamp(now.minus(self.kept()))
    }
}

/// The points of a coarser tier that finer ones make. `K` is what else keeps them apart, such as their unit.
pub fn roll_up<K: Ord>(
    into: Tier,
    points: impl IntoIterator<Item = (Timestamp, K, Aggregate)>,
) -> BTreeMap<(Timestamp, K), Aggregate> {
    let mut coarse: BTreeMap<(Timestamp, K), Aggregate> = BTreeMap::new();
    for (at, key, point) in points {
        coarse.entry((into.stamp(at), key)).or_default().merge(&point);
    }
    coarse
}

/// The last moment until then that is a whole number of steps from 1970 on.
pub fn floor(at: Timestamp, step_s: u32) -> Timestamp {
    let step = i64::from(step_s.max(1)).saturating_mul(1_000_000);
    let over = at.as_micros().checked_rem_euclid(step).unwrap_or(0);
    Timestamp::from_micros(at.as_micros().saturating_sub(over))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_older_a_point_the_coarser_it_is_kept() {
        let table = [
            (0, Some(Tier::Second)),
            (3 * HOUR, Some(Tier::Second)),
            (3 * HOUR + 1, Some(Tier::Minute)),
            (15 * DAY, Some(Tier::Minute)),
            (15 * DAY + 1, Some(Tier::FiveMinutes)),
            (63 * DAY + 1, Some(Tier::Hour)),
            (455 * DAY, Some(Tier::Hour)),
            (455 * DAY + 1, None),
        ];
        for (age, tier) in table {
            assert_eq!(Tier::of_age(secs(age)), tier, "{age}");
        }
    }

    #[test]
    fn a_new_point_goes_where_its_resolution_and_age_allow() {
        let table = [
            (1, 0, Some(Tier::Second)),
            (60, 0, Some(Tier::Minute)),
            (1, 4 * HOUR, Some(Tier::Minute)),
            (60, 14 * DAY, Some(Tier::Minute)),
            (1, 456 * DAY, None),
        ];
        for (resolution, age, tier) in table {
            assert_eq!(Tier::of_new(resolution, secs(age)), tier, "{resolution} {age}");
        }
    }

    #[test]
    fn moments_are_cut_to_their_points() {
        let at = Timestamp::parse_iso8601("2026-01-01T12:34:56.789Z").unwrap();
        let stamps = Tier::ALL.map(|tier| tier.stamp(at).iso8601());
        assert_eq!(
            stamps,
            ["2026-01-01T12:34:56Z", "2026-01-01T12:34:00Z", "2026-01-01T12:30:00Z", "2026-01-01T12:00:00Z"]
        );
        assert_eq!(floor(Timestamp::from_millis(-1), 60), Timestamp::from_secs(-60));
        assert_eq!(floor(at, 0), floor(at, 1));
        let _ = floor(Timestamp::from_micros(i64::MIN), u32::MAX);
    }

    #[test]
    fn what_is_due_is_old_enough_and_whole() {
        let now = Timestamp::parse_iso8601("2026-01-20T12:34:56Z").unwrap();
        let due = Tier::ALL.map(|tier| tier.due_before(now).iso8601());
        assert_eq!(
            due,
            ["2026-01-20T09:34:00Z", "2026-01-05T12:30:00Z", "2025-11-18T12:00:00Z", "2024-10-22T12:00:00Z"]
        );
    }

    proptest! {
        #[test]
        fn rolling_up_step_by_step_is_rolling_up_at_once(
            samples in prop::collection::vec((0..20_000_i64, 0..3_u8, 0..1_000_i32), 0..200),
        ) {
            let fine: Vec<_> = samples
                .iter()
                .map(|(at, unit, value)| {
                    (Timestamp::from_secs(*at), *unit, Aggregate::of_values([(f64::from(*value), 1.0)]))
                })
                .collect();
            let flat = |points: BTreeMap<(Timestamp, u8), Aggregate>| {
                points.into_iter().map(|((at, unit), point)| (at, unit, point)).collect::<Vec<_>>()
            };
            let once = roll_up(Tier::Hour, fine.clone());
            let minutes = flat(roll_up(Tier::Minute, fine));
            let five = flat(roll_up(Tier::FiveMinutes, minutes));
            prop_assert_eq!(roll_up(Tier::Hour, five), once.clone());
            let count: f64 = once.values().map(Aggregate::count).sum();
            prop_assert_eq!(count, samples.len() as f64);
        }
    }
}
