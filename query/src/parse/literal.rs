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
            TokenKind::Number => number_value(text)
                .map(|value| (value, false))
                .ok_or_else(|| {
                    format!(
                        "error parsing number: strconv.ParseFloat: parsing {text:?}: invalid syntax"
                    )
                }),
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

/// The value of a number literal.
pub(crate) fn number_value(text: &str) -> Option<f64> {
    if text.eq_ignore_ascii_case("inf") {
        return Some(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(hexadecimal) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return i64::from_str_radix(hexadecimal, 16).ok().map(|n| n as f64);
    }
    // A leading zero makes an octal number, where the digits allow it.
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if leading_zero && digits.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return i64::from_str_radix(&digits, 8).ok().map(|n| n as f64);
    }
    digits.parse().ok().filter(|value: &f64| value.is_finite())
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
        Err(DurationError::Malformed(_)) => Err(format!("not a valid duration string: {text:?}")),
    }
}

/// Whole seconds and the fraction apart, as Go converts a duration.
pub(crate) fn seconds_of_ms(ms: i64) -> f64 {
    let (whole, rest_ms) = (ms / 1000, ms % 1000);
    whole as f64 + (rest_ms * 1_000_000) as f64 / 1e9
}
