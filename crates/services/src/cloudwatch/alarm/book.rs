//! What the task that keeps alarms knows of them: who is due when, and who hangs on whom.
//!
//! As many as there are alarms; what they are is read when it is needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::Timestamp;
use engine::metric::alarm::composite;
use store::Scope;

/// An alarm of anybody's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    pub scope: Scope,
    pub name: String,
}

/// The alarms that a composite one hangs on, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    pub children: Vec<String>,
    pub suppressor: Option<String>,
}

#[derive(Default)]
pub struct Book {
    known: HashMap<Id, Ties>,
    /// Those that hang on an alarm.
    parents: HashMap<Id, BTreeSet<String>>,
    /// By when they are due; the number tells apart what is due at the same moment.
    due: BTreeMap<(Timestamp, u64), Id>,
    wakes: HashMap<Id, (Timestamp, u64)>,
    count: u64,
}

impl Book {
    /// An alarm that is new, or has other ties now.
    pub fn put(&mut self, id: &Id, ties: Ties) {
        self.untie(id);
        for name in ties.all() {
            let other = Id { scope: id.scope.clone(), name: name.clone() };
            self.parents.entry(other).or_default().insert(id.name.clone());
        }
        self.known.insert(id.clone(), ties);
    }

    pub fn remove(&mut self, id: &Id) {
        self.untie(id);
        self.known.remove(id);
        self.wake(id, None);
    }

    fn untie(&mut self, id: &Id) {
        let Some(ties) = self.known.get(id) else { return };
        for name in ties.all() {
            let other = Id { scope: id.scope.clone(), name: name.clone() };
            if let Some(parents) = self.parents.get_mut(&other) {
                parents.remove(&id.name);
                if parents.is_empty() {
                    self.parents.remove(&other);
                }
            }
        }
    }

    /// When an alarm is to be looked at next.
    pub fn wake(&mut self, id: &Id, at: Option<Timestamp>) {
        if let Some(place) = self.wakes.remove(id) {
            self.due.remove(&place);
        }
        if let Some(at) = at {
            self.count = self.count.wrapping_add(1);
            self.due.insert((at, self.count), id.clone());
            self.wakes.insert(id.clone(), (at, self.count));
        }
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// One that is due now, which is not any more then.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Id> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let id = first.remove();
        self.wakes.remove(&id);
        Some(id)
    }

    /// Those that hang on an alarm, each with how.
    pub fn parents(&self, id: &Id) -> Vec<(Id, Ties)> {
        let names = self.parents.get(id).into_iter().flatten();
        let with_ties = names.filter_map(|name| {
            let parent = Id { scope: id.scope.clone(), name: name.clone() };
            let ties = self.known.get(&parent)?.clone();
            Some((parent, ties))
        });
        with_ties.collect()
    }

    /// Whether the rule of an alarm leads back to it: AWS evaluates no such alarm.
    pub fn depends_on_itself(&self, id: &Id) -> bool {
        let children_of = |name: &str| {
            let id = Id { scope: id.scope.clone(), name: name.to_owned() };
            self.known.get(&id).map(|ties| ties.children.clone()).unwrap_or_default()
        };
        composite::depends_on_itself(&id.name, &children_of)
    }
}

impl Ties {
    fn all(&self) -> impl Iterator<Item = &String> {
        self.children.iter().chain(&self.suppressor)
    }
}

#[cfg(test)]
mod tests {
    use base::{AccountId, Region, World};

    use super::*;

    fn id(name: &str) -> Id {
        let scope = Scope { world: World::default(), account: AccountId::ZERO, region: Some(Region::default()) };
        Id { scope, name: name.to_owned() }
    }

    fn ties(children: &[&str], suppressor: Option<&str>) -> Ties {
        let children = children.iter().map(|name| (*name).to_owned()).collect();
        Ties { children, suppressor: suppressor.map(str::to_owned) }
    }

    fn names(parents: Vec<(Id, Ties)>) -> Vec<String> {
        parents.into_iter().map(|(id, _)| id.name).collect()
    }

    #[test]
    fn who_is_due_is_taken_once_and_in_turn() {
        let mut book = Book::default();
        book.wake(&id("late"), Some(Timestamp::from_secs(20)));
        book.wake(&id("moved"), Some(Timestamp::from_secs(5)));
        book.wake(&id("early"), Some(Timestamp::from_secs(10)));
        book.wake(&id("moved"), Some(Timestamp::from_secs(30)));
        assert_eq!(book.next(), Some(Timestamp::from_secs(10)));
        let now = Timestamp::from_secs(20);
        assert_eq!(book.take_due(now), Some(id("early")));
        assert_eq!(book.take_due(now), Some(id("late")));
        assert_eq!(book.take_due(now), None);
        book.remove(&id("moved"));
        assert_eq!(book.next(), None);
    }

    #[test]
    fn parents_follow_the_ties() {
        let mut book = Book::default();
        book.put(&id("a"), Ties::default());
        book.put(&id("x"), ties(&["a", "b"], Some("s")));
        book.put(&id("y"), ties(&["a"], None));
        assert_eq!(names(book.parents(&id("a"))), ["x", "y"]);
        assert_eq!(names(book.parents(&id("s"))), ["x"]);
        book.put(&id("x"), ties(&["b"], None));
        assert_eq!(names(book.parents(&id("a"))), ["y"]);
        assert_eq!(names(book.parents(&id("s"))), [""; 0]);
        book.remove(&id("y"));
        assert_eq!(names(book.parents(&id("a"))), [""; 0]);
    }

    #[test]
    fn a_circle_is_seen() {
        let mut book = Book::default();
        book.put(&id("x"), ties(&["y"], None));
        book.put(&id("y"), ties(&["a"], Some("x")));
        // A suppressor is not evaluated.
        assert!(!book.depends_on_itself(&id("x")));
        book.put(&id("y"), ties(&["x"], None));
        assert!(book.depends_on_itself(&id("x")));
    }
}
