//! Where the places of a sandbox really are, for programs that run without walls: `/tmp` is a folder of the host, and
//! the host listens at other ports than programs were told.
//!
//! A text is translated wherever a place stands by itself in it: `/var/task:/opt/lib` twice, `/home/opt` never. What
//! has been translated stays as it is.

use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub struct Places {
    folders: Vec<(PathBuf, PathBuf)>,
    ports: Vec<(u16, u16)>,
}

impl Places {
    pub fn folder(&mut self, inside: impl Into<PathBuf>, real: impl Into<PathBuf>) {
        let inside = inside.into();
        self.folders.retain(|(known, _)| *known != inside);
        self.folders.push((inside, real.into()));
    }

    pub fn port(&mut self, inside: u16, real: u16) {
        self.ports.push((inside, real));
    }

    pub fn translate(&self, text: &str) -> String {
        let folders =
            self.folders.iter().map(|(inside, real)| (inside.display().to_string(), real.display().to_string()));
        let ports =
            self.ports.iter().map(|(inside, real)| (format!("127.0.0.1:{inside}"), format!("127.0.0.1:{real}")));
        let (inside, real): (Vec<String>, Vec<String>) = folders.chain(ports).unzip();
        // A real place may begin like one inside.
        let words: Vec<(&str, &str)> =
            real.iter().chain(&inside).map(String::as_str).zip(real.iter().chain(&real).map(String::as_str)).collect();
        let (mut translated, mut rest, mut before) = (String::with_capacity(text.len()), text, None);
        while let Some(first) = rest.chars().next() {
            let found = words.iter().find(|(known, _)| stands_alone(before, rest, known));
            let (word, length) = match found {
                Some((known, real)) => (*real, known.len()),
                None => (rest.get(..first.len_utf8()).unwrap_or_default(), first.len_utf8()),
            };
            translated.push_str(word);
            before = rest.get(..length).and_then(|taken| taken.chars().next_back());
            rest = rest.get(length..).unwrap_or_default();
        }
        translated
    }

    pub fn translate_path(&self, path: &Path) -> PathBuf {
        path.to_str().map_or_else(|| path.to_owned(), |path| self.translate(path).into())
    }
}

/// Whether a text goes on with this place, and not with a longer word that has it in it.
fn stands_alone(before: Option<char>, rest: &str, place: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    // A host's name goes before a port, and a path may follow it.
    let begins = !before.is_some_and(|c| is_part(c) && !(place.starts_with(char::is_numeric) && c == '/'));
    let ends = rest.strip_prefix(place).is_some_and(|after| !after.starts_with(|c| is_part(c) && c != '/'));
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_translated_where_they_stand_by_themselves() {
        let mut places = Places::default();
        places.folder("/var/task", "/data/code");
        places.folder("/opt", "/data/layers");
        places.folder("/tmp", "/run/room/tmp");
        places.port(9001, 40_001);
        let check = |text: &str, expected: &str| assert_eq!(places.translate(text), expected);
        check("/var/task", "/data/code");
        check("/lib64:/var/task/lib:/opt/lib:/usr/local/opt", "/lib64:/data/code/lib:/data/layers/lib:/usr/local/opt");
        check("-javaagent:/opt/agent.jar=/tmp/log", "-javaagent:/data/layers/agent.jar=/run/room/tmp/log");
        check("/var/tasks /optional /tmp.old x/tmp", "/var/tasks /optional /tmp.old x/tmp");
        check("127.0.0.1:9001", "127.0.0.1:40001");
        check("http://127.0.0.1:9001/2018", "http://127.0.0.1:40001/2018");
        check("127.0.0.1:90012 é/tmp", "127.0.0.1:90012 é/tmp");
        check("ünï /tmp", "ünï /run/room/tmp");
        // What replaces is not replaced again, not even the next time.
        places.folder("/opt", "/tmp/layers");
        let once = places.translate("/opt/x:/tmp/y");
        assert_eq!(once, "/tmp/layers/x:/run/room/tmp/y");
        assert_eq!(places.translate(&once), once);
    }
}
