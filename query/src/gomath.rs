//! Arithmetic and number layout where Go's differ from Rust's.

use barograph_model::number;

pub(crate) use barograph_model::float::{exp2, kahan_add, ln, log2};

/// Go's `math.Max`: NaN wins unless the other is `+Inf`, and `+0` is above `-0`.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && a == b {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// Go's `math.Min`: NaN wins unless the other is `-Inf`, and `-0` is below `+0`.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && a == b {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

/// Decimal logarithm as Go computes it.
pub(crate) fn log10(x: f64) -> f64 {
    ln(x) * std::f64::consts::LOG10_E
}

/// A float as 64-bit integer, as x86-64 converts it: what does not fit becomes the smallest.
pub(crate) fn to_i64(value: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// Appends the shortest digits without exponent (Go's `'f', -1`).
pub(crate) fn push_positional(out: &mut String, value: f64) {
    if value.is_finite() {
        // Rust's Display is positional and shortest for every finite value.
        use std::fmt::Write as _;
        let _ = write!(out, "{value}");
    } else {
        number::push_go_g(out, value);
    }
}

/// [`push_positional`] into a new string.
pub(crate) fn positional(value: f64) -> String {
    let mut text = String::new();
    push_positional(&mut text, value);
    text
}

/// Go's `%v` of a float: exponential below 1e-4 and from 1e21.
pub(crate) fn default_format(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && (1e-4..1e21).contains(&magnitude) {
        positional(value)
    } else {
        number::go_g(value)
    }
}

/// Go's `%.2g`.
pub(crate) fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return number::go_g(value);
    }
    let text = format!("{value:.1e}");
    let rounded: f64 = text.parse().unwrap_or(value);
    let exponent: i32 = text
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    if (-4..2).contains(&exponent) {
        return positional(rounded);
    }
    let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_follow_go() {
        assert_eq!(max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert!(max(f64::NAN, 1.0).is_nan() && min(1.0, f64::NAN).is_nan());
        assert!(max(-0.0, 0.0).is_sign_positive());
        assert!(min(0.0, -0.0).is_sign_negative());
    }

    #[test]
    fn logarithms_have_their_limits() {
        assert!(ln(-1.0).is_nan() && log10(f64::NAN).is_nan());
        assert_eq!(log10(0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn layouts_follow_go() {
        assert_eq!(default_format(9.3e18), "9300000000000000000");
        assert_eq!(default_format(1e100), "1e+100");
        assert_eq!(positional(1e22), "10000000000000000000000");
        for (value, want) in [
            (0.05, "0.05"),
            (10.0, "10"),
            (123.0, "1.2e+02"),
            (1e-7, "1e-07"),
            (99.6, "1e+02"),
        ] {
            assert_eq!(two_digits(value), want);
        }
    }
}
