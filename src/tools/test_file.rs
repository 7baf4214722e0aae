//! Files of unit tests for rules, in promtool's format.

use std::collections::BTreeMap;

use barograph_model::duration::parse_duration_ms;
use serde::de::{Deserialize, Deserializer, Error};

/// A file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// Rule files, patterns allowed, relative to this file.
    #[serde(default)]
    pub(super) rule_files: Vec<String>,
    /// Milliseconds between evaluations of rules.
    #[serde(default)]
    pub(super) evaluation_interval: DurationMs,
    /// Names of groups: those named earlier are evaluated earlier.
    #[serde(default)]
    pub(super) group_eval_order: Vec<String>,
    #[serde(default)]
    pub(super) tests: Vec<TestGroup>,
    /// Neighbouring floats count as equal.
    #[serde(default)]
    pub(super) fuzzy_compare: bool,
}

/// Series, and what rules and expressions must make of them.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestGroup {
    /// Distance of input samples; the evaluation interval where absent.
    #[serde(default)]
    pub(super) interval: DurationMs,
    #[serde(default)]
    pub(super) input_series: Vec<InputSeries>,
    #[serde(default)]
    pub(super) alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    pub(super) promql_expr_test: Vec<ExprTest>,
    #[serde(default)]
    pub(super) external_labels: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) external_url: String,
    #[serde(default)]
    pub(super) name: String,
    /// The time of the first sample.
    #[serde(default)]
    pub(super) start_timestamp: StartMs,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputSeries {
    pub(super) series: String,
    #[serde(default)]
    pub(super) values: Text,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertTest {
    #[serde(default)]
    pub(super) eval_time: DurationMs,
    #[serde(default)]
    pub(super) alertname: String,
    #[serde(default, deserialize_with = "list")]
    pub(super) exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedAlert {
    #[serde(default)]
    pub(super) exp_labels: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) exp_annotations: BTreeMap<String, Text>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExprTest {
    pub(super) expr: Text,
    #[serde(default)]
    pub(super) eval_time: DurationMs,
    #[serde(default, deserialize_with = "list")]
    pub(super) exp_samples: Vec<ExpectedSample>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedSample {
    #[serde(default)]
    pub(super) labels: String,
    #[serde(default)]
    pub(super) value: f64,
    /// A native histogram; then the value does not count.
    #[serde(default)]
    pub(super) histogram: String,
}

/// A list, or nothing for an empty one.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(from).map(Option::unwrap_or_default)
}

/// A text; numbers and words of YAML stand for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Asked for a text, the reader of YAML gives a scalar as it is written.
        Option::<String>::deserialize(from).map(|text| Self(text.unwrap_or_default()))
    }
}

/// A duration, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DurationMs(pub(super) i64);

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        parse_duration_ms(&text.0)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// A time, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StartMs(pub(super) i64);

impl<'de> Deserialize<'de> for StartMs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?;
        super::parse_time_ms(&text.0).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "cannot parse {:?} to a valid timestamp: write seconds since 1970 or 2006-01-02T15:04:05Z",
                text.0
            ))
        })
    }
}
