//! The names and values of query strings and forms; the labels of a path come decoded.

use std::borrow::Cow;

use super::DecodeError;
use crate::percent::{self, Plus};

/// A name and its value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The names and values of a query string or a form, in order; a name without `=` has an empty value.
pub fn pairs(text: &str) -> impl Iterator<Item = Result<Pair<'_>, DecodeError>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, DecodeError> {
    // What is found by is lenient; what an operation gets is not guessed at.
    if !percent::is_well_formed(text) {
        return Err(DecodeError::Malformed("Invalid percent-encoding".into()));
    }
    let decoded = percent::decode_text(text, Plus::Space);
    decoded.ok_or_else(|| DecodeError::Malformed("Invalid UTF-8 in the URI".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_come_out_as_they_were_meant() {
        let read: Vec<_> = pairs("a=1&b&&c=x+y%2Bz=&%C3%A9=%").collect();
        let ok: Vec<_> = read.iter().filter_map(|pair| pair.as_ref().ok()).cloned().collect();
        assert_eq!(ok, [("a".into(), "1".into()), ("b".into(), "".into()), ("c".into(), "x y+z=".into())]);
        assert!(read[3].is_err());
        assert_eq!(decode("a+b%2fc").unwrap(), "a b/c");
        assert!(decode("%ff").is_err() && decode("%4").is_err() && decode("%zz").is_err());
    }
}
