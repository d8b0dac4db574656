//! `parse`: values taken out of a text by a pattern with `*`, or by a regular expression.
//!
//! Follows "parse" of Logs Insights' user guide. Not yet: the modes `logfmt` and `csv`.

use memchr::memmem::Finder;
use regex::{CaptureLocations, Regex};

use super::limits::ROWS_PER_EVENT_MAX;
use super::value::Value;

#[derive(Debug, Clone)]
pub enum Extract {
    /// The plain texts around the `*`, one more than there are.
    Glob(Vec<Finder<'static>>),
    Regex {
        regex: Regex,
        /// The groups that are wanted, in the order of their names.
        groups: Vec<usize>,
        /// A row for each match, instead of one for the first.
        is_multi: bool,
    },
}

impl Extract {
    pub fn glob(pattern: &str) -> Extract {
        Extract::Glob(pattern.split('*').map(|plain| Finder::new(plain).into_owned()).collect())
    }

    /// One list of values for each match; none if nothing matches.
    pub fn matches(&self, text: &str) -> Vec<Vec<Value<'static>>> {
        match self {
            Extract::Glob(plain) => glob(plain, text).into_iter().collect(),
            Extract::Regex { regex, groups, is_multi } => {
                let most = if *is_multi { ROWS_PER_EVENT_MAX } else { 1 };
                let mut places = regex.capture_locations();
                let mut found = Vec::new();
                let mut at = 0;
                while found.len() < most
                    && let Some(whole) = regex.captures_read_at(&mut places, text, at)
                {
                    found.push(groups.iter().map(|group| group_of(&places, *group, text)).collect());
                    // An empty match is left by one character, so that the next one is another.
                    let step = text.get(whole.end()..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
                    at = if whole.is_empty() { whole.end().saturating_add(step) } else { whole.end() };
                    if at > text.len() {
                        break;
                    }
                }
                found
            }
        }
    }
}

fn group_of(places: &CaptureLocations, group: usize, text: &str) -> Value<'static> {
    let part = places.get(group).and_then(|(start, end)| text.get(start..end));
    part.map_or(Value::Missing, |part| Value::text(part.to_owned()))
}

/// Each `*` takes as little as it may, but for one at the end, which takes the rest. Whatever stands before the first
/// plain text is passed over. Looking for one text after the other is enough: if the rest is not found after the first
/// place of a text, it is not found after a later one.
fn glob(plain: &[Finder<'_>], text: &str) -> Option<Vec<Value<'static>>> {
    let (first, others) = plain.split_first()?;
    let mut rest = split_at(first, text)?.1;
    let mut values = Vec::with_capacity(others.len());
    for (index, next) in others.iter().enumerate() {
        let is_last = index.saturating_add(1) == others.len();
        // A line's end is not what anybody looks for.
        let line = rest.strip_suffix('\n').unwrap_or(rest);
        let (value, behind) = if is_last && next.needle().is_empty() { (line, "") } else { split_at(next, rest)? };
        values.push(Value::text(value.to_owned()));
        rest = behind;
    }
    Some(values)
}

/// What stands before the first place of a text, and what behind it.
fn split_at<'t>(finder: &Finder<'_>, text: &'t str) -> Option<(&'t str, &'t str)> {
    let place = finder.find(text.as_bytes())?;
    Some((text.get(..place)?, text.get(place.saturating_add(finder.needle().len())..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(extract: &Extract, text: &str) -> Vec<Vec<String>> {
        let shown = |values: Vec<Value<'_>>| values.iter().map(|value| value.shown().unwrap_or("-".into())).collect();
        extract.matches(text).into_iter().map(shown).collect()
    }

    #[test]
    fn stars_take_what_is_between() {
        let glob = |pattern, text| texts(&Extract::glob(pattern), text).pop();
        let some = |values: &[&str]| Some(values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        assert_eq!(glob("a=*, b=*", "x a=1, b=2 3\n"), some(&["1", "2 3"]));
        assert_eq!(glob("*=*;", "k=v;w=x;"), some(&["k", "v"]));
        assert_eq!(glob("<*>", "<<a>>"), some(&["<a"]));
        assert_eq!(glob("a*b*", "ab"), some(&["", ""]));
        assert_eq!(glob("a*b", "ba"), None);
    }

    #[test]
    fn matches_are_one_or_all() {
        let extract = |pattern, is_multi| {
            let regex = Regex::new(pattern).unwrap();
            Extract::Regex { groups: (1..regex.captures_len()).collect(), regex, is_multi }
        };
        assert_eq!(texts(&extract(r"(\w)=(\d)?", true), "a=1 b= é c=3"), [["a", "1"], ["b", "-"], ["c", "3"]]);
        assert_eq!(texts(&extract(r"(\w)=(\d)?", false), "a=1 b="), [["a", "1"]]);
        assert_eq!(texts(&extract("(x?)", true), "éx"), [[""], ["x"], [""]]);
        assert!(texts(&extract("(y)", true), "x").is_empty());
    }
}
