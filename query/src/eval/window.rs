//! Range vectors: windows over stored samples or over a subquery's results.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use barograph_model::{Labels, TimeRange};
use barograph_tsdb::Column;

use super::arena::{Arena, is_signalling, quiet, weight};
use super::key::{Key, Selected};
use super::ledger::window_sizes;
use super::rows::{Kernel, Row, RowJob};
use super::select::{Shared, held, size_bytes};
use super::vector::{ABSENT, Vector, describes_metric, is_absent};
use super::{Evaluator, Sharing, Sink, hints};
use crate::annotations::{Annotation, Notes};
use crate::error::QueryError;
use crate::functions::Window;
use crate::kernels::{self, Edges, HistogramWindows, Input, Remarks, Starts};
use crate::memory::Held;
use crate::plan::{SelectorPlan, Steps, SubqueryPlan, Times, VectorPlan, WindowPlan, WindowSource};
use crate::value::{HistogramSample, Series};
use barograph_model::Sample;

/// The samples of a series and the windows over them.
pub(super) struct Windows<'a> {
    pub(super) key: Key<'a>,
    pub(super) drop_name: bool,
    pub(super) timestamps_ms: &'a [i64],
    /// Without staleness markers.
    pub(super) values: &'a [f64],
    pub(super) edges: &'a Edges,
    /// Since when its counter counts, where that is known and wanted.
    pub(super) starts: Option<&'a Starts>,
    /// Where the series has any.
    pub(super) histograms: Option<HistogramWindows<'a>>,
}

/// Whether all series of a window function have one name, so that they differ without it.
pub(super) fn has_one_name(plan: &WindowPlan, sharing: &Sharing<'_>) -> bool {
    match &plan.source {
        WindowSource::Selector { selector, .. } => selector.has_one_name(),
        WindowSource::Subquery(subquery) => match sharing.behind(&subquery.operand) {
            VectorPlan::Selector(selector) => selector.has_one_name(),
            _ => false,
        },
    }
}

/// Takes a series with its windows.
type WindowSink<'s> = dyn FnMut(&Windows<'_>) -> Result<(), QueryError> + 's;

impl Evaluator<'_> {
    /// Whether each series of a window function can be passed on as it comes.
    pub(super) fn window_flows(&self, plan: &WindowPlan) -> bool {
        if self.delayed_names || keeps_name(plan.function) {
            // Series of a selection are distinct, and those of a subquery as well.
            return true;
        }
        has_one_name(plan, &self.sharing)
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
        let starts = self.use_start_timestamps && uses_starts(plan);
        let mut rows = WindowRows {
            plan,
            params: &params,
            steps,
            drops: !keeps_name(plan.function),
            out: vec![ABSENT; steps.count],
            notes: Notes::default(),
            any_window: false,
            arena: self.arena.clone(),
            noted: None,
            sink,
        };
        match &plan.source {
            WindowSource::Selector { selector, range_ms }
                if !starts && self.counts.steps.is_none() && rows.are_plain() =>
            {
                self.each_plain_window(selector, *range_ms, &mut rows)?;
            }
            source => {
                self.each_window(source, steps, starts, &mut |windows| rows.take(windows))?;
            }
        }
        self.annotations.merge(rows.notes);
        Ok(())
    }

    /// Windows over stored floats need nothing but their series; what has histograms goes the long
    /// way.
    fn each_plain_window(
        &mut self,
        selector: &SelectorPlan,
        range_ms: i64,
        rows: &mut WindowRows<'_, '_>,
    ) -> Result<(), QueryError> {
        let mut reading = self.reading(selector, range_ms, rows.steps, false)?;
        let job = RowJob {
            selected: reading.selected.clone(),
            kernel: Kernel::Window {
                function: rows.plan.function,
                params: rows.params.to_vec(),
                times: reading.times,
                range_ms: reading.range_ms,
            },
            range: reading.range,
            steps: *rows.steps,
            limits: self.limits.clone(),
            sizes_windows: self.ledger.is_some(),
            has_histograms: AtomicBool::new(false),
        };
        self.each_row(job, &mut |evaluator, row| match row {
            Row::Values(index, values) => {
                rows.pass_on(reading.selected.key(index), false, true, values)
            }
            Row::Left(index) => {
                evaluator.read_windows(&mut reading, index, &mut |windows| rows.take(windows))
            }
        })
    }

    /// Gives every series of a source with its windows to `sink`.
    fn each_window(
        &mut self,
        source: &WindowSource,
        steps: &Steps,
        starts: bool,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        match source {
            WindowSource::Selector { selector, range_ms } => {
                self.each_selected(selector, *range_ms, steps, starts, sink)
            }
            WindowSource::Subquery(subquery) => self.each_of_subquery(subquery, steps, sink),
        }
    }

    fn each_selected(
        &mut self,
        selector: &SelectorPlan,
        range_ms: i64,
        steps: &Steps,
        starts: bool,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        let mut reading = self.reading(selector, range_ms, steps, starts)?;
        for index in 0..reading.selected.selection.len() {
            self.read_windows(&mut reading, index, sink)?;
        }
        Ok(())
    }

    fn reading<'p>(
        &mut self,
        selector: &'p SelectorPlan,
        range_ms: i64,
        steps: &'p Steps,
        starts: bool,
    ) -> Result<Reading<'p>, QueryError> {
        let (times, range_ms) = self.reach(selector, range_ms);
        let (first_ms, last_ms) = times.bounds(steps);
        let range = TimeRange {
            start_ms: first_ms.saturating_sub(range_ms).saturating_add(1),
            end_ms: last_ms,
        };
        Ok(Reading {
            selected: self.select(selector, range)?,
            selector,
            steps,
            times,
            range_ms,
            range,
            starts,
            shared: Shared::new(&self.limits),
            memory: self.limits.held(),
            has_histograms: false,
            column: Column::default(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Reads a series and gives it with its windows to `sink`.
    fn read_windows(
        &mut self,
        reading: &mut Reading<'_>,
        index: usize,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        let selected = reading.selected.clone();
        let Reading {
            selector,
            steps,
            times,
            range_ms,
            range,
            starts,
            shared,
            has_histograms,
            column,
            memory,
            timestamps_ms: times_left,
            values: values_left,
            ..
        } = reading;
        self.read(
            &selected.selection,
            index,
            selector,
            *range,
            has_histograms,
            column,
        )?;
        let held = held(column);
        if held == 0 {
            return Ok(());
        }
        memory.set(size_bytes(column));
        self.limits.hold(held)?;
        let mark = self.arena.mark();
        let make = |timestamps: &[i64]| Edges::new(timestamps, *times, *range_ms, steps);
        let histogram_edges = (!column.histograms.is_empty()).then(|| {
            let timestamps_ms = &column.histograms.timestamps_ms;
            shared.get(timestamps_ms, make, Edges::size_bytes)
        });
        let of_floats = if column.values.iter().any(|value| is_signalling(*value)) {
            // Without the staleness markers indices are the series' own.
            times_left.clear();
            values_left.clear();
            for (t, value) in column.timestamps_ms.iter().zip(&column.values) {
                if !is_absent(*value) {
                    times_left.push(*t);
                    values_left.push(quiet(*value));
                }
            }
            None
        } else {
            Some(shared.get(&column.timestamps_ms, make, Edges::size_bytes))
        };
        let starts = starts.then(|| starts_of(column));
        let (of_values, of_histograms) = starts.unwrap_or_default();
        let own_edges;
        let (timestamps_ms, values, edges): (&[i64], &[f64], &Edges) =
            if let Some(edges) = &of_floats {
                (&column.timestamps_ms, &column.values, edges)
            } else {
                own_edges = make(times_left);
                (times_left, values_left, &own_edges)
            };
        let histograms = histogram_edges.as_ref().map(|edges| HistogramWindows {
            timestamps_ms: &column.histograms.timestamps_ms,
            values: &column.histograms.values,
            edges,
            starts: of_histograms.as_ref(),
        });
        self.count_windows(edges, histograms.as_ref(), true);
        sink(&Windows {
            key: selected.key(index),
            drop_name: false,
            timestamps_ms,
            values,
            edges,
            starts: of_values.as_ref(),
            histograms,
        })?;
        if self.transient {
            self.arena.forget_since(mark);
        }
        self.limits.release(held);
        Ok(())
    }

    fn each_of_subquery(
        &mut self,
        subquery: &SubqueryPlan,
        steps: &Steps,
        sink: &mut WindowSink<'_>,
    ) -> Result<(), QueryError> {
        let inner_steps = subquery.steps(steps);
        let part = self.counts.of_subquery(&inner_steps, steps, subquery);
        let counts = std::mem::replace(&mut self.counts, part);
        let inner = self.vector(&subquery.operand, &inner_steps);
        let part = std::mem::replace(&mut self.counts, counts);
        self.counts.subquery(&part, &inner_steps, steps, subquery);
        let inner = inner?;
        let all: Arc<[i64]> = (0..inner_steps.count)
            .map(|step| inner_steps.at(step))
            .collect();
        let make =
            |timestamps: &[i64]| Edges::new(timestamps, subquery.times, subquery.range_ms, steps);
        let all_edges = make(&all);
        let transient = self.transient;
        let (mut times_left, mut values_left) = (Vec::new(), Vec::new());
        let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
        for (meta, values) in inner.rows() {
            self.limits.check()?;
            let mark = self.arena.mark();
            let is_full = !values.iter().any(|value| is_signalling(*value));
            times_left.clear();
            values_left.clear();
            histogram_times.clear();
            histograms.clear();
            if !is_full {
                for (t, value) in all.iter().zip(values) {
                    if let Some(histogram) = self.arena.get(*value) {
                        histogram_times.push(*t);
                        histograms.push(hints::forgotten(histogram));
                    } else if !is_absent(*value) {
                        times_left.push(*t);
                        values_left.push(*value);
                    }
                }
            }
            let own_edges;
            let (timestamps_ms, values, edges): (&[i64], &[f64], &Edges) = if is_full {
                (&all, values, &all_edges)
            } else {
                own_edges = make(&times_left);
                (&times_left, &values_left, &own_edges)
            };
            let histogram_edges = (!histograms.is_empty()).then(|| make(&histogram_times));
            let histograms = histogram_edges.as_ref().map(|edges| HistogramWindows {
                timestamps_ms: &histogram_times,
                values: &histograms,
                edges,
                starts: None,
            });
            self.count_windows(edges, histograms.as_ref(), false);
            sink(&Windows {
                key: meta.key(),
                drop_name: meta.drop_name,
                timestamps_ms,
                values,
                edges,
                starts: None,
                histograms,
            })?;
            if transient {
                self.arena.forget_since(mark);
            }
        }
        self.limits.release(inner.held());
        Ok(())
    }

    /// Counts the windows of a series; `stored` where they are not over results of a subquery.
    pub(super) fn count_windows(
        &mut self,
        edges: &Edges,
        histograms: Option<&HistogramWindows<'_>>,
        stored: bool,
    ) {
        self.counts.windows(edges, stored);
        if let Some(histograms) = histograms {
            self.counts.histogram_windows(histograms, stored);
        }
        if let Some(ledger) = &self.ledger {
            ledger.borrow_mut().window(window_sizes(edges, histograms));
        }
    }

    /// 1 at each step where no series has a sample in its window.
    pub(super) fn absent_over_time(
        &mut self,
        source: &WindowSource,
        labels: &Labels,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut missing = vec![1.0; steps.count];
        let ledger = self.ledger.clone();
        self.each_window(source, steps, false, &mut |windows| {
            let of_histograms = windows.histograms.as_ref().map(|windows| windows.edges);
            if let Some(ledger) = &ledger {
                let is_empty = |step: usize| {
                    let all = [Some(windows.edges), of_histograms];
                    all.into_iter()
                        .flatten()
                        .all(|edges| edges.spans[step].0 == edges.spans[step].1)
                };
                let present = (0..steps.count).filter(|step| !is_empty(*step)).count();
                ledger.borrow_mut().discarded(present);
            }
            for edges in std::iter::once(windows.edges).chain(of_histograms) {
                for (slot, (from, to)) in missing.iter_mut().zip(&edges.spans) {
                    if from < to {
                        *slot = ABSENT;
                    }
                }
            }
            Ok(())
        })?;
        let mut vector = Vector::new(steps.count, self.limits.held());
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
        let mut memory = self.limits.held();
        let (limits, delayed_names) = (self.limits.clone(), self.delayed_names);
        self.each_window(source, steps, false, &mut |windows| {
            let window = |edges: &Edges| {
                let (from, to) = edges.spans.first().copied().unwrap_or_default();
                from as usize..to as usize
            };
            let floats = window(windows.edges);
            let mut histograms = Vec::new();
            if let Some(own) = &windows.histograms {
                let window = window(own.edges);
                let values = own.values[window.clone()].iter();
                histograms.extend(own.timestamps_ms[window].iter().zip(values).map(
                    |(t, histogram)| HistogramSample {
                        timestamp_ms: *t,
                        histogram: histogram.clone(),
                    },
                ));
            }
            let weights = histograms.iter().map(|sample| weight(&sample.histogram));
            let weight = weights.sum::<usize>();
            // As much as they count for: 16 bytes a sample.
            memory.grow((floats.len() + weight) * size_of::<Sample>());
            limits.hold(floats.len() + weight)?;
            let timestamps_ms = &windows.timestamps_ms[floats.clone()];
            let values = &windows.values[floats.clone()];
            let samples: Vec<Sample> = match source.extension() {
                Some(extension) if !floats.is_empty() => {
                    let end_ms = source.times().at_step(steps, 0);
                    let range = (end_ms.saturating_sub(source.range_ms()), end_ms);
                    kernels::extend(timestamps_ms, values, range, extension)
                }
                _ => timestamps_ms
                    .iter()
                    .zip(values)
                    .map(|(t, value)| Sample {
                        timestamp_ms: *t,
                        value: *value,
                    })
                    .collect(),
            };
            if let (Some(extension), false) = (source.extension(), histograms.is_empty()) {
                return Err(QueryError::Execution(format!(
                    "{} modifier is not supported with histograms",
                    extension.as_str()
                )));
            }
            if samples.is_empty() && histograms.is_empty() {
                return Ok(());
            }
            let labels = if windows.drop_name && delayed_names {
                windows.key.labels().without(describes_metric)
            } else {
                windows.key.labels().clone()
            };
            all.push(Series {
                labels,
                samples,
                histograms,
            });
            Ok(())
        })?;
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

/// A range selector being read.
struct Reading<'p> {
    selected: Arc<Selected>,
    selector: &'p SelectorPlan,
    steps: &'p Steps,
    times: Times,
    range_ms: i64,
    /// What is read of each series.
    range: TimeRange,
    starts: bool,
    shared: Shared<Edges>,
    has_histograms: bool,
    column: Column,
    /// What the column takes.
    memory: Held,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
}

/// Makes rows of windows and passes them on.
struct WindowRows<'p, 's> {
    plan: &'p WindowPlan,
    params: &'p [Vec<f64>],
    steps: &'p Steps,
    /// The function drops names.
    drops: bool,
    out: Vec<f64>,
    notes: Notes,
    any_window: bool,
    arena: Arena,
    /// The name of the series before, by the number of its pair: what there is to be said of it was
    /// said.
    noted: Option<u32>,
    sink: &'p mut Sink<'s>,
}

impl WindowRows<'_, '_> {
    /// Whether a row takes nothing but its floats: no remark can come of making it, and no error.
    fn are_plain(&self) -> bool {
        let in_range = |q: &f64| (0.0..=1.0).contains(q);
        self.plan.source.extension().is_none()
            && match self.plan.function {
                Window::DoubleExponentialSmoothing => {
                    check_params(self.plan.function, self.params).is_ok()
                }
                Window::Quantile => self.params[0].iter().all(in_range),
                _ => true,
            }
    }

    fn take(&mut self, windows: &Windows<'_>) -> Result<(), QueryError> {
        if windows.is_empty() {
            return Ok(());
        }
        let plan = self.plan;
        if !self.any_window {
            self.any_window = true;
            check_params(plan.function, self.params)?;
        }
        let edges = windows.edges;
        if plan.function == Window::Quantile {
            note_quantiles(plan, self.params, edges, &mut self.notes);
        }
        let input = Input {
            timestamps_ms: windows.timestamps_ms,
            values: windows.values,
            edges,
            steps: self.steps,
            times: plan.source.times(),
            range_ms: plan.source.range_ms(),
            starts: windows.starts,
            params: self.params,
        };
        let mut out = std::mem::take(&mut self.out);
        match plan.source.extension() {
            Some(extension) => {
                kernels::run_extended(plan.function, extension, &input, &mut out);
            }
            None => kernels::run(plan.function, &input, &mut out),
        }
        if let Some(histograms) = &windows.histograms {
            let mut remarks = Remarks {
                metric: windows.key.metric_name(),
                span: plan.first_span,
                notes: &mut self.notes,
            };
            let (function, remarks, arena) = (plan.function, &mut remarks, &self.arena);
            match plan.source.extension() {
                None => {
                    kernels::run_mixed(function, &input, histograms, arena, remarks, &mut out)?;
                }
                Some(extension) => kernels::run_mixed_extended(
                    function, extension, &input, histograms, arena, remarks, &mut out,
                )?,
            }
        }
        if matches!(plan.function, Window::Rate | Window::Increase) {
            let overlaps = windows.overlaps();
            if overlaps > 0 {
                let name = windows.key.metric_name();
                self.notes
                    .add(Annotation::start_overlap(name, plan.first_span, overlaps));
            }
        }
        let mut passed = Ok(());
        if out.iter().any(|value| !is_absent(*value)) {
            let has_float = windows.histograms.is_none() || kernels::has_float(&out);
            passed = self.pass_on(windows.key, windows.drop_name, has_float, &mut out);
        }
        self.out = out;
        passed
    }

    /// Passes on a row that has something in it.
    fn pass_on(
        &mut self,
        key: Key<'_>,
        drop_name: bool,
        has_float: bool,
        out: &mut [f64],
    ) -> Result<(), QueryError> {
        if matches!(self.plan.function, Window::Rate | Window::Increase) && has_float {
            // Neighbours mostly have the same name.
            let is_noted = self.noted.is_some_and(|pair| key.has_pair(pair));
            if !is_noted {
                let name = key.metric_name();
                if !name.is_empty() && !looks_like_counter(name) {
                    let span = self.plan.source_span;
                    self.notes.add(Annotation::possible_non_counter(name, span));
                }
                self.noted = key.name_pair();
            }
        }
        (self.sink)(key, drop_name || self.drops, out)
    }
}

impl Windows<'_> {
    /// How many windows hold samples whose counters claim to have begun too early. Windows of floats
    /// and histograms have no rate, and are not looked at.
    fn overlaps(&self) -> u64 {
        let histograms = self.histograms.as_ref();
        let own = histograms.and_then(|windows| windows.starts);
        let any = |starts: Option<&Starts>| starts.is_some_and(Starts::any_overlap);
        if !any(self.starts) && !any(own) {
            return 0;
        }
        let overlaps = |step: &usize| {
            let floats = self.edges.spans[*step];
            let spans = histograms.map_or((0, 0), |windows| windows.edges.spans[*step]);
            let in_one = |starts: Option<&Starts>, span| {
                starts.is_some_and(|starts| starts.overlap_in(span))
            };
            match (floats.0 < floats.1, spans.0 < spans.1) {
                (true, true) => false,
                (_, true) => in_one(own, spans),
                _ => in_one(self.starts, floats),
            }
        };
        (0..self.edges.spans.len()).filter(overlaps).count() as u64
    }

    /// Whether no window holds a sample.
    fn is_empty(&self) -> bool {
        let of_histograms = self.histograms.as_ref();
        self.edges.total_samples == 0
            && of_histograms.is_none_or(|windows| windows.edges.total_samples == 0)
    }
}

/// What the start timestamps of a column say of its floats, staleness markers left out, and of its
/// histograms.
fn starts_of(column: &Column) -> (Option<Starts>, Option<Starts>) {
    let of_values = (!column.starts_ms.is_empty()).then(|| {
        let samples = column.timestamps_ms.iter().zip(&column.values);
        let (timestamps_ms, starts_ms): (Vec<i64>, Vec<i64>) = samples
            .zip(&column.starts_ms)
            .filter(|((_, value), _)| !is_absent(**value))
            .map(|((t, _), start)| (*t, *start))
            .unzip();
        Starts::new(&timestamps_ms, &starts_ms)
    });
    let histograms = &column.histograms;
    let of_histograms = (!histograms.starts_ms.is_empty())
        .then(|| Starts::new(&histograms.timestamps_ms, &histograms.starts_ms));
    (of_values, of_histograms)
}

/// Whether start timestamps count: rates of extended windows have nothing to do with them.
fn uses_starts(plan: &WindowPlan) -> bool {
    let is_extended = matches!(&plan.source, WindowSource::Selector { selector, .. } if selector.extension.is_some());
    match plan.function {
        Window::Rate | Window::Increase => !is_extended,
        Window::Irate | Window::Resets => true,
        _ => false,
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

fn note_quantiles(plan: &WindowPlan, params: &[Vec<f64>], edges: &Edges, notes: &mut Notes) {
    for (q, (from, to)) in params[0].iter().zip(&edges.spans) {
        if from < to && !(0.0..=1.0).contains(q) {
            notes.add(Annotation::invalid_quantile(*q, plan.first_span));
        }
    }
}
