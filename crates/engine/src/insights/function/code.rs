//! Functions that write a text in another alphabet, or read it: percent signs, Base64, hexadecimal digits.

use super::super::value::{self, Value};
use super::get;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(bits >> shift & 63).ok().and_then(|digit| DIGITS.get(digit));
            text.push(if place > chunk.len() { '=' } else { digit.copied().map_or('=', char::from) });
        }
    }
    text
}

/// With padding or without.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut width) = (0_u32, 0_u32);
    for char in text.bytes() {
        let digit = u32::try_from(DIGITS.iter().position(|digit| *digit == char)?).ok()?;
        bits = (bits << 6 | digit) & 0xffff;
        width = width.saturating_add(6);
        if width >= 8 {
            width = width.saturating_sub(8);
            bytes.push(u8::try_from(bits >> width & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn one(arguments: &[Value<'_>], of: impl Fn(&str) -> Option<String>) -> Value<'static> {
    get(arguments, 0).as_text().and_then(|text| of(&text)).map_or(Value::Missing, Value::text)
}

pub fn base64_encode<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| Some(base64(text.as_bytes())))
}

pub fn base64_decode<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| String::from_utf8(from_base64(text)?).ok())
}

pub fn url_encode<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| {
        let mut made = String::with_capacity(text.len());
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                made.push(char::from(byte));
            } else {
                made.push_str(&format!("%{byte:02X}"));
            }
        }
        Some(made)
    })
}

pub fn url_decode<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| from_hex(digits)?.pop());
            bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
            rest = after.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
        }
        String::from_utf8(bytes).ok()
    })
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    });
    bytes.collect()
}

pub fn hex_to_ascii<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| String::from_utf8(from_hex(text.as_bytes())?).ok())
}

pub fn hex_to_dec<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |text| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        Some(u128::from_str_radix(digits, 16).ok()?.to_string())
    })
}

pub fn dec_to_hex<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let number = get(arguments, 0).as_number().and_then(value::whole);
    number.map_or(Value::Missing, |number| Value::text(format!("{number:x}")))
}
