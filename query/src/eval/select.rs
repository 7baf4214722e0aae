//! Instant selectors: the newest sample within the lookback, at every step.

use std::sync::Arc;

use barograph_model::TimeRange;
use barograph_tsdb::{Column, Selection};

use super::vector::{ABSENT, FastMap, is_absent};
use super::{Evaluator, Sink};
use crate::ast::Extension;
use crate::error::QueryError;
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
}

impl<T> Shared<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: FastMap::default(),
            size_bytes: 0,
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
    ) -> Result<Selection, QueryError> {
        self.limits.check()?;
        self.snapshot
            .select(&plan.matchers, range)
            .map_err(|error| QueryError::Storage(format!("expanding series: {error}")))
    }

    /// Reads a series.
    pub(super) fn read(
        &mut self,
        selection: &Selection,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), QueryError> {
        self.limits.check()?;
        selection
            .read(index, range, column)
            .map_err(|error| QueryError::Storage(format!("expanding series: {error}")))
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
        self.stream_picks(plan, steps, sink, false, |column, picks, out| {
            for (slot, pick) in out.iter_mut().zip(picks) {
                // A staleness marker is what an empty slot holds.
                *slot = match column.values.get(*pick as usize) {
                    Some(value) => *value,
                    None => ABSENT,
                };
            }
        })
    }

    pub(super) fn stream_sample_times(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        self.stream_picks(plan, steps, sink, true, |column, picks, out| {
            for (slot, pick) in out.iter_mut().zip(picks) {
                let at = *pick as usize;
                *slot = match column.values.get(at) {
                    Some(value) if !is_absent(*value) => column.timestamps_ms[at] as f64 / 1000.0,
                    _ => ABSENT,
                };
            }
        })
    }

    pub(super) fn stream_picks(
        &mut self,
        plan: &SelectorPlan,
        steps: &Steps,
        sink: &mut Sink<'_>,
        drop_name: bool,
        fill: impl Fn(&Column, &[u32], &mut [f64]),
    ) -> Result<(), QueryError> {
        let (first_ms, last_ms) = plan.times.bounds(steps);
        let range = TimeRange {
            start_ms: first_ms.saturating_sub(self.lookback_ms).saturating_add(1),
            end_ms: last_ms,
        };
        let selection = self.select(plan, range)?;
        let mut shared = Shared::new();
        let mut column = Column::default();
        let mut out = vec![ABSENT; steps.count];
        for index in 0..selection.len() {
            self.read(&selection, index, range, &mut column)?;
            if column.values.is_empty() {
                continue;
            }
            self.limits.hold(column.values.len())?;
            let lookback_ms = self.lookback_ms;
            let picks = shared.get(
                &column.timestamps_ms,
                |timestamps| picks(timestamps, plan.times, steps, lookback_ms),
                |picks| picks.len() * size_of::<u32>(),
            );
            fill(&column, &picks, &mut out);
            let present = out.iter().filter(|value| !is_absent(**value)).count();
            self.queryable_samples += present as u64;
            if present > 0 {
                sink(selection.labels(index), drop_name, &mut out)?;
            }
            self.limits.release(column.values.len());
        }
        Ok(())
    }
}

/// Per step, the index of the newest sample that is not older than the lookback.
fn picks(timestamps_ms: &[i64], times: Times, steps: &Steps, lookback_ms: i64) -> Vec<u32> {
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
