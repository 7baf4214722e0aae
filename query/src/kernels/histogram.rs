//! Functions over windows that hold histograms, alone or beside floats.

use std::sync::Arc;

use barograph_model::histogram::HistogramSum;
use barograph_model::{CounterResetHint, FloatHistogram};

use super::{Edges, Geometry, Input, Starts};
use crate::annotations::{Annotation, HistogramOperation, Notes};
use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::Arena;
use crate::eval::vector::{ABSENT, is_absent};
use crate::functions::Window;
use crate::parse::seconds_of_ms;

/// The histograms of a series and the windows over them.
pub(crate) struct HistogramWindows<'a> {
    pub(crate) timestamps_ms: &'a [i64],
    pub(crate) values: &'a [Arc<FloatHistogram>],
    pub(crate) edges: &'a Edges,
    /// As of floats.
    pub(crate) starts: Option<&'a Starts>,
}

/// Where remarks on a series go.
pub(crate) struct Remarks<'a> {
    /// The series' metric.
    pub(crate) metric: &'a str,
    /// What they point at.
    pub(crate) span: Span,
    pub(crate) notes: &'a mut Notes,
}

/// One window.
pub(super) struct Mixed<'a> {
    pub(super) float_times: &'a [i64],
    pub(super) floats: &'a [f64],
    pub(super) times: &'a [i64],
    pub(super) histograms: &'a [Arc<FloatHistogram>],
    /// When the window ends.
    pub(super) end_ms: i64,
    range_ms: i64,
    /// When the counter of the histograms began, if that is inside the window, before the first.
    started_ms: Option<i64>,
    /// Where counters began anew since the sample before, as far as start timestamps tell.
    float_began: &'a [bool],
    began: &'a [bool],
}

/// What a window yields.
pub(super) enum Outcome {
    /// What the kernel for floats found.
    AsFloats,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

use Outcome::{AsFloats, Float, Histogram};

/// Corrects what a kernel for floats computed, at every step whose window holds histograms.
pub(crate) fn run_mixed(
    function: Window,
    input: &Input<'_>,
    histograms: &HistogramWindows<'_>,
    arena: &Arena,
    remarks: &mut Remarks<'_>,
    out: &mut [f64],
) -> Result<(), QueryError> {
    for (step, slot) in out.iter_mut().enumerate() {
        let Some(window) = Mixed::at(input, histograms, step) else {
            continue;
        };
        match window.compute(function, remarks) {
            AsFloats => {}
            Float(value) => *slot = value,
            Histogram(histogram) => *slot = arena.put(histogram)?,
        }
    }
    Ok(())
}

impl<'a> Mixed<'a> {
    /// The window of a step; `None` where it holds no histogram.
    pub(super) fn at(
        input: &Input<'a>,
        histograms: &HistogramWindows<'a>,
        step: usize,
    ) -> Option<Self> {
        let range = |(from, to): (u32, u32)| from as usize..to as usize;
        let own = range(histograms.edges.spans[step]);
        if own.is_empty() {
            return None;
        }
        let floats = range(input.edges.spans[step]);
        let end_ms = input.times.at_step(input.steps, step);
        let begin_ms = end_ms.saturating_sub(input.range_ms);
        let first_ms = histograms.timestamps_ms[own.start];
        let started_ms = histograms
            .starts
            .and_then(|starts| starts.inside(own.start, first_ms, begin_ms));
        let began = |starts: Option<&'a Starts>, range: &std::ops::Range<usize>| {
            starts.map_or(&[][..], |starts| &starts.began[range.clone()])
        };
        Some(Self {
            float_began: began(input.starts, &floats),
            began: began(histograms.starts, &own),
            float_times: &input.timestamps_ms[floats.clone()],
            floats: &input.values[floats],
            times: &histograms.timestamps_ms[own.clone()],
            histograms: &histograms.values[own],
            end_ms,
            range_ms: input.range_ms,
            started_ms,
        })
    }

    /// When the window begins.
    pub(super) fn begin_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.range_ms)
    }

    /// The window from the newest sample at or before its begin on; `None` where nothing lies
    /// behind that.
    pub(super) fn anchored(&self) -> Option<Self> {
        let begin_ms = self.begin_ms();
        let mut float = self.float_times.partition_point(|t| *t <= begin_ms);
        let mut own = self.times.partition_point(|t| *t <= begin_ms);
        if float == self.floats.len() && own == self.histograms.len() {
            return None;
        }
        let before = |times: &[i64], at: usize| at.checked_sub(1).map(|at| times[at]);
        let (float_ms, own_ms) = (before(self.float_times, float), before(self.times, own));
        if float_ms >= own_ms {
            float = float.saturating_sub(1);
        } else {
            own -= 1;
        }
        Some(Self {
            float_times: &self.float_times[float..],
            floats: &self.floats[float..],
            times: &self.times[own..],
            histograms: &self.histograms[own..],
            end_ms: self.end_ms,
            range_ms: self.range_ms,
            started_ms: None,
            float_began: self.float_began.get(float..).unwrap_or_default(),
            began: self.began.get(own..).unwrap_or_default(),
        })
    }

    pub(super) fn compute(&self, function: Window, remarks: &mut Remarks<'_>) -> Outcome {
        match function {
            Window::Rate => self.extrapolated(true, true, remarks),
            Window::Increase => self.extrapolated(true, false, remarks),
            Window::Delta => self.extrapolated(false, false, remarks),
            Window::Irate => self.instant(true, remarks),
            Window::Idelta => self.instant(false, remarks),
            Window::Resets => Float(self.count_pairs(
                |before, after, at| after < before || is_set(self.float_began, at),
                |before, after, at| after.detect_reset(before) || is_set(self.began, at),
            )),
            Window::Changes => Float(self.count_pairs(
                |before, after, _| before != after && !(before.is_nan() && after.is_nan()),
                |before, after, _| !after.same_data(before),
            )),
            Window::Sum => self.only_histograms(remarks, sum),
            Window::Avg => self.only_histograms(remarks, average),
            Window::Count => Float((self.floats.len() + self.histograms.len()) as f64),
            Window::Present => Float(1.0),
            Window::First
                if self.float_times.first() < self.times.first() && !self.floats.is_empty() =>
            {
                AsFloats
            }
            Window::First => Histogram(self.histograms[0].clone()),
            Window::Last if self.float_times.last() > self.times.last() => AsFloats,
            Window::Last => Histogram(self.histograms[self.histograms.len() - 1].clone()),
            Window::TsOfFirst => time_of(self.float_times.first(), self.times.first(), i64::min),
            Window::TsOfLast => time_of(self.float_times.last(), self.times.last(), i64::max),
            Window::Deriv
            | Window::PredictLinear
            | Window::Min
            | Window::Max
            | Window::Stddev
            | Window::Stdvar
            | Window::Quantile
            | Window::Mad
            | Window::TsOfMin
            | Window::TsOfMax
            | Window::DoubleExponentialSmoothing => {
                if !self.floats.is_empty() {
                    remarks.add(Annotation::histogram_ignored_in_range);
                }
                AsFloats
            }
        }
    }

    /// What cannot be computed of floats and histograms together.
    fn only_histograms(
        &self,
        remarks: &mut Remarks<'_>,
        compute: fn(&[Arc<FloatHistogram>], &mut Remarks<'_>) -> Option<FloatHistogram>,
    ) -> Outcome {
        if !self.floats.is_empty() {
            remarks.add(Annotation::mixed_floats_and_histograms);
            return Float(ABSENT);
        }
        match compute(self.histograms, remarks) {
            Some(histogram) => Histogram(Arc::new(histogram)),
            None => Float(ABSENT),
        }
    }

    /// `rate`, `increase` and `delta`, extrapolated to the edges of the window.
    fn extrapolated(
        &self,
        is_counter: bool,
        per_second: bool,
        remarks: &mut Remarks<'_>,
    ) -> Outcome {
        if !self.floats.is_empty() {
            remarks.add(Annotation::mixed_floats_and_histograms);
            return Float(ABSENT);
        }
        let started_ms = self.started_ms.filter(|_| is_counter);
        let first = &self.histograms[0];
        let mut result = if self.histograms.len() > 1 {
            let Some(result) = difference(self.histograms, self.began, is_counter, remarks) else {
                return Float(ABSENT);
            };
            Some(result)
        } else {
            None
        };
        let geometry = Geometry::new(self.times, self.end_ms, self.range_ms);
        let mut factor = geometry.factor();
        if let Some(start_ms) = started_ms {
            // It was zero then.
            match &mut result {
                None => result = Some(FloatHistogram::clone(first)),
                Some(result) => {
                    let Ok(combined) = result.add(first) else {
                        remarks.add(Annotation::mixed_schemas);
                        return Float(ABSENT);
                    };
                    let reconciled = combined.bounds_reconciled;
                    remarks.reconciled(reconciled, HistogramOperation::Addition);
                }
            }
            factor = geometry.factor_since(start_ms, self.times[self.times.len() - 1]);
        }
        let Some(mut result) = result else {
            return Float(ABSENT);
        };
        if started_ms.is_none() && is_counter && result.count > 0.0 && first.count >= 0.0 {
            factor = geometry.factor_of_counter(first.count, result.count);
        }
        if per_second {
            factor /= seconds_of_ms(self.range_ms);
        }
        result.multiply(factor);
        Histogram(Arc::new(result))
    }

    /// `irate` and `idelta`: the difference of the last two samples, whatever they are.
    fn instant(&self, is_counter: bool, remarks: &mut Remarks<'_>) -> Outcome {
        let [.., last] = self.times else {
            return AsFloats;
        };
        let newest_float = self.float_times.last();
        let before_float = self
            .float_times
            .len()
            .checked_sub(2)
            .map(|at| self.float_times[at]);
        let before = self.times.len().checked_sub(2).map(|at| self.times[at]);
        if before_float > Some(*last) {
            // The last two are floats.
            return AsFloats;
        }
        let is_last = newest_float < Some(last);
        if !(is_last && before >= newest_float.copied()) {
            if self.floats.len() + self.histograms.len() > 1 {
                remarks.add(Annotation::mixed_floats_and_histograms);
            }
            return Float(ABSENT);
        }
        let [.., before, last] = self.histograms else {
            return Float(ABSENT);
        };
        let apart_ms = self.times[self.times.len() - 1] - self.times[self.times.len() - 2];
        if apart_ms == 0 {
            return Float(ABSENT);
        }
        let is_gauge = |one: &FloatHistogram| one.counter_reset_hint == CounterResetHint::Gauge;
        if is_counter && (is_gauge(before) || is_gauge(last)) {
            remarks.add(Annotation::not_a_counter);
        }
        if !is_counter && (!is_gauge(before) || !is_gauge(last)) {
            remarks.add(Annotation::not_a_gauge);
        }
        let mut result = FloatHistogram::clone(last);
        let fell = || last.detect_reset(before) || is_set(self.began, self.histograms.len() - 1);
        if !is_counter || !fell() {
            match result.subtract(before) {
                Err(_) => {
                    remarks.add(Annotation::mixed_schemas);
                    return Float(ABSENT);
                }
                Ok(combined) => {
                    remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Subtraction);
                }
            }
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact();
        if is_counter {
            result.divide(apart_ms as f64 / 1000.0);
        }
        Histogram(Arc::new(result))
    }

    /// How many neighbours differ so, the second at an index among its kind; a float and a
    /// histogram always do.
    fn count_pairs(
        &self,
        floats: impl Fn(f64, f64, usize) -> bool,
        histograms: impl Fn(&FloatHistogram, &FloatHistogram, usize) -> bool,
    ) -> f64 {
        enum Value<'a> {
            Float(f64),
            Histogram(&'a FloatHistogram),
        }
        let floats_with_times = self.float_times.iter().zip(self.floats);
        let mut floats_left = floats_with_times.enumerate().peekable();
        let mut histograms_left = self
            .times
            .iter()
            .zip(self.histograms)
            .enumerate()
            .peekable();
        let mut before: Option<Value<'_>> = None;
        let mut count = 0.0;
        loop {
            let next = match (floats_left.peek(), histograms_left.peek()) {
                (Some((_, (float, _))), Some((_, (own, _)))) if float < own => floats_left.next(),
                (Some(_), None) => floats_left.next(),
                (None, None) => return count,
                _ => None,
            };
            let (at, value) = match next {
                Some((at, (_, value))) => (at, Value::Float(*value)),
                None => match histograms_left.next() {
                    Some((at, (_, histogram))) => (at, Value::Histogram(histogram)),
                    None => return count,
                },
            };
            let differs = match (&before, &value) {
                (None, _) => false,
                (Some(Value::Float(before)), Value::Float(after)) => floats(*before, *after, at),
                (Some(Value::Histogram(before)), Value::Histogram(after)) => {
                    histograms(before, after, at)
                }
                _ => true,
            };
            if differs {
                count += 1.0;
            }
            before = Some(value);
        }
    }
}

impl Remarks<'_> {
    pub(crate) fn add(&mut self, make: fn(&str, Span) -> Annotation) {
        self.notes.add(make(self.metric, self.span));
    }

    pub(super) fn reconciled(&mut self, reconciled: bool, operation: HistogramOperation) {
        if reconciled {
            self.notes
                .add(Annotation::bounds_reconciled(operation, self.span));
        }
    }
}

fn is_set(list: &[bool], at: usize) -> bool {
    list.get(at).is_some_and(|set| *set)
}

/// A time, in seconds, of those of a float and a histogram.
fn time_of(float: Option<&i64>, own: Option<&i64>, pick: fn(i64, i64) -> i64) -> Outcome {
    let time = match (float, own) {
        (Some(float), Some(own)) => pick(*float, *own),
        (Some(time), None) | (None, Some(time)) => *time,
        (None, None) => return AsFloats,
    };
    Float(time as f64 / 1000.0)
}

/// The difference between the last and the first histogram, counter resets added back, also those
/// that start timestamps tell of; `None` where they do not go together.
fn difference(
    points: &[Arc<FloatHistogram>],
    began: &[bool],
    is_counter: bool,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    let (first, last) = (&points[0], &points[points.len() - 1]);
    let is_gauge = |one: &FloatHistogram| one.counter_reset_hint == CounterResetHint::Gauge;
    if is_counter && points.iter().any(|point| is_gauge(point)) {
        remarks.add(Annotation::not_a_counter);
    }
    // What lies before a reset between the first two does not matter, nor does its layout.
    let mut before = first.clone();
    if is_counter && (is_set(began, 1) || points[1].detect_reset(first)) {
        before = Arc::new(FloatHistogram {
            schema: points[1].schema,
            custom_bounds: points[1].custom_bounds.clone(),
            ..FloatHistogram::default()
        });
    }
    let is_custom = before.has_custom_bounds();
    let between = &points[1..points.len() - 1];
    let mixes = last.has_custom_bounds() != is_custom
        || (is_counter
            && between
                .iter()
                .any(|point| point.has_custom_bounds() != is_custom));
    if mixes {
        remarks.add(Annotation::mixed_schemas);
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    if is_counter {
        schema = between
            .iter()
            .fold(schema, |schema, point| schema.min(point.schema));
    }
    let mut result = FloatHistogram::clone(last);
    result.reduce_resolution(schema);
    // Whether hints contradict each other does not matter: resets are dealt with here.
    let combined = result.subtract(&before).ok()?;
    remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Subtraction);
    if is_counter {
        for (at, point) in points.iter().enumerate().skip(1) {
            if is_set(began, at) || point.detect_reset(&before) {
                let combined = result.add(&before).ok()?;
                remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Addition);
            }
            before = point.clone();
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        remarks.add(Annotation::not_a_gauge);
    }
    result.counter_reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}

/// What of the hints and bounds of an aggregate is to be said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    reset: bool,
    no_reset: bool,
    reconciled: bool,
}

impl Seen {
    pub(crate) fn hint(&mut self, hint: CounterResetHint) {
        self.reset |= hint == CounterResetHint::CounterReset;
        self.no_reset |= hint == CounterResetHint::NotCounterReset;
    }

    pub(crate) fn reconciled(&mut self, reconciled: bool) {
        self.reconciled |= reconciled;
    }

    pub(crate) fn note(self, span: Span, notes: &mut Notes) {
        if self.reset && self.no_reset {
            notes.add(Annotation::counter_reset_collision(
                HistogramOperation::Aggregation,
                span,
            ));
        }
        if self.reconciled {
            notes.add(Annotation::bounds_reconciled(
                HistogramOperation::Aggregation,
                span,
            ));
        }
    }
}

fn sum(points: &[Arc<FloatHistogram>], remarks: &mut Remarks<'_>) -> Option<FloatHistogram> {
    let mut total = HistogramSum::new(FloatHistogram::clone(&points[0]));
    let mut seen = Seen::default();
    seen.hint(points[0].counter_reset_hint);
    for point in &points[1..] {
        seen.hint(point.counter_reset_hint);
        let Ok(combined) = total.add(point) else {
            remarks.add(Annotation::mixed_schemas);
            return None;
        };
        seen.reconciled(combined.bounds_reconciled);
    }
    seen.note(remarks.span, remarks.notes);
    Some(total.finish())
}

fn average(points: &[Arc<FloatHistogram>], remarks: &mut Remarks<'_>) -> Option<FloatHistogram> {
    let mut mean = HistogramMean::new(&points[0]);
    let mut seen = Seen::default();
    seen.hint(points[0].counter_reset_hint);
    for point in &points[1..] {
        seen.hint(point.counter_reset_hint);
        let Ok(reconciled) = mean.add(point) else {
            remarks.add(Annotation::mixed_schemas);
            return None;
        };
        seen.reconciled(reconciled);
    }
    seen.note(remarks.span, remarks.notes);
    Some(mean.finish())
}

/// A mean of histograms: the sum divided, or an incremental mean from where the sum would overflow.
#[derive(Debug)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &FloatHistogram) -> Self {
        Self {
            sum: HistogramSum::new(first.clone()),
            count: 1.0,
            incremental: false,
        }
    }

    /// Takes one more; returns whether bounds were reconciled.
    ///
    /// # Errors
    /// Exponential buckets and custom bounds do not go together.
    pub(crate) fn add(
        &mut self,
        point: &FloatHistogram,
    ) -> Result<bool, barograph_model::histogram::IncompatibleSchemas> {
        self.count += 1.0;
        let mut reconciled = false;
        if !self.incremental {
            let mut sum = self.sum.clone();
            reconciled = sum.add(point)?.bounds_reconciled;
            if !sum.total.has_overflow() {
                self.sum = sum;
                return Ok(reconciled);
            }
            self.incremental = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.multiply((self.count - 1.0) / self.count);
        let mut share = point.clone();
        share.divide(self.count);
        Ok(self.sum.add(&share)?.bounds_reconciled || reconciled)
    }

    pub(crate) fn finish(mut self) -> FloatHistogram {
        if !self.incremental {
            self.sum.divide(self.count);
        }
        self.sum.finish()
    }
}

/// Whether a row holds a float.
pub(crate) fn has_float(values: &[f64]) -> bool {
    values
        .iter()
        .any(|value| !is_absent(*value) && !crate::eval::is_histogram(*value))
}
