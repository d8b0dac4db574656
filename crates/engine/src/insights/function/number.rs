//! Functions of numbers.

use super::super::value::{self, Value};
use super::get;

fn one(arguments: &[Value<'_>], of: impl Fn(f64) -> f64) -> Value<'static> {
    get(arguments, 0).as_number().map_or(Value::Missing, |number| Value::real(of(number)))
}

pub fn abs<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::abs)
}

pub fn ceil<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::ceil)
}

pub fn floor<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::floor)
}

pub fn log<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::ln)
}

pub fn sqrt<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::sqrt)
}

pub fn greatest<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let numbers = arguments.iter().filter_map(Value::as_number);
    numbers.reduce(f64::max).map_or(Value::Missing, Value::Number)
}

pub fn least<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let numbers = arguments.iter().filter_map(Value::as_number);
    numbers.reduce(f64::min).map_or(Value::Missing, Value::Number)
}

pub fn round<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    let digits = get(arguments, 1).as_number().and_then(value::whole).unwrap_or(0).clamp(-300, 15);
    let scale = 10_f64.powf(value::float(digits));
    one(arguments, |number| (number * scale).round() / scale)
}

pub fn to_number<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, |number| number)
}

pub fn to_whole<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    one(arguments, f64::trunc)
}

pub fn from_millis<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    get(arguments, 0).as_number().and_then(value::whole).map_or(Value::Missing, Value::Time)
}

/// Kilometres between two places, each by its latitude and longitude.
pub fn haversine<'a>(arguments: &[Value<'a>]) -> Value<'a> {
    const EARTH_KM: f64 = 6_371.0;
    let numbers: Vec<f64> = arguments.iter().filter_map(Value::as_number).map(f64::to_radians).collect();
    let [from_latitude, from_longitude, to_latitude, to_longitude] = numbers.as_slice() else { return Value::Missing };
    let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
    let across = from_latitude.cos() * to_latitude.cos() * half(*from_longitude, *to_longitude);
    Value::real(2.0 * EARTH_KM * (half(*from_latitude, *to_latitude) + across).sqrt().asin())
}
