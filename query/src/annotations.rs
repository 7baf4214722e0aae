//! What is to be said about a result that is no error: warnings and infos, in Prometheus's words.

use std::fmt::Write as _;

use barograph_model::number::go_g;

use crate::ast::Span;
use crate::error::position_text;
use crate::gomath::two_digits;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Info,
}

/// One remark.
#[derive(Clone, Debug)]
pub(crate) struct Annotation {
    level: Level,
    text: String,
    span: Span,
    monotonicity: Option<Monotonicity>,
    /// How often it was made, where that is said.
    occurrences: Option<u64>,
}

/// What was done with histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// How far buckets had to be corrected, over all samples concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonicity {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) lowest_bound: f64,
    pub(crate) highest_bound: f64,
    pub(crate) largest_difference: f64,
    pub(crate) samples: u64,
}

impl PartialEq for Annotation {
    /// The same remark, wherever it points.
    fn eq(&self, other: &Self) -> bool {
        self.level == other.level && self.text == other.text
    }
}

impl Annotation {
    fn new(level: Level, text: String, span: Span) -> Self {
        Self {
            level,
            text,
            span,
            monotonicity: None,
            occurrences: None,
        }
    }

    fn warning(text: &str, span: Span) -> Self {
        Self::new(Level::Warning, format!("PromQL warning: {text}"), span)
    }

    fn info(text: &str, span: Span) -> Self {
        Self::new(Level::Info, format!("PromQL info: {text}"), span)
    }

    pub(crate) fn invalid_quantile(q: f64, span: Span) -> Self {
        let text = format!("quantile value should be between 0 and 1, got {}", go_g(q));
        Self::warning(&text, span)
    }

    pub(crate) fn invalid_ratio(ratio: f64, capped: f64, span: Span) -> Self {
        let (ratio, capped) = (go_g(ratio), go_g(capped));
        let text =
            format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}");
        Self::warning(&text, span)
    }

    pub(crate) fn bad_bucket_label(metric: &str, value: &str, span: Span) -> Self {
        let text = format!(
            "bucket label \"le\" is missing or has a malformed value of {value:?}{}",
            for_metric(metric)
        );
        Self::warning(&text, span)
    }

    pub(crate) fn sort_in_range_query(span: Span) -> Self {
        let text =
            "sort is ineffective for range queries since results are always ordered by labels";
        Self::warning(text, span)
    }

    pub(crate) fn possible_non_counter(metric: &str, span: Span) -> Self {
        let text = format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
        );
        Self::info(&text, span)
    }

    pub(crate) fn forced_monotonicity(
        metric: &str,
        span: Span,
        monotonicity: Monotonicity,
    ) -> Self {
        let text = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(metric)
        );
        Self {
            monotonicity: Some(monotonicity),
            ..Self::info(&text, span)
        }
    }

    pub(crate) fn mixed_floats_and_histograms(metric: &str, span: Span) -> Self {
        let text = format!("encountered a mix of histograms and floats for metric name {metric:?}");
        Self::warning(&text, span)
    }

    pub(crate) fn start_overlap(metric: &str, span: Span, occurrences: u64) -> Self {
        let text = format!(
            "sample has start time that overlaps with previous sample timestamp for metric {metric:?}"
        );
        Self {
            occurrences: Some(occurrences),
            ..Self::warning(&text, span)
        }
    }

    pub(crate) fn mixed_in_aggregation(span: Span) -> Self {
        Self::warning(
            "encountered a mix of histograms and floats for aggregation",
            span,
        )
    }

    pub(crate) fn mixed_classic_and_native(metric: &str, span: Span) -> Self {
        let text = format!(
            "vector contains a mix of classic and native histograms{}",
            for_metric(metric)
        );
        Self::warning(&text, span)
    }

    pub(crate) fn mixed_schemas(metric: &str, span: Span) -> Self {
        let text = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
        );
        Self::warning(&text, span)
    }

    pub(crate) fn not_a_counter(metric: &str, span: Span) -> Self {
        let text = format!("this native histogram metric is not a counter: {metric:?}");
        Self::warning(&text, span)
    }

    pub(crate) fn not_a_gauge(metric: &str, span: Span) -> Self {
        let text = format!("this native histogram metric is not a gauge: {metric:?}");
        Self::warning(&text, span)
    }

    pub(crate) fn histogram_ignored_in_range(metric: &str, span: Span) -> Self {
        let text = format!(
            "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
        );
        Self::info(&text, span)
    }

    pub(crate) fn histogram_ignored_in_aggregation(aggregation: &str, span: Span) -> Self {
        Self::info(
            &format!("ignored histogram in {aggregation} aggregation"),
            span,
        )
    }

    pub(crate) fn incompatible_types(op: &str, [left, right]: [&str; 2], span: Span) -> Self {
        let text = format!(
            "incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
        );
        Self::info(&text, span)
    }

    pub(crate) fn incompatible_layout(op: &str, span: Span) -> Self {
        let text = format!("incompatible bucket layout encountered for binary operator {op}");
        Self::warning(&text, span)
    }

    pub(crate) fn counter_reset_collision(operation: HistogramOperation, span: Span) -> Self {
        let text = format!(
            "conflicting counter resets during histogram {}",
            operation.as_str()
        );
        Self::warning(&text, span)
    }

    pub(crate) fn bounds_reconciled(operation: HistogramOperation, span: Span) -> Self {
        let text = format!(
            "mismatched custom buckets were reconciled during {}",
            operation.as_str()
        );
        Self::info(&text, span)
    }

    pub(crate) fn quantile_of_nan(metric: &str, span: Span) -> Self {
        let text = format!(
            "input to histogram_quantile has NaN observations, result is NaN{}",
            for_metric(metric)
        );
        Self::info(&text, span)
    }

    pub(crate) fn quantile_skewed_by_nan(metric: &str, span: Span) -> Self {
        let text = format!(
            "input to histogram_quantile has NaN observations, result is skewed higher{}",
            for_metric(metric)
        );
        Self::info(&text, span)
    }

    pub(crate) fn fraction_excludes_nan(metric: &str, span: Span) -> Self {
        let text = format!(
            "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
            for_metric(metric)
        );
        Self::info(&text, span)
    }

    /// With position, and with the details that differ from sample to sample.
    fn render(&self, query: &str) -> String {
        let mut text = self.text.clone();
        if let Some(m) = &self.monotonicity {
            let _ = write!(
                text,
                ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                go_g(m.lowest_bound),
                go_g(m.highest_bound),
                two_digits(m.largest_difference),
                m.samples,
                crate::eval::rfc3339(m.first_ms),
                crate::eval::rfc3339(m.last_ms),
            );
        }
        if let Some(occurrences) = self.occurrences.filter(|count| *count > 1) {
            let _ = write!(text, " ({occurrences} occurrences)");
        }
        format!("{text} ({})", position_text(query, self.span.start))
    }
}

fn for_metric(metric: &str) -> String {
    if metric.is_empty() {
        String::new()
    } else {
        format!(" for metric name {metric:?}")
    }
}

/// Remarks that are still being collected.
pub(crate) type Notes = Annotations;

/// Remarks, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    all: Vec<Annotation>,
}

impl Annotations {
    /// Adds a remark. One that is there already moves to the new position, and details add up.
    pub(crate) fn add(&mut self, new: Annotation) {
        let Some(have) = self.all.iter_mut().find(|have| **have == new) else {
            self.all.push(new);
            return;
        };
        if let (Some(have), Some(new)) = (&mut have.occurrences, new.occurrences) {
            // What is counted keeps its first place.
            *have += new;
            return;
        }
        match (&mut have.monotonicity, new.monotonicity) {
            (Some(have), Some(new)) => {
                have.first_ms = have.first_ms.min(new.first_ms);
                have.last_ms = have.last_ms.max(new.last_ms);
                have.lowest_bound = have.lowest_bound.min(new.lowest_bound);
                have.highest_bound = have.highest_bound.max(new.highest_bound);
                have.largest_difference = have.largest_difference.max(new.largest_difference);
                have.samples += new.samples;
            }
            _ => have.span = new.span,
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds all remarks of another.
    pub(crate) fn merge(&mut self, other: Self) {
        for annotation in other.all {
            self.add(annotation);
        }
    }

    /// The same remarks about what is written once more, so many bytes behind.
    pub(crate) fn moved(&self, bytes: usize) -> Self {
        let mut moved = self.clone();
        for annotation in &mut moved.all {
            // What has no place in the text stays without.
            if annotation.span != Span::default() {
                annotation.span.start += bytes;
                annotation.span.end += bytes;
            }
        }
        moved
    }

    /// Warnings and infos as clients see them, with their position in `query`.
    pub(crate) fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let of = |level| {
            self.all
                .iter()
                .filter(|annotation| annotation.level == level)
                .map(|annotation| annotation.render(query))
                .collect()
        };
        (of(Level::Warning), of(Level::Info))
    }
}
