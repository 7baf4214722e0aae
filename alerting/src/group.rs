//! One rule group: what an evaluation does, and what is kept between evaluations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use barograph_model::labels::METRIC_NAME;
use barograph_model::{Labels, LabelsBuilder};
use barograph_query::{
    Cancel, Engine, Expr, Lane, Outcome, QueryError, QueryOptions, Value, VectorSample, parse_with,
};
use barograph_tsdb::{Db, GroupId, SeriesRef, Snapshot};

use crate::manager::RuleManagerOptions;
use crate::metrics::{GroupLabel, RuleMetrics};
use crate::notifier::Alert;
use crate::restore::{self, ALERT_NAME, FOR_STATE_NAME, RestoreRules};
use crate::rule_file::{Rule, RuleGroup, RuleKind};
use crate::series_writer::{RowValue, WriteError, Writer};
use crate::state::{AlertStates, Finding, Holds, StateError};
use crate::status::{AlertState, GroupStatus, RuleHealth, RuleStatus};
use crate::template::{self, AlertData, Environment, Template, label_map};

/// What evaluations need of the rest of the program.
pub(crate) struct Context {
    pub db: Db,
    pub engine: Engine,
    pub metrics: RuleMetrics,
    pub options: Arc<RuleManagerOptions>,
    /// Stops queries at shutdown.
    pub cancel: Cancel,
}

/// A group with its state. Evaluations of one group never overlap; readers may come at any time.
pub(crate) struct Group {
    pub file: PathBuf,
    pub name: String,
    /// The interval in force.
    pub interval_ms: i64,
    pub spec: RuleGroup,
    /// What the store keeps all of its series in.
    pub writer: GroupId,
    pub metric_key: GroupLabel,
    rules: Vec<RuleRuntime>,
    progress: Mutex<GroupProgress>,
}

#[derive(Default)]
struct GroupProgress {
    last_evaluation_ms: Option<i64>,
    evaluation_seconds: f64,
    /// Series of rules that are gone.
    orphans: HashMap<Labels, SeriesRef>,
    restore_pending: bool,
}

struct RuleRuntime {
    rule: Rule,
    templates: Option<AlertTemplates>,
    progress: Mutex<RuleProgress>,
}

struct AlertTemplates {
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
    holds: Holds,
}

struct RuleProgress {
    health: RuleHealth,
    last_error: String,
    last_evaluation_ms: Option<i64>,
    evaluation_seconds: f64,
    alerts: AlertStates,
    /// Series of the last evaluation.
    series: HashMap<Labels, SeriesRef>,
    /// Whether `ALERTS` may be written: not before the state of before the restart was read.
    restored: bool,
}

/// Why an evaluation of a rule failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("{0}")]
    Query(#[from] QueryError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    #[error("vector contains metrics with the same labelset after applying rule labels: {labels}")]
    Duplicate { labels: Labels },
    #[error("exceeded limit of {limit} with {count} series")]
    Limit { limit: u64, count: usize },
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    NoPlace(String),
}

/// What an evaluation of a rule yields for others.
#[derive(Default)]
pub(crate) struct Evaluated {
    pub samples: usize,
    pub alerts: Vec<Alert>,
}

impl Group {
    pub(crate) fn new(
        file: PathBuf,
        spec: RuleGroup,
        default_interval_ms: i64,
        writer: GroupId,
        restore: Option<i64>,
    ) -> Self {
        let interval_ms = spec.interval_ms.unwrap_or(default_interval_ms).max(1);
        let rules: Vec<RuleRuntime> = spec
            .rules
            .iter()
            .map(|rule| RuleRuntime::new(rule.clone(), spec.limit, restore))
            .collect();
        let restore_pending = rules.iter().any(|rule| !rule.lock().restored);
        Self {
            metric_key: GroupLabel {
                rule_group: format!("{};{}", file.display(), spec.name),
            },
            name: spec.name.clone(),
            file,
            interval_ms,
            spec,
            writer,
            rules,
            progress: Mutex::new(GroupProgress {
                restore_pending,
                ..GroupProgress::default()
            }),
        }
    }

    /// Whether a group made of `spec` would do the same.
    pub(crate) fn is_same(&self, spec: &RuleGroup, default_interval_ms: i64) -> bool {
        let rules = self.spec.rules.iter().zip(&spec.rules);
        self.interval_ms == spec.interval_ms.unwrap_or(default_interval_ms).max(1)
            && self.spec.query_offset_ms == spec.query_offset_ms
            && self.spec.limit == spec.limit
            && self.spec.rules.len() == spec.rules.len()
            && rules.into_iter().all(|(a, b)| a.is_same(b))
    }

    /// Takes over what `old` knows: alerts and series of rules with the same name and labels, the
    /// first such with the first. The series of the others become orphans.
    pub(crate) fn take_over(&self, old: &Self) {
        let mut by_name: BTreeMap<(&str, &Labels), Vec<&RuleRuntime>> = BTreeMap::new();
        for rule in old.rules.iter().rev() {
            let key = (rule.rule.name(), &rule.rule.labels);
            by_name.entry(key).or_default().push(rule);
        }
        for rule in &self.rules {
            let key = (rule.rule.name(), &rule.rule.labels);
            let Some(from) = by_name.get_mut(&key).and_then(Vec::pop) else {
                continue;
            };
            let mut from = from.lock();
            let mut progress = rule.lock();
            progress.series = std::mem::take(&mut from.series);
            if rule.templates.is_some() {
                progress.alerts = std::mem::take(&mut from.alerts);
            }
        }
        let mut before = old.lock();
        let mut progress = self.lock();
        progress.last_evaluation_ms = before.last_evaluation_ms;
        progress.evaluation_seconds = before.evaluation_seconds;
        progress.orphans = std::mem::take(&mut before.orphans);
        for rule in by_name.values().flatten() {
            progress
                .orphans
                .extend(std::mem::take(&mut rule.lock().series));
        }
    }

    pub(crate) fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Whether the state of before a restart is still to be read.
    pub(crate) fn restore_pending(&self) -> bool {
        self.lock().restore_pending
    }

    /// The time of the slot before or at `now_ms`: all groups of an interval spread over it by a
    /// hash of file and name, the same after every restart.
    pub(crate) fn slot_before_ms(&self, now_ms: i64) -> i64 {
        let file = self.file.display().to_string();
        let identity = Labels::from_pairs([("name", self.name.as_str()), ("file", &file)]);
        let interval_ns = (self.interval_ms as u64).saturating_mul(1_000_000);
        let offset_ms = (identity.stable_hash() % interval_ns / 1_000_000) as i64;
        (now_ms - offset_ms).div_euclid(self.interval_ms) * self.interval_ms + offset_ms
    }

    /// Evaluates one rule as of `now_ms`. Blocks; runs on the query pool.
    pub(crate) fn evaluate(&self, index: usize, now_ms: i64, context: &Context) -> Evaluated {
        let runtime = &self.rules[index];
        let started = Instant::now();
        context.metrics.evaluations.with(&self.metric_key).inc();
        let result = self.evaluate_rule(runtime, now_ms, context);
        let seconds = started.elapsed().as_secs_f64();
        context.metrics.evaluation_duration.observe(seconds);
        let mut progress = runtime.lock();
        progress.last_evaluation_ms = Some(now_ms);
        progress.evaluation_seconds = seconds;
        let (evaluated, error) = match result {
            Ok((evaluated, error)) => (evaluated, error),
            Err(error) => (Evaluated::default(), Some(error)),
        };
        match error {
            None => {
                progress.health = RuleHealth::Ok;
                progress.last_error.clear();
            }
            Some(error) => self.record_failure(&mut progress, &runtime.rule, context, &error),
        }
        evaluated
    }

    /// Notes that a rule could not be evaluated at all.
    pub(crate) fn fail(&self, index: usize, now_ms: i64, context: &Context, message: &str) {
        let runtime = &self.rules[index];
        context.metrics.evaluations.with(&self.metric_key).inc();
        let mut progress = runtime.lock();
        progress.last_evaluation_ms = Some(now_ms);
        let error = RuleError::NoPlace(message.to_owned());
        self.record_failure(&mut progress, &runtime.rule, context, &error);
    }

    fn record_failure(
        &self,
        progress: &mut RuleProgress,
        rule: &Rule,
        context: &Context,
        error: &RuleError,
    ) {
        progress.health = RuleHealth::Err;
        progress.last_error = error.to_string();
        context.metrics.failures.with(&self.metric_key).inc();
        if !matches!(error, RuleError::Query(QueryError::Canceled(_))) {
            tracing::warn!(
                file = %self.file.display(),
                group = self.name,
                rule = rule.name(),
                "evaluating rule failed: {error}"
            );
        }
    }

    /// Yields what goes out, and what went wrong with storing it.
    fn evaluate_rule(
        &self,
        runtime: &RuleRuntime,
        now_ms: i64,
        context: &Context,
    ) -> Result<(Evaluated, Option<RuleError>), RuleError> {
        let offset_ms = self.query_offset_ms(&context.options);
        let evaluation = Evaluation {
            snapshot: context.db.snapshot(),
            context,
            now_ms,
        };
        let stamp_ms = now_ms - offset_ms;
        let vector = evaluation.vector(&runtime.rule.expr, stamp_ms)?;
        let (rows, alerts) = match &runtime.templates {
            None => (record(&runtime.rule, self.spec.limit, vector)?, Vec::new()),
            Some(templates) => {
                let findings = evaluation.findings(&runtime.rule, templates, &vector);
                let mut progress = runtime.lock();
                progress.alerts.advance(now_ms, findings, templates.holds)?;
                let alerts = self.due(&mut progress.alerts, runtime, now_ms, context);
                let rows = if progress.restored {
                    alert_rows(&progress.alerts)
                } else {
                    Vec::new()
                };
                (rows, alerts)
            }
        };
        let evaluated = Evaluated {
            samples: rows.len(),
            alerts,
        };
        let before = std::mem::take(&mut runtime.lock().series);
        let mut writer = Writer::new(&context.db, self.writer, stamp_ms);
        let after = writer.write(rows, before);
        runtime.lock().series = after;
        Ok((evaluated, writer.error.map(RuleError::from)))
    }

    fn due(
        &self,
        alerts: &mut AlertStates,
        runtime: &RuleRuntime,
        now_ms: i64,
        context: &Context,
    ) -> Vec<Alert> {
        let options = &context.options;
        let expression = runtime.rule.expr_text.trim();
        let path = template::link(expression, 1);
        let generator_url = format!("{}{path}", options.external_url.trim_end_matches('/'));
        alerts
            .take_due(now_ms, self.interval_ms, options.resend_delay_ms)
            .into_iter()
            .map(|due| Alert {
                labels: due.labels,
                annotations: due.annotations,
                starts_at_ms: due.starts_at_ms,
                ends_at_ms: Some(due.ends_at_ms),
                generator_url: generator_url.clone(),
            })
            .collect()
    }

    fn query_offset_ms(&self, options: &RuleManagerOptions) -> i64 {
        self.spec
            .query_offset_ms
            .unwrap_or(options.default_query_offset_ms)
    }

    /// Ends an iteration: marks the series of rules that are gone, notes times.
    pub(crate) fn finish(&self, now_ms: i64, seconds: f64, samples: usize, context: &Context) {
        let orphans = std::mem::take(&mut self.lock().orphans);
        if !orphans.is_empty() {
            let stamp_ms = now_ms - self.query_offset_ms(&context.options);
            Writer::new(&context.db, self.writer, stamp_ms).write(Vec::new(), orphans);
        }
        let metrics = &context.metrics;
        let rule_seconds: f64 = self.rules.iter().map(|r| r.lock().evaluation_seconds).sum();
        metrics.iteration_duration.observe(seconds);
        metrics.last_duration.with(&self.metric_key).set(seconds);
        metrics
            .last_rule_duration_sum
            .with(&self.metric_key)
            .set(rule_seconds);
        metrics
            .last_evaluation
            .with(&self.metric_key)
            .set(now_ms as f64 / 1_000.0);
        metrics.samples.with(&self.metric_key).set(samples as f64);
        let mut progress = self.lock();
        progress.last_evaluation_ms = Some(now_ms);
        progress.evaluation_seconds = seconds;
    }

    /// Marks every series of this group but those in `alive` stale: the group is gone.
    pub(crate) fn mark_stale(&self, now_ms: i64, context: &Context, alive: &HashSet<Labels>) {
        let mut series = std::mem::take(&mut self.lock().orphans);
        for rule in &self.rules {
            series.extend(std::mem::take(&mut rule.lock().series));
        }
        series.retain(|labels, _| !alive.contains(labels));
        let stamp_ms = now_ms - self.query_offset_ms(&context.options);
        Writer::new(&context.db, self.writer, stamp_ms).write(Vec::new(), series);
    }

    /// Adds the series of the last evaluation to `all`.
    pub(crate) fn collect_series(&self, all: &mut HashSet<Labels>) {
        for rule in &self.rules {
            all.extend(rule.lock().series.keys().cloned());
        }
    }

    /// Reads back since when alerts have been pending. Blocks; runs on the query pool.
    pub(crate) fn restore(&self, now_ms: i64, context: &Context) {
        let started = Instant::now();
        let snapshot = context.db.snapshot();
        for runtime in &self.rules {
            if runtime.lock().restored {
                continue;
            }
            if let Err(error) = runtime.restore(&snapshot, now_ms, &context.options) {
                tracing::error!(
                    file = %self.file.display(),
                    group = self.name,
                    rule = runtime.rule.name(),
                    "cannot restore since when alerts are pending, they start anew: {error}"
                );
            }
            runtime.lock().restored = true;
        }
        self.lock().restore_pending = false;
        let seconds = started.elapsed().as_secs_f64();
        context
            .metrics
            .last_restore_duration
            .with(&self.metric_key)
            .set(seconds);
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let progress = self.lock();
        GroupStatus {
            file: self.file.clone(),
            name: self.name.clone(),
            interval_ms: self.interval_ms,
            limit: self.spec.limit,
            last_evaluation_ms: progress.last_evaluation_ms,
            evaluation_seconds: progress.evaluation_seconds,
            rules: self.rules.iter().map(RuleRuntime::status).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, GroupProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RuleRuntime {
    /// `restore` is the grace period where the state of before a restart is to be read; rules that
    /// pend for less than that are not restored and may write at once.
    fn new(rule: Rule, limit: u64, restore: Option<i64>) -> Self {
        let templates = match &rule.kind {
            RuleKind::Recording { .. } => None,
            RuleKind::Alerting {
                alert,
                for_ms,
                keep_firing_for_ms,
                annotations,
            } => {
                let parse = |labels: &Labels| {
                    labels
                        .iter()
                        .map(|(name, text)| {
                            (name.to_owned(), Template::parse_or_broken(alert, text))
                        })
                        .collect()
                };
                Some(AlertTemplates {
                    labels: parse(&rule.labels),
                    annotations: parse(annotations),
                    holds: Holds {
                        for_ms: *for_ms,
                        keep_firing_for_ms: *keep_firing_for_ms,
                        limit,
                    },
                })
            }
        };
        let restored = match (&templates, restore) {
            (Some(templates), Some(grace_ms)) => templates.holds.for_ms < grace_ms,
            _ => true,
        };
        Self {
            rule,
            templates,
            progress: Mutex::new(RuleProgress {
                health: RuleHealth::Unknown,
                last_error: String::new(),
                last_evaluation_ms: None,
                evaluation_seconds: 0.0,
                alerts: AlertStates::default(),
                series: HashMap::new(),
                restored,
            }),
        }
    }

    fn restore(
        &self,
        snapshot: &Snapshot,
        now_ms: i64,
        options: &RuleManagerOptions,
    ) -> Result<(), String> {
        let Some(templates) = &self.templates else {
            return Ok(());
        };
        let rules = RestoreRules {
            for_ms: templates.holds.for_ms,
            outage_tolerance_ms: options.outage_tolerance_ms,
            grace_period_ms: options.for_grace_period_ms,
        };
        let tolerance_ms = rules.outage_tolerance_ms;
        let stored = restore::stored_starts(snapshot, &self.rule, now_ms, tolerance_ms)?;
        for (labels, alert) in self.lock().alerts.active_mut() {
            if let Some(stored) = stored.get(labels) {
                alert.active_at_ms = restore::restored_start_ms(now_ms, *stored, rules);
            }
        }
        Ok(())
    }

    fn status(&self) -> RuleStatus {
        let progress = self.lock();
        let state = match (&self.templates, progress.last_evaluation_ms) {
            (Some(_), Some(_)) => progress.alerts.worst(),
            _ => AlertState::Unknown,
        };
        RuleStatus {
            rule: self.rule.clone(),
            health: progress.health,
            last_error: progress.last_error.clone(),
            last_evaluation_ms: progress.last_evaluation_ms,
            evaluation_seconds: progress.evaluation_seconds,
            state,
            alerts: progress.alerts.statuses(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RuleProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One evaluation: everything in it sees the same data.
struct Evaluation<'a> {
    snapshot: Snapshot,
    context: &'a Context,
    now_ms: i64,
}

impl Evaluation<'_> {
    fn vector(&self, expr: &Expr, time_ms: i64) -> Result<Vec<VectorSample>, RuleError> {
        let options = QueryOptions {
            cancel: self.context.cancel.clone(),
            lane: Lane::Rules,
            ..QueryOptions::default()
        };
        let outcome = self
            .context
            .engine
            .instant(&self.snapshot, expr, time_ms, &options)?;
        into_vector(outcome)
    }

    /// Expands the labels and annotations of everything the expression yields.
    fn findings(
        &self,
        rule: &Rule,
        templates: &AlertTemplates,
        vector: &[VectorSample],
    ) -> Vec<Finding> {
        let options = &self.context.options;
        let query = |text: &str| {
            let expr = parse_with(text, options.language).map_err(|error| error.to_string())?;
            self.vector(&expr, self.now_ms)
                .map_err(|error| error.to_string())
        };
        let environment = Environment {
            now_ms: self.now_ms,
            external_url: &options.external_url,
            query: &query,
        };
        let external_labels = label_map(&options.external_labels);
        let external_url: Rc<str> = options.external_url.as_str().into();
        let find = |sample: &VectorSample| {
            let data = template::Value::Alert(Rc::new(AlertData {
                labels: label_map(&sample.labels),
                external_labels: external_labels.clone(),
                external_url: external_url.clone(),
                value: sample.sample.value,
            }));
            let expand = |template: &Template| self.expand(rule, template, &environment, &data);
            let mut labels = sample.labels.to_builder();
            labels.remove(METRIC_NAME);
            for (name, template) in &templates.labels {
                labels.set(name, &expand(template));
            }
            labels.set(ALERT_NAME, rule.name());
            let annotations = templates.annotations.iter();
            Finding {
                labels: labels.build(),
                annotations: Labels::from_pairs(
                    annotations.map(|(name, template)| (name.as_str(), expand(template))),
                ),
                value: sample.sample.value,
            }
        };
        vector.iter().map(find).collect()
    }

    fn expand(
        &self,
        rule: &Rule,
        template: &Template,
        environment: &Environment<'_>,
        data: &template::Value,
    ) -> String {
        self.context.metrics.expansions.inc();
        template.expand(environment, data).unwrap_or_else(|error| {
            self.context.metrics.expansion_failures.inc();
            tracing::warn!(
                alert = rule.name(),
                "expanding alert template failed: {error}"
            );
            format!("<error expanding template: {error}>")
        })
    }
}

/// A vector as it is; a scalar as a vector of one.
fn into_vector(outcome: Outcome) -> Result<Vec<VectorSample>, RuleError> {
    match outcome.value {
        Value::Vector(vector) => Ok(vector),
        Value::Scalar(sample) => Ok(vec![VectorSample {
            labels: Labels::empty(),
            sample,
            histogram: None,
        }]),
        Value::String { .. } | Value::Matrix(_) => Err(RuleError::NotAVector),
    }
}

/// A recording rule's result under its own name and labels.
fn record(
    rule: &Rule,
    limit: u64,
    vector: Vec<VectorSample>,
) -> Result<Vec<(Labels, RowValue)>, RuleError> {
    let mut seen = HashSet::with_capacity(vector.len());
    let mut rows = Vec::with_capacity(vector.len());
    for sample in vector {
        let mut labels = sample.labels.to_builder();
        labels.set(METRIC_NAME, rule.name());
        for (name, value) in &rule.labels {
            labels.set(name, value);
        }
        for name in &rule.dropped_labels {
            labels.remove(name);
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(RuleError::Duplicate { labels });
        }
        let value = match sample.histogram {
            Some(histogram) => RowValue::Histogram(histogram),
            None => RowValue::Float(sample.sample.value),
        };
        rows.push((labels, value));
    }
    if limit > 0 && rows.len() as u64 > limit {
        let count = rows.len();
        return Err(RuleError::Limit { limit, count });
    }
    Ok(rows)
}

/// `ALERTS` and `ALERTS_FOR_STATE` of the pending and firing alerts.
fn alert_rows(alerts: &AlertStates) -> Vec<(Labels, RowValue)> {
    let mut rows = Vec::new();
    for (labels, alert) in alerts.active() {
        let mut builder: LabelsBuilder = labels.to_builder();
        builder.set(METRIC_NAME, FOR_STATE_NAME);
        let for_state = builder.build();
        builder.set(METRIC_NAME, "ALERTS");
        builder.set("alertstate", alert.state.as_str());
        rows.push((builder.build(), RowValue::Float(1.0)));
        let active_at = alert.active_at_ms.div_euclid(1_000) as f64;
        rows.push((for_state, RowValue::Float(active_at)));
    }
    rows
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
