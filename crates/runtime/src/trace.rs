//! X-Ray's header, as far as Lambda itself has a part in it: whether an invocation is sampled, and under which segment.
//!
//! Segments are sent nowhere: there is no X-Ray yet. What a function passes on, and what its report tells, is AWS's.

use base::{RequestId, Timestamp, hex};

/// An invocation that is sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// As the function sees it.
    pub header: String,
    pub root: String,
    /// Of the function itself, which is the parent of what it calls.
    pub segment: String,
}

impl Trace {
    pub fn of(header: &str) -> Option<Trace> {
        let (root, segment) = (field(header, "Root")?, field(header, "Parent")?);
        let is_sampled = field(header, "Sampled") == Some("1");
        is_sampled.then(|| Trace { header: header.to_owned(), root: root.to_owned(), segment: segment.to_owned() })
    }
}

/// Whether a segment is to be drawn for an invocation.
pub fn is_wanted(header: Option<&str>) -> bool {
    header.is_some_and(|header| field(header, "Sampled") == Some("1"))
}

/// The header that a sampled invocation's function sees.
pub fn sampled(header: Option<&str>, id: RequestId, now: Timestamp, segment: [u8; 8]) -> String {
    let root = header.and_then(|header| field(header, "Root")).map(str::to_owned).unwrap_or_else(|| {
        let id: String = id.to_string().chars().filter(char::is_ascii_hexdigit).take(24).collect();
        format!("1-{:08x}-{id}", now.as_secs())
    });
    format!("Root={root};Parent={};Sampled=1", hex::encode(&segment))
}

fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = header.split(';').filter_map(|field| field.trim().split_once('='));
    fields.find_map(|(found, value)| (found == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use base::Uuid;

    use super::*;

    #[test]
    fn who_samples_is_known_and_seen() {
        assert!(!is_wanted(None) && is_wanted(Some("Root=1-2-3;Parent=4;Sampled=1")));
        assert!(!is_wanted(Some("Root=1-2-3;Parent=4;Sampled=0")));
        let id = RequestId(Uuid::from_bytes([0xab; 16]));
        let own = sampled(None, id, Timestamp::from_secs(1), [1; 8]);
        assert_eq!(own, "Root=1-00000001-abababababababababababab;Parent=0101010101010101;Sampled=1");
        let of_caller = sampled(Some("Root=1-2-3; Parent=4;Sampled=1"), id, Timestamp::from_secs(1), [1; 8]);
        assert_eq!(of_caller, "Root=1-2-3;Parent=0101010101010101;Sampled=1");
        let trace = Trace::of(&of_caller).unwrap();
        assert_eq!((trace.root.as_str(), trace.segment.as_str()), ("1-2-3", "0101010101010101"));
        assert_eq!(Trace::of("Root=1-2-3;Parent=4;Sampled=0"), None);
        assert_eq!(Trace::of("nonsense"), None);
    }
}
