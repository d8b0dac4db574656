//! Places for what takes a processor for a moment and may then go on for long without: the making of snapshots.
//!
//! A few are busy at once. One that is not done soon gives its place back and goes on beside the next: an init that sleeps
//! keeps nobody waiting. What goes on is bounded too, of one account and of all. Accounts have their turns, and whoever
//! waits no more has none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, World};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub type Account = (World, AccountId);

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub busy_max: usize,
    pub going_max: usize,
    pub of_account_max: usize,
    /// For so long one that goes on is busy.
    pub busy_for: Duration,
}

pub struct Places {
    bounds: Bounds,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    busy: usize,
    going: usize,
    by_account: BTreeMap<Account, usize>,
    /// Whose turn is next stands first.
    lines: VecDeque<(Account, Line)>,
}

type Line = VecDeque<oneshot::Sender<Place>>;

/// Given back when it is dropped.
pub struct Place {
    places: Arc<Places>,
    account: Account,
    is_busy: bool,
}

impl Places {
    pub fn new(bounds: Bounds) -> Arc<Places> {
        Arc::new(Places { bounds, books: Mutex::default() })
    }

    /// Waits for a place. Dropping the future leaves the line.
    pub async fn take(self: &Arc<Self>, account: Account) -> Option<Place> {
        let (give, given) = oneshot::channel();
        self.books.lock().queue(account, give);
        self.hand_out();
        // Whoever is in the line is given one some time.
        given.await.ok()
    }

    fn hand_out(self: &Arc<Self>) {
        while let Some((account, waiter)) = self.next() {
            // Whoever has just left it gives it back.
            drop(waiter.send(Place { places: Arc::clone(self), account, is_busy: true }));
        }
    }

    fn next(&self) -> Option<(Account, oneshot::Sender<Place>)> {
        let mut books = self.books.lock();
        if books.busy >= self.bounds.busy_max || books.going >= self.bounds.going_max {
            return None;
        }
        books.see_off();
        let Books { by_account, lines, .. } = &*books;
        let has_left = |account| by_account.get(account).is_none_or(|going| *going < self.bounds.of_account_max);
        let turn = lines.iter().position(|(account, _)| has_left(account))?;
        let (account, mut line) = books.lines.remove(turn)?;
        let waiter = line.pop_front()?;
        if !line.is_empty() {
            books.lines.push_back((account, line));
        }
        books.count(account);
        Some((account, waiter))
    }
}

impl Books {
    fn queue(&mut self, account: Account, waiter: oneshot::Sender<Place>) {
        match self.lines.iter_mut().find(|(own, _)| *own == account) {
            Some((_, line)) => line.push_back(waiter),
            None => self.lines.push_back((account, VecDeque::from([waiter]))),
        }
    }

    /// Takes those out who left the line before it was their turn.
    fn see_off(&mut self) {
        for (_, line) in &mut self.lines {
            while line.front().is_some_and(oneshot::Sender::is_closed) {
                line.pop_front();
            }
        }
        self.lines.retain(|(_, line)| !line.is_empty());
    }

    fn count(&mut self, account: Account) {
        self.busy = self.busy.saturating_add(1);
        self.going = self.going.saturating_add(1);
        let own = self.by_account.entry(account).or_default();
        *own = own.saturating_add(1);
    }
}

impl Place {
    /// Does this, and lets others begin meanwhile if it takes long.
    pub async fn busy<T>(mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        match timeout(self.places.bounds.busy_for, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.goes_on();
                work.await
            }
        }
    }

    fn goes_on(&mut self) {
        if std::mem::take(&mut self.is_busy) {
            let mut books = self.places.books.lock();
            books.busy = books.busy.saturating_sub(1);
        }
        self.places.hand_out();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut books = self.places.books.lock();
            books.going = books.going.saturating_sub(1);
            if let Some(own) = books.by_account.get_mut(&self.account) {
                *own = own.saturating_sub(1);
                if *own == 0 {
                    books.by_account.remove(&self.account);
                }
            }
        }
        self.goes_on();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::{JoinHandle, spawn, yield_now};
    use tokio::time::sleep;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(1);

    fn places() -> Arc<Places> {
        Places::new(Bounds { busy_max: 2, going_max: 5, of_account_max: 3, busy_for: SOON })
    }

    fn account(world: u32) -> Account {
        (World(world), AccountId::ZERO)
    }

    struct Bed {
        places: Arc<Places>,
        began: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Bed {
        fn new() -> Bed {
            Bed { places: places(), began: Arc::default() }
        }

        /// It never ends by itself.
        async fn begin(&self, world: u32, name: &'static str) -> JoinHandle<()> {
            let (places, began) = (Arc::clone(&self.places), Arc::clone(&self.began));
            #[expect(clippy::disallowed_methods, reason = "a test starts tasks as the server's `Spawn` would")]
            let task = spawn(async move {
                let place = places.take(account(world)).await.unwrap();
                began.lock().push(name);
                place.busy(pending()).await
            });
            yield_now().await;
            task
        }

        async fn end(&self, task: JoinHandle<()>) {
            task.abort();
            task.await.unwrap_err();
            yield_now().await;
        }

        fn began(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.began.lock())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_long_goes_on_beside_the_next() {
        let bed = Bed::new();
        let mut tasks = Vec::new();
        for (world, name) in [(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e"), (3, "f"), (3, "g")] {
            tasks.push(bed.begin(world, name).await);
        }
        assert_eq!(bed.began(), ["a", "b"]);
        sleep(SOON + MOMENT).await;
        assert_eq!(bed.began(), ["c", "e"]);
        sleep(SOON + MOMENT).await;
        assert_eq!(bed.began(), ["d"], "five go on");
        sleep(SOON * 10).await;
        assert!(bed.began().is_empty());
        bed.end(tasks.remove(0)).await;
        assert_eq!(bed.began(), ["f"]);
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_have_turns_and_bounds() {
        let bed = Bed::new();
        let mut tasks = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            tasks.push(bed.begin(1, name).await);
        }
        let other = bed.begin(2, "other").await;
        assert_eq!(bed.began(), ["a", "b"]);
        bed.end(tasks.remove(0)).await;
        assert_eq!(bed.began(), ["c"], "it has waited longest");
        bed.end(tasks.remove(0)).await;
        assert_eq!(bed.began(), ["other"], "the other's turn");
        sleep(SOON * 3).await;
        assert_eq!(bed.began(), ["d", "e"]);
        let _more = bed.begin(1, "more").await;
        let _others = bed.begin(2, "others").await;
        assert_eq!(bed.began(), ["others"], "one account has three");
        bed.end(other).await;
        assert!(bed.began().is_empty());
        bed.end(tasks.remove(0)).await;
        assert_eq!(bed.began(), ["more"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_has_no_turn() {
        let bed = Bed::new();
        let first = [bed.begin(1, "a").await, bed.begin(1, "b").await];
        let (gone, _next) = (bed.begin(1, "gone").await, bed.begin(1, "next").await);
        bed.end(gone).await;
        for task in first {
            bed.end(task).await;
        }
        assert_eq!(bed.began(), ["a", "b", "next"]);
        assert_eq!(bed.places.books.lock().busy, 1);
    }
}
