//! Rows by number, and the way from a name to its row.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of a row, never given twice: the place in its lower half, in the upper how often that was filled before.
pub struct Id<T>(u64, PhantomData<fn() -> T>);

/// Rows, found by number at once however many there are.
pub struct Table<T> {
    places: Vec<(u32, Option<T>)>,
    vacant: Vec<u32>,
    len: usize,
}

/// Names of rows. It has no iterator: its order is the hash's, which is another in each process.
pub struct Names<K, T>(HashMap<K, Id<T>>);

impl<T> Id<T> {
    /// None is before it.
    pub const MIN: Id<T> = Id(0, PhantomData);

    pub fn as_u64(self) -> u64 {
        self.0
    }

    fn new(place: u32, generation: u32) -> Id<T> {
        Id(u64::from(generation) << 32 | u64::from(place), PhantomData)
    }

    fn place(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }

    fn generation(self) -> u64 {
        self.0 >> 32
    }
}

impl<T> Table<T> {
    pub fn add(&mut self, row: T) -> Id<T> {
        self.len = self.len.saturating_add(1);
        if let Some(place) = self.vacant.pop()
            && let Some((generation, content)) = self.places.get_mut(place as usize)
        {
            *content = Some(row);
            return Id::new(place, *generation);
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push((0, Some(row)));
        Id::new(place, 0)
    }

    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.find(id)?;
        let (generation, content) = self.places.get_mut(id.place())?;
        *generation = generation.wrapping_add(1);
        self.vacant.push(u32::try_from(id.place()).unwrap_or(u32::MAX));
        self.len = self.len.saturating_sub(1);
        content.take()
    }

    /// What is there, if it still is. (Where it must be, by the books, it is indexed.)
    pub fn find(&self, id: Id<T>) -> Option<&T> {
        let (generation, content) = self.places.get(id.place())?;
        content.as_ref().filter(|_| u64::from(*generation) == id.generation())
    }

    pub fn find_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let (generation, content) = self.places.get_mut(id.place())?;
        content.as_mut().filter(|_| u64::from(*generation) == id.generation())
    }

    /// In the order of their places.
    pub fn ids(&self) -> Vec<Id<T>> {
        let filled = (0_u32..).zip(&self.places).filter(|(_, (_, content))| content.is_some());
        filled.map(|(place, (generation, _))| Id::new(place, *generation)).collect()
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

#[expect(clippy::panic, reason = "a number that leads nowhere is a bug of the machine, whose books would go wrong")]
fn lost() -> ! {
    panic!("a row of the dispatcher is gone that another one refers to")
}

impl<T> Index<Id<T>> for Table<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        self.find(id).unwrap_or_else(|| lost())
    }
}

impl<T> IndexMut<Id<T>> for Table<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        self.find_mut(id).unwrap_or_else(|| lost())
    }
}

impl<K: Hash + Eq, T> Names<K, T> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Id<T>>
    where
        K: Borrow<Q>,
    {
        self.0.get(name).copied()
    }

    pub fn insert(&mut self, name: K, id: Id<T>) {
        self.0.insert(name, id);
    }

    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, name: &Q)
    where
        K: Borrow<Q>,
    {
        self.0.remove(name);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { places: Vec::new(), vacant: Vec::new(), len: 0 }
    }
}

impl<K, T> Default for Names<K, T> {
    fn default() -> Self {
        Names(HashMap::new())
    }
}

// By hand, because a derive would ask the same of `T`.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_twice() {
        let mut table = Table::default();
        let one = table.add("one");
        assert_eq!((table.remove(one), table.remove(one)), (Some("one"), None));
        let two = table.add("two");
        assert_ne!(one, two);
        assert_eq!((table.find(one), table.find(two), table[two], table.len()), (None, Some(&"two"), "two", 1));
        assert_eq!(table.ids(), [two]);
    }
}
