//! What a query yields.

use std::sync::Arc;

use barograph_model::{FloatHistogram, Labels, Sample};

/// A value with what is to be said about it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The value.
    pub value: Value,
    /// Annotations of kind warning, with Prometheus's texts and positions.
    pub warnings: Vec<String>,
    /// Annotations of kind info.
    pub infos: Vec<String>,
    /// What it took.
    pub stats: QueryStats,
    /// Where the time went, where asked for: the outermost parts of the query.
    pub profile: Option<Vec<ProfileNode>>,
}

/// The four types of PromQL. A range vector is a matrix as well.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Scalar(Sample),
    /// A text.
    String {
        /// The evaluation time.
        timestamp_ms: i64,
        /// The text.
        text: String,
    },
    /// One sample per series.
    Vector(Vec<VectorSample>),
    /// Samples over time per series, in order of labels.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value, at the evaluation time; 0 where that is a histogram.
    pub sample: Sample,
    /// Its value where that is a native histogram.
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// One element of a matrix.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// The floats, oldest first.
    pub samples: Vec<Sample>,
    /// The native histograms, oldest first. No time is in both.
    pub histograms: Vec<HistogramSample>,
}

/// A native histogram at a time.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value.
    pub histogram: Arc<FloatHistogram>,
}

/// What a query took.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    /// Seconds from start to end of evaluation.
    pub eval_seconds: f64,
    /// Samples that entered evaluation, counted once per step that used them.
    pub total_queryable_samples: u64,
    /// Samples read from the store, however many steps used them.
    pub samples_read: u64,
    /// Both, step by step, with the steps' times; empty where not asked for.
    pub per_step: Vec<(i64, StepSamples)>,
    /// Most samples that Prometheus would hold at a time, where asked for; else most samples this
    /// engine held.
    pub peak_samples: u64,
    /// Most bytes held at a time: samples read, columns, histograms, labels, the result.
    pub peak_bytes: u64,
    /// Pages of values that were decoded.
    pub pages_decoded: u64,
}

/// The samples of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSamples {
    /// Those that entered evaluation at this step.
    pub total: u64,
    /// Those that were read for it and for no step before.
    pub read: u64,
}

/// What one part of a query did.
#[derive(Clone, Debug, Default)]
pub struct ProfileNode {
    /// The function, operator or `select`.
    pub name: String,
    /// On what: conditions, a range, labels.
    pub detail: String,
    /// Seconds from its beginning to its end, the parts below it included.
    pub seconds: f64,
    /// Series it yielded.
    pub series: u64,
    /// Values it yielded.
    pub points: u64,
    /// Samples read from the store in it and below.
    pub samples_read: u64,
    /// Pages of values decoded in it and below.
    pub pages_decoded: u64,
    /// Most bytes the query held at a time while this ran.
    pub peak_bytes: u64,
    /// The parts it took its series from.
    pub children: Vec<ProfileNode>,
}
