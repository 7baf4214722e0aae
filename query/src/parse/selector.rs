//! Vector selectors: a name, conditions in braces.

use barograph_model::{METRIC_NAME, MatchOp, Matcher};

use super::{Fault, Parse, Parser};
use crate::ast::{Modifiers, Node, NodeKind, Selector, Span};
use crate::lex::TokenKind;

impl Parser<'_> {
    /// A selector that begins with the name that comes next.
    pub(super) fn named_selector(&mut self) -> Parse<Node> {
        self.selector(Some(self.span_of_next()))
    }

    /// A selector; `name` is where its name stands, if it has one before the braces.
    pub(super) fn selector(&mut self, name: Option<Span>) -> Parse<Node> {
        let start = self.peek().start;
        let name = name.map(|span| {
            self.advance();
            self.text[span.start..span.end].to_owned()
        });
        let mut matchers = Vec::new();
        if self.take(&TokenKind::LeftBrace) {
            self.matchers(&mut matchers)?;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        Ok(Node {
            span: self.span_from(start),
            kind: NodeKind::Selector(Selector {
                name,
                matchers,
                modifiers: Modifiers::default(),
                extension: None,
            }),
        })
    }

    /// What stands between the braces, and the closing one.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parse<()> {
        if self.take(&TokenKind::RightBrace) {
            return Ok(());
        }
        loop {
            matchers.push(self.matcher()?);
            if self.take(&TokenKind::RightBrace) {
                return Ok(());
            }
            if !self.take(&TokenKind::Comma) {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
            if self.take(&TokenKind::RightBrace) {
                return Ok(());
            }
        }
    }

    fn matcher(&mut self) -> Parse<Matcher> {
        const CONTEXT: &str = "label matching";
        let start = self.peek().start;
        let (name, quoted) = match self.peek().kind {
            TokenKind::Identifier => {
                let name = self.peek().text.to_owned();
                self.advance();
                (name, false)
            }
            TokenKind::String => (self.string()?.value, true),
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        let op = match self.peek().kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::NotEqual => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            TokenKind::Comma | TokenKind::RightBrace if quoted => {
                return Ok(Matcher::equal(METRIC_NAME, &name));
            }
            _ if quoted => return Err(self.unexpected(CONTEXT, "\",\" or \"}\"")),
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.advance();
        if self.peek().kind != TokenKind::String {
            return Err(self.unexpected(CONTEXT, "string"));
        }
        let value = self.string()?.value;
        let span = self.span_from(start);
        Matcher::new(&name, op, &value)
            .map_err(|e| Fault::new(span, format!("error parsing regexp: {}", e.reason)))
    }
}
