//! Range vectors: windows over stored samples or over a subquery's results.

use std::sync::Arc;

use barograph_model::{Labels, TimeRange};
use barograph_tsdb::Column;

use super::select::Shared;
use super::vector::{ABSENT, Vector, describes_metric, is_absent};
use super::{Evaluator, Sink};
use crate::annotations::Annotation;
use crate::error::QueryError;
use crate::functions::Window;
use crate::kernels::{self, Edges, Input};
use crate::plan::{SelectorPlan, Steps, SubqueryPlan, VectorPlan, WindowPlan, WindowSource};
use crate::value::Series;
use barograph_model::Sample;

/// Takes the samples of a series and the windows over them: labels, whether the name is to be
/// dropped, timestamps, values without staleness markers, edges.
type WindowSink<'s> =
    dyn FnMut(&Labels, bool, &[i64], &[f64], &Edges) -> Result<(), QueryError> + 's;

impl Evaluator<'_> {
    /// Whether each series of a window function can be passed on as it comes.
    pub(super) fn window_flows(&self, plan: &WindowPlan) -> bool {
        if self.delayed_names || keeps_name(plan.function) {
            // Series of a selection are distinct, and those of a subquery as well.
            return true;
        }
        match &plan.source {
            WindowSource::Selector { selector, .. } => selector.has_one_name(),
            WindowSource::Subquery(subquery) => match &subquery.operand {
                VectorPlan::Selector(selector) => selector.has_one_name(),
                _ => false,
            },
        }
    }

    pub(super) fn stream_window(
        &mut self,
        plan: &WindowPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let params = plan
            .params
            .iter()
            .map(|param| self.scalar(param, steps))
            .collect::<Result<Vec<_>, _>>()?;
        let (times, range_ms) = (plan.source.times(), plan.source.range_ms());
        let drops = !keeps_name(plan.function);
        let mut out = vec![ABSENT; steps.count];
        let mut notes: Vec<Annotation> = Vec::new();
        let mut any_window = false;
        self.each_window(
            &plan.source,
            steps,
            &mut |labels, drop_name, timestamps_ms, values, edges| {
                if edges.total_samples == 0 {
                    return Ok(());
                }
                if !any_window {
                    any_window = true;
                    check_params(plan.function, &params)?;
                }
                if plan.function == Window::Quantile {
                    note_quantiles(plan, &params, edges, &mut notes);
                }
                let input = Input {
                    timestamps_ms,
                    values,
                    edges,
                    steps,
                    times,
                    range_ms,
                    params: &params,
                };
                match plan.source.extension() {
                    Some(extension) => {
                        kernels::run_extended(plan.function, extension, &input, &mut out);
                    }
                    None => kernels::run(plan.function, &input, &mut out),
                }
                if out.iter().all(|value| is_absent(*value)) {
                    return Ok(());
                }
                if matches!(plan.function, Window::Rate | Window::Increase) {
                    let name = labels.metric_name();
                    if !name.is_empty() && !looks_like_counter(name) {
                        let note = Annotation::possible_non_counter(name, plan.source_span);
                        if !notes.contains(&note) {
                            notes.push(note);
                        }
                    }
                }
                sink(labels, drop_name || drops, &mut out)
            },
        )?;
        for note in notes {
            self.annotations.add(note);
        }
        Ok(())
    }

    /// Gives every series of a source with its windows to `sink`.
    fn each_window(
        &mut self,
        source: &WindowSource,
        steps: &Steps,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        match source {
            WindowSource::Selector { selector, range_ms } => {
                self.each_selected(selector, *range_ms, steps, sink)
            }
            WindowSource::Subquery(subquery) => self.each_of_subquery(subquery, steps, sink),
        }
    }

    fn each_selected(
        &mut self,
        selector: &SelectorPlan,
        range_ms: i64,
        steps: &Steps,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        let (times, range_ms) = self.reach(selector, range_ms);
        let (first_ms, last_ms) = times.bounds(steps);
        let range = TimeRange {
            start_ms: first_ms.saturating_sub(range_ms).saturating_add(1),
            end_ms: last_ms,
        };
        let selection = self.select(selector, range)?;
        let mut shared = Shared::new();
        let mut column = Column::default();
        let (mut times_left, mut values_left) = (Vec::new(), Vec::new());
        for index in 0..selection.len() {
            self.read(&selection, index, range, &mut column)?;
            if column.values.is_empty() {
                continue;
            }
            self.limits.hold(column.values.len())?;
            let labels = selection.labels(index);
            let make = |timestamps: &[i64]| Edges::new(timestamps, times, range_ms, steps);
            if column.values.iter().any(|value| is_absent(*value)) {
                // Without the staleness markers indices are the series' own.
                times_left.clear();
                values_left.clear();
                for (t, value) in column.timestamps_ms.iter().zip(&column.values) {
                    if !is_absent(*value) {
                        times_left.push(*t);
                        values_left.push(*value);
                    }
                }
                let edges = make(&times_left);
                self.queryable_samples += edges.total_samples;
                sink(labels, false, &times_left, &values_left, &edges)?;
            } else {
                let edges = shared.get(&column.timestamps_ms, make, Edges::size_bytes);
                self.queryable_samples += edges.total_samples;
                sink(labels, false, &column.timestamps_ms, &column.values, &edges)?;
            }
            self.limits.release(column.values.len());
        }
        Ok(())
    }

    fn each_of_subquery(
        &mut self,
        subquery: &SubqueryPlan,
        steps: &Steps,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        let inner_steps = subquery.steps(steps);
        let inner = self.vector(&subquery.operand, &inner_steps)?;
        let all: Arc<[i64]> = (0..inner_steps.count)
            .map(|step| inner_steps.at(step))
            .collect();
        let make =
            |timestamps: &[i64]| Edges::new(timestamps, subquery.times, subquery.range_ms, steps);
        let all_edges = make(&all);
        let (mut times_left, mut values_left) = (Vec::new(), Vec::new());
        for (meta, values) in inner.rows() {
            self.limits.check()?;
            if values.iter().any(|value| is_absent(*value)) {
                times_left.clear();
                values_left.clear();
                for (t, value) in all.iter().zip(values) {
                    if !is_absent(*value) {
                        times_left.push(*t);
                        values_left.push(*value);
                    }
                }
                let edges = make(&times_left);
                self.queryable_samples += edges.total_samples;
                sink(
                    &meta.labels,
                    meta.drop_name,
                    &times_left,
                    &values_left,
                    &edges,
                )?;
            } else {
                self.queryable_samples += all_edges.total_samples;
                sink(&meta.labels, meta.drop_name, &all, values, &all_edges)?;
            }
        }
        self.limits.release(inner.held());
        Ok(())
    }

    /// 1 at each step where no series has a sample in its window.
    pub(super) fn absent_over_time(
        &mut self,
        source: &WindowSource,
        labels: &Labels,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut missing = vec![1.0; steps.count];
        self.each_window(source, steps, &mut |_, _, _, _, edges| {
            for (slot, (from, to)) in missing.iter_mut().zip(&edges.spans) {
                if from < to {
                    *slot = ABSENT;
                }
            }
            Ok(())
        })?;
        let mut vector = Vector::new(steps.count);
        self.limits.hold(steps.count)?;
        vector.push(labels.clone(), true, &missing);
        if !self.delayed_names {
            vector.drop_names();
        }
        Ok(vector.without_empty())
    }

    /// The samples of a range vector at one time.
    pub(crate) fn matrix(
        &mut self,
        source: &WindowSource,
        steps: &Steps,
    ) -> Result<Vec<Series>, QueryError> {
        let mut all = Vec::new();
        let (limits, delayed_names) = (self.limits.clone(), self.delayed_names);
        self.each_window(
            source,
            steps,
            &mut |labels, drop_name, timestamps_ms, values, edges| {
                let Some((from, to)) = edges.spans.first() else {
                    return Ok(());
                };
                let window = *from as usize..*to as usize;
                if window.is_empty() {
                    return Ok(());
                }
                limits.hold(window.len())?;
                let (timestamps_ms, values) = (&timestamps_ms[window.clone()], &values[window]);
                let samples: Vec<Sample> = match source.extension() {
                    Some(extension) => {
                        let end_ms = source.times().at_step(steps, 0);
                        let range = (end_ms.saturating_sub(source.range_ms()), end_ms);
                        kernels::extend(timestamps_ms, values, range, extension)
                    }
                    None => timestamps_ms
                        .iter()
                        .zip(values)
                        .map(|(t, value)| Sample {
                            timestamp_ms: *t,
                            value: *value,
                        })
                        .collect(),
                };
                if samples.is_empty() {
                    return Ok(());
                }
                let labels = if drop_name && delayed_names {
                    labels.without(describes_metric)
                } else {
                    labels.clone()
                };
                all.push(Series {
                    labels,
                    samples,
                    histograms: Vec::new(),
                });
                Ok(())
            },
        )?;
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

/// `first_over_time` and `last_over_time` give samples as they are.
fn keeps_name(function: Window) -> bool {
    matches!(function, Window::First | Window::Last)
}

fn looks_like_counter(name: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn check_params(function: Window, params: &[Vec<f64>]) -> Result<(), QueryError> {
    if function != Window::DoubleExponentialSmoothing {
        return Ok(());
    }
    for (name, short, values) in [("smoothing", "sf", &params[0]), ("trend", "tf", &params[1])] {
        let outside = |value: &&f64| **value <= 0.0 || **value >= 1.0;
        if let Some(value) = values.iter().find(outside) {
            return Err(QueryError::Execution(format!(
                "invalid {name} factor. Expected: 0 < {short} < 1, got: {value:.6}"
            )));
        }
    }
    Ok(())
}

fn note_quantiles(
    plan: &WindowPlan,
    params: &[Vec<f64>],
    edges: &Edges,
    notes: &mut Vec<Annotation>,
) {
    for (q, (from, to)) in params[0].iter().zip(&edges.spans) {
        if from < to && !(0.0..=1.0).contains(q) {
            let note = Annotation::invalid_quantile(*q, plan.first_span);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
}
