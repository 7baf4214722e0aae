//! Durations in brackets and behind `offset`: fixed, or computed from the query's step and range.

use std::fmt;

use barograph_model::duration::format_duration_ms;

use super::Span;
use super::print::write_number;

/// Longest duration that PromQL can hold, seconds: 64 bits of nanoseconds.
pub(crate) const DURATION_LIMIT_SECONDS: f64 = 9_223_372_036.854_776;

/// How long a window, a step or an offset is.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationSpec {
    /// Milliseconds; negative only as an offset.
    Fixed(i64),
    /// To be computed when step and range of the query are known.
    Expression(Box<DurationExpr>),
}

impl Default for DurationSpec {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl DurationSpec {
    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::Fixed(0)
    }

    /// Milliseconds, given step and range of the query.
    ///
    /// # Errors
    /// A duration that is no number, out of range, or not above 0 where it must be.
    pub(crate) fn resolve_ms(
        &self,
        context: DurationContext,
        may_be_negative: bool,
    ) -> Result<i64, String> {
        let expr = match self {
            Self::Fixed(ms) => return Ok(*ms),
            Self::Expression(expr) => expr,
        };
        let seconds = expr.evaluate(context)?;
        let fail = |what: &str| Err(format!("{}:{}: {what}", expr.span.start, expr.span.end));
        if !seconds.is_finite() {
            return fail("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !may_be_negative {
            return fail("duration must be greater than 0");
        }
        if seconds.abs() > DURATION_LIMIT_SECONDS {
            return fail("duration is out of range");
        }
        Ok((seconds * 1000.0) as i64)
    }
}

impl fmt::Display for DurationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ms) => f.write_str(&format_duration_ms(*ms)),
            Self::Expression(expr) => expr.fmt(f),
        }
    }
}

/// What `step()` and `range()` stand for in durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurationContext {
    pub(crate) step_seconds: f64,
    pub(crate) range_seconds: f64,
}

/// An arithmetic expression over durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: DurationKind,
    /// Whether it stood in parentheses.
    pub in_parens: bool,
}

/// What a part of a duration expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// Seconds.
    Number {
        /// The value.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// `step()`: the distance of the query's steps.
    Step,
    /// `range()`: the distance of the query's first and last step.
    Range,
    /// A sign.
    Sign {
        /// Whether it is `-`.
        negative: bool,
        /// What it stands before.
        operand: Box<DurationExpr>,
    },
    /// Two operands.
    Binary {
        /// The operator.
        op: DurationOp,
        /// Left operand.
        lhs: Box<DurationExpr>,
        /// Right operand.
        rhs: Box<DurationExpr>,
    },
}

/// Operators of duration expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named as PromQL names it")]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    MinOf,
    MaxOf,
}

impl DurationOp {
    /// As PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

impl DurationExpr {
    fn evaluate(&self, context: DurationContext) -> Result<f64, String> {
        Ok(match &self.kind {
            DurationKind::Number { value, .. } => *value,
            DurationKind::Step => context.step_seconds,
            DurationKind::Range => context.range_seconds,
            DurationKind::Sign { negative, operand } => {
                let value = operand.evaluate(context)?;
                if *negative { -value } else { value }
            }
            DurationKind::Binary { op, lhs, rhs } => {
                let (l, r) = (lhs.evaluate(context)?, rhs.evaluate(context)?);
                let by_zero = |what: &str| {
                    Err(format!(
                        "{}:{}: {what} by zero",
                        self.span.start, self.span.end
                    ))
                };
                match op {
                    DurationOp::Add => l + r,
                    DurationOp::Sub => l - r,
                    DurationOp::Mul => l * r,
                    DurationOp::Div if r == 0.0 => return by_zero("division"),
                    DurationOp::Div => l / r,
                    DurationOp::Mod if r == 0.0 => return by_zero("modulo"),
                    DurationOp::Mod => l % r,
                    DurationOp::Pow => crate::gomath::pow(l, r),
                    DurationOp::MinOf => crate::gomath::min(l, r),
                    DurationOp::MaxOf => crate::gomath::max(l, r),
                }
            }
        })
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_parens {
            f.write_str("(")?;
        }
        match &self.kind {
            DurationKind::Number { value, is_duration } => write_number(f, *value, *is_duration)?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::Sign { negative, operand } => {
                if *negative {
                    f.write_str("-")?;
                }
                operand.fmt(f)?;
            }
            DurationKind::Binary { op, lhs, rhs }
                if matches!(op, DurationOp::MinOf | DurationOp::MaxOf) =>
            {
                write!(f, "{}({lhs}, {rhs})", op.as_str())?;
            }
            DurationKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.as_str())?,
        }
        if self.in_parens {
            f.write_str(")")?;
        }
        Ok(())
    }
}
