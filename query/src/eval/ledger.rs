//! The most samples Prometheus would hold for a query at a time.
//!
//! Its evaluator walks the tree node by node and step by step, and counts what lies in memory. This
//! engine holds something else at other times; so the number that clients know is derived: each node
//! notes what it yields at every step, and from that and from what its operands leave behind follows
//! what Prometheus would have counted at most, whatever the order in which things were computed here.

use std::collections::HashMap;

use super::arena::{Arena, vector_weight, weight};
use super::vector::is_absent;
use crate::kernels::{Edges, HistogramWindows};
use crate::plan::{ScalarPlan, VectorPlan};

/// What a node yields at a step.
#[derive(Clone, Copy, Debug, Default)]
struct AtStep {
    elements: i64,
    /// What they count as in a vector; in a matrix a histogram may count as one less.
    samples: i64,
}

/// What a node came to.
#[derive(Clone, Debug, Default)]
struct Footprint {
    is_scalar: bool,
    /// Most samples counted at a time while it was evaluated.
    peak: i64,
    /// Samples counted when it was done; more than its result where something is counted on.
    retained: i64,
    /// Samples of its result.
    total: i64,
    steps: Vec<AtStep>,
}

/// A node under way.
#[derive(Debug)]
struct Open {
    counting: Counting,
    /// What it is known by where it stands in several places.
    shared: Option<usize>,
    result: Footprint,
    operands: Vec<Footprint>,
    /// Samples of a selector's rows that are not results: info series.
    side: Footprint,
    /// Most samples of results and one window.
    window_peak: i64,
    /// Samples in the last window of the series under way.
    window: i64,
    /// Samples of the results that windows are counted on.
    behind: i64,
}

/// How Prometheus evaluates a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Samples are picked and kept.
    Selector,
    /// Windows are read, none of which is counted off.
    Smoothed,
    /// Samples are picked step by step.
    Picked,
    /// Operands are gathered step by step, in the order of evaluation here.
    Steps,
    /// The same where numbers stand behind vectors.
    VectorFirst,
    /// What the operand was counts on.
    Same,
    /// Only the result counts on; parameters come first.
    Aggregate,
    /// A window at a time; the subquery comes first.
    Window,
    /// The same, with a result that is not counted.
    AbsentOverTime,
    /// Evaluated at one step.
    Once,
    /// Operand and info series are gathered step by step.
    Info,
}

impl Counting {
    pub(super) fn of(plan: &VectorPlan) -> Self {
        match plan {
            VectorPlan::Selector(selector) if selector.extension.is_some() => Self::Smoothed,
            VectorPlan::Selector(_) => Self::Selector,
            VectorPlan::SampleTimes(_) | VectorPlan::StartTimes(_) => Self::Picked,
            VectorPlan::Negate(_)
            | VectorPlan::LabelReplace { .. }
            | VectorPlan::LabelJoin { .. } => Self::Same,
            VectorPlan::Math { .. } | VectorPlan::HistogramQuantiles(_) => Self::VectorFirst,
            VectorPlan::BinaryScalar(binary) if !binary.scalar_left => Self::VectorFirst,
            VectorPlan::Aggregate(_) => Self::Aggregate,
            VectorPlan::Window(_) => Self::Window,
            VectorPlan::AbsentOverTime { .. } => Self::AbsentOverTime,
            VectorPlan::Once(_) => Self::Once,
            VectorPlan::Info(_) => Self::Info,
            _ => Self::Steps,
        }
    }

    pub(super) fn of_scalar(plan: &ScalarPlan) -> Self {
        match plan {
            ScalarPlan::Negate(_) => Self::Same,
            ScalarPlan::Once(_) => Self::Once,
            _ => Self::Steps,
        }
    }
}

/// Follows an evaluation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: Vec<Open>,
    /// What stands in several places is evaluated at the first, and counts at each.
    shared: HashMap<usize, Footprint>,
    done: Vec<Footprint>,
}

impl Ledger {
    /// A node begins. Returns what its rows are given with.
    pub(super) fn enter(
        &mut self,
        counting: Counting,
        shared: Option<usize>,
        step_count: usize,
    ) -> usize {
        self.open.push(Open {
            counting,
            shared,
            result: Footprint {
                steps: vec![AtStep::default(); step_count],
                ..Footprint::default()
            },
            operands: Vec::new(),
            side: Footprint::default(),
            window_peak: 0,
            window: 0,
            behind: 0,
        });
        self.open.len() - 1
    }

    /// The node under way.
    pub(super) fn current(&self) -> usize {
        self.open.len().saturating_sub(1)
    }

    /// Whether rows of the node under way are known.
    pub(super) fn has_rows(&self) -> bool {
        self.open.last().is_some_and(|open| open.result.total > 0)
    }

    /// A row leaves a node.
    pub(super) fn row(&mut self, node: usize, slots: &[f64], arena: &Arena) {
        let Some(open) = self.open.get_mut(node) else {
            return;
        };
        let yielded = open.result.add(slots, arena);
        if open.counting == Counting::Window {
            open.behind += yielded;
            open.window_peak = open.window_peak.max(open.behind + open.window);
        }
    }

    /// A row of info series enters a node.
    pub(super) fn side_row(&mut self, slots: &[f64], arena: &Arena) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        open.side.steps.resize(slots.len(), AtStep::default());
        open.side.add(slots, arena);
    }

    /// The node under way comes to the windows of a series: the most samples and those of the last.
    pub(super) fn window(&mut self, (most, last): (u64, u64)) {
        if let Some(open) = self.open.last_mut() {
            open.window_peak = open.window_peak.max(open.behind + most as i64);
            open.window = last as i64;
        }
    }

    /// Windows that are not counted off when the next series comes.
    pub(super) fn lasting_window(&mut self, sizes: (u64, u64)) {
        self.window(sizes);
        if let Some(open) = self.open.last_mut() {
            open.behind += std::mem::take(&mut open.window);
        }
    }

    /// So many results of the node under way are counted and then thrown away.
    pub(super) fn discarded(&mut self, samples: usize) {
        if let Some(open) = self.open.last_mut() {
            open.behind += samples as i64;
            open.window_peak = open.window_peak.max(open.behind + open.window);
        }
    }

    /// A number per step leaves the node under way.
    pub(super) fn leave_scalar(&mut self) {
        if let Some(open) = self.open.last_mut() {
            let one = AtStep {
                elements: 1,
                samples: 1,
            };
            open.result.is_scalar = true;
            open.result.total = open.result.steps.len() as i64;
            open.result.steps.fill(one);
        }
        self.leave();
    }

    /// The node under way is done.
    pub(super) fn leave(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let shared = open.shared;
        let mut footprint = open.finish();
        if let Some(number) = shared {
            let first = self
                .shared
                .entry(number)
                .or_insert_with(|| footprint.clone());
            if first.total == footprint.total && first.steps.len() == footprint.steps.len() {
                footprint = first.clone();
            }
        }
        match self.open.last_mut() {
            Some(parent) => parent.operands.push(footprint),
            None => self.done.push(footprint),
        }
    }

    /// The most samples counted at a time.
    pub(crate) fn peak(&self) -> u64 {
        let peak = self.done.iter().map(|footprint| footprint.peak).max();
        peak.unwrap_or(0).max(0) as u64
    }
}

impl Footprint {
    /// Adds a row; returns its samples.
    fn add(&mut self, slots: &[f64], arena: &Arena) -> i64 {
        let before = self.total;
        for (step, slot) in self.steps.iter_mut().zip(slots) {
            if is_absent(*slot) {
                continue;
            }
            let (in_matrix, in_vector) = arena.get(*slot).map_or((1, 1), |histogram| {
                (weight(&histogram), vector_weight(&histogram))
            });
            step.elements += 1;
            step.samples += in_vector as i64;
            self.total += in_matrix as i64;
        }
        self.total - before
    }
}

impl Open {
    fn finish(mut self) -> Footprint {
        let counting = self.counting;
        match counting {
            Counting::VectorFirst | Counting::Window | Counting::AbsentOverTime => {
                self.operands.sort_by_key(|operand| operand.is_scalar);
            }
            Counting::Aggregate => self.operands.sort_by_key(|operand| !operand.is_scalar),
            _ => {}
        }
        let (mut held, mut peak) = (0, 0);
        for operand in &self.operands {
            peak = peak.max(held + operand.peak);
            held += operand.retained;
        }
        let total = self.result.total;
        let (peak, retained) = match counting {
            Counting::Selector => (total, total),
            // Rows are not counted, the windows they are made of are.
            Counting::Smoothed => (self.window_peak, self.behind),
            Counting::Same => (peak, held),
            Counting::Picked | Counting::Steps | Counting::VectorFirst => {
                let picked = counting == Counting::Picked;
                (peak.max(self.steps(held, picked)), total)
            }
            Counting::Info => {
                // The info series stay counted.
                let held = held + self.side.total;
                (peak.max(self.steps(held, false)), held + total)
            }
            Counting::Aggregate => (peak.max(total), total),
            Counting::Window | Counting::AbsentOverTime => {
                let subquery = self.operands.iter().find(|operand| !operand.is_scalar);
                let freed = subquery.map_or(0, |subquery| subquery.total);
                (
                    peak.max(held + self.window_peak),
                    held + self.behind - freed,
                )
            }
            Counting::Once => {
                let of_one: i64 = self.operands.iter().map(|operand| operand.total).sum();
                let retained = held + total - of_one;
                (peak.max(retained), retained)
            }
        };
        Footprint {
            peak: peak.max(retained),
            retained,
            ..self.result
        }
    }

    /// The peak where operands are gathered and results added step by step.
    fn steps(&self, held: i64, picked: bool) -> i64 {
        let (mut peak, mut held) = (held, held);
        for (step, result) in self.result.steps.iter().enumerate() {
            let gathered: i64 = self
                .operands
                .iter()
                .chain([&self.side])
                .filter_map(|operand| operand.steps.get(step))
                .map(|operand| operand.elements)
                .sum();
            let gathered = gathered + if picked { result.elements } else { 0 };
            held += result.samples;
            peak = peak.max(held + gathered);
        }
        peak
    }
}

/// The most samples that a series has in a window, and those of its last window.
pub(super) fn window_sizes(edges: &Edges, histograms: Option<&HistogramWindows<'_>>) -> (u64, u64) {
    let floats = edges.spans.iter().map(|(from, to)| u64::from(to - from));
    let Some(histograms) = histograms else {
        let last = edges.spans.last().map_or(0, |(from, to)| to - from);
        return (floats.max().unwrap_or(0), u64::from(last));
    };
    let sums = weights_before(histograms);
    let spans = histograms.edges.spans.iter();
    let weights = spans.map(|(from, to)| sums[*to as usize] - sums[*from as usize]);
    let mut sizes = (0, 0);
    for size in floats
        .zip(weights)
        .map(|(floats, weights)| floats + weights)
    {
        sizes = (sizes.0.max(size), size);
    }
    sizes
}

/// What the histograms before each one count as, and last what all do.
pub(super) fn weights_before(histograms: &HistogramWindows<'_>) -> Vec<u64> {
    let mut sums = vec![0];
    let mut sum = 0;
    for histogram in histograms.values {
        sum += weight(histogram) as u64;
        sums.push(sum);
    }
    sums
}
