//! Hyperbolic functions and their inverses.

use std::f64::consts::LN_2;

use super::elementary::ln_1p;
use super::{exp, horner, ln};

/// From here on roots of `x² ± 1` are taken for `x`; below its inverse, results are arguments.
const LARGE: f64 = (1u64 << 28) as f64;

/// Hyperbolic sine: a quotient of Hart and Cheney (2029) for small arguments.
pub(crate) fn sinh(x: f64) -> f64 {
    const ABOVE: [f64; 4] = [
        -2.630_563_213_397_497e1,
        -2.894_211_355_989_564e3,
        -8.991_272_022_039_509e4,
        -6.307_673_640_497_717e5,
    ];
    const BELOW: [f64; 4] = [
        1.0,
        -1.736_789_535_582_337e2,
        1.521_517_378_790_019e4,
        -6.307_673_640_497_717e5,
    ];
    let size = if x < 0.0 { -x } else { x };
    let value = if size > 21.0 {
        exp(size) * 0.5
    } else if size > 0.5 {
        let power = exp(size);
        (power - 1.0 / power) * 0.5
    } else {
        let square = size * size;
        horner(square, &ABOVE) * size / horner(square, &BELOW)
    };
    if x < 0.0 { -value } else { value }
}

/// Hyperbolic cosine.
pub(crate) fn cosh(x: f64) -> f64 {
    let power = exp(x.abs());
    if x.abs() > 21.0 {
        power * 0.5
    } else {
        (power + 1.0 / power) * 0.5
    }
}

/// Hyperbolic tangent: Cephes' quotient for small arguments.
pub(crate) fn tanh(x: f64) -> f64 {
    const ONE_FROM: f64 = 0.5 * 8.802_969_193_111_305e1;
    const ABOVE: [f64; 3] = [
        -9.643_991_794_250_523e-1,
        -9.928_772_310_019_185e1,
        -1.614_687_684_417_084_5e3,
    ];
    const BELOW: [f64; 4] = [
        1.0,
        1.128_116_784_916_329_3e2,
        2.235_488_390_601_004_5e3,
        4.844_063_053_251_255e3,
    ];
    let size = x.abs();
    if size > ONE_FROM {
        1f64.copysign(x)
    } else if size >= 0.625 {
        let value = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
        if x < 0.0 { -value } else { value }
    } else if x == 0.0 {
        x
    } else {
        let square = x * x;
        x + x * square * horner(square, &ABOVE) / horner(square, &BELOW)
    }
}

/// Inverse hyperbolic sine.
pub(crate) fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    let size = if x < 0.0 { -x } else { x };
    let value = if size > LARGE {
        ln(size) + LN_2
    } else if size > 2.0 {
        ln(2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size))
    } else if size < 1.0 / LARGE {
        size
    } else {
        ln_1p(size + size * size / (1.0 + (1.0 + size * size).sqrt()))
    };
    if x < 0.0 { -value } else { value }
}

/// Inverse hyperbolic cosine.
pub(crate) fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x == 1.0 {
        0.0
    } else if x >= LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let t = x - 1.0;
        ln_1p(t + (2.0 * t + t * t).sqrt())
    }
}

/// Inverse hyperbolic tangent.
pub(crate) fn atanh(x: f64) -> f64 {
    let size = if x < 0.0 { -x } else { x };
    if size > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    let value = if size == 1.0 {
        f64::INFINITY
    } else if size < 1.0 / LARGE {
        size
    } else if size < 0.5 {
        let double = size + size;
        0.5 * ln_1p(double + double * size / (1.0 - size))
    } else {
        0.5 * ln_1p((size + size) / (1.0 - size))
    };
    if x < 0.0 { -value } else { value }
}
