//! Classic histograms as native ones of custom bounds
//! (`convert_classic_histograms_to_nhcb`), and start timestamps from `_created` lines.
//!
//! A page is rewritten: lines that say one thing together become one line that stands for it, the
//! others are copied, so that the page then goes the way of every page.

use std::collections::HashMap;

use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};
use barograph_model::{
    Exemplar, FloatHistogram, Histogram, IntegerHistogram, Labels, LabelsBuilder, METRIC_NAME,
    MetricKind,
};

use crate::exemplars::read_exemplar;
use crate::ingest::Page;
use crate::parse::{
    Dialect, Item, MetadataField, OpenMetricsParser, ParseError, Parser, SampleLine, TextParser,
    Unknown, parse_float, read_labels, unescape,
};
use crate::protobuf::{NativeHistogram, Rewritten, push_line};

/// What a rewriting is to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conversion {
    /// Make native histograms of classic ones.
    pub(crate) histograms: bool,
    /// Keep the classic ones.
    pub(crate) keep_classic: bool,
    /// Make start timestamps of `_created` lines.
    pub(crate) starts: bool,
}

impl Conversion {
    /// Whether it would change a page.
    pub(crate) fn concerns(self, page: Page<'_>) -> bool {
        let created = || memchr::memmem::find(page.body, b"_created").is_some();
        self.histograms || self.starts && page.dialect == Dialect::OpenMetrics && created()
    }
}

/// Rewrites a page.
///
/// # Errors
/// A line is malformed.
pub(crate) fn convert(
    page: Page<'_>,
    conversion: Conversion,
) -> Result<Rewritten, Box<ParseError>> {
    match page.dialect {
        Dialect::Text => walk(|| TextParser::new(page.body), page, conversion),
        Dialect::OpenMetrics => walk(|| OpenMetricsParser::new(page.body), page, conversion),
    }
}

fn walk<'a, P: Parser<'a>>(
    parser: impl Fn() -> P,
    page: Page<'a>,
    conversion: Conversion,
) -> Result<Rewritten, Box<ParseError>> {
    let created = if conversion.starts && page.dialect == Dialect::OpenMetrics {
        read_created(parser(), page)?
    } else {
        HashMap::new()
    };
    let mut walk = Walk {
        page,
        conversion,
        created,
        out: Rewritten::default(),
        copied: 0,
        family: Vec::new(),
        kind: MetricKind::Unknown,
        state: State::Idle,
        builder: LabelsBuilder::new(),
    };
    let mut parser = parser();
    while let Some(item) = parser.next(&mut Unknown)? {
        match item {
            Item::Metadata(line) => {
                let at = line.text.as_ptr() as usize - page.body.as_ptr() as usize;
                walk.flush(at);
                if let MetadataField::Kind(kind) = line.field {
                    walk.kind = kind;
                    walk.family = unescape(&String::from_utf8_lossy(line.family)).into_bytes();
                }
            }
            Item::Sample(line) => walk.sample(&line)?,
        }
    }
    walk.flush(eof(page));
    walk.copy(page.body.len());
    Ok(walk.out)
}

/// Where the end of a page is announced.
fn eof(page: Page<'_>) -> usize {
    let end = page.body.len();
    match page.dialect {
        Dialect::OpenMetrics => memchr::memmem::rfind(page.body, b"# EOF").unwrap_or(end),
        Dialect::Text => end,
    }
}

/// What a line belongs to: name of the family, labels without the bucket's or quantile's.
type Key = (String, Labels);

/// Start timestamps, milliseconds, by what they are of.
fn read_created<'a, P: Parser<'a>>(
    mut parser: P,
    page: Page<'a>,
) -> Result<HashMap<Key, i64>, Box<ParseError>> {
    let mut created = HashMap::new();
    let mut builder = LabelsBuilder::new();
    while let Some(item) = parser.next(&mut Unknown)? {
        let Item::Sample(line) = item else { continue };
        let kind = parser.kind();
        if !has_start(kind) || memchr::memmem::find(line.series, b"_created").is_none() {
            continue;
        }
        let (name, labels) = identity(page, &line, kind, &mut builder)?;
        if let Some(family) = name.strip_suffix("_created") {
            created.insert((family.to_owned(), labels), (line.value * 1000.0) as i64);
        }
    }
    Ok(created)
}

fn has_start(kind: MetricKind) -> bool {
    matches!(
        kind,
        MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary
    )
}

/// The name of a line's series, and its labels without those that tell lines of one thing apart.
fn identity(
    page: Page<'_>,
    line: &SampleLine<'_>,
    kind: MetricKind,
    builder: &mut LabelsBuilder,
) -> Result<Key, Box<ParseError>> {
    read_labels(line.series, page.dialect, kind, builder)
        .map_err(|error| ParseError::new(page.body, line.offset, error.0))?;
    let name = builder.get(METRIC_NAME).to_owned();
    builder.remove(METRIC_NAME);
    let apart = match kind {
        MetricKind::Histogram => Some("le"),
        MetricKind::Summary => Some("quantile"),
        _ => None,
    };
    if let Some(apart) = apart {
        builder.remove(apart);
    }
    Ok((name, builder.build()))
}

struct Walk<'a> {
    page: Page<'a>,
    conversion: Conversion,
    created: HashMap<Key, i64>,
    out: Rewritten,
    /// How much of the page is copied or left out.
    copied: usize,
    family: Vec<u8>,
    kind: MetricKind,
    state: State,
    builder: LabelsBuilder,
}

enum State {
    Idle,
    /// Lines of one histogram.
    Collecting(Box<Classic>),
    /// After a native histogram: its classic lines are no second one.
    Inhibiting(Key),
}

/// A classic histogram of which some lines were read.
#[derive(Default)]
struct Classic {
    key: Key,
    timestamp_ms: Option<i64>,
    start_ms: i64,
    /// Upper bound and count of everything up to it, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    exemplars: Vec<Exemplar>,
    /// Whether the lines contradict each other.
    is_invalid: bool,
}

/// Which number of a classic histogram a line is.
#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Sum,
    Count,
}

impl<'a> Walk<'a> {
    fn sample(&mut self, line: &SampleLine<'a>) -> Result<(), Box<ParseError>> {
        let (begin, end) = (line.offset, self.end_of(line));
        if let Some(native) = self.page.histogram(begin) {
            self.flush(begin);
            self.copy(begin);
            if self.conversion.histograms {
                let key = identity(self.page, line, self.kind, &mut self.builder)?;
                self.state = State::Inhibiting(key);
            }
            let offset = self.out.text.len();
            self.out.histograms.push(NativeHistogram {
                offset,
                ..native.clone()
            });
            self.pass(begin, end, self.page.start(begin));
            return Ok(());
        }
        let start_ms = self.page.start(begin);
        let is_histogram = self.kind == MetricKind::Histogram && self.conversion.histograms;
        let has_start = self.conversion.starts && has_start(self.kind) && !self.created.is_empty();
        if !is_histogram && !has_start {
            self.flush(begin);
            self.pass(begin, end, start_ms);
            return Ok(());
        }
        let bound = self.bound(line);
        let (name, labels) = identity(self.page, line, self.kind, &mut self.builder)?;
        let (part, family) = self.part(&name, bound);
        let key = (family.to_owned(), labels);
        if has_start && name.ends_with("_created") {
            let family = name[..name.len() - "_created".len()].to_owned();
            if self.created.contains_key(&(family, key.1.clone())) {
                self.flush(begin);
                self.copy(begin);
                self.copied = end;
                return Ok(());
            }
        }
        let start_ms = match start_ms {
            0 if has_start => self.created.get(&key).copied().unwrap_or(0),
            known => known,
        };
        let other = match &self.state {
            State::Idle => false,
            State::Collecting(classic) => classic.key != key,
            State::Inhibiting(native) => *native != key,
        };
        if other {
            self.flush(begin);
            self.state = State::Idle;
        }
        let part = part.filter(|_| is_histogram && key.0.as_bytes() == self.family);
        let (Some(part), false) = (part, matches!(self.state, State::Inhibiting(_))) else {
            self.pass(begin, end, start_ms);
            return Ok(());
        };
        if !matches!(self.state, State::Collecting(_)) {
            self.state = State::Collecting(Box::new(Classic {
                key,
                timestamp_ms: line.timestamp_ms,
                start_ms,
                ..Classic::default()
            }));
        }
        if let State::Collecting(classic) = &mut self.state {
            classic.take(part, line);
        }
        if self.conversion.keep_classic {
            self.pass(begin, end, start_ms);
        } else {
            self.copy(begin);
            self.copied = end;
        }
        Ok(())
    }

    /// The bound of a bucket, before [`identity`] leaves it out.
    fn bound(&mut self, line: &SampleLine<'_>) -> Option<f64> {
        if self.kind != MetricKind::Histogram {
            return None;
        }
        let kind = MetricKind::Unknown;
        read_labels(line.series, self.page.dialect, kind, &mut self.builder).ok()?;
        parse_float(self.builder.get("le").as_bytes()).filter(|bound| !bound.is_nan())
    }

    /// What a series is of its family, and the family's name.
    fn part<'n>(&self, name: &'n str, bound: Option<f64>) -> (Option<Part>, &'n str) {
        match self.kind {
            MetricKind::Histogram => {}
            MetricKind::Counter => return (None, name.strip_suffix("_total").unwrap_or(name)),
            _ => {
                let family = name.strip_suffix("_sum");
                let family = family.or_else(|| name.strip_suffix("_count"));
                return (None, family.unwrap_or(name));
            }
        }
        if let Some(family) = name.strip_suffix("_bucket") {
            return (bound.map(Part::Bucket), family);
        }
        if let Some(family) = name.strip_suffix("_sum") {
            return (Some(Part::Sum), family);
        }
        match name.strip_suffix("_count") {
            Some(family) => (Some(Part::Count), family),
            None => (None, name),
        }
    }

    /// Copies the page up to an offset.
    fn copy(&mut self, until: usize) {
        let text = String::from_utf8_lossy(&self.page.body[self.copied..until.max(self.copied)]);
        self.out.text.push_str(&text);
        self.copied = until.max(self.copied);
    }

    /// Copies a line.
    fn pass(&mut self, begin: usize, end: usize, start_ms: i64) {
        self.copy(begin);
        if start_ms != 0 {
            self.out.starts.push((self.out.text.len(), start_ms));
        }
        self.copy(end);
    }

    /// Where the line after this one begins.
    fn end_of(&self, line: &SampleLine<'_>) -> usize {
        let rest = line.offset + line.series.len();
        let end = memchr::memchr(b'\n', &self.page.body[rest..]);
        end.map_or(self.page.body.len(), |end| rest + end + 1)
    }

    /// Ends a classic histogram, before what stands at an offset.
    fn flush(&mut self, at: usize) {
        let State::Collecting(classic) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        // Lines that were only half of a histogram are gone, as with Prometheus.
        let Some(histogram) = classic.histogram() else {
            return;
        };
        self.copy(at);
        if !self.out.text.is_empty() && !self.out.text.ends_with('\n') {
            self.out.text.push('\n');
        }
        let offset = self.out.text.len();
        if classic.start_ms != 0 {
            self.out.starts.push((offset, classic.start_ms));
        }
        let (name, labels) = &classic.key;
        push_line(
            &mut self.out.text,
            name,
            labels,
            classic.timestamp_ms,
            self.page.dialect,
        );
        let mut exemplars = classic.exemplars;
        exemplars.sort_by(|a, b| {
            let times = a.timestamp_ms.cmp(&b.timestamp_ms);
            times.then_with(|| a.value.total_cmp(&b.value))
        });
        self.out.histograms.push(NativeHistogram {
            offset,
            histogram,
            exemplars,
        });
    }
}

impl Classic {
    /// Takes in the number of a line.
    fn take(&mut self, part: Part, line: &SampleLine<'_>) {
        let value = line.value;
        match part {
            Part::Sum => self.sum = value,
            Part::Count => {
                self.is_invalid |= value < 0.0;
                self.count = Some(value);
            }
            Part::Bucket(bound) => {
                self.is_invalid |= value < 0.0;
                let at = self.buckets.partition_point(|(have, _)| *have < bound);
                // Of two that are the same, the first counts.
                if self.buckets.get(at).is_none_or(|(have, _)| *have > bound) {
                    self.buckets.insert(at, (bound, value));
                    let around =
                        &self.buckets[at.saturating_sub(1)..(at + 2).min(self.buckets.len())];
                    self.is_invalid |= around.windows(2).any(|pair| pair[1].1 < pair[0].1);
                }
            }
        }
        // Without a time of its own it could not be told from the last scrape's.
        let exemplar = line.exemplar.and_then(|text| read_exemplar(text, i64::MIN));
        self.exemplars
            .extend(exemplar.filter(|exemplar| exemplar.timestamp_ms != i64::MIN));
    }

    /// The native histogram, with every bucket, empty ones too: so its layout stays the same from
    /// scrape to scrape, which is what storing it takes little for. `None` where the lines
    /// contradict each other.
    fn histogram(&self) -> Option<Histogram> {
        let newest = self.buckets.last().map(|(_, count)| *count);
        let count = self.count.or(newest).unwrap_or(0.0);
        let mut buckets = self.buckets.clone();
        if buckets
            .last()
            .is_none_or(|(bound, _)| *bound != f64::INFINITY)
        {
            buckets.push((f64::INFINITY, count));
        }
        let last = buckets.last().map(|(_, count)| *count);
        if self.is_invalid || last != Some(count) {
            return None;
        }
        let mut counts = Vec::with_capacity(buckets.len());
        let mut below = 0.0;
        for (_, upto) in &buckets {
            counts.push(upto - below);
            below = *upto;
        }
        let spans = vec![Span {
            offset: 0,
            length: buckets.len() as u32,
        }];
        let bounds = buckets[..buckets.len() - 1].iter();
        let custom_bounds = bounds.map(|(bound, _)| *bound).collect();
        let is_whole = |count: f64| (count as i64) as f64 == count;
        if buckets.iter().all(|(_, count)| is_whole(*count)) && is_whole(count) {
            let histogram = IntegerHistogram {
                schema: CUSTOM_BOUNDS_SCHEMA,
                count: count as u64,
                sum: self.sum,
                positive_spans: spans,
                positive_buckets: counts.iter().map(|count| *count as u64).collect(),
                custom_bounds,
                ..IntegerHistogram::default()
            };
            return histogram
                .validate()
                .is_ok()
                .then_some(Histogram::Integer(histogram));
        }
        let histogram = FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: spans,
            positive_buckets: counts,
            custom_bounds,
            ..FloatHistogram::default()
        };
        histogram
            .validate()
            .is_ok()
            .then_some(Histogram::Float(histogram))
    }
}

#[cfg(test)]
#[path = "classic_tests.rs"]
mod tests;
