//! Shuffle shards: in which of a function's lines an event lies, so that no tenant's backlog is in the way of another's.
//!
//! Each tenant has a few of many lines, no two of them all the same but by rare chance, and its event goes to the shortest.
//! So a tenant with a backlog fills its own lines, and every other has one that this one does not fill.

use std::collections::BTreeMap;

pub type Shard = u8;

/// Lines of a function for tenants' events, and how many of them are one tenant's.
pub const SHARDS: Shard = 64;
pub const CHOICES: usize = 4;
/// Where events lie that are no tenant's.
pub const COMMON: Shard = SHARDS;

/// What a line counts as of which nobody knows more than that it is not empty.
const UNCOUNTED: u32 = 1_000_000;

/// A tenant's lines: always the same, in every release, as events outlive servers.
pub fn of_tenant(tenant: &str) -> [Shard; CHOICES] {
    // FNV-1a, whose bits are then mixed as SplitMix64 does.
    let hash = tenant
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut left = hash ^ (hash >> 31);
    let mut lines = [Shard::MAX; CHOICES];
    // Floyd's way to draw a few of many, each few as likely as any other.
    for (place, last) in lines_drawn().enumerate() {
        let count = u64::from(last).saturating_add(1);
        let drawn = left.checked_rem(count).and_then(|drawn| Shard::try_from(drawn).ok()).unwrap_or(last);
        left = left.checked_div(count).unwrap_or_default();
        let line = if lines.contains(&drawn) { last } else { drawn };
        lines.iter_mut().skip(place).take(1).for_each(|free| *free = line);
    }
    lines
}

fn lines_drawn() -> impl Iterator<Item = Shard> {
    (0..SHARDS).skip(usize::from(SHARDS).saturating_sub(CHOICES))
}

/// How many events lie in a function's lines, as far as that is known.
#[derive(Debug, Default)]
pub struct Lengths {
    lengths: BTreeMap<Shard, u32>,
}

impl Lengths {
    /// Where a tenant's next event lies: in the shortest of its lines.
    pub fn enter(&mut self, tenant: &str) -> Shard {
        let length = |shard: &Shard| self.lengths.get(shard).copied().unwrap_or_default();
        let shard = of_tenant(tenant).into_iter().min_by_key(length).unwrap_or(COMMON);
        let length = self.lengths.entry(shard).or_default();
        *length = length.saturating_add(1);
        shard
    }

    /// An event is done with.
    pub fn leave(&mut self, shard: Shard) {
        if let Some(length) = self.lengths.get_mut(&shard) {
            *length = length.saturating_sub(1);
        }
    }

    /// A line is not empty, and nobody has counted what lies there.
    pub fn find(&mut self, shard: Shard) {
        self.lengths.insert(shard, UNCOUNTED);
    }

    /// Somebody has seen that there are just so many.
    pub fn count(&mut self, shard: Shard, length: usize) {
        self.lengths.insert(shard, u32::try_from(length).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenants_lines_are_always_the_same() {
        // Events lie on disks where these said.
        let lines = [[10, 5, 6, 54], [20, 16, 53, 7], [30, 23, 51, 21]];
        assert_eq!(["", "a", "tenant-1"].map(of_tenant), lines);
    }

    #[test]
    fn lines_are_shared_out_evenly() {
        let mut tenants = [0_u32; SHARDS as usize];
        for tenant in 0..16_000 {
            of_tenant(&format!("tenant-{tenant}")).iter().for_each(|shard| tenants[usize::from(*shard)] += 1);
        }
        // A thousand each, and chance allows for some thirty more or fewer.
        assert!(tenants.iter().all(|count| (850..1_150).contains(count)), "{tenants:?}");
    }

    #[test]
    fn a_tenant_with_a_backlog_is_in_nobodys_way() {
        let mut lengths = Lengths::default();
        for _ in 0..1_000 {
            lengths.enter("noisy");
        }
        let noisy = BTreeSet::from(of_tenant("noisy"));
        for tenant in 0..10_000 {
            let tenant = format!("tenant-{tenant}");
            assert!(!BTreeSet::from(of_tenant(&tenant)).is_subset(&noisy), "{tenant} is fully covered");
            let shard = lengths.enter(&tenant);
            assert!(!noisy.contains(&shard), "{tenant} waits behind the backlog");
            lengths.leave(shard);
        }
    }

    #[test]
    fn what_nobody_has_counted_is_long_until_somebody_has() {
        let mut lengths = Lengths::default();
        let [first, second, ..] = of_tenant("a");
        assert_eq!(lengths.enter("a"), first);
        assert_eq!(lengths.enter("a"), second);
        lengths.leave(first);
        assert_eq!(lengths.enter("a"), first);
        of_tenant("a").iter().filter(|shard| **shard != second).for_each(|shard| lengths.find(*shard));
        assert_eq!([lengths.enter("a"), lengths.enter("a")], [second; 2]);
        lengths.count(first, 0);
        assert_eq!(lengths.enter("a"), first);
    }

    proptest! {
        #[test]
        fn a_tenant_has_four_lines(tenant in ".{0,64}") {
            let lines = BTreeSet::from(of_tenant(&tenant));
            prop_assert!(lines.len() == CHOICES && lines.iter().all(|shard| *shard < SHARDS));
        }
    }
}
