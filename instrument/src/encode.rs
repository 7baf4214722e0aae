//! Exposition text: what a scrape reads.

use barograph_model::labels::{is_legacy_label_name, is_legacy_metric_name};
use barograph_model::{MetricKind, number};

use crate::format::Format;
use crate::histogram::Bounds;

/// Writes families of samples in one format.
///
/// What would make the page unreadable is left out and counted: a name that is none, a label twice,
/// a sample that does not belong to the family begun last. A family without samples leaves no trace.
pub struct Encoder<'a> {
    out: &'a mut String,
    format: Format,
    /// The family begun last, as it was named; empty when that was no name.
    family: String,
    kind: MetricKind,
    /// Where the family's lines begin, and where its samples do.
    begins: usize,
    samples_begin: usize,
    left_out: u64,
    /// Where the names of the current sample's labels are in `out`.
    label_names: Vec<std::ops::Range<usize>>,
    counts: Vec<u64>,
    own_counts: Vec<u64>,
}

impl<'a> Encoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(format: Format, out: &'a mut String) -> Self {
        let begins = out.len();
        Self {
            out,
            format,
            family: String::new(),
            kind: MetricKind::Unknown,
            begins,
            samples_begin: begins,
            left_out: 0,
            label_names: Vec::new(),
            counts: Vec::new(),
            own_counts: Vec::new(),
        }
    }

    /// The format it writes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Begins a family: writes its HELP and TYPE. `name` includes `_total` for counters.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        self.end_family();
        self.family.clear();
        self.begins = self.out.len();
        self.samples_begin = self.begins;
        self.kind = kind;
        if !is_legacy_metric_name(name) {
            self.left_out += 1;
            return;
        }
        self.family.push_str(name);
        let (name, kind) = match self.format {
            Format::Text004 => (name, kind_in_text_004(kind)),
            Format::OpenMetrics1 => (open_metrics_family(name, kind), kind.as_str()),
        };
        self.out.extend(["# HELP ", name, " "]);
        push_escaped_help(self.out, help, self.format);
        self.out.extend(["\n# TYPE ", name, " ", kind, "\n"]);
        self.samples_begin = self.out.len();
    }

    /// Writes one sample line of the family begun last. A label without a value is the same as no
    /// label, and is not written.
    pub fn sample<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (N, V)>,
        value: f64,
    ) {
        let mark = self.out.len();
        let Some(suffix) = self.suffix_of(name) else {
            self.left_out += 1;
            return;
        };
        self.out.extend([name, suffix]);
        self.label_names.clear();
        let mut open = false;
        for (label, text) in labels {
            if text.as_ref().is_empty() {
                continue;
            }
            let label = label.as_ref();
            let is_repeated = self
                .label_names
                .iter()
                .any(|range| &self.out[range.clone()] == label);
            if is_repeated || !is_legacy_label_name(label) {
                self.out.truncate(mark);
                self.left_out += 1;
                return;
            }
            self.out.push(if open { ',' } else { '{' });
            open = true;
            self.label_names
                .push(self.out.len()..self.out.len() + label.len());
            self.out.push_str(label);
            self.out.push_str("=\"");
            push_escaped_label(self.out, text.as_ref());
            self.out.push('"');
        }
        self.out.push_str(if open { "} " } else { " " });
        push_value(self.out, value);
        self.out.push('\n');
    }

    /// Ends the page.
    pub fn finish(mut self) {
        self.end_family();
        if self.format == Format::OpenMetrics1 {
            self.out.push_str("# EOF\n");
        }
        self.begins = self.out.len();
        self.samples_begin = usize::MAX;
    }

    /// How many families and samples were left out since this was asked last.
    pub(crate) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Where a later [`Self::rewind`] returns to.
    pub(crate) fn mark(&mut self) -> usize {
        self.end_family();
        self.family.clear();
        self.begins = self.out.len();
        self.samples_begin = usize::MAX;
        self.out.len()
    }

    /// Takes back everything written since `mark`.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.out.truncate(mark);
        self.mark();
    }

    /// Appends lines that are known to be right.
    pub(crate) fn append(&mut self, lines: &str) {
        self.out.push_str(lines);
    }

    /// What has been written so far.
    pub(crate) fn written(&self) -> &str {
        self.out
    }

    /// Takes back the HELP and TYPE of a family that got no sample.
    fn end_family(&mut self) {
        if self.out.len() == self.samples_begin {
            self.out.truncate(self.begins);
        }
    }

    /// What must follow `name` in this format, if it may be a sample of the current family.
    fn suffix_of(&self, name: &str) -> Option<&'static str> {
        if self.family.is_empty() {
            return None;
        }
        let rest = name.strip_prefix(self.family.as_str())?;
        let fits = match self.kind {
            MetricKind::Counter => matches!(rest, "" | "_total"),
            MetricKind::Histogram => matches!(rest, "_bucket" | "_sum" | "_count"),
            MetricKind::GaugeHistogram => matches!(rest, "_bucket" | "_gsum" | "_gcount"),
            MetricKind::Summary => matches!(rest, "" | "_sum" | "_count"),
            _ => rest.is_empty(),
        };
        let needs_total = self.format == Format::OpenMetrics1
            && self.kind == MetricKind::Counter
            && !name.ends_with("_total");
        fits.then_some(if needs_total { "_total" } else { "" })
    }
}

impl Drop for Encoder<'_> {
    fn drop(&mut self) {
        self.end_family();
    }
}

/// Writes the samples of one series, whose labels are escaped already.
#[doc(hidden)]
pub struct Line<'p, 'e> {
    encoder: &'p mut Encoder<'e>,
    name: &'p str,
    block: &'p str,
}

impl<'p, 'e> Line<'p, 'e> {
    pub(crate) fn new(encoder: &'p mut Encoder<'e>, name: &'p str, block: &'p str) -> Self {
        Self {
            encoder,
            name,
            block,
        }
    }

    pub(crate) fn whole(&mut self, suffix: &str, value: u64) {
        self.begin(suffix);
        self.encoder.out.push_str(itoa::Buffer::new().format(value));
        self.encoder.out.push('\n');
    }

    pub(crate) fn float(&mut self, suffix: &str, value: f64) {
        self.begin(suffix);
        push_value(self.encoder.out, value);
        self.encoder.out.push('\n');
    }

    /// Writes a histogram: `read` fills the counts (its second argument is scratch space) and
    /// returns the sum.
    pub(crate) fn histogram(
        &mut self,
        bounds: &Bounds,
        read: impl FnOnce(&mut Vec<u64>, &mut Vec<u64>) -> f64,
    ) {
        let mut counts = std::mem::take(&mut self.encoder.counts);
        let sum = read(&mut counts, &mut self.encoder.own_counts);
        let mut total = 0;
        for (text, count) in bounds.text.iter().zip(&counts) {
            total += count;
            let le = match self.encoder.format {
                Format::Text004 => &text.text_004,
                Format::OpenMetrics1 => &text.open_metrics,
            };
            let out = &mut *self.encoder.out;
            out.push_str(self.name);
            out.push_str("_bucket{");
            if !self.block.is_empty() {
                out.push_str(self.block);
                out.push(',');
            }
            out.push_str("le=\"");
            out.push_str(le);
            out.push_str("\"} ");
            out.push_str(itoa::Buffer::new().format(total));
            out.push('\n');
        }
        self.encoder.counts = counts;
        self.float("_sum", sum);
        self.whole("_count", total);
    }

    fn begin(&mut self, suffix: &str) {
        let out = &mut *self.encoder.out;
        out.push_str(self.name);
        out.push_str(suffix);
        if self.block.is_empty() {
            out.push(' ');
        } else {
            out.push('{');
            out.push_str(self.block);
            out.push_str("} ");
        }
    }
}

/// A whole number without a point or an exponent, anything else as Go's `%g` writes it. Both
/// formats allow both.
fn push_value(out: &mut String, value: f64) {
    /// Beyond, a float no longer holds every whole number, and digits would pretend it did.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = value as i64;
    if whole as f64 == value && value.abs() <= MAX_EXACT && (whole != 0 || value.is_sign_positive())
    {
        out.push_str(itoa::Buffer::new().format(whole));
    } else {
        number::push_go_g(out, value);
    }
}

/// Appends the value of a label, escaped as both formats want it.
pub(crate) fn push_escaped_label(out: &mut String, value: &str) {
    push_escaped(out, value, true);
}

fn push_escaped_help(out: &mut String, help: &str, format: Format) {
    push_escaped(out, help, format == Format::OpenMetrics1);
}

fn push_escaped(out: &mut String, text: &str, escape_quotes: bool) {
    let mut rest = text;
    let needs_escape = |byte: u8| byte == b'\\' || byte == b'\n' || (byte == b'"' && escape_quotes);
    while let Some(at) = rest.bytes().position(needs_escape) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ => "\\\"",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// The name OpenMetrics gives a family: without what its samples' names end in.
pub(crate) fn open_metrics_family(name: &str, kind: MetricKind) -> &str {
    match kind {
        MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
        MetricKind::Info => name.strip_suffix("_info").unwrap_or(name),
        _ => name,
    }
}

/// Text 0.0.4 knows fewer types.
fn kind_in_text_004(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown | MetricKind::GaugeHistogram => "untyped",
        MetricKind::Info | MetricKind::StateSet => "gauge",
        kind => kind.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(&str, &str); 0] = [];

    fn encode(format: Format, write: impl FnOnce(&mut Encoder<'_>)) -> String {
        let mut page = String::new();
        let mut encoder = Encoder::new(format, &mut page);
        write(&mut encoder);
        encoder.finish();
        page
    }

    #[test]
    fn help_and_labels_are_escaped() {
        let write = |encoder: &mut Encoder<'_>| {
            encoder.family("a", MetricKind::Gauge, "one \\ \"two\"\nthree");
            encoder.sample("a", [("b", "\\ \"\n"), ("c", "")], -0.0);
        };
        assert_eq!(
            encode(Format::Text004, write),
            "# HELP a one \\\\ \"two\"\\nthree\n# TYPE a gauge\na{b=\"\\\\ \\\"\\n\"} -0\n"
        );
        assert_eq!(
            encode(Format::OpenMetrics1, write),
            "# HELP a one \\\\ \\\"two\\\"\\nthree\n# TYPE a gauge\na{b=\"\\\\ \\\"\\n\"} -0\n# EOF\n"
        );
    }

    #[test]
    fn open_metrics_names_a_counter_without_total_and_its_sample_with_it() {
        for name in ["a_total", "a"] {
            let page = encode(Format::OpenMetrics1, |encoder| {
                encoder.family(name, MetricKind::Counter, "h");
                encoder.sample(name, NONE, 1.0);
            });
            assert_eq!(
                page, "# HELP a h\n# TYPE a counter\na_total 1\n# EOF\n",
                "{name}"
            );
        }
    }

    #[test]
    fn what_would_break_the_page_is_left_out() {
        let page = encode(Format::Text004, |encoder| {
            encoder.sample("before_any_family", NONE, 1.0);
            encoder.family("no name", MetricKind::Gauge, "h");
            encoder.sample("no name", NONE, 1.0);
            encoder.family("empty", MetricKind::Gauge, "h");
            encoder.family("a", MetricKind::Gauge, "h");
            encoder.sample("a", [("no label", "x")], 1.0);
            encoder.sample("b", NONE, 1.0);
            encoder.sample("a", [("x", "1"), ("y", "2"), ("x", "3")], 1.0);
            encoder.sample("a", [("ok", "x")], 1.0);
            encoder.family("last", MetricKind::Histogram, "h");
            encoder.sample("last", NONE, 1.0);
            assert_eq!(encoder.take_left_out(), 7);
        });
        assert_eq!(page, "# HELP a h\n# TYPE a gauge\na{ok=\"x\"} 1\n");
    }

    #[test]
    fn numbers_are_short_and_exact() {
        for (value, want) in [
            (0.0, "0"),
            (12_345_678.0, "12345678"),
            (-3.0, "-3"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (9_007_199_254_740_994.0, "9.007199254740994e+15"),
            (1e300, "1e+300"),
            (0.1, "0.1"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut text = String::new();
            push_value(&mut text, value);
            assert_eq!(text, want);
        }
    }
}
