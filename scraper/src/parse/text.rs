//! Text 0.0.4, and 1.0.0, which adds quoted names.

use barograph_model::MetricKind;

use super::number::{parse_plain, read_float};
use super::series::{scan_family, scan_series, skip_blanks};
use super::{Dialect, Guess, Item, MetadataField, MetadataLine, ParseError, Parser, SampleLine};

/// Reads `text/plain` bodies.
pub(crate) struct TextParser<'a> {
    body: &'a [u8],
    at: usize,
    kind: MetricKind,
}

impl<'a> TextParser<'a> {
    /// A parser at the start of `body`.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            at: 0,
            kind: MetricKind::Unknown,
        }
    }

    #[cold]
    fn fail<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Box<ParseError>> {
        Err(Box::new(ParseError::new(self.body, at, what)))
    }

    /// Where the line that holds `at` ends: at its newline, or at the end of the body.
    fn line_end(&self, at: usize) -> usize {
        memchr::memchr(b'\n', &self.body[at..]).map_or(self.body.len(), |length| at + length)
    }

    /// Reads a comment or metadata line that begins with the `#` at `at`.
    fn comment(&mut self, at: usize) -> Result<Option<MetadataLine<'a>>, Box<ParseError>> {
        let body = self.body;
        let end = self.line_end(at);
        self.at = end + 1;
        let line = &body[..end];
        let word = skip_blanks(line, at + 1);
        if word == at + 1 {
            return Ok(None);
        }
        let is_type = match line.get(word..word + 5) {
            Some(b"HELP " | b"HELP\t") => false,
            Some(b"TYPE " | b"TYPE\t") => true,
            _ => return Ok(None),
        };
        let start = skip_blanks(line, word + 5);
        let (family, after) = match scan_family(line, start, if is_type { "TYPE" } else { "HELP" })
        {
            Ok(found) => found,
            Err(what) => return self.fail(at, what),
        };
        let text = skip_blanks(line, after);
        if text == after && text < end {
            return self.fail(at, "expected a blank after the metric name");
        }
        // Only the blanks before the text are none of its own; one of them, after a name.
        let text = &line[text..];
        let field = if is_type {
            self.kind = match text {
                b"counter" => MetricKind::Counter,
                b"gauge" => MetricKind::Gauge,
                b"histogram" => MetricKind::Histogram,
                b"summary" => MetricKind::Summary,
                b"untyped" => MetricKind::Unknown,
                _ => {
                    return self.fail(
                        at,
                        "unknown metric type (one of counter, gauge, histogram, summary, untyped)",
                    );
                }
            };
            MetadataField::Kind(self.kind)
        } else {
            if std::str::from_utf8(text).is_err() {
                return self.fail(at, "the help text is not valid UTF-8");
            }
            MetadataField::Help(text)
        };
        let text = &body[at..end];
        Ok(Some(MetadataLine {
            family,
            field,
            text,
        }))
    }

    /// Reads what follows the series text that spans `start..after`.
    #[inline]
    fn sample(&mut self, start: usize, after: usize) -> Result<Option<Item<'a>>, Box<ParseError>> {
        let body = self.body;
        let value_at = skip_blanks(body, after);
        let (value, mut at) = match parse_plain(&body[value_at..]) {
            Some((value, used)) if ends_token(body, value_at + used) => (value, value_at + used),
            _ => self.slow_value(value_at)?,
        };
        let mut timestamp_ms = None;
        if body.get(at) != Some(&b'\n') {
            at = skip_blanks(body, at);
            if let Some(b'0'..=b'9') = body.get(at) {
                let digits = at;
                while let Some(b'0'..=b'9') = body.get(at) {
                    at += 1;
                }
                timestamp_ms = Some(self.timestamp(digits, at)?);
                at = skip_blanks(body, at);
            }
            if !matches!(body.get(at), None | Some(b'\n')) {
                return self.fail(
                    start,
                    match timestamp_ms {
                        Some(_) => "unexpected text after the timestamp",
                        None => {
                            "after the value, only a timestamp in whole milliseconds may follow"
                        }
                    },
                );
            }
        }
        self.at = at + 1;
        Ok(Some(Item::Sample(SampleLine {
            series: &body[start..after],
            offset: start,
            value,
            timestamp_ms,
            exemplar: None,
        })))
    }

    #[cold]
    fn slow_value(&self, start: usize) -> Result<(f64, usize), Box<ParseError>> {
        let rest = &self.body[start..];
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'{' | b' ' | b'\t' | b'\n'))
            .unwrap_or(rest.len());
        if length == 0 {
            return self.fail(start, "expected a value after the metric");
        }
        match read_float(&rest[..length]) {
            Ok(value) => Ok((value, start + length)),
            Err(what) => self.fail(start, what),
        }
    }

    fn timestamp(&self, start: usize, end: usize) -> Result<i64, Box<ParseError>> {
        let digits = std::str::from_utf8(&self.body[start..end]).unwrap_or_default();
        match digits.parse() {
            Ok(timestamp_ms) => Ok(timestamp_ms),
            Err(_) => self.fail(start, "the timestamp is out of range"),
        }
    }
}

impl<'a> Parser<'a> for TextParser<'a> {
    #[inline]
    fn next(&mut self, guess: &mut impl Guess) -> Result<Option<Item<'a>>, Box<ParseError>> {
        loop {
            let body = self.body;
            let start = skip_blanks(body, self.at);
            match body.get(start) {
                None => return Ok(None),
                Some(b'\n') => self.at = start + 1,
                Some(b'#') => {
                    if let Some((length, kind)) = guess.metadata(&body[start..]) {
                        self.at = start + length + 1;
                        self.kind = kind.unwrap_or(self.kind);
                    } else if let Some(line) = self.comment(start)? {
                        return Ok(Some(Item::Metadata(line)));
                    }
                }
                Some(_) => {
                    let rest = &body[start..];
                    let guessed = guess.series(rest);
                    // A blank behind the guess, and no brace behind the blank: then the guess
                    // ends where the series text ends.
                    if guessed > 0 && matches!(rest.get(guessed), Some(b' ' | b'\t')) {
                        let after = skip_blanks(rest, guessed);
                        if rest.get(after) != Some(&b'{') {
                            return self.sample(start, start + guessed);
                        }
                    }
                    let length = match scan_series(rest, Dialect::Text, |_| {}) {
                        Ok(length) => length,
                        Err(bad) => return self.fail(start + bad.at, bad.what),
                    };
                    return self.sample(start, start + length);
                }
            }
        }
    }

    fn kind(&self) -> MetricKind {
        self.kind
    }
}

/// Whether a value token may end before `at`.
#[inline]
fn ends_token(body: &[u8], at: usize) -> bool {
    matches!(body.get(at), None | Some(b'\n' | b' ' | b'\t' | b'{'))
}
