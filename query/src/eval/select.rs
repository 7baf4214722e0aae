//! Instant selectors: the newest sample within the lookback, at every step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use barograph_model::TimeRange;
use barograph_tsdb::{Column, Selection};

use super::arena::{self, quiet, weight};
use super::key::Selected;
use super::rows::{Kernel, Row, RowJob};
use super::vector::{ABSENT, FastMap, is_absent};
use super::{Evaluator, Limits, Sink, hints};
use crate::ast::Extension;
use crate::error::QueryError;
use crate::memory::Held;
use crate::plan::{SelectorPlan, Steps, Times};

/// "No sample at this step."
const NONE: u32 = u32::MAX;
/// Most memory that window edges and picks of one selection are kept in, bytes.
pub(super) const SHARED_LIMIT_BYTES: usize = 64 << 20;

/// What was computed per timestamp column, found again by the column's identity. When it grows
/// over its limit it starts afresh: everything in it can be computed again.
pub(super) struct Shared<T> {
    /// By the address of the column, which is held so that the address stays its own.
    entries: FastMap<*const i64, (Arc<[i64]>, Arc<T>)>,
    size_bytes: usize,
    memory: Held,
}

impl<T> Shared<T> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            entries: FastMap::default(),
            size_bytes: 0,
            memory: limits.held(),
        }
    }

    /// What belongs to this column; `size` estimates its bytes.
    pub(super) fn get(
        &mut self,
        timestamps_ms: &Arc<[i64]>,
        make: impl FnOnce(&[i64]) -> T,
        size: impl Fn(&T) -> usize,
    ) -> Arc<T> {
        if let Some((_, value)) = self.entries.get(&timestamps_ms.as_ptr()) {
            return value.clone();
        }
        let value = Arc::new(make(timestamps_ms));
        // Without other holders nobody can come with this column again.
        if Arc::strong_count(timestamps_ms) > 1 {
            self.size_bytes += size(&value) + timestamps_ms.len() * 8;
            if self.size_bytes > SHARED_LIMIT_BYTES {
                self.entries.clear();
                self.size_bytes = size(&value);
            }
            self.entries.insert(
                timestamps_ms.as_ptr(),
                (timestamps_ms.clone(), value.clone()),
            );
            self.memory.set(self.size_bytes);
        }
        value
    }
}

impl Evaluator<'_> {
    /// Finds the series of a selector that may have samples in the half-open range of time.
    pub(super) fn select(
        &mut self,
        plan: &SelectorPlan,
        range: TimeRange,
    ) -> Result<Arc<Selected>, QueryError> {
        self.limits.check()?;
        let range = match self.sharing.selected(plan, range, self.lookback_ms) {
            Ok(selected) => return Ok(selected),
            Err(range) => range,
        };
        let selection = self.snapshot.select(&plan.matchers, range);
        let selection =
            selection.map_err(|error| QueryError::Storage(format!("expanding series: {error}")))?;
        let mut memory = self.limits.held();
        memory.set(selection.size_bytes());
        let selected = Arc::new(Selected::new(selection, memory));
        self.sharing.note_selected(plan, range, &selected);
        Ok(selected)
    }

    /// Reads a series. Of one with histograms more than `range` is read, so that each is known to
    /// go on from the one before; who picks samples by their times does not mind. `has_histograms`
    /// stays set from the first such series of a selection on: the next is likely to be one.
    pub(super) fn read(
        &mut self,
        selection: &Selection,
        index: usize,
        plan: &SelectorPlan,
        range: TimeRange,
        has_histograms: &mut bool,
        column: &mut Column,
    ) -> Result<(), QueryError> {
        self.limits.check()?;
        let before = TimeRange {
            start_ms: range.start_ms.saturating_sub(self.lookback_ms),
            ..range
        };
        let read = |range, column: &mut Column| {
            selection
                .read(index, range, column)
                .map_err(|error| QueryError::Storage(format!("expanding series: {error}")))
        };
        read(if *has_histograms { before } else { range }, column)?;
        self.counts.pages_decoded += u64::from(column.pages_decoded);
        if column.histograms.is_empty() {
            return Ok(());
        }
        if !*has_histograms {
            *has_histograms = true;
            read(before, column)?;
            self.counts.pages_decoded += u64::from(column.pages_decoded);
        }
        hints::settle(column);
        if plan.totals_only {
            hints::reduce_to_totals(column, range.start_ms);
        }
        Ok(())
    }

    pub(super) fn stream_selector(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if plan.extension == Some(Extension::Smoothed) {
            return self.stream_smoothed(plan, steps, sink);
        }
        let arena = self.arena.clone();
        let read = |column: &Column, pick| match pick {
            // A staleness marker is what an empty slot holds.
            Pick::Float(at) => Ok(quiet(column.values[at])),
            Pick::Histogram(at) => arena.put(column.histograms.values[at].clone()),
        };
        if self.counts.steps.is_some() {
            return self.stream_picks(plan, steps, sink, false, read);
        }
        let mut picking = self.picking(plan, steps)?;
        let selected = picking.selected.clone();
        let job = RowJob {
            selected: selected.clone(),
            kernel: Kernel::Newest {
                times: plan.times,
                lookback_ms: self.lookback_ms,
            },
            range: picking.range,
            steps: *steps,
            limits: self.limits.clone(),
            sizes_windows: false,
            has_histograms: AtomicBool::new(false),
        };
        self.each_row(job, &mut |evaluator, row| match row {
            Row::Values(index, values) => sink(selected.key(index), false, values),
            Row::Left(index) => evaluator.pick(&mut picking, index, sink, false, &read),
        })
    }

    pub(super) fn stream_sample_times(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        self.stream_picks(plan, steps, sink, true, |column, pick| {
            Ok(pick.time_ms(column).map_or(ABSENT, |t| t as f64 / 1000.0))
        })
    }

    /// Since when the counters behind samples count; nothing where that is switched off.
    pub(super) fn stream_start_times(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if !self.use_start_timestamps {
            return Ok(());
        }
        self.stream_picks(plan, steps, sink, true, |column, pick| {
            let start_ms = match pick {
                Pick::Float(at) if is_absent(column.values[at]) => return Ok(ABSENT),
                Pick::Float(at) => column.starts_ms.get(at),
                Pick::Histogram(at) => column.histograms.starts_ms.get(at),
            };
            Ok(start_ms.copied().unwrap_or(0) as f64 / 1000.0)
        })
    }

    /// Gives each series with what `read` makes of its newest sample at each step.
    pub(super) fn stream_picks(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
        drop_name: bool,
        read: impl Fn(&Column, Pick) -> Result<f64, QueryError>,
    ) -> Result<(), QueryError> {
        let mut picking = self.picking(plan, steps)?;
        for index in 0..picking.selected.selection.len() {
            self.pick(&mut picking, index, sink, drop_name, &read)?;
        }
        Ok(())
    }

    fn picking<'p>(
        &mut self,
        plan: &'p SelectorPlan,
        steps: &'p Steps,
    ) -> Result<Picking<'p>, QueryError> {
        let (first_ms, last_ms) = plan.times.bounds(steps);
        let range = TimeRange {
            start_ms: first_ms.saturating_sub(self.lookback_ms).saturating_add(1),
            end_ms: last_ms,
        };
        Ok(Picking {
            selected: self.select(plan, range)?,
            plan,
            steps,
            range,
            shared: Shared::new(&self.limits),
            memory: self.limits.held(),
            has_histograms: false,
            column: Column::default(),
            out: vec![ABSENT; steps.count],
        })
    }

    /// Reads a series and passes on what `read` makes of its newest sample at each step.
    fn pick(
        &mut self,
        picking: &mut Picking<'_>,
        index: usize,
        sink: &mut Sink<'_>,
        drop_name: bool,
        read: &impl Fn(&Column, Pick) -> Result<f64, QueryError>,
    ) -> Result<(), QueryError> {
        let Picking {
            selected,
            plan,
            steps,
            range,
            shared,
            has_histograms,
            column,
            memory,
            out,
        } = picking;
        self.read(
            &selected.selection,
            index,
            plan,
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
        let lookback_ms = self.lookback_ms;
        let mut picks = |timestamps_ms: &Arc<[i64]>| {
            shared.get(
                timestamps_ms,
                |timestamps| picks(timestamps, plan.times, steps, lookback_ms),
                |picks| picks.len() * size_of::<u32>(),
            )
        };
        let floats = picks(&column.timestamps_ms);
        let mark = self.arena.mark();
        if column.histograms.is_empty() {
            for (slot, pick) in out.iter_mut().zip(floats.iter()) {
                let at = *pick as usize;
                *slot = if at < column.values.len() {
                    read(column, Pick::Float(at))?
                } else {
                    ABSENT
                };
            }
        } else {
            let histograms = picks(&column.histograms.timestamps_ms);
            fill_mixed(column, &floats, &histograms, out, read)?;
        }
        self.counts.picked(out, &self.arena);
        if out.iter().any(|value| !is_absent(*value)) {
            sink(selected.key(index), drop_name, out)?;
        }
        if self.transient {
            self.arena.forget_since(mark);
        }
        self.limits.release(held);
        Ok(())
    }
}

/// An instant selector being read.
struct Picking<'p> {
    selected: Arc<Selected>,
    plan: &'p SelectorPlan,
    steps: &'p Steps,
    /// What is read of each series.
    range: TimeRange,
    shared: Shared<Vec<u32>>,
    has_histograms: bool,
    column: Column,
    /// What the column takes.
    memory: Held,
    out: Vec<f64>,
}

/// The newest sample of a series at a step, by its index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    Float(usize),
    Histogram(usize),
}

impl Pick {
    /// When the sample was taken; `None` for a staleness marker.
    pub(super) fn time_ms(self, column: &Column) -> Option<i64> {
        match self {
            Self::Float(at) => (!is_absent(column.values[at])).then(|| column.timestamps_ms[at]),
            Self::Histogram(at) => Some(column.histograms.timestamps_ms[at]),
        }
    }
}

/// Bytes of a column.
pub(super) fn size_bytes(column: &Column) -> usize {
    let histograms = &column.histograms;
    let words = column.timestamps_ms.len()
        + column.values.capacity()
        + column.starts_ms.capacity()
        + histograms.timestamps_ms.len()
        + histograms.starts_ms.capacity();
    let values = histograms.values.iter();
    let of_histograms: usize = values.map(|value| arena::size_bytes(value)).sum();
    words * 8 + of_histograms
}

/// How many samples a column counts as.
pub(super) fn held(column: &Column) -> usize {
    let histograms = column.histograms.values.iter();
    column.values.len() + histograms.map(|histogram| weight(histogram)).sum::<usize>()
}

/// Fills slots from a series that has histograms, with the newer of float and histogram.
fn fill_mixed(
    column: &Column,
    floats: &[u32],
    histograms: &[u32],
    out: &mut [f64],
    read: &impl Fn(&Column, Pick) -> Result<f64, QueryError>,
) -> Result<(), QueryError> {
    let times_ms = &column.histograms.timestamps_ms;
    // The same sample at several steps is kept once.
    let mut last = (None, ABSENT);
    for (slot, (float, histogram)) in out.iter_mut().zip(floats.iter().zip(histograms)) {
        let (float, histogram) = (*float as usize, *histogram as usize);
        let pick = match (column.timestamps_ms.get(float), times_ms.get(histogram)) {
            (None, None) => None,
            (Some(float_ms), Some(histogram_ms)) if float_ms > histogram_ms => {
                Some(Pick::Float(float))
            }
            (Some(_), None) => Some(Pick::Float(float)),
            (_, Some(_)) => Some(Pick::Histogram(histogram)),
        };
        *slot = match pick {
            None => ABSENT,
            Some(pick) if last.0 == Some(pick) => last.1,
            Some(pick) => read(column, pick)?,
        };
        last = (pick, *slot);
    }
    Ok(())
}

/// Per step, the index of the newest sample that is not older than the lookback.
pub(super) fn picks(
    timestamps_ms: &[i64],
    times: Times,
    steps: &Steps,
    lookback_ms: i64,
) -> Vec<u32> {
    let mut behind = 0;
    (0..steps.count)
        .map(|step| {
            let at_ms = times.at_step(steps, step);
            while timestamps_ms.get(behind).is_some_and(|t| *t <= at_ms) {
                behind += 1;
            }
            match behind.checked_sub(1) {
                Some(last) if timestamps_ms[last] > at_ms.saturating_sub(lookback_ms) => {
                    last as u32
                }
                _ => NONE,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lookback_is_open_on_the_left() {
        let steps = Steps::until(0, 40, 10);
        let times = Times {
            offset_ms: 0,
            at_ms: None,
        };
        assert_eq!(picks(&[0, 15], times, &steps, 20), [0, 0, 1, 1, NONE]);
    }
}
