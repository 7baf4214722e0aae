//! Float arithmetic with the very bits that Prometheus computes, where Rust's own may differ in the
//! last one.

/// Natural logarithm: the algorithm of FreeBSD's `e_log.c`, as Go computes it.
pub fn ln(x: f64) -> f64 {
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

/// Binary logarithm; exact for powers of two.
pub fn log2(x: f64) -> f64 {
    if !x.is_finite() || x <= 0.0 {
        return ln(x);
    }
    let (fraction, exponent) = split(x);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    ln(fraction) * std::f64::consts::LOG2_E + f64::from(exponent)
}

/// Two to the power of `x`: the algorithm of FreeBSD's `e_exp.c`, with Go's first coefficient.
pub fn exp2(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const P1: f64 = 1.666_666_666_666_666_6e-1;
    const P2: f64 = -2.777_777_777_701_559_3e-3;
    const P3: f64 = 6.613_756_321_437_934e-5;
    const P4: f64 = -1.653_390_220_546_525_2e-6;
    const P5: f64 = 4.138_136_797_057_238_5e-8;
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > 1_023.999_999_999_999_9 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let whole = (if x > 0.0 { x + 0.5 } else { x - 0.5 }).trunc();
    let rest = x - whole;
    let (high, low) = (rest * LN2_HIGH, -rest * LN2_LOW);
    let r = high - low;
    let t = r * r;
    let c = r - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))));
    scale(1.0 - ((low - (r * c) / (2.0 - c)) - high), whole as i32)
}

/// `fraction` times two to the power of `exponent`.
pub fn scale(fraction: f64, exponent: i32) -> f64 {
    // A power of two that is a normal number multiplies exactly; three steps reach every result,
    // and only the last may round.
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    if fraction == 0.0 || !fraction.is_finite() {
        return fraction;
    }
    let (fraction, exponent) = {
        let (magnitude, own) = split(fraction.abs());
        (magnitude.copysign(fraction), exponent.saturating_add(own))
    };
    if exponent > 1024 {
        return f64::INFINITY.copysign(fraction);
    }
    if exponent < -1080 {
        return 0.0f64.copysign(fraction);
    }
    if exponent > 1000 {
        return fraction * power(1000) * power(exponent - 1000);
    }
    if exponent < -1000 {
        return fraction * power(-900) * power(exponent + 900);
    }
    fraction * power(exponent)
}

/// A finite positive number as fraction in [0.5, 1) and power of two.
pub fn split(x: f64) -> (f64, i32) {
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

/// Adds to a sum with Neumaier's compensation: returns the new sum and compensation.
#[inline]
pub fn kahan_add(increment: f64, sum: f64, compensation: f64) -> (f64, f64) {
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
    fn logarithms_and_powers_are_exact_where_they_can_be() {
        for exponent in [-1074, -1022, -1, 0, 1, 10, 1023] {
            let power = 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
            assert_eq!(log2(power), f64::from(exponent));
            assert_eq!(exp2(f64::from(exponent)), power);
            assert_eq!(scale(1.0, exponent), power);
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(-1.0).is_nan());
        assert!((ln(std::f64::consts::E) - 1.0).abs() < 1e-15);
        assert!((exp2(0.5) - std::f64::consts::SQRT_2).abs() < 1e-15);
        assert_eq!(exp2(1024.0), f64::INFINITY);
        assert_eq!(exp2(-1075.0), 0.0);
    }

    #[test]
    fn powers_of_two_have_the_bits_of_go() {
        // FNV-1a over the results, from Go 1.26.
        let mut digest = 14_695_981_039_346_656_037u64;
        let mut x = -1074.0;
        while x < 1024.0 {
            for byte in exp2(x).to_bits().to_le_bytes() {
                digest = (digest ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
            }
            x += 0.37;
        }
        assert_eq!(digest, 0x43f8_6357_7559_10b3);
        assert_eq!(exp2(-2.375).to_bits(), 0x3fc8_ace5_422a_a0dc);
    }

    #[test]
    fn scaling_reaches_every_number() {
        assert_eq!(scale(0.999_999_999_999_999_9, 1024), f64::MAX);
        assert_eq!(scale(0.5, 1025), f64::INFINITY);
        assert_eq!(scale(-0.5, -1073), -5e-324);
        assert_eq!(scale(0.75, -1073), 1e-323);
        assert_eq!(scale(0.5, -1080), 0.0);
        assert_eq!(
            scale(1e-310, 1050),
            1e-310 * 2f64.powi(1000) * 2f64.powi(50)
        );
    }

    #[test]
    fn compensation_keeps_what_a_sum_loses() {
        let (mut sum, mut compensation) = (0.0, 0.0);
        for value in [1e100, 1.0, -1e100] {
            (sum, compensation) = kahan_add(value, sum, compensation);
        }
        assert_eq!(sum + compensation, 1.0);
    }
}
