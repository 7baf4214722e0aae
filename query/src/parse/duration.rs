//! Duration expressions: arithmetic in brackets and behind `offset`.

use super::{Fault, Parse, Parser};
use crate::ast::{BinaryOp, DurationExpr, DurationKind, DurationOp, Span};
use crate::lex::{Keyword, TokenKind};

/// Seconds that 64 bits of nanoseconds hold.
const LIMIT_SECONDS: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    /// A duration expression whose operators bind at least as tightly as `precedence`.
    pub(super) fn duration_expression(&mut self, precedence: u8) -> Parse<DurationExpr> {
        self.nest()?;
        let mut operators = 0;
        let mut lhs = self.duration_operand()?;
        while let Some((op, op_precedence)) = self.duration_operator() {
            if op_precedence < precedence {
                break;
            }
            operators += 1;
            self.grow_above(operators)?;
            let op_span = self.span_of_next();
            self.advance();
            let next = op_precedence + u8::from(op != DurationOp::Pow);
            let rhs = self.duration_expression(next)?;
            if let DurationKind::Number { value: 0.0, .. } = rhs.kind
                && !matches!(self.peek().kind, TokenKind::Error(_))
            {
                match op {
                    DurationOp::Div => return Err(Fault::new(op_span, "division by zero")),
                    DurationOp::Mod => return Err(Fault::new(op_span, "modulo by zero")),
                    _ => {}
                }
            }
            lhs = DurationExpr {
                span: Span {
                    start: lhs.span.start,
                    end: rhs.span.end,
                },
                kind: DurationKind::Binary {
                    op,
                    lhs: Box::new(lhs),
                    rhs: Box::new(rhs),
                },
                in_parens: false,
            };
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    /// What may stand behind `offset` without parentheses.
    pub(super) fn offset_duration(&mut self) -> Parse<DurationExpr> {
        let start = self.peek().start;
        let negative = match self.peek().kind {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => return self.duration_primary(),
        };
        self.advance();
        self.nest()?;
        let operand = self.offset_duration()?;
        self.nesting -= 1;
        signed(negative, operand, start)
    }

    fn duration_operator(&self) -> Option<(DurationOp, u8)> {
        let op = self.peek().binary_op()?;
        let duration_op = match op {
            BinaryOp::Add => DurationOp::Add,
            BinaryOp::Sub => DurationOp::Sub,
            BinaryOp::Mul => DurationOp::Mul,
            BinaryOp::Div => DurationOp::Div,
            BinaryOp::Mod => DurationOp::Mod,
            BinaryOp::Pow => DurationOp::Pow,
            _ => return None,
        };
        Some((duration_op, op.precedence()))
    }

    fn duration_operand(&mut self) -> Parse<DurationExpr> {
        let start = self.peek().start;
        let negative = match self.peek().kind {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => return self.duration_primary(),
        };
        self.advance();
        let operand = self.duration_expression(BinaryOp::Pow.precedence())?;
        signed(negative, operand, start)
    }

    fn duration_primary(&mut self) -> Parse<DurationExpr> {
        let start = self.peek().start;
        match self.peek().kind {
            TokenKind::Number | TokenKind::Duration => {
                let (value, is_duration) = self.number()?;
                let span = self.span_from(start);
                check_limit(value, span)?;
                Ok(DurationExpr {
                    span,
                    kind: DurationKind::Number { value, is_duration },
                    in_parens: false,
                })
            }
            TokenKind::LeftParen => {
                self.advance();
                let mut inner = self.duration_expression(0)?;
                self.expect(&TokenKind::RightParen)?;
                if matches!(inner.kind, DurationKind::Number { .. }) {
                    // A sign without effect carries the parentheses, so that they print again.
                    inner = DurationExpr {
                        span: inner.span,
                        kind: DurationKind::Sign {
                            negative: false,
                            operand: Box::new(inner),
                        },
                        in_parens: true,
                    };
                }
                inner.in_parens = true;
                inner.span = self.span_from(start);
                Ok(inner)
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.advance();
                self.expect(&TokenKind::LeftParen)?;
                self.expect(&TokenKind::RightParen)?;
                let kind = if keyword == Keyword::Step {
                    DurationKind::Step
                } else {
                    DurationKind::Range
                };
                Ok(DurationExpr {
                    span: self.span_from(start),
                    kind,
                    in_parens: false,
                })
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.advance();
                self.expect(&TokenKind::LeftParen)?;
                let lhs = Box::new(self.duration_expression(0)?);
                self.expect(&TokenKind::Comma)?;
                let rhs = Box::new(self.duration_expression(0)?);
                self.expect(&TokenKind::RightParen)?;
                let op = if keyword == Keyword::MinOf {
                    DurationOp::MinOf
                } else {
                    DurationOp::MaxOf
                };
                Ok(DurationExpr {
                    span: self.span_from(start),
                    kind: DurationKind::Binary { op, lhs, rhs },
                    in_parens: false,
                })
            }
            _ => Err(self.unexpected("", "")),
        }
    }
}

fn signed(negative: bool, operand: DurationExpr, start: usize) -> Parse<DurationExpr> {
    let span = Span {
        start,
        end: operand.span.end,
    };
    match operand.kind {
        DurationKind::Number { value, is_duration } => {
            let value = if negative { -value } else { value };
            check_limit(value, span)?;
            Ok(DurationExpr {
                span,
                kind: DurationKind::Number { value, is_duration },
                in_parens: false,
            })
        }
        _ if negative => Ok(DurationExpr {
            span,
            kind: DurationKind::Sign {
                negative,
                operand: Box::new(operand),
            },
            in_parens: false,
        }),
        _ => Ok(operand),
    }
}

fn check_limit(value: f64, span: Span) -> Parse<()> {
    // NaN passes here and is refused where the value is used.
    if value.abs() > LIMIT_SECONDS {
        return Err(Fault::new(span, "duration out of range"));
    }
    Ok(())
}
