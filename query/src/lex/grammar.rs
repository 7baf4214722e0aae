//! The small grammars of words, numbers, durations and strings. Each says how many bytes at the
//! start of a text belong to it.

use nom::branch::alt;
use nom::bytes::complete::{is_a, tag, tag_no_case, take_until, take_while, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{not, opt, recognize, value};
use nom::multi::{many0_count, many1_count};
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

/// Length of the number at the start: decimal, with fraction and exponent, or hexadecimal;
/// underscores between digits. `None` where letters follow directly.
pub(crate) fn number_literal(rest: &str) -> Option<usize> {
    let hexadecimal = |i| {
        recognize((
            tag_no_case("0x"),
            many1_count((opt(char('_')), is_a("0123456789abcdefABCDEF"))),
        ))
        .parse(i)
    };
    let digits = |i| {
        let group: IResult<&str, usize> =
            many0_count((char('_'), is_a("0123456789"))).parse(is_a("0123456789")(i)?.0);
        group
    };
    let exponent = |i| {
        let read: Read<'_> =
            recognize((one_of("eE"), opt(one_of("+-")), is_a("0123456789"))).parse(i);
        read
    };
    let decimal = |i| {
        recognize((
            alt((
                recognize((digits, opt((char('.'), opt(digits))))),
                recognize((char('.'), digits)),
            )),
            opt(exponent),
        ))
        .parse(i)
    };
    let read: Read<'_> = recognize((
        alt((hexadecimal, decimal)),
        not(one_of::<_, _, nom::error::Error<&str>>(
            ".0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_",
        )),
    ))
    .parse(rest);
    read.ok().map(|(_, text)| text.len())
}

/// Length of the duration at the start: digits and units. Their order is checked when the value is
/// read.
pub(crate) fn duration_literal(rest: &str) -> Option<usize> {
    let unit = alt((
        tag("ms"),
        tag("s"),
        tag("m"),
        tag("h"),
        tag("d"),
        tag("w"),
        tag("y"),
    ));
    let part = (is_a("0123456789"), unit);
    let read: Read<'_> = recognize((many1_count(part), not(take_while1(is_word)))).parse(rest);
    read.ok().map(|(_, text)| text.len())
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
    format!("U+{:04X} '{ch}'", ch as u32)
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
    fn numbers_end_where_they_should() {
        for (text, want) in [
            ("1", Some(1)),
            ("1.5e-3)", Some(6)),
            ("1.", Some(2)),
            (".5", Some(2)),
            ("0x_1F", Some(5)),
            ("1_000", Some(5)),
            ("1m", None),
            ("1e", None),
            ("0x", None),
            ("1__0", None),
        ] {
            assert_eq!(number_literal(text), want, "{text}");
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
