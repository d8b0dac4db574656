//! Directories laid over each other by hard links, as the layers of a function are in `/opt`: the later one wins.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::make_dir;

/// Adds what is in `above` to `target`, in place of what has the same name there. Directories of one name become one.
pub fn lay_over(above: &Path, target: &Path) -> io::Result<()> {
    lay(above, target, |source, place| fs::hard_link(source, place))
}

/// The same for what others put there: files that everybody may read are linked if they can be, others copied so that
/// everybody may.
pub fn copy_over(above: &Path, target: &Path) -> io::Result<()> {
    lay(above, target, |source, place| {
        let is_public = fs::metadata(source)?.permissions().mode() & 0o004 != 0;
        if is_public && fs::hard_link(source, place).is_ok() {
            return Ok(());
        }
        fs::copy(source, place)?;
        let mode = if fs::metadata(source)?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(place, fs::Permissions::from_mode(mode))
    })
}

fn lay(above: &Path, target: &Path, file: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    // A stack of our own: the archive reader bounds depth and number of what is here.
    let mut folders = vec![(above.to_owned(), target.to_owned())];
    while let Some((from, to)) = folders.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (source, kind) = (entry.path(), entry.file_type()?);
            let place = to.join(entry.file_name());
            make_room(&place, kind.is_dir())?;
            if kind.is_dir() {
                make_dir(&place)?;
                folders.push((source, place));
            } else if kind.is_symlink() {
                symlink(fs::read_link(&source)?, &place)?;
            } else {
                file(&source, &place)?;
            }
        }
    }
    Ok(())
}

/// Takes away what is at `place`, unless both it and what comes are directories.
fn make_room(place: &PathBuf, is_for_dir: bool) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() && is_for_dir => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The bytes of all files below.
pub fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0_u64;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                total = total.saturating_add(metadata.len());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_layer_wins() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = |name: &str| temporary.path().join(name);
        for (path, text) in [("a/bin/x", "a"), ("a/same", "a"), ("a/dir/f", "a"), ("b/bin/y", "b"), ("b/same", "b")] {
            fs::create_dir_all(dir(path).parent().unwrap()).unwrap();
            fs::write(dir(path), text).unwrap();
        }
        fs::write(dir("b/dir"), "now a file").unwrap();
        symlink("/opt/same", dir("b/link")).unwrap();
        make_dir(&dir("opt")).unwrap();
        lay_over(&dir("a"), &dir("opt")).unwrap();
        lay_over(&dir("b"), &dir("opt")).unwrap();
        let read = |path: &str| fs::read_to_string(dir("opt").join(path)).unwrap();
        assert_eq!([read("bin/x"), read("bin/y"), read("same"), read("dir")], ["a", "b", "b", "now a file"]);
        assert_eq!(fs::read_link(dir("opt/link")).unwrap(), Path::new("/opt/same"));
        assert_eq!(fs::read_to_string(dir("a/same")).unwrap(), "a");
        assert_eq!(size(&dir("opt")).unwrap(), 1 + 1 + 1 + 10 + 9);
    }

    #[test]
    fn what_others_put_there_is_linked_or_copied_for_all_to_read() {
        use std::os::unix::fs::MetadataExt;

        let temporary = tempfile::tempdir().unwrap();
        let (theirs, ours) = (temporary.path().join("theirs"), temporary.path().join("ours"));
        make_dir(&theirs).unwrap();
        make_dir(&ours).unwrap();
        for (name, mode) in [("public", 0o644), ("closed", 0o600), ("program", 0o700)] {
            fs::write(theirs.join(name), name).unwrap();
            fs::set_permissions(theirs.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        copy_over(&theirs, &ours).unwrap();
        let found = |dir: &Path, name: &str| fs::metadata(dir.join(name)).unwrap();
        assert_eq!(found(&ours, "public").ino(), found(&theirs, "public").ino());
        assert_eq!(found(&ours, "closed").mode() & 0o777, 0o644);
        assert_eq!(found(&ours, "program").mode() & 0o777, 0o755);
        assert_eq!(found(&theirs, "closed").mode() & 0o777, 0o600);
    }
}
