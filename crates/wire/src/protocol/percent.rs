//! Percent-encoding, in query strings and in forms; the labels of a path come decoded.

use std::borrow::Cow;

use super::DecodeError;

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
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(DecodeError::Malformed("Invalid percent-encoding".into())),
                }
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| DecodeError::Malformed("Invalid UTF-8 in the URI".into()))?;
    Ok(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_come_out_as_they_were_meant() {
        let read: Vec<_> = pairs("a=1&b&&c=x+y%2Bz=&%C3%A9=%").collect::<Vec<_>>();
        let ok: Vec<_> = read.iter().filter_map(|pair| pair.as_ref().ok()).cloned().collect();
        assert_eq!(ok, [("a".into(), "1".into()), ("b".into(), "".into()), ("c".into(), "x y+z=".into())]);
        assert!(read[3].is_err());
        assert_eq!(decode("a+b%2fc").unwrap(), "a b/c");
        assert!(decode("%ff").is_err() && decode("%4").is_err() && decode("%zz").is_err());
    }

    proptest! {
        #[test]
        fn any_text_survives_being_encoded(text in ".*") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded).unwrap(), text);
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = decode(&text);
            pairs(&text).for_each(drop);
        }
    }
}
