//! Where the marks of axes stand, and what is written beside them.

use super::unit::Unit;

/// A mark: its place on the axis, and its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) at: f64,
    pub(crate) text: String,
    /// A second line, where there is one.
    pub(crate) below: String,
}

/// Ends of an axis for values between `low` and `high`: a little more than them, not across zero,
/// and from zero where asked.
pub(crate) fn value_range(low: f64, high: f64, from_zero: bool) -> (f64, f64) {
    let low = if from_zero { low.min(0.0) } else { low };
    let high = if from_zero { high.max(0.0) } else { high };
    if low == high {
        let pad = if low == 0.0 { 1.0 } else { low.abs() * 0.2 };
        let bottom = if low >= 0.0 {
            (low - pad).max(0.0)
        } else {
            low - pad
        };
        return (bottom, high + pad);
    }
    let pad = (high - low) * 0.08;
    let bottom = if low >= 0.0 {
        (low - pad).max(0.0)
    } else {
        low - pad
    };
    let top = if high <= 0.0 {
        (high + pad).min(0.0)
    } else {
        high + pad
    };
    (bottom, top)
}

/// Marks at round values, at most about `count`.
pub(crate) fn value_marks(low: f64, high: f64, unit: Unit, count: usize) -> Vec<Mark> {
    let raw = (high - low) / count.max(2) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return Vec::new();
    }
    let step = round_step(raw, high.abs().max(low.abs()), unit);
    // Ends that are marks but for rounding are marks.
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let greatest = high.abs().max(low.abs());
    let digits = ((greatest / step).log10().ceil() as i64 + 1).clamp(3, 12) as usize;
    // No more than asked for, even where rounding goes wrong.
    (first..=last.min(first + 100))
        .map(|index| {
            let at = index as f64 * step;
            Mark {
                at,
                text: unit.format(at, digits),
                below: String::new(),
            }
        })
        .collect()
}

/// The next step that reads well above `raw`.
fn round_step(raw: f64, greatest: f64, unit: Unit) -> f64 {
    const SECONDS: [f64; 14] = [
        60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0,
        86_400.0, 172_800.0, 604_800.0,
    ];
    if unit.is_binary() && raw >= 0.25 {
        // 1, 2, 5, 10, 20, 50, 100, 200, 500 of the unit in which the greatest value is shown.
        let power = (greatest.log2() / 10.0).floor().max(0.0);
        let scale = 1024f64.powf(power);
        if raw < scale * 0.01 {
            return 2f64.powf(raw.log2().ceil());
        }
        return decimal_step(raw / scale) * scale;
    }
    if unit == Unit::Seconds
        && raw > 30.0
        && let Some(step) = SECONDS.iter().find(|step| **step >= raw)
    {
        return *step;
    }
    decimal_step(raw)
}

fn decimal_step(raw: f64) -> f64 {
    let magnitude = 10f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = factors
        .iter()
        .find(|factor| *factor * magnitude >= raw * (1.0 - 1e-9));
    fits.unwrap_or(&10.0) * magnitude
}

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Marks at round times in UTC, at most about `count`; places in milliseconds since 1970.
pub(crate) fn time_marks(start_ms: i64, end_ms: i64, count: usize) -> Vec<Mark> {
    const STEPS_MS: [i64; 26] = [
        1,
        5,
        10,
        50,
        100,
        500,
        SECOND_MS,
        2 * SECOND_MS,
        5 * SECOND_MS,
        10 * SECOND_MS,
        15 * SECOND_MS,
        30 * SECOND_MS,
        MINUTE_MS,
        2 * MINUTE_MS,
        5 * MINUTE_MS,
        10 * MINUTE_MS,
        15 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        3 * HOUR_MS,
        6 * HOUR_MS,
        12 * HOUR_MS,
        DAY_MS,
        2 * DAY_MS,
        7 * DAY_MS,
    ];
    let raw = (end_ms - start_ms) / count.max(1) as i64;
    let Some(step_ms) = STEPS_MS.iter().copied().find(|step| *step >= raw) else {
        return month_marks(start_ms, end_ms, count);
    };
    // Weeks begin on Mondays; 1970 began on a Thursday.
    let offset_ms = if step_ms == 7 * DAY_MS { 4 * DAY_MS } else { 0 };
    let first = (start_ms - offset_ms).div_euclid(step_ms);
    let mut marks = Vec::new();
    let mut day_before = String::new();
    for index in first..=first + 2 * count as i64 + 2 {
        let at_ms = index * step_ms + offset_ms;
        if at_ms < start_ms || at_ms > end_ms {
            continue;
        }
        let (day, time) = date_and_time(at_ms);
        let (text, below) = if step_ms >= DAY_MS {
            let year = day[..day.len() - 6].to_owned();
            let new_year = !day_before.starts_with(&year);
            let text = day[day.len() - 5..].to_owned();
            (text, if new_year { year } else { String::new() })
        } else {
            let shown = match step_ms {
                _ if step_ms >= MINUTE_MS => &time[..5],
                _ if step_ms >= SECOND_MS => &time[..8],
                _ => &time[..],
            };
            let new_day = day != day_before;
            (
                shown.to_owned(),
                if new_day { day.clone() } else { String::new() },
            )
        };
        day_before = day;
        marks.push(Mark {
            at: at_ms as f64,
            text,
            below,
        });
    }
    marks
}

/// Marks at first days of months, or of years.
fn month_marks(start_ms: i64, end_ms: i64, count: usize) -> Vec<Mark> {
    let months = (end_ms - start_ms) / (30 * DAY_MS);
    let per_mark = months / count.max(1) as i64 + 1;
    let every = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200];
    let every = every.iter().copied().find(|step| *step >= per_mark);
    let every = every.unwrap_or(12_000);
    let mut marks = Vec::new();
    let (first, last) = (start_ms.div_euclid(DAY_MS), end_ms.div_euclid(DAY_MS));
    let mut day = first;
    while day <= last {
        let (date, _) = date_and_time(day * DAY_MS);
        let (year, rest) = date.split_at(date.len() - 6);
        let month: i64 = rest[1..3].parse().unwrap_or(1);
        if !rest.ends_with("-01") {
            // On to the next month, or close before it.
            let of_month: i64 = rest[4..].parse().unwrap_or(28);
            day += (28 - of_month).max(1);
            continue;
        }
        let since = year.parse::<i64>().unwrap_or(0) * 12 + month - 1;
        if since % every == 0 && day * DAY_MS >= start_ms {
            let new_year = marks.is_empty() || month == 1;
            let (text, below) = match every {
                12.. => (year, ""),
                _ => (month_name(month), if new_year { year } else { "" }),
            };
            marks.push(Mark {
                at: (day * DAY_MS) as f64,
                text: text.to_owned(),
                below: below.to_owned(),
            });
        }
        day += 28;
    }
    marks
}

/// The name of a month, from 1.
fn month_name(month: i64) -> &'static str {
    const NAMES: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    NAMES[(month - 1).rem_euclid(12) as usize]
}

/// `2006-01-02` and `15:04:05.999` of a time in UTC.
pub(super) fn date_and_time(time_ms: i64) -> (String, String) {
    let text = crate::api::rfc3339(time_ms.div_euclid(1000) * 1000);
    let (date, time) = text.split_once('T').unwrap_or((&text, "00:00:00Z"));
    let rest_ms = time_ms.rem_euclid(1000);
    (
        date.to_owned(),
        format!("{}.{rest_ms:03}", time.trim_end_matches('Z')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(marks: &[Mark]) -> Vec<&str> {
        marks.iter().map(|mark| mark.text.as_str()).collect()
    }

    #[test]
    fn values_are_marked_at_round_numbers() {
        let check = |low, high, unit, want: &[&str]| {
            let marks = value_marks(low, high, unit, 5);
            assert_eq!(texts(&marks), want, "{low} to {high}");
        };
        check(0.0, 10.0, Unit::Plain, &["0", "2", "4", "6", "8", "10"]);
        check(0.3, 0.7, Unit::Plain, &["0.3", "0.4", "0.5", "0.6", "0.7"]);
        check(-1e6, 1e6, Unit::Plain, &["−1M", "−500k", "0", "500k", "1M"]);
        check(
            0.0,
            3.0 * 1024.0 * 1024.0,
            Unit::Bytes,
            &["0 B", "1 MiB", "2 MiB", "3 MiB"],
        );
        check(
            0.0,
            0.05,
            Unit::Seconds,
            &["0 s", "10 ms", "20 ms", "30 ms", "40 ms", "50 ms"],
        );
        check(
            0.0,
            7200.0,
            Unit::Seconds,
            &["0 s", "30 m", "1 h", "1 h 30 m", "2 h"],
        );
        check(1.0, 1.0, Unit::Plain, &[]);
        check(
            1_000_000.0,
            1_000_004.0,
            Unit::Plain,
            &["1M", "1.000001M", "1.000002M", "1.000003M", "1.000004M"],
        );
    }

    #[test]
    fn ranges_keep_their_side_of_zero() {
        assert_eq!(value_range(0.0, 100.0, false), (0.0, 108.0));
        assert_eq!(value_range(5.0, 5.0, false), (4.0, 6.0));
        assert_eq!(value_range(0.0, 0.0, false), (0.0, 1.0));
        assert_eq!(value_range(50.0, 100.0, true), (0.0, 108.0));
        assert_eq!(value_range(-100.0, -50.0, false), (-104.0, -46.0));
    }

    #[test]
    fn times_are_marked_at_round_ones() {
        // 2026-02-27T22:30:00Z.
        let start_ms = 1_772_231_400_000;
        let marks = time_marks(start_ms, start_ms + 3 * HOUR_MS, 6);
        assert_eq!(
            texts(&marks),
            [
                "22:30", "23:00", "23:30", "00:00", "00:30", "01:00", "01:30"
            ]
        );
        assert_eq!(
            (marks[0].below.as_str(), marks[3].below.as_str()),
            ("2026-02-27", "2026-02-28")
        );
        assert_eq!(marks[1].below, "");
        let marks = time_marks(start_ms, start_ms + 30 * DAY_MS, 6);
        assert_eq!(texts(&marks), ["03-02", "03-09", "03-16", "03-23"]);
        assert_eq!(marks[0].below, "2026");
        let marks = time_marks(start_ms, start_ms + 400 * DAY_MS, 7);
        assert_eq!(
            texts(&marks),
            ["Mar", "May", "Jul", "Sep", "Nov", "Jan", "Mar"]
        );
        assert_eq!(marks[5].below, "2027");
        let marks = time_marks(0, 365 * 50 * DAY_MS, 6);
        assert_eq!(texts(&marks), ["1970", "1980", "1990", "2000", "2010"]);
        let marks = time_marks(start_ms, start_ms + 2000, 5);
        assert_eq!(marks[1].text, "22:30:00.500");
    }
}
