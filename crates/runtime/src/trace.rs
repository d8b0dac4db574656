//! X-Ray's header, as far as Lambda itself has a part in it: whether an invocation is sampled, and under which segment.
//!
//! Segments are sent nowhere: there is no X-Ray yet. What a function passes on, and what its report tells, is AWS's.

use base::hex;
use base::record::Trace;
use base::trace::field;

/// Of an invocation that is sampled, with the segment of the function itself, which is the parent of what it calls.
pub fn of(header: &str) -> Option<Trace> {
    let (root, segment) = (field(header, "Root")?, field(header, "Parent")?);
    let is_sampled = field(header, "Sampled") == Some("1");
    is_sampled.then(|| Trace { header: header.to_owned(), root: root.to_owned(), segment: segment.to_owned() })
}

/// The header that a sampled invocation's function sees, under a segment of its own. What else it says, such as the lineage that
/// loops are known by, stays.
pub fn sampled(header: &str, segment: impl FnOnce() -> [u8; 8]) -> Option<String> {
    let root = field(header, "Root").filter(|_| field(header, "Sampled") == Some("1"))?;
    let is_own = |field: &&str| !["Root", "Parent", "Sampled"].iter().any(|name| field.split('=').next() == Some(name));
    let others = header.split(';').map(str::trim).filter(|field| !field.is_empty()).filter(is_own);
    let others: String = others.map(|field| format!(";{field}")).collect();
    Some(format!("Root={root};Parent={};Sampled=1{others}", hex::encode(&segment())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_samples_is_known_and_seen() {
        assert_eq!(sampled("Root=1-2-3;Parent=4;Sampled=0", || [1; 8]), None);
        let of_caller = sampled("Root=1-2-3; Parent=4;Sampled=1", || [1; 8]).unwrap();
        assert_eq!(of_caller, "Root=1-2-3;Parent=0101010101010101;Sampled=1");
        let in_chain = sampled("Root=1;Parent=2;Sampled=1;Lineage=a:1|b:2;Self=3;", || [1; 8]).unwrap();
        assert_eq!(in_chain, "Root=1;Parent=0101010101010101;Sampled=1;Lineage=a:1|b:2;Self=3");
        let trace = of(&of_caller).unwrap();
        assert_eq!((trace.root.as_str(), trace.segment.as_str()), ("1-2-3", "0101010101010101"));
        assert_eq!(of("Root=1-2-3;Parent=4;Sampled=0"), None);
        assert_eq!(of("nonsense"), None);
    }
}
