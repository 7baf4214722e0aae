//! Expressions as the tree view of Prometheus's UI, and others, read them.

use barograph_model::number::push_go_g;
use barograph_model::{MatchOp, Matcher};
use barograph_query::ast::{
    Aggregate, At, Binary, Call, Cardinality, DurationExpr, DurationKind, DurationSpec, Extension,
    Matching, Modifiers, Node, NodeKind, Selector, Subquery,
};
use serde_json::{Value, json};

/// The tree below a node.
pub(super) fn tree(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Number { value, .. } => json!({
            "type": "numberLiteral",
            "val": number(*value),
        }),
        NodeKind::String(text) => json!({"type": "stringLiteral", "val": text.value}),
        NodeKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
        NodeKind::Unary { negative, operand } => json!({
            "type": "unaryExpr",
            "op": if *negative { "-" } else { "+" },
            "expr": tree(operand),
        }),
        NodeKind::Binary(binary) => of_binary(binary),
        NodeKind::Aggregate(aggregate) => of_aggregate(aggregate),
        NodeKind::Call(call) => of_call(call),
        NodeKind::Selector(selector) => of_selector(selector, "vectorSelector"),
        NodeKind::Range(range) => {
            let mut tree = of_selector(&range.selector, "matrixSelector");
            tree["range"] = milliseconds(&range.range);
            tree["rangeExpr"] = expression(&range.range);
            tree
        }
        NodeKind::Subquery(subquery) => of_subquery(subquery),
    }
}

fn of_binary(binary: &Binary) -> Value {
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": tree(&binary.lhs),
        "rhs": tree(&binary.rhs),
        "matching": binary.matching.as_ref().map(of_matching),
        "bool": binary.returns_bool,
    })
}

fn of_matching(matching: &Matching) -> Value {
    json!({
        "card": match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        },
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

fn of_aggregate(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": tree(&aggregate.operand),
        "param": aggregate.param.as_ref().map(tree),
        "grouping": aggregate.grouping,
        "without": aggregate.without,
    })
}

fn of_call(call: &Call) -> Value {
    let function = call.function;
    let types: Vec<&str> = function.args.iter().map(|arg| arg.as_str()).collect();
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": types,
            "variadic": function.variadic,
            "returnType": function.returns.as_str(),
        },
        "args": call.args.iter().map(tree).collect::<Vec<_>>(),
    })
}

fn of_selector(selector: &Selector, kind: &str) -> Value {
    let mut tree = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "matchers": selector.matchers.iter().map(of_matcher).collect::<Vec<_>>(),
        "anchored": selector.extension == Some(Extension::Anchored),
        "smoothed": selector.extension == Some(Extension::Smoothed),
    });
    add_modifiers(&mut tree, &selector.modifiers);
    tree
}

fn of_matcher(matcher: &Matcher) -> Value {
    json!({
        "name": matcher.name(),
        "value": matcher.value(),
        "type": match matcher.op() {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        },
    })
}

fn of_subquery(subquery: &Subquery) -> Value {
    let step = subquery.step.clone().unwrap_or_default();
    let mut tree = json!({
        "type": "subquery",
        "expr": tree(&subquery.operand),
        "range": milliseconds(&subquery.range),
        "rangeExpr": expression(&subquery.range),
        "step": milliseconds(&step),
        "stepExpr": expression(&step),
    });
    add_modifiers(&mut tree, &subquery.modifiers);
    tree
}

fn add_modifiers(tree: &mut Value, modifiers: &Modifiers) {
    tree["offset"] = milliseconds(&modifiers.offset);
    tree["offsetExpr"] = expression(&modifiers.offset);
    tree["timestamp"] = match modifiers.at {
        Some(At::Time(time_ms)) => json!(time_ms),
        _ => Value::Null,
    };
    tree["startOrEnd"] = match modifiers.at {
        Some(At::Start) => json!("start"),
        Some(At::End) => json!("end"),
        _ => Value::Null,
    };
}

/// A fixed duration; 0 where it is to be computed.
fn milliseconds(duration: &DurationSpec) -> Value {
    match duration {
        DurationSpec::Fixed(ms) => json!(ms),
        DurationSpec::Expression(_) => json!(0),
    }
}

fn expression(duration: &DurationSpec) -> Value {
    match duration {
        DurationSpec::Fixed(_) => Value::Null,
        DurationSpec::Expression(expr) => of_duration(expr),
    }
}

fn of_duration(expr: &DurationExpr) -> Value {
    let (op, lhs, rhs) = match &expr.kind {
        DurationKind::Number { value, is_duration } => {
            return json!({
                "type": "numberLiteral",
                "val": number(*value),
                "duration": is_duration,
            });
        }
        DurationKind::Step => ("step", Value::Null, Value::Null),
        DurationKind::Range => ("range", Value::Null, Value::Null),
        DurationKind::Sign { negative, operand } => (
            if *negative { "-" } else { "+" },
            Value::Null,
            of_duration(operand),
        ),
        DurationKind::Binary { op, lhs, rhs } => (op.as_str(), of_duration(lhs), of_duration(rhs)),
    };
    json!({
        "type": "durationExpr",
        "op": op,
        "lhs": lhs,
        "rhs": rhs,
        "wrapped": expr.in_parens,
    })
}

/// A number as Go's `strconv` writes it without exponent.
fn number(value: f64) -> String {
    if value.is_finite() {
        return value.to_string();
    }
    let mut text = String::new();
    push_go_g(&mut text, value);
    text
}
