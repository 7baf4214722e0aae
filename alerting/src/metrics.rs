//! What rule evaluation says about itself, under Prometheus's names.

use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, Registry, labels};

labels! {
    /// A rule group: `file;name`.
    pub(crate) struct GroupLabel { rule_group: String }
}

/// Metrics of all groups.
#[derive(Clone)]
pub(crate) struct RuleMetrics {
    pub evaluation_duration: Histogram,
    pub iteration_duration: Histogram,
    pub evaluations: Family<GroupLabel, Counter>,
    pub failures: Family<GroupLabel, Counter>,
    pub iterations: Family<GroupLabel, Counter>,
    pub missed: Family<GroupLabel, Counter>,
    pub interval: Family<GroupLabel, Gauge>,
    pub last_evaluation: Family<GroupLabel, Gauge>,
    pub last_duration: Family<GroupLabel, Gauge>,
    pub last_rule_duration_sum: Family<GroupLabel, Gauge>,
    pub last_restore_duration: Family<GroupLabel, Gauge>,
    pub rules: Family<GroupLabel, Gauge>,
    pub samples: Family<GroupLabel, Gauge>,
    pub expansions: Counter,
    pub expansion_failures: Counter,
}

impl RuleMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let buckets = || Buckets::new([0.001, 0.01, 0.1, 1.0, 10.0]);
        Self {
            evaluation_duration: registry.histogram(
                "prometheus_rule_evaluation_duration_histogram_seconds",
                "The duration for a rule to execute.",
                buckets(),
            ),
            iteration_duration: registry.histogram(
                "prometheus_rule_group_duration_histogram_seconds",
                "The duration of rule group evaluations.",
                buckets(),
            ),
            evaluations: registry.counter_family(
                "prometheus_rule_evaluations_total",
                "The total number of rule evaluations.",
            ),
            failures: registry.counter_family(
                "prometheus_rule_evaluation_failures_total",
                "The total number of rule evaluation failures.",
            ),
            iterations: registry.counter_family(
                "prometheus_rule_group_iterations_total",
                "The total number of scheduled rule group evaluations, whether executed or missed.",
            ),
            missed: registry.counter_family(
                "prometheus_rule_group_iterations_missed_total",
                "The total number of rule group evaluations missed due to slow rule group \
                 evaluation.",
            ),
            interval: registry.gauge_family(
                "prometheus_rule_group_interval_seconds",
                "The interval of a rule group.",
            ),
            last_evaluation: registry.gauge_family(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "The timestamp of the last rule group evaluation in seconds.",
            ),
            last_duration: registry.gauge_family(
                "prometheus_rule_group_last_duration_seconds",
                "The duration of the last rule group evaluation.",
            ),
            last_rule_duration_sum: registry.gauge_family(
                "prometheus_rule_group_last_rule_duration_sum_seconds",
                "The sum of time in seconds it took to evaluate each rule in the group.",
            ),
            last_restore_duration: registry.gauge_family(
                "prometheus_rule_group_last_restore_duration_seconds",
                "The duration of the last alert rules alerts restoration using the \
                 `ALERTS_FOR_STATE` series.",
            ),
            rules: registry.gauge_family("prometheus_rule_group_rules", "The number of rules."),
            samples: registry.gauge_family(
                "prometheus_rule_group_last_evaluation_samples",
                "The number of samples returned during the last rule group evaluation.",
            ),
            expansions: registry.counter(
                "prometheus_template_text_expansions_total",
                "The total number of template text expansions.",
            ),
            expansion_failures: registry.counter(
                "prometheus_template_text_expansion_failures_total",
                "The total number of template text expansion failures.",
            ),
        }
    }

    /// Makes the series of a group, so that they exist before anything happens.
    pub(crate) fn begin(&self, key: &GroupLabel, interval_ms: i64, rules: usize) {
        for family in [
            &self.evaluations,
            &self.failures,
            &self.iterations,
            &self.missed,
        ] {
            family.with(key);
        }
        self.interval.with(key).set(interval_ms as f64 / 1_000.0);
        self.rules.with(key).set(rules as f64);
    }

    /// Forgets a group.
    pub(crate) fn end(&self, key: &GroupLabel) {
        for family in [
            &self.evaluations,
            &self.failures,
            &self.iterations,
            &self.missed,
        ] {
            family.remove(key);
        }
        for family in [
            &self.interval,
            &self.last_evaluation,
            &self.last_duration,
            &self.last_rule_duration_sum,
            &self.last_restore_duration,
            &self.rules,
            &self.samples,
        ] {
            family.remove(key);
        }
    }
}
