//! The series part of a line: a name, labels in braces, or both.

use barograph_model::{LabelsBuilder, METRIC_NAME, MetricKind, number};

use super::Dialect;
use super::number::parse_float;

/// Which bytes may stand where in a name.
const NAME_START: u8 = 1;
const COLON: u8 = 2;
const DIGIT: u8 = 4;
const CLASSES: [u8; 256] = {
    let mut classes = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME_START,
            b':' => COLON,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// A piece of the series text. Slices are as written, without quotes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// The metric name.
    Name(&'a [u8]),
    /// A label.
    Label(&'a [u8], &'a [u8]),
}

/// What is wrong with a series, and where.
#[derive(Debug)]
pub(super) struct SeriesError {
    /// Offset from the start of the series text.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) what: &'static str,
}

/// Why a series text gives no label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelError(pub(crate) String);

/// The length of a metric name at the head of `text`, 0 if none is there.
#[inline]
fn name_length(text: &[u8], colons: bool) -> usize {
    let colon = if colons { COLON } else { 0 };
    let class = |byte: &u8| CLASSES[*byte as usize];
    match text.first() {
        Some(first) if class(first) & (NAME_START | colon) != 0 => {}
        _ => return 0,
    }
    text.iter()
        .position(|byte| class(byte) & (NAME_START | DIGIT | colon) == 0)
        .unwrap_or(text.len())
}

/// Skips spaces and tabs from `at`.
#[inline]
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// Reads the series text at the head of `text`: calls `visit` with each part, returns its length.
pub(super) fn scan_series<'a>(
    text: &'a [u8],
    dialect: Dialect,
    mut visit: impl FnMut(Part<'a>),
) -> Result<usize, SeriesError> {
    let fail = |at, what| Err(SeriesError { at, what });
    let blanks = |at| match dialect {
        Dialect::Text => skip_blanks(text, at),
        Dialect::OpenMetrics => at,
    };
    let name = name_length(text, true);
    let mut named = name > 0;
    if named {
        visit(Part::Name(&text[..name]));
    } else if text.first() != Some(&b'{') {
        return fail(0, "expected a metric name");
    }
    let brace = blanks(name);
    if text.get(brace) != Some(&b'{') {
        return Ok(name);
    }
    let mut at = blanks(brace + 1);
    loop {
        let (label, quoted) = match text.get(at) {
            Some(b'}') => break,
            Some(b'"') => {
                let Some(length) = quoted_length(&text[at..], true) else {
                    return fail(at, "quotes are not closed");
                };
                let label = &text[at + 1..at + length - 1];
                at += length;
                (label, true)
            }
            _ => {
                let length = name_length(&text[at..], false);
                if length == 0 {
                    return fail(at, "expected a label name");
                }
                let label = &text[at..at + length];
                at += length;
                (label, false)
            }
        };
        at = blanks(at);
        // A quoted string that stands alone is the metric name.
        if quoted && matches!(text.get(at), Some(b',' | b'}')) {
            if named {
                return fail(at, "the metric name is given twice");
            }
            named = true;
            visit(Part::Name(label));
            if text[at] == b',' {
                at = blanks(at + 1);
            }
            continue;
        }
        if text.get(at) != Some(&b'=') {
            return fail(at, "expected `=` after the label name");
        }
        at = blanks(at + 1);
        if text.get(at) != Some(&b'"') {
            return fail(at, "expected a label value in double quotes");
        }
        let Some(length) = quoted_length(&text[at..], dialect == Dialect::Text) else {
            return fail(at, "the quotes of the label value are not closed");
        };
        visit(Part::Label(label, &text[at + 1..at + length - 1]));
        at = blanks(at + length);
        match text.get(at) {
            Some(b',') => at = blanks(at + 1),
            Some(b'}') => {}
            // Text 0.0.4 as Prometheus reads it does not ask for the comma.
            _ if dialect == Dialect::Text => {}
            _ => return fail(at, "expected `,` or `}` after the label value"),
        }
    }
    if !named {
        return fail(at, "the metric name is missing");
    }
    Ok(at + 1)
}

/// The length of the quoted string at the head of `text`, quotes included.
#[inline]
fn quoted_length(text: &[u8], newlines: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            let inside = &text[1..at];
            return (newlines || memchr::memchr(b'\n', inside).is_none()).then_some(at + 1);
        }
        at += 2;
    }
}

/// The family that a line of metadata is about, whose name, perhaps quoted, stands at `start`; and
/// where it ends. `word` is what stands before it.
pub(super) fn scan_family<'a>(
    line: &'a [u8],
    start: usize,
    word: &str,
) -> Result<(&'a [u8], usize), String> {
    let text = &line[start..];
    if text.first() == Some(&b'"') {
        let length = quoted_length(text, true).ok_or("quotes are not closed")?;
        return Ok((&text[1..length - 1], start + length));
    }
    match name_length(text, true) {
        0 => Err(format!("expected a metric name after {word}")),
        length => Ok((&text[..length], start + length)),
    }
}

/// Fills `labels` with what `series`, a valid series text, says. `kind` decides whether `le` and
/// `quantile` are numbers to be written canonically.
pub(crate) fn read_labels(
    series: &[u8],
    dialect: Dialect,
    kind: MetricKind,
    labels: &mut LabelsBuilder,
) -> Result<(), LabelError> {
    labels.clear();
    let mut error = None;
    let scanned = scan_series(series, dialect, |part| {
        if error.is_none() {
            error = add_part(part, kind, labels).err();
        }
    });
    match (error, scanned) {
        (Some(error), _) => Err(error),
        (None, Err(bad)) => Err(LabelError(bad.what.to_owned())),
        (None, Ok(_)) => Ok(()),
    }
}

fn add_part(
    part: Part<'_>,
    kind: MetricKind,
    labels: &mut LabelsBuilder,
) -> Result<(), LabelError> {
    let text = |bytes: &[u8], what: &str| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(unescape(text)),
        Err(_) => Err(LabelError(format!("the {what} is not valid UTF-8"))),
    };
    let (name, value) = match part {
        Part::Name(name) => (METRIC_NAME.to_owned(), text(name, "metric name")?),
        Part::Label(name, value) => {
            let name = text(name, "label name")?;
            if name.is_empty() {
                return Err(LabelError("a label name is empty".to_owned()));
            }
            let value = text(value, "label value")?;
            let numeric = match kind {
                MetricKind::Histogram => name == "le",
                MetricKind::Summary => name == "quantile",
                _ => false,
            };
            let value = match parse_float(value.as_bytes()) {
                Some(bound) if numeric => {
                    let mut canonical = String::new();
                    number::push_open_metrics(&mut canonical, bound);
                    canonical
                }
                _ => value,
            };
            (name, value)
        }
    };
    if !labels.get(&name).is_empty() {
        return Err(LabelError(format!("the label {name:?} is given twice")));
    }
    labels.set(&name, &value);
    Ok(())
}

/// Undoes `\\`, `\"` and `\n`; any other backslash stands for itself.
pub(crate) fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let (ch, used) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'"') => ('"', 2),
            Some(b'n') => ('\n', 2),
            _ => ('\\', 1),
        };
        plain.push(ch);
        rest = &rest[at + used..];
    }
    plain.push_str(rest);
    plain
}
