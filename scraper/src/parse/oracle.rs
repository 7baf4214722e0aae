//! The same formats written down as a grammar, for comparison: slow and obvious.

use barograph_model::{LabelsBuilder, MetricKind, number};
use nom::branch::alt;
use nom::bytes::complete::{is_a, is_not, tag, take, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{opt, peek, recognize};
use nom::multi::many0;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser as _};

use super::Dialect;

type Read<'a, T> = IResult<&'a [u8], T>;

/// A piece of a series as written.
enum Piece<'a> {
    Name(&'a [u8]),
    Label(&'a [u8], &'a [u8]),
}

/// What a body says, in the words of the other tests; `None` where it is malformed.
pub(super) fn transcript(dialect: Dialect, body: &[u8]) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut kind = MetricKind::Unknown;
    let mut rest = body;
    loop {
        if dialect == Dialect::Text {
            rest = blanks(rest).ok()?.0;
        }
        match (dialect, rest.first()) {
            (Dialect::Text, None) => return Some(lines),
            (Dialect::Text, Some(b'\n')) => rest = &rest[1..],
            (Dialect::OpenMetrics, _) if matches!(rest, b"# EOF" | b"# EOF\n") => {
                return Some(lines);
            }
            (Dialect::OpenMetrics, None) => return None,
            (_, Some(b'#')) => {
                let read: Read<'_, &[u8]> = take_while(|byte| byte != b'\n')(rest);
                let (after, line) = read.ok()?;
                if dialect == Dialect::OpenMetrics && after.is_empty() {
                    return None;
                }
                lines.extend(comment(dialect, line, &mut kind)?);
                rest = after.get(1..).unwrap_or_default();
            }
            _ => {
                let (after, line) = sample(dialect, rest, kind)?;
                lines.push(line);
                rest = after;
            }
        }
    }
}

/// No line or one; `None` where it is malformed.
fn comment(dialect: Dialect, line: &[u8], kind: &mut MetricKind) -> Option<Vec<String>> {
    let text = dialect == Dialect::Text;
    let head: Read<'_, &[u8]> = if text {
        delimited(
            (char('#'), blanks1),
            alt((tag("HELP"), tag("TYPE"))),
            blanks1,
        )
        .parse(line)
    } else {
        let word = alt((tag("HELP"), tag("TYPE"), tag("UNIT")));
        delimited(tag("# "), word, char(' ')).parse(line)
    };
    let Ok((rest, word)) = head else {
        // In text 0.0.4 everything else is a comment.
        return text.then(Vec::new);
    };
    let quoted_name = quoted(true).map(|text: &[u8]| &text[1..text.len() - 1]);
    let (rest, family) = alt((quoted_name, metric_name)).parse(rest).ok()?;
    let said = match (text, rest) {
        (true, b"") => rest,
        (true, _) => blanks1(rest).ok()?.0,
        (false, _) => rest.strip_prefix(b" ")?,
    };
    let shown = String::from_utf8_lossy(said);
    let what = match word {
        b"HELP" => {
            std::str::from_utf8(said).ok()?;
            format!("help {shown:?}")
        }
        b"TYPE" => {
            let known = match (&*shown, text) {
                ("untyped", true) => MetricKind::Unknown,
                ("counter" | "gauge" | "histogram" | "summary", _) => MetricKind::parse(&shown)?,
                ("gaugehistogram" | "info" | "stateset" | "unknown", false) => {
                    MetricKind::parse(&shown)?
                }
                _ => return None,
            };
            *kind = known;
            format!("type {known}")
        }
        _ => {
            std::str::from_utf8(said).ok()?;
            let suffix = [b"_", said].concat();
            if !said.is_empty() && !family.ends_with(&suffix) {
                return None;
            }
            format!("unit {shown:?}")
        }
    };
    Some(vec![format!("{}: {what}", String::from_utf8_lossy(family))])
}

fn sample(dialect: Dialect, rest: &[u8], kind: MetricKind) -> Option<(&[u8], String)> {
    let (rest, pieces) = series(dialect, rest)?;
    let (rest, value, time) = match dialect {
        Dialect::Text => {
            let (rest, token) = preceded(blanks, is_not("{ \t\n")).parse(rest).ok()?;
            let (rest, _) = blanks(rest).ok()?;
            let stamp: Read<'_, Option<&[u8]>> = opt(digit1).parse(rest);
            let (rest, stamp) = stamp.ok()?;
            let (rest, _) = blanks(rest).ok()?;
            let time = match stamp {
                Some(digits) => Some(std::str::from_utf8(digits).ok()?.parse::<i64>().ok()?),
                None => None,
            };
            let rest = match rest {
                b"" => rest,
                _ => rest.strip_prefix(b"\n")?,
            };
            (rest, float(token)?, time)
        }
        Dialect::OpenMetrics => {
            let (rest, token) = token(rest)?;
            let (mut rest, mut time) = (rest, None);
            if rest.starts_with(b" ") && !rest.starts_with(b" # {") {
                let (after, stamp) = self::token(rest)?;
                time = Some(finite_ms(stamp)?);
                rest = after;
            }
            if let Some(exemplar) = rest.strip_prefix(b" # ") {
                let (after, labels) = braces(dialect)(exemplar).ok()?;
                for piece in labels {
                    match piece {
                        Piece::Name(_) => return None,
                        Piece::Label(_, value) => std::str::from_utf8(value).ok()?,
                    };
                }
                let (after, value) = self::token(after)?;
                float(value)?;
                rest = after;
                if rest.starts_with(b" ") {
                    let (after, stamp) = self::token(rest)?;
                    finite_ms(stamp)?;
                    rest = after;
                }
            }
            (rest.strip_prefix(b"\n")?, float(token)?, time)
        }
    };
    let time = time.map_or(String::new(), |t| format!(" @{t}"));
    let labels = labels(&pieces, kind)?;
    Some((
        rest,
        format!("{labels} {value} {:x}{time}", value.to_bits()),
    ))
}

fn series(dialect: Dialect, rest: &[u8]) -> Option<(&[u8], Vec<Piece<'_>>)> {
    let named: Read<'_, Option<&[u8]>> = opt(metric_name).parse(rest);
    let (after_name, name) = named.ok()?;
    let brace = match dialect {
        Dialect::Text => blanks(after_name).ok()?.0,
        Dialect::OpenMetrics => after_name,
    };
    let (rest, mut pieces) = if brace.starts_with(b"{") {
        braces(dialect)(brace).ok()?
    } else {
        (after_name, Vec::new())
    };
    pieces.extend(name.map(Piece::Name));
    let names = pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::Name(_)));
    (names.count() == 1).then_some((rest, pieces))
}

fn braces<'a>(dialect: Dialect) -> impl FnMut(&'a [u8]) -> Read<'a, Vec<Piece<'a>>> {
    move |input| {
        let gap = move |input| match dialect {
            Dialect::Text => blanks(input),
            Dialect::OpenMetrics => Ok((input, &b""[..])),
        };
        let inner = |text: &'a [u8]| &text[1..text.len() - 1];
        let label_name = || alt((quoted(true).map(inner), plain_name));
        let value = quoted(dialect == Dialect::Text).map(inner);
        let label = (label_name(), gap, char('='), gap, value);
        let label = label.map(|(name, _, _, _, value)| Piece::Label(name, value));
        let name = terminated(quoted(true).map(inner), peek((gap, one_of(",}"))));
        let comma = (gap, opt(char(',')), gap);
        let must_part = dialect == Dialect::OpenMetrics;
        let item = (alt((label, name.map(Piece::Name))), comma);
        let mut items = many0(item);
        let (rest, _) = (char('{'), gap).parse(input)?;
        let (rest, found) = items.parse(rest)?;
        let (rest, _) = char('}')(rest)?;
        let last = found.len().saturating_sub(1);
        let apart = found
            .iter()
            .take(last)
            .all(|(_, (_, comma, _))| comma.is_some());
        if must_part && !apart {
            return Err(nom::Err::Error(nom::error::Error::new(
                input,
                nom::error::ErrorKind::Char,
            )));
        }
        Ok((rest, found.into_iter().map(|(piece, _)| piece).collect()))
    }
}

fn labels(pieces: &[Piece<'_>], kind: MetricKind) -> Option<String> {
    let mut labels = LabelsBuilder::new();
    for piece in pieces {
        let (name, value) = match piece {
            Piece::Name(name) => ("__name__".to_owned(), plain(name)?),
            Piece::Label(name, value) => (plain(name)?, plain(value)?),
        };
        if name.is_empty() || !labels.get(&name).is_empty() {
            return None;
        }
        let bound = matches!(
            (kind, name.as_str(), piece),
            (MetricKind::Histogram, "le", Piece::Label(..))
                | (MetricKind::Summary, "quantile", Piece::Label(..))
        );
        let mut text = value;
        if let (true, Some(value)) = (bound, float(text.as_bytes())) {
            text = String::new();
            number::push_open_metrics(&mut text, value);
        }
        labels.set(&name, &text);
    }
    Some(labels.build().to_string())
}

/// Undoes escapes.
fn plain(text: &[u8]) -> Option<String> {
    let mut chars = std::str::from_utf8(text).ok()?.chars().peekable();
    let mut plain = String::new();
    while let Some(ch) = chars.next() {
        let escaped = match (ch, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('"')) => Some('"'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        if escaped.is_some() {
            chars.next();
        }
        plain.push(escaped.unwrap_or(ch));
    }
    Some(plain)
}

fn float(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    let lower = text.to_ascii_lowercase();
    if lower == "nan" {
        return Some(f64::from_bits(0x7ff8_0000_0000_0001));
    }
    match lower.trim_start_matches(['+', '-']) {
        "inf" | "infinity" => text.parse().ok(),
        "nan" => None,
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

fn finite_ms(token: &[u8]) -> Option<i64> {
    let seconds = float(token)?;
    seconds.is_finite().then_some((seconds * 1000.0) as i64)
}

/// One blank and a token.
fn token(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let read: Read<'_, &[u8]> = preceded(char(' '), is_not(" \n")).parse(rest);
    read.ok()
}

fn metric_name(input: &[u8]) -> Read<'_, &[u8]> {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    let part = move |byte: u8| start(byte) || byte.is_ascii_digit();
    recognize((take_while1(start), take_while(part))).parse(input)
}

fn plain_name(input: &[u8]) -> Read<'_, &[u8]> {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let part = move |byte: u8| start(byte) || byte.is_ascii_digit();
    recognize((take_while1(start), take_while(part))).parse(input)
}

fn quoted<'a>(
    newlines: bool,
) -> impl nom::Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    let part = alt((is_not("\\\""), preceded(char('\\'), take(1usize))));
    recognize(delimited(char('"'), many0(part), char('"'))).map_res(move |text: &[u8]| {
        if newlines || !text.contains(&b'\n') {
            Ok(text)
        } else {
            Err(())
        }
    })
}

fn blanks(input: &[u8]) -> Read<'_, &[u8]> {
    take_while(|byte| byte == b' ' || byte == b'\t')(input)
}

fn blanks1(input: &[u8]) -> Read<'_, &[u8]> {
    is_a(" \t")(input)
}
