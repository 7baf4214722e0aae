//! Types: what may stand where. Runs on a tree that is free of syntax errors.

use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Node, NodeKind, Selector, Span, ValueType,
};
use crate::parse::Fault;

type Check<T> = Result<T, Fault>;

/// Checks types, and settles what depends on them: set operators match many to many, and scalars
/// match nothing.
pub(crate) fn check(node: &mut Node) -> Check<()> {
    let value_type = node.value_type();
    let span = node.span;
    match &mut node.kind {
        NodeKind::Number { .. } | NodeKind::String(_) => Ok(()),
        NodeKind::Paren(inner) => check(inner),
        NodeKind::Unary { operand, .. } => {
            check(operand)?;
            match operand.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => Err(Fault::new(
                    span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                        other.documented()
                    ),
                )),
            }
        }
        NodeKind::Binary(binary) => check_binary(binary, span, value_type),
        NodeKind::Aggregate(aggregate) => check_aggregate(aggregate),
        NodeKind::Call(call) => check_call(call, span),
        NodeKind::Selector(selector) => check_selector(selector, span, true),
        NodeKind::Range(range) => check_selector(&range.selector, range.selector_span, true),
        NodeKind::Subquery(subquery) => {
            check(&mut subquery.operand)?;
            match subquery.operand.value_type() {
                ValueType::Vector => Ok(()),
                other => Err(Fault::new(
                    span,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        other.as_str()
                    ),
                )),
            }
        }
    }
}

fn check_aggregate(aggregate: &mut Aggregate) -> Check<()> {
    expect(
        &mut aggregate.operand,
        ValueType::Vector,
        "aggregation expression",
    )?;
    let wanted = match aggregate.op {
        AggregateOp::CountValues => ValueType::String,
        _ => ValueType::Scalar,
    };
    match &mut aggregate.param {
        Some(param) => expect(param, wanted, "aggregation parameter"),
        None => Ok(()),
    }
}

fn expect(node: &mut Node, wanted: ValueType, context: &str) -> Check<()> {
    check(node)?;
    let got = node.value_type();
    if got == wanted {
        return Ok(());
    }
    Err(Fault::new(
        node.span,
        format!(
            "expected type {} in {context}, got {}",
            wanted.documented(),
            got.documented()
        ),
    ))
}

fn check_binary(binary: &mut Binary, span: Span, value_type: ValueType) -> Check<()> {
    check(&mut binary.lhs)?;
    check(&mut binary.rhs)?;
    let (op, lhs, rhs) = (binary.op, binary.lhs.value_type(), binary.rhs.value_type());
    let op_span = binary.op_span;
    if binary.returns_bool && !op.is_comparison() {
        return Err(Fault::new(
            op_span,
            "bool modifier can only be used on comparison operators",
        ));
    }
    if op.is_comparison() && !binary.returns_bool && value_type == ValueType::Scalar {
        return Err(Fault::new(
            op_span,
            "comparisons between scalars must use BOOL modifier",
        ));
    }
    if let Some(matching) = &mut binary.matching {
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let mut both = matching
            .labels
            .iter()
            .filter(|label| matching.on && matching.include.contains(label));
        if let Some(label) = both.next() {
            return Err(Fault::new(
                op_span,
                format!("label {label:?} must not occur in ON and GROUP clause at once"),
            ));
        }
    }
    for (node, got) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if !matches!(got, ValueType::Scalar | ValueType::Vector) {
            return Err(Fault::new(
                node.span,
                "binary expression must contain only scalar and instant vector types",
            ));
        }
    }
    let fail = |message: String| Err(Fault::new(span, message));
    let fills = |m: &crate::ast::Matching| m.fill_left.is_some() || m.fill_right.is_some();
    if lhs == ValueType::Vector && rhs == ValueType::Vector {
        if let Some(matching) = binary.matching.as_ref().filter(|_| op.is_set()) {
            if matching.cardinality != Cardinality::ManyToMany {
                return fail(format!(
                    "no grouping allowed for {:?} operation",
                    op.as_str()
                ));
            }
            if fills(matching) {
                return fail("filling in missing series not allowed for set operators".into());
            }
        }
        return Ok(());
    }
    if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            return fail("vector matching only allowed between instant vectors".into());
        }
        if fills(&matching) {
            return fail("filling in missing series only allowed between instant vectors".into());
        }
    }
    if op.is_set() {
        return fail(format!(
            "set operator {:?} not allowed in binary scalar expression",
            op.as_str()
        ));
    }
    Ok(())
}

fn check_call(call: &mut Call, span: Span) -> Check<()> {
    let function = call.function;
    let (name, given, listed) = (function.name, call.args.len(), function.args.len());
    let fail = |message: String| Err(Fault::new(span, message));
    if function.variadic == 0 {
        if given != listed {
            return fail(format!(
                "expected {listed} argument(s) in call to {name:?}, got {given}"
            ));
        }
    } else {
        let least = listed - 1;
        if given < least {
            return fail(format!(
                "expected at least {least} argument(s) in call to {name:?}, got {given}"
            ));
        }
        if let Ok(more) = usize::try_from(function.variadic) {
            let most = least + more;
            if given > most {
                return fail(format!(
                    "expected at most {most} argument(s) in call to {name:?}, got {given}"
                ));
            }
        }
    }
    let is_info = name == "info";
    for (index, arg) in call.args.iter_mut().enumerate() {
        let wanted = function.args[index.min(listed - 1)];
        if is_info && index == 1 {
            check_info_selector(arg, span)?;
            continue;
        }
        check(arg)?;
        let got = arg.value_type();
        if got != wanted {
            return Err(Fault::new(
                arg.span,
                format!(
                    "expected type {} in call to function {name:?}, got {}",
                    wanted.documented(),
                    got.documented()
                ),
            ));
        }
    }
    Ok(())
}

/// The second argument of `info`: conditions without a metric name, and none is fine.
fn check_info_selector(arg: &Node, call_span: Span) -> Check<()> {
    if arg.value_type() != ValueType::Vector {
        return Err(Fault::new(
            call_span,
            format!(
                "expected type instant vector in call to function \"info\", got {}",
                arg.value_type().documented()
            ),
        ));
    }
    match &arg.kind {
        NodeKind::Selector(selector) if selector.name.is_some() => Err(Fault::new(
            arg.span,
            "expected label selectors only, got vector selector instead",
        )),
        NodeKind::Selector(selector) => check_selector(selector, arg.span, false),
        _ => Err(Fault::new(arg.span, "expected label selectors only")),
    }
}

fn check_selector(selector: &Selector, span: Span, needs_matcher: bool) -> Check<()> {
    if let Some(name) = &selector.name {
        let conditions = &selector.matchers[..selector.matchers.len() - 1];
        let twice = conditions
            .iter()
            .find(|m| m.name() == barograph_model::METRIC_NAME);
        return match twice {
            Some(matcher) => Err(Fault::new(
                span,
                format!(
                    "metric name must not be set twice: {name:?} or {:?}",
                    matcher.value()
                ),
            )),
            None => Ok(()),
        };
    }
    if needs_matcher
        && selector
            .matchers
            .iter()
            .all(barograph_model::Matcher::matches_empty)
    {
        return Err(Fault::new(
            span,
            "vector selector must contain at least one non-empty matcher",
        ));
    }
    Ok(())
}
