//! Text to tokens: literal text, and what stands between `{{` and `}}`.

/// One piece of a template's source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text that is printed as it is.
    Text(String),
    /// The tokens of one action.
    Action {
        /// Byte offset of its first character behind `{{`.
        start: usize,
        /// Its tokens, without spaces.
        tokens: Vec<Token>,
    },
}

/// One token of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset behind its last character.
    pub end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A word: a keyword, a function, `true`, `nil`.
    Word(String),
    /// `.name`
    Field(String),
    /// `$name`, the dollar included.
    Variable(String),
    /// `.`
    Dot,
    /// A number or a character constant, as written.
    Number(String),
    /// A quoted text, decoded.
    Text(String),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
}

/// An error at a byte offset.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LexError {
    pub at: usize,
    pub message: String,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template into pieces.
pub(super) fn pieces(source: &str) -> Result<Vec<Piece>, LexError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    loop {
        let open = source[at..].find("{{").map(|found| at + found);
        let mut text = &source[at..open.unwrap_or(source.len())];
        if trim_next {
            text = text.trim_start_matches(SPACES);
        }
        let Some(open) = open else {
            push_text(&mut pieces, text);
            return Ok(pieces);
        };
        let mut inside = open + 2;
        let rest = &source[inside..];
        if rest.starts_with('-') && rest[1..].starts_with(SPACES) {
            text = text.trim_end_matches(SPACES);
            inside += 2;
        }
        push_text(&mut pieces, text);
        if source[inside..].starts_with("/*") {
            (at, trim_next) = skip_comment(source, inside)?;
            continue;
        }
        let mut lexer = Lexer {
            source,
            at: inside,
            tokens: Vec::new(),
            depth: 0,
        };
        trim_next = lexer.run(open)?;
        at = lexer.at;
        pieces.push(Piece::Action {
            start: inside,
            tokens: lexer.tokens,
        });
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Returns where text goes on and whether its leading space is cut.
fn skip_comment(source: &str, start: usize) -> Result<(usize, bool), LexError> {
    let fail = |message: &str| LexError {
        at: start,
        message: message.to_owned(),
    };
    let close = source[start..]
        .find("*/")
        .ok_or_else(|| fail("unclosed comment"))?;
    let behind = start + close + 2;
    let rest = &source[behind..];
    if rest.starts_with("}}") {
        return Ok((behind + 2, false));
    }
    if rest.starts_with(SPACES) && rest[1..].starts_with("-}}") {
        return Ok((behind + 4, true));
    }
    Err(fail("comment ends before closing delimiter"))
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
    depth: usize,
}

impl Lexer<'_> {
    /// Reads up to and including `}}`. Returns whether the text behind it is trimmed.
    fn run(&mut self, open: usize) -> Result<bool, LexError> {
        loop {
            let rest = &self.source[self.at..];
            let trimmed = rest.starts_with(SPACES) && rest[1..].starts_with("-}}");
            if trimmed || rest.starts_with("}}") {
                if self.depth > 0 {
                    return Err(self.fail(self.at, "unclosed left paren"));
                }
                self.at += if trimmed { 4 } else { 2 };
                return Ok(trimmed);
            }
            let Some(ch) = rest.chars().next() else {
                return Err(self.fail(open, "unclosed action"));
            };
            if SPACES.contains(&ch) {
                self.at += 1;
                continue;
            }
            self.token(ch)?;
        }
    }

    fn token(&mut self, ch: char) -> Result<(), LexError> {
        let start = self.at;
        let rest = &self.source[start..];
        let second = rest[ch.len_utf8()..].chars().next();
        let single = match ch {
            '|' => Some(TokenKind::Pipe),
            '=' => Some(TokenKind::Assign),
            ',' => Some(TokenKind::Comma),
            '(' => {
                self.depth += 1;
                Some(TokenKind::Open)
            }
            ')' => {
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .ok_or_else(|| self.fail(start, "unexpected right paren"))?;
                Some(TokenKind::Close)
            }
            _ => None,
        };
        if let Some(kind) = single {
            self.push(kind, 1);
            return Ok(());
        }
        match ch {
            ':' if second == Some('=') => self.push(TokenKind::Declare, 2),
            ':' => return Err(self.fail(start, "expected :=")),
            '"' => return self.quoted(start),
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or_else(|| self.fail(start, "unterminated raw quoted string"))?;
                let text = rest[1..=end].to_owned();
                self.push(TokenKind::Text(text), end + 2);
            }
            '\'' => return self.character(start),
            '.' if second.is_some_and(|next| next.is_ascii_digit()) => self.number(rest),
            '.' => match word_length(&rest[1..]) {
                0 => self.push(TokenKind::Dot, 1),
                length => {
                    self.push(TokenKind::Field(rest[1..=length].to_owned()), length + 1);
                }
            },
            '$' => {
                let length = 1 + word_length(&rest[1..]);
                self.push(TokenKind::Variable(rest[..length].to_owned()), length);
            }
            '+' | '-' if second.is_some_and(|next| next.is_ascii_digit() || next == '.') => {
                self.number(rest);
            }
            _ if ch.is_ascii_digit() => self.number(rest),
            _ if is_word(ch) => {
                let length = word_length(rest);
                self.push(TokenKind::Word(rest[..length].to_owned()), length);
            }
            _ => {
                let message = format!("unexpected {:?} in command", ch.to_string());
                return Err(self.fail(start, &message));
            }
        }
        Ok(())
    }

    fn number(&mut self, rest: &str) {
        let mut length = 0;
        let mut before = ' ';
        for ch in rest.chars() {
            let sign = matches!(ch, '+' | '-') && (length == 0 || matches!(before, 'e' | 'E'));
            if !(ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_') || sign) {
                break;
            }
            before = ch;
            length += 1;
        }
        self.push(TokenKind::Number(rest[..length].to_owned()), length);
    }

    fn quoted(&mut self, start: usize) -> Result<(), LexError> {
        let rest = &self.source[start..];
        let length = literal_length(rest, '"')
            .ok_or_else(|| self.fail(start, "unterminated quoted string"))?;
        let text = unquote(&rest[1..length - 1])
            .ok_or_else(|| self.fail(start, "invalid syntax in quoted string"))?;
        self.push(TokenKind::Text(text), length);
        Ok(())
    }

    fn character(&mut self, start: usize) -> Result<(), LexError> {
        let rest = &self.source[start..];
        let length = literal_length(rest, '\'')
            .ok_or_else(|| self.fail(start, "unterminated character constant"))?;
        let text = unquote(&rest[1..length - 1]).unwrap_or_default();
        let mut chars = text.chars();
        let (Some(ch), None) = (chars.next(), chars.next()) else {
            let message = format!("malformed character constant: {}", &rest[..length]);
            return Err(self.fail(start, &message));
        };
        self.push(TokenKind::Number((ch as u32).to_string()), length);
        Ok(())
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let start = self.at;
        self.at += length;
        let end = self.at;
        self.tokens.push(Token { kind, start, end });
    }

    #[expect(clippy::unused_self, reason = "reads as part of the lexer")]
    fn fail(&self, at: usize, message: &str) -> LexError {
        LexError {
            at,
            message: message.to_owned(),
        }
    }
}

fn is_word(ch: char) -> bool {
    ch == '_' || ch.is_alphanumeric()
}

fn word_length(text: &str) -> usize {
    text.find(|ch| !is_word(ch)).unwrap_or(text.len())
}

/// The length of a quoted literal at the start of `text`, quotes included.
fn literal_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, ch) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if ch == '\\' {
            escaped = true;
        } else if ch == '\n' {
            return None;
        } else if ch == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Decodes Go's escapes. `None` where one is malformed.
pub(crate) fn unquote(text: &str) -> Option<String> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        if ch != '\\' {
            out.extend(ch.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        let byte = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '\'' => b'\'',
            '"' => b'"',
            'x' => u8::try_from(take_digits(&mut chars, 2, 16, None)?).ok()?,
            first @ '0'..='7' => u8::try_from(take_digits(&mut chars, 3, 8, Some(first))?).ok()?,
            wide @ ('u' | 'U') => {
                let count = if wide == 'u' { 4 } else { 8 };
                let ch = char::from_u32(take_digits(&mut chars, count, 16, None)?)?;
                out.extend(ch.encode_utf8(&mut [0; 4]).bytes());
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn take_digits(
    chars: &mut std::str::Chars<'_>,
    count: usize,
    radix: u32,
    first: Option<char>,
) -> Option<u32> {
    let rest = count - usize::from(first.is_some());
    let text: String = first.into_iter().chain(chars.by_ref().take(rest)).collect();
    (text.len() == count)
        .then(|| u32::from_str_radix(&text, radix).ok())
        .flatten()
}
