//! Shares: whose filters may take the follower's time, when it does not get to the end of the journal.
//!
//! There is one follower, and what an account's filters cost is that account's to say. As long as the follower is at the
//! end now and then, all of them are tried. When it has not been for [`PATIENCE`], an account whose filters have taken
//! more than its share of that time is not asked for them, until the follower is through: so others wait for the
//! patience and not for ever. An account that is alone has all of it.

use std::collections::HashMap;
use std::time::Duration;

use base::{AccountId, Timestamp};

/// How long the follower may be behind before anybody's filters are left out.
const PATIENCE: Duration = Duration::from_secs(10);
/// Accounts that are remembered; of more, the time of all is forgotten.
const ACCOUNTS_MAX: usize = 10_000;

#[derive(Default)]
pub struct Shares {
    /// What accounts' filters have taken since the follower was at the end, of all accounts that had events.
    taken: HashMap<AccountId, Duration>,
    behind_since: Option<Timestamp>,
    left_out: u64,
}

impl Shares {
    /// An event of the account came; whether its filters may be tried.
    pub fn may(&mut self, now: Timestamp, account: AccountId) -> bool {
        if self.taken.len() >= ACCOUNTS_MAX && !self.taken.contains_key(&account) {
            self.taken.clear();
        }
        let taken = *self.taken.entry(account).or_default();
        let behind = now.since(*self.behind_since.get_or_insert(now));
        let sharers = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        let may = behind < PATIENCE || taken.saturating_mul(sharers) <= behind;
        self.left_out = self.left_out.saturating_add(u64::from(!may));
        may
    }

    /// The account's filters took so long.
    pub fn spend(&mut self, account: AccountId, time: Duration) {
        let taken = self.taken.entry(account).or_default();
        *taken = taken.saturating_add(time);
    }

    /// The follower is at the end. Says how many events were tried by no filter since it was.
    pub fn caught_up(&mut self) -> u64 {
        std::mem::take(self).left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Duration = Duration::from_millis(100);

    fn account(number: u8) -> AccountId {
        format!("{number:012}").parse().unwrap()
    }

    /// What accounts have tried of so many events each, that come in turn and cost so much each.
    fn tried(shares: &mut Shares, costs: &[Duration], rounds: usize) -> Vec<usize> {
        let mut now = Timestamp::from_secs(1_000);
        let mut tried = vec![0; costs.len()];
        for _ in 0..rounds {
            for (number, (cost, tried)) in (0..).zip(costs.iter().zip(&mut tried)) {
                if shares.may(now, account(number)) {
                    shares.spend(account(number), *cost);
                    now = now.plus(*cost);
                    *tried += 1;
                }
                now = now.plus(Duration::from_millis(1));
            }
        }
        tried
    }

    #[test]
    fn one_alone_has_all_the_time() {
        let mut shares = Shares::default();
        assert_eq!(tried(&mut shares, &[EACH], 1_000), [1_000]);
        assert_eq!(shares.caught_up(), 0);
    }

    #[test]
    fn who_takes_too_much_is_left_out_when_others_wait() {
        let mut shares = Shares::default();
        let small = Duration::from_millis(1);
        let found = tried(&mut shares, &[EACH, small, small, small], 10_000);
        assert_eq!(found[1..], [10_000; 3]);
        // All of the first ten seconds, and a quarter of the time since.
        assert!((100..500).contains(&found[0]), "{found:?}");
        assert_eq!(shares.caught_up(), 10_000 - found[0] as u64);
        assert_eq!(shares.caught_up(), 0);
    }

    #[test]
    fn a_follower_that_gets_through_leaves_nobody_out() {
        let mut shares = Shares::default();
        for _ in 0..100 {
            assert_eq!(tried(&mut shares, &[EACH, Duration::ZERO], 50), [50, 50]);
            assert_eq!(shares.caught_up(), 0);
        }
    }
}
