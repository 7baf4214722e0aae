//! Aggregations. Series flow in one by one; each group keeps running numbers per step.

use barograph_model::Labels;

use super::Evaluator;
use super::aggregate_histograms::HistogramCells;
use super::arena::{drop_histograms, is_histogram};
use super::matching::Groups;
use super::vector::{ABSENT, FastMap, FastSet, Vector, describes_metric, is_absent, same_labels};
use crate::annotations::{Annotation, Notes};
use crate::ast::AggregateOp;
use crate::error::QueryError;
use crate::gomath::{self, kahan_add};
use crate::kernels::quantile;
use crate::plan::{AggregatePlan, CountValuesPlan, Steps};

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        plan: &AggregatePlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let param = plan
            .param
            .as_ref()
            .map(|param| self.scalar(param, steps))
            .transpose()?
            .unwrap_or_default();
        match plan.op {
            AggregateOp::TopK
            | AggregateOp::BottomK
            | AggregateOp::LimitK
            | AggregateOp::LimitRatio => return self.select_some(plan, &param, steps),
            AggregateOp::Quantile => self.note_quantiles(&param, plan),
            _ => {}
        }
        let mut groups = Groups::new(&plan.grouping);
        let mut cells: Vec<Box<dyn Accumulator>> = Vec::new();
        let mut histograms: Vec<Option<HistogramCells>> = Vec::new();
        let (arena, mut notes) = (self.arena.clone(), Notes::default());
        let span = plan.operand_span;
        let mut drop_names: Vec<bool> = Vec::new();
        let delayed_names = self.delayed_names;
        let limits = self.limits.clone();
        let mut memory = limits.held();
        let mut described: FastSet<Labels> = FastSet::default();
        // Each row is added up at once.
        let transient = std::mem::replace(&mut self.transient, true);
        let streamed = self.stream(&plan.operand, steps, &mut |key, drop_name, values| {
            // Without name, type and unit, series must still differ.
            if drop_name
                && !delayed_names
                && key.has_type_or_unit()
                && !described.insert(key.labels().without(describes_metric))
            {
                return Err(same_labels());
            }
            let group = groups.place_key(key, drop_name && !delayed_names);
            if group == cells.len() {
                limits.hold(steps.count)?;
                let labels_bytes = groups.labels[group].size_bytes();
                memory.grow(steps.count * cell_bytes(plan.op) + GROUP_BYTES + labels_bytes);
                cells.push(accumulator(plan.op, steps.count));
                histograms.push(None);
                drop_names.push(false);
            }
            if plan.op == AggregateOp::Quantile {
                // It keeps every row.
                memory.grow(steps.count * size_of::<f64>());
                limits.check()?;
            }
            drop_names[group] |= drop_name && delayed_names;
            if !arena.any() || !values.iter().any(|value| is_histogram(*value)) {
                if let Some(histograms) = &mut histograms[group] {
                    // What is incompatible stays so.
                    histograms.add(values, &arena, key.metric_name(), span, &mut notes);
                }
            } else if matches!(plan.op, AggregateOp::Sum | AggregateOp::Avg) {
                let cells = histograms[group].get_or_insert_with(|| {
                    HistogramCells::new(steps.count, plan.op == AggregateOp::Avg)
                });
                memory.grow(cells.newly_held_bytes(values, &arena));
                cells.add(values, &arena, key.metric_name(), span, &mut notes);
            } else if !matches!(plan.op, AggregateOp::Count | AggregateOp::Group) {
                drop_histograms(values);
                let name = plan.op.as_str();
                notes.add(Annotation::histogram_ignored_in_aggregation(name, span));
            }
            cells[group].add(values);
            Ok(())
        });
        self.transient = transient;
        streamed?;
        let mut result = Vector::new(steps.count, self.limits.held());
        let rows = groups.labels.into_iter().zip(cells).zip(histograms);
        for (((labels, cell), histograms), drop_name) in rows.zip(drop_names) {
            let mut finished = Ok(());
            result.push_with(labels, drop_name, |out| {
                cell.finish(&param, out);
                if let Some(histograms) = histograms {
                    finished = histograms.finish(&arena, span, &mut notes, out);
                }
            });
            finished?;
        }
        self.annotations.merge(notes);
        Ok(result.without_empty())
    }

    fn note_quantiles(&mut self, param: &[f64], plan: &AggregatePlan) {
        let span = plan.param_span;
        if param.iter().any(|q| q.is_nan()) {
            // With it, there is no largest and no smallest.
            self.annotations
                .add(Annotation::invalid_quantile(f64::NAN, span));
            return;
        }
        let largest = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = param.iter().copied().fold(f64::INFINITY, f64::min);
        if largest > 1.0 {
            self.annotations
                .add(Annotation::invalid_quantile(largest, span));
        }
        if smallest < 0.0 {
            self.annotations
                .add(Annotation::invalid_quantile(smallest, span));
        }
    }

    pub(super) fn count_values(
        &mut self,
        plan: &CountValuesPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let operand = self.vector(&plan.operand, steps)?;
        let mut groups = Groups::new(&plan.grouping);
        let mut memory = self.limits.held();
        let mut places: FastMap<(usize, u64), usize> = FastMap::default();
        let mut result = Vector::new(steps.count, self.limits.held());
        for (index, (meta, values)) in operand.rows().enumerate() {
            self.limits.check()?;
            for (step, value) in values.iter().enumerate() {
                if is_absent(*value) {
                    continue;
                }
                let known = places.get(&(index, value.to_bits())).copied();
                let place = if let Some(place) = known {
                    place
                } else {
                    let mut builder = meta.labels().to_builder();
                    let text = match self.arena.get(*value) {
                        Some(histogram) => histogram.to_string(),
                        None => gomath::positional(*value),
                    };
                    builder.set(&plan.label.value, &text);
                    let place = groups.place(&builder.build(), false);
                    if place == result.len() {
                        self.limits.hold(steps.count)?;
                        result.push_with(groups.labels[place].clone(), false, |_| {});
                    }
                    places.insert((index, value.to_bits()), place);
                    memory.grow(PLACE_BYTES);
                    place
                };
                let slot = &mut result.values_mut(place)[step];
                *slot = if is_absent(*slot) { 1.0 } else { *slot + 1.0 };
            }
        }
        self.limits.release(operand.held());
        Ok(result)
    }
}

/// Bytes of a group beside its cells and labels: its place in the map and in the lists.
const GROUP_BYTES: usize = 160;
/// Bytes of the place of a value: a key, a number, and the room a map leaves.
const PLACE_BYTES: usize = 48;

/// Bytes that a group keeps per step.
fn cell_bytes(op: AggregateOp) -> usize {
    match op {
        AggregateOp::Sum => 2 * size_of::<f64>(),
        AggregateOp::Avg => size_of::<AverageCell>(),
        AggregateOp::Stddev | AggregateOp::Stdvar => size_of::<VarianceCell>(),
        AggregateOp::Quantile => 0,
        _ => size_of::<f64>(),
    }
}

/// What a group keeps per step.
trait Accumulator {
    /// Takes the values of one more series.
    fn add(&mut self, values: &[f64]);
    /// Writes the results; steps without a sample stay empty.
    fn finish(&self, param: &[f64], out: &mut [f64]);
}

fn accumulator(op: AggregateOp, steps: usize) -> Box<dyn Accumulator> {
    match op {
        AggregateOp::Sum => Box::new(Sum {
            sums: vec![ABSENT; steps],
            compensations: vec![0.0; steps],
        }),
        AggregateOp::Avg => Box::new(Average {
            cells: vec![AverageCell::default(); steps],
        }),
        AggregateOp::Min => Box::new(Fold::new(
            steps,
            |v| v,
            |have, v| {
                if have > v || have.is_nan() { v } else { have }
            },
        )),
        AggregateOp::Max => Box::new(Fold::new(
            steps,
            |v| v,
            |have, v| {
                if have < v || have.is_nan() { v } else { have }
            },
        )),
        AggregateOp::Count => Box::new(Fold::new(steps, |_| 1.0, |have, _| have + 1.0)),
        AggregateOp::Stddev | AggregateOp::Stdvar => Box::new(Variance {
            cells: vec![VarianceCell::default(); steps],
            root: op == AggregateOp::Stddev,
        }),
        AggregateOp::Quantile => Box::new(Quantile {
            rows: Vec::new(),
            steps,
        }),
        // `group`; those that select or count values never come here.
        _ => Box::new(Fold::new(steps, |_| 1.0, |have, _| have)),
    }
}

struct Sum {
    sums: Vec<f64>,
    compensations: Vec<f64>,
}

impl Accumulator for Sum {
    fn add(&mut self, values: &[f64]) {
        let cells = self.sums.iter_mut().zip(&mut self.compensations);
        for ((sum, compensation), value) in cells.zip(values) {
            if is_absent(*value) {
                continue;
            }
            if is_absent(*sum) {
                *sum = *value;
            } else {
                (*sum, *compensation) = kahan_add(*value, *sum, *compensation);
            }
        }
    }

    fn finish(&self, _: &[f64], out: &mut [f64]) {
        let cells = self.sums.iter().zip(&self.compensations);
        for (out, (sum, compensation)) in out.iter_mut().zip(cells) {
            if !is_absent(*sum) {
                *out = sum + compensation;
            }
        }
    }
}

struct Average {
    cells: Vec<AverageCell>,
}

#[derive(Clone, Copy, Default)]
struct AverageCell {
    count: f64,
    sum: f64,
    mean: f64,
    compensation: f64,
    /// The sum would overflow: the mean runs along from there.
    incremental: bool,
}

impl Accumulator for Average {
    fn add(&mut self, values: &[f64]) {
        for (cell, value) in self.cells.iter_mut().zip(values) {
            if is_absent(*value) {
                continue;
            }
            cell.count += 1.0;
            if cell.count == 1.0 {
                cell.sum = *value;
                cell.mean = *value;
                continue;
            }
            if !cell.incremental {
                let (sum, compensation) = kahan_add(*value, cell.sum, cell.compensation);
                if !sum.is_infinite() {
                    (cell.sum, cell.compensation) = (sum, compensation);
                    continue;
                }
                cell.incremental = true;
                cell.mean = cell.sum / (cell.count - 1.0);
                cell.compensation /= cell.count - 1.0;
            }
            let share = (cell.count - 1.0) / cell.count;
            (cell.mean, cell.compensation) = kahan_add(
                value / cell.count,
                share * cell.mean,
                share * cell.compensation,
            );
        }
    }

    fn finish(&self, _: &[f64], out: &mut [f64]) {
        for (out, cell) in out.iter_mut().zip(&self.cells) {
            if cell.count > 0.0 {
                *out = if cell.incremental {
                    cell.mean + cell.compensation
                } else {
                    cell.sum / cell.count + cell.compensation / cell.count
                };
            }
        }
    }
}

/// One number per step.
struct Fold<First, Next> {
    cells: Vec<f64>,
    first: First,
    next: Next,
}

impl<First: Fn(f64) -> f64, Next: Fn(f64, f64) -> f64> Fold<First, Next> {
    fn new(steps: usize, first: First, next: Next) -> Self {
        Self {
            cells: vec![ABSENT; steps],
            first,
            next,
        }
    }
}

impl<First: Fn(f64) -> f64, Next: Fn(f64, f64) -> f64> Accumulator for Fold<First, Next> {
    fn add(&mut self, values: &[f64]) {
        for (cell, value) in self.cells.iter_mut().zip(values) {
            if !is_absent(*value) {
                *cell = if is_absent(*cell) {
                    (self.first)(*value)
                } else {
                    (self.next)(*cell, *value)
                };
            }
        }
    }

    fn finish(&self, _: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.cells);
    }
}

struct Variance {
    cells: Vec<VarianceCell>,
    root: bool,
}

#[derive(Clone, Copy, Default)]
struct VarianceCell {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator for Variance {
    fn add(&mut self, values: &[f64]) {
        for (cell, value) in self.cells.iter_mut().zip(values) {
            if is_absent(*value) {
                continue;
            }
            cell.count += 1.0;
            if cell.count == 1.0 {
                cell.mean = *value;
                cell.squares = if value.is_finite() { 0.0 } else { f64::NAN };
                continue;
            }
            let delta = value - cell.mean;
            cell.mean += delta / cell.count;
            cell.squares += delta * (value - cell.mean);
        }
    }

    fn finish(&self, _: &[f64], out: &mut [f64]) {
        for (out, cell) in out.iter_mut().zip(&self.cells) {
            if cell.count > 0.0 {
                let variance = cell.squares / cell.count;
                *out = if self.root { variance.sqrt() } else { variance };
            }
        }
    }
}

/// All values: a quantile needs them together.
struct Quantile {
    rows: Vec<Vec<f64>>,
    steps: usize,
}

impl Accumulator for Quantile {
    fn add(&mut self, values: &[f64]) {
        self.rows.push(values.to_vec());
    }

    fn finish(&self, param: &[f64], out: &mut [f64]) {
        let mut values = Vec::with_capacity(self.rows.len());
        for step in 0..self.steps {
            values.clear();
            values.extend(
                self.rows
                    .iter()
                    .map(|row| row[step])
                    .filter(|value| !is_absent(*value)),
            );
            if !values.is_empty() {
                out[step] = quantile(param[step], &mut values);
            }
        }
    }
}
