//! RE2's syntax as Go's `regexp/syntax` reads it with the flags Perl and DotNL, into the HIR that
//! `regex-automata` compiles.
//!
//! Rust's own front end would refuse patterns Go takes (`{x}`, `[\w-,]`, `\Q…\E`, `[[a]`, `\101`),
//! take patterns Go refuses (`a{1001}`, `(?x)`), and read some differently without a word (`\d` and
//! `\w` beyond ASCII, `[a&&b]`). What is accepted, and the words of the errors, follow
//! <https://pkg.go.dev/regexp/syntax>. The one deliberate difference: nesting ends at
//! [`NESTING_LIMIT`] levels, where Go goes on to 1,000.

use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, Look, Repetition,
};

use super::class;

/// Deepest nesting of groups.
pub(super) const NESTING_LIMIT: usize = 250;
/// Highest count of a repetition, nested ones multiplied.
const REPEAT_LIMIT: u32 = 1_000;

/// What a pattern means.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of groups with their indexes. Go lets several groups share a name, `regex-automata`
    /// does not, so that the HIR's groups have none.
    pub(super) names: Vec<(String, u32)>,
}

/// Reads a pattern.
///
/// # Errors
/// Go's code and the part of the pattern it names, as `code: \`part\``.
pub(super) fn parse(pattern: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        rest: pattern,
        flags: Flags {
            fold_case: false,
            multi_line: false,
            dot_newline: true,
            swap_greed: false,
        },
        captures: 0,
        names: Vec::new(),
        depth: 0,
    };
    let parsed = parser.alternation()?;
    if parser.rest.is_empty() {
        let names = parser
            .names
            .into_iter()
            .map(|(n, index)| (n.to_owned(), index))
            .collect();
        Ok(Parsed {
            hir: parsed.hir,
            names,
        })
    } else {
        // Only a parenthesis ends an alternation early.
        Err(fail("unexpected )", pattern))
    }
}

/// The flags `(?imsU)` sets.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of RE2's flags")]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_newline: bool,
    swap_greed: bool,
}

/// A parsed part, with how often its most repeated piece is repeated.
struct Part {
    hir: Hir,
    repeats: u32,
}

impl Part {
    fn new(hir: Hir) -> Self {
        Self { hir, repeats: 1 }
    }
}

pub(super) struct Parser<'a> {
    pub(super) rest: &'a str,
    flags: Flags,
    captures: u32,
    names: Vec<(&'a str, u32)>,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Everything up to the end or an unopened `)`.
    fn alternation(&mut self) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > NESTING_LIMIT {
            return Err(fail("expression nests too deeply", self.rest));
        }
        let mut branches = Vec::new();
        let mut parts: Vec<Part> = Vec::new();
        let mut repeats = 1;
        // Where the repetition operator just read begins: two in a row are an error.
        let mut last_repeat: Option<&str> = None;
        while let Some(ch) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match ch {
                ')' => break,
                '|' => {
                    self.rest = &self.rest[1..];
                    branches.push(Hir::concat(parts.drain(..).map(|p| p.hir).collect()));
                }
                '(' => {
                    if let Some(group) = self.group()? {
                        parts.push(group);
                    }
                }
                '*' | '+' | '?' => {
                    self.rest = &self.rest[1..];
                    let bounds = match ch {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.repeat(&mut parts, bounds, before, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match repeat_bounds(self.rest) {
                    None => {
                        self.rest = &self.rest[1..];
                        parts.push(Part::new(self.literal('{')));
                    }
                    Some((bounds, rest)) => {
                        self.rest = rest;
                        let bounds = bounds
                            .ok_or_else(|| fail("invalid repeat count", upto(before, rest)))?;
                        self.repeat(&mut parts, bounds, before, last_repeat)?;
                        repeat = Some(before);
                    }
                },
                '\\' => self.escaped(&mut parts)?,
                _ => {
                    let hir = self.single(ch)?;
                    parts.push(Part::new(hir));
                }
            }
            repeats = parts
                .iter()
                .map(|p| p.repeats)
                .max()
                .unwrap_or(1)
                .max(repeats);
            last_repeat = repeat;
        }
        self.depth -= 1;
        branches.push(Hir::concat(parts.into_iter().map(|p| p.hir).collect()));
        Ok(Part {
            hir: Hir::alternation(branches),
            repeats,
        })
    }

    /// One character that is neither an operator nor a backslash.
    fn single(&mut self, ch: char) -> Result<Hir, String> {
        if ch == '[' {
            let set = class::bracketed(self)?;
            return Ok(Hir::class(Class::Unicode(set.finish())));
        }
        self.rest = &self.rest[ch.len_utf8()..];
        Ok(match ch {
            '^' if self.flags.multi_line => Hir::look(Look::StartLF),
            '^' => Hir::look(Look::Start),
            '$' if self.flags.multi_line => Hir::look(Look::EndLF),
            '$' => Hir::look(Look::End),
            '.' if self.flags.dot_newline => Hir::dot(Dot::AnyChar),
            '.' => Hir::dot(Dot::AnyCharExceptLF),
            ch => self.literal(ch),
        })
    }

    fn literal(&self, ch: char) -> Hir {
        if self.flags.fold_case {
            let mut set = ClassUnicode::new([ClassUnicodeRange::new(ch, ch)]);
            set.case_fold_simple();
            return Hir::class(Class::Unicode(set));
        }
        Hir::literal(ch.to_string().into_bytes())
    }

    /// A group, or nothing where only flags were set.
    fn group(&mut self) -> Result<Option<Part>, String> {
        let open = self.rest;
        let outer = self.flags;
        let mut capture = None;
        if open.starts_with("(?") {
            if let Some(name) = self.group_name()? {
                self.captures += 1;
                self.names.push((name, self.captures));
                capture = Some(self.captures);
            } else if !self.group_flags()? {
                return Ok(None);
            }
        } else {
            self.rest = &open[1..];
            self.captures += 1;
            capture = Some(self.captures);
        }
        let inner = self.alternation()?;
        let Some(rest) = self.rest.strip_prefix(')') else {
            return Err(MISSING_PAREN.to_owned());
        };
        self.rest = rest;
        self.flags = outer;
        let hir = match capture {
            None => inner.hir,
            Some(index) => Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(inner.hir),
            }),
        };
        Ok(Some(Part {
            hir,
            repeats: inner.repeats,
        }))
    }

    /// The name of `(?P<name>` or `(?<name>`, read up to the `>`.
    fn group_name(&mut self) -> Result<Option<&'a str>, String> {
        let open = self.rest;
        let start = match () {
            () if open.len() > 4 && open.starts_with("(?P<") => 4,
            () if open.len() > 3 && open.starts_with("(?<") => 3,
            () => return Ok(None),
        };
        let end = open
            .find('>')
            .ok_or_else(|| fail("invalid named capture", open))?;
        let name = &open[start..end];
        let valid =
            !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
        if !valid {
            return Err(fail("invalid named capture", &open[..=end]));
        }
        self.rest = &open[end + 1..];
        Ok(Some(name))
    }

    /// Reads `(?flags:` (true: a group begins) or `(?flags)` (false).
    fn group_flags(&mut self) -> Result<bool, String> {
        let open = self.rest;
        let mut flags = self.flags;
        let (mut on, mut seen) = (true, false);
        for (at, ch) in open.char_indices().skip(2) {
            match ch {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                ':' | ')' if on || seen => {
                    self.rest = &open[at + 1..];
                    // A group gives them back at its end; `(?i)` keeps them.
                    self.flags = flags;
                    return Ok(ch == ':');
                }
                _ => {
                    let upto = at + ch.len_utf8();
                    return Err(fail("invalid or unsupported Perl syntax", &open[..upto]));
                }
            }
            seen = true;
        }
        Err(fail("invalid or unsupported Perl syntax", open))
    }

    /// Applies a repetition operator to the part before it.
    fn repeat(
        &mut self,
        parts: &mut Vec<Part>,
        (min, max): (u32, Option<u32>),
        before: &str,
        last_repeat: Option<&str>,
    ) -> Result<(), String> {
        let mut greedy = !self.flags.swap_greed;
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            greedy = !greedy;
        }
        if let Some(last) = last_repeat {
            return Err(fail(
                "invalid nested repetition operator",
                upto(last, self.rest),
            ));
        }
        let Some(sub) = parts.pop() else {
            return Err(fail(
                "missing argument to repetition operator",
                upto(before, self.rest),
            ));
        };
        // `*`, `+` and `?` copy nothing; only counts multiply.
        let copies = if before.starts_with('{') {
            max.unwrap_or(min).max(1)
        } else {
            1
        };
        let repeats = sub.repeats.saturating_mul(copies);
        if copies > 1 && repeats > REPEAT_LIMIT {
            return Err(fail("invalid repeat count", upto(before, self.rest)));
        }
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy,
            sub: Box::new(sub.hir),
        });
        parts.push(Part { hir, repeats });
        Ok(())
    }

    /// A backslash and what it escapes.
    fn escaped(&mut self, parts: &mut Vec<Part>) -> Result<(), String> {
        let look = match self.rest.as_bytes().get(1) {
            Some(b'A') => Some(Look::Start),
            Some(b'z') => Some(Look::End),
            Some(b'b') => Some(Look::WordAscii),
            Some(b'B') => Some(Look::WordAsciiNegate),
            Some(b'Q') => {
                let quoted = &self.rest[2..];
                let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                self.rest = rest;
                for ch in text.chars() {
                    parts.push(Part::new(self.literal(ch)));
                }
                return Ok(());
            }
            _ => None,
        };
        if let Some(look) = look {
            self.rest = &self.rest[2..];
            parts.push(Part::new(Hir::look(look)));
            return Ok(());
        }
        if let Some(set) = class::escape(self)? {
            let set = set.folded(self.flags.fold_case).finish();
            parts.push(Part::new(Hir::class(Class::Unicode(set))));
            return Ok(());
        }
        let hir = match self.escaped_char()? {
            Some(ch) => self.literal(ch),
            // A surrogate: no text holds one.
            None => Hir::fail(),
        };
        parts.push(Part::new(hir));
        Ok(())
    }

    /// Whether `(?i)` is on.
    pub(super) fn folds_case(&self) -> bool {
        self.flags.fold_case
    }

    /// A backslash that stands for one character; `None` for a surrogate's number.
    pub(super) fn escaped_char(&mut self) -> Result<Option<char>, String> {
        let start = self.rest;
        let mut chars = start.chars();
        chars.next();
        let Some(ch) = chars.next() else {
            return Err(fail("trailing backslash at end of expression", ""));
        };
        let mut invalid_upto = chars.as_str();
        let code = match ch {
            '0'..='7' if ch == '0' || chars.as_str().starts_with(|c| ('0'..='7').contains(&c)) => {
                let digits = start[1..]
                    .bytes()
                    .take(3)
                    .take_while(|b| (b'0'..=b'7').contains(b));
                let count = digits.count();
                chars = start[1 + count..].chars();
                u32::from_str_radix(&start[1..=count], 8).ok()
            }
            'x' => {
                let code = hexadecimal(&mut chars);
                invalid_upto = chars.as_str();
                code
            }
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            ch if ch.is_ascii() && !ch.is_ascii_alphanumeric() => Some(ch as u32),
            _ => None,
        };
        let Some(code) = code else {
            return Err(fail("invalid escape sequence", upto(start, invalid_upto)));
        };
        self.rest = chars.as_str();
        Ok(char::from_u32(code))
    }
}

/// What is said where a group is not closed; the caller's pattern belongs behind it.
pub(super) const MISSING_PAREN: &str = "missing closing )";

/// An error as Go words it.
pub(super) fn fail(code: &str, part: &str) -> String {
    format!("{code}: `{part}`")
}

/// The text from where `before` begins to where `rest`, a tail of it, begins.
pub(super) fn upto<'t>(before: &'t str, rest: &str) -> &'t str {
    &before[..before.len() - rest.len()]
}

/// `XX` or `{X…}` behind `\x`.
fn hexadecimal(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let first = chars.next()?;
    if first != '{' {
        let second = chars.next()?;
        return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
    }
    let mut code = None;
    loop {
        let ch = chars.next()?;
        if ch == '}' {
            return code;
        }
        let next = code.unwrap_or(0) * 16 + ch.to_digit(16)?;
        if next > u32::from(char::MAX) {
            return None;
        }
        code = Some(next);
    }
}

/// Bounds of a repetition: none where a number is too large or they are reversed.
type Bounds = Option<(u32, Option<u32>)>;

/// The bounds in `{n}`, `{n,}` or `{n,m}` and what follows; `None` where the brace is a literal.
fn repeat_bounds(text: &str) -> Option<(Bounds, &str)> {
    let (min, rest) = count(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(open) if open.starts_with('}') => (None, open),
        Some(open) => {
            let (max, rest) = count(open)?;
            (Some(max), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    let sound = min <= REPEAT_LIMIT && max.is_none_or(|max| max <= REPEAT_LIMIT && min <= max);
    Some((sound.then_some((min, max)), rest))
}

/// A number without leading zeros; beyond 32 bits it saturates.
fn count(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || (digits > 1 && text.starts_with('0')) {
        return None;
    }
    Some((text[..digits].parse().unwrap_or(u32::MAX), &text[digits..]))
}
