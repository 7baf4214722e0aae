//! What stands behind an operand: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use super::literal::fixed_duration;
use super::{Fault, Parse, Parser};
use crate::ast::{
    At, DurationExpr, DurationKind, DurationSpec, Extension, Modifiers, Node, NodeKind,
    RangeSelector, Span, Subquery,
};
use crate::lex::{Keyword, TokenKind};

impl Parser<'_> {
    /// Everything that binds to the operand before it, in any order.
    pub(super) fn postfix(&mut self, mut node: Node) -> Parse<Node> {
        loop {
            node = match self.peek().kind {
                TokenKind::LeftBracket => {
                    let height = self.height;
                    let node = self.bracket(node)?;
                    self.grow_above(height)?;
                    node
                }
                TokenKind::Keyword(Keyword::Offset) => self.offset(node)?,
                TokenKind::At => self.at(node)?,
                TokenKind::Keyword(Keyword::Anchored) => {
                    self.extension(node, Extension::Anchored)?
                }
                TokenKind::Keyword(Keyword::Smoothed) => {
                    self.extension(node, Extension::Smoothed)?
                }
                _ => return Ok(node),
            };
        }
    }

    /// `[range]`, `[range:]` or `[range:step]`.
    fn bracket(&mut self, node: Node) -> Parse<Node> {
        let bracket_start = self.peek().start;
        self.advance();
        let context = (
            "subquery or range selector",
            "number, duration, step(), or range()",
        );
        let range = self.within(context, Self::positive_duration)?;
        if self.take(&TokenKind::RightBracket) {
            return self.range_selector(node, range, bracket_start);
        }
        if !self.take(&TokenKind::Colon) {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let mut step = None;
        if !self.take(&TokenKind::RightBracket) {
            let context = (
                "subquery selector",
                "number, duration, step(), range(), or \"]\"",
            );
            step = Some(self.within(context, Self::positive_duration)?);
            if !self.take(&TokenKind::RightBracket) {
                return Err(self.unexpected("subquery selector", "\"]\""));
            }
        }
        Ok(Node {
            span: self.span_from(node.span.start),
            kind: NodeKind::Subquery(Box::new(Subquery {
                operand: node,
                range,
                step,
                modifiers: Modifiers::default(),
            })),
        })
    }

    fn range_selector(
        &mut self,
        node: Node,
        range: DurationSpec,
        bracket_start: usize,
    ) -> Parse<Node> {
        let fail = |message: &str| Err(Fault::new(self.span_from(bracket_start), message));
        let NodeKind::Selector(selector) = node.kind else {
            return fail("ranges only allowed for vector selectors");
        };
        if !selector.modifiers.offset.is_zero() {
            return fail("no offset modifiers allowed before range");
        }
        if selector.modifiers.at.is_some() {
            return fail("no @ modifiers allowed before range");
        }
        Ok(Node {
            span: self.span_from(node.span.start),
            kind: NodeKind::Range(RangeSelector {
                selector,
                selector_span: node.span,
                range,
            }),
        })
    }

    /// Reads something; errors that do not say where they are say `context`.
    fn within<T>(
        &mut self,
        context: (&'static str, &'static str),
        read: impl FnOnce(&mut Self) -> Parse<T>,
    ) -> Parse<T> {
        self.contexts.push(context);
        let read = read(self);
        self.contexts.pop();
        read
    }

    fn positive_duration(&mut self) -> Parse<DurationSpec> {
        let expr = self.duration_expression(0)?;
        let DurationKind::Number { value, .. } = expr.kind else {
            return Ok(DurationSpec::Expression(Box::new(expr)));
        };
        if value <= 0.0 || value.is_nan() {
            if matches!(self.peek().kind, TokenKind::Error(_)) {
                return Err(self.unexpected("", ""));
            }
            return Err(Fault::new(expr.span, "duration must be greater than 0"));
        }
        Ok(fixed_duration(value))
    }

    fn offset(&mut self, mut node: Node) -> Parse<Node> {
        self.advance();
        let context = ("offset", "number, duration, step(), or range()");
        let offset = match self.within(context, Self::offset_duration)? {
            DurationExpr {
                kind: DurationKind::Number { value, .. },
                ..
            } => fixed_duration(value),
            expr => DurationSpec::Expression(Box::new(expr)),
        };
        let span = node.span;
        let Some(modifiers) = modifiers_of(&mut node) else {
            return Err(Fault::new(
                span,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if !modifiers.offset.is_zero() {
            return Err(Fault::new(span, "offset may not be set multiple times"));
        }
        modifiers.offset = offset;
        node.span = self.span_from(span.start);
        Ok(node)
    }

    fn at(&mut self, mut node: Node) -> Parse<Node> {
        self.advance();
        let at = self.at_time(node.span)?;
        let span = node.span;
        let Some(modifiers) = modifiers_of(&mut node) else {
            return Err(Fault::new(
                span,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if modifiers.at.is_some() {
            return Err(Fault::new(
                span,
                "@ <timestamp> may not be set multiple times",
            ));
        }
        modifiers.at = Some(at);
        node.span = self.span_from(span.start);
        Ok(node)
    }

    fn at_time(&mut self, span: Span) -> Parse<At> {
        let at = match self.peek().kind {
            TokenKind::Keyword(Keyword::Start) => At::Start,
            TokenKind::Keyword(Keyword::End) => At::End,
            TokenKind::Number | TokenKind::Duration | TokenKind::Plus | TokenKind::Minus => {
                let (seconds, _, _) = self.within(("@", "timestamp"), Self::signed_number)?;
                // The nearest floats to the ends of 64 bits.
                let limit = i64::MAX as f64;
                if !(-limit < seconds && seconds < limit) {
                    return Err(Fault::new(
                        span,
                        format!(
                            "timestamp out of bounds for @ modifier: {}",
                            fixed_six(seconds)
                        ),
                    ));
                }
                return Ok(At::Time((seconds * 1000.0).round() as i64));
            }
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        self.advance();
        if self.take(&TokenKind::LeftParen) && self.take(&TokenKind::RightParen) {
            return Ok(at);
        }
        Err(self.unexpected("@", "timestamp"))
    }

    fn extension(&mut self, mut node: Node, extension: Extension) -> Parse<Node> {
        let (span, name) = (node.span, extension.as_str());
        if !self.options.extended_range_selectors {
            return Err(Fault::new(
                span,
                format!("{name} modifier is experimental and not enabled"),
            ));
        }
        let selector = match &mut node.kind {
            NodeKind::Selector(selector) => selector,
            NodeKind::Range(range) => &mut range.selector,
            NodeKind::Subquery(_) => {
                return Err(Fault::new(
                    span,
                    format!("{name} modifier is not supported for subqueries"),
                ));
            }
            _ => {
                return Err(Fault::new(span, format!("{name} modifier not implemented")));
            }
        };
        if selector.extension.is_some_and(|have| have != extension) {
            return Err(Fault::new(
                span,
                "anchored and smoothed modifiers cannot be used together",
            ));
        }
        selector.extension = Some(extension);
        self.advance();
        Ok(node)
    }
}

fn modifiers_of(node: &mut Node) -> Option<&mut Modifiers> {
    match &mut node.kind {
        NodeKind::Selector(selector) => Some(&mut selector.modifiers),
        NodeKind::Range(range) => Some(&mut range.selector.modifiers),
        NodeKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}

/// Go's `%f`.
fn fixed_six(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.6}")
    } else {
        barograph_model::number::go_g(value)
    }
}
