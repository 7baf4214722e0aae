//! Exposition text: what a scrape reads.

use barograph_model::{MetricKind, number};

/// The text formats a scraper can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Text004,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics1,
}

impl Format {
    /// The value of the Content-Type header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The best format for an Accept header: OpenMetrics where it is asked for, else text 0.0.4.
    pub fn negotiate(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics1
        } else {
            Self::Text004
        }
    }
}

/// Writes families of samples in one format.
pub struct Encoder<'a> {
    out: &'a mut String,
    format: Format,
}

impl<'a> Encoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(format: Format, out: &'a mut String) -> Self {
        Self { out, format }
    }

    /// Begins a family: writes its HELP and TYPE. `name` includes `_total` for counters.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        let name = match (self.format, kind) {
            (Format::OpenMetrics1, MetricKind::Counter) => {
                name.strip_suffix("_total").unwrap_or(name)
            }
            _ => name,
        };
        let kind = match (self.format, kind) {
            (Format::Text004, MetricKind::Unknown) => "untyped",
            _ => kind.as_str(),
        };
        self.out.push_str("# HELP ");
        self.out.push_str(name);
        self.out.push(' ');
        for ch in help.chars() {
            match ch {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if self.format == Format::OpenMetrics1 => self.out.push_str("\\\""),
                ch => self.out.push(ch),
            }
        }
        self.out.push_str("\n# TYPE ");
        self.out.push_str(name);
        self.out.push(' ');
        self.out.push_str(kind);
        self.out.push('\n');
    }

    /// Writes one sample line.
    pub fn sample<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (N, V)>,
        value: f64,
    ) {
        self.out.push_str(name);
        let mut open = false;
        for (label, text) in labels {
            self.out.push(if open { ',' } else { '{' });
            open = true;
            self.out.push_str(label.as_ref());
            self.out.push_str("=\"");
            for ch in text.as_ref().chars() {
                match ch {
                    '\\' => self.out.push_str("\\\\"),
                    '\n' => self.out.push_str("\\n"),
                    '"' => self.out.push_str("\\\""),
                    ch => self.out.push(ch),
                }
            }
            self.out.push('"');
        }
        if open {
            self.out.push('}');
        }
        self.out.push(' ');
        match self.format {
            Format::Text004 => number::push_go_g(self.out, value),
            Format::OpenMetrics1 => number::push_open_metrics(self.out, value),
        }
        self.out.push('\n');
    }

    /// Ends the page.
    pub fn finish(self) {
        if self.format == Format::OpenMetrics1 {
            self.out.push_str("# EOF\n");
        }
    }
}
