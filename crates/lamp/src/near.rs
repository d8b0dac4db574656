//! Names that somebody may have meant who typed another.

use crate::control::Whose;

/// How many are told.
const NAMES_MAX: usize = 3;
/// Longer names are not compared letter by letter.
const CHARS_MAX: usize = 512;

/// Those of `names` that are like `typed`, the likest first.
pub fn names(typed: &str, names: &[String]) -> Vec<String> {
    let typed_low = typed.to_lowercase();
    let allowed = (typed_low.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|name| {
            let low = name.to_lowercase();
            let far = distance(&typed_low, &low)?;
            // Who types a part of a name means it, too.
            let is_part = typed_low.len() >= 3 && low.contains(&typed_low);
            (far <= allowed || is_part).then_some((far, name))
        })
        .collect();
    found.sort();
    found.into_iter().take(NAMES_MAX).map(|(_, name)| name.clone()).collect()
}

/// What is told of a name that nothing has; it fits "failed to ...".
pub fn not_found(what: &str, whose: &Whose, name: &str, others: &[String]) -> String {
    let near = self::names(name, others);
    let hint = match (near.is_empty(), others.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(" or ")),
        (true, true) => format!("there is no {what}; was another region or account meant?"),
        (true, false) => "was another region or account meant?".to_owned(),
    };
    format!("find the {what} {name:?} in {} of account {}: {hint}", whose.region, whose.account)
}

/// How many letters must be put in, taken out or changed to make one of the other.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > CHARS_MAX {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, left) in a.iter().zip(1..) {
        let mut next = vec![left];
        for (letter, (diagonal, up)) in b.iter().zip(row.iter().zip(row.iter().skip(1))) {
            let before = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(above != letter)).min(up + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, far) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("orders", "order", 1), ("ab", "ba", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (Some(far), Some(far)), "{a} {b}");
        }
        assert_eq!(distance(&"x".repeat(600), "y"), None);
    }

    #[test]
    fn the_likest_come_first() {
        let all = ["orders", "order", "other", "my-orders-api", "zebra"].map(str::to_owned);
        assert_eq!(names("ordesr", &all), ["order", "orders"]);
        assert_eq!(names("ORDERS", &all), ["orders", "order", "my-orders-api"]);
        assert!(names("nothing-like", &all).is_empty());
    }

    #[test]
    fn who_mistypes_is_told_what_there_is() {
        let whose = Whose { account: base::AccountId::ZERO, region: base::Region::default() };
        let said = |name: &str, others: &[&str]| {
            not_found("function", &whose, name, &others.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let place = "in us-east-1 of account 000000000000";
        assert_eq!(
            said("helo", &["hello", "other"]),
            format!("find the function \"helo\" {place}: did you mean hello?")
        );
        assert_eq!(
            said("x", &["hello"]),
            format!("find the function \"x\" {place}: was another region or account meant?")
        );
        assert!(said("x", &[]).ends_with("there is no function; was another region or account meant?"));
    }
}
