//! Numbers as Go reads them.

/// The bits of the NaN that stands for every NaN a target writes, as in Prometheus.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Largest mantissa a double holds exactly.
const MANTISSA_LIMIT: u64 = 1 << 53;

/// Most bytes of what is no number that an error shows.
const SHOWN_LIMIT_BYTES: usize = 64;

/// Powers of ten a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Reads a whole token as a float: what Go's `strconv.ParseFloat` takes, hexadecimal floats and
/// underscores apart. Out of range is an error, as in Go.
pub(crate) fn parse_float(token: &[u8]) -> Option<f64> {
    match parse_plain(token) {
        Some((value, used)) if used == token.len() => Some(value),
        _ => parse_slow(token),
    }
}

/// [`parse_float`] of what must be a number, or what is wrong with it.
pub(super) fn read_float(token: &[u8]) -> Result<f64, String> {
    parse_float(token).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&token[..token.len().min(SHOWN_LIMIT_BYTES)]);
        format!("{shown:?} is not a number")
    })
}

/// Reads digits with at most one point at the head of `text`, as far as they are exact in a
/// double: mantissa below 2^53, at most 22 decimals, so that one division rounds correctly.
/// Returns the value and how many bytes it took.
#[inline]
pub(crate) fn parse_plain(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa = 0u64;
    let mut at = start;
    let mut decimals = 0usize;
    let mut digits = 0usize;
    while let Some(byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    digits += at - start;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let point = at;
        while let Some(byte) = text.get(at) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        decimals = at - point;
        digits += decimals;
    }
    // 19 digits cannot wrap 64 bits.
    if digits == 0 || digits > 19 || mantissa >= MANTISSA_LIMIT {
        return None;
    }
    let magnitude = match decimals {
        0 => mantissa as f64,
        _ => mantissa as f64 / POWERS[decimals],
    };
    Some((if negative { -magnitude } else { magnitude }, at))
}

#[cold]
fn parse_slow(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    let value: f64 = text.parse().ok()?;
    let unsigned = text.trim_start_matches(['+', '-']);
    if value.is_nan() {
        // Go knows no signed NaN.
        return (unsigned.len() == text.len()).then_some(f64::from_bits(NORMAL_NAN_BITS));
    }
    let spelled_out = unsigned
        .as_bytes()
        .first()
        .is_some_and(|b| matches!(b, b'i' | b'I'));
    (value.is_finite() || spelled_out).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_go() {
        for (text, want) in [
            ("0", Some(0.0)),
            ("-0", Some(-0.0)),
            ("+1", Some(1.0)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("-.5", Some(-0.5)),
            ("9007199254740993", Some(9_007_199_254_740_992.0)),
            (
                "123456789012345678901234567890",
                Some(1.234_567_890_123_456_8e29),
            ),
            ("0.1", Some(0.1)),
            ("1e3", Some(1000.0)),
            ("1E-3", Some(0.001)),
            ("1.7976931348623157e+308", Some(f64::MAX)),
            ("+Inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("Infinity", Some(f64::INFINITY)),
            ("1e400", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1_000", None),
            ("0x1p-2", None),
            ("0x10", None),
            ("1e", None),
            ("+NaN", None),
            ("1 ", None),
            ("12a", None),
        ] {
            let got = parse_float(text.as_bytes());
            assert_eq!(got.map(f64::to_bits), want.map(f64::to_bits), "{text:?}");
        }
        for text in ["NaN", "nan"] {
            let got = parse_float(text.as_bytes()).map(f64::to_bits);
            assert_eq!(got, Some(NORMAL_NAN_BITS), "{text}");
        }
    }

    #[test]
    fn the_fast_path_is_correctly_rounded() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let whole = state % 10u64.pow((state >> 60) as u32 + 1);
            let decimals = (state >> 8) % 10u64.pow((state >> 56) as u32 % 12 + 1);
            let text = format!("{whole}.{decimals}");
            let want: f64 = text.parse().expect("a number");
            let got = parse_float(text.as_bytes()).expect("a number");
            assert_eq!(got.to_bits(), want.to_bits(), "{text}");
        }
    }
}
