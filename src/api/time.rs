//! Instants as RFC 3339, read and written.

use barograph_model::date::{date_of_days, days_in_month, days_of_date};

/// Writes an instant as `2026-11-21T09:30:02.692Z`; without a fraction where it is zero.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    let (days, ms) = (
        time_ms.div_euclid(86_400_000),
        time_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = date_of_days(days);
    let (seconds, fraction) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        text.push_str(format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Go's zero time, which the API shows for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Reads `2026-11-21T09:30:02.692Z` or with an offset; returns milliseconds since the epoch.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let sign = |at: usize, want: &[u8]| bytes.get(at).is_some_and(|b| want.contains(b));
    if !(sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt") && sign(13, b":") && sign(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let (mut at, mut fraction_ms) = (19, 0);
    if sign(at, b".") {
        let digits = text[at + 1..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        if digits == 0 {
            return None;
        }
        let three: String = text[at + 1..at + 1 + digits]
            .chars()
            .chain("00".chars())
            .take(3)
            .collect();
        fraction_ms = three.parse::<i64>().ok()?;
        at += 1 + digits;
    }
    let offset_minutes = match text.get(at..)? {
        "Z" | "z" => 0,
        zone if zone.len() == 6 && sign(at, b"+-") && sign(at + 3, b":") => {
            let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
            if sign(at, b"-") { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days_of_date(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_minutes * 60) * 1000 + fraction_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        for (text, time_ms, shown) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            (
                "2026-11-21T09:30:02.69222265Z",
                1_795_253_402_692,
                "2026-11-21T09:30:02.692Z",
            ),
            (
                "2024-02-29T23:59:59.5+01:30",
                1_709_245_799_500,
                "2024-02-29T22:29:59.5Z",
            ),
            ("1969-12-31T23:59:59-00:00", -1000, "1969-12-31T23:59:59Z"),
            (
                "2000-03-01T00:00:00Z",
                951_868_800_000,
                "2000-03-01T00:00:00Z",
            ),
        ] {
            assert_eq!(parse_rfc3339(text), Some(time_ms), "{text}");
            assert_eq!(rfc3339(time_ms), shown);
        }
        for text in [
            "",
            "2026-11-21",
            "2026-02-30T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T09:30:02",
            "2026-11-21T09:30:02.Z",
            "2026-11-21 09:30:02Z",
            "2026-11-21T09:30:02+1:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
