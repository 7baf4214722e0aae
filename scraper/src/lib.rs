//! Getting samples in: discovery, relabelling, fetching, parsing, staleness.
//!
//! [`Scraper`] owns one loop per target. It is told the whole set of scrape configurations at once
//! ([`Scraper::apply`]), keeps the loops of targets that did not change, and reports what it knows
//! of each target.

mod config;
mod scraper;
mod status;

pub use config::{
    BasicAuth, Collector, FileDiscovery, HttpSettings, ScrapeConfig, Secret, StaticTargets,
    TlsSettings,
};
pub use scraper::{Scraper, ScraperOptions};
pub use status::{DroppedTarget, FamilyMetadata, Health, TargetStatus};
