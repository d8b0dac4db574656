//! Archives that real tools wrote, unpacked as those tools unpack them.
//!
//! A tool that is not installed is skipped with a line that says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use archive::Limits;

use crate::tree::{Ground, Node, tree};
use crate::zip::{deflated, stored, zip};

/// Runs a command to its end; `None` if there is no such command.
fn run(directory: &Path, command: &[&str]) -> Option<()> {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(directory).stdin(Stdio::null()).output();
    let Ok(output) = output else {
        eprintln!("skipped: {} is not installed", command[0]);
        return None;
    };
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// A directory like a function's: text, a program, binary data, something empty, something deep, links.
fn project(links: bool) -> tempfile::TempDir {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let project = tempfile::tempdir().unwrap();
    let root = project.path();
    fs::create_dir_all(root.join("node_modules/.bin")).unwrap();
    fs::create_dir_all(root.join("node_modules/left-pad/empty")).unwrap();
    fs::write(root.join("index.js"), "exports.handler = async () => 'hello';\n".repeat(5_000)).unwrap();
    fs::write(root.join("node_modules/left-pad/ünïcode näme.js"), "module.exports = 1;\n").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(root.join("data.bin"), noise).unwrap();
    fs::write(root.join("bootstrap"), "#!/bin/sh\nexec true\n").unwrap();
    fs::set_permissions(root.join("bootstrap"), fs::Permissions::from_mode(0o775)).unwrap();
    if links {
        symlink("../left-pad", root.join("node_modules/.bin/left-pad")).unwrap();
        symlink("index.js", root.join("main.js")).unwrap();
    }
    project
}

/// What `path` unpacks to.
#[track_caller]
fn unpacked(path: &Path) -> BTreeMap<String, Node> {
    let source = File::open(path).unwrap();
    let ground = Ground::new();
    let inspected = archive::inspect(&source, &Limits::default()).unwrap();
    assert_eq!(ground.unpack(&source, &Limits::default()).unwrap(), inspected);
    ground.assert_nothing_outside();
    tree(&ground.root)
}

/// Path, and contents or target or nothing: what survives every tool.
fn gist(tree: &BTreeMap<String, Node>) -> BTreeMap<&str, Vec<u8>> {
    let gist = |node: &Node| match node {
        Node::File { contents, .. } => contents.clone(),
        Node::Link { target } => target.to_str().unwrap().as_bytes().to_vec(),
        Node::Directory { .. } => Vec::new(),
    };
    tree.iter().map(|(path, node)| (path.as_str(), gist(node))).collect()
}

#[track_caller]
fn assert_same(ours: &BTreeMap<String, Node>, theirs: &BTreeMap<String, Node>) {
    assert!(gist(ours) == gist(theirs), "{:?}\n{:?}", ours.keys(), theirs.keys());
}

#[test]
fn info_zip_with_links_and_modes() {
    let project = project(true);
    let archive = project.path().with_extension("zip");
    let path = archive.to_str().unwrap();
    let Some(()) = run(project.path(), &["zip", "-qry", path, "."]) else { return };
    let ours = unpacked(&archive);
    assert_same(&ours, &tree(project.path()));
    assert!(matches!(ours["bootstrap"], Node::File { mode: 0o755, .. }));
    for (name, node) in tree(project.path()) {
        if let Node::File { modified_secs: expected, .. } = node {
            assert!(matches!(ours[&name], Node::File { modified_secs, .. } if modified_secs == expected), "{name}");
        }
    }
    let theirs = tempfile::tempdir().unwrap();
    if run(theirs.path(), &["unzip", "-q", path]).is_some() {
        assert_same(&ours, &tree(theirs.path()));
    }
    fs::remove_file(archive).unwrap();
}

#[test]
fn info_zip_to_a_pipe_and_after_changes() {
    let project = project(false);
    let archive = project.path().with_extension("zip");
    let path = archive.to_str().unwrap();
    let Some(()) = run(project.path(), &["zip", "-v"]) else { return };
    run(project.path(), &["sh", "-c", "zip -qr - . > \"$0\"", path]).unwrap();
    assert_same(&unpacked(&archive), &tree(project.path()));
    run(project.path(), &["zip", "-qd", path, "data.bin"]).unwrap();
    fs::remove_file(project.path().join("data.bin")).unwrap();
    fs::write(project.path().join("index.js"), "changed").unwrap();
    run(project.path(), &["zip", "-q", "-0", path, "index.js"]).unwrap();
    assert_same(&unpacked(&archive), &tree(project.path()));
    fs::remove_file(archive).unwrap();
}

#[test]
fn info_zip_with_wide_sizes_and_as_a_self_extractor() {
    let project = project(false);
    let expected = tree(project.path());
    let archive = project.path().with_extension("exe");
    let path = archive.to_str().unwrap();
    let Some(()) = run(project.path(), &["zip", "-qr", "-fz", path, "."]) else { return };
    assert_same(&unpacked(&archive), &expected);
    fs::remove_file(&archive).unwrap();
    run(project.path(), &["zip", "-qr", path, "."]).unwrap();
    let stub = b"#!/bin/sh\nexec unzip \"$0\"\n";
    fs::write(&archive, [&stub[..], &fs::read(&archive).unwrap()].concat()).unwrap();
    assert_same(&unpacked(&archive), &expected);
    run(project.path(), &["zip", "-qA", path]).unwrap();
    assert_same(&unpacked(&archive), &expected);
    fs::remove_file(archive).unwrap();
}

const PYTHON_WRITE: &str = r##"
import io, os, sys, zipfile
kind, target = sys.argv[1:]
class Pipe(io.RawIOBase):
    def __init__(self, file): self.file = file
    def writable(self): return True
    def seekable(self): return False
    def write(self, data): return self.file.write(data)
with open(target, "wb") as file:
    if kind == "prefix":
        file.write(b"#!/usr/bin/env python3\n")
    method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(Pipe(file) if kind == "pipe" else file, "w", method) as archive:
        for folder, _, names in os.walk("."):
            if folder != ".":
                archive.write(folder)
            for name in names:
                path = os.path.join(folder, name)
                if kind == "zip64":
                    info = zipfile.ZipInfo.from_file(path)
                    info.compress_type = method
                    with open(path, "rb") as data, archive.open(info, "w", force_zip64=True) as out:
                        out.write(data.read())
                else:
                    archive.write(path)
        archive.comment = b"a comment"
if kind == "append":
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("added/later.txt", "later")
"##;

const PYTHON_EXTRACT: &str = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";

#[test]
fn python_in_every_way_that_it_writes() {
    let project = project(false);
    for kind in ["deflated", "stored", "pipe", "zip64", "prefix", "append"] {
        let archive = project.path().with_extension(kind);
        let path = archive.to_str().unwrap();
        let Some(()) = run(project.path(), &["python3", "-c", PYTHON_WRITE, kind, path]) else { return };
        let ours = unpacked(&archive);
        let theirs = tempfile::tempdir().unwrap();
        run(theirs.path(), &["python3", "-c", PYTHON_EXTRACT, path, "."]).unwrap();
        assert_same(&ours, &tree(theirs.path()));
        assert_eq!(ours.contains_key("added/later.txt"), kind == "append");
        fs::remove_file(archive).unwrap();
    }
}

#[test]
fn a_jar_with_its_manifest() {
    let project = project(false);
    let archive = project.path().with_extension("jar");
    let path = archive.to_str().unwrap();
    let Some(()) = run(project.path(), &["jar", "cf", path, "."]) else { return };
    let ours = unpacked(&archive);
    assert!(ours.contains_key("META-INF/MANIFEST.MF"));
    let theirs = tempfile::tempdir().unwrap();
    run(theirs.path(), &["python3", "-c", PYTHON_EXTRACT, path, "."]);
    assert_same(&ours, &tree(theirs.path()));
    fs::remove_file(archive).unwrap();
}

/// Reads archives as Python does, and prints a line for each: checksum and size of every file, its own name last.
/// Python refuses versions of the format that it does not know, of which we take no notice.
const PYTHON_LIST: &str = r#"
import sys, zipfile, zlib
zipfile.MAX_EXTRACT_VERSION = 1 << 16
for path in sys.argv[1:]:
    with zipfile.ZipFile(path) as archive:
        contents = [archive.read(info) for info in archive.infolist()]
        print(*[(zlib.crc32(data), len(data)) for data in contents], path)
"#;

/// A second reader finds the same in whatever we accept of an archive that has been bent in each of its bytes.
#[test]
fn python_agrees_on_what_is_accepted() {
    let bytes = zip(&[deflated("a.txt", "contents"), stored("b", "2").streamed(true, false)]);
    let folder = tempfile::tempdir().unwrap();
    let mut accepted = Vec::new();
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        if archive::inspect(&bent.as_slice(), &Limits::default()).is_ok() {
            let path = folder.path().join(at.to_string());
            fs::write(&path, &bent).unwrap();
            accepted.push(path.to_str().unwrap().to_owned());
        }
    }
    assert!(accepted.len() > 10 && accepted.len() < bytes.len() / 2, "{} of {}", accepted.len(), bytes.len());
    let Ok(output) = Command::new("python3").args(["-c", PYTHON_LIST]).args(&accepted).output() else { return };
    let expected: String = accepted.iter().map(|path| format!("(3036287351, 8) (450215437, 1) {path}\n")).collect();
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
