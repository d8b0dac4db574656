//! When something is known no more.
//!
//! A pool goes with its last instance, unless something is expected of it. A function's history stays for a while, so
//! that who is called each hour is not a stranger each time; its rates stay until they have recovered.

use base::Timestamp;

use super::arrivals::Arrivals;
use super::rows::Function;
use super::table::Id;
use super::{Alarm, Command, Dispatch, PoolId};

impl Dispatch {
    pub(super) fn collect(&mut self, now: Timestamp, pool: PoolId, out: &mut Vec<Command>) {
        let Some(row) = self.pools.find(pool) else { return };
        let version = row.version;
        let is_provided = self.versions[version].provision.as_ref().is_some_and(|provision| provision.pool == pool);
        if row.instances > 0 || !row.waiting.is_empty() || row.warm.is_some() || is_provided {
            return;
        }
        let Some(row) = self.pools.remove(pool) else { return };
        self.pool_names.remove(&row.wanted);
        out.push(Command::Forget { pool });
        if let Some(alarm) = row.warm_alarm {
            self.alarms.remove(&(alarm, Alarm::Warm(pool)));
        }
        self.versions[version].pools.remove(&pool);
        if self.versions[version].pools.is_empty()
            && let Some(row) = self.versions.remove(version)
        {
            self.version_names.remove(&(row.function, row.name));
        }
        let function = &mut self.functions[row.function];
        function.pools = function.pools.saturating_sub(1);
        if function.pools == 0 {
            function.dormant = Some(now);
            self.dormant.insert((now, row.function));
            self.expire(row.function);
            self.bound_histories();
        }
    }

    fn bound_histories(&mut self) {
        while self.dormant.len() > self.settings.histories_max
            && let Some((_, function)) = self.dormant.pop_first()
        {
            let row = &mut self.functions[function];
            row.arrivals = Arrivals::default();
            self.expire(function);
        }
    }

    /// Sets when it may be forgotten.
    fn expire(&mut self, function: Id<Function>) {
        let Some(due) = self.forgotten_at(function) else { return };
        if let Some(before) = self.functions[function].alarm.replace(due) {
            self.alarms.remove(&(before, Alarm::Forget(function)));
        }
        self.alarms.insert((due, Alarm::Forget(function)));
    }

    /// When its rates and those of its account have recovered and its history is old; never while it has a pool.
    fn forgotten_at(&self, function: Id<Function>) -> Option<Timestamp> {
        let row = self.functions.find(function)?;
        let since = row.dormant?;
        let old = if row.arrivals.count == 0 { since } else { since.plus(self.settings.history) };
        let account = &self.accounts[row.name.0];
        Some(old.max(row.growth.full_at()).max(row.requests.full_at()).max(account.requests.full_at()))
    }

    pub(super) fn forget(&mut self, now: Timestamp, function: Id<Function>) {
        let Some(row) = self.functions.find_mut(function) else { return };
        row.alarm = None;
        let Some(due) = self.forgotten_at(function) else { return };
        if due > now {
            return self.expire(function);
        }
        let Some(row) = self.functions.remove(function) else { return };
        if let Some(since) = row.dormant {
            self.dormant.remove(&(since, function));
        }
        self.function_names.remove(&row.name);
        let account = row.name.0;
        let left = self.accounts[account].functions.saturating_sub(1);
        self.accounts[account].functions = left;
        if left == 0
            && let Some(row) = self.accounts.remove(account)
        {
            self.account_names.remove(&row.scope);
        }
    }
}
