//! What a metric filter makes of a message that matches: one point, with the values of its dimensions.
//!
//! PutMetricFilter refuses what [`Transformation::new`] refuses; whoever ingests events asks [`Transformation::point`]
//! of each. The point's time and unit, the default value of minutes without a match and the metric's name are the
//! caller's, and so is that a filter has one transformation.
//!
//! A value or dimension is a selector as in a pattern, `$.latency`, or a column, `$size` or `$3`. One of JSON may be
//! missing from the pattern: AWS takes such filters, so the field is looked for in the message all the same.

use std::fmt;

use super::comparison::Number;
use super::cursor::is_name;
use super::json::Selector;
use super::{Filter, Kind};

const DIMENSIONS_MAX: usize = 3;

#[derive(Debug, Clone)]
pub struct Transformation {
    filter: Filter,
    value: Value,
    /// Their names, and the fields that they are taken from.
    dimensions: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
enum Value {
    Constant(f64),
    Field(String),
}

/// Why a transformation is none, displayed in AWS's words as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// With a default value, there are no dimensions.
    DefaultWithDimensions,
    /// Patterns without fields have none.
    DimensionsOfTerms,
    TooManyDimensions,
    /// A dimension's name is of ASCII, and does not begin with a colon.
    DimensionName(String),
    /// A dimension is not taken from a field.
    DimensionValue,
    /// It is neither a number nor a field.
    MetricValue(String),
}

impl Transformation {
    /// `filter` is the metric filter's pattern; the rest are the transformation's members.
    pub fn new(
        mut filter: Filter,
        value: &str,
        has_default: bool,
        dimensions: &[(String, String)],
    ) -> Result<Transformation, Invalid> {
        check_dimensions(filter.kind(), has_default, dimensions)?;
        let value = match Number::parse(value) {
            Some(number) if number.real.is_finite() => Value::Constant(number.real),
            _ if is_field(value) => Value::Field(value.to_owned()),
            _ => return Err(Invalid::MetricValue(value.to_owned())),
        };
        let fields = dimensions.iter().map(|(_, source)| source).chain(value.field());
        fields.filter_map(|field| Selector::parse(field)).for_each(|selector| filter.watch(selector));
        Ok(Transformation { filter, value, dimensions: dimensions.to_vec() })
    }

    /// The pattern, to look for messages by. It extracts the fields of the point, too.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What this message adds to the metric: a value, and the dimensions by name. Nothing if it does not match, if the
    /// value is no number in it, or if it lacks a dimension.
    pub fn point(&self, message: &str) -> Option<(f64, Vec<(String, String)>)> {
        self.point_of(&self.filter.extract(message)?)
    }

    /// The same of a message whose fields were extracted already.
    pub fn point_of(&self, fields: &[(String, String)]) -> Option<(f64, Vec<(String, String)>)> {
        let field = |name: &String| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        let value = match &self.value {
            Value::Constant(value) => *value,
            Value::Field(name) => {
                Number::parse(field(name)?).map(|number| number.real).filter(|real| real.is_finite())?
            }
        };
        let dimensions = self.dimensions.iter().map(|(name, source)| Some((name.clone(), field(source)?.clone())));
        Some((value, dimensions.collect::<Option<_>>()?))
    }
}

impl Value {
    fn field(&self) -> Option<&String> {
        match self {
            Value::Constant(_) => None,
            Value::Field(name) => Some(name),
        }
    }
}

fn check_dimensions(kind: Kind, has_default: bool, dimensions: &[(String, String)]) -> Result<(), Invalid> {
    if dimensions.is_empty() {
        return Ok(());
    }
    if has_default {
        return Err(Invalid::DefaultWithDimensions);
    }
    if !matches!(kind, Kind::Json | Kind::Delimited) {
        return Err(Invalid::DimensionsOfTerms);
    }
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(Invalid::TooManyDimensions);
    }
    for (name, source) in dimensions {
        if name.is_empty() || !name.is_ascii() || name.starts_with(':') {
            return Err(Invalid::DimensionName(name.clone()));
        }
        if !is_field(source) {
            return Err(Invalid::DimensionValue);
        }
    }
    Ok(())
}

/// Whether it is of a selector's or a column's form.
fn is_field(text: &str) -> bool {
    let is_column = |name: &str| !name.is_empty() && name.chars().all(is_name);
    text.strip_prefix('$').is_some_and(is_column) || Selector::parse(text).is_some()
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Invalid::DimensionsOfTerms {
            return f.write_str("The specified filter pattern does not support dimensions");
        }
        f.write_str("Invalid metric transformation: ")?;
        match self {
            Invalid::DefaultWithDimensions => {
                f.write_str("dimensions and default value are mutually exclusive properties")
            }
            Invalid::DimensionsOfTerms => Ok(()),
            Invalid::TooManyDimensions => write!(f, "at most {DIMENSIONS_MAX} dimensions are allowed"),
            Invalid::DimensionName(name) => write!(f, "dimension name {name} is not valid"),
            Invalid::DimensionValue => f.write_str("dimension value must be valid selector"),
            Invalid::MetricValue(value) => write!(f, "metric value {value} must be a valid number"),
        }
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(pattern: &str, value: &str, dimensions: &[(&str, &str)]) -> Result<Transformation, String> {
        make(pattern, value, false, dimensions)
    }

    fn make(
        pattern: &str,
        value: &str,
        has_default: bool,
        dimensions: &[(&str, &str)],
    ) -> Result<Transformation, String> {
        let dimensions: Vec<_> = dimensions.iter().map(|(name, from)| ((*name).into(), (*from).into())).collect();
        let filter = Filter::parse(pattern).unwrap();
        Transformation::new(filter, value, has_default, &dimensions).map_err(|invalid| invalid.to_string())
    }

    fn point(of: &Transformation, message: &str) -> Option<String> {
        let (value, dimensions) = of.point(message)?;
        Some(dimensions.iter().fold(value.to_string(), |text, (name, value)| format!("{text} {name}={value}")))
    }

    #[test]
    fn a_match_is_a_point() {
        let check = |pattern: &str, value: &str, dimensions: &[(&str, &str)], message: &str, expected: Option<&str>| {
            let made = new(pattern, value, dimensions).unwrap();
            assert_eq!(point(&made, message).as_deref(), expected, "{pattern} {value} {message}");
        };
        let json = "{ $.latency = * }";
        check("ERROR", "1", &[], "an ERROR", Some("1"));
        check("ERROR", "1", &[], "a WARNING", None);
        check("", "0.5", &[], "anything", Some("0.5"));
        check(json, "$.latency", &[], r#"{"latency":50}"#, Some("50"));
        check(json, "$.latency", &[], r#"{"latency":"5e1"}"#, Some("50"));
        check(json, "$.latency", &[], r#"{"latency":"50ms"}"#, None);
        check(json, "$.latency", &[], r#"{"latency":1e999}"#, None);
        check(json, "$.latency", &[("Type", "$.type")], r#"{"latency":50,"type":"GET"}"#, Some("50 Type=GET"));
        check(json, "$.latency", &[("Type", "$.type")], r#"{"latency":50}"#, None);
        check("{ $.val = * }", "$.value", &[], r#"{"val":1,"value":2}"#, Some("2"));
        check("{ $.val = * }", "$.value", &[], r#"{"val":1}"#, None);
        check("[ip, ..., status, size]", "$size", &[("S", "$status")], "::1 x y 200 1534", Some("1534 S=200"));
        check("[ip, ..., size]", "$3", &[("Second", "$2")], "::1 a 7 1534", Some("7 Second=a"));
        check("[ip, ..., size]", "$other", &[], "::1 a 7 1534", None);
    }

    #[test]
    fn what_aws_refuses() {
        let check = |made: Result<Transformation, String>, expected: &str| {
            assert_eq!(made.map(|_| ()).unwrap_err(), expected);
        };
        let json = "{ $.a = * }";
        let exclusive = "Invalid metric transformation: dimensions and default value are mutually exclusive properties";
        check(make(json, "1", true, &[("A", "$.a")]), exclusive);
        assert!(make(json, "1", true, &[]).is_ok());
        let selector = "Invalid metric transformation: dimension value must be valid selector";
        check(new(json, "1", &[("A", "a")]), selector);
        check(new(json, "1", &[("A", "$.a b")]), selector);
        check(new("a", "1", &[("A", "$.a")]), "The specified filter pattern does not support dimensions");
        check(new("", "1", &[("A", "$.a")]), "The specified filter pattern does not support dimensions");
        for value in ["latency", "1ms", "", "$", "$.", "$.a b", "inf", "nan", "1e999"] {
            let number = format!("Invalid metric transformation: metric value {value} must be a valid number");
            check(new(json, value, &[]), &number);
        }
        let four = [("A", "$.a"), ("B", "$.b"), ("C", "$.c"), ("D", "$.d")];
        assert!(new(json, "1", &four).is_err());
        assert!(new(json, "1", four.get(..3).unwrap()).is_ok());
        assert!(new(json, "1", &[(":A", "$.a")]).is_err());
        assert!(new(json, "1", &[("Ä", "$.a")]).is_err());
    }
}
