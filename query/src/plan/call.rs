//! Calls whose arguments are instant vectors, scalars and strings.

use barograph_model::Pattern;

use super::build::{
    Builder, Part, Plan, absent_labels, argument, bug, once_scalar, once_vector, string_of,
};
use super::{HistogramQuantilesPlan, ScalarPlan, VectorPlan};
use crate::ast::{Call, Span, StringLiteral, ValueType};
use crate::error::QueryError;
use crate::functions::{Kind, Math};

/// The arguments of a call by type, in order.
pub(super) struct Arguments {
    vectors: Vec<Part<VectorPlan>>,
    scalars: Vec<ScalarPlan>,
    scalars_invariant: Vec<bool>,
    strings: Vec<StringLiteral>,
    pub(super) invariant: bool,
}

impl Arguments {
    pub(super) fn read(builder: &Builder<'_>, call: &Call) -> Plan<Self> {
        let mut args = Self {
            vectors: Vec::new(),
            scalars: Vec::new(),
            scalars_invariant: Vec::new(),
            strings: Vec::new(),
            invariant: true,
        };
        for index in 0..call.args.len() {
            let node = argument(call, index)?;
            match node.value_type() {
                ValueType::Vector => {
                    let part = builder.vector(node)?;
                    args.invariant &= part.invariant;
                    args.vectors.push(part);
                }
                ValueType::Scalar => {
                    let part = builder.scalar(node)?;
                    args.invariant &= part.invariant;
                    args.scalars_invariant.push(part.invariant);
                    args.scalars.push(part.plan);
                }
                ValueType::String => args.strings.push(string_of(node)?.clone()),
                ValueType::Matrix => return Err(bug("a range vector among plain arguments")),
            }
        }
        Ok(args)
    }

    /// The call runs at every step: what of its arguments does not vary runs once.
    pub(super) fn run_once(&mut self) {
        self.vectors = std::mem::take(&mut self.vectors)
            .into_iter()
            .map(|part| Part {
                invariant: part.invariant,
                plan: once_vector(part),
            })
            .collect();
        self.scalars = std::mem::take(&mut self.scalars)
            .into_iter()
            .zip(&self.scalars_invariant)
            .map(|(plan, invariant)| {
                once_scalar(Part {
                    plan,
                    invariant: *invariant,
                })
            })
            .collect();
    }

    fn vector(&mut self) -> Plan<Box<VectorPlan>> {
        if self.vectors.is_empty() {
            return Err(bug("a vector argument is missing"));
        }
        Ok(Box::new(self.vectors.remove(0).plan))
    }

    fn scalar(&mut self) -> Plan<ScalarPlan> {
        if self.scalars.is_empty() {
            return Err(bug("a scalar argument is missing"));
        }
        Ok(self.scalars.remove(0))
    }
}

/// A call whose arguments are instant vectors, scalars and strings.
pub(super) fn assemble_call(call: &Call, span: Span, mut args: Arguments) -> Plan<VectorPlan> {
    let argument_span = |index: usize| -> Plan<Span> { Ok(argument(call, index)?.span) };
    Ok(match call.function.kind {
        Kind::Math(math) => VectorPlan::Math {
            function: math,
            operand: args.vector()?,
            params: match math {
                Math::Clamp => vec![args.scalar()?, args.scalar()?],
                Math::ClampMin | Math::ClampMax => vec![args.scalar()?],
                Math::Round => args.scalars,
                _ => Vec::new(),
            },
        },
        Kind::Date(part) => VectorPlan::Date {
            part,
            operand: args.vectors.pop().map(|part| Box::new(part.plan)),
        },
        Kind::Absent => VectorPlan::Absent {
            operand: args.vector()?,
            labels: absent_labels(argument(call, 0)?),
        },
        Kind::Vector => VectorPlan::FromScalar(args.scalar()?),
        Kind::Sort { descending } => VectorPlan::Sort {
            operand: args.vector()?,
            descending,
            span,
        },
        Kind::SortByLabel { descending } => VectorPlan::SortByLabel {
            operand: args.vector()?,
            labels: args.strings.into_iter().map(|text| text.value).collect(),
            descending,
            span,
        },
        Kind::LabelReplace => label_replace(args)?,
        Kind::LabelJoin => label_join(args)?,
        Kind::HistogramQuantile => VectorPlan::HistogramQuantile {
            quantile: args.scalar()?,
            quantile_span: argument_span(0)?,
            operand: args.vector()?,
            operand_span: argument_span(1)?,
        },
        Kind::HistogramFraction => VectorPlan::HistogramFraction {
            lower: args.scalar()?,
            upper: args.scalar()?,
            operand: args.vector()?,
            operand_span: argument_span(2)?,
        },
        Kind::Native(function) => VectorPlan::Native {
            function,
            operand: args.vector()?,
        },
        Kind::HistogramQuantiles => histogram_quantiles(call, args)?,
        _ => return Err(bug("a vector function was expected")),
    })
}

fn histogram_quantiles(call: &Call, mut args: Arguments) -> Plan<VectorPlan> {
    let operand = *args.vector()?;
    let mut strings = args.strings.into_iter();
    let label = strings
        .next()
        .ok_or_else(|| bug("histogram_quantiles takes a label"))?;
    check_label_name("quantile", "histogram_quantiles", &label)?;
    let quantiles = args
        .scalars
        .into_iter()
        .zip(2..)
        .map(|(scalar, index)| Ok((scalar, argument(call, index)?.span)))
        .collect::<Plan<Vec<_>>>()?;
    Ok(VectorPlan::HistogramQuantiles(Box::new(
        HistogramQuantilesPlan {
            label: label.value,
            quantiles,
            operand,
            operand_span: argument(call, 0)?.span,
        },
    )))
}

fn label_replace(mut args: Arguments) -> Plan<VectorPlan> {
    let operand = args.vector()?;
    let [target, replacement, source, pattern] = <[StringLiteral; 4]>::try_from(args.strings)
        .map_err(|_| bug("label_replace takes four strings"))?;
    let compiled = Pattern::new(&pattern.value).map_err(|_| {
        QueryError::Execution(format!(
            "invalid regular expression in label_replace(): {}",
            pattern.value
        ))
    })?;
    check_label_name("destination", "label_replace", &target)?;
    Ok(VectorPlan::LabelReplace {
        operand,
        target: target.value,
        replacement: replacement.value,
        source: source.value,
        pattern: compiled,
    })
}

fn label_join(mut args: Arguments) -> Plan<VectorPlan> {
    let operand = args.vector()?;
    let mut strings = args.strings.into_iter();
    let (Some(target), Some(separator)) = (strings.next(), strings.next()) else {
        return Err(bug("label_join takes two strings"));
    };
    let sources: Vec<StringLiteral> = strings.collect();
    for source in &sources {
        check_label_name("source", "label_join", source)?;
    }
    check_label_name("destination", "label_join", &target)?;
    Ok(VectorPlan::LabelJoin {
        operand,
        target: target.value,
        separator: separator.value,
        sources: sources.into_iter().map(|text| text.value).collect(),
    })
}

/// A label may be called anything that is UTF-8, except nothing.
fn check_label_name(role: &str, function: &str, name: &StringLiteral) -> Plan<()> {
    if name.bytes.is_none() && !name.value.is_empty() {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "invalid {role} label name in {function}(): {}",
        name.value
    )))
}
