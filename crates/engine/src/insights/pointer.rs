//! `@ptr`: where a record is, as an opaque text that comes back to GetLogRecord.

use super::function::{base64, from_base64};

/// Makes the text begin as AWS's do.
const HEAD: [u8; 2] = [0x0a, 0x60];

pub fn show(place: u128) -> String {
    base64(&[HEAD.as_slice(), &place.to_be_bytes()].concat())
}

/// `None` if the text is none that [`show`] wrote.
pub fn read(text: &str) -> Option<u128> {
    let bytes = from_base64(text)?;
    let place = bytes.strip_prefix(&HEAD)?.try_into().ok()?;
    Some(u128::from_be_bytes(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_comes_back() {
        for place in [0, 7, u128::MAX] {
            assert!(show(place).starts_with("Cm"));
            assert_eq!(read(&show(place)), Some(place));
        }
        assert_eq!(["", "Cm", "x!", "AAAA"].map(read), [None; 4]);
    }
}
