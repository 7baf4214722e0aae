//! Trigonometric functions and their inverses, by the polynomials of Cephes.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::horner;

const SIN: [f64; 6] = [
    1.589_623_015_765_465_6e-10,
    -2.505_074_776_285_780_7e-8,
    2.755_731_362_138_572_2e-6,
    -1.984_126_982_958_954e-4,
    8.333_333_333_322_118e-3,
    -1.666_666_666_666_663e-1,
];
const COS: [f64; 6] = [
    -1.135_853_652_138_768_2e-11,
    2.087_570_084_197_473e-9,
    -2.755_731_417_929_674e-7,
    2.480_158_728_885_170_4e-5,
    -1.388_888_888_887_305_6e-3,
    4.166_666_666_666_659_5e-2,
];
const TAN_ABOVE: [f64; 3] = [
    -1.309_369_391_813_837_9e4,
    1.153_516_648_385_874_2e6,
    -1.795_652_519_764_848_8e7,
];
const TAN_BELOW: [f64; 5] = [
    1.0,
    1.368_129_634_706_929_6e4,
    -1.320_892_344_402_109_7e6,
    2.500_838_018_233_579e7,
    -5.386_957_559_294_546_4e7,
];
const ATAN_ABOVE: [f64; 5] = [
    -8.750_608_600_031_904e-1,
    -1.615_753_718_733_365_2e1,
    -7.500_855_792_314_705e1,
    -1.228_866_684_490_136_1e2,
    -6.485_021_904_942_025e1,
];
const ATAN_BELOW: [f64; 6] = [
    1.0,
    2.485_846_490_142_306_2e1,
    1.650_270_098_316_988_5e2,
    4.328_810_604_912_902_7e2,
    4.853_903_996_359_137e2,
    1.945_506_571_482_614e2,
];

/// Sine of radians.
pub(crate) fn sin(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, rest) = octant(x.abs());
    let value = match octant & 3 {
        1 | 2 => cos_of_rest(rest),
        _ => sin_of_rest(rest),
    };
    if (octant > 3) == (x < 0.0) {
        value
    } else {
        -value
    }
}

/// Cosine of radians.
pub(crate) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, rest) = octant(x.abs());
    let value = match octant & 3 {
        1 | 2 => sin_of_rest(rest),
        _ => cos_of_rest(rest),
    };
    if (octant > 3) == (octant & 3 > 1) {
        value
    } else {
        -value
    }
}

/// Tangent of radians.
pub(crate) fn tan(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let square = z * z;
    let mut value = z;
    if square > 1e-14 {
        value = z + z * (square * horner(square, &TAN_ABOVE) / horner(square, &TAN_BELOW));
    }
    if octant & 2 == 2 {
        value = -1.0 / value;
    }
    if x < 0.0 { -value } else { value }
}

fn sin_of_rest(z: f64) -> f64 {
    let square = z * z;
    z + z * square * horner(square, &SIN)
}

fn cos_of_rest(z: f64) -> f64 {
    let square = z * z;
    1.0 - 0.5 * square + square * square * horner(square, &COS)
}

/// Which eighth of the circle an angle above zero points to, made even, and its distance from
/// where that begins.
fn octant(x: f64) -> (u64, f64) {
    /// A quarter of pi in three parts: products with the first two are exact.
    const PARTS: [f64; 3] = [
        7.853_981_256_484_985e-1,
        3.774_894_707_930_798e-8,
        2.695_151_429_079_059_5e-15,
    ];
    const FOUR_OVER_PI: f64 = 1.273_239_544_735_162_686_151_070_106_980_114_896_275_67;
    if x >= (1u64 << 29) as f64 {
        return octant_of_large(x);
    }
    let mut octant = (x * FOUR_OVER_PI) as u64;
    octant += octant & 1;
    let y = octant as f64;
    let rest = ((x - y * PARTS[0]) - y * PARTS[1]) - y * PARTS[2];
    (octant & 7, rest)
}

/// The same for large angles, after Payne and Hanek: only those digits of 4/pi are multiplied that
/// decide on octant and rest.
fn octant_of_large(x: f64) -> (u64, f64) {
    /// 4/pi in binary: the integer and 1,216 digits behind the point.
    const FOUR_OVER_PI: [u64; 20] = [
        0x0000_0000_0000_0001,
        0x45f3_06dc_9c88_2a53,
        0xf84e_afa3_ea69_bb81,
        0xb6c5_2b32_7887_2083,
        0xfca2_c757_bd77_8ac3,
        0x6e48_dc74_849b_a5c0,
        0x0c92_5dd4_13a3_2439,
        0xfc3b_d639_6253_4e7d,
        0xd104_6bea_5d76_8909,
        0xd338_e04d_68be_fc82,
        0x7323_ac73_06a6_73e9,
        0x3908_bf17_7bf2_5076,
        0x3ff1_2fff_bc0b_301f,
        0xde5e_2316_b414_da3e,
        0xda6c_fd9e_4f96_136e,
        0x9e8c_7ecd_3cbf_d45a,
        0xea4f_758f_d7cb_e2f6,
        0x7a0e_73ef_14a5_25d4,
        0xd7f6_bf62_3f1a_ba10,
        0xac06_608d_f8f6_d757,
    ];
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023 - 52;
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let position = (exponent + 61) as u64;
    let (digit, shift) = ((position / 64) as usize, position % 64);
    let digits = |at: usize| {
        let both = u128::from(FOUR_OVER_PI[at]) << 64 | u128::from(FOUR_OVER_PI[at + 1]);
        (both << shift >> 64) as u64
    };
    let wide = |digits: u64| u128::from(digits) * u128::from(mantissa);
    let low = (wide(digits(digit + 2)) >> 64) + (wide(digits(digit + 1)) & u128::from(u64::MAX));
    let high = digits(digit)
        .wrapping_mul(mantissa)
        .wrapping_add((wide(digits(digit + 1)) >> 64) as u64)
        .wrapping_add((low >> 64) as u64);
    let low = low as u64;
    let octant = high >> 61;
    let fraction = high << 3 | low >> 61;
    // As a float: the leading one goes, the exponent comes.
    let zeros = u64::from(fraction.leading_zeros());
    let joined = u128::from(fraction) << 64 | u128::from(low);
    let mantissa = ((joined << (zeros + 1)) >> 64) as u64 >> 12;
    let rest = f64::from_bits(mantissa | (1023 - (zeros + 1)) << 52);
    if octant & 1 == 1 {
        ((octant + 1) & 7, (rest - 1.0) * FRAC_PI_4)
    } else {
        (octant, rest * FRAC_PI_4)
    }
}

/// Arc tangent, in radians.
pub(crate) fn atan(x: f64) -> f64 {
    if x == 0.0 {
        x
    } else if x > 0.0 {
        atan_of_positive(x)
    } else {
        -atan_of_positive(-x)
    }
}

fn atan_of_positive(x: f64) -> f64 {
    /// What pi/2 as float lacks.
    const MORE_BITS: f64 = 6.123_233_995_736_766e-17;
    const TAN_3_PI_8: f64 = 2.414_213_562_373_095;
    let series = |x: f64| {
        let z = x * x;
        x * (z * horner(z, &ATAN_ABOVE) / horner(z, &ATAN_BELOW)) + x
    };
    if x <= 0.66 {
        series(x)
    } else if x > TAN_3_PI_8 {
        FRAC_PI_2 - series(1.0 / x) + MORE_BITS
    } else {
        FRAC_PI_4 + series((x - 1.0) / (x + 1.0)) + 0.5 * MORE_BITS
    }
}

/// Arc sine, in radians.
pub(crate) fn asin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let size = x.abs();
    if size > 1.0 {
        return f64::NAN;
    }
    let leg = (1.0 - size * size).sqrt();
    let angle = if size > 0.7 {
        FRAC_PI_2 - atan_of_positive(leg / size)
    } else {
        atan_of_positive(size / leg)
    };
    if x < 0.0 { -angle } else { angle }
}

/// Arc cosine, in radians.
pub(crate) fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// The angle of the point (`x`, `y`), in radians.
pub(crate) fn atan2(y: f64, x: f64) -> f64 {
    const THREE_QUARTERS_PI: f64 = 2.356_194_490_192_344_928_846_982_537_459_627_163_147_877;
    if y.is_nan() || x.is_nan() {
        return f64::NAN;
    }
    let backwards = x.is_sign_negative();
    let extreme = |size: f64| size.copysign(y);
    if y == 0.0 {
        return extreme(if backwards { PI } else { 0.0 });
    }
    if x == 0.0 {
        return extreme(FRAC_PI_2);
    }
    match (x.is_infinite(), y.is_infinite(), backwards) {
        (true, true, false) => return extreme(FRAC_PI_4),
        (true, true, true) => return extreme(THREE_QUARTERS_PI),
        (true, false, false) => return extreme(0.0),
        (true, false, true) => return extreme(PI),
        (false, true, _) => return extreme(FRAC_PI_2),
        (false, false, _) => {}
    }
    let angle = atan(y / x);
    if x > 0.0 {
        angle
    } else if angle <= 0.0 {
        angle + PI
    } else {
        angle - PI
    }
}
