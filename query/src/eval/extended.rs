//! Selectors that reach beyond their range: `anchored` and `smoothed`.

use barograph_model::TimeRange;
use barograph_tsdb::Column;

use super::ledger::window_sizes;
use super::select::{held, size_bytes};
use super::vector::{ABSENT, is_absent};
use super::{Evaluator, Sink};
use crate::annotations::{Annotation, Notes};
use crate::ast::Extension;
use crate::error::QueryError;
use crate::kernels::{self, HistogramWindows, Remarks};
use crate::plan::{SelectorPlan, Steps, Times};

impl Evaluator<'_> {
    /// The times and the range that bring all samples a range selector needs: `anchored` looks back
    /// from the window's start, `smoothed` also ahead from its end.
    pub(super) fn reach(&self, selector: &SelectorPlan, range_ms: i64) -> (Times, i64) {
        let (times, lookback_ms) = (selector.times, self.lookback_ms);
        match selector.extension {
            None => (times, range_ms),
            Some(Extension::Anchored) => (times, range_ms.saturating_add(lookback_ms)),
            Some(Extension::Smoothed) => (
                Times {
                    offset_ms: times.offset_ms.saturating_sub(lookback_ms),
                    ..times
                },
                range_ms.saturating_add(lookback_ms.saturating_mul(2)),
            ),
        }
    }

    /// A smoothed instant selector: the value on the line between the samples around each step.
    pub(super) fn stream_smoothed(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let (reach, reach_ms) = self.reach(plan, 0);
        let (first_ms, last_ms) = reach.bounds(steps);
        let range = TimeRange {
            start_ms: first_ms.saturating_sub(reach_ms).saturating_add(1),
            end_ms: last_ms,
        };
        let selected = self.select(plan, range)?;
        let selection = &selected.selection;
        let transient = self.transient;
        let mut notes = Notes::default();
        let mut has_histograms = false;
        let mut column = Column::default();
        let mut memory = self.limits.held();
        let (mut timestamps_ms, mut values) = (Vec::new(), Vec::new());
        let mut out = vec![ABSENT; steps.count];
        for index in 0..selection.len() {
            self.read(
                selection,
                index,
                plan,
                range,
                &mut has_histograms,
                &mut column,
            )?;
            let held = held(&column);
            memory.set(size_bytes(&column));
            self.limits.hold(held)?;
            let mark = self.arena.mark();
            timestamps_ms.clear();
            values.clear();
            for (t, value) in column.timestamps_ms.iter().zip(&column.values) {
                if !is_absent(*value) {
                    timestamps_ms.push(*t);
                    values.push(*value);
                }
            }
            let edges = kernels::Edges::new(&timestamps_ms, reach, reach_ms, steps);
            for (step, (slot, (from, to))) in out.iter_mut().zip(&edges.spans).enumerate() {
                let span = *from as usize..*to as usize;
                let at_ms = plan.times.at_step(steps, step);
                *slot = smoothed_at(&timestamps_ms[span.clone()], &values[span], at_ms);
            }
            let mut sizes = window_sizes(&edges, None);
            if !column.histograms.is_empty() {
                let histograms = &column.histograms;
                let own = kernels::Edges::new(&histograms.timestamps_ms, reach, reach_ms, steps);
                let windows = HistogramWindows {
                    timestamps_ms: &histograms.timestamps_ms,
                    values: &histograms.values,
                    edges: &own,
                    starts: None,
                };
                sizes = window_sizes(&edges, Some(&windows));
                let mut remarks = Remarks {
                    metric: selected.key(index).metric_name(),
                    span: plan.span,
                    notes: &mut notes,
                };
                for (step, slot) in out.iter_mut().enumerate() {
                    let range = |(from, to): (u32, u32)| from as usize..to as usize;
                    let span = range(own.spans[step]);
                    if span.is_empty() {
                        continue;
                    }
                    if !range(edges.spans[step]).is_empty() {
                        remarks.add(Annotation::mixed_floats_and_histograms);
                        *slot = ABSENT;
                        continue;
                    }
                    let found = kernels::smoothed_histogram_at(
                        &histograms.timestamps_ms[span.clone()],
                        &histograms.values[span],
                        plan.times.at_step(steps, step),
                        &mut remarks,
                    );
                    *slot = match found {
                        Some(histogram) => self.arena.put(histogram)?,
                        None => ABSENT,
                    };
                }
            }
            // Of samples read for lines between them, Prometheus counts none.
            if let Some(ledger) = &self.ledger {
                ledger.borrow_mut().lasting_window(sizes);
            }
            if out.iter().any(|value| !is_absent(*value)) {
                sink(selected.key(index), false, &mut out)?;
            }
            if transient {
                self.arena.forget_since(mark);
            }
            self.limits.release(held);
        }
        self.annotations.merge(notes);
        Ok(())
    }
}

/// The value at a time: between two samples on their line, behind the last one its value.
fn smoothed_at(timestamps_ms: &[i64], values: &[f64], at_ms: i64) -> f64 {
    let next = timestamps_ms.partition_point(|t| *t < at_ms);
    let point = |at: usize| (timestamps_ms[at], values[at]);
    if timestamps_ms.get(next) == Some(&at_ms) {
        return values[next];
    }
    match next {
        0 => ABSENT,
        _ if next < values.len() => {
            kernels::interpolate(point(next - 1), point(next), at_ms, false)
        }
        _ => values[next - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_samples_lie_on_their_line() {
        let at = |at_ms| smoothed_at(&[10, 20], &[1.0, 3.0], at_ms);
        assert_eq!((at(10), at(15), at(20), at(25)), (1.0, 2.0, 3.0, 3.0));
        assert!(is_absent(at(5)));
    }
}
