//! Arithmetic and number layout where Go's differ from Rust's.

mod elementary;
mod hyperbolic;
mod trigonometry;

use barograph_model::number;

pub(crate) use barograph_model::float::{kahan_add, ln, log2};
pub(crate) use elementary::{exp, pow};
pub(crate) use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub(crate) use trigonometry::{acos, asin, atan, atan2, cos, sin, tan};

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

/// The value of a polynomial, coefficients from the highest power down.
fn horner(x: f64, coefficients: &[f64]) -> f64 {
    coefficients
        .iter()
        .copied()
        .reduce(|sum, coefficient| sum * x + coefficient)
        .unwrap_or(0.0)
}

/// A finite number but zero as fraction of at least a half and below one, and power of two.
fn exponent_and_fraction(x: f64) -> (f64, i32) {
    let (fraction, exponent) = barograph_model::float::split(x.abs());
    (fraction.copysign(x), exponent)
}

/// A number times a power of two.
fn scale(x: f64, exponent: i64) -> f64 {
    // Far beyond what any float has room for.
    barograph_model::float::scale(x, exponent.clamp(-100_000, 100_000) as i32)
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

    /// Numbers of all sizes and signs, most of them near those that occur in queries.
    fn probes() -> impl Iterator<Item = f64> {
        let mut state = 1u64;
        (0..50_000u64).map(move |index| {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state >> 11
            };
            let unit = next() as f64 / (1u64 << 53) as f64;
            let sign = if next() & 1 == 0 { 1.0 } else { -1.0 };
            match index % 5 {
                0 => sign * unit,
                1 => sign * unit * 10.0,
                2 => sign * unit * 1000.0,
                3 => f64::from_bits(next() << 11 | next() >> 42),
                _ => sign * (unit * 100.0).floor() / 4.0,
            }
        })
    }

    fn digest(compute: impl Fn(f64, f64) -> f64) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut before = 1.0;
        for x in probes() {
            let value = compute(x, before);
            let bits = if value.is_nan() { 0 } else { value.to_bits() };
            hash = (hash ^ bits).wrapping_mul(0x0000_0100_0000_01b3);
            before = x;
        }
        hash
    }

    #[test]
    fn functions_have_the_bits_of_go_on_x86_64() {
        // From Go 1.26 on a processor with fused multiply-add.
        // Its logarithm is wrong below the smallest normal number; ours is not.
        let normal = |x: f64| if x.is_subnormal() { 1.0 } else { x };
        let got = [
            ("exp", digest(|x, _| exp(x))),
            ("ln", digest(|x, _| ln(normal(x)))),
            ("log2", digest(|x, _| log2(x))),
            ("log10", digest(|x, _| log10(normal(x)))),
            ("sin", digest(|x, _| sin(x))),
            ("cos", digest(|x, _| cos(x))),
            ("tan", digest(|x, _| tan(x))),
            ("asin", digest(|x, _| asin(x))),
            ("acos", digest(|x, _| acos(x))),
            ("atan", digest(|x, _| atan(x))),
            ("sinh", digest(|x, _| sinh(x))),
            ("cosh", digest(|x, _| cosh(x))),
            ("tanh", digest(|x, _| tanh(x))),
            ("asinh", digest(|x, _| asinh(x))),
            ("acosh", digest(|x, _| acosh(x))),
            ("atanh", digest(|x, _| atanh(x))),
            ("atan2", digest(atan2)),
            ("pow", digest(pow)),
            ("mod", digest(|x, y| x % y)),
        ];
        let want = [
            ("exp", 0x7e74_0cda_41a3_5059),
            ("ln", 0xaa94_2770_e484_2fd1),
            ("log2", 0xa957_f32f_8a78_8884),
            ("log10", 0x89f0_8292_8ac1_784c),
            ("sin", 0x0278_6e65_a87e_e88d),
            ("cos", 0x2a26_af04_1178_c49b),
            ("tan", 0xbf5f_e22f_b671_4ff9),
            ("asin", 0x3094_136c_b741_e6cd),
            ("acos", 0x80c9_fc16_8ea8_a261),
            ("atan", 0x7d66_dae6_6627_c591),
            ("sinh", 0xd3e9_eb81_913c_4bf5),
            ("cosh", 0xbe3c_a43a_f471_26de),
            ("tanh", 0x2aa0_aee7_8f22_3988),
            ("asinh", 0x8ab2_d659_0690_8e83),
            ("acosh", 0xd42a_8e47_39fa_776c),
            ("atanh", 0xc7ea_5012_a48e_f22e),
            ("atan2", 0x5d57_e0f7_1d4e_fe88),
            ("pow", 0x1ad9_7ab3_9192_8473),
            ("mod", 0x0e97_21c7_9bad_166b),
        ];
        assert_eq!(got, want);
    }
}
