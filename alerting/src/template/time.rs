//! Times and durations as Go shows them. Everything is UTC.

use barograph_model::date::{date_of_days, days_of_date};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const DAY_MS: i64 = 86_400_000;

/// A moment in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub millisecond: u32,
    /// 0 is Sunday.
    pub weekday: u32,
    /// 1 to 366.
    pub day_of_year: u32,
}

impl Civil {
    /// The moment so many milliseconds after the beginning of 1970.
    pub(crate) fn of(time_ms: i64) -> Self {
        let days = time_ms.div_euclid(DAY_MS);
        let in_day = time_ms.rem_euclid(DAY_MS);
        let (year, month, day) = date_of_days(days);
        Self {
            year,
            month: month as u32,
            day: day as u32,
            hour: (in_day / 3_600_000) as u32,
            minute: (in_day / 60_000 % 60) as u32,
            second: (in_day / 1_000 % 60) as u32,
            millisecond: (in_day % 1_000) as u32,
            weekday: (days + 4).rem_euclid(7) as u32,
            day_of_year: (days - days_of_date(year, 1, 1)) as u32 + 1,
        }
    }

    pub(crate) fn month_name(&self) -> &'static str {
        MONTHS[self.month as usize - 1]
    }

    pub(crate) fn weekday_name(&self) -> &'static str {
        WEEKDAYS[self.weekday as usize]
    }
}

/// What `time.Time` prints: `2006-01-02 15:04:05.999 +0000 UTC`.
pub(crate) fn display(time_ms: i64) -> String {
    format(time_ms, "2006-01-02 15:04:05.999 -0700 MST")
}

/// RFC 3339 with as many digits of the fraction as it has.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    format(time_ms, "2006-01-02T15:04:05.999Z07:00")
}

/// RFC 3339 with exactly three digits of the fraction.
pub(crate) fn rfc3339_millis(time_ms: i64) -> String {
    format(time_ms, "2006-01-02T15:04:05.000Z07:00")
}

/// Go's `Time.Format` for UTC. Elements are tried longest first.
pub(crate) fn format(time_ms: i64, layout: &str) -> String {
    let civil = Civil::of(time_ms);
    let hour12 = match civil.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let half = civil.hour >= 12;
    let mut out = String::new();
    let mut rest = layout;
    while let Some(ch) = rest.chars().next() {
        if let Some(length) = fraction_length(rest, &out) {
            push_fraction(&mut out, civil.millisecond, &rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let elements: [(&str, String); 33] = [
            ("January", civil.month_name().to_owned()),
            ("Monday", civil.weekday_name().to_owned()),
            ("Z07:00:00", "Z".to_owned()),
            ("-07:00:00", "+00:00:00".to_owned()),
            ("-070000", "+000000".to_owned()),
            ("Z070000", "Z".to_owned()),
            ("Z07:00", "Z".to_owned()),
            ("-07:00", "+00:00".to_owned()),
            ("Z0700", "Z".to_owned()),
            ("-0700", "+0000".to_owned()),
            ("Z07", "Z".to_owned()),
            ("-07", "+00".to_owned()),
            ("2006", format!("{:04}", civil.year)),
            ("Jan", civil.month_name()[..3].to_owned()),
            ("Mon", civil.weekday_name()[..3].to_owned()),
            ("MST", "UTC".to_owned()),
            ("002", format!("{:03}", civil.day_of_year)),
            ("__2", format!("{:3}", civil.day_of_year)),
            ("01", format!("{:02}", civil.month)),
            ("02", format!("{:02}", civil.day)),
            ("03", format!("{hour12:02}")),
            ("04", format!("{:02}", civil.minute)),
            ("05", format!("{:02}", civil.second)),
            ("06", format!("{:02}", civil.year.rem_euclid(100))),
            ("15", format!("{:02}", civil.hour)),
            ("_2", format!("{:2}", civil.day)),
            ("PM", if half { "PM" } else { "AM" }.to_owned()),
            ("pm", if half { "pm" } else { "am" }.to_owned()),
            ("1", civil.month.to_string()),
            ("2", civil.day.to_string()),
            ("3", hour12.to_string()),
            ("4", civil.minute.to_string()),
            ("5", civil.second.to_string()),
        ];
        if let Some((name, text)) = elements.iter().find(|(name, _)| rest.starts_with(name)) {
            out.push_str(text);
            rest = &rest[name.len()..];
        } else {
            out.push(ch);
            rest = &rest[ch.len_utf8()..];
        }
    }
    out
}

/// `.000` or `.999` behind a digit, not followed by another digit.
fn fraction_length(rest: &str, out: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1)?;
    if !matches!(bytes[0], b'.' | b',') || !matches!(digit, b'0' | b'9') {
        return None;
    }
    let length = 1 + bytes[1..].iter().take_while(|b| **b == digit).count();
    let last = out.as_bytes().last()?;
    let alone = !bytes.get(length).is_some_and(u8::is_ascii_digit);
    (alone && last.is_ascii_digit()).then_some(length)
}

fn push_fraction(out: &mut String, millisecond: u32, element: &str) {
    let digits = element.len() - 1;
    let mut text = format!("{millisecond:03}");
    text.extend(std::iter::repeat_n('0', digits.saturating_sub(3)));
    text.truncate(digits);
    if element.contains('9') {
        text.truncate(text.trim_end_matches('0').len());
        if text.is_empty() {
            return;
        }
    }
    out.push_str(&element[..1]);
    out.push_str(&text);
}

/// What `time.Duration` prints: `1h2m3.5s`, `1.5ms`, `0s`.
pub(crate) fn display_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |whole: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{:0digits$}", whole % unit);
        match text.trim_end_matches('0') {
            "" => (whole / unit).to_string(),
            rest => format!("{}.{rest}", whole / unit),
        }
    };
    if nanos < 1_000 {
        return format!("{sign}{nanos}ns");
    }
    if nanos < 1_000_000 {
        return format!("{sign}{}µs", fraction(nanos, 1_000));
    }
    if nanos < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(nanos, 1_000_000));
    }
    let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_go_does() {
        for (time_ms, want) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (1_435_065_584_128, "2015-06-23 13:19:44.128 +0000 UTC"),
            (-1, "1969-12-31 23:59:59.999 +0000 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 +0000 UTC"),
            (-62_135_596_800_000, "0001-01-01 00:00:00 +0000 UTC"),
        ] {
            assert_eq!(display(time_ms), want);
        }
        assert_eq!(rfc3339(1_435_065_584_120), "2015-06-23T13:19:44.12Z");
        assert_eq!(rfc3339(1_435_065_584_000), "2015-06-23T13:19:44Z");
        assert_eq!(
            rfc3339_millis(1_435_065_584_120),
            "2015-06-23T13:19:44.120Z"
        );
    }

    #[test]
    fn layouts_are_filled() {
        let time_ms = 1_435_065_584_128;
        for (layout, want) in [
            ("Mon Jan _2 15:04:05 2006", "Tue Jun 23 13:19:44 2015"),
            ("3:04PM", "1:19PM"),
            ("02 Jan 06 15:04 MST", "23 Jun 15 13:19 UTC"),
            ("Monday, 02-Jan-06", "Tuesday, 23-Jun-15"),
            ("002", "174"),
            ("day 2 of month 1", "day 23 of month 6"),
        ] {
            assert_eq!(format(time_ms, layout), want, "{layout}");
        }
    }

    #[test]
    fn the_day_of_the_year_minds_leap_years() {
        for (time_ms, want) in [
            (1_704_067_200_000, 1),
            (1_709_164_800_000, 60),
            (1_709_251_200_000, 61),
            (1_735_603_200_000, 366),
            (1_767_139_200_000, 365),
        ] {
            assert_eq!(Civil::of(time_ms).day_of_year, want, "{}", display(time_ms));
        }
    }

    #[test]
    fn durations_are_shown_as_go_does() {
        for (nanos, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (1_500_000, "1.5ms"),
            (-1_000_000_000, "-1s"),
            (61_250_000_000, "1m1.25s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(display_duration(nanos), want);
        }
    }
}
