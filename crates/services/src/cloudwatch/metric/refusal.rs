//! What is wrong with a request for metrics, in the words that CloudWatch has had for it since 2010. All faults of one kind are
//! told at once, a line each.

use base::AwsError;

/// In the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Missing,
    Combination,
    Value,
}

/// Faults found so far. A request has some thousand members; who sends so many wrong ones needs not hear of all.
#[derive(Debug, Default)]
pub struct Faults(Vec<(Kind, String)>);

const FAULTS_MAX: usize = 100;

impl Faults {
    fn add(&mut self, kind: Kind, message: String) {
        if self.0.len() < FAULTS_MAX {
            self.0.push((kind, message));
        }
    }

    pub fn missing(&mut self, member: &str) {
        self.add(Kind::Missing, format!("The parameter {member} is required."));
    }

    pub fn none_of(&mut self, members: &[String]) {
        self.add(Kind::Missing, format!("At least one of the parameters {} must be specified.", members.join(", ")));
    }

    pub fn both(&mut self, one: &str, other: &str) {
        let message = format!("The parameters {one} and {other} are mutually exclusive and you have specified both.");
        self.add(Kind::Combination, message);
    }

    pub fn combination(&mut self, message: String) {
        self.add(Kind::Combination, message);
    }

    /// In words of its own.
    pub fn value(&mut self, message: String) {
        self.add(Kind::Value, message);
    }

    pub fn invalid(&mut self, value: &str, member: &str) {
        self.value(format!("The value {value} for parameter {member} is invalid."));
    }

    pub fn not_in(&mut self, member: &str, set: &[&str]) {
        self.value(format!("The parameter {member} must be a value in the set [ {} ].", set.join(", ")));
    }

    pub fn too_many(&mut self, member: &str, max: usize) {
        self.value(format!("The collection {member} must not have a size greater than {max}."));
    }

    /// A required text of at most so many characters.
    pub fn text(&mut self, member: &str, text: Option<&str>, chars_max: usize) {
        match text {
            None | Some("") => self.missing(member),
            Some(text) if text.chars().nth(chars_max).is_some() => {
                let beyond = chars_max.saturating_add(1);
                self.value(format!("The parameter {member} must be shorter than {beyond} characters."));
            }
            // Only ASCII, no control characters, and not nothing but spaces.
            Some(text) if !text.chars().all(|c| matches!(c, ' '..='~')) || text.trim().is_empty() => {
                self.invalid(text, member);
            }
            Some(_) => {}
        }
    }

    pub fn refused(self) -> Result<(), AwsError> {
        let Some(kind) = self.0.iter().map(|(kind, _)| *kind).min() else { return Ok(()) };
        let messages: Vec<String> =
            self.0.into_iter().filter(|(found, _)| *found == kind).map(|(_, message)| message).collect();
        let code = match kind {
            Kind::Missing => "MissingRequiredParameterException",
            Kind::Combination => "InvalidParameterCombinationException",
            Kind::Value => "InvalidParameterValueException",
        };
        Err(AwsError::client(400, code, messages.join("\n")))
    }
}

/// One fault.
pub fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::client(400, "InvalidParameterValueException", message)
}

/// As AWS prints numbers in these messages: `1,234.5`, `∞`.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let rounded = (value * 1_000.0).round() / 1_000.0;
    let text = if rounded.is_finite() { rounded.to_string() } else { value.to_string() };
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && whole.len().saturating_sub(at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{grouped}.{fraction}"),
        None => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_awss_messages() {
        for (value, text) in [
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-∞"),
            (2.1e-109, "0"),
            (-2.1e-109, "-0"),
            (-1.0, "-1"),
            (1_234.5, "1,234.5"),
            (123_456.0, "123,456"),
        ] {
            assert_eq!(number(value), text);
        }
        assert!(number(2.0_f64.powi(361)).starts_with("4,697,085,165,547,666,"));
    }

    #[test]
    fn what_is_missing_comes_before_what_is_wrong_and_all_of_a_kind_at_once() {
        let mut faults = Faults::default();
        faults.invalid("x", "A");
        assert_eq!(Faults::default().refused(), Ok(()));
        faults.missing("B");
        faults.text("C", Some(""), 5);
        let error = faults.refused().unwrap_err();
        assert_eq!(error.code, "MissingRequiredParameterException");
        assert_eq!(error.message, "The parameter B is required.\nThe parameter C is required.");
        let mut faults = Faults::default();
        faults.text("A", Some("abc"), 2);
        faults.text("B", Some("é"), 2);
        assert_eq!(
            faults.refused().unwrap_err().message,
            "The parameter A must be shorter than 3 characters.\nThe value é for parameter B is invalid."
        );
    }
}
