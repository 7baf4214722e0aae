//! Prometheus durations: `1h30m`, `15s`, `100ms`.

use std::fmt::{self, Write as _};

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing was written.
    Empty,
    /// The text does not follow the grammar.
    Malformed(String),
    /// The value exceeds what 64 bits of milliseconds hold.
    TooLong(String),
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty duration string"),
            Self::Malformed(text) => write!(
                f,
                "not a valid duration string: {text:?} (write for example 15s, 1m30s or 100ms)"
            ),
            Self::TooLong(text) => write!(f, "duration out of range: {text:?}"),
        }
    }
}

impl std::error::Error for DurationError {}

/// Reads `0` or numbers with units in descending order, each unit once:
/// `((([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?|0)`.
/// Returns milliseconds.
///
/// # Errors
/// Empty, malformed or too long, with the text quoted.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(0),
        _ => {}
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (mut rest, mut next_unit, mut total_ms) = (text, 0usize, 0i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit_length = rest[digits..]
            .bytes()
            .take_while(u8::is_ascii_lowercase)
            .count();
        if digits == 0 || unit_length == 0 {
            return Err(malformed());
        }
        let unit = &rest[digits..digits + unit_length];
        let at = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(malformed)?;
        if at < next_unit {
            return Err(malformed());
        }
        next_unit = at + 1;
        let count: i64 = rest[..digits].parse().map_err(|_| too_long())?;
        total_ms = count
            .checked_mul(UNITS[at].1)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(too_long)?;
        rest = &rest[digits + unit_length..];
    }
    Ok(total_ms)
}

/// Writes a duration the way Prometheus shows it: largest units first, years and weeks only when
/// the whole is a multiple of them, `0s` for zero, a leading `-` for negative values.
pub fn format_duration_ms(duration_ms: i64) -> String {
    if duration_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if duration_ms < 0 {
        text.push('-');
    }
    let mut left_ms = duration_ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        let exact_only = matches!(unit, "y" | "w");
        if left_ms >= unit_ms && (!exact_only || left_ms.is_multiple_of(unit_ms)) {
            let _ = write!(text, "{}{unit}", left_ms / unit_ms);
            left_ms %= unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, want_ms) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            (
                "1y2w3d4h5m6s7ms",
                31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_706_007,
            ),
            ("324ms", 324),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(want_ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "1", "-5s", "1s1m", "1s1s", "1.5h", "s", "1d ", "5S", "1µs",
        ] {
            assert!(parse_duration_ms(text).is_err(), "{text:?}");
        }
        assert_eq!(
            parse_duration_ms("999999999999y"),
            Err(DurationError::TooLong("999999999999y".into()))
        );
    }

    #[test]
    fn durations_are_written_as_prometheus_does() {
        for (duration_ms, want) in [
            (0, "0s"),
            (15_000, "15s"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (7 * 86_400_000, "1w"),
            (8 * 86_400_000, "8d"),
            (365 * 86_400_000, "1y"),
            (366 * 86_400_000, "366d"),
            (-1_500, "-1s500ms"),
        ] {
            assert_eq!(format_duration_ms(duration_ms), want);
        }
    }
}
