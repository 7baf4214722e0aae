//! What a metric family says of itself.

use std::fmt;

/// The kind a family declares in its `# TYPE` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Only ever rises, apart from restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// A histogram whose buckets may fall (OpenMetrics).
    GaugeHistogram,
    /// Quantiles computed by the application, a sum and a count.
    Summary,
    /// Constant 1 with facts in its labels (OpenMetrics).
    Info,
    /// One of several states (OpenMetrics).
    StateSet,
    /// Not declared.
    #[default]
    Unknown,
}

impl MetricKind {
    /// The kind as text 0.0.4 and OpenMetrics write it and the API reports it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// The kind a `# TYPE` line names; `untyped` is text 0.0.4's word for unknown.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A family's kind, unit and help text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metadata {
    /// What the family measures with.
    pub kind: MetricKind,
    /// The base unit as OpenMetrics' `# UNIT` gives it, or empty.
    pub unit: String,
    /// The help text, unescaped.
    pub help: String,
}
