//! Counters, gauges and histograms for applications, and the formats in which they are scraped.
//!
//! ```
//! use barograph_instrument::{Buckets, Format, Registry, labels};
//!
//! labels! {
//!     /// What a request is counted by.
//!     pub struct Request { method: &'static str, code: u16 }
//! }
//!
//! let registry = Registry::new();
//! let requests = registry.counter_family::<Request>("http_requests_total", "Requests served.");
//! let latency = registry.histogram(
//!     "http_request_duration_seconds", "Time to answer.", Buckets::new([0.01, 0.1, 1.0]));
//! requests.with(&Request { method: "GET", code: 200 }).inc();
//! latency.observe(0.02);
//!
//! let mut page = String::new();
//! registry.encode(Format::Text004, &mut page);
//! assert!(page.contains("http_requests_total{method=\"GET\",code=\"200\"} 1\n"));
//! ```

pub mod encode;
mod family;
mod metric;
mod registry;

pub use encode::{Encoder, Format};
pub use family::{Family, LabelSet};
pub use metric::{Buckets, Counter, Gauge, Histogram};
pub use registry::Registry;

pub use barograph_model::{Metadata, MetricKind};
