//! Exponentials and powers.

use super::{exponent_and_fraction, horner, ln, scale};

/// e to the power of `x`: a Taylor series on a sixteenth of the reduced argument, squared up again.
/// Prometheus computes it with fused multiply-add wherever the processor can.
pub(crate) fn exp(x: f64) -> f64 {
    const OVERFLOW: f64 = 7.097_827_128_933_84e2;
    const LN2_HIGH: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN2_LOW: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    /// 1/8!, 1/7!, … 1/2!, 1.
    const SERIES: [f64; 8] = [
        2.480_158_730_158_73e-5,
        1.984_126_984_126_984e-4,
        1.388_888_888_888_889e-3,
        8.333_333_333_333_333e-3,
        4.166_666_666_666_666_4e-2,
        1.666_666_666_666_666_6e-1,
        0.5,
        1.0,
    ];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    let exponent = (x * std::f64::consts::LOG2_E).round_ties_even();
    if exponent < -1100.0 {
        return 0.0;
    }
    let reduced = exponent.mul_add(-LN2_HIGH, x);
    let reduced = exponent.mul_add(-LN2_LOW, reduced) * 0.0625;
    let mut sum = SERIES[0];
    for coefficient in &SERIES[1..] {
        sum = sum.mul_add(reduced, *coefficient);
    }
    // e^r - 1; squaring e^r four times is (y + 2) y on it.
    let mut y = reduced * sum;
    for _ in 0..3 {
        y *= y + 2.0;
    }
    let power = y.mul_add(y + 2.0, 1.0);
    let exponent = exponent as i64;
    let biased = exponent + 1023;
    if biased >= 0x7ff {
        f64::INFINITY
    } else if biased > 0 {
        power * f64::from_bits((biased as u64) << 52)
    } else if biased < -52 {
        0.0
    } else {
        // In two steps, so that a subnormal result rounds once.
        power * f64::from_bits(((biased + 1022) as u64) << 52) * f64::MIN_POSITIVE
    }
}

/// `x` to the power of `y`: the whole part of `y` by squaring, the rest by logarithm.
pub(crate) fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if y == 1.0 {
        return x;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 || x.is_infinite() {
        return pow_of_extreme(x, y);
    }
    if y.is_infinite() {
        return pow_to_extreme(x, y > 0.0);
    }
    if y == 0.5 {
        return x.sqrt();
    }
    if y == -0.5 {
        return 1.0 / x.sqrt();
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    if rest != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= 9_223_372_036_854_775_808.0 {
        return pow_to_extreme(x, y > 0.0);
    }
    let (mut result, mut result_exponent) = (1.0, 0i64);
    if rest != 0.0 {
        if rest > 0.5 {
            rest -= 1.0;
            whole += 1.0;
        }
        result = exp(rest * ln(x));
    }
    let (mut square, exponent) = exponent_and_fraction(x);
    let mut square_exponent = i64::from(exponent);
    let mut bits = whole as i64;
    while bits != 0 {
        if square_exponent.abs() > 1 << 12 {
            // It overflows or vanishes whatever follows.
            result_exponent += square_exponent;
            break;
        }
        if bits & 1 == 1 {
            result *= square;
            result_exponent += square_exponent;
        }
        square *= square;
        square_exponent <<= 1;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        bits >>= 1;
    }
    if y < 0.0 {
        scale(1.0 / result, -result_exponent)
    } else {
        scale(result, result_exponent)
    }
}

/// Powers of zero and infinity.
fn pow_of_extreme(x: f64, y: f64) -> f64 {
    let is_odd = y.abs() < 9_007_199_254_740_992.0 && y.fract() == 0.0 && (y as i64) & 1 == 1;
    // Infinity to the power of y is zero to the power of -y.
    let vanishes = (x == 0.0) == (y > 0.0);
    let size = if vanishes { 0.0 } else { f64::INFINITY };
    if x.is_sign_negative() && is_odd {
        -size
    } else {
        size
    }
}

/// Powers whose exponent is infinite, or so large that it might be.
fn pow_to_extreme(x: f64, positive: bool) -> f64 {
    if x == -1.0 {
        1.0
    } else if (x.abs() < 1.0) == positive {
        0.0
    } else {
        f64::INFINITY
    }
}

/// ln(1 + x): the algorithm of FreeBSD's `s_log1p.c`.
pub(super) fn ln_1p(x: f64) -> f64 {
    const SQRT2_LESS_1: f64 = 4.142_135_623_730_950_3e-1;
    const HALF_SQRT2_LESS_1: f64 = -2.928_932_188_134_525e-1;
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const SQRT2_MANTISSA: u64 = 0x0006_a09e_667f_3bcd;
    const MANTISSA: u64 = (1 << 52) - 1;
    /// From the highest power down.
    const SERIES: [f64; 7] = [
        1.479_819_860_511_658_6e-1,
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ];
    if x < -1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let size = x.abs();
    if size < 1.0 / (1u64 << 54) as f64 {
        return x;
    }
    if size < 1.0 / (1u64 << 29) as f64 {
        return x - x * x * 0.5;
    }
    // 1 + x = 2^k (1 + f), and what rounding 1 + x lost.
    let (mut k, mut f, mut mantissa, mut correction) = (0.0, x, 1, 0.0);
    if size >= SQRT2_LESS_1 || x <= HALF_SQRT2_LESS_1 {
        let one_more = if size < 9_007_199_254_740_992.0 {
            1.0 + x
        } else {
            x
        };
        let bits = one_more.to_bits();
        let mut exponent = (bits >> 52) as i64 - 1023;
        if size < 9_007_199_254_740_992.0 {
            correction = if exponent > 0 {
                1.0 - (one_more - x)
            } else {
                x - (one_more - 1.0)
            };
            correction /= one_more;
        }
        mantissa = bits & MANTISSA;
        let normalized;
        if mantissa < SQRT2_MANTISSA {
            normalized = f64::from_bits(mantissa | 0x3ff0_0000_0000_0000);
        } else {
            exponent += 1;
            normalized = f64::from_bits(mantissa | 0x3fe0_0000_0000_0000);
            mantissa = ((1 << 52) - mantissa) >> 2;
        }
        f = normalized - 1.0;
        k = exponent as f64;
    }
    let half_square = 0.5 * f * f;
    if mantissa == 0 {
        if f == 0.0 {
            return if k == 0.0 {
                0.0
            } else {
                k * LN2_HIGH + (correction + k * LN2_LOW)
            };
        }
        let rest = half_square * (1.0 - 0.666_666_666_666_666_6 * f);
        return if k == 0.0 {
            f - rest
        } else {
            k * LN2_HIGH - ((rest - (k * LN2_LOW + correction)) - f)
        };
    }
    let ratio = f / (2.0 + f);
    let square = ratio * ratio;
    let rest = square * horner(square, &SERIES);
    if k == 0.0 {
        f - (half_square - ratio * (half_square + rest))
    } else {
        let low = ratio * (half_square + rest) + (k * LN2_LOW + correction);
        k * LN2_HIGH - ((half_square - low) - f)
    }
}
