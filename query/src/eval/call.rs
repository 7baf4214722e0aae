//! Functions over instant vectors.

use std::cmp::Ordering;

use barograph_model::Labels;

use super::Evaluator;
use super::arena::drop_histograms;
use super::vector::{ABSENT, Vector, is_absent};
use crate::annotations::Annotation;
use crate::ast::Span;
use crate::error::QueryError;
use crate::functions::Math;
use crate::gomath;
use crate::plan::{Steps, VectorPlan};

/// Applies a function to the values of a series.
pub(super) fn apply_math(function: Math, params: &[Vec<f64>], values: &mut [f64]) {
    match function {
        Math::Clamp => {
            for (step, value) in present(values) {
                let (low, high) = (params[0][step], params[1][step]);
                *value = clamp(*value, low, high);
            }
        }
        Math::ClampMin => {
            for (step, value) in present(values) {
                *value = clamp(*value, params[0][step], f64::INFINITY);
            }
        }
        Math::ClampMax => {
            for (step, value) in present(values) {
                *value = clamp(*value, f64::NEG_INFINITY, params[0][step]);
            }
        }
        Math::Round => {
            for (step, value) in present(values) {
                let nearest = params.first().map_or(1.0, |param| param[step]);
                let inverse = 1.0 / nearest;
                *value = (*value * inverse + 0.5).floor() / inverse;
            }
        }
        _ => {
            for (_, value) in present(values) {
                *value = plain(function, *value);
            }
        }
    }
}

fn present(values: &mut [f64]) -> impl Iterator<Item = (usize, &mut f64)> {
    values
        .iter_mut()
        .enumerate()
        .filter(|(_, value)| !is_absent(**value))
}

fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if high < low {
        return ABSENT;
    }
    gomath::max(low, gomath::min(high, value))
}

fn plain(function: Math, v: f64) -> f64 {
    match function {
        Math::Abs => v.abs(),
        Math::Ceil => v.ceil(),
        Math::Floor => v.floor(),
        Math::Exp => gomath::exp(v),
        Math::Sqrt => v.sqrt(),
        Math::Ln => gomath::ln(v),
        Math::Log2 => gomath::log2(v),
        Math::Log10 => gomath::log10(v),
        Math::Sgn => {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        }
        Math::Deg => v * 180.0 / std::f64::consts::PI,
        Math::Rad => v * std::f64::consts::PI / 180.0,
        Math::Sin => gomath::sin(v),
        Math::Cos => gomath::cos(v),
        Math::Tan => gomath::tan(v),
        Math::Asin => gomath::asin(v),
        Math::Acos => gomath::acos(v),
        Math::Atan => gomath::atan(v),
        Math::Sinh => gomath::sinh(v),
        Math::Cosh => gomath::cosh(v),
        Math::Tanh => gomath::tanh(v),
        Math::Asinh => gomath::asinh(v),
        Math::Acosh => gomath::acosh(v),
        Math::Atanh => gomath::atanh(v),
        Math::Round | Math::Clamp | Math::ClampMin | Math::ClampMax => v,
    }
}

impl Evaluator<'_> {
    /// `timestamp()` of what is no bare selector: the times of the steps.
    pub(super) fn step_times(
        &mut self,
        operand: &VectorPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut vector = self.vector(operand, steps)?;
        for index in 0..vector.len() {
            for (step, value) in present(vector.values_mut(index)) {
                *value = steps.at(step) as f64 / 1000.0;
            }
            vector.meta_mut(index).drop_name = true;
        }
        self.settle(vector)
    }

    /// 1 at each step without a sample.
    pub(super) fn absent(
        &mut self,
        operand: &VectorPlan,
        labels: &Labels,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let operand = self.vector(operand, steps)?;
        let any = operand.any_present();
        self.limits.release(operand.held());
        let mut result = Vector::new(steps.count, self.limits.held());
        if any.iter().all(|any| *any) {
            return Ok(result);
        }
        self.limits.hold(steps.count)?;
        result.push_with(labels.clone(), false, |out| {
            for (slot, _) in out.iter_mut().zip(&any).filter(|(_, any)| !**any) {
                *slot = 1.0;
            }
        });
        Ok(result)
    }

    /// Order by value; it shows in instant queries only.
    pub(super) fn sort(
        &mut self,
        operand: &VectorPlan,
        descending: bool,
        span: Span,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut vector = self.vector(operand, steps)?;
        if self.arena.any() {
            for index in 0..vector.len() {
                drop_histograms(vector.values_mut(index));
            }
            vector = vector.without_empty();
        }
        if self.is_range(steps, span) {
            return Ok(vector);
        }
        let mut order: Vec<usize> = (0..vector.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (vector.values(*a)[0], vector.values(*b)[0]);
            match a.partial_cmp(&b) {
                Some(order) if descending => order.reverse(),
                Some(order) => order,
                None => a.is_nan().cmp(&b.is_nan()),
            }
        });
        Ok(vector.reorder(&order))
    }

    /// Order by label values.
    pub(super) fn sort_by_label(
        &mut self,
        operand: &VectorPlan,
        labels: &[String],
        descending: bool,
        span: Span,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let vector = self.vector(operand, steps)?;
        if self.is_range(steps, span) {
            return Ok(vector);
        }
        let mut order: Vec<usize> = (0..vector.len()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (vector.meta(*a).labels(), vector.meta(*b).labels());
            let by_label = labels
                .iter()
                .map(|label| natural_order(a.get(label), b.get(label)))
                .find(|order| order.is_ne());
            let order = by_label.unwrap_or_else(|| a.cmp(b));
            if descending { order.reverse() } else { order }
        });
        Ok(vector.reorder(&order))
    }

    /// Results of range queries are ordered by labels whatever a query says.
    fn is_range(&mut self, steps: &Steps, span: Span) -> bool {
        if steps.count > 1 {
            self.annotations.add(Annotation::sort_in_range_query(span));
        }
        steps.count > 1
    }

    /// Drops names now, unless that is put off, and makes one series of those that became equal.
    pub(super) fn settle(&self, mut vector: Vector) -> Result<Vector, QueryError> {
        if self.delayed_names {
            return Ok(vector);
        }
        vector.drop_names();
        vector.merge_equal_labels()
    }
}

/// Digits compare by the number they make, everything else by its characters.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.chars().next(), b.chars().next()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (number_a, rest_a) = take_digits(a);
                let (number_b, rest_b) = take_digits(b);
                let (short_a, short_b) = (
                    number_a.trim_start_matches('0'),
                    number_b.trim_start_matches('0'),
                );
                let order = short_a
                    .len()
                    .cmp(&short_b.len())
                    .then_with(|| short_a.cmp(short_b))
                    .then_with(|| number_a.len().cmp(&number_b.len()));
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
            (Some(x), Some(y)) if x == y => {
                (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            }
            (Some(x), Some(y)) => return x.cmp(&y),
        }
    }
}

fn take_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_count() {
        assert_eq!(natural_order("cpu2", "cpu10"), Ordering::Less);
        assert_eq!(natural_order("a", "b"), Ordering::Less);
        assert_eq!(natural_order("a1b", "a1b"), Ordering::Equal);
    }
}
