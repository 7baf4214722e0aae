//! Exposition text, read line by line without copying.
//!
//! A parser hands out borrowed slices. It is asked with a [`Guess`], which may know the line that
//! comes, because the last scrape had the same line there. A right guess spares reading its labels.

mod error;
mod number;
mod open_metrics;
mod series;
mod text;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub(crate) use error::ParseError;
pub(crate) use number::parse_float;
pub(crate) use open_metrics::OpenMetricsParser;
pub(crate) use series::{read_labels, unescape};
pub(crate) use text::TextParser;

use barograph_model::MetricKind;

/// The dialects of exposition text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `text/plain`: 0.0.4, and 1.0.0 with quoted names.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

/// What a line says.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A sample.
    Sample(SampleLine<'a>),
    /// Something about a family.
    Metadata(MetadataLine<'a>),
}

/// A sample as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleLine<'a> {
    /// Name and labels, as written: the identity of the line.
    pub(crate) series: &'a [u8],
    /// Where `series` begins in the body.
    pub(crate) offset: usize,
    /// The value; every NaN is the canonical one.
    pub(crate) value: f64,
    /// The timestamp, where one is written.
    pub(crate) timestamp_ms: Option<i64>,
    /// Its exemplar, from the brace to the end of the line: well-formed, but not read.
    pub(crate) exemplar: Option<&'a [u8]>,
}

/// A line about a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetadataLine<'a> {
    /// The family, as written without quotes.
    pub(crate) family: &'a [u8],
    /// What is said.
    pub(crate) field: MetadataField<'a>,
    /// The whole line.
    pub(crate) text: &'a [u8],
}

/// What a metadata line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MetadataField<'a> {
    /// `# TYPE`.
    Kind(MetricKind),
    /// `# HELP`, still escaped.
    Help(&'a [u8]),
    /// `# UNIT`.
    Unit(&'a [u8]),
}

/// What the last scrape lets expect. `rest` is the body from the start of a line.
pub(crate) trait Guess {
    /// How many bytes of `rest` are the series text of a sample line; 0 if that is not known.
    fn series(&mut self, rest: &[u8]) -> usize;

    /// How many bytes of `rest`, which begins with `#`, are a metadata line that is taken note of
    /// by this call, and the kind it declares, if it does.
    fn metadata(&mut self, rest: &[u8]) -> Option<(usize, Option<MetricKind>)> {
        let _ = rest;
        None
    }
}

/// Expects nothing.
pub(crate) struct Unknown;

impl Guess for Unknown {
    fn series(&mut self, _rest: &[u8]) -> usize {
        0
    }
}

/// A reader of one body.
pub(crate) trait Parser<'a> {
    /// The next sample or metadata line that `guess` did not know; `None` at the end.
    ///
    /// # Errors
    /// The line is malformed.
    fn next(&mut self, guess: &mut impl Guess) -> Result<Option<Item<'a>>, Box<ParseError>>;

    /// The kind the last `# TYPE` line declared.
    fn kind(&self) -> MetricKind;
}
