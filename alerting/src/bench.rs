//! Rules evaluated at times of the caller's choosing, on the calling thread: for tests of rules.

use std::path::PathBuf;
use std::sync::Arc;

use barograph_instrument::Registry;
use barograph_query::{Cancel, Engine};
use barograph_tsdb::Db;

use crate::group::{Context, Group};
use crate::manager::RuleManagerOptions;
use crate::metrics::RuleMetrics;
use crate::rule_file::RuleGroup;
use crate::status::GroupStatus;

/// Rule groups without a schedule. Nothing is sent, and nothing is restored: `for` begins with the
/// first evaluation.
pub struct RuleBench {
    context: Context,
    groups: Vec<Group>,
}

impl RuleBench {
    /// Groups that read from and write to `db`, evaluated in this order.
    pub fn new(
        db: Db,
        engine: Engine,
        options: RuleManagerOptions,
        groups: Vec<(PathBuf, RuleGroup)>,
    ) -> Self {
        let interval_ms = options.default_interval_ms;
        let groups = groups
            .into_iter()
            .map(|(file, spec)| Group::new(file, spec, interval_ms, db.open_group(), None))
            .collect();
        Self {
            context: Context {
                db,
                engine,
                metrics: RuleMetrics::new(&Registry::new()),
                options: Arc::new(options),
                cancel: Cancel::default(),
            },
            groups,
        }
    }

    /// Evaluates every rule of every group as of `now_ms`.
    pub fn evaluate(&self, now_ms: i64) {
        for group in &self.groups {
            let samples = (0..group.rule_count())
                .map(|index| group.evaluate(index, now_ms, &self.context).samples)
                .sum();
            group.finish(now_ms, 0.0, samples, &self.context);
        }
    }

    /// Every group, in order of evaluation.
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.groups.iter().map(Group::status).collect()
    }
}
