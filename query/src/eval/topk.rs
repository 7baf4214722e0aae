//! Aggregations that pass some series on: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::Evaluator;
use super::arena::drop_histograms;
use super::matching::Groups;
use super::vector::{ABSENT, Vector, is_absent};
use crate::annotations::Annotation;
use crate::ast::AggregateOp;
use crate::error::QueryError;
use crate::gomath::default_format;
use crate::plan::{AggregatePlan, Steps};

impl Evaluator<'_> {
    pub(super) fn select_some(
        &mut self,
        plan: &AggregatePlan,
        param: &[f64],
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut operand = self.vector(&plan.operand, steps)?;
        if !self.check_param(plan, param)? {
            self.limits.release(operand.held());
            return Ok(Vector::new(steps.count, self.limits.held()));
        }
        if self.arena.any() && matches!(plan.op, AggregateOp::TopK | AggregateOp::BottomK) {
            for index in 0..operand.len() {
                if drop_histograms(operand.values_mut(index)) {
                    let name = plan.op.as_str();
                    self.annotations
                        .add(Annotation::histogram_ignored_in_aggregation(
                            name, plan.span,
                        ));
                }
            }
        }
        let mut groups = Groups::new(&plan.grouping);
        let places: Vec<usize> = operand
            .rows()
            .map(|(meta, _)| groups.place_key(meta.key(), false))
            .collect();
        let picker = Picker {
            op: plan.op,
            operand: &operand,
            places: &places,
            groups: groups.labels.len(),
        };
        if let [param] = param {
            // One step: the order is part of the answer.
            return Ok(operand.reorder(&picker.pick(0, *param)));
        }
        let mut result = Vector::new(steps.count, self.limits.held());
        self.limits.hold(operand.held())?;
        for (meta, _) in operand.rows() {
            result.fill_as(meta.clone(), |_| {});
        }
        for (step, param) in param.iter().enumerate() {
            self.limits.check()?;
            for index in picker.pick(step, *param) {
                result.values_mut(index)[step] = operand.values(index)[step];
            }
        }
        self.limits.release(operand.held());
        Ok(result.without_empty())
    }

    /// Whether anything can come of the parameter.
    fn check_param(&mut self, plan: &AggregatePlan, param: &[f64]) -> Result<bool, QueryError> {
        let largest = param.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = param.iter().copied().fold(f64::INFINITY, f64::min);
        let any_nan = param.iter().any(|value| value.is_nan());
        let fail = |message: String| Err(QueryError::Execution(message));
        if plan.op == AggregateOp::LimitRatio {
            if any_nan {
                return fail("Ratio value is NaN".to_owned());
            }
            if largest > 1.0 {
                self.annotations
                    .add(Annotation::invalid_ratio(largest, 1.0, plan.param_span));
            }
            if smallest < -1.0 {
                self.annotations
                    .add(Annotation::invalid_ratio(smallest, -1.0, plan.param_span));
            }
            return Ok(largest != 0.0 || smallest != 0.0);
        }
        if any_nan {
            return fail("Parameter value is NaN".to_owned());
        }
        if largest < 1.0 {
            return Ok(false);
        }
        // 64 bits end at these floats.
        if smallest <= i64::MIN as f64 {
            let value = default_format(smallest);
            return fail(format!("Scalar value {value} underflows int64"));
        }
        if largest >= i64::MAX as f64 {
            let value = default_format(largest);
            return fail(format!("Scalar value {value} overflows int64"));
        }
        Ok(true)
    }
}

struct Picker<'a> {
    op: AggregateOp,
    operand: &'a Vector,
    places: &'a [usize],
    groups: usize,
}

impl Picker<'_> {
    /// The series to pass on at a step, group by group, best first.
    fn pick(&self, step: usize, param: f64) -> Vec<usize> {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.groups];
        for (index, place) in self.places.iter().enumerate() {
            if !is_absent(self.value(index, step)) {
                members[*place].push(index);
            }
        }
        let mut picked = Vec::new();
        for group in members {
            match self.op {
                AggregateOp::LimitRatio => picked.extend(
                    group
                        .into_iter()
                        .filter(|index| self.in_ratio(*index, param.clamp(-1.0, 1.0))),
                ),
                _ => picked.extend(self.best(group, step, param as usize)),
            }
        }
        picked
    }

    fn value(&self, index: usize, step: usize) -> f64 {
        self.operand
            .values(index)
            .get(step)
            .copied()
            .unwrap_or(ABSENT)
    }

    /// The `count` first of a group in the order of the operator, best first. Which of equals stay
    /// follows from Prometheus's heap, so that ties break alike.
    fn best(&self, mut group: Vec<usize>, step: usize, count: usize) -> Vec<usize> {
        let descending = match self.op {
            AggregateOp::TopK => true,
            AggregateOp::BottomK => false,
            _ => {
                group.truncate(count);
                return group;
            }
        };
        let worse = |a: f64, b: f64| a.is_nan() || if descending { a < b } else { a > b };
        let mut heap = Heap {
            worst_first: Vec::new(),
            worse,
        };
        for index in group {
            let value = self.value(index, step);
            if heap.worst_first.len() < count {
                heap.push((value, index));
                continue;
            }
            let Some((worst, _)) = heap.worst_first.first() else {
                break;
            };
            let beats = if descending {
                *worst < value
            } else {
                *worst > value
            };
            if beats || (worst.is_nan() && !value.is_nan()) {
                heap.replace_worst((value, index));
            }
        }
        let mut best = heap.worst_first;
        // Stable, and NaN last either way.
        best.sort_by(|(a, _), (b, _)| {
            let order = a
                .partial_cmp(b)
                .map(|order| if descending { order.reverse() } else { order });
            order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
        best.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether a series belongs to this share; a negative share is the complement.
    fn in_ratio(&self, index: usize, ratio: f64) -> bool {
        let position = self.operand.meta(index).labels().sampling_hash() as f64 / u64::MAX as f64;
        if ratio >= 0.0 {
            position < ratio
        } else {
            position >= 1.0 + ratio
        }
    }
}

/// A binary heap with the worst value on top, in the very order of Go's `container/heap`.
struct Heap<F> {
    worst_first: Vec<(f64, usize)>,
    worse: F,
}

impl<F: Fn(f64, f64) -> bool> Heap<F> {
    fn worse(&self, a: usize, b: usize) -> bool {
        (self.worse)(self.worst_first[a].0, self.worst_first[b].0)
    }

    fn push(&mut self, entry: (f64, usize)) {
        self.worst_first.push(entry);
        let mut at = self.worst_first.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.worse(at, parent) {
                break;
            }
            self.worst_first.swap(at, parent);
            at = parent;
        }
    }

    fn replace_worst(&mut self, entry: (f64, usize)) {
        self.worst_first[0] = entry;
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            if left >= self.worst_first.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.worst_first.len() && self.worse(right, left) {
                right
            } else {
                left
            };
            if !self.worse(child, at) {
                return;
            }
            self.worst_first.swap(at, child);
            at = child;
        }
    }
}
