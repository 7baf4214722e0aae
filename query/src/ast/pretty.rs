//! Expressions over several lines, for people: what does not fit a line has its parts on lines of
//! their own, indented. The layout is Prometheus's (`promql/parser/prettier_rules.md` there).

use super::{Expr, Node, NodeKind};

/// Longest line, in bytes, that is left as it is.
const LINE_LIMIT_BYTES: usize = 100;
const INDENT: &str = "  ";

impl Expr {
    /// The canonical form, broken into indented lines where it is longer than 100 bytes.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        push(&mut out, &self.root, 0);
        out
    }
}

fn push(out: &mut String, node: &Node, level: usize) {
    let line = node.to_string();
    let fits = line.len() <= LINE_LIMIT_BYTES;
    match &node.kind {
        // The sign stays with its operand.
        NodeKind::Unary { negative, operand } => {
            let mut inner = String::new();
            push(&mut inner, operand, level);
            indent(out, level);
            out.push(if *negative { '-' } else { '+' });
            out.push_str(inner.trim());
        }
        // Prometheus does not indent one that fits.
        NodeKind::Subquery(_) if fits => out.push_str(&line),
        NodeKind::Subquery(subquery) => {
            push(out, &subquery.operand, level);
            // Writing to a string cannot fail.
            let _ = subquery.write_suffix(out);
        }
        NodeKind::Binary(binary) if !fits => {
            push(out, &binary.lhs, level + 1);
            out.push('\n');
            indent(out, level);
            let _ = binary.write_operator(out);
            out.push('\n');
            push(out, &binary.rhs, level + 1);
        }
        NodeKind::Paren(inner) if !fits => enclose(out, "", &[inner], level),
        NodeKind::Call(call) if !fits => {
            enclose(
                out,
                call.function.name,
                &call.args.iter().collect::<Vec<_>>(),
                level,
            );
        }
        NodeKind::Aggregate(aggregate) if !fits => {
            let parts: Vec<&Node> = aggregate.param.iter().chain([&aggregate.operand]).collect();
            let mut head = String::new();
            let _ = aggregate.write_head(&mut head);
            enclose(out, &head, &parts, level);
        }
        _ => {
            indent(out, level);
            out.push_str(&line);
        }
    }
}

/// Writes `head(`, the parts a level deeper, and `)`.
fn enclose(out: &mut String, head: &str, parts: &[&Node], level: usize) {
    indent(out, level);
    out.push_str(head);
    out.push_str("(\n");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        push(out, part, level + 1);
    }
    out.push('\n');
    indent(out, level);
    out.push(')');
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn long_expressions_take_several_lines() {
        let name = "a_metric_with_a_name_of_forty_characters";
        for (text, want) in [
            ("sum by(job)(up)".to_owned(), "sum by (job) (up)".to_owned()),
            (
                format!("{name} + on(job) group_left {name} * -({name})"),
                format!("  {name}\n+ on (job) group_left ()\n  {name} * -({name})"),
            ),
            (
                format!(
                    "topk(3, sum by(a)(rate({name}{{b=\"c\"}}[5m])) / sum by(a)(rate({name}[5m])))"
                ),
                format!(
                    "topk(\n  3,\n    sum by (a) (rate({name}{{b=\"c\"}}[5m]))\n  /\n    sum by (a) (rate({name}[5m]))\n)"
                ),
            ),
            (
                format!("label_replace({name}, \"dst\", \"$1\", \"{name}\", \"({name}.*)\")"),
                format!(
                    "label_replace(\n  {name},\n  \"dst\",\n  \"$1\",\n  \"{name}\",\n  \"({name}.*)\"\n)"
                ),
            ),
            (
                format!("-({name} + {name} + {name})"),
                format!("-(\n    {name} + {name}\n  +\n    {name}\n)"),
            ),
            (
                format!("max_over_time(({name} + {name} + {name})[1h:5m] offset 1m)"),
                format!(
                    "max_over_time(\n  (\n      {name} + {name}\n    +\n      {name}\n  )[1h:5m] offset 1m\n)"
                ),
            ),
        ] {
            let expr = parse(&text).expect("valid");
            assert_eq!(expr.pretty(), want);
            assert_eq!(parse(&want).expect("valid").to_string(), expr.to_string());
        }
    }
}
