//! Names of entries, and where links point.
//!
//! A name is what the header's bytes say, UTF-8 whether it is marked as such or not. A backslash is a character like
//! any other, as it is on Lambda; so are `C:` and upper and lower case, on a Linux file system.

use crate::error::EntryFlaw;
use crate::limits::{COMPONENT_BYTES_MAX, DEPTH_MAX, LINK_ROOTS, NAME_BYTES_MAX};

/// A path below the root, `a/b/c`: no component is empty, `.` or `..`. The root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryPath(String);

impl EntryPath {
    /// The path, and whether the name says that it is a directory. `./` in front, which some writers put there, and
    /// elsewhere means nothing and is left out.
    pub fn parse(name: &[u8]) -> Result<(Self, bool), EntryFlaw> {
        if name.len() > NAME_BYTES_MAX {
            return Err(EntryFlaw::NameTooLong);
        }
        if name.contains(&0) {
            return Err(EntryFlaw::NameNul);
        }
        let name = str::from_utf8(name).map_err(|_| EntryFlaw::NameEncoding)?;
        if name.starts_with('/') {
            return Err(EntryFlaw::NameAbsolute);
        }
        let (path, directory) = match name.strip_suffix('/') {
            Some(path) => (path, true),
            None => (name, false),
        };
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "." => {}
                "" if path.is_empty() => return Err(EntryFlaw::NameEmpty),
                "" => return Err(EntryFlaw::NameEmptyComponent),
                ".." => return Err(EntryFlaw::NameParent),
                _ if part.len() > COMPONENT_BYTES_MAX => return Err(EntryFlaw::ComponentTooLong),
                _ if parts.len() > DEPTH_MAX => return Err(EntryFlaw::TooDeep),
                _ => parts.push(part),
            }
        }
        if parts.is_empty() && !directory {
            return Err(EntryFlaw::NameEmpty);
        }
        Ok((Self(parts.join("/")), directory))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that holds this, and the name in it.
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// Checks where a link at this path points. A relative target climbs only at its front: there it climbs real
    /// directories, as no entry lies below a link, and not past the root; behind that it only descends, perhaps through
    /// other links that keep to the same rule. An interior `..` could follow a link upwards first, so it is refused. An
    /// absolute target leads to the places where a function finds its code and its layers, and nowhere else.
    pub fn check_target(&self, target: &[u8]) -> Result<(), EntryFlaw> {
        let target =
            str::from_utf8(target).ok().filter(|target| !target.contains('\0')).ok_or(EntryFlaw::LinkEncoding)?;
        if target.is_empty() {
            return Err(EntryFlaw::LinkLength);
        }
        if target.starts_with('/') {
            let known = LINK_ROOTS.iter().filter_map(|root| target.strip_prefix(root));
            let within = known.into_iter().any(|below| below.is_empty() || below.starts_with('/'));
            let climbs = target.split('/').any(|part| part == "..");
            return if within && !climbs { Ok(()) } else { Err(EntryFlaw::LinkEscapes) };
        }
        let mut parts = target.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
        let mut climbed: usize = 0;
        while parts.next_if_eq(&"..").is_some() {
            climbed = climbed.saturating_add(1);
        }
        let depth = self.0.matches('/').count();
        if climbed > depth || parts.any(|part| part == "..") { Err(EntryFlaw::LinkEscapes) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<(String, bool), EntryFlaw> {
        EntryPath::parse(name.as_bytes()).map(|(path, directory)| (path.0, directory))
    }

    #[test]
    fn names_lose_what_means_nothing_and_keep_the_rest() {
        for (name, path, directory) in [
            ("index.js", "index.js", false),
            ("./a/./b", "a/b", false),
            ("./", "", true),
            ("a/b/", "a/b", true),
            (r"a\b", r"a\b", false),
            (r"..\b", r"..\b", false),
            ("C:x", "C:x", false),
            ("...", "...", false),
            ("ä/\n", "ä/\n", false),
        ] {
            assert_eq!(parse(name), Ok((path.into(), directory)), "{name:?}");
        }
    }

    #[test]
    fn names_that_leave_the_root_or_have_no_one_meaning_are_refused() {
        for (name, flaw) in [
            ("", EntryFlaw::NameEmpty),
            (".", EntryFlaw::NameEmpty),
            ("/", EntryFlaw::NameAbsolute),
            ("//a", EntryFlaw::NameAbsolute),
            ("..", EntryFlaw::NameParent),
            ("a/../b", EntryFlaw::NameParent),
            ("a/..", EntryFlaw::NameParent),
            ("../", EntryFlaw::NameParent),
            ("a//b", EntryFlaw::NameEmptyComponent),
            ("a//", EntryFlaw::NameEmptyComponent),
            ("a\0", EntryFlaw::NameNul),
        ] {
            assert_eq!(parse(name), Err(flaw), "{name:?}");
        }
        assert_eq!(EntryPath::parse(b"caf\x82"), Err(EntryFlaw::NameEncoding));
    }

    #[test]
    fn the_longest_and_the_deepest_are_accepted_and_one_more_is_not() {
        assert!(parse(&"c".repeat(COMPONENT_BYTES_MAX)).is_ok());
        assert_eq!(parse(&"c".repeat(COMPONENT_BYTES_MAX + 1)), Err(EntryFlaw::ComponentTooLong));
        let deep = "d/".repeat(DEPTH_MAX);
        assert!(parse(&format!("{deep}f")).is_ok());
        assert_eq!(parse(&format!("{deep}d/f")), Err(EntryFlaw::TooDeep));
        let long = format!("{}/", "c".repeat(COMPONENT_BYTES_MAX)).repeat(17);
        assert!(parse(&long[..NAME_BYTES_MAX]).is_ok());
        assert_eq!(parse(&long[..=NAME_BYTES_MAX]), Err(EntryFlaw::NameTooLong));
    }

    #[test]
    fn a_link_climbs_at_its_front_and_never_past_the_root() {
        let (link, _) = EntryPath::parse(b"a/b/link").unwrap();
        for target in
            ["x", "./x", "../x", "../../x", "../..", "x/", ".././y", "/opt", "/opt/nodejs", "/var/task/x", "..."]
        {
            assert_eq!(link.check_target(target.as_bytes()), Ok(()), "{target}");
        }
        for target in ["../../..", "../../../x", "x/../y", "../x/..", "/", "/etc", "/optional", "/opt/../etc", "//opt"]
        {
            assert_eq!(link.check_target(target.as_bytes()), Err(EntryFlaw::LinkEscapes), "{target}");
        }
        assert_eq!(link.check_target(b""), Err(EntryFlaw::LinkLength));
        assert_eq!(link.check_target(b"a\0b"), Err(EntryFlaw::LinkEncoding));
        assert_eq!(link.check_target(b"\xff"), Err(EntryFlaw::LinkEncoding));
    }
}
