//! Native histograms: exponential buckets of a schema, or buckets with bounds of one's own.
//!
//! Two forms exist because writers send two: counts of observations ([`IntegerHistogram`]), and
//! what recording rules and arithmetic make of them ([`FloatHistogram`]). Both name their populated
//! buckets by spans. The layout is that of Prometheus's data model ("Native Histograms",
//! <https://prometheus.io/docs/specs/native_histograms/>), but buckets hold absolute counts, never
//! differences.

mod add;
mod bounds;
mod bucket;
mod equal;
mod layout;
mod reset;
mod sum;
mod text;
mod trim;
mod validate;
mod zero;

use std::sync::Arc;

pub use add::{Combined, IncompatibleSchemas};
pub use bounds::{exponential_bound, is_exponential, upper_bound};
pub use bucket::Bucket;
pub use sum::HistogramSum;
pub use trim::Keep;
pub use validate::InvalidHistogram;

/// The schema of histograms whose bounds are given one by one ([`FloatHistogram::custom_bounds`]).
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;
/// The coarsest exponential schema: each bucket is 2¹⁶ times as wide as the one before.
pub const LEAST_EXPONENTIAL_SCHEMA: i32 = -4;
/// The finest exponential schema: 256 buckets per power of two.
pub const GREATEST_EXPONENTIAL_SCHEMA: i32 = 8;
/// The exponential schemas that a reader must accept; above [`GREATEST_EXPONENTIAL_SCHEMA`] it
/// reduces the resolution.
pub const RESERVED_EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -9..=52;

/// What is known of a counter reset between a histogram and the one before it in its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown,
    /// There was one.
    CounterReset,
    /// There was none.
    NotCounterReset,
    /// Not a counter: it may go down.
    Gauge,
}

/// Consecutive populated buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Buckets left out since the end of the span before; in the first span, the index of its first
    /// bucket.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// A native histogram whose counts are floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    /// Whether this one begins anew.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution: exponential from −4 to 8, or [`CUSTOM_BOUNDS_SCHEMA`].
    pub schema: i32,
    /// Observations of at most this magnitude are in the zero bucket.
    pub zero_threshold: f64,
    /// Count of the zero bucket.
    pub zero_count: f64,
    /// Count of all observations.
    pub count: f64,
    /// Sum of all observations; a staleness marker makes the whole sample one.
    pub sum: f64,
    /// Populated buckets above zero, or of custom bounds.
    pub positive_spans: Vec<Span>,
    /// Their counts, absolute.
    pub positive_buckets: Vec<f64>,
    /// Populated buckets below zero.
    pub negative_spans: Vec<Span>,
    /// Their counts, absolute.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds, ascending, without the last, which is +Inf; empty unless the schema is
    /// [`CUSTOM_BOUNDS_SCHEMA`]. Shared, because all samples of a series have the same.
    pub custom_bounds: Arc<[f64]>,
}

/// A native histogram whose counts are whole numbers, as instrumentation sends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntegerHistogram {
    /// Whether this one begins anew.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution: exponential from −4 to 8, or [`CUSTOM_BOUNDS_SCHEMA`].
    pub schema: i32,
    /// Observations of at most this magnitude are in the zero bucket.
    pub zero_threshold: f64,
    /// Count of the zero bucket.
    pub zero_count: u64,
    /// Count of all observations.
    pub count: u64,
    /// Sum of all observations; a staleness marker makes the whole sample one.
    pub sum: f64,
    /// Populated buckets above zero, or of custom bounds.
    pub positive_spans: Vec<Span>,
    /// Their counts, absolute.
    pub positive_buckets: Vec<u64>,
    /// Populated buckets below zero.
    pub negative_spans: Vec<Span>,
    /// Their counts, absolute.
    pub negative_buckets: Vec<u64>,
    /// Upper bounds, as in [`FloatHistogram::custom_bounds`].
    pub custom_bounds: Arc<[f64]>,
}

/// A native histogram in the form its writer sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Histogram {
    /// Counts are whole numbers.
    Integer(IntegerHistogram),
    /// Counts are floats.
    Float(FloatHistogram),
}

impl IntegerHistogram {
    /// The same with float counts; counts above 2⁵³ are rounded.
    pub fn to_float(&self) -> FloatHistogram {
        let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            positive_buckets: floats(&self.positive_buckets),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: floats(&self.negative_buckets),
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

impl Histogram {
    /// Its schema.
    pub fn schema(&self) -> i32 {
        match self {
            Self::Integer(histogram) => histogram.schema,
            Self::Float(histogram) => histogram.schema,
        }
    }

    /// How many observations; above 2⁵³ rounded.
    pub fn count(&self) -> f64 {
        match self {
            Self::Integer(histogram) => histogram.count as f64,
            Self::Float(histogram) => histogram.count,
        }
    }

    /// Sum of all observations; a staleness marker makes the whole sample one.
    pub fn sum(&self) -> f64 {
        match self {
            Self::Integer(histogram) => histogram.sum,
            Self::Float(histogram) => histogram.sum,
        }
    }

    /// What a reader makes of a schema that its writer may use and this program does not compute
    /// with: the greatest that it does. Others stay as they are.
    pub fn reduce_reserved_schema(&mut self) {
        match self {
            Self::Integer(histogram) => histogram.reduce_resolution(GREATEST_EXPONENTIAL_SCHEMA),
            Self::Float(histogram) => histogram.reduce_resolution(GREATEST_EXPONENTIAL_SCHEMA),
        }
    }

    /// With float counts, as queries use it.
    pub fn to_float(&self) -> FloatHistogram {
        match self {
            Self::Integer(histogram) => histogram.to_float(),
            Self::Float(histogram) => histogram.clone(),
        }
    }
}

impl From<IntegerHistogram> for Histogram {
    fn from(histogram: IntegerHistogram) -> Self {
        Self::Integer(histogram)
    }
}

impl From<FloatHistogram> for Histogram {
    fn from(histogram: FloatHistogram) -> Self {
        Self::Float(histogram)
    }
}
