//! Exposition text with timestamps.

use std::fmt::Write as _;

use barograph_model::labels::is_legacy_metric_name;
use barograph_model::{FloatHistogram, number};

use super::format::Escaping;
use super::{Families, Latest, Series, cumulative};

/// The page. Histograms with custom bounds are classic ones here; for others there is no form.
pub(super) fn page(families: &Families<'_>, escaping: Escaping) -> String {
    let mut page = String::new();
    for (name, series) in &families.by_name {
        let name = escaping.name(name);
        let mut kind_before = "";
        for one in series {
            let kind = match &one.latest {
                Latest::Float(_) => "untyped",
                Latest::Histogram(histogram) if histogram.has_custom_bounds() => "histogram",
                Latest::Histogram(_) => continue,
            };
            if kind != kind_before {
                page.push_str("# TYPE ");
                push_name(&mut page, &name);
                let _ = writeln!(page, " {kind}");
                kind_before = kind;
            }
            let mut writer = Lines {
                page: &mut page,
                name: &name,
                families,
                series: one,
                escaping,
            };
            match &one.latest {
                Latest::Float(value) => writer.line("", None, *value),
                Latest::Histogram(histogram) => writer.histogram(histogram),
            }
        }
    }
    page
}

/// Writes the lines of one series.
struct Lines<'a> {
    page: &'a mut String,
    name: &'a str,
    families: &'a Families<'a>,
    series: &'a Series,
    escaping: Escaping,
}

impl Lines<'_> {
    /// The buckets below each bound, all of them, sum and count.
    fn histogram(&mut self, histogram: &FloatHistogram) {
        for (bound, count) in cumulative(histogram) {
            let mut le = String::new();
            number::push_go_g(&mut le, bound);
            self.line("_bucket", Some(&le), count);
        }
        self.line("_bucket", Some("+Inf"), histogram.count);
        self.line("_sum", None, histogram.sum);
        self.line("_count", None, histogram.count);
    }

    fn line(&mut self, suffix: &str, le: Option<&str>, value: f64) {
        let page = &mut *self.page;
        // A name that must be quoted stands among the labels.
        let quoted = !is_legacy_metric_name(self.name);
        if quoted {
            page.push_str("{\"");
            push_escaped(page, self.name);
            let _ = write!(page, "{suffix}\"");
        } else {
            let _ = write!(page, "{}{suffix}{{", self.name);
        }
        let le = le.map(|le| ("le", le));
        let labels = self.families.labels(&self.series.labels);
        for (index, (name, value)) in labels.chain(le).enumerate() {
            if index > 0 || quoted {
                page.push(',');
            }
            push_name(page, &self.escaping.name(name));
            page.push_str("=\"");
            push_escaped(page, value);
            page.push('"');
        }
        page.push_str("} ");
        number::push_go_g(page, value);
        let _ = writeln!(page, " {}", self.series.timestamp_ms);
    }
}

/// A name, quoted where it must be.
fn push_name(page: &mut String, name: &str) {
    if is_legacy_metric_name(name) {
        page.push_str(name);
    } else {
        page.push('"');
        push_escaped(page, name);
        page.push('"');
    }
}

fn push_escaped(page: &mut String, value: &str) {
    for ch in value.chars() {
        match ch {
            '\\' => page.push_str("\\\\"),
            '\n' => page.push_str("\\n"),
            '"' => page.push_str("\\\""),
            ch => page.push(ch),
        }
    }
}
