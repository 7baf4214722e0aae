//! The canonical form of expressions, as Prometheus prints it.

use std::fmt::{self, Write};

use barograph_model::duration::format_duration_ms;
use barograph_model::labels::{is_legacy_label_name, write_quoted};
use barograph_model::{METRIC_NAME, MatchOp};

use super::{
    Aggregate, At, Binary, Cardinality, DurationSpec, Modifiers, Node, NodeKind, RangeSelector,
    Selector, StringLiteral, Subquery,
};
use crate::gomath::{default_format, push_positional};

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Number { value, is_duration } => write_number(f, *value, *is_duration),
            NodeKind::String(text) => text.fmt(f),
            NodeKind::Paren(inner) => write!(f, "({inner})"),
            NodeKind::Unary { negative, operand } => {
                write!(f, "{}{operand}", if *negative { "-" } else { "+" })
            }
            NodeKind::Binary(binary) => binary.fmt(f),
            NodeKind::Aggregate(aggregate) => aggregate.fmt(f),
            NodeKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (index, arg) in call.args.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    arg.fmt(f)?;
                }
                f.write_str(")")
            }
            NodeKind::Selector(selector) => selector.fmt(f),
            NodeKind::Range(range) => range.fmt(f),
            NodeKind::Subquery(subquery) => subquery.fmt(f),
        }
    }
}

impl fmt::Display for StringLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = &self.bytes else {
            return write_quoted(f, &self.value);
        };
        f.write_str("\"")?;
        for chunk in bytes.utf8_chunks() {
            let mut quoted = String::new();
            write_quoted(&mut quoted, chunk.valid())?;
            f.write_str(&quoted[1..quoted.len() - 1])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.lhs)?;
        self.write_operator(f)?;
        write!(f, " {}", self.rhs)
    }
}

impl Binary {
    /// The operator with its modifiers.
    pub(super) fn write_operator(&self, f: &mut impl Write) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            let group = match matching.cardinality {
                Cardinality::ManyToOne => Some("left"),
                Cardinality::OneToMany => Some("right"),
                Cardinality::OneToOne | Cardinality::ManyToMany => None,
            };
            if !matching.labels.is_empty() || matching.on || group.is_some() {
                f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
                write_labels(f, &matching.labels)?;
                f.write_str(")")?;
            }
            if let Some(group) = group {
                write!(f, " group_{group} (")?;
                write_labels(f, &matching.include)?;
                f.write_str(")")?;
            }
            match (matching.fill_left, matching.fill_right) {
                (Some(l), Some(r)) if l == r => write!(f, " fill ({})", default_format(l))?,
                (left, right) => {
                    if let Some(left) = left {
                        write!(f, " fill_left ({})", default_format(left))?;
                    }
                    if let Some(right) = right {
                        write!(f, " fill_right ({})", default_format(right))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.operand)
    }
}

impl Aggregate {
    /// The operator and the labels it groups by.
    pub(super) fn write_head(&self, f: &mut impl Write) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.without || !self.grouping.is_empty() {
            f.write_str(if self.without { " without (" } else { " by (" })?;
            write_labels(f, &self.grouping)?;
            f.write_str(") ")?;
        }
        Ok(())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_base(f)?;
        self.modifiers.write_at(f)?;
        if let Some(extension) = self.extension {
            write!(f, " {}", extension.as_str())?;
        }
        self.modifiers.write_offset(f)
    }
}

impl Selector {
    /// Name and matchers only.
    fn write_base(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            f.write_str(name)?;
        }
        let own_name = |name: &str, op: MatchOp, value: &str| {
            name == METRIC_NAME && op == MatchOp::Equal && self.name.as_deref() == Some(value)
        };
        let mut parts: Vec<String> = self
            .matchers
            .iter()
            .filter(|m| !own_name(m.name(), m.op(), m.value()))
            .map(ToString::to_string)
            .collect();
        if parts.is_empty() {
            // What no name and no matcher prints would not parse; only `info` accepts it.
            return if self.name.is_none() {
                f.write_str("{}")
            } else {
                Ok(())
            };
        }
        parts.sort();
        write!(f, "{{{}}}", parts.join(","))
    }
}

impl Modifiers {
    fn write_at(&self, f: &mut impl Write) -> fmt::Result {
        match self.at {
            None => Ok(()),
            Some(At::Time(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
            Some(At::Start) => f.write_str(" @ start()"),
            Some(At::End) => f.write_str(" @ end()"),
        }
    }

    fn write_offset(&self, f: &mut impl Write) -> fmt::Result {
        match &self.offset {
            DurationSpec::Fixed(0) => Ok(()),
            offset => write!(f, " offset {offset}"),
        }
    }
}

impl fmt::Display for RangeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector.write_base(f)?;
        write!(f, "[{}]", self.range)?;
        if let Some(extension) = self.selector.extension {
            write!(f, " {}", extension.as_str())?;
        }
        self.selector.modifiers.write_at(f)?;
        self.selector.modifiers.write_offset(f)
    }
}

impl fmt::Display for Subquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operand)?;
        self.write_suffix(f)
    }
}

impl Subquery {
    /// What is behind the operand.
    pub(super) fn write_suffix(&self, f: &mut impl Write) -> fmt::Result {
        write!(f, "[{}:", self.range)?;
        if let Some(step) = &self.step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        self.modifiers.write_at(f)?;
        self.modifiers.write_offset(f)
    }
}

/// A number in positional notation, or a duration.
pub(super) fn write_number(
    f: &mut fmt::Formatter<'_>,
    value: f64,
    is_duration: bool,
) -> fmt::Result {
    if is_duration {
        return f.write_str(&format_duration_ms((value * 1000.0).round() as i64));
    }
    let mut text = String::new();
    push_positional(&mut text, value);
    f.write_str(&text)
}

fn write_labels(f: &mut impl Write, labels: &[String]) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        if is_legacy_label_name(label) {
            f.write_str(label)?;
        } else {
            write_quoted(f, label)?;
        }
    }
    Ok(())
}
