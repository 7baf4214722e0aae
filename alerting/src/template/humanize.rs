//! Numbers for people: Prometheus's `humanize` functions.

use super::printf::general;
use super::time;

/// With an SI prefix: `1.234k`, `12.3m`.
pub(super) fn si(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return general(value, 4);
    }
    if value.abs() >= 1.0 {
        scaled(value, 1_000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"])
    } else {
        let (value, prefix) = shrunk(value);
        format!("{}{prefix}", general(value, 4))
    }
}

/// With a binary prefix: `1.5ki`.
pub(super) fn binary(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return general(value, 4);
    }
    scaled(
        value,
        1_024.0,
        &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"],
    )
}

/// Seconds as days, hours, minutes and seconds, or with an SI prefix below one second.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return general(seconds, 4);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        let (value, prefix) = shrunk(seconds);
        return format!("{}{prefix}s", general(value, 4));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let magnitude = seconds.abs();
    let whole = magnitude as i64;
    let (second, minute, hour) = (whole % 60, whole / 60 % 60, whole / 3_600 % 24);
    let day = whole / 86_400;
    if day != 0 {
        format!("{sign}{day}d {hour}h {minute}m {second}s")
    } else if hour != 0 {
        format!("{sign}{hour}h {minute}m {second}s")
    } else if minute != 0 {
        format!("{sign}{minute}m {second}s")
    } else {
        format!("{sign}{}s", general(magnitude, 4))
    }
}

/// A ratio as percents.
pub(super) fn percentage(ratio: f64) -> String {
    format!("{}%", general(ratio * 100.0, 4))
}

/// Seconds since the epoch as a date.
pub(super) fn timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(general(seconds, 4));
    }
    time_ms(seconds).map(time::display)
}

/// Seconds since the epoch in milliseconds, which is how finely Prometheus keeps them.
pub(super) fn time_ms(seconds: f64) -> Result<i64, String> {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanos = seconds * 1e9;
    if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
        let value = barograph_model::number::go_g(seconds);
        return Err(format!(
            "{value} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(nanos as i64 / 1_000_000)
}

/// Reads a number as Go's `strconv.ParseFloat` does, but for hexadecimal floats.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    if text.is_empty() || text.trim() != text {
        return None;
    }
    text.parse().ok()
}

fn scaled(mut value: f64, step: f64, prefixes: &[&str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < step {
            break;
        }
        prefix = next;
        value /= step;
    }
    format!("{}{prefix}", general(value, 4))
}

fn shrunk(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1_000.0;
    }
    (value, prefix)
}
