//! The manager of all rule groups.

use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_model::{Clock, Labels};
use barograph_query::{Engine, Pool};
use barograph_tsdb::Db;

use crate::notifier::Notifier;
use crate::rule_file::RuleFile;
use crate::status::GroupStatus;

/// What all groups share; changes with the configuration.
#[derive(Clone, Debug)]
pub struct RuleManagerOptions {
    /// Milliseconds between evaluations of groups that say nothing.
    pub default_interval_ms: i64,
    /// How far back rules of groups that say nothing look, milliseconds.
    pub default_query_offset_ms: i64,
    /// Labels templates see as `$externalLabels`.
    pub external_labels: Labels,
    /// The URL under which people reach this server.
    pub external_url: String,
    /// How long an outage may last for `for` to be restored after it, milliseconds.
    pub outage_tolerance_ms: i64,
    /// Least `for` that is restored, milliseconds.
    pub for_grace_period_ms: i64,
    /// Least time between two sendings of one alert, milliseconds.
    pub resend_delay_ms: i64,
}

impl Default for RuleManagerOptions {
    fn default() -> Self {
        Self {
            default_interval_ms: 60_000,
            default_query_offset_ms: 0,
            external_labels: Labels::empty(),
            external_url: String::new(),
            outage_tolerance_ms: 3_600_000,
            for_grace_period_ms: 600_000,
            resend_delay_ms: 60_000,
        }
    }
}

/// Evaluates rule groups. Cloning shares it. Needs a tokio runtime.
#[derive(Clone)]
pub struct RuleManager;

impl RuleManager {
    /// A manager without groups; registers its metrics.
    pub fn new(
        db: Db,
        engine: Engine,
        pool: Pool,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        notifier: Notifier,
    ) -> Self {
        let _ = (db, engine, pool, registry, clock, notifier);
        Self
    }

    /// Makes `files` the whole set of rules. Groups that did not change go on; alerts of changed
    /// groups keep their state where rule and labels are the same.
    pub async fn apply(&self, files: Vec<RuleFile>, options: RuleManagerOptions) {
        let _ = (files, options);
    }

    /// Every group, by file and name.
    pub fn groups(&self) -> Vec<GroupStatus> {
        Vec::new()
    }

    /// Stops evaluating.
    pub async fn stop(&self) {}
}
