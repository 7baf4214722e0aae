//! Aggregations and label lists.

use super::{Fault, Parse, Parser};
use crate::ast::{Aggregate, AggregateOp, Node, NodeKind, Span};
use crate::lex::{Keyword, TokenKind};

impl Parser<'_> {
    /// An aggregation, or a selector of a metric called like one.
    pub(super) fn aggregate(&mut self, op: AggregateOp) -> Parse<Node> {
        match self.peek_second() {
            TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {}
            _ => return self.named_selector(),
        }
        let start = self.peek().start;
        self.advance();
        self.contexts.push(("aggregation", ""));
        let mut grouping = self.grouping()?;
        if self.peek().kind != TokenKind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let args = self.arguments()?;
        self.contexts.pop();
        if grouping.is_none() {
            grouping = self.grouping()?;
            if grouping.is_none() && matches!(self.peek().kind, TokenKind::Error(_)) {
                // What is no token shows before what is wrong with the aggregation.
                return Err(self.unexpected("", ""));
            }
        }
        let (without, labels) = grouping.unwrap_or_default();
        let span = self.span_from(start);
        let aggregate = self.assemble(op, without, labels, args, span)?;
        Ok(Node {
            span,
            kind: NodeKind::Aggregate(Box::new(aggregate)),
        })
    }

    fn assemble(
        &self,
        op: AggregateOp,
        without: bool,
        grouping: Vec<String>,
        mut args: Vec<Node>,
        span: Span,
    ) -> Parse<Aggregate> {
        if args.is_empty() {
            return Err(Fault::new(
                span,
                "no arguments for aggregate expression provided",
            ));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return Err(Fault::new(
                span,
                format!(
                    "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                    op.as_str()
                ),
            ));
        }
        let wanted = if op.takes_param() { 2 } else { 1 };
        let wrong = Fault::new(
            span,
            format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            ),
        );
        if args.len() != wanted {
            return Err(wrong);
        }
        let Some(operand) = args.pop() else {
            return Err(wrong);
        };
        Ok(Aggregate {
            op,
            without,
            grouping,
            param: args.pop(),
            operand,
        })
    }

    /// `by (…)` or `without (…)`, if it comes next.
    fn grouping(&mut self) -> Parse<Option<(bool, Vec<String>)>> {
        let without = self.take_keyword(Keyword::Without);
        if without || self.take_keyword(Keyword::By) {
            return Ok(Some((without, self.grouping_labels()?)));
        }
        Ok(None)
    }

    /// Label names in parentheses.
    pub(super) fn grouping_labels(&mut self) -> Parse<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let mut labels = Vec::new();
        if !self.take(&TokenKind::LeftParen) {
            return Err(self.unexpected(CONTEXT, "\"(\""));
        }
        if self.take(&TokenKind::RightParen) {
            return Ok(labels);
        }
        loop {
            let span = self.span_of_next();
            let label = match self.peek().kind {
                // Prometheus leaves this one word out.
                TokenKind::Keyword(Keyword::Without) => {
                    return Err(self.unexpected(CONTEXT, "label"));
                }
                TokenKind::Identifier
                | TokenKind::MetricIdentifier
                | TokenKind::Keyword(_)
                | TokenKind::WordOperator(_) => {
                    let label = self.peek().text.to_owned();
                    self.advance();
                    label
                }
                TokenKind::String => {
                    let text = self.string()?;
                    if text.bytes.is_some() {
                        return Err(Fault::new(
                            span,
                            format!("invalid label name for grouping: {text}"),
                        ));
                    }
                    text.value
                }
                _ => return Err(self.unexpected(CONTEXT, "label")),
            };
            if label.is_empty() {
                return Err(Fault::new(
                    span,
                    format!("invalid label name for grouping: {label:?}"),
                ));
            }
            labels.push(label);
            if self.take(&TokenKind::RightParen) {
                return Ok(labels);
            }
            if !self.take(&TokenKind::Comma) {
                return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
            }
            if self.take(&TokenKind::RightParen) {
                return Ok(labels);
            }
        }
    }
}
