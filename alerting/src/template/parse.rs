//! Tokens to tree.

use std::collections::BTreeMap;

use super::ast::{Arg, ArgKind, BranchKind, Command, Node, Pipe};
use super::functions;
use super::lex::{Piece, Token, TokenKind, pieces};

/// Deepest nesting of blocks and parentheses accepted.
const NESTING_LIMIT: usize = 100;

/// A template that was read, and those it defines.
#[derive(Debug)]
pub(super) struct Parsed {
    pub root: Vec<Node>,
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// What is wrong, and at which byte.
pub(super) struct Fault {
    pub at: usize,
    pub message: String,
}

/// Reads a template.
pub(super) fn parse(source: &str) -> Result<Parsed, Fault> {
    let pieces = pieces(source).map_err(|error| Fault {
        at: error.at,
        message: error.message,
    })?;
    let mut parser = Parser {
        source,
        pieces: pieces.into_iter(),
        variables: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    let (root, end) = parser.list()?;
    if let End::Else(at, _) | End::Stop(at) = end {
        let word = if matches!(end, End::Stop(_)) {
            "end"
        } else {
            "else"
        };
        return Err(fault(at, format!("unexpected {{{{{word}}}}}")));
    }
    Ok(Parsed {
        root,
        defined: parser.defined,
    })
}

struct Parser<'a> {
    source: &'a str,
    pieces: std::vec::IntoIter<Piece>,
    /// Variables in scope.
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of statements.
enum End {
    Source,
    Stop(usize),
    /// `else`, with the tokens behind it.
    Else(usize, Vec<Token>),
}

impl Parser<'_> {
    fn list(&mut self) -> Result<(Vec<Node>, End), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (start, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { start, tokens } => (start, tokens),
            };
            let keyword = match tokens.first().map(|token| &token.kind) {
                Some(TokenKind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = tokens.get(1..).unwrap_or_default();
            match keyword.as_str() {
                "end" => {
                    nothing_behind(rest, "end")?;
                    return Ok((nodes, End::Stop(start)));
                }
                "else" => return Ok((nodes, End::Else(start, rest.to_vec()))),
                "if" => nodes.push(self.branch(BranchKind::If, start, rest)?),
                "with" => nodes.push(self.branch(BranchKind::With, start, rest)?),
                "range" => nodes.push(self.branch(BranchKind::Range, start, rest)?),
                "break" | "continue" => {
                    nothing_behind(rest, &keyword)?;
                    if self.ranges == 0 {
                        let text = format!("{{{{{keyword}}}}} outside {{{{range}}}}");
                        return Err(fault(start, text));
                    }
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "template" => nodes.push(self.call(start, rest)?),
                "define" => self.define(start, rest)?,
                "block" => nodes.push(self.block(start, rest)?),
                _ => {
                    let pipe = self.whole_pipe(&tokens, start, "command")?;
                    nodes.push(Node::Action(pipe));
                }
            }
        }
        Ok((nodes, End::Source))
    }

    fn branch(&mut self, kind: BranchKind, start: usize, tokens: &[Token]) -> Result<Node, Fault> {
        self.enter(start)?;
        let scope = self.variables.len();
        let pipe = self.whole_pipe(tokens, start, kind.as_str())?;
        if pipe.variables.len() > 1 && kind != BranchKind::Range {
            return Err(fault(
                start,
                format!("too many declarations in {}", kind.as_str()),
            ));
        }
        self.ranges += usize::from(kind == BranchKind::Range);
        let (body, end) = self.list()?;
        self.ranges -= usize::from(kind == BranchKind::Range);
        let otherwise = match end {
            End::Stop(_) => Vec::new(),
            End::Source => return Err(fault(self.source.len(), "unexpected EOF".into())),
            End::Else(at, rest) => self.otherwise(kind, at, &rest)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Node::Branch {
            kind,
            pipe,
            body,
            otherwise,
        })
    }

    /// What stands behind `else`: statements up to `end`, or another branch in its place.
    fn otherwise(
        &mut self,
        kind: BranchKind,
        at: usize,
        rest: &[Token],
    ) -> Result<Vec<Node>, Fault> {
        let chained = match (kind, rest.first().map(|token| &token.kind)) {
            (BranchKind::If, Some(TokenKind::Word(word))) => word == "if",
            (BranchKind::With, Some(TokenKind::Word(word))) => word == "with",
            _ => false,
        };
        if chained {
            return Ok(vec![self.branch(kind, at, &rest[1..])?]);
        }
        nothing_behind(rest, "else")?;
        match self.list()? {
            (nodes, End::Stop(_)) => Ok(nodes),
            (_, End::Source) => Err(fault(self.source.len(), "unexpected EOF".into())),
            (_, End::Else(at, _)) => Err(fault(at, "expected end; found {{else}}".into())),
        }
    }

    fn call(&mut self, start: usize, tokens: &[Token]) -> Result<Node, Fault> {
        let name = template_name(start, tokens, "template clause")?;
        let rest = &tokens[1..];
        let pipe = match rest {
            [] => None,
            _ => Some(self.whole_pipe(rest, start, "template clause")?),
        };
        Ok(Node::Call {
            name,
            pipe,
            at: start,
        })
    }

    fn define(&mut self, start: usize, tokens: &[Token]) -> Result<(), Fault> {
        let name = template_name(start, tokens, "define clause")?;
        nothing_behind(&tokens[1..], "define clause")?;
        let nodes = self.definition(start)?;
        self.defined.insert(name, nodes);
        Ok(())
    }

    fn block(&mut self, start: usize, tokens: &[Token]) -> Result<Node, Fault> {
        let name = template_name(start, tokens, "block clause")?;
        let pipe = self.whole_pipe(&tokens[1..], start, "block clause")?;
        let nodes = self.definition(start)?;
        self.defined.insert(name.clone(), nodes);
        Ok(Node::Call {
            name,
            pipe: Some(pipe),
            at: start,
        })
    }

    /// Statements up to `end` that see no variables of those around them.
    fn definition(&mut self, start: usize) -> Result<Vec<Node>, Fault> {
        self.enter(start)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, end) = self.list()?;
        self.variables = outer;
        self.ranges = ranges;
        self.depth -= 1;
        match end {
            End::Stop(_) => Ok(nodes),
            End::Source => Err(fault(self.source.len(), "unexpected EOF".into())),
            End::Else(at, _) => Err(fault(at, "unexpected {{else}} in define clause".into())),
        }
    }

    fn whole_pipe(&mut self, tokens: &[Token], start: usize, context: &str) -> Result<Pipe, Fault> {
        let mut cursor = Cursor { tokens, at: 0 };
        let pipe = self.pipe(&mut cursor, start, context)?;
        match cursor.peek() {
            None => Ok(pipe),
            Some(token) => Err(self.unexpected(token, context)),
        }
    }

    fn pipe(
        &mut self,
        cursor: &mut Cursor<'_>,
        start: usize,
        context: &str,
    ) -> Result<Pipe, Fault> {
        let (variables, assigns) = self.declarations(cursor, context)?;
        let mut commands = vec![self.command(cursor, start, context)?];
        while cursor.take(&TokenKind::Pipe) {
            // Go does not mind a pipe with nothing behind it.
            if cursor.peek().is_none() {
                break;
            }
            commands.push(self.command(cursor, start, context)?);
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            let executable = matches!(
                command.args[0].kind,
                ArgKind::Field(_)
                    | ArgKind::Variable(..)
                    | ArgKind::Function(_)
                    | ArgKind::Chain(..)
                    | ArgKind::Pipe(_)
            );
            if !executable {
                return Err(fault(
                    command.args[0].start,
                    format!("non executable command in pipeline stage {}", stage + 1),
                ));
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe {
            variables,
            assigns,
            commands,
        })
    }

    /// `$x :=`, `$x =`, and `$i, $x :=` in a range.
    fn declarations(
        &mut self,
        cursor: &mut Cursor<'_>,
        context: &str,
    ) -> Result<(Vec<String>, bool), Fault> {
        use TokenKind::{Assign, Comma, Declare, Variable};
        let kinds: Vec<&TokenKind> = cursor.tokens[cursor.at..]
            .iter()
            .take(4)
            .map(|token| &token.kind)
            .collect();
        let (variables, operator, used) = match kinds.as_slice() {
            [Variable(one), op @ (Declare | Assign), ..] => (vec![one.clone()], *op, 2),
            [
                Variable(one),
                Comma,
                Variable(two),
                op @ (Declare | Assign),
                ..,
            ] => {
                if context != "range" {
                    let start = cursor.tokens[cursor.at].start;
                    return Err(fault(start, format!("too many declarations in {context}")));
                }
                (vec![one.clone(), two.clone()], *op, 4)
            }
            [Variable(_), Comma, Variable(_), Comma, ..] => {
                let start = cursor.tokens[cursor.at].start;
                return Err(fault(start, format!("too many declarations in {context}")));
            }
            _ => return Ok((Vec::new(), false)),
        };
        let assigns = *operator == Assign;
        for variable in &variables {
            if assigns && !self.variables.contains(variable) {
                let start = cursor.tokens[cursor.at].start;
                return Err(fault(start, format!("undefined variable {variable:?}")));
            }
        }
        cursor.at += used;
        Ok((variables, assigns))
    }

    fn command(
        &mut self,
        cursor: &mut Cursor<'_>,
        start: usize,
        context: &str,
    ) -> Result<Command, Fault> {
        let mut args: Vec<Arg> = Vec::new();
        while let Some(token) = cursor.peek() {
            if matches!(token.kind, TokenKind::Pipe | TokenKind::Close) {
                break;
            }
            if args.last().is_some_and(|last| last.end == token.start) {
                return Err(self.unexpected(token, "operand"));
            }
            args.push(self.operand(cursor, context)?);
        }
        if args.is_empty() {
            return Err(match cursor.peek() {
                Some(token) if token.kind == TokenKind::Pipe => self.unexpected(token, context),
                _ => fault(start, format!("missing value for {context}")),
            });
        }
        Ok(Command { args })
    }

    fn operand(&mut self, cursor: &mut Cursor<'_>, context: &str) -> Result<Arg, Fault> {
        let Some(token) = cursor.next() else {
            return Err(fault(
                self.source.len(),
                format!("missing value for {context}"),
            ));
        };
        let mut end = token.end;
        let kind = match &token.kind {
            TokenKind::Word(word) => match word.as_str() {
                "true" => ArgKind::Bool(true),
                "false" => ArgKind::Bool(false),
                "nil" => ArgKind::Nil,
                name if functions::exists(name) => ArgKind::Function(name.to_owned()),
                name => {
                    let text = format!("function {name:?} not defined");
                    return Err(fault(token.start, text));
                }
            },
            TokenKind::Dot => ArgKind::Dot,
            TokenKind::Field(name) => ArgKind::Field(vec![name.clone()]),
            TokenKind::Variable(name) => {
                if !self.variables.contains(name) {
                    return Err(fault(token.start, format!("undefined variable {name:?}")));
                }
                ArgKind::Variable(name.clone(), Vec::new())
            }
            TokenKind::Number(text) => number(text)
                .ok_or_else(|| fault(token.start, format!("bad number syntax: {text:?}")))?,
            TokenKind::Text(text) => ArgKind::Text(text.clone()),
            TokenKind::Open => {
                self.enter(token.start)?;
                let pipe = self.pipe(cursor, token.start, "parenthesized pipeline")?;
                self.depth -= 1;
                match cursor.next() {
                    Some(close) if close.kind == TokenKind::Close => end = close.end,
                    Some(other) => return Err(self.unexpected(&other.clone(), "operand")),
                    None => return Err(fault(token.start, "unclosed left paren".into())),
                }
                ArgKind::Pipe(Box::new(pipe))
            }
            _ => return Err(self.unexpected(&token.clone(), "operand")),
        };
        let mut arg = Arg {
            kind,
            start: token.start,
            end,
        };
        let mut fields = Vec::new();
        while let Some(next) = cursor.peek()
            && next.start == arg.end
            && let TokenKind::Field(name) = &next.kind
        {
            fields.push(name.clone());
            arg.end = next.end;
            cursor.at += 1;
        }
        if fields.is_empty() {
            return Ok(arg);
        }
        match &mut arg.kind {
            ArgKind::Field(names) | ArgKind::Variable(_, names) => names.extend(fields),
            ArgKind::Bool(_)
            | ArgKind::Nil
            | ArgKind::Dot
            | ArgKind::Int(_)
            | ArgKind::Float(_)
            | ArgKind::TooLarge
            | ArgKind::Text(_) => {
                let text = &self.source[arg.start..arg.end];
                return Err(fault(
                    arg.start,
                    format!("unexpected . after term {text:?}"),
                ));
            }
            _ => {
                let (start, end) = (arg.start, arg.end);
                arg = Arg {
                    kind: ArgKind::Chain(Box::new(arg), fields),
                    start,
                    end,
                };
            }
        }
        Ok(arg)
    }

    fn enter(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > NESTING_LIMIT {
            return Err(fault(at, format!("nested deeper than {NESTING_LIMIT}")));
        }
        Ok(())
    }

    fn unexpected(&self, token: &Token, context: &str) -> Fault {
        let text = &self.source[token.start..token.end];
        fault(token.start, format!("unexpected {text:?} in {context}"))
    }
}

struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at);
        self.at += usize::from(token.is_some());
        token
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        self.at += usize::from(found);
        found
    }
}

fn template_name(start: usize, tokens: &[Token], context: &str) -> Result<String, Fault> {
    match tokens.first().map(|token| &token.kind) {
        Some(TokenKind::Text(name)) => Ok(name.clone()),
        _ => Err(fault(start, format!("missing name in {context}"))),
    }
}

fn nothing_behind(tokens: &[Token], context: &str) -> Result<(), Fault> {
    match tokens.first() {
        None => Ok(()),
        Some(token) => Err(fault(
            token.start,
            format!("unexpected operand in {context}"),
        )),
    }
}

fn fault(at: usize, message: String) -> Fault {
    Fault { at, message }
}

/// A constant: a float if it is written as one, an integer otherwise (also `0x`, `0o`, `0b`).
fn number(text: &str) -> Option<ArgKind> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let plain = digits.replace('_', "");
    let (radix, number) = match plain.get(..2) {
        Some("0x" | "0X") => (16, &plain[2..]),
        Some("0o" | "0O") => (8, &plain[2..]),
        Some("0b" | "0B") => (2, &plain[2..]),
        Some(_) if plain.starts_with('0') && plain.bytes().all(|b| b.is_ascii_digit()) => {
            (8, &plain[1..])
        }
        _ => (10, plain.as_str()),
    };
    if let Ok(value) = i64::from_str_radix(number, radix) {
        return Some(ArgKind::Int(if negative { -value } else { value }));
    }
    if !plain.starts_with(|ch: char| ch.is_ascii_digit() || ch == '.') {
        return None;
    }
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(ArgKind::TooLarge);
    }
    let value: f64 = plain.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(ArgKind::Float(if negative { -value } else { value }))
}
