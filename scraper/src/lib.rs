//! Getting samples in: discovery, relabelling, fetching, parsing, staleness.
//!
//! [`Scraper`] owns one loop per target. It is told the whole set of scrape configurations at once
//! ([`Scraper::apply`]), keeps the loops of targets that did not change, and reports what it knows
//! of each target.

mod cache;
mod classic;
mod config;
mod discovery;
mod error;
mod exemplars;
mod family;
mod fetch;
#[cfg(test)]
mod fuzz;
mod ingest;
mod job;
mod metrics;
mod open_metrics;
mod parse;
mod protobuf;
mod remote_write;
mod resolution;
mod sample_labels;
mod schedule;
mod scrape_loop;
mod scraper;
mod scratch;
mod status;
mod target;
mod text_reader;
mod wire;

pub use config::{
    BasicAuth, Collector, FileDiscovery, HttpSettings, ScrapeConfig, Secret, StartTimestamps,
    StaticTargets, TlsSettings,
};
pub use open_metrics::read_open_metrics;
pub use remote_write::{
    Message, REMOTE_WRITE_LIMIT_BYTES, RemoteWrite, RemoteWriteError, RemoteWriteOptions, Written,
};
pub use scraper::{Scraper, ScraperOptions};
pub use status::{DroppedTarget, FamilyMetadata, Health, TargetStatus};
pub use text_reader::{TextLine, read_text};
