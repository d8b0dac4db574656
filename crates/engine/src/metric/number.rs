//! Numbers as AWS's messages show them, which is as Java prints a `double`.

/// `21.0`, `2.0E9`, `NaN`.
pub fn java(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value.is_nan() || value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// Back into the range of real numbers, where a sum has left it.
pub(super) fn bounded(value: f64) -> f64 {
    value.clamp(-f64::MAX, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_aws_messages() {
        let table = [
            (21.0, "21.0"),
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (0.001, "0.001"),
            (0.00012, "1.2E-4"),
            (400_000.0, "400000.0"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (2e9, "2.0E9"),
            (1_073_741_824.0, "1.073741824E9"),
            (3.466_608_889_851_835_7, "3.4666088898518357"),
            (2.0 * sketch_limit(), "4.6970851655476665E108"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in table {
            assert_eq!(java(value), text);
        }
    }

    /// The largest value that CloudWatch takes.
    fn sketch_limit() -> f64 {
        2.0_f64.powi(360)
    }
}
