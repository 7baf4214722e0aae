//! Tokens to a tree: precedence climbing, one token of lookahead, spans on every node.

mod aggregate;
mod duration;
mod literal;
mod modifier;
mod selector;

use barograph_model::Matcher;

use crate::ast::{
    Binary, BinaryOp, Call, Cardinality, Expr, Matching, Node, NodeKind, Span, StringLiteral,
};
use crate::check;
use crate::error::ParseError;
use crate::functions::Function;
use crate::lex::{Keyword, Token, TokenKind, lex};

pub(crate) use literal::seconds_of_ms;

/// Longest query accepted, bytes.
pub const QUERY_LIMIT_BYTES: usize = 1 << 20;
/// Deepest nesting of parentheses, calls and signs accepted.
pub const NESTING_LIMIT: usize = 100;
/// Highest tree accepted; besides nesting, each operator of a chain puts a node above the others.
pub const HEIGHT_LIMIT: usize = 400;

/// Which parts of PromQL that are behind feature flags are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything.
    pub const ALL: Self = Self {
        experimental_functions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
    };
}

/// Reads an expression; features behind flags are refused.
///
/// # Errors
/// The first thing that does not fit, with its position.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, ParseOptions::default())
}

/// Reads an expression.
///
/// # Errors
/// The first thing that does not fit, with its position.
pub fn parse_with(text: &str, options: ParseOptions) -> Result<Expr, ParseError> {
    let fail = |fault: Fault| fault.in_text(text);
    check_length(text)?;
    let mut parser = Parser::new(text, options);
    let mut root = parser.whole().map_err(fail)?;
    check::check(&mut root).map_err(fail)?;
    Ok(Expr::new(text, root))
}

/// Reads a selector alone, as `match[]` parameters hold it: a name, conditions in braces, nothing
/// else. Whether any condition refuses the empty text is not checked.
///
/// # Errors
/// The first thing that does not fit, with its position.
pub fn parse_selector(text: &str) -> Result<Vec<barograph_model::Matcher>, ParseError> {
    let fail = |fault: Fault| fault.in_text(text);
    check_length(text)?;
    let mut parser = Parser::new(text, ParseOptions::default());
    parser.lone_selector().map_err(fail)
}

fn check_length(text: &str) -> Result<(), ParseError> {
    if text.len() <= QUERY_LIMIT_BYTES {
        return Ok(());
    }
    Err(ParseError {
        message: format!(
            "query of {} bytes is longer than the limit of {QUERY_LIMIT_BYTES} bytes",
            text.len()
        ),
        input: String::new(),
        start: 0,
        end: 0,
    })
}

/// Why parsing stopped, before the text is attached.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
        }
    }

    fn in_text(self, text: &str) -> ParseError {
        ParseError {
            message: self.message,
            input: text.to_owned(),
            start: self.span.start,
            end: self.span.end,
        }
    }
}

type Parse<T> = Result<T, Fault>;

/// Reads tokens into nodes.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// How many expressions are begun and not ended.
    nesting: usize,
    /// The height of the tree read last.
    height: usize,
    options: ParseOptions,
    /// What the parser is inside of, and what would fit there, for errors that say neither.
    contexts: Vec<(&'static str, &'static str)>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: ParseOptions) -> Self {
        Self {
            text,
            tokens: lex(text),
            at: 0,
            nesting: 0,
            height: 0,
            options,
            contexts: Vec::new(),
        }
    }

    fn whole(&mut self) -> Parse<Node> {
        if self.peek().kind == TokenKind::Eof {
            return Err(Fault::new(Span::default(), "no expression found in input"));
        }
        let node = self.expression(0)?;
        if self.peek().kind != TokenKind::Eof {
            return Err(self.unexpected("", ""));
        }
        Ok(node)
    }

    fn lone_selector(&mut self) -> Parse<Vec<Matcher>> {
        let node = match self.peek().kind {
            TokenKind::LeftBrace => self.selector(None)?,
            TokenKind::Identifier | TokenKind::MetricIdentifier => self.named_selector()?,
            TokenKind::WordOperator(op) if op != BinaryOp::Atan2 => self.named_selector()?,
            TokenKind::Keyword(keyword) if keyword.may_be_metric() => self.named_selector()?,
            _ => return Err(self.unexpected("", "")),
        };
        match node.kind {
            NodeKind::Selector(selector) if self.peek().kind == TokenKind::Eof => {
                Ok(selector.matchers)
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    /// An expression whose operators bind at least as tightly as `precedence`.
    fn expression(&mut self, precedence: u8) -> Parse<Node> {
        self.nest()?;
        let mut lhs = self.operand()?;
        while let Some(op) = self.peek().binary_op() {
            if op.precedence() < precedence {
                break;
            }
            let lhs_height = self.height;
            lhs = self.binary(lhs, op)?;
            self.grow_above(lhs_height.max(self.height))?;
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    fn nest(&mut self) -> Parse<()> {
        self.nesting += 1;
        if self.nesting > NESTING_LIMIT {
            let message = format!("expression is nested deeper than {NESTING_LIMIT} levels");
            return Err(Fault::new(self.span_of_next(), message));
        }
        Ok(())
    }

    /// A node stands above a tree of this height.
    fn grow_above(&mut self, height: usize) -> Parse<()> {
        self.height = height + 1;
        if self.height > HEIGHT_LIMIT {
            let message = format!("expression has chains of more than {HEIGHT_LIMIT} operators");
            return Err(Fault::new(self.span_of_next(), message));
        }
        Ok(())
    }

    fn binary(&mut self, lhs: Node, op: BinaryOp) -> Parse<Node> {
        let op_span = self.span_of_next();
        self.advance();
        let (returns_bool, matching) = self.binary_modifiers()?;
        // Only `^` groups to the right.
        let next = op.precedence() + u8::from(op != BinaryOp::Pow);
        let rhs = self.expression(next)?;
        let span = Span {
            start: lhs.span.start,
            end: rhs.span.end,
        };
        if (matching.fill_left.is_some() || matching.fill_right.is_some())
            && !self.options.fill_modifiers
        {
            return Err(Fault::new(
                span,
                "binop fill modifiers are experimental and not enabled",
            ));
        }
        let binary = Binary {
            op,
            op_span,
            returns_bool,
            matching: Some(matching),
            lhs,
            rhs,
        };
        Ok(Node {
            span,
            kind: NodeKind::Binary(Box::new(binary)),
        })
    }

    fn binary_modifiers(&mut self) -> Parse<(bool, Matching)> {
        let mut matching = Matching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let returns_bool = self.take_keyword(Keyword::Bool);
        let on = self.take_keyword(Keyword::On);
        if on || self.take_keyword(Keyword::Ignoring) {
            matching.on = on;
            matching.labels = self.grouping_labels()?;
            let many_left = self.take_keyword(Keyword::GroupLeft);
            if many_left || self.take_keyword(Keyword::GroupRight) {
                matching.cardinality = if many_left {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                let goes_on = self.starts_operand()
                    || matches!(self.peek().kind, TokenKind::Keyword(k) if k.is_fill());
                if self.peek().kind == TokenKind::LeftParen || !goes_on {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        if self.take_keyword(Keyword::Fill) {
            matching.fill_left = Some(self.fill_value()?);
            matching.fill_right = matching.fill_left;
        } else if self.take_keyword(Keyword::FillLeft) {
            matching.fill_left = Some(self.fill_value()?);
            if self.take_keyword(Keyword::FillRight) {
                matching.fill_right = Some(self.fill_value()?);
            }
        } else if self.take_keyword(Keyword::FillRight) {
            matching.fill_right = Some(self.fill_value()?);
            if self.take_keyword(Keyword::FillLeft) {
                matching.fill_left = Some(self.fill_value()?);
            }
        }
        Ok((returns_bool, matching))
    }

    fn fill_value(&mut self) -> Parse<f64> {
        self.expect(&TokenKind::LeftParen)?;
        let (value, _, _) = self.signed_number()?;
        self.expect(&TokenKind::RightParen)?;
        Ok(value)
    }

    /// Something with a sign before it, or something with modifiers behind it.
    fn operand(&mut self) -> Parse<Node> {
        let negative = match self.peek().kind {
            TokenKind::Minus => true,
            TokenKind::Plus => false,
            _ => {
                let node = self.primary()?;
                return self.postfix(node);
            }
        };
        let start = self.peek().start;
        self.advance();
        let operand = self.expression(BinaryOp::Pow.precedence())?;
        self.grow_above(self.height)?;
        let span = Span {
            start,
            end: operand.span.end,
        };
        let kind = match operand.kind {
            NodeKind::Number { value, is_duration } => NodeKind::Number {
                value: if negative { -value } else { value },
                is_duration,
            },
            _ => NodeKind::Unary {
                negative,
                operand: Box::new(operand),
            },
        };
        Ok(Node { span, kind })
    }

    fn primary(&mut self) -> Parse<Node> {
        self.height = 1;
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let start = token.start;
                let (value, is_duration) = self.number()?;
                Ok(Node {
                    span: self.span_from(start),
                    kind: NodeKind::Number { value, is_duration },
                })
            }
            TokenKind::String => {
                let start = token.start;
                let literal = self.string()?;
                Ok(Node {
                    span: self.span_from(start),
                    kind: NodeKind::String(literal),
                })
            }
            TokenKind::LeftParen => {
                let start = token.start;
                self.advance();
                let inner = self.expression(0)?;
                self.expect(&TokenKind::RightParen)?;
                self.grow_above(self.height)?;
                Ok(Node {
                    span: self.span_from(start),
                    kind: NodeKind::Paren(Box::new(inner)),
                })
            }
            TokenKind::LeftBrace => self.selector(None),
            TokenKind::Identifier => {
                if self.peek_second() == &TokenKind::LeftParen {
                    return self.call();
                }
                self.named_selector()
            }
            TokenKind::MetricIdentifier | TokenKind::WordOperator(_) => {
                if token.kind == TokenKind::WordOperator(BinaryOp::Atan2) {
                    return Err(self.unexpected("", ""));
                }
                self.named_selector()
            }
            TokenKind::Keyword(Keyword::Aggregate(op)) => self.aggregate(op),
            TokenKind::Keyword(keyword)
                if keyword.is_function() && self.peek_second() == &TokenKind::LeftParen =>
            {
                self.call()
            }
            TokenKind::Keyword(keyword) if keyword.may_be_metric() => self.named_selector(),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// Whether an expression may begin with the next token.
    fn starts_operand(&self) -> bool {
        match self.peek().kind {
            TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftParen
            | TokenKind::LeftBrace
            | TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Plus
            | TokenKind::Minus => true,
            TokenKind::WordOperator(op) => op != BinaryOp::Atan2,
            TokenKind::Keyword(keyword) => keyword.may_be_metric(),
            _ => false,
        }
    }

    fn call(&mut self) -> Parse<Node> {
        let name_span = self.span_of_next();
        let name = self.peek().text;
        self.advance();
        let args = self.arguments()?;
        let function = Function::named(name)
            .ok_or_else(|| Fault::new(name_span, format!("unknown function with name {name:?}")))?;
        if function.experimental && !self.options.experimental_functions {
            return Err(Fault::new(
                name_span,
                format!("function {name:?} is not enabled"),
            ));
        }
        Ok(Node {
            span: self.span_from(name_span.start),
            kind: NodeKind::Call(Call { function, args }),
        })
    }

    fn arguments(&mut self) -> Parse<Vec<Node>> {
        self.expect(&TokenKind::LeftParen)?;
        let mut args = Vec::new();
        if self.take(&TokenKind::RightParen) {
            return Ok(args);
        }
        let mut height = 0;
        loop {
            args.push(self.expression(0)?);
            height = height.max(self.height);
            self.grow_above(height)?;
            if self.take(&TokenKind::RightParen) {
                return Ok(args);
            }
            let comma = self.span_of_next();
            self.expect(&TokenKind::Comma)?;
            if !self.starts_operand() && !matches!(self.peek().kind, TokenKind::Error(_)) {
                return Err(Fault::new(
                    comma,
                    "trailing commas not allowed in function call args",
                ));
            }
        }
    }

    fn string(&mut self) -> Parse<StringLiteral> {
        let token = self.peek();
        let span = self.span_of_next();
        let bytes = crate::lex::unquote(token.text).map_err(|m| Fault::new(span, m))?;
        self.advance();
        Ok(match String::from_utf8(bytes) {
            Ok(value) => StringLiteral { value, bytes: None },
            Err(error) => StringLiteral {
                value: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                bytes: Some(error.into_bytes()),
            },
        })
    }

    fn peek(&self) -> &Token<'a> {
        // The last token is never passed, so there is always one.
        &self.tokens[self.at]
    }

    fn peek_second(&self) -> &TokenKind {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + 1).min(last)].kind
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let fits = self.peek().kind == *kind;
        if fits {
            self.advance();
        }
        fits
    }

    fn take_keyword(&mut self, keyword: Keyword) -> bool {
        self.take(&TokenKind::Keyword(keyword))
    }

    fn expect(&mut self, kind: &TokenKind) -> Parse<()> {
        if self.take(kind) {
            Ok(())
        } else {
            Err(self.unexpected("", ""))
        }
    }

    fn span_of_next(&self) -> Span {
        let token = self.peek();
        Span {
            start: token.start,
            end: token.end(),
        }
    }

    /// From `start` to the end of the token before the next.
    fn span_from(&self, start: usize) -> Span {
        let end = self.tokens[self.at.saturating_sub(1)].end();
        Span { start, end }
    }

    /// The next token does not fit; a token that is none says why itself.
    fn unexpected(&self, context: &str, expected: &str) -> Fault {
        let token = self.peek();
        let (context, expected) = if context.is_empty() {
            self.contexts.last().copied().unwrap_or_default()
        } else {
            (context, expected)
        };
        if let TokenKind::Error(message) = &token.kind {
            let span = Span {
                start: token.start,
                end: self.text.len(),
            };
            return Fault::new(span, message.clone());
        }
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Fault::new(self.span_of_next(), message)
    }
}

#[cfg(test)]
mod tests;
