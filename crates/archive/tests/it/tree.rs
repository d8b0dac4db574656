//! What a directory holds after unpacking, as plain data to compare.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use archive::{ArchiveError, Limits, Source, Summary};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File { mode: u32, modified_secs: i64, contents: Vec<u8> },
    Directory { mode: u32 },
    Link { target: PathBuf },
}

/// Everything below `root`, by path relative to it. Follows no link.
pub fn tree(root: &Path) -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<String, Node>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_symlink() {
            Node::Link { target: fs::read_link(&path).unwrap() }
        } else if metadata.is_dir() {
            collect(root, &path, found);
            Node::Directory { mode }
        } else {
            assert!(metadata.is_file(), "{path:?} is neither file, directory nor link");
            Node::File { mode, modified_secs: metadata.mtime(), contents: fs::read(&path).unwrap() }
        };
        found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), node);
    }
}

/// A directory to unpack into, with a file next to it that must stay as it is.
pub struct Ground {
    outer: tempfile::TempDir,
    pub root: PathBuf,
}

impl Ground {
    pub fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outer.path().join("witness"), "untouched").unwrap();
        Self { outer, root }
    }

    pub fn outer(&self) -> &Path {
        self.outer.path()
    }

    pub fn unpack(&self, source: &dyn Source, limits: &Limits) -> Result<Summary, ArchiveError> {
        archive::unpack(source, File::open(&self.root).unwrap().as_fd(), limits)
    }

    /// Panics if anything outside of the root was made, changed or removed.
    pub fn assert_nothing_outside(&self) {
        let mut names: Vec<_> = fs::read_dir(self.outer()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "witness"]);
        assert_eq!(fs::read_to_string(self.outer().join("witness")).unwrap(), "untouched");
    }
}
