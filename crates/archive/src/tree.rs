//! What the names of an archive make together: no name twice, nothing below a file.
//!
//! Names themselves would cost up to the size of the archive, so each path is kept as a 128-bit fingerprint under keys
//! drawn anew for every archive. Two paths with one fingerprint would have a good archive refused, never a bad one
//! unpacked, because making the files checks again; nobody can seek such paths without the keys.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

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
        let mut hashers = [self.keys[0].build_hasher(), self.keys[1].build_hasher()];
        let (parent, name) = path.split();
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            let fingerprint = descend(&mut hashers, part);
            if *self.nodes.entry(fingerprint).or_insert(Node::Implied) == Node::Leaf {
                return Err(EntryFlaw::BelowFile);
            }
        }
        let node = if directory { Node::Directory } else { Node::Leaf };
        match self.nodes.entry(descend(&mut hashers, name)) {
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
}

/// The fingerprint of one more component: hashing goes on where the parent's ended, so a path costs its length once.
fn descend(hashers: &mut [DefaultHasher; 2], part: &str) -> [u64; 2] {
    for hasher in hashers.iter_mut() {
        hasher.write(part.as_bytes());
        hasher.write_u8(b'/');
    }
    [hashers[0].finish(), hashers[1].finish()]
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
