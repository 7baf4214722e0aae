//! OpenMetrics 1.0 as Prometheus reads it: single blanks, seconds, `# EOF` at the end.
//!
//! Exemplars are checked and handed out as text.

use barograph_model::MetricKind;

use super::number::{parse_plain, read_float};
use super::series::{Part, scan_family, scan_series};
use super::{Dialect, Guess, Item, MetadataField, MetadataLine, ParseError, Parser, SampleLine};

/// Reads `application/openmetrics-text` bodies.
pub(crate) struct OpenMetricsParser<'a> {
    body: &'a [u8],
    at: usize,
    kind: MetricKind,
    /// Whether `# EOF` was read.
    ended: bool,
}

impl<'a> OpenMetricsParser<'a> {
    /// A parser at the start of `body`.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            at: 0,
            kind: MetricKind::Unknown,
            ended: false,
        }
    }

    #[cold]
    fn fail<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Box<ParseError>> {
        Err(Box::new(ParseError::new(self.body, at, what)))
    }

    /// The metadata line whose `# ` is at `at`, or `None` for `# EOF`.
    fn comment(&mut self, at: usize) -> Result<Option<MetadataLine<'a>>, Box<ParseError>> {
        let body = self.body;
        if body[at..].starts_with(b"# EOF") {
            let rest = &body[at + 5..];
            if !matches!(rest, b"" | b"\n") {
                let what = "unexpected data after # EOF";
                return self.fail(if rest[0] == b'\n' { at + 6 } else { at }, what);
            }
            self.at = body.len();
            self.ended = true;
            return Ok(None);
        }
        let word = match body.get(at..at + 7) {
            Some(b"# HELP ") => "HELP",
            Some(b"# TYPE ") => "TYPE",
            Some(b"# UNIT ") => "UNIT",
            _ => return self.fail(at, "expected # HELP, # TYPE, # UNIT or # EOF"),
        };
        let Some(length) = memchr::memchr(b'\n', &body[at..]) else {
            return self.fail(at, "data does not end with # EOF");
        };
        let (start, end) = (at + 7, at + length);
        self.at = end + 1;
        let line = &body[..end];
        let (family, after) = match scan_family(line, start, word) {
            Ok(found) => found,
            Err(what) => return self.fail(at, what),
        };
        if line.get(after) != Some(&b' ') {
            return self.fail(at, format!("expected text after the metric name in {word}"));
        }
        let text = &line[after + 1..];
        let field = match word {
            "TYPE" => {
                let kind = std::str::from_utf8(text)
                    .ok()
                    .filter(|kind| *kind != "untyped");
                let Some(kind) = kind.and_then(MetricKind::parse) else {
                    return self.fail(at, "unknown metric type");
                };
                self.kind = kind;
                MetadataField::Kind(kind)
            }
            "HELP" => {
                if std::str::from_utf8(text).is_err() {
                    return self.fail(at, "the help text is not valid UTF-8");
                }
                MetadataField::Help(text)
            }
            _ => {
                let stem = family.strip_suffix(text);
                if !text.is_empty() && !stem.is_some_and(|stem| stem.ends_with(b"_")) {
                    return self.fail(at, "the unit is not the suffix of the metric name");
                }
                if std::str::from_utf8(text).is_err() {
                    return self.fail(at, "the unit is not valid UTF-8");
                }
                MetadataField::Unit(text)
            }
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
        if body.get(after) != Some(&b' ') {
            return self.fail(start, "expected one blank and a value after the metric");
        }
        let (value, mut at) = self.float(after + 1, "value")?;
        let mut timestamp_ms = None;
        if body.get(at) == Some(&b' ') && !body[at..].starts_with(b" # {") {
            let (seconds, end) = self.float(at + 1, "timestamp")?;
            if !seconds.is_finite() {
                return self.fail(start, "the timestamp is not finite");
            }
            timestamp_ms = Some((seconds * 1000.0) as i64);
            at = end;
        }
        let mut exemplar = None;
        if body[at..].starts_with(b" # {") {
            let end = self.exemplar(at + 3)?;
            exemplar = Some(&body[at + 3..end]);
            at = end;
        }
        match body.get(at) {
            Some(b'\n') => self.at = at + 1,
            None => return self.fail(at, "data does not end with # EOF"),
            Some(_) => return self.fail(start, "unexpected text at the end of the line"),
        }
        Ok(Some(Item::Sample(SampleLine {
            series: &body[start..after],
            offset: start,
            value,
            timestamp_ms,
            exemplar,
        })))
    }

    /// Checks the exemplar whose brace is at `at`; returns where it ends.
    fn exemplar(&self, at: usize) -> Result<usize, Box<ParseError>> {
        let body = self.body;
        // Its labels are those of a series without a name.
        let mut probe = Vec::with_capacity(64);
        probe.push(b'x');
        let line = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length);
        probe.extend_from_slice(&body[at..line]);
        let mut utf8 = true;
        let scanned = scan_series(&probe, Dialect::OpenMetrics, |part| {
            if let Part::Label(_, value) = part {
                utf8 &= std::str::from_utf8(value).is_ok();
            }
        });
        let length = match scanned {
            Ok(length) if utf8 => length - 1,
            Ok(_) => return self.fail(at, "the exemplar is not valid UTF-8"),
            Err(bad) => return self.fail(at, format!("in the exemplar: {}", bad.what)),
        };
        if body.get(at + length) != Some(&b' ') {
            return self.fail(
                at,
                "expected one blank and a value after the exemplar's labels",
            );
        }
        let (_, mut end) = self.float(at + length + 1, "exemplar's value")?;
        if body.get(end) == Some(&b' ') {
            let (seconds, after) = self.float(end + 1, "exemplar's timestamp")?;
            if !seconds.is_finite() {
                return self.fail(at, "the exemplar's timestamp is not finite");
            }
            end = after;
        }
        Ok(end)
    }

    #[inline]
    fn float(&self, start: usize, what: &str) -> Result<(f64, usize), Box<ParseError>> {
        let rest = &self.body[start..];
        match parse_plain(rest) {
            Some((value, used)) if matches!(rest.get(used), None | Some(b' ' | b'\n')) => {
                Ok((value, start + used))
            }
            _ => self.slow_float(start, what),
        }
    }

    #[cold]
    fn slow_float(&self, start: usize, what: &str) -> Result<(f64, usize), Box<ParseError>> {
        let rest = &self.body[start..];
        let length = memchr::memchr2(b' ', b'\n', rest).unwrap_or(rest.len());
        match read_float(&rest[..length]) {
            Ok(value) => Ok((value, start + length)),
            Err(error) => self.fail(
                start.min(self.body.len().saturating_sub(1)),
                format!("the {what} {error}"),
            ),
        }
    }
}

impl<'a> Parser<'a> for OpenMetricsParser<'a> {
    #[inline]
    fn next(&mut self, guess: &mut impl Guess) -> Result<Option<Item<'a>>, Box<ParseError>> {
        let body = self.body;
        while body.get(self.at) == Some(&b'#')
            && let Some((length, kind)) = guess.metadata(&body[self.at..])
        {
            self.at += length + 1;
            self.kind = kind.unwrap_or(self.kind);
        }
        let start = self.at;
        match body.get(start) {
            None if self.ended => Ok(None),
            None => self.fail(start, "data does not end with # EOF"),
            Some(b'#') => Ok(self.comment(start)?.map(Item::Metadata)),
            Some(b'\n') => self.fail(start, "empty lines are not allowed in OpenMetrics"),
            Some(_) => {
                let rest = &body[start..];
                let guessed = guess.series(rest);
                let length = if guessed > 0 && rest.get(guessed) == Some(&b' ') {
                    guessed
                } else {
                    match scan_series(rest, Dialect::OpenMetrics, |_| {}) {
                        Ok(length) => length,
                        Err(bad) => return self.fail(start + bad.at, bad.what),
                    }
                };
                self.sample(start, start + length)
            }
        }
    }

    fn kind(&self) -> MetricKind {
        self.kind
    }
}
