//! Operators between two samples of which one or both are histograms.

use std::sync::Arc;

use barograph_model::histogram::{IncompatibleSchemas, Keep};
use barograph_model::{CounterResetHint, FloatHistogram};

use super::arena::Arena;
use super::binary::sample_op;
use super::vector::ABSENT;
use crate::annotations::{Annotation, HistogramOperation, Notes};
use crate::ast::{BinaryOp, Span};
use crate::error::QueryError;

/// An operator between samples.
pub(super) struct MixedOp<'a> {
    pub(super) op: BinaryOp,
    pub(super) returns_bool: bool,
    pub(super) span: Span,
    pub(super) arena: &'a Arena,
}

/// What an operator yields.
enum Outcome {
    Value(FloatHistogram),
    /// A comparison: whether it holds.
    Compared(bool),
    Nothing,
}

impl MixedOp<'_> {
    /// What the result holds; `kept` is the value that a comparison which holds passes on. `None`
    /// where the two cannot be operated on: Prometheus treats them as if they had not met.
    pub(super) fn compute(
        &self,
        l: f64,
        r: f64,
        kept: f64,
        notes: &mut Notes,
    ) -> Result<Option<f64>, QueryError> {
        let outcome = match (self.arena.get(l), self.arena.get(r)) {
            (None, None) if self.op.is_trim() => self.incompatible(["float", "float"], notes),
            (None, None) => {
                return Ok(Some(sample_op(self.op, self.returns_bool, l, r, kept)));
            }
            (None, Some(right)) => match self.op {
                BinaryOp::Mul => scaled(&right, |histogram| histogram.multiply(l)),
                _ => self.incompatible(["float", "histogram"], notes),
            },
            (Some(left), None) => match self.op {
                BinaryOp::Mul => scaled(&left, |histogram| histogram.multiply(r)),
                BinaryOp::Div => scaled(&left, |histogram| histogram.divide(r)),
                BinaryOp::TrimUpper => trimmed(&left, r, Keep::Below),
                BinaryOp::TrimLower => trimmed(&left, r, Keep::Above),
                _ => self.incompatible(["histogram", "float"], notes),
            },
            (Some(left), Some(right)) => self.of_two(&left, &right, notes),
        };
        match outcome {
            Outcome::Compared(holds) if self.returns_bool => Ok(Some(f64::from(u8::from(holds)))),
            Outcome::Compared(true) => Ok(Some(kept)),
            Outcome::Compared(false) => Ok(Some(ABSENT)),
            Outcome::Nothing => Ok(None),
            Outcome::Value(histogram) => self.arena.put(histogram).map(Some),
        }
    }

    fn of_two(
        &self,
        left: &Arc<FloatHistogram>,
        right: &FloatHistogram,
        notes: &mut Notes,
    ) -> Outcome {
        let (operation, combined, mut result) = match self.op {
            BinaryOp::Equal => return Outcome::Compared(left.same_data(right)),
            BinaryOp::NotEqual => return Outcome::Compared(!left.same_data(right)),
            BinaryOp::Add => {
                let mut result = FloatHistogram::clone(left);
                (HistogramOperation::Addition, result.add(right), result)
            }
            BinaryOp::Sub => {
                let mut result = FloatHistogram::clone(left);
                let combined = result.subtract(right);
                result.counter_reset_hint = CounterResetHint::Gauge;
                (HistogramOperation::Subtraction, combined, result)
            }
            _ => return self.incompatible(["histogram", "histogram"], notes),
        };
        match combined {
            Err(IncompatibleSchemas) => {
                notes.add(Annotation::incompatible_layout(self.op.as_str(), self.span));
                return Outcome::Nothing;
            }
            Ok(combined) if combined.counter_reset_collision => {
                // Prometheus reports this as it reports a failure: there is no result.
                notes.add(Annotation::counter_reset_collision(operation, self.span));
                return Outcome::Nothing;
            }
            Ok(combined) if combined.bounds_reconciled => {
                notes.add(Annotation::bounds_reconciled(operation, self.span));
            }
            Ok(_) => {}
        }
        result.compact();
        Outcome::Value(result)
    }

    fn incompatible(&self, types: [&str; 2], notes: &mut Notes) -> Outcome {
        notes.add(Annotation::incompatible_types(
            self.op.as_str(),
            types,
            self.span,
        ));
        Outcome::Nothing
    }
}

fn scaled(histogram: &FloatHistogram, scale: impl FnOnce(&mut FloatHistogram)) -> Outcome {
    let mut histogram = histogram.clone();
    scale(&mut histogram);
    histogram.compact();
    Outcome::Value(histogram)
}

fn trimmed(histogram: &FloatHistogram, at: f64, keep: Keep) -> Outcome {
    let mut histogram = histogram.clone();
    histogram.trim(at, keep);
    Outcome::Value(histogram)
}
