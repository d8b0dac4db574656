//! Images of runtimes that wait for their function: what a start begins with where nothing is parked, instead of an
//! interpreter's own start. A burst empties what is parked in no time; becoming a copy takes a third of what a start does.
//!
//! Nothing of any function is in such an image, only the interpreter and our bootstrap, booted for that and nothing else.
//! Its copies have the layout of their memory in common and the seed of hashes, so each account in a region has its own, and a
//! function that keeps its tenants apart has none. What else the interpreter drew or asked the machine, the bootstrap makes
//! anew when it hears of its function. Versions under SnapStart do without: their instances begin with their snapshot.
//!
//! One is made when several starts of an account have found nothing parked within a short time, which a server with rare cold
//! starts never has. It is made at once and with an instance's share of the processor, unlike what is made ahead: of
//! forty starts that wait for their turn the last thirty gain by it, and the first ones lose a part of one start. It goes when
//! nobody has wanted it for a while, when it is old, or when images are too large together.
//!
//! Invariants: an image is for one account in one region, and for one way to start a runtime. Whose image could not be taken, or be
//! begun with, does without for a while. Never without parked rooms (`isolation = "strict"`), nor without walls.
//!
//! Python alone, on x86-64. V8 draws its random numbers and its seed of hashes when it starts, and never again.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base::ports::FunctionSpec;
use base::{AccountId, Region, Spawn, World, with_causes};
use parking_lot::Mutex;
use sandbox::{Image, ImageError, Mount, Sandbox, Spec};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::instance::Start;
use crate::languages::{Family, Served};
use crate::limits::{
    EXPECTED_MAX, IMAGE_KEPT_MAX, IMAGE_MISSES, IMAGE_MISSES_WITHIN, IMAGE_RESTS_FOR, IMAGE_UNWANTED_AFTER,
    IMAGES_KNOWN_MAX, IMAGES_LOOKED_AT_EVERY, IMAGES_OF_WAITING_PART, PARK_MEMORY_BYTES, SANDBOX_START_TIMEOUT,
};
use crate::runtime::Inner;
use crate::stock::{Kind, ParkError, Recipe, WaitError, Waiting};
use crate::template;

/// Whose image it is, of which runtime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    scope: (World, AccountId, Region),
    recipe: Arc<Recipe>,
}

impl Owner {
    /// If instances of this function may begin with one.
    pub fn new(function: &FunctionSpec, tenant: Option<&str>, served: &Served, kind: &Kind) -> Option<Owner> {
        let Kind::Runtime(recipe) = kind else { return None };
        let may = served.family == Family::Python && tenant.is_none() && !function.is_snap_start;
        let scope = (function.world, function.account, function.region.clone());
        may.then(|| Owner { scope, recipe: Arc::clone(recipe) })
    }
}

pub struct Images {
    table: Mutex<Table>,
    wishes: mpsc::Sender<Owner>,
}

struct Table {
    books: Books<Owner, Image>,
    /// There is none to be had here.
    is_closed: bool,
}

pub type Wishes = mpsc::Receiver<Owner>;

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("start a sandbox")]
    Start(#[from] sandbox::StartError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error("{0}")]
    Image(#[from] ImageError),
    #[error("do so in time")]
    Late,
}

impl Images {
    pub fn new(is_wanted: bool) -> (Images, Wishes) {
        let (wish, wishes) = mpsc::channel(EXPECTED_MAX);
        let is_closed = !is_wanted || !cfg!(target_arch = "x86_64");
        (Images { table: Mutex::new(Table { books: Books::new(IMAGES_KNOWN_MAX), is_closed }), wishes: wish }, wishes)
    }

    /// A start has found nothing parked.
    pub fn want(&self, owner: &Owner) {
        let mut table = self.table.lock();
        let is_due = !table.is_closed && table.books.want(owner, Instant::now());
        // Whoever wishes too much at once gets it another time.
        if is_due && self.wishes.try_send(owner.clone()).is_err() {
            table.books.give_up(owner);
        }
    }

    /// What its instances can begin with.
    pub fn of(&self, owner: &Owner) -> Option<Image> {
        self.table.lock().books.of(owner, Instant::now())
    }

    /// An instance could not begin with its image.
    pub fn failed(&self, owner: &Owner, error: &ParkError) {
        // Of many at once the first says so.
        if self.do_without(owner) {
            tracing::warn!(
                "failed to begin with the image of a runtime that waits; starting runtimes instead for now: failed to {}",
                with_causes(error)
            );
        }
    }

    /// Whether there was one.
    fn do_without(&self, owner: &Owner) -> bool {
        let gone = self.table.lock().books.do_without(owner, Instant::now());
        gone.is_some()
    }

    fn keep(&self, owner: &Owner, image: Image) {
        let mut table = self.table.lock();
        let left = if table.is_closed { Some(image) } else { table.books.keep(owner, image, Instant::now()) };
        drop(table);
        drop(left);
    }

    fn give_up(&self, owner: &Owner) {
        self.table.lock().books.give_up(owner);
    }

    /// Holds nothing any more.
    pub fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        let held = std::mem::replace(&mut table.books, Books::new(IMAGES_KNOWN_MAX));
        drop(table);
        drop(held);
    }

    /// What they hold together.
    pub fn bytes(&self) -> u64 {
        self.table.lock().books.bytes(Image::memory_bytes)
    }

    fn clear(&self, bytes_max: u64) {
        let gone = self.table.lock().books.clear(Instant::now(), bytes_max, Image::memory_bytes);
        drop(gone);
    }

    fn is_empty(&self) -> bool {
        self.table.lock().books.known.is_empty()
    }
}

/// Has a runtime begin in this sandbox where the image is.
pub async fn begin(owner: &Owner, image: &Image, sandbox: &Sandbox) -> Result<Waiting, ParkError> {
    let Recipe { argv, env, .. } = &*owner.recipe;
    let argv = template::waiting(Family::Python, argv).unwrap_or_default();
    let start = Start::parked_with(argv, env.clone());
    timeout(SANDBOX_START_TIMEOUT, Waiting::begin(sandbox, &start, image)).await.unwrap_or(Err(ParkError::Late))
}

/// Makes those that are wished for, one after the other, and has those go that nobody wants, until the runtime is no more.
pub fn run(inner: Weak<Inner>, mut wishes: Wishes, spawn: &Arc<dyn Spawn>) {
    let task = async move {
        loop {
            let has_any = inner.upgrade().is_some_and(|inner| !inner.images.is_empty());
            let wish = if has_any {
                timeout(IMAGES_LOOKED_AT_EVERY, wishes.recv()).await.ok()
            } else {
                Some(wishes.recv().await)
            };
            let Some(inner) = inner.upgrade() else { return };
            match wish {
                Some(Some(owner)) => grant(&inner, &owner).await,
                Some(None) => return,
                None => {}
            }
            clear(&inner);
        }
    };
    spawn.spawn("images", Box::pin(task));
}

/// Templates have the rest.
fn clear(inner: &Inner) {
    let most = inner.memory.images_max().min(inner.settings.image_bytes_max);
    inner.images.clear(most.checked_div(IMAGES_OF_WAITING_PART).unwrap_or(0));
}

async fn grant(inner: &Inner, owner: &Owner) {
    if inner.memory.is_short() {
        inner.images.give_up(owner);
        return;
    }
    match timeout(SANDBOX_START_TIMEOUT, make(inner, owner)).await.unwrap_or(Err(TakeError::Late)) {
        Ok(image) => inner.images.keep(owner, image),
        Err(error) => {
            tracing::warn!(
                "failed to make an image of a runtime that waits; bursts start runtimes instead: failed to {}",
                with_causes(&error)
            );
            match error {
                TakeError::Image(error) if error.is_unsupported() => inner.images.close(),
                _ => _ = inner.images.do_without(owner),
            }
        }
    }
}

async fn make(inner: &Inner, owner: &Owner) -> Result<Image, TakeError> {
    let mounts = owner.recipe.mounts.iter().cloned().map(|(host, inside)| Mount { host, inside }).collect();
    // Nobody answers there, and nothing asks.
    let spec = Spec { mounts, ..Spec::new("image", PARK_MEMORY_BYTES) };
    let sandbox = inner.parts.isolation.start(spec).await?;
    // Its ends of what it was given are held: it waits for what it is told.
    let waiting = Waiting::start(&sandbox, &Start::parked(&owner.recipe)).await?;
    let image = template::take(&sandbox, waiting.process).await?;
    sandbox.kill().await;
    tracing::debug!(bytes = image.memory_bytes(), "an image of a runtime that waits was made");
    Ok(image)
}

/// Who has an image, who is being given one and who does without, decided without I/O or clock.
struct Books<K, T> {
    known: BTreeMap<K, Known<T>>,
    known_max: usize,
    /// Known no more, and still to be cleared away.
    over: Vec<T>,
}

struct Known<T> {
    state: State<T>,
    wanted: Instant,
}

enum State<T> {
    /// So many starts found nothing parked since then.
    Missed {
        since: Instant,
        count: u32,
    },
    Making,
    Made {
        it: T,
        at: Instant,
    },
    /// There was none to be had.
    Without {
        since: Instant,
    },
}

impl<K: Ord + Clone, T: Clone> Books<K, T> {
    fn new(known_max: usize) -> Books<K, T> {
        Books { known: BTreeMap::new(), known_max, over: Vec::new() }
    }

    /// One would have been of use. Whether it is to be made now.
    fn want(&mut self, key: &K, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(key) else {
            self.add(key, now);
            return false;
        };
        known.wanted = now;
        match &mut known.state {
            State::Missed { since, count } if now.duration_since(*since) <= IMAGE_MISSES_WITHIN => {
                *count = count.saturating_add(1);
                let is_due = *count >= IMAGE_MISSES;
                if is_due {
                    known.state = State::Making;
                }
                is_due
            }
            State::Without { since } if now.duration_since(*since) <= IMAGE_RESTS_FOR => false,
            State::Missed { .. } | State::Without { .. } => {
                known.state = State::Missed { since: now, count: 1 };
                false
            }
            State::Making | State::Made { .. } => false,
        }
    }

    fn add(&mut self, key: &K, now: Instant) {
        if self.known.len() >= self.known_max {
            let settled = self.known.iter().filter(|(_, known)| !matches!(known.state, State::Making));
            let Some(oldest) = settled.min_by_key(|(_, known)| known.wanted).map(|(key, _)| key.clone()) else {
                return;
            };
            self.remove(&oldest);
        }
        self.known.insert(key.clone(), Known { state: State::Missed { since: now, count: 1 }, wanted: now });
    }

    fn of(&self, key: &K, now: Instant) -> Option<T> {
        match &self.known.get(key)?.state {
            State::Made { it, at } if now.duration_since(*at) <= IMAGE_KEPT_MAX => Some(it.clone()),
            _ => None,
        }
    }

    /// Gives it back if nobody waits for it any more.
    fn keep(&mut self, key: &K, it: T, now: Instant) -> Option<T> {
        match self.known.get_mut(key) {
            Some(known) => {
                *known = Known { state: State::Made { it, at: now }, wanted: now };
                None
            }
            None => Some(it),
        }
    }

    /// There is none to be had for now. Gives back what there was.
    fn do_without(&mut self, key: &K, now: Instant) -> Option<T> {
        let known = self.known.get_mut(key)?;
        match std::mem::replace(&mut known.state, State::Without { since: now }) {
            State::Made { it, .. } => Some(it),
            _ => None,
        }
    }

    /// It is not made now.
    fn give_up(&mut self, key: &K) {
        self.remove(key);
    }

    fn remove(&mut self, key: &K) {
        if let Some(Known { state: State::Made { it, .. }, .. }) = self.known.remove(key) {
            self.over.push(it);
        }
    }

    fn bytes(&self, bytes: impl Fn(&T) -> u64) -> u64 {
        let made = self.known.values().filter_map(|known| match &known.state {
            State::Made { it, .. } => Some(bytes(it)),
            _ => None,
        });
        made.fold(0, u64::saturating_add)
    }

    /// Takes out what nobody has wanted for long, what is old, and of the rest what is too much: those that were wanted longest
    /// ago.
    fn clear(&mut self, now: Instant, bytes_max: u64, bytes: impl Fn(&T) -> u64) -> Vec<T> {
        let is_over = |known: &Known<T>| {
            let is_old = matches!(known.state, State::Made { at, .. } if now.duration_since(at) > IMAGE_KEPT_MAX);
            is_old || now.duration_since(known.wanted) > IMAGE_UNWANTED_AFTER
        };
        let settled = self.known.iter().filter(|(_, known)| !matches!(known.state, State::Making));
        let over: Vec<K> = settled.filter(|(_, known)| is_over(known)).map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.remove(key));
        while self.bytes(&bytes) > bytes_max {
            let made = self.known.iter().filter(|(_, known)| matches!(known.state, State::Made { .. }));
            let Some(oldest) = made.min_by_key(|(_, known)| known.wanted).map(|(key, _)| key.clone()) else { break };
            // It would be too much again.
            let gone = self.do_without(&oldest, now);
            self.over.extend(gone);
        }
        std::mem::take(&mut self.over)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn books() -> (Books<&'static str, u64>, Instant) {
        (Books::new(3), Instant::now())
    }

    /// So many starts that find nothing, a second apart: which of them has it made.
    fn due(books: &mut Books<&'static str, u64>, key: &'static str, from: Instant, pause: Duration) -> Option<u32> {
        (1..=6).find(|start| books.want(&key, from + pause * *start))
    }

    #[test]
    fn one_is_made_for_many_starts_at_once_and_not_for_rare_ones() {
        let (mut books, now) = books();
        assert_eq!(due(&mut books, "rare", now, IMAGE_MISSES_WITHIN + SECOND), None);
        assert_eq!(due(&mut books, "burst", now, SECOND), Some(IMAGE_MISSES));
        assert_eq!(due(&mut books, "burst", now, SECOND), None, "it is being made");
        assert_eq!(books.of(&"burst", now), None);
        assert_eq!(books.keep(&"burst", 7, now), None);
        assert_eq!((books.of(&"burst", now), books.of(&"rare", now)), (Some(7), None));
    }

    #[test]
    fn it_goes_when_nobody_wants_it_and_when_it_is_old() {
        let (mut books, start) = books();
        due(&mut books, "a", start, SECOND);
        books.keep(&"a", 7, start);
        let step = IMAGE_UNWANTED_AFTER - SECOND;
        let mut now = start;
        while now + step <= start + IMAGE_KEPT_MAX {
            now += step;
            books.want(&"a", now);
            assert!(books.clear(now, u64::MAX, |bytes| *bytes).is_empty());
            assert_eq!(books.of(&"a", now), Some(7));
        }
        now = start + IMAGE_KEPT_MAX + SECOND;
        books.want(&"a", now);
        assert_eq!(books.of(&"a", now), None, "it is old before it is cleared away");
        assert_eq!(books.clear(now, u64::MAX, |bytes| *bytes), [7]);
        assert!(due(&mut books, "a", now, SECOND).is_some(), "another one is made");
        books.keep(&"a", 8, now);
        assert_eq!(books.clear(now + IMAGE_UNWANTED_AFTER + SECOND, u64::MAX, |bytes| *bytes), [8]);
        assert!(books.known.is_empty());
    }

    #[test]
    fn what_is_wanted_least_goes_when_they_are_too_large() {
        let (mut books, now) = books();
        for (key, at) in [("a", now), ("b", now + SECOND)] {
            due(&mut books, key, at, SECOND);
            books.keep(&key, 40, at);
        }
        assert_eq!(books.bytes(|bytes| *bytes), 80);
        assert_eq!(books.clear(now + SECOND, 79, |bytes| *bytes), [40]);
        assert_eq!((books.of(&"a", now), books.of(&"b", now)), (None, Some(40)));
        assert_eq!(due(&mut books, "a", now, SECOND), None, "it would be too much again");
    }

    #[test]
    fn what_failed_rests_and_what_is_being_made_is_not_forgotten_for_others() {
        let (mut books, now) = books();
        due(&mut books, "failed", now, SECOND);
        books.do_without(&"failed", now);
        assert_eq!(due(&mut books, "failed", now, SECOND), None);
        assert!(due(&mut books, "failed", now + IMAGE_RESTS_FOR, SECOND).is_some());
        for key in ["b", "c"] {
            assert!(due(&mut books, key, now, SECOND).is_some());
        }
        assert_eq!(due(&mut books, "d", now, SECOND), None, "all that are known are being made");
        books.give_up(&"b");
        assert!(due(&mut books, "d", now, SECOND).is_some());
        assert_eq!(books.keep(&"b", 7, now), Some(7), "nobody waits for it any more");
    }
}
