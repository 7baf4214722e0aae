//! `rate`, `increase`, `delta`, `changes` and `resets` of histograms over `anchored` and `smoothed`
//! selectors, as [`super::extended`] computes them of floats.

use std::sync::Arc;

use barograph_model::histogram::IncompatibleSchemas;
use barograph_model::{CounterResetHint, FloatHistogram};

use super::Input;
use super::extended::bounds;
use super::histogram::{HistogramWindows, Mixed, Outcome, Remarks};
use crate::annotations::{Annotation, HistogramOperation};
use crate::ast::Extension;
use crate::error::QueryError;
use crate::eval::Arena;
use crate::eval::vector::ABSENT;
use crate::functions::Window;
use crate::parse::seconds_of_ms;

/// Corrects what the kernel for floats computed, at every step whose window holds histograms.
pub(crate) fn run_mixed_extended(
    function: Window,
    extension: Extension,
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
        let is_counter = match function {
            Window::Rate | Window::Increase => true,
            Window::Delta => false,
            _ => {
                *slot = window.anchored().map_or(ABSENT, |window| {
                    match window.compute(function, remarks) {
                        Outcome::Float(value) => value,
                        // Counts are floats.
                        Outcome::AsFloats | Outcome::Histogram(_) => ABSENT,
                    }
                });
                continue;
            }
        };
        if !window.floats.is_empty() {
            remarks.add(Annotation::mixed_floats_and_histograms);
            *slot = ABSENT;
            continue;
        }
        let extended = Extended {
            times: window.times,
            points: window.histograms,
            begin_ms: window.begin_ms(),
            end_ms: window.end_ms,
            smoothed: extension == Extension::Smoothed,
            is_counter,
        };
        *slot = match extended.difference(remarks) {
            None => ABSENT,
            Some(mut result) => {
                if function == Window::Rate {
                    result.divide(seconds_of_ms(input.range_ms));
                }
                result.counter_reset_hint = CounterResetHint::Gauge;
                result.compact();
                arena.put(result)?
            }
        };
    }
    Ok(())
}

/// A smoothed instant selector of histograms: between two samples on their line, behind the last one
/// its value.
pub(crate) fn smoothed_histogram_at(
    times: &[i64],
    points: &[Arc<FloatHistogram>],
    at_ms: i64,
    remarks: &mut Remarks<'_>,
) -> Option<Arc<FloatHistogram>> {
    let next = times.partition_point(|t| *t < at_ms);
    if times.get(next) == Some(&at_ms) {
        return Some(points[next].clone());
    }
    let before = next.checked_sub(1)?;
    let Some(after) = points.get(next) else {
        // The hint is about the sample and the one before it, not about the value.
        let mut last = FloatHistogram::clone(&points[before]);
        last.counter_reset_hint = CounterResetHint::Unknown;
        return Some(Arc::new(last));
    };
    let is_gauge = |point: &FloatHistogram| point.counter_reset_hint == CounterResetHint::Gauge;
    let between = Line {
        from: (times[before], &points[before]),
        to: (times[next], after),
        is_counter: !is_gauge(&points[before]) || !is_gauge(after),
    };
    let is_one_kind = points[before].has_custom_bounds() == after.has_custom_bounds();
    let found = if is_one_kind {
        between.at(at_ms, remarks)
    } else {
        Err(IncompatibleSchemas)
    };
    if found.is_err() {
        remarks.add(Annotation::mixed_schemas);
    }
    found.ok().map(Arc::new)
}

/// Two samples and the line between them.
struct Line<'a> {
    from: (i64, &'a FloatHistogram),
    to: (i64, &'a FloatHistogram),
    is_counter: bool,
}

impl Line<'_> {
    fn at(
        &self,
        at_ms: i64,
        remarks: &mut Remarks<'_>,
    ) -> Result<FloatHistogram, IncompatibleSchemas> {
        let ((from_ms, from), (to_ms, to)) = (self.from, self.to);
        if at_ms == from_ms {
            return Ok(from.clone());
        }
        let mut result = to.clone();
        if at_ms == to_ms {
            return Ok(result);
        }
        let fraction = (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
        if self.is_counter && to.detect_reset(from) {
            // The counter rises from zero.
            result.multiply(fraction);
            return Ok(result);
        }
        let combined = result.subtract(from)?;
        remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Subtraction);
        result.multiply(fraction);
        let combined = result.add(from)?;
        remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Addition);
        Ok(result)
    }
}

/// The histograms of one step: never empty, with those before and, if smoothed, behind the range.
struct Extended<'a> {
    times: &'a [i64],
    points: &'a [Arc<FloatHistogram>],
    begin_ms: i64,
    end_ms: i64,
    smoothed: bool,
    is_counter: bool,
}

impl Extended<'_> {
    fn difference(&self, remarks: &mut Remarks<'_>) -> Option<FloatHistogram> {
        let (first, last) = bounds(self.times, self.begin_ms, self.end_ms, self.smoothed);
        if self.times[last] <= self.begin_ms
            || (self.smoothed && self.times[first] > self.end_ms)
            || first > last
        {
            return None;
        }
        if !self.is_uniform(first, last, remarks) {
            return None;
        }
        let ends = self
            .left(first, remarks)
            .and_then(|left| Ok((left, self.right(last, remarks)?)));
        let Ok((left, right)) = ends else {
            remarks.add(Annotation::mixed_schemas);
            return None;
        };
        let is_gauge = |one: &FloatHistogram| one.counter_reset_hint == CounterResetHint::Gauge;
        if !self.is_counter && (!is_gauge(&left) || !is_gauge(&right)) {
            remarks.add(Annotation::not_a_gauge);
        }
        let mut result = right.clone();
        let combined = result.subtract(&left).ok()?;
        remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Subtraction);
        if self.is_counter
            && let Some(correction) = self.correction(first, last, &left, &right, remarks)
        {
            let combined = result.add(&correction).ok()?;
            remarks.reconciled(combined.bounds_reconciled, HistogramOperation::Addition);
        }
        Some(result)
    }

    /// Whether all samples have buckets of one kind; remarks on gauges among counters.
    fn is_uniform(&self, first: usize, last: usize, remarks: &mut Remarks<'_>) -> bool {
        let custom = self.points[first].has_custom_bounds();
        for point in &self.points[first..=last] {
            if point.has_custom_bounds() != custom {
                remarks.add(Annotation::mixed_schemas);
                return false;
            }
            if self.is_counter && point.counter_reset_hint == CounterResetHint::Gauge {
                remarks.add(Annotation::not_a_counter);
            }
        }
        true
    }

    fn line(&self, from: usize) -> Line<'_> {
        Line {
            from: (self.times[from], &self.points[from]),
            to: (self.times[from + 1], &self.points[from + 1]),
            is_counter: self.is_counter,
        }
    }

    fn left(
        &self,
        first: usize,
        remarks: &mut Remarks<'_>,
    ) -> Result<FloatHistogram, IncompatibleSchemas> {
        if self.smoothed && self.times[first] < self.begin_ms && first + 1 < self.points.len() {
            return self.line(first).at(self.begin_ms, remarks);
        }
        Ok(FloatHistogram::clone(&self.points[first]))
    }

    fn right(
        &self,
        last: usize,
        remarks: &mut Remarks<'_>,
    ) -> Result<FloatHistogram, IncompatibleSchemas> {
        if self.smoothed && last > 0 && self.times[last] > self.end_ms {
            return self.line(last - 1).at(self.end_ms, remarks);
        }
        Ok(FloatHistogram::clone(&self.points[last]))
    }

    /// What resets between the ends took away.
    fn correction(
        &self,
        first: usize,
        last: usize,
        left: &FloatHistogram,
        right: &FloatHistogram,
        remarks: &mut Remarks<'_>,
    ) -> Option<FloatHistogram> {
        let (mut from, mut before) = (first + 1, left);
        if self.smoothed
            && self.times[first] < self.begin_ms
            && let Some(second) = self.points.get(first + 1)
            && second.detect_reset(&self.points[first])
        {
            // The left end lies on the line that spans this reset.
            before = second;
            from += 1;
        }
        if from > last {
            return None;
        }
        let mut correction: Option<FloatHistogram> = None;
        // The last sample is the right end, or lies on its line.
        let between = self.points[from..last].iter().map(|point| &**point);
        for point in between.chain([right]) {
            if point.detect_reset(before) {
                match &mut correction {
                    None => correction = Some(before.clone()),
                    Some(correction) => {
                        let combined = correction.add(before).ok()?;
                        let reconciled = combined.bounds_reconciled;
                        remarks.reconciled(reconciled, HistogramOperation::Addition);
                    }
                }
            }
            before = point;
        }
        correction
    }
}
