//! Ids of events, and the tokens that are made of them.
//!
//! An id is a number of 56 digits: when the event happened, in 48 bits, when it came, in 64, and which of those it is, in 80.
//! So ids sort as events do.

use base::Timestamp;
use chronicle::{Event, Position};

/// What AWS pads ids to: enough until the year 2109.
const DIGITS: usize = 56;
/// Digits that are taken at a time.
const STEP: u128 = 1_000_000_000_000_000_000;
const STEP_DIGITS: usize = 18;
/// Where the time begins in the first part of three of 64 bits each, and when the event came in the second.
const SHIFT: u32 = 16;

pub fn of(event: &Event) -> String {
    encode(event.position(), event.ingested)
}

/// Of a place between events.
pub fn encode(at: Position, ingested: Timestamp) -> String {
    let [time, ingested] = [at.time, ingested].map(|time| u64::try_from(time.as_millis()).unwrap_or_default());
    let mut parts = [(time << SHIFT) | (ingested >> (64 - SHIFT)), ingested << SHIFT, at.number];
    let mut digits = String::new();
    for _ in 0..DIGITS.div_ceil(STEP_DIGITS) {
        let mut rest = 0_u128;
        for part in &mut parts {
            let whole = (rest << 64) | u128::from(*part);
            // The rest is below the divisor, so what it is divided into fits.
            *part = u64::try_from(whole / STEP).unwrap_or_default();
            rest = whole % STEP;
        }
        digits.insert_str(0, &format!("{rest:018}"));
    }
    let surplus = digits.len().saturating_sub(DIGITS);
    digits.split_off(surplus)
}

/// The place that an id stands for; `None` if it is none.
pub fn decode(id: &str) -> Option<Position> {
    if id.len() != DIGITS || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = [0_u64; 3];
    for digit in id.bytes() {
        let mut carry = u128::from(digit.checked_sub(b'0')?);
        for part in parts.iter_mut().rev() {
            let whole = u128::from(*part) * 10 + carry;
            *part = u64::try_from(whole & u128::from(u64::MAX)).ok()?;
            carry = whole >> 64;
        }
        if carry > 0 {
            return None;
        }
    }
    let [time, _, number] = parts;
    Some(Position { time: Timestamp::from_millis(i64::try_from(time >> SHIFT).ok()?), number })
}

/// Which way a token of `GetLogEvents` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Forward,
    Backward,
}

impl Way {
    pub fn token(self, id: &str) -> String {
        match self {
            Way::Forward => format!("f/{id}/s"),
            Way::Backward => format!("b/{id}/s"),
        }
    }

    /// The way, and the id, in a token.
    pub fn parse(token: &str) -> Option<(Way, &str)> {
        let (way, id) = match token.split_at_checked(2)? {
            ("f/", id) => (Way::Forward, id),
            ("b/", id) => (Way::Backward, id),
            _ => return None,
        };
        let id = id.strip_suffix("/s").unwrap_or(id);
        decode(id).map(|_| (way, id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of AWS's.
    #[test]
    fn an_id_is_read_as_aws_makes_it() {
        let at = decode("39157710610276639208865565599033931292223254949281136642").unwrap();
        assert_eq!(at.time.as_millis(), 1_755_892_471_829);
        let there = Position { time: at.time, number: 0 };
        let id = encode(there, Timestamp::from_millis(1_755_892_617_842));
        assert!(id.starts_with("391577106102766392088655655990"), "{id}");
    }

    proptest! {
        #[test]
        fn ids_read_back_and_sort_as_events_do(
            one in (0..1_i64 << 42, any::<u64>()), other in (0..1_i64 << 42, any::<u64>()),
        ) {
            let at = |(time, number)| Position { time: Timestamp::from_millis(time), number };
            let [one, other] = [one, other].map(at);
            let [a, b] = [one, other].map(|at| encode(at, at.time));
            prop_assert_eq!(a.len(), DIGITS);
            prop_assert_eq!(decode(&a), Some(one));
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
            let token = Way::Backward.token(&a);
            prop_assert_eq!(Way::parse(&token), Some((Way::Backward, a.as_str())));
        }

        #[test]
        fn nonsense_is_refused_calmly(text in ".{0,60}", digits in "[0-9]{56}") {
            Way::parse(&text);
            decode(&digits);
        }
    }
}
