//! Arithmetic and number layout where Go's differ from Rust's.

use barograph_model::number;

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

/// Natural logarithm as Go computes it: the algorithm of FreeBSD's `e_log.c`.
pub(crate) fn ln(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const L1: f64 = 6.666_666_666_666_735e-1;
    const L2: f64 = 3.999_999_999_940_942e-1;
    const L3: f64 = 2.857_142_874_366_239e-1;
    const L4: f64 = 2.222_219_843_214_978_4e-1;
    const L5: f64 = 1.818_357_216_161_805e-1;
    const L6: f64 = 1.531_383_769_920_937_3e-1;
    const L7: f64 = 1.479_819_860_511_658_6e-1;
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    let (mut fraction, mut exponent) = split(x);
    if fraction < std::f64::consts::FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let f = fraction - 1.0;
    let k = f64::from(exponent);
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (L1 + s4 * (L3 + s4 * (L5 + s4 * L7)));
    let even = s4 * (L2 + s4 * (L4 + s4 * L6));
    let rest = odd + even;
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + rest) + k * LN2_LOW)) - f)
}

/// Binary logarithm as Go computes it: exact for powers of two.
pub(crate) fn log2(x: f64) -> f64 {
    if !x.is_finite() || x <= 0.0 {
        return ln(x);
    }
    let (fraction, exponent) = split(x);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    ln(fraction) * std::f64::consts::LOG2_E + f64::from(exponent)
}

/// Decimal logarithm as Go computes it.
pub(crate) fn log10(x: f64) -> f64 {
    ln(x) * std::f64::consts::LOG10_E
}

/// A finite positive number as fraction in [0.5, 1) and power of two.
fn split(x: f64) -> (f64, i32) {
    const EXPONENT_MASK: u64 = 0x7ff << 52;
    let (x, shift) = if x < f64::MIN_POSITIVE {
        (x * (1u64 << 52) as f64, -52)
    } else {
        (x, 0)
    };
    let bits = x.to_bits();
    let exponent = ((bits & EXPONENT_MASK) >> 52) as i32 - 1022;
    let fraction = f64::from_bits((bits & !EXPONENT_MASK) | (1022 << 52));
    (fraction, exponent + shift)
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

/// Adds to a sum with Neumaier's compensation: returns the new sum and compensation.
#[inline]
pub(crate) fn kahan_add(increment: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + increment;
    let compensation = if total.is_infinite() {
        0.0
    } else if sum.abs() >= increment.abs() {
        compensation + ((sum - total) + increment)
    } else {
        compensation + ((increment - total) + sum)
    };
    (total, compensation)
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
    fn logarithms_are_exact_where_they_can_be() {
        for exponent in [-1074, -1022, -1, 0, 1, 10, 1023] {
            let power = 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
            assert_eq!(log2(power), f64::from(exponent));
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(-1.0).is_nan() && log10(f64::NAN).is_nan());
        assert_eq!(log10(0.0), f64::NEG_INFINITY);
        assert!((ln(std::f64::consts::E) - 1.0).abs() < 1e-15);
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
