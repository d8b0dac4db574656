//! Percent-encoding: of paths, query strings and forms, as the router, the codecs and the signatures all read it.

use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a path a plus is a plus.
    Literal,
    /// In a query it is a space.
    Space,
}

/// As Signature V4 has it: all but letters, digits and `-._~`, in upper-case hex.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => {
                let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

/// A percent sign that no two hex digits follow stands for itself.
pub fn decode(bytes: &[u8], plus: Plus) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| *byte == b'%' || (*byte == b'+' && plus == Plus::Space)) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) if plus == Plus::Space => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

/// As text; `None` if no UTF-8 comes out.
pub fn decode_text(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    match decode(text.as_bytes(), plus) {
        Cow::Borrowed(_) => Some(Cow::Borrowed(text)),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Whether two hex digits follow every percent sign.
pub fn is_well_formed(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| matches!(after.as_bytes(), [high, low, ..] if digit(*high).and(digit(*low)).is_some()))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plus_is_a_space_in_a_query_and_a_percent_sign_may_be_one() {
        let space = |text| decode_text(text, Plus::Space).map(Cow::into_owned);
        assert_eq!(space("a+b%2fc%2B").as_deref(), Some("a b/c+"));
        assert_eq!(decode_text("a+b", Plus::Literal).as_deref(), Some("a+b"));
        assert_eq!(space("100%+%4%zz%C3%A9").as_deref(), Some("100% %4%zzé"));
        assert_eq!(space("%ff"), None);
        for (text, expected) in
            [("", true), ("a%2Fb", true), ("%", false), ("a%4", false), ("%zz", false), ("%é", false)]
        {
            assert_eq!(is_well_formed(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_being_encoded(text in ".*") {
            let mut encoded = Vec::new();
            encode(text.as_bytes(), &mut encoded);
            let encoded = String::from_utf8(encoded).unwrap();
            prop_assert!(is_well_formed(&encoded));
            prop_assert_eq!(decode_text(&encoded, Plus::Space).unwrap(), text);
        }

        #[test]
        fn nothing_panics(text in "(%|\\+|[0-9a-f]|.){0,40}") {
            is_well_formed(&text);
            decode_text(&text, Plus::Space);
        }
    }
}
