//! `sum` and `avg` of histograms, beside those of floats.

use barograph_model::FloatHistogram;
use barograph_model::histogram::{HistogramSum, IncompatibleSchemas};

use super::arena::{Arena, is_histogram, size_bytes};
use super::vector::{ABSENT, is_absent};
use crate::annotations::{Annotation, Notes};
use crate::ast::Span;
use crate::error::QueryError;
use crate::kernels::{HistogramMean, Seen};

/// The histograms of a group, per step; made when the first comes.
pub(super) struct HistogramCells {
    cells: Vec<Option<Cell>>,
    is_mean: bool,
}

struct Cell {
    total: Total,
    seen: Seen,
    /// Exponential buckets met custom bounds: nothing comes of the group at this step.
    incompatible: bool,
}

enum Total {
    Sum(Box<HistogramSum>),
    Mean(Box<HistogramMean>),
}

impl HistogramCells {
    pub(super) fn new(steps: usize, is_mean: bool) -> Self {
        Self {
            cells: (0..steps).map(|_| None).collect(),
            is_mean,
        }
    }

    /// Bytes that adding a series will take: those of the first histogram of each step, with what
    /// compensates them.
    pub(super) fn newly_held_bytes(&self, values: &[f64], arena: &Arena) -> usize {
        let new = self
            .cells
            .iter()
            .zip(values)
            .filter(|(cell, _)| cell.is_none());
        let first = new.filter_map(|(_, value)| arena.get(*value));
        first
            .map(|histogram| size_of::<Cell>() + 2 * size_bytes(&histogram))
            .sum()
    }

    /// Takes the histograms of one more series out of its slots.
    pub(super) fn add(
        &mut self,
        values: &mut [f64],
        arena: &Arena,
        metric: &str,
        span: Span,
        notes: &mut Notes,
    ) {
        for (cell, value) in self.cells.iter_mut().zip(values) {
            if cell.as_ref().is_some_and(|cell| cell.incompatible) {
                *value = ABSENT;
                continue;
            }
            if !is_histogram(*value) {
                continue;
            }
            let histogram = arena.get(*value);
            *value = ABSENT;
            let Some(histogram) = histogram else { continue };
            if let Some(cell) = cell {
                if cell.add(&histogram, span, notes).is_err() {
                    cell.incompatible = true;
                    notes.add(Annotation::mixed_schemas(metric, span));
                }
            } else {
                *cell = Some(Cell::new(&histogram, self.is_mean));
            }
        }
    }

    /// Puts results beside those of floats; where there are both, there is none.
    pub(super) fn finish(
        self,
        arena: &Arena,
        span: Span,
        notes: &mut Notes,
        out: &mut [f64],
    ) -> Result<(), QueryError> {
        for (cell, slot) in self.cells.into_iter().zip(out) {
            let Some(cell) = cell else { continue };
            if !is_absent(*slot) {
                notes.add(Annotation::mixed_in_aggregation(span));
                *slot = ABSENT;
                continue;
            }
            if cell.incompatible {
                continue;
            }
            cell.seen.note(span, notes);
            let mut total = match cell.total {
                Total::Sum(sum) => sum.finish(),
                Total::Mean(mean) => mean.finish(),
            };
            total.compact();
            *slot = arena.put(total)?;
        }
        Ok(())
    }
}

impl Cell {
    fn new(first: &FloatHistogram, is_mean: bool) -> Self {
        let mut seen = Seen::default();
        seen.hint(first.counter_reset_hint);
        Self {
            total: if is_mean {
                Total::Mean(Box::new(HistogramMean::new(first)))
            } else {
                Total::Sum(Box::new(HistogramSum::new(first.clone())))
            },
            seen,
            incompatible: false,
        }
    }

    fn add(
        &mut self,
        histogram: &FloatHistogram,
        span: Span,
        notes: &mut Notes,
    ) -> Result<(), IncompatibleSchemas> {
        self.seen.hint(histogram.counter_reset_hint);
        let reconciled = match &mut self.total {
            Total::Sum(sum) => sum.add(histogram)?.bounds_reconciled,
            Total::Mean(mean) => mean.add(histogram)?,
        };
        if reconciled {
            let operation = crate::annotations::HistogramOperation::Aggregation;
            notes.add(Annotation::bounds_reconciled(operation, span));
        }
        Ok(())
    }
}
