//! How many samples a query uses and reads, counted as Prometheus counts them.

use super::arena::{Arena, weight};
use super::ledger::weights_before;
use super::vector::is_absent;
use crate::kernels::{Edges, HistogramWindows};
use crate::plan::{Steps, SubqueryPlan};
use crate::value::StepSamples;

/// The samples of a query, or of a part of it that has steps of its own.
#[derive(Debug, Default)]
pub(crate) struct SampleCounts {
    /// Samples that entered evaluation, once per step that used them.
    pub(crate) total: u64,
    /// Samples that were read for it, however many steps used them.
    pub(crate) read: u64,
    /// Pages of values that were decoded for it.
    pub(crate) pages_decoded: u64,
    /// The same step by step, where asked for.
    pub(crate) steps: Option<Vec<StepSamples>>,
}

impl SampleCounts {
    /// Counts for so many steps, step by step where `each` says so.
    pub(crate) fn new(steps: usize, each: bool) -> Self {
        Self {
            steps: each.then(|| vec![StepSamples::default(); steps]),
            ..Self::default()
        }
    }

    /// Counts of nothing, for the same steps.
    pub(super) fn none(&self) -> Self {
        Self::new(
            self.steps.as_ref().map_or(0, Vec::len),
            self.steps.is_some(),
        )
    }

    /// What another place of the same steps used and read; pages aside, which are decoded once.
    pub(super) fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.read += other.read;
        if let (Some(steps), Some(others)) = (&mut self.steps, &other.steps) {
            for (count, other) in steps.iter_mut().zip(others) {
                count.total += other.total;
                count.read += other.read;
            }
        }
    }

    /// The windows of a series. Those over results of a subquery read nothing from the store.
    pub(super) fn windows(&mut self, edges: &Edges, stored: bool) {
        self.total += edges.total_samples;
        if stored {
            self.read += edges.new_samples;
        }
        let Some(steps) = &mut self.steps else { return };
        let mut before = 0;
        for (count, (from, to)) in steps.iter_mut().zip(&edges.spans) {
            count.total += u64::from(to - from);
            if stored {
                count.read += u64::from(to - from.max(&before).min(to));
            }
            before = *to;
        }
    }

    /// The windows over the histograms of a series, each by what it counts as.
    pub(super) fn histogram_windows(&mut self, windows: &HistogramWindows<'_>, stored: bool) {
        let sums = weights_before(windows);
        let mut before = 0;
        for (step, (from, to)) in windows.edges.spans.iter().enumerate() {
            let sum = |from: u32, to: u32| sums[to as usize] - sums[from as usize];
            let total = sum(*from, *to);
            let new = (*from).max(before).min(*to);
            let read = if stored { sum(new, *to) } else { 0 };
            before = *to;
            self.total += total;
            self.read += read;
            if let Some(count) = self.steps.as_mut().and_then(|steps| steps.get_mut(step)) {
                count.total += total;
                count.read += read;
            }
        }
    }

    /// The samples an instant selector picked from a series.
    pub(super) fn picked(&mut self, slots: &[f64], arena: &Arena) {
        for (step, value) in slots.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            let samples = arena.get(*value).map_or(1, |h| weight(&h) as u64);
            self.total += samples;
            self.read += samples;
            if let Some(count) = self.steps.as_mut().and_then(|steps| steps.get_mut(step)) {
                count.total += samples;
                count.read += samples;
            }
        }
    }

    /// A part that was evaluated once and stands for all steps.
    pub(super) fn once(&mut self, part: &Self, step_count: usize) {
        self.total += part.total.saturating_mul(step_count as u64);
        self.read += part.read;
        self.pages_decoded += part.pages_decoded;
        if let Some(steps) = &mut self.steps {
            for count in steps.iter_mut() {
                count.total += part.total;
            }
            if let Some(first) = steps.first_mut() {
                first.read += part.read;
            }
        }
    }

    /// Counts for the steps of a subquery.
    pub(super) fn of_subquery(&self, inner: &Steps, outer: &Steps, plan: &SubqueryPlan) -> Self {
        // What was read in vain is told apart step by step.
        let gaps = outer.count > 1 && plan.range_ms < outer.step_ms;
        Self::new(inner.count, gaps || self.steps.is_some())
    }

    /// What a subquery read; what was read for none of the outer windows does not count.
    pub(super) fn subquery(
        &mut self,
        part: &Self,
        inner: &Steps,
        outer: &Steps,
        plan: &SubqueryPlan,
    ) {
        self.pages_decoded += part.pages_decoded;
        let (Some(counts), true) = (&part.steps, outer.count > 1) else {
            self.read += part.read;
            if let Some(first) = self.steps.as_mut().and_then(|steps| steps.first_mut()) {
                first.read += part.read;
            }
            return;
        };
        for (index, count) in counts.iter().enumerate() {
            let time_ms = inner.at(index).saturating_add(plan.times.offset_ms);
            let behind_ms = time_ms.saturating_sub(outer.start_ms).max(0);
            let step = ((behind_ms + outer.step_ms - 1) / outer.step_ms) as usize;
            let step = step.min(outer.count - 1);
            if time_ms <= outer.at(step).saturating_sub(plan.range_ms) {
                continue;
            }
            self.read += count.read;
            if let Some(steps) = &mut self.steps {
                steps[step].read += count.read;
            }
        }
    }
}
