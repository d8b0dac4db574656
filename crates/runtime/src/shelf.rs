//! Which versions have a template, which are being given one, and which do without: the books of `template`, without the
//! templates' own doing.
//!
//! Invariant: what is being made is nobody's to take away, unless its version is deleted. It ends by being kept, given up or
//! done without.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::template::Owner;

pub struct Shelf<T> {
    known: HashMap<Owner, Known<T>>,
    /// Known no more, and still to be cleared away.
    over: Vec<Arc<T>>,
    known_max: usize,
}

struct Known<T> {
    state: State<T>,
    wanted: Instant,
}

enum State<T> {
    /// One is being made.
    Making,
    Made(Arc<T>),
    /// There is none to be had, or none any more.
    Without,
}

impl<T> Known<T> {
    fn template(&self) -> Option<&Arc<T>> {
        match &self.state {
            State::Made(template) => Some(template),
            State::Making | State::Without => None,
        }
    }
}

impl<T> Shelf<T> {
    pub fn new(known_max: usize) -> Shelf<T> {
        Shelf { known: HashMap::new(), over: Vec::new(), known_max }
    }

    /// The template of this version, which is wanted.
    pub fn of(&mut self, owner: &Owner) -> Option<Arc<T>> {
        let known = self.known.get_mut(owner)?;
        known.wanted = Instant::now();
        known.template().cloned()
    }

    /// Whether this version is to be tried now.
    pub fn begin(&mut self, owner: &Owner) -> bool {
        if self.known.contains_key(owner) {
            return false;
        }
        // Instances of before get no more requests.
        let mut over: Vec<Owner> = self.known.keys().filter(|other| other.is_before_or_after(owner)).cloned().collect();
        if self.known.len() >= self.known_max {
            // What is being made is about to be wanted.
            let settled = self.known.iter().filter(|(_, known)| !matches!(known.state, State::Making));
            let Some((oldest, _)) = settled.min_by_key(|(_, known)| known.wanted) else { return false };
            over.push(oldest.clone());
        }
        for other in over {
            if let Some(Known { state: State::Made(template), .. }) = self.known.remove(&other) {
                self.over.push(template);
            }
        }
        self.known.insert(owner.clone(), Known { state: State::Making, wanted: Instant::now() });
        true
    }

    /// Whether it is kept: nobody does who is known no more.
    pub fn keep(&mut self, owner: &Owner, template: Arc<T>) -> bool {
        let Some(known) = self.known.get_mut(owner) else { return false };
        // One that took long is not the oldest for that.
        *known = Known { state: State::Made(template), wanted: Instant::now() };
        true
    }

    /// There is none to be had of this version, now or later.
    pub fn do_without(&mut self, owner: &Owner) {
        if let Some(known) = self.known.get_mut(owner) {
            known.state = State::Without;
        }
    }

    /// Lets a version be tried again, if it is still being tried.
    pub fn give_up(&mut self, owner: &Owner) {
        if self.known.get(owner).is_some_and(|known| matches!(known.state, State::Making)) {
            self.known.remove(owner);
        }
    }

    /// Takes out those of these versions, which are no more. What is being made of them is not kept.
    pub fn forget(&mut self, is_gone: impl Fn(&Owner) -> bool) -> Vec<Arc<T>> {
        let gone = self.known.extract_if(|owner, _| is_gone(owner));
        gone.filter_map(|(_, known)| known.template().cloned()).collect()
    }

    pub fn templates(&self) -> impl Iterator<Item = &Arc<T>> {
        self.known.values().filter_map(Known::template)
    }

    /// Takes out what is too much, and what nobody has wanted for so long.
    pub fn clear(&mut self, bytes_max: u64, unwanted_after: Duration, bytes: impl Fn(&T) -> u64) -> Vec<Arc<T>> {
        let mut gone = std::mem::take(&mut self.over);
        let made = self.known.iter().filter_map(|(owner, known)| Some((known.wanted, owner, known.template()?)));
        let mut kept: Vec<_> = made.collect();
        kept.sort_by_key(|(wanted, ..)| Reverse(*wanted));
        let mut sum = 0_u64;
        let mut over = Vec::new();
        for (wanted, owner, template) in kept {
            sum = sum.saturating_add(bytes(template));
            if sum > bytes_max || wanted.elapsed() > unwanted_after {
                gone.push(Arc::clone(template));
                over.push(owner.clone());
            }
        }
        for owner in over {
            if owner.is_snapshot() {
                // It was asked for: it is made again when it is wanted.
                self.known.remove(&owner);
            } else {
                self.do_without(&owner);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn shelf() -> Shelf<u64> {
        Shelf::new(3)
    }

    fn snapshot(function: &str) -> Owner {
        Owner::of_test(function, true)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_made_is_kept_although_another_goes_meanwhile() {
        let mut shelf = shelf();
        assert!(shelf.begin(&snapshot("old")) && shelf.keep(&snapshot("old"), Arc::new(100)));
        assert!(shelf.begin(&snapshot("new")));
        advance(HOUR * 2).await;
        assert_eq!(shelf.clear(1_000, HOUR, |bytes| *bytes), [Arc::new(100)]);
        assert!(!shelf.begin(&snapshot("new")), "it is still being made");
        // It took longer than any may be unwanted.
        assert!(shelf.keep(&snapshot("new"), Arc::new(200)));
        assert!(shelf.clear(1_000, HOUR, |bytes| *bytes).is_empty());
        assert_eq!(shelf.of(&snapshot("new")), Some(Arc::new(200)));
        assert!(shelf.begin(&snapshot("old")), "a snapshot is made again when it is wanted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_is_not_the_oldest_when_it_arrives() {
        let mut shelf = shelf();
        assert!(shelf.begin(&snapshot("slow")));
        advance(Duration::from_secs(60)).await;
        assert!(shelf.begin(&snapshot("fast")) && shelf.keep(&snapshot("fast"), Arc::new(1)));
        advance(Duration::from_secs(60)).await;
        assert!(shelf.keep(&snapshot("slow"), Arc::new(2)));
        assert_eq!(shelf.clear(2, HOUR, |bytes| *bytes), [Arc::new(1)]);
        assert_eq!(shelf.of(&snapshot("slow")), Some(Arc::new(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_template_that_is_too_much_is_not_made_again() {
        let mut shelf = shelf();
        let owner = Owner::of_test("plain", false);
        assert!(shelf.begin(&owner) && shelf.keep(&owner, Arc::new(5)));
        assert_eq!(shelf.clear(1, HOUR, |bytes| *bytes).len(), 1);
        assert!(!shelf.begin(&owner) && shelf.of(&owner).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_made_makes_no_room_for_others() {
        let mut shelf = shelf();
        assert!(["a", "b", "c"].iter().all(|name| shelf.begin(&snapshot(name))));
        assert!(!shelf.begin(&snapshot("d")), "all are being made");
        shelf.do_without(&snapshot("b"));
        shelf.give_up(&snapshot("b"));
        assert!(!shelf.begin(&snapshot("b")), "there is none to be had");
        assert!(shelf.begin(&snapshot("d")));
        shelf.give_up(&snapshot("a"));
        assert!(shelf.begin(&snapshot("a")) && shelf.keep(&snapshot("c"), Arc::new(1)));
    }
}
