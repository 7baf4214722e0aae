//! What is known of rules and alerts, for the API and the UI.

use std::path::PathBuf;

use barograph_model::Labels;

use crate::rule_file::Rule;

/// Where an alert, or the worst alert of a rule, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Not evaluated yet.
    Unknown,
    /// Nothing to report.
    Inactive,
    /// The condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// The word the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One pending or firing alert.
#[derive(Clone, Debug)]
pub struct AlertStatus {
    /// Its labels, `alertname` included.
    pub labels: Labels,
    /// Its annotations, expanded.
    pub annotations: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// Since when the condition holds, milliseconds since the epoch.
    pub active_at_ms: i64,
    /// Since when it is only kept firing.
    pub keep_firing_since_ms: Option<i64>,
    /// The expression's value at the last evaluation.
    pub value: f64,
}

/// How the last evaluation of a rule went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleHealth {
    /// Not evaluated yet.
    Unknown,
    /// Fine.
    Ok,
    /// Failed.
    Err,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// How its last evaluation went.
    pub health: RuleHealth,
    /// Why it failed, or empty.
    pub last_error: String,
    /// When it was last evaluated, milliseconds since the epoch.
    pub last_evaluation_ms: Option<i64>,
    /// How long that took, seconds.
    pub evaluation_seconds: f64,
    /// Its state, for alerting rules.
    pub state: AlertState,
    /// Its alerts, for alerting rules.
    pub alerts: Vec<AlertStatus>,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its file.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// Milliseconds between evaluations.
    pub interval_ms: i64,
    /// Most results per rule; 0 is no limit.
    pub limit: u64,
    /// When it was last evaluated, milliseconds since the epoch.
    pub last_evaluation_ms: Option<i64>,
    /// How long that took, seconds.
    pub evaluation_seconds: f64,
    /// Its rules.
    pub rules: Vec<RuleStatus>,
}
