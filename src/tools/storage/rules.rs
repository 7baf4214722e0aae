//! Blocks from recording rules: what a server would have recorded, had it had them before.

use std::path::PathBuf;

use barograph_alerting::{Rule, RuleKind};
use barograph_model::{Labels, METRIC_NAME};
use barograph_query::ParseOptions;
use serde_json::Value;

use super::sink::{Sink, Target};
use super::{Failure, other};
use crate::config::read_rules;
use crate::tools::progress::Progress;
use crate::tools::{Question, ask_server};

/// Span that is asked for at once: that of a block of Prometheus.
const SPAN_MS: i64 = 2 * 3_600_000;
/// Most points of a series that servers give in one answer.
const POINTS_LIMIT: i64 = 11_000;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Backfill {
    /// Rule files; alerting rules in them are left out.
    pub(crate) files: Vec<PathBuf>,
    /// The server that has the data; without `/api/v1`.
    pub(crate) url: String,
    /// Headers of requests to it, as `Name: value`.
    pub(crate) headers: Vec<String>,
    /// The first and last time of evaluation.
    pub(crate) start_ms: i64,
    /// See `start_ms`.
    pub(crate) end_ms: i64,
    /// Between two evaluations, where a group does not say.
    pub(crate) interval_ms: i64,
}

/// Evaluates the recording rules over the time and writes blocks. Returns these.
pub(super) fn from_rules(asked: &Backfill, target: &Target) -> Result<Vec<PathBuf>, Failure> {
    if asked.start_ms > asked.end_ms {
        return Err(Failure::Other("--start is later than --end".to_owned()));
    }
    let mut rules: Vec<(Rule, i64)> = Vec::new();
    for file in &asked.files {
        let file = read_rules(file, ParseOptions::ALL).map_err(other)?;
        for group in file.groups {
            let interval_ms = group.interval_ms.unwrap_or(asked.interval_ms).max(1);
            let recording = group.rules.into_iter();
            let recording =
                recording.filter(|rule| matches!(rule.kind, RuleKind::Recording { .. }));
            rules.extend(recording.map(|rule| (rule, interval_ms)));
        }
    }
    let mut sink = Sink::open(target)?;
    let mut progress = Progress::new("rules");
    for (done, (rule, interval_ms)) in (0..).zip(&rules) {
        progress.set(done, rules.len() as u64);
        for (start_ms, end_ms) in spans(asked.start_ms, asked.end_ms, *interval_ms) {
            let question = Question::Range {
                expr: rule.expr_text.clone(),
                start_ms: Some(start_ms),
                end_ms: Some(end_ms),
                step_ms: Some(*interval_ms),
            };
            let (data, notes) = ask_server(&asked.url, &asked.headers, &question).map_err(other)?;
            for note in notes {
                complain!("{}: {note}", rule.name());
            }
            take_in(rule, &data, &mut sink)
                .map_err(|error| Failure::Other(format!("{}: {error}", rule.name())))?;
        }
    }
    drop(progress);
    sink.finish()
}

/// Evaluations at multiples of the interval, in parts that are asked for one after the other.
fn spans(start_ms: i64, end_ms: i64, interval_ms: i64) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut next_ms = start_ms.div_euclid(interval_ms) * interval_ms;
    if next_ms < start_ms {
        next_ms += interval_ms;
    }
    while next_ms <= end_ms {
        let span_end_ms = (next_ms.div_euclid(SPAN_MS) + 1) * SPAN_MS - 1;
        let last_ms = span_end_ms
            .min(end_ms)
            .min(next_ms + (POINTS_LIMIT - 1) * interval_ms);
        let last_ms = next_ms + (last_ms - next_ms) / interval_ms * interval_ms;
        spans.push((next_ms, last_ms));
        next_ms = last_ms + interval_ms;
    }
    spans
}

/// Stores an answer as the rule's series.
fn take_in(rule: &Rule, data: &Value, sink: &mut Sink) -> Result<(), String> {
    if data["resultType"] != "matrix" {
        return Err(format!("the answer is a {}, no matrix", data["resultType"]));
    }
    for series in data["result"].as_array().into_iter().flatten() {
        let metric = series["metric"]
            .as_object()
            .ok_or("a series without labels")?;
        let pairs = metric
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("")));
        let mut labels = Labels::from_pairs(pairs).to_builder();
        for (name, value) in &rule.labels {
            labels.set(name, value);
        }
        for name in &rule.dropped_labels {
            labels.set(name, "");
        }
        labels.set(METRIC_NAME, rule.name());
        let labels = labels.build();
        if series.get("histograms").is_some() {
            complain!("{labels}: native histograms are left out");
        }
        for point in series["values"].as_array().into_iter().flatten() {
            let seconds = point[0].as_f64().ok_or("a sample without a time")?;
            let value = point[1].as_str().and_then(|text| text.parse().ok());
            let value: f64 = value.ok_or_else(|| format!("{} is no number", point[1]))?;
            sink.push(&labels, (seconds * 1000.0).round() as i64, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_evaluation_is_asked_for_once() {
        for (start_ms, end_ms, interval_ms) in [
            (1_000, 20_000_000, 15_000),
            (7_199_999, 7_200_000, 60_000),
            (0, 100_000, 1),
            (5, 10_800_000_000, 86_400_000),
        ] {
            let mut want = (start_ms + interval_ms - 1) / interval_ms * interval_ms;
            for (from_ms, to_ms) in spans(start_ms, end_ms, interval_ms) {
                assert_eq!(from_ms, want);
                assert_eq!((to_ms - from_ms) % interval_ms, 0);
                assert!((to_ms - from_ms) / interval_ms < POINTS_LIMIT);
                want = to_ms + interval_ms;
            }
            assert!(want > end_ms);
        }
        assert_eq!(spans(1, 59_999, 60_000), []);
    }
}
