//! What is known of targets, for the API and the UI.

use barograph_model::{Labels, Metadata};

/// How the last scrape went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    Unknown,
    /// Fine.
    Up,
    /// Failed.
    Down,
}

/// One active target.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// The job it belongs to.
    pub job_name: String,
    /// Labels as discovered, before relabelling.
    pub discovered_labels: Labels,
    /// Labels its series get.
    pub labels: Labels,
    /// What is fetched.
    pub scrape_url: String,
    /// Why the last scrape failed, or empty.
    pub last_error: String,
    /// When it began, milliseconds since the epoch; `None` before the first.
    pub last_scrape_ms: Option<i64>,
    /// How long it took, seconds.
    pub last_scrape_seconds: f64,
    /// How it went.
    pub health: Health,
    /// Milliseconds between scrapes.
    pub interval_ms: i64,
    /// Milliseconds a scrape may take.
    pub timeout_ms: i64,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    /// The job it belongs to.
    pub job_name: String,
    /// Labels as discovered.
    pub discovered_labels: Labels,
}

/// Metadata of a family as one target declared it.
#[derive(Clone, Debug)]
pub struct FamilyMetadata {
    /// The target's labels.
    pub target: Labels,
    /// The family.
    pub family: String,
    /// What it says.
    pub metadata: Metadata,
}
