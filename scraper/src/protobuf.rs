//! The protocol buffers exposition (`io.prometheus.client.MetricFamily`, delimited).
//!
//! It is rewritten as OpenMetrics text, which then goes the way of every page: the cache knows its
//! lines, relabelling and staleness work as they do. A native histogram, for which there is no text,
//! becomes a line that stands for it; the histogram itself is kept beside.

pub(crate) mod histogram;

use std::fmt::Write as _;

use barograph_model::labels::{is_legacy_label_name, is_legacy_metric_name};
use barograph_model::{Exemplar, Histogram, Labels, number};

use crate::parse::Dialect;
use crate::wire::{Fields, Malformed, Value};

/// Longest text a page may become.
const TEXT_LIMIT_BYTES: usize = 512 << 20;

/// A page rewritten.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// OpenMetrics text.
    pub(crate) text: String,
    /// Native histograms, in order of their lines.
    pub(crate) histograms: Vec<NativeHistogram>,
    /// Since when lines count, milliseconds: by where they begin, in order.
    pub(crate) starts: Vec<(usize, i64)>,
}

/// A native histogram of a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NativeHistogram {
    /// Where the line begins that stands for it.
    pub(crate) offset: usize,
    /// What it says.
    pub(crate) histogram: Histogram,
    /// Its exemplars that have a time, in order.
    pub(crate) exemplars: Vec<Exemplar>,
}

/// Which histograms are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Native ones, where there are.
    pub(crate) native: bool,
    /// Classic ones beside native ones.
    pub(crate) classic_too: bool,
    /// Start timestamps.
    pub(crate) starts: bool,
}

/// Rewrites a page.
///
/// # Errors
/// Where it is malformed.
pub(crate) fn rewrite(body: &[u8], wanted: Wanted) -> Result<Rewritten, String> {
    let mut out = Rewritten::default();
    let mut messages = Fields::new(body);
    let mut number = 0;
    loop {
        let family = messages.message().map_err(|error| {
            format!(
                "the protocol buffers page is malformed after {number} families: {}",
                error.0
            )
        })?;
        let Some(family) = family else { break };
        number += 1;
        Family::read(family)
            .and_then(|family| family.write(wanted, &mut out))
            .map_err(|error| {
                format!("family {number} of the protocol buffers page: {}", error.0)
            })?;
        if out.text.len() > TEXT_LIMIT_BYTES {
            return Err(format!(
                "the protocol buffers page is more than {TEXT_LIMIT_BYTES} bytes as text"
            ));
        }
    }
    out.text.push_str("# EOF\n");
    Ok(out)
}

/// Kinds, as numbered.
mod kind {
    pub(super) const COUNTER: u64 = 0;
    pub(super) const GAUGE: u64 = 1;
    pub(super) const SUMMARY: u64 = 2;
    pub(super) const HISTOGRAM: u64 = 4;
    pub(super) const GAUGE_HISTOGRAM: u64 = 5;
}

#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    kind: u64,
    metrics: Vec<&'a [u8]>,
}

/// One series or what becomes several.
#[derive(Default)]
struct Metric<'a> {
    labels: Vec<(&'a str, &'a str)>,
    timestamp_ms: i64,
    /// The message of its kind.
    content: Option<&'a [u8]>,
}

impl<'a> Family<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut family = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => family.name = value.text()?,
                2 => family.help = value.text()?,
                3 => family.kind = value.integer()?,
                4 => family.metrics.push(value.bytes()?),
                5 => family.unit = value.text()?,
                _ => {}
            }
        }
        if family.name.is_empty() {
            return Err(Malformed("it has no name"));
        }
        Ok(family)
    }

    fn write(&self, wanted: Wanted, out: &mut Rewritten) -> Result<(), Malformed> {
        let word = match self.kind {
            kind::COUNTER => "counter",
            kind::GAUGE => "gauge",
            kind::SUMMARY => "summary",
            kind::HISTOGRAM => "histogram",
            kind::GAUGE_HISTOGRAM => "gaugehistogram",
            _ => "unknown",
        };
        let mut name = String::new();
        push_family(&mut name, self.name);
        let _ = writeln!(out.text, "# TYPE {name} {word}");
        if !self.help.is_empty() {
            let _ = write!(out.text, "# HELP {name} ");
            push_escaped(&mut out.text, self.help);
            out.text.push('\n');
        }
        let stem = self.name.strip_suffix(self.unit);
        if !self.unit.is_empty() && stem.is_some_and(|stem| stem.ends_with('_')) {
            let _ = writeln!(out.text, "# UNIT {name} {}", self.unit);
        }
        for message in &self.metrics {
            let metric = Metric::read(message)?;
            let Some(content) = metric.content else {
                continue;
            };
            match self.kind {
                kind::SUMMARY => self.write_summary(&metric, content, wanted, out)?,
                kind::HISTOGRAM | kind::GAUGE_HISTOGRAM => {
                    self.write_histogram(&metric, content, wanted, out)?;
                }
                _ => self.write_value(&metric, content, wanted, out)?,
            }
        }
        Ok(())
    }

    /// A counter, a gauge or something untyped: the value comes first, a counter's exemplar second.
    fn write_value(
        &self,
        metric: &Metric<'_>,
        content: &[u8],
        wanted: Wanted,
        out: &mut Rewritten,
    ) -> Result<(), Malformed> {
        let (mut value, mut exemplar, mut start_ms) = (0.0, None, None);
        let mut fields = Fields::new(content);
        while let Some((number, content)) = fields.next()? {
            match number {
                1 => value = content.double()?,
                2 if self.kind == kind::COUNTER => exemplar = Some(read_exemplar(content)?),
                3 if self.kind == kind::COUNTER && wanted.starts => {
                    start_ms = Some(read_time(content)?);
                }
                _ => {}
            }
        }
        out.begin(start_ms);
        push_series(&mut out.text, self.name, "", &metric.labels, None);
        push_sample(&mut out.text, value, metric.timestamp_ms, exemplar.as_ref());
        Ok(())
    }

    fn write_summary(
        &self,
        metric: &Metric<'_>,
        content: &[u8],
        wanted: Wanted,
        out: &mut Rewritten,
    ) -> Result<(), Malformed> {
        let (mut count, mut sum, mut start_ms, mut quantiles) = (0, 0.0, None, Vec::new());
        let mut fields = Fields::new(content);
        while let Some((number, content)) = fields.next()? {
            match number {
                1 => count = content.integer()?,
                2 => sum = content.double()?,
                3 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut fields = Fields::new(content.bytes()?);
                    while let Some((number, content)) = fields.next()? {
                        match number {
                            1 => quantile = content.double()?,
                            2 => value = content.double()?,
                            _ => {}
                        }
                    }
                    quantiles.push((quantile, value));
                }
                4 if wanted.starts => start_ms = Some(read_time(content)?),
                _ => {}
            }
        }
        for (quantile, value) in quantiles {
            out.begin(start_ms);
            let quantile = Some(("quantile", quantile));
            push_series(&mut out.text, self.name, "", &metric.labels, quantile);
            push_sample(&mut out.text, value, metric.timestamp_ms, None);
        }
        for (suffix, value) in [("_sum", sum), ("_count", count as f64)] {
            out.begin(start_ms);
            push_series(&mut out.text, self.name, suffix, &metric.labels, None);
            push_sample(&mut out.text, value, metric.timestamp_ms, None);
        }
        Ok(())
    }

    fn write_histogram(
        &self,
        metric: &Metric<'_>,
        content: &[u8],
        wanted: Wanted,
        out: &mut Rewritten,
    ) -> Result<(), Malformed> {
        let read = histogram::Message::read(content)?;
        let native = wanted.native && read.is_native();
        let start_ms = read.created.filter(|_| wanted.starts);
        let start_ms = start_ms.map(read_time).transpose()?;
        if native {
            out.begin(start_ms);
            let offset = out.text.len();
            push_series(&mut out.text, self.name, "", &metric.labels, None);
            push_sample(&mut out.text, 0.0, metric.timestamp_ms, None);
            let histogram = read.native(self.kind == kind::GAUGE_HISTOGRAM)?;
            let mut exemplars = Vec::new();
            for message in &read.exemplars {
                let exemplar = read_exemplar(*message)?;
                // Without a time of its own it could not be told from the last scrape's.
                exemplars.extend(exemplar.timestamp_ms.map(|timestamp_ms| Exemplar {
                    timestamp_ms,
                    ..exemplar.exemplar
                }));
            }
            exemplars.sort_by(|a, b| {
                let times = a.timestamp_ms.cmp(&b.timestamp_ms);
                times.then_with(|| a.value.total_cmp(&b.value))
            });
            out.histograms.push(NativeHistogram {
                offset,
                histogram,
                exemplars,
            });
            if !wanted.classic_too || read.buckets.is_empty() {
                return Ok(());
            }
        }
        let count = read.count();
        let mut has_infinity = false;
        let mut push = |suffix, bound, value, exemplar: Option<&ReadExemplar>| {
            out.begin(start_ms);
            push_series(&mut out.text, self.name, suffix, &metric.labels, bound);
            push_sample(&mut out.text, value, metric.timestamp_ms, exemplar);
        };
        for message in &read.buckets {
            let bucket = histogram::Bucket::read(message)?;
            has_infinity |= bucket.upper_bound == f64::INFINITY;
            let exemplar = bucket.exemplar.map(read_exemplar).transpose()?;
            let bound = Some(("le", bucket.upper_bound));
            push("_bucket", bound, bucket.count, exemplar.as_ref());
        }
        if !has_infinity {
            push("_bucket", Some(("le", f64::INFINITY)), count, None);
        }
        push("_sum", None, read.sum, None);
        push("_count", None, count, None);
        Ok(())
    }
}

impl Rewritten {
    /// Notes since when the line counts that comes next.
    fn begin(&mut self, start_ms: Option<i64>) {
        let start_ms = start_ms.filter(|start_ms| *start_ms != 0);
        self.starts
            .extend(start_ms.map(|start_ms| (self.text.len(), start_ms)));
    }
}

impl<'a> Metric<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut metric = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => metric.labels.push(read_label(value)?),
                2..=5 | 7 => metric.content = Some(value.bytes()?),
                6 => metric.timestamp_ms = value.integer()? as i64,
                _ => {}
            }
        }
        Ok(metric)
    }
}

/// An exemplar, and whether it has a time of its own.
struct ReadExemplar {
    exemplar: Exemplar,
    timestamp_ms: Option<i64>,
}

fn read_exemplar(value: Value<'_>) -> Result<ReadExemplar, Malformed> {
    let (mut labels, mut number, mut timestamp_ms) = (Vec::new(), 0.0, None);
    let mut fields = Fields::new(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => labels.push(read_label(value)?),
            2 => number = value.double()?,
            3 => timestamp_ms = Some(read_time(value)?),
            _ => {}
        }
    }
    Ok(ReadExemplar {
        exemplar: Exemplar {
            labels: Labels::from_pairs(labels),
            value: number,
            timestamp_ms: 0,
        },
        timestamp_ms,
    })
}

/// A moment, in milliseconds since the Unix epoch.
fn read_time(value: Value<'_>) -> Result<i64, Malformed> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut fields = Fields::new(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => seconds = value.integer()? as i64,
            2 => nanoseconds = value.integer()? as i64,
            _ => {}
        }
    }
    let whole_ms = seconds.saturating_mul(1000);
    Ok(whole_ms.saturating_add(nanoseconds / 1_000_000))
}

fn read_label(value: Value<'_>) -> Result<(&str, &str), Malformed> {
    let (mut name, mut text) = ("", "");
    let mut fields = Fields::new(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((name, text))
}

/// Appends a line that stands for a native histogram.
pub(crate) fn push_line(
    out: &mut String,
    name: &str,
    labels: &Labels,
    timestamp_ms: Option<i64>,
    dialect: Dialect,
) {
    let labels: Vec<_> = labels.iter().collect();
    push_series(out, name, "", &labels, None);
    match (timestamp_ms, dialect) {
        (Some(timestamp_ms), Dialect::Text) => {
            let _ = writeln!(out, " 0 {timestamp_ms}");
        }
        (Some(timestamp_ms), Dialect::OpenMetrics) => {
            out.push_str(" 0");
            push_seconds(out, timestamp_ms);
            out.push('\n');
        }
        (None, _) => out.push_str(" 0\n"),
    }
}

/// Appends name and labels as a sample line begins.
fn push_series(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    bound: Option<(&str, f64)>,
) {
    if is_legacy_metric_name(name) {
        out.push_str(name);
        out.push_str(suffix);
        if !labels.is_empty() || bound.is_some() {
            push_labels(out, None, labels, bound);
        }
    } else {
        push_labels(out, Some((name, suffix)), labels, bound);
    }
}

/// Appends labels in braces, behind a name that has to be quoted.
fn push_labels(
    out: &mut String,
    quoted: Option<(&str, &str)>,
    labels: &[(&str, &str)],
    bound: Option<(&str, f64)>,
) {
    out.push('{');
    if let Some((name, suffix)) = quoted {
        out.push('"');
        push_escaped(out, name);
        out.push_str(suffix);
        out.push('"');
    }
    let mut first = quoted.is_none();
    let mut push = |out: &mut String, name: &str, value: &str| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        if is_legacy_label_name(name) {
            out.push_str(name);
        } else {
            out.push('"');
            push_escaped(out, name);
            out.push('"');
        }
        out.push_str("=\"");
        push_escaped(out, value);
        out.push('"');
    };
    for (name, value) in labels {
        push(out, name, value);
    }
    if let Some((name, bound)) = bound {
        let mut text = String::new();
        number::push_open_metrics(&mut text, bound);
        push(out, name, &text);
    }
    out.push('}');
}

/// Appends what follows the series.
fn push_sample(out: &mut String, value: f64, timestamp_ms: i64, exemplar: Option<&ReadExemplar>) {
    out.push(' ');
    number::push_go_g(out, value);
    if timestamp_ms != 0 {
        push_seconds(out, timestamp_ms);
    }
    if let Some(read) = exemplar {
        out.push_str(" # ");
        let labels: Vec<_> = read.exemplar.labels.iter().collect();
        push_labels(out, None, &labels, None);
        out.push(' ');
        number::push_go_g(out, read.exemplar.value);
        if let Some(timestamp_ms) = read.timestamp_ms {
            push_seconds(out, timestamp_ms);
        }
    }
    out.push('\n');
}

/// Appends a time in seconds. Half a millisecond more, so that whoever cuts what is read to
/// milliseconds gets this one.
fn push_seconds(out: &mut String, timestamp_ms: i64) {
    let sign = if timestamp_ms < 0 { "-" } else { "" };
    let ms = timestamp_ms.unsigned_abs();
    let _ = write!(out, " {sign}{}.{:03}5", ms / 1000, ms % 1000);
}

fn push_family(out: &mut String, name: &str) {
    if is_legacy_metric_name(name) {
        out.push_str(name);
    } else {
        out.push('"');
        push_escaped(out, name);
        out.push('"');
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(char),
        }
    }
}

#[cfg(test)]
#[path = "protobuf/tests.rs"]
mod tests;
