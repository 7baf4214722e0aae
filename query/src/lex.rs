//! Text to tokens.
//!
//! Words, numbers, durations and strings are recognised by small grammars; which of them may come
//! next depends on braces and brackets, which the lexer follows. The whole text is read at once:
//! the first thing that is no token becomes an [`TokenKind::Error`] and ends the list, so that a
//! parser meets earlier mistakes first.

mod grammar;
mod token;

pub(crate) use grammar::{identifier, metric_identifier, quoted, raw_quoted, spaces, unquote};
pub(crate) use token::{Keyword, Token, TokenKind};

use grammar::{Numeric, comment, number_or_duration};

/// Reads a text into tokens; the last is [`TokenKind::Eof`] or [`TokenKind::Error`].
pub(crate) fn lex(input: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        input,
        at: 0,
        mode: Mode::Statement,
        parens: 0,
        bracket: false,
        colon: false,
        number_in_bracket: false,
        tokens: Vec::new(),
    };
    while lexer.step() {}
    lexer.tokens
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Statement,
    /// Between `{` and `}`.
    Braces,
    /// Directly behind `[` or `:` inside brackets, until the first number.
    Duration,
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    mode: Mode,
    parens: usize,
    bracket: bool,
    colon: bool,
    number_in_bracket: bool,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    /// Reads one token, space or comment; false at the end.
    fn step(&mut self) -> bool {
        let rest = &self.input[self.at..];
        let spaces = spaces(rest);
        if spaces > 0 {
            self.at += spaces;
            return true;
        }
        if self.mode != Mode::Duration && rest.starts_with('#') {
            self.at += comment(rest);
            return true;
        }
        let Some(first) = rest.chars().next() else {
            return self.end();
        };
        match self.mode {
            Mode::Statement => self.statement(rest, first),
            Mode::Braces => self.braces(rest, first),
            Mode::Duration => self.duration(rest, first),
        }
    }

    fn end(&mut self) -> bool {
        match self.mode {
            Mode::Braces => self.fail("unexpected end of input inside braces".into()),
            Mode::Duration => self.fail("unexpected end of input in duration expression".into()),
            Mode::Statement if self.parens > 0 => self.fail("unclosed left parenthesis".into()),
            Mode::Statement if self.bracket => self.fail("unclosed left bracket".into()),
            Mode::Statement => {
                self.push(TokenKind::Eof, 0);
                false
            }
        }
    }

    fn push(&mut self, kind: TokenKind, length: usize) -> bool {
        let text = &self.input[self.at..self.at + length];
        self.tokens.push(Token {
            kind,
            text,
            start: self.at,
        });
        self.at += length;
        true
    }

    fn fail(&mut self, message: String) -> bool {
        self.tokens.push(Token {
            kind: TokenKind::Error(message),
            text: "",
            start: self.at,
        });
        false
    }

    fn statement(&mut self, rest: &'a str, first: char) -> bool {
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '=' if second == Some('~') => {
                self.fail("unexpected character after '=': '~'".to_owned())
            }
            '!' if second != Some('=') => {
                let second = second.map_or("'\u{fffd}'".to_owned(), quoted_char);
                self.fail(format!("unexpected character after '!': {second}"))
            }
            '0'..='9' => self.number_or_duration(rest),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(rest),
            '"' | '\'' | '`' => self.string(rest, first),
            'a'..='z' | 'A'..='Z' | '_' | ':' if !self.bracket => self.word(rest),
            'a'..='z' | 'A'..='Z' | '_' | ':' => self.word_in_brackets(rest, first),
            '(' | ')' => self.paren(first),
            '{' => {
                self.mode = Mode::Braces;
                self.push(TokenKind::LeftBrace, 1)
            }
            '[' if self.bracket => self.fail("unexpected left bracket '['".into()),
            '[' => {
                self.bracket = true;
                self.colon = false;
                self.mode = Mode::Duration;
                self.push(TokenKind::LeftBracket, 1)
            }
            ']' if !self.bracket => self.fail("unexpected right bracket ']'".into()),
            ']' => {
                self.bracket = false;
                self.push(TokenKind::RightBracket, 1)
            }
            _ => match token::operator(rest) {
                Some((kind, length)) => self.push(kind, length),
                None => self.fail(format!("unexpected character: {}", quoted_char(first))),
            },
        }
    }

    fn braces(&mut self, rest: &'a str, first: char) -> bool {
        match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = identifier(rest);
                self.push(TokenKind::Identifier, length)
            }
            ',' => self.push(TokenKind::Comma, 1),
            '"' | '\'' | '`' => self.string(rest, first),
            '=' if rest.starts_with("=~") => self.push(TokenKind::EqualRegex, 2),
            '=' => self.push(TokenKind::Assign, 1),
            '!' if rest.starts_with("!~") => self.push(TokenKind::NotEqualRegex, 2),
            '!' if rest.starts_with("!=") => self.push(TokenKind::NotEqual, 2),
            '!' => {
                let second = rest[1..]
                    .chars()
                    .next()
                    .map_or("'\u{fffd}'".into(), quoted_char);
                self.fail(format!(
                    "unexpected character after '!' inside braces: {second}"
                ))
            }
            '{' => self.fail("unexpected left brace '{'".into()),
            '}' => {
                self.mode = Mode::Statement;
                self.push(TokenKind::RightBrace, 1)
            }
            _ => self.fail(format!(
                "unexpected character inside braces: {}",
                quoted_char(first)
            )),
        }
    }

    fn duration(&mut self, rest: &'a str, first: char) -> bool {
        match first {
            ']' => {
                self.bracket = false;
                self.colon = false;
                self.mode = Mode::Statement;
                self.push(TokenKind::RightBracket, 1)
            }
            // Prometheus points behind the colon.
            ':' if !self.number_in_bracket => {
                self.at += 1;
                self.fail("unexpected colon before duration in duration expression".into())
            }
            ':' if self.colon => {
                self.at += 1;
                self.fail("unexpected repeated colon in duration expression".into())
            }
            ':' => {
                self.colon = true;
                self.push(TokenKind::Colon, 1)
            }
            '(' | ')' => self.paren(first),
            '+' | '-' | '*' | '/' | '%' | '^' | ',' => match token::operator(&rest[..1]) {
                Some((kind, length)) => self.push(kind, length),
                None => self.fail(format!("unexpected character: {}", quoted_char(first))),
            },
            '0'..='9' | '.' => {
                if first == '.' && !rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
                    return self.fail(unexpected_in_duration(first));
                }
                self.number_in_bracket = true;
                self.mode = Mode::Statement;
                self.number_or_duration(rest)
            }
            'a'..='z' | 'A'..='Z' => self
                .duration_keyword(rest)
                .unwrap_or_else(|| self.fail(unexpected_in_duration(first))),
            _ => self.fail(unexpected_in_duration(first)),
        }
    }

    fn paren(&mut self, ch: char) -> bool {
        if ch == '(' {
            self.parens += 1;
            return self.push(TokenKind::LeftParen, 1);
        }
        if self.parens == 0 {
            // Behind it, as Prometheus points.
            self.at += 1;
            return self.fail("unexpected right parenthesis ')'".into());
        }
        self.parens -= 1;
        self.push(TokenKind::RightParen, 1)
    }

    fn number_or_duration(&mut self, rest: &'a str) -> bool {
        match number_or_duration(rest) {
            Numeric::Number(length) => self.push(TokenKind::Number, length),
            Numeric::Duration(length) => self.push(TokenKind::Duration, length),
            Numeric::Neither(length) => self.fail(format!(
                "bad number or duration syntax: {:?}",
                &rest[..length]
            )),
        }
    }

    fn string(&mut self, rest: &'a str, quote: char) -> bool {
        let read = if quote == '`' {
            raw_quoted(rest)
        } else {
            quoted(rest, quote)
        };
        match read {
            Ok(length) => self.push(TokenKind::String, length),
            Err(message) => self.fail(message),
        }
    }

    fn word(&mut self, rest: &'a str) -> bool {
        let length = metric_identifier(rest);
        let word = &rest[..length];
        let kind = match Keyword::from_word(word) {
            Some(fill) if fill.is_fill() => {
                let behind = &rest[length..];
                if behind[spaces(behind)..].starts_with('(') {
                    TokenKind::Keyword(fill)
                } else {
                    TokenKind::Identifier
                }
            }
            Some(keyword) => TokenKind::Keyword(keyword),
            None if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") => {
                TokenKind::Number
            }
            None => token::word_operator(word).unwrap_or(if word.contains(':') {
                TokenKind::MetricIdentifier
            } else {
                TokenKind::Identifier
            }),
        };
        self.push(kind, length)
    }

    fn word_in_brackets(&mut self, rest: &'a str, first: char) -> bool {
        if first == ':' {
            if self.colon {
                return self.fail("unexpected colon ':'".into());
            }
            self.colon = true;
            return self.push(TokenKind::Colon, 1);
        }
        self.duration_keyword(rest).unwrap_or_else(|| {
            self.fail(format!(
                "unexpected character: {}, expected ':'",
                quoted_char(first)
            ))
        })
    }

    /// `step`, `range`, `min_of` or `max_of` inside brackets.
    fn duration_keyword(&mut self, rest: &'a str) -> Option<bool> {
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let length = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let keyword = Keyword::from_word(&rest[..length]).filter(|k| k.is_duration_function())?;
        Some(self.push(TokenKind::Keyword(keyword), length))
    }
}

fn unexpected_in_duration(ch: char) -> String {
    format!(
        "unexpected character in duration expression: {}",
        quoted_char(ch)
    )
}

/// A character as Go's `%q` shows it.
fn quoted_char(ch: char) -> String {
    let escaped = match ch {
        '\'' | '\\' => format!("\\{ch}"),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        ' ' => " ".to_owned(),
        ch if !ch.is_control() && !ch.is_whitespace() => ch.to_string(),
        ch => match u32::from(ch) {
            code @ 0..0x80 => format!("\\x{code:02x}"),
            code @ 0..0x1_0000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
    };
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(input: &str) -> Vec<TokenKind> {
        lex(input).into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn words_numbers_and_durations_are_told_apart() {
        use TokenKind::{Duration, Eof, Identifier, MetricIdentifier, Number};
        assert_eq!(
            kinds("a a:b 1 1m 1h30m 0x1F 1e3 inf 1_000 .5"),
            [
                Identifier,
                MetricIdentifier,
                Number,
                Duration,
                Duration,
                Number,
                Number,
                Number,
                Number,
                Number,
                Eof
            ]
        );
    }

    #[test]
    fn an_error_ends_the_list_where_it_stands() {
        let tokens = lex("foo $ bar");
        let last = tokens.last().expect("a token");
        assert_eq!(
            (last.start, &last.kind),
            (4, &TokenKind::Error("unexpected character: '$'".to_owned()))
        );
    }

    #[test]
    fn keywords_inside_braces_are_label_names() {
        assert_eq!(kinds("{by=\"x\"}")[1], TokenKind::Identifier);
    }
}
