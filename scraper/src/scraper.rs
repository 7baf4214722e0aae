//! The manager of all target loops.

use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_model::Clock;
use barograph_tsdb::Db;

use crate::config::ScrapeConfig;
use crate::status::{DroppedTarget, FamilyMetadata, TargetStatus};

/// What all jobs share.
#[derive(Clone, Debug, Default)]
pub struct ScraperOptions {
    /// Mixed into each target's offset, so that replicas scrape at different moments.
    pub offset_seed: u64,
}

/// Scrapes. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct Scraper {
    _db: Db,
}

impl Scraper {
    /// A scraper without targets; registers its metrics.
    pub fn new(
        db: Db,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        options: ScraperOptions,
    ) -> Self {
        let _ = (registry, clock, options);
        Self { _db: db }
    }

    /// Makes `configs` the whole set of jobs. Targets that did not change keep their loops, caches
    /// and schedule.
    pub async fn apply(&self, configs: Vec<ScrapeConfig>) {
        let _ = configs;
    }

    /// Every active target, by job and address.
    pub fn targets(&self) -> Vec<TargetStatus> {
        Vec::new()
    }

    /// Targets that relabelling dropped, as far as they are kept, and how many per job there are.
    pub fn dropped_targets(&self) -> (Vec<DroppedTarget>, Vec<(String, usize)>) {
        (Vec::new(), Vec::new())
    }

    /// Metadata of every family of every target.
    pub fn metadata(&self) -> Vec<FamilyMetadata> {
        Vec::new()
    }

    /// Stops all loops; writes no staleness markers.
    pub async fn stop(&self) {}
}
