//! The `/etc` inside: who exists, how names resolve, which certificates count, and the few files of the host without
//! which its programs in `/usr` do not run. Nothing else of the host's `/etc` is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::process::names::NAMESERVER;

/// AWS's user of a function, in AWS's words.
pub const UID: u32 = 993;
pub const GID: u32 = 990;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nsbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsbx_user1051:x:990:\n";
/// With the name that AWS's Telemetry API gives the environment itself.
const HOSTS: &str = "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n";
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n";

/// Files of the host that its libraries and interpreters look for. Folders are copied with what is below them.
const COPIED: [&str; 8] = [
    "ld.so.cache",
    "mime.types",
    "os-release",
    "protocols",
    "services",
    "alternatives",
    "ssl/certs/java",
    "ssl/openssl.cnf",
];

/// Java's and Python's settings, which Debian keeps here in a folder a version.
const COPIED_PREFIXES: [&str; 2] = ["java-", "python3"];

/// Where hosts keep the bundle of certificates that they trust; the first that is there counts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where programs look for it.
const BUNDLE: &str = "ssl/certs/ca-certificates.crt";
const BUNDLE_LINKS: [(&str, &str); 2] = [
    ("ssl/cert.pem", "certs/ca-certificates.crt"),
    ("pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"),
];

const FILE_BYTES_MAX: u64 = 1024 * 1024;
const ENTRIES_MAX: usize = 4_096;
const DEPTH_MAX: usize = 6;

#[derive(Debug)]
pub enum Node {
    File(Vec<u8>),
    Link(PathBuf),
}

/// Everything of `/etc`, by its path below it.
pub fn gather() -> Vec<(PathBuf, Node)> {
    let text = |name: &str, text: String| (PathBuf::from(name), Node::File(text.into_bytes()));
    let mut nodes = vec![
        text("passwd", PASSWD.to_owned()),
        text("group", GROUP.to_owned()),
        text("hosts", HOSTS.to_owned()),
        text("nsswitch.conf", NSSWITCH.to_owned()),
        text("resolv.conf", format!("nameserver {NAMESERVER}\n")),
    ];
    if let Some(bundle) = BUNDLES.iter().find_map(|path| read(Path::new(path))) {
        nodes.push((BUNDLE.into(), Node::File(bundle)));
        nodes.extend(BUNDLE_LINKS.iter().map(|(at, to)| (PathBuf::from(at), Node::Link(to.into()))));
    }
    // AWS's clocks show UTC, wherever they are.
    nodes.push(("localtime".into(), Node::Link("/usr/share/zoneinfo/UTC".into())));
    let etc = Path::new("/etc");
    let mut wanted: Vec<PathBuf> = COPIED.iter().map(PathBuf::from).collect();
    for entry in fs::read_dir(etc).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| COPIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
            wanted.push(name.into());
        }
    }
    for name in wanted {
        copy(etc, &name, DEPTH_MAX, &mut nodes);
    }
    nodes
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    // What the host keeps from its other users is not for sandboxes either.
    let is_public = metadata.mode() & 0o004 != 0;
    (metadata.is_file() && is_public && metadata.len() <= FILE_BYTES_MAX).then(|| fs::read(path).ok())?
}

fn copy(etc: &Path, name: &Path, depth: usize, nodes: &mut Vec<(PathBuf, Node)>) {
    let path = etc.join(name);
    let Ok(metadata) = fs::symlink_metadata(&path) else { return };
    if depth == 0 || nodes.len() >= ENTRIES_MAX {
        return;
    }
    if metadata.is_symlink() {
        // Manuals are most of a host's alternatives, and nobody reads them here.
        if name.extension().is_some_and(|extension| extension == "gz") {
            return;
        }
        if let Ok(target) = fs::read_link(&path) {
            nodes.push((name.to_owned(), Node::Link(target)));
        }
    } else if metadata.is_dir() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            copy(etc, &name.join(entry.file_name()), depth - 1, nodes);
        }
    } else if let Some(bytes) = read(&path) {
        nodes.push((name.to_owned(), Node::File(bytes)));
    }
}

pub fn write(root: &OwnedFd, nodes: &[(PathBuf, Node)]) -> io::Result<()> {
    let mut made = BTreeSet::from([PathBuf::new()]);
    for (name, node) in nodes {
        let at = Path::new("etc").join(name);
        let mut missing: Vec<&Path> = at.ancestors().skip(1).take_while(|parent| !made.contains(*parent)).collect();
        missing.reverse();
        for parent in missing {
            match rustix::fs::mkdirat(root, parent, Mode::from_raw_mode(0o755)) {
                Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
                _ => made.insert(parent.to_owned()),
            };
        }
        match node {
            Node::File(bytes) => write_file(root, &at, bytes)?,
            Node::Link(target) => rustix::fs::symlinkat(target, root, &at)?,
        }
    }
    Ok(())
}

fn write_file(root: &OwnedFd, at: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, at, flags, Mode::from_raw_mode(0o644))?;
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(0o644))?;
    fs::File::from(file).write_all(bytes)
}
