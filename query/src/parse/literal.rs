//! Numbers and durations.

use barograph_model::duration::{DurationError, parse_duration_ms};

use super::{Fault, Parse, Parser};
use crate::ast::{DurationSpec, Span};
use crate::lex::TokenKind;

/// Longest duration, milliseconds: what 64 bits of nanoseconds hold.
const DURATION_LIMIT_MS: i64 = i64::MAX / 1_000_000;

impl Parser<'_> {
    /// A number or duration: its value (seconds for a duration), and whether it is a duration.
    pub(super) fn number(&mut self) -> Parse<(f64, bool)> {
        let span = self.span_of_next();
        let text = self.peek().text;
        let read = match self.peek().kind {
            TokenKind::Number => match number_value(text) {
                Ok(value) => Ok((value, false)),
                Err(why) => Err(format!(
                    "error parsing number: strconv.ParseFloat: parsing {text:?}: {why}"
                )),
            },
            TokenKind::Duration => duration_seconds(text).map(|value| (value, true)),
            _ => return Err(self.unexpected("", "")),
        };
        let read = read.map_err(|message| Fault::new(span, message))?;
        self.advance();
        Ok(read)
    }

    /// A number with or without sign: value, whether it is a duration, where it stands.
    pub(super) fn signed_number(&mut self) -> Parse<(f64, bool, Span)> {
        let start = self.peek().start;
        let negative = match self.peek().kind {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => {
                let (value, is_duration) = self.number()?;
                return Ok((value, is_duration, self.span_from(start)));
            }
        };
        self.advance();
        let (value, is_duration) = self.number()?;
        let value = if negative { -value } else { value };
        Ok((value, is_duration, self.span_from(start)))
    }
}

/// The value of a number literal, or what Go's `strconv` says of it.
pub(crate) fn number_value(text: &str) -> Result<f64, &'static str> {
    const INVALID: &str = "invalid syntax";
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !underscores_separate(text) {
        return Err(INVALID);
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(hexadecimal) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return match i64::from_str_radix(hexadecimal, 16) {
            Ok(number) => Ok(number as f64),
            Err(_) => Err(INVALID),
        };
    }
    // A leading zero makes an octal number, where the digits allow it.
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if leading_zero
        && digits.bytes().all(|b| matches!(b, b'0'..=b'7'))
        && let Ok(number) = i64::from_str_radix(&digits, 8)
    {
        return Ok(number as f64);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err("value out of range"),
        Err(_) => Err(INVALID),
    }
}

/// Whether each underscore stands between digits, or between the mark of hexadecimal and a digit.
fn underscores_separate(text: &str) -> bool {
    let number = text
        .strip_prefix("0x")
        .or(text.strip_prefix("0X"))
        .unwrap_or(text);
    let is_hexadecimal = number.len() < text.len();
    let mut before = if is_hexadecimal { b'0' } else { b'^' };
    for byte in number.bytes() {
        let is_digit = byte.is_ascii_digit() || (is_hexadecimal && byte.is_ascii_hexdigit());
        if (byte == b'_' && before != b'0') || (!is_digit && byte != b'_' && before == b'_') {
            return false;
        }
        before = if is_digit { b'0' } else { byte };
    }
    before != b'_'
}

/// Seconds to milliseconds, by way of whole nanoseconds.
pub(super) fn fixed_duration(seconds: f64) -> DurationSpec {
    let nanoseconds = (seconds * 1e9).round();
    DurationSpec::Fixed(nanoseconds as i64 / 1_000_000)
}

fn duration_seconds(text: &str) -> Result<f64, String> {
    match parse_duration_ms(text) {
        Ok(ms) if ms > DURATION_LIMIT_MS => Err("duration out of range".to_owned()),
        Ok(ms) => Ok(seconds_of_ms(ms)),
        Err(DurationError::TooLong(_)) => Err("duration out of range".to_owned()),
        Err(DurationError::Empty) => Err("empty duration string".to_owned()),
        Err(DurationError::Malformed(_)) => Err(match unknown_unit(text) {
            Some(unit) => format!("unknown unit {unit:?} in duration {text:?}"),
            None => format!("not a valid duration string: {text:?}"),
        }),
    }
}

/// The first unit of a duration that is none, unless something else is wrong before it.
fn unknown_unit(text: &str) -> Option<&str> {
    const UNITS: [&str; 7] = ["y", "w", "d", "h", "m", "s", "ms"];
    let (mut rest, mut next_unit) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        if digits == 0 || rest[..digits].parse::<u64>().is_err() {
            return None;
        }
        rest = &rest[digits..];
        let length = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = &rest[..length];
        let Some(place) = UNITS.iter().position(|have| *have == unit) else {
            return Some(unit);
        };
        if place < next_unit {
            return None;
        }
        next_unit = place + 1;
        rest = &rest[length..];
    }
    None
}

/// Whole seconds and the fraction apart, as Go converts a duration.
pub(crate) fn seconds_of_ms(ms: i64) -> f64 {
    let (whole, rest_ms) = (ms / 1000, ms % 1000);
    whole as f64 + (rest_ms * 1_000_000) as f64 / 1e9
}
