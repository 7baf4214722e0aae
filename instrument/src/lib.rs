//! Counters, gauges and histograms for applications, and the formats in which they are scraped.
//!
//! ```
//! use barograph_instrument::{Buckets, Format, Registry, labels};
//!
//! labels! {
//!     /// What a request is counted by.
//!     pub struct Request<'a> { method: &'a str, code: u16 }
//! }
//!
//! let registry = Registry::new();
//! let requests = registry.counter_family::<Request<'_>>("http_requests_total", "Requests served.");
//! let latency = registry.histogram(
//!     "http_request_duration_seconds", "Time to answer.", Buckets::new([0.01, 0.1, 1.0]));
//! requests.with(&Request { method: "GET", code: 200 }).inc();
//! latency.observe(0.02);
//!
//! let mut page = String::new();
//! registry.encode(Format::Text004, &mut page);
//! assert!(page.contains("http_requests_total{method=\"GET\",code=\"200\"} 1\n"));
//! ```
//!
//! Answer a scrape with [`Registry::scrape`]. Handles ([`Counter`], [`Gauge`], [`Histogram`]) are
//! cheap to clone and to update; where label values are known beforehand, look the metric up once
//! and hold it.

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cells;
mod counter;
mod encode;
mod error;
mod family;
mod format;
mod gauge;
mod histogram;
mod labels;
mod registry;
mod sequence;
/// What [`sequence`] is made of: `tests/loom.rs` has another.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

pub use counter::Counter;
pub use encode::Encoder;
pub use error::RegisterError;
pub use family::{DEFAULT_MAX_SERIES, Family, Metric};
pub use format::Format;
pub use gauge::{Gauge, InProgress};
pub use histogram::{Buckets, Histogram, Timer};
pub use labels::{LabelSet, LabelValues};
pub use registry::Registry;

#[doc(hidden)]
pub use labels::label_value;

pub use barograph_model::{Metadata, MetricKind};
