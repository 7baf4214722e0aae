//! The small grammars of words, numbers, durations and strings. Each says how many bytes at the
//! start of a text belong to it.

use nom::branch::alt;
use nom::bytes::complete::{take_until, take_while, take_while1};
use nom::character::complete::char;
use nom::combinator::{recognize, value};
use nom::{IResult, Parser};

type Read<'a> = IResult<&'a str, &'a str>;

/// Length of the spaces at the start.
pub(crate) fn spaces(rest: &str) -> usize {
    length(rest, |i| {
        take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))(i)
    })
}

/// Length of the comment at the start, its line end excluded.
pub(super) fn comment(rest: &str) -> usize {
    length(rest, |i| {
        recognize((char('#'), take_while(|c| c != '\n' && c != '\r'))).parse(i)
    })
}

/// Length of the label name at the start.
pub(crate) fn identifier(rest: &str) -> usize {
    length(rest, |i| take_while1(is_word)(i))
}

/// Length of the metric name at the start.
pub(crate) fn metric_identifier(rest: &str) -> usize {
    length(rest, |i| take_while1(|c| is_word(c) || c == ':')(i))
}

/// What a text that begins with a digit or a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numeric {
    /// A number of so many bytes. Whether it has a value is seen when that is read.
    Number(usize),
    /// A duration of so many bytes; units and their order are checked when its value is read.
    Duration(usize),
    /// Neither; so many bytes looked like one.
    Neither(usize),
}

/// The number or duration at the start. Goes over the bytes as Prometheus's lexer does, so that it
/// stops, and so complains, at the same byte: the grammar itself would be simpler.
pub(super) fn number_or_duration(rest: &str) -> Numeric {
    let mut scan = Scan {
        bytes: rest.as_bytes(),
        at: 0,
    };
    if scan.number() {
        Numeric::Number(scan.at)
    } else if scan.duration_units() {
        Numeric::Duration(scan.at)
    } else {
        Numeric::Neither(scan.at)
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn is(&self, set: &[u8]) -> bool {
        self.bytes
            .get(self.at)
            .is_some_and(|byte| set.contains(byte))
    }

    fn accept(&mut self, set: &[u8]) -> bool {
        let fits = self.is(set);
        self.at += usize::from(fits);
        fits
    }

    fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn at_word(&self) -> bool {
        self.bytes
            .get(self.at)
            .is_some_and(|byte| is_word(char::from(*byte)))
    }

    fn number(&mut self) -> bool {
        let mut digits: &[u8] = b"0123456789";
        if self.accept(b"0") && self.accept(b"xX") {
            self.accept(b"_");
            digits = b"0123456789abcdefABCDEF";
        }
        self.accept(b".");
        self.accept(digits);
        let (mut point, mut exponent) = (false, false);
        while self.is(digits) || self.is(b"._eE") {
            if self.is(b".") && point || self.is(b"eE") && exponent {
                self.at += 1;
                return false;
            }
            if self.accept(b".") {
                point = true;
                // No fraction in hexadecimal.
                if self.accept(b"_.") || digits.len() > 10 {
                    return false;
                }
            } else if self.accept(b"eE") {
                exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.at_end() {
                    return false;
                }
            } else if self.accept(b"_") {
                if self.accept(b"._eE") || self.at_end() {
                    return false;
                }
            } else {
                while self.accept(digits) {}
            }
        }
        self.at > 0 && !self.at_word()
    }

    /// The rest of a duration, behind its first digits.
    fn duration_units(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.accept(b"0123456789") {
            while self.accept(b"0123456789") {}
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        let follows = self.at_word();
        self.at += usize::from(follows);
        !follows
    }
}

/// Length of the string in double or single quotes at the start, escapes checked.
pub(crate) fn quoted(rest: &str, quote: char) -> Result<usize, String> {
    let mut at = 1;
    loop {
        let plain = length(&rest[at..], |i| {
            take_while(|c| c != quote && c != '\\' && c != '\n')(i)
        });
        at += plain;
        match rest[at..].chars().next() {
            Some(ch) if ch == quote => return Ok(at + 1),
            Some('\\') => at += 1 + escape(&rest[at + 1..], quote)?.1,
            _ => return Err("unterminated quoted string".to_owned()),
        }
    }
}

/// Length of the string in backquotes at the start.
pub(crate) fn raw_quoted(rest: &str) -> Result<usize, String> {
    let read: Read<'_> = recognize((char('`'), take_until("`"), char('`'))).parse(rest);
    read.map(|(_, text)| text.len())
        .map_err(|_| "unterminated raw string".to_owned())
}

/// The bytes a string token stands for.
pub(crate) fn unquote(token: &str) -> Result<Vec<u8>, String> {
    let fail = || format!("error unquoting string {token:?}: invalid syntax");
    let quote = token.chars().next().ok_or_else(fail)?;
    let inner = token.get(1..token.len().wrapping_sub(1)).ok_or_else(fail)?;
    if quote == '`' {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (escaped, used) = escape(&rest[at + 1..], quote).map_err(|_| fail())?;
        match escaped {
            Escaped::Byte(byte) => bytes.push(byte),
            Escaped::Char(ch) => {
                bytes.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = &rest[at + 1 + used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[derive(Clone, Copy, Debug)]
enum Escaped {
    Byte(u8),
    Char(char),
}

/// What stands behind a backslash, and how many bytes it takes.
fn escape(rest: &str, quote: char) -> Result<(Escaped, usize), String> {
    let simple: IResult<&str, u8> = alt((
        value(7, char('a')),
        value(8, char('b')),
        value(12, char('f')),
        value(b'\n', char('n')),
        value(b'\r', char('r')),
        value(b'\t', char('t')),
        value(11, char('v')),
        value(b'\\', char('\\')),
        value(quote as u8, char(quote)),
    ))
    .parse(rest);
    if let Ok((_, byte)) = simple {
        return Ok((Escaped::Byte(byte), 1));
    }
    let not_terminated = || "escape sequence not terminated".to_owned();
    let first = rest.chars().next().ok_or_else(not_terminated)?;
    let (prefix, digits, radix) = match first {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        other => return Err(format!("unknown escape sequence {}", code_point(other))),
    };
    let mut number = 0u32;
    let mut chars = rest[prefix..].chars();
    for _ in 0..digits {
        let ch = chars.next().ok_or_else(not_terminated)?;
        let digit = ch
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(ch)))?;
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    let invalid = || "escape sequence is an invalid Unicode code point".to_owned();
    let escaped = if matches!(first, 'u' | 'U') {
        Escaped::Char(char::from_u32(number).ok_or_else(invalid)?)
    } else {
        Escaped::Byte(u8::try_from(number).map_err(|_| invalid())?)
    };
    Ok((escaped, prefix + digits))
}

/// A character as Go's `%#U` shows it.
fn code_point(ch: char) -> String {
    let code = u32::from(ch);
    if ch.is_control() {
        return format!("U+{code:04X}");
    }
    format!("U+{code:04X} '{ch}'")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn length<'a>(rest: &'a str, read: impl Fn(&'a str) -> Read<'a>) -> usize {
    read(rest).map_or(0, |(_, text)| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_end_where_they_should() {
        use Numeric::{Duration, Neither, Number};
        for (text, want) in [
            ("1", Number(1)),
            ("1.5e-3)", Number(6)),
            ("1.", Number(2)),
            (".5", Number(2)),
            ("0x_1F", Number(5)),
            ("0x", Number(2)),
            ("1_000", Number(5)),
            ("1e)", Number(2)),
            ("1m", Duration(2)),
            ("1h30m,", Duration(5)),
            ("1.5m", Duration(4)),
            ("1hs", Duration(3)),
            ("1e", Neither(2)),
            ("1__0", Neither(3)),
            ("5e.3", Neither(3)),
            ("1m1x", Neither(3)),
        ] {
            assert_eq!(number_or_duration(text), want, "{text}");
        }
    }

    #[test]
    fn escapes_are_gos() {
        for (token, want) in [
            (r#""a\n\x41\101\u00e9\"""#, "a\nAAé\"".as_bytes()),
            (r"'\''", b"'"),
            (r"`\n`", b"\\n"),
            (r#""\xff""#, b"\xff"),
        ] {
            assert_eq!(unquote(token).expect("valid"), want, "{token}");
        }
        assert!(quoted(r#""\q""#, '"').is_err());
        assert!(quoted("\"a\nb\"", '"').is_err());
    }
}
