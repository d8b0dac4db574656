//! What the names of an archive make together: no name twice, nothing below a file.
//!
//! Names themselves would cost up to the size of the archive, so each path is kept as a 128-bit fingerprint under keys
//! drawn anew for every archive. Two paths with one fingerprint would have a good archive refused, never a bad one
//! unpacked, because making the files checks again; nobody can seek such paths without the keys.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

use crate::error::EntryFlaw;
use crate::name::EntryPath;

/// Files, links and directories, with those directories that no entry names.
pub(crate) struct Tree {
    nodes: HashMap<[u64; 2], Node>,
    keys: [RandomState; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// A directory that others lie in, and that may still be named.
    Implied,
    Directory,
    /// A file or a link: nothing lies below.
    Leaf,
}

impl Tree {
    pub fn new() -> Self {
        Self { nodes: HashMap::new(), keys: [RandomState::new(), RandomState::new()] }
    }

    pub fn insert(&mut self, path: &EntryPath, directory: bool) -> Result<(), EntryFlaw> {
        let mut ancestor = path.split().0;
        while !ancestor.is_empty() {
            let fingerprint = self.fingerprint(ancestor);
            match self.nodes.entry(fingerprint) {
                Entry::Occupied(taken) if *taken.get() == Node::Leaf => return Err(EntryFlaw::BelowFile),
                // What is above a directory was put here with it. So the way up is as long as there is something to
                // put, and deep paths cost no more than the nodes that they make.
                Entry::Occupied(_) => break,
                Entry::Vacant(free) => free.insert(Node::Implied),
            };
            ancestor = ancestor.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        let node = if directory { Node::Directory } else { Node::Leaf };
        let fingerprint = self.fingerprint(path.as_str());
        match self.nodes.entry(fingerprint) {
            Entry::Vacant(free) => {
                free.insert(node);
            }
            Entry::Occupied(mut taken) => match (*taken.get(), node) {
                (Node::Implied, Node::Directory) => {
                    taken.insert(node);
                }
                (had, _) if had == node => return Err(EntryFlaw::Duplicate),
                _ => return Err(EntryFlaw::DirectoryConflict),
            },
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    fn fingerprint(&self, path: &str) -> [u64; 2] {
        self.keys.each_ref().map(|key| key.hash_one(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert_all(names: &[&str]) -> Result<usize, EntryFlaw> {
        let mut tree = Tree::new();
        for name in names {
            let (path, directory) = EntryPath::parse(name.as_bytes())?;
            tree.insert(&path, directory)?;
        }
        Ok(tree.len())
    }

    #[test]
    fn directories_are_counted_whether_named_or_not() {
        assert_eq!(insert_all(&["a/b/c"]), Ok(3));
        assert_eq!(insert_all(&["a/", "a/b/c", "a/b/", "./", "A/"]), Ok(5));
        assert_eq!(insert_all(&["ab/c", "a/bc"]), Ok(4));
    }

    #[test]
    fn one_name_makes_one_thing() {
        for (names, flaw) in [
            (["a", "a"], EntryFlaw::Duplicate),
            (["a", "./a"], EntryFlaw::Duplicate),
            (["a/", "a/"], EntryFlaw::Duplicate),
            (["./", "././"], EntryFlaw::Duplicate),
            (["a", "a/"], EntryFlaw::DirectoryConflict),
            (["a/", "a"], EntryFlaw::DirectoryConflict),
            (["a/b", "a"], EntryFlaw::DirectoryConflict),
            (["a", "a/b"], EntryFlaw::BelowFile),
            (["a", "a/b/"], EntryFlaw::BelowFile),
        ] {
            assert_eq!(insert_all(&names), Err(flaw), "{names:?}");
        }
    }
}
