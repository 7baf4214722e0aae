//! Trees to plans.

use std::cell::{Cell, RefCell};

use barograph_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use super::call::{Arguments, assemble_call};
use super::shared::{Family, Member, Place, SharedPlan, Sharing};
use super::{
    AggregatePlan, BinaryPlan, BinaryScalarPlan, CountValuesPlan, Grouping, InfoPlan, ScalarPlan,
    SelectorPlan, SubqueryPlan, Times, VectorPlan, WindowPlan, WindowSource,
};
use crate::ast::{
    Aggregate, AggregateOp, At, Binary, Call, DurationContext, DurationSpec, Extension, Modifiers,
    Node, NodeKind, RangeSelector, Selector, Span, StringLiteral, Subquery, ValueType,
};
use crate::error::QueryError;
use crate::functions::{Context, Kind, Native, Window};

pub(super) type Plan<T> = Result<T, QueryError>;

/// What a plan depends on besides the tree.
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanContext {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
    /// The step of a subquery that names none.
    pub(crate) default_step_ms: i64,
}

/// The plan of a whole expression.
#[derive(Debug)]
pub(crate) enum Root {
    Scalar(ScalarPlan),
    Vector(VectorPlan),
    String(StringLiteral),
    Matrix(WindowSource),
}

/// The plan of a whole expression, and of the parts that it has in several places.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) root: Root,
    pub(crate) shared: Vec<SharedPlan>,
    pub(crate) families: Vec<Family>,
}

/// Makes the plan of an expression, whose text is `text`.
pub(crate) fn plan(node: &Node, text: &str, context: PlanContext) -> Plan<Planned> {
    let node = node.unwrap_parens();
    let builder = Builder {
        context,
        sharing: Sharing::new(node, text),
        domains: RefCell::default(),
        around: Cell::default(),
    };
    let root = match node.value_type() {
        ValueType::Scalar => Root::Scalar(once_scalar(builder.scalar(node)?)),
        ValueType::Vector => Root::Vector(once_vector(builder.vector(node)?)),
        ValueType::String => Root::String(string_of(node)?.clone()),
        ValueType::Matrix => Root::Matrix(builder.source(node)?.plan),
    };
    let (shared, families) = builder.sharing.finish();
    Ok(Planned {
        root,
        shared,
        families,
    })
}

pub(super) struct Builder<'a> {
    context: PlanContext,
    sharing: Sharing<'a>,
    /// The subqueries there are: those with the same steps are one. The number of what is around
    /// them, the range, the step, the times.
    domains: RefCell<Vec<(usize, i64, i64, Times)>>,
    /// What stands around the node that is being planned.
    around: Cell<Around>,
}

/// Whether the histograms of a selector are needed with their buckets: it depends on all that
/// stands around it.
#[derive(Clone, Copy, Default)]
struct Around {
    /// A function that asks for count or sum only.
    totals: bool,
    /// Something that needs buckets, or reads samples out of order.
    buckets: bool,
    /// Whose steps are evaluated: 0 for those of the query, else one more than the number of the
    /// subquery.
    domain: usize,
}

impl Around {
    fn totals_only(self) -> bool {
        self.totals && !self.buckets
    }
}

/// A plan, and whether its value is the same at every step.
pub(super) struct Part<T> {
    pub(super) plan: T,
    pub(super) invariant: bool,
}

fn varying<T>(plan: T) -> Part<T> {
    Part {
        plan,
        invariant: false,
    }
}

/// Marked to run once, if that spares work.
pub(super) fn once_scalar(part: Part<ScalarPlan>) -> ScalarPlan {
    match part.plan {
        plan @ (ScalarPlan::Constant(_) | ScalarPlan::Once(_)) => plan,
        plan if part.invariant => ScalarPlan::Once(Box::new(plan)),
        plan => plan,
    }
}

pub(super) fn once_vector(part: Part<VectorPlan>) -> VectorPlan {
    match part.plan {
        plan @ VectorPlan::Once(_) => plan,
        plan if part.invariant => VectorPlan::Once(Box::new(plan)),
        plan => plan,
    }
}

impl Builder<'_> {
    /// Plans what stands inside of something.
    fn within<T>(&self, change: impl FnOnce(&mut Around), plan: impl FnOnce() -> T) -> T {
        let before = self.around.get();
        let mut around = before;
        change(&mut around);
        self.around.set(around);
        let planned = plan();
        self.around.set(before);
        planned
    }

    pub(super) fn scalar(&self, node: &Node) -> Plan<Part<ScalarPlan>> {
        match &node.kind {
            NodeKind::Number { value, .. } => Ok(Part {
                plan: ScalarPlan::Constant(*value),
                invariant: true,
            }),
            NodeKind::Paren(inner) => self.scalar(inner),
            NodeKind::Unary { negative, operand } => {
                let operand = self.scalar(operand)?;
                Ok(if *negative {
                    Part {
                        plan: ScalarPlan::Negate(Box::new(operand.plan)),
                        invariant: operand.invariant,
                    }
                } else {
                    operand
                })
            }
            NodeKind::Binary(binary) => {
                let (lhs, rhs) = (self.scalar(&binary.lhs)?, self.scalar(&binary.rhs)?);
                let op = binary.op;
                Ok(join_scalars(lhs, rhs, |lhs, rhs| ScalarPlan::Binary {
                    op,
                    lhs,
                    rhs,
                }))
            }
            NodeKind::Call(call) => self.scalar_call(call),
            _ => Err(bug("a scalar was expected")),
        }
    }

    fn scalar_call(&self, call: &Call) -> Plan<Part<ScalarPlan>> {
        let constant = |value| {
            Ok(Part {
                plan: ScalarPlan::Constant(value),
                invariant: true,
            })
        };
        let context = &self.context;
        match call.function.kind {
            Kind::Time => Ok(varying(ScalarPlan::Time)),
            Kind::Pi => constant(std::f64::consts::PI),
            Kind::Context(Context::Start) => constant(context.start_ms as f64 / 1000.0),
            Kind::Context(Context::End) => constant(context.end_ms as f64 / 1000.0),
            Kind::Context(Context::Range) => constant(self.durations().range_seconds),
            Kind::Context(Context::Step) if context.start_ms == context.end_ms => constant(0.0),
            Kind::Context(Context::Step) => constant(self.durations().step_seconds),
            Kind::Scalar => {
                let operand = self.vector(argument(call, 0)?)?;
                Ok(Part {
                    plan: ScalarPlan::Only(Box::new(operand.plan)),
                    invariant: operand.invariant,
                })
            }
            kind @ (Kind::MaxOf | Kind::MinOf) => {
                let lhs = self.scalar(argument(call, 0)?)?;
                let rhs = self.scalar(argument(call, 1)?)?;
                let largest = kind == Kind::MaxOf;
                Ok(join_scalars(lhs, rhs, |lhs, rhs| ScalarPlan::Extreme {
                    largest,
                    lhs,
                    rhs,
                }))
            }
            _ => Err(bug("a scalar function was expected")),
        }
    }

    pub(super) fn vector(&self, node: &Node) -> Plan<Part<VectorPlan>> {
        let node = node.unwrap_parens();
        let around = self.around.get();
        let (totals_only, domain) = (around.totals_only(), around.domain);
        match self.sharing.place(node, totals_only, domain) {
            Place::Only => self.vector_here(node),
            Place::Again(place, invariant) => Ok(Part {
                plan: VectorPlan::Shared(place),
                invariant,
            }),
            Place::First(text) => {
                let Part { plan, invariant } = self.vector_here(node)?;
                let within = (totals_only, domain);
                let place = self.sharing.add(node, text, within, (plan, invariant));
                Ok(Part {
                    plan: VectorPlan::Shared(place),
                    invariant,
                })
            }
        }
    }

    /// A vector that is not shared with other places; parts of it may be.
    fn vector_here(&self, node: &Node) -> Plan<Part<VectorPlan>> {
        match &node.kind {
            NodeKind::Unary { negative, operand } => {
                let operand = self.vector(operand)?;
                Ok(if *negative {
                    Part {
                        plan: VectorPlan::Negate(Box::new(operand.plan)),
                        invariant: operand.invariant,
                    }
                } else {
                    operand
                })
            }
            NodeKind::Binary(binary) => self.binary(binary, node.span),
            NodeKind::Aggregate(aggregate) => self.aggregate(aggregate, node.span),
            NodeKind::Call(call) => self.vector_call(call, node.span),
            NodeKind::Selector(selector) => {
                let selector = self.selector(selector, node.span, None)?;
                Ok(Part {
                    invariant: selector.times.at_ms.is_some(),
                    plan: VectorPlan::Selector(selector),
                })
            }
            _ => Err(bug("an instant vector was expected")),
        }
    }

    fn binary(&self, binary: &Binary, span: Span) -> Plan<Part<VectorPlan>> {
        let (op, returns_bool) = (binary.op, binary.returns_bool);
        let lhs_is_scalar = binary.lhs.value_type() == ValueType::Scalar;
        if lhs_is_scalar || binary.rhs.value_type() == ValueType::Scalar {
            let (scalar, vector) = if lhs_is_scalar {
                (&binary.lhs, &binary.rhs)
            } else {
                (&binary.rhs, &binary.lhs)
            };
            let (scalar, vector) = self.within(
                |around| around.buckets |= op.is_trim(),
                || Plan::Ok((self.scalar(scalar)?, self.vector(vector)?)),
            )?;
            let invariant = scalar.invariant && vector.invariant;
            let (scalar, vector) = if invariant {
                (scalar.plan, vector.plan)
            } else {
                (once_scalar(scalar), once_vector(vector))
            };
            return Ok(Part {
                plan: VectorPlan::BinaryScalar(Box::new(BinaryScalarPlan {
                    op,
                    returns_bool,
                    vector,
                    scalar,
                    scalar_left: lhs_is_scalar,
                    span,
                })),
                invariant,
            });
        }
        let matching = binary
            .matching
            .clone()
            .ok_or_else(|| bug("two vectors without matching"))?;
        let (lhs, rhs) = self.within(
            |around| around.buckets |= op.is_trim(),
            || Plan::Ok((self.vector(&binary.lhs)?, self.vector(&binary.rhs)?)),
        )?;
        let invariant = lhs.invariant && rhs.invariant;
        let (lhs, rhs) = if invariant {
            (lhs.plan, rhs.plan)
        } else {
            (once_vector(lhs), once_vector(rhs))
        };
        Ok(Part {
            plan: VectorPlan::Binary(Box::new(BinaryPlan {
                op,
                returns_bool,
                matching,
                span,
                lhs,
                rhs,
            })),
            invariant,
        })
    }

    fn aggregate(&self, aggregate: &Aggregate, span: Span) -> Plan<Part<VectorPlan>> {
        let operand = self.vector(aggregate.operand.unwrap_parens())?;
        let mut labels = aggregate.grouping.clone();
        if aggregate.op == AggregateOp::CountValues {
            let param = aggregate
                .param
                .as_ref()
                .ok_or_else(|| bug("no parameter"))?;
            let label = string_of(param.unwrap_parens())?.clone();
            if label.bytes.is_some() || label.value.is_empty() {
                return Err(QueryError::Execution(format!("invalid label name {label}")));
            }
            if !aggregate.without {
                labels.push(label.value.clone());
            }
            let plan = CountValuesPlan {
                label,
                grouping: grouping(aggregate.without, labels),
                operand: operand.plan,
            };
            return Ok(Part {
                plan: VectorPlan::CountValues(Box::new(plan)),
                invariant: operand.invariant,
            });
        }
        // As in Prometheus, the parameter has no say in this: of an operand that is the same at every
        // step, the aggregate is as well, with the parameter's value at the first.
        let invariant = operand.invariant;
        let mut param = None;
        let mut param_span = Span::default();
        if let Some(node) = &aggregate.param {
            let node = node.unwrap_parens();
            param = Some(self.scalar(node)?);
            param_span = node.span;
        }
        let (operand, param) = if invariant {
            (operand.plan, param.map(|p| p.plan))
        } else {
            (once_vector(operand), param.map(once_scalar))
        };
        Ok(Part {
            plan: VectorPlan::Aggregate(Box::new(AggregatePlan {
                op: aggregate.op,
                grouping: grouping(aggregate.without, labels),
                param,
                param_span,
                operand,
                operand_span: aggregate.operand.span,
                span,
            })),
            invariant,
        })
    }

    fn vector_call(&self, call: &Call, span: Span) -> Plan<Part<VectorPlan>> {
        let function = call.function;
        match function.kind {
            Kind::Window(window) => return self.window(call, window),
            Kind::AbsentOverTime => {
                let node = argument(call, 0)?;
                let source = self.source(node)?;
                check_extension(source.plan.extension(), function.name)?;
                return Ok(Part {
                    plan: VectorPlan::AbsentOverTime {
                        source: Box::new(source.plan),
                        labels: absent_labels(node),
                    },
                    invariant: source.invariant,
                });
            }
            Kind::Timestamp => return self.timestamp(argument(call, 0)?),
            Kind::StartTimestamp => return self.start_timestamp(argument(call, 0)?),
            Kind::Info => return self.info(call),
            _ => {}
        }
        let mut args = self.within(
            |around| match function.kind {
                Kind::Native(Native::Count | Native::Sum | Native::Avg) => around.totals = true,
                Kind::HistogramQuantile | Kind::HistogramQuantiles | Kind::HistogramFraction => {
                    around.buckets = true;
                }
                _ => {}
            },
            || Arguments::read(self, call),
        )?;
        let invariant = args.invariant && !function.depends_on_step();
        if !invariant {
            args.run_once();
        }
        let plan = assemble_call(call, span, args)?;
        Ok(Part { plan, invariant })
    }

    fn info(&self, call: &Call) -> Plan<Part<VectorPlan>> {
        let node = argument(call, 0)?;
        let operand = self.vector(node)?;
        let selectors = match call.args.get(1).map(|arg| &arg.unwrap_parens().kind) {
            None => vec![Matcher::equal(METRIC_NAME, "target_info")],
            Some(NodeKind::Selector(selector)) => selector.matchers.clone(),
            Some(_) => return Err(bug("label selectors were expected")),
        };
        let still = Times {
            offset_ms: 0,
            at_ms: None,
        };
        let times = self.first_times(node, still)?.unwrap_or(still);
        Ok(Part {
            invariant: operand.invariant && times.at_ms.is_some(),
            plan: VectorPlan::Info(Box::new(InfoPlan {
                operand: operand.plan,
                selectors,
                times,
            })),
        })
    }

    /// When the first selector below a node looks, subqueries around it included: their offsets add
    /// up until an `@` holds the time.
    fn first_times(&self, node: &Node, outer: Times) -> Plan<Option<Times>> {
        let add = |modifiers: &Modifiers| -> Plan<Times> {
            let own = self.times(modifiers)?;
            Ok(match own.at_ms {
                Some(_) => own,
                None => Times {
                    offset_ms: own.offset_ms.saturating_add(outer.offset_ms),
                    ..outer
                },
            })
        };
        match &node.kind {
            NodeKind::Selector(selector) => return add(&selector.modifiers).map(Some),
            NodeKind::Range(range) => return add(&range.selector.modifiers).map(Some),
            NodeKind::Subquery(subquery) => {
                return self.first_times(&subquery.operand, add(&subquery.modifiers)?);
            }
            _ => {}
        }
        for child in node.children() {
            if let Some(times) = self.first_times(child, outer)? {
                return Ok(Some(times));
            }
        }
        Ok(None)
    }

    /// What a function takes that treats bare selectors in its own way.
    fn bare(&self, node: &Node) -> Plan<Part<VectorPlan>> {
        match node.kind {
            NodeKind::Selector(_) => self.vector_here(node),
            _ => self.vector(node),
        }
    }

    fn timestamp(&self, node: &Node) -> Plan<Part<VectorPlan>> {
        let operand = self.bare(node)?;
        Ok(match operand.plan {
            VectorPlan::Selector(selector) => Part {
                plan: VectorPlan::SampleTimes(selector),
                invariant: operand.invariant,
            },
            _ => varying(VectorPlan::StepTimes(Box::new(once_vector(operand)))),
        })
    }

    /// Of a bare selector only: what was computed began at no time.
    fn start_timestamp(&self, node: &Node) -> Plan<Part<VectorPlan>> {
        let operand = self.bare(node)?;
        Ok(match operand.plan {
            VectorPlan::Selector(selector) => Part {
                plan: VectorPlan::StartTimes(selector),
                invariant: operand.invariant,
            },
            _ => varying(VectorPlan::Nothing(Box::new(once_vector(operand)))),
        })
    }

    fn window(&self, call: &Call, window: Window) -> Plan<Part<VectorPlan>> {
        let at = call
            .function
            .args
            .iter()
            .position(|t| *t == ValueType::Matrix)
            .ok_or_else(|| bug("no range vector"))?;
        let node = argument(call, at)?;
        let source = self.source(node)?;
        check_extension(source.plan.extension(), call.function.name)?;
        let mut invariant = source.invariant && !call.function.depends_on_step();
        let mut params = Vec::new();
        for index in (0..call.args.len()).filter(|index| *index != at) {
            let param = self.scalar(argument(call, index)?)?;
            invariant &= param.invariant;
            params.push(param);
        }
        let params = params
            .into_iter()
            .map(|param| {
                if invariant {
                    param.plan
                } else {
                    once_scalar(param)
                }
            })
            .collect();
        // What stands in for a subquery has no place in the text.
        let source_span = match &node.kind {
            NodeKind::Subquery(_) => Span::default(),
            _ => node.span,
        };
        let first_span = if at == 0 {
            source_span
        } else {
            argument(call, 0)?.span
        };
        Ok(Part {
            plan: VectorPlan::Window(Box::new(WindowPlan {
                function: window,
                source: source.plan,
                params,
                source_span,
                first_span,
            })),
            invariant,
        })
    }

    fn source(&self, node: &Node) -> Plan<Part<WindowSource>> {
        match &node.kind {
            NodeKind::Paren(inner) => self.source(inner),
            NodeKind::Range(range) => self.range(range),
            NodeKind::Subquery(subquery) => self.subquery(subquery),
            _ => Err(bug("a range vector was expected")),
        }
    }

    fn range(&self, range: &RangeSelector) -> Plan<Part<WindowSource>> {
        // Of several errors the first in the text counts.
        self.times(&range.selector.modifiers)?;
        let range_ms = self.duration(&range.range, false)?;
        let selector = self.selector(&range.selector, range.selector_span, Some(range_ms))?;
        Ok(Part {
            invariant: selector.times.at_ms.is_some(),
            plan: WindowSource::Selector { selector, range_ms },
        })
    }

    fn subquery(&self, subquery: &Subquery) -> Plan<Part<WindowSource>> {
        let times = self.times(&subquery.modifiers)?;
        let step_ms = match &subquery.step {
            Some(step) => self.duration(step, false)?,
            None => self.context.default_step_ms,
        };
        let step_ms = step_ms.max(1);
        let range_ms = self.duration(&subquery.range, false);
        let range_or_none_ms = *range_ms.as_ref().unwrap_or(&0);
        let outer = self.around.get().domain;
        let domain = self.domain((outer, range_or_none_ms, step_ms, times));
        let operand = self.within(
            |around| {
                around.buckets = true;
                around.domain = domain;
            },
            || self.vector(&subquery.operand),
        )?;
        Ok(Part {
            invariant: times.at_ms.is_some(),
            plan: WindowSource::Subquery(SubqueryPlan {
                operand: once_vector(operand),
                range_ms: range_ms?,
                step_ms,
                times,
            }),
        })
    }

    /// The number of the steps of a subquery.
    fn domain(&self, subquery: (usize, i64, i64, Times)) -> usize {
        let mut domains = self.domains.borrow_mut();
        let known = domains.iter().position(|have| *have == subquery);
        let number = known.unwrap_or_else(|| {
            domains.push(subquery);
            domains.len() - 1
        });
        number + 1
    }

    /// `range_ms` where it is a range selector.
    fn selector(
        &self,
        selector: &Selector,
        span: Span,
        range_ms: Option<i64>,
    ) -> Plan<SelectorPlan> {
        let (times, around) = (self.times(&selector.modifiers)?, self.around.get());
        let member = Member {
            times,
            domain: around.domain,
            range_ms,
        };
        let (family, member) = self.sharing.join(&selector.matchers, member);
        Ok(SelectorPlan {
            matchers: selector.matchers.clone(),
            times,
            extension: selector.extension,
            span,
            totals_only: around.totals_only(),
            family,
            member,
        })
    }

    fn times(&self, modifiers: &Modifiers) -> Plan<Times> {
        Ok(Times {
            offset_ms: self.duration(&modifiers.offset, true)?,
            at_ms: modifiers.at.map(|at| match at {
                At::Time(ms) => ms,
                At::Start => self.context.start_ms,
                At::End => self.context.end_ms,
            }),
        })
    }

    fn duration(&self, duration: &DurationSpec, may_be_negative: bool) -> Plan<i64> {
        duration
            .resolve_ms(self.durations(), may_be_negative)
            .map_err(QueryError::Type)
    }

    fn durations(&self) -> DurationContext {
        let context = &self.context;
        DurationContext {
            step_seconds: context.step_ms as f64 / 1000.0,
            range_seconds: context.end_ms.saturating_sub(context.start_ms) as f64 / 1000.0,
        }
    }
}

fn join_scalars(
    lhs: Part<ScalarPlan>,
    rhs: Part<ScalarPlan>,
    join: impl FnOnce(Box<ScalarPlan>, Box<ScalarPlan>) -> ScalarPlan,
) -> Part<ScalarPlan> {
    let invariant = lhs.invariant && rhs.invariant;
    let (lhs, rhs) = if invariant {
        (lhs.plan, rhs.plan)
    } else {
        (once_scalar(lhs), once_scalar(rhs))
    };
    Part {
        plan: join(Box::new(lhs), Box::new(rhs)),
        invariant,
    }
}

/// `anchored` and `smoothed` windows hold samples from outside of the range, which few functions
/// know how to take.
fn check_extension(extension: Option<Extension>, function: &str) -> Plan<()> {
    let allowed: &[&str] = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => &["changes", "delta", "increase", "rate", "resets"],
        Some(Extension::Smoothed) => &["delta", "increase", "rate"],
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let name = extension.map_or("", Extension::as_str);
    Err(QueryError::Execution(format!(
        "{name} modifier can only be used with: {} - not with {function}",
        allowed.join(", ")
    )))
}

/// The labels that a selector asks for by equality, each once.
pub(super) fn absent_labels(node: &Node) -> Labels {
    let selector = match &node.kind {
        NodeKind::Selector(selector) => selector,
        NodeKind::Range(range) => &range.selector,
        _ => return Labels::empty(),
    };
    let mut builder = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in &selector.matchers {
        let name = matcher.name();
        if name == METRIC_NAME {
            continue;
        }
        if matcher.op() == MatchOp::Equal && !seen.contains(&name) {
            builder.set(name, matcher.value());
            seen.push(name);
        } else {
            builder.remove(name);
        }
    }
    builder.build()
}

fn grouping(without: bool, mut labels: Vec<String>) -> Grouping {
    labels.sort();
    labels.dedup();
    Grouping { without, labels }
}

/// An argument without parentheses around it.
pub(super) fn argument(call: &Call, index: usize) -> Plan<&Node> {
    call.args
        .get(index)
        .map(Node::unwrap_parens)
        .ok_or_else(|| bug("an argument is missing"))
}

pub(super) fn string_of(node: &Node) -> Plan<&StringLiteral> {
    match &node.unwrap_parens().kind {
        NodeKind::String(text) => Ok(text),
        _ => Err(bug("a string was expected")),
    }
}

/// The check of types let something through.
pub(super) fn bug(what: &str) -> QueryError {
    QueryError::Execution(format!("BUG: the plan does not fit the expression: {what}"))
}
