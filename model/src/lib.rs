//! The vocabulary every part of Barograph shares: labels, samples, matchers, metadata, time.
//!
//! Nothing here does I/O, starts threads or knows a serialization framework. Two halves:
//!
//! * always present, and light enough for a crate that applications link: [`Labels`], [`Sample`],
//!   [`Histogram`], [`Exemplar`], [`Metadata`], the [`Clock`] trait, durations and number formats;
//! * behind the feature `matching`: RE2 patterns, [`Matcher`], relabelling and the hashes that
//!   Prometheus defines.

pub mod date;
pub mod duration;
pub mod exemplar;
pub mod float;
pub mod histogram;
pub mod labels;
pub mod metadata;
pub mod number;
pub mod sample;
pub mod time;

#[cfg(feature = "matching")]
pub mod matcher;
#[cfg(feature = "matching")]
pub mod pattern;
#[cfg(feature = "matching")]
pub mod relabel;

pub use exemplar::Exemplar;
pub use histogram::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
#[cfg(feature = "matching")]
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricKind};
#[cfg(feature = "matching")]
pub use pattern::Pattern;
pub use sample::{STALE_NAN_BITS, Sample, is_stale, stale_nan};
pub use time::{Clock, SystemClock, TimeRange};
