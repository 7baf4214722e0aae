//! Regular expressions, always anchored at both ends, `.` matching every character.
//!
//! Prometheus's patterns are RE2's as Go understands them: [`syntax`] reads them, and
//! `regex-automata` runs them in linear time.

mod class;
mod syntax;

use std::fmt;
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Hir, HirKind, Look};

/// Longest pattern accepted, bytes.
pub const PATTERN_LIMIT_BYTES: usize = 64 * 1024;
/// Most memory one compiled pattern may take, bytes.
const COMPILED_LIMIT_BYTES: usize = 10 << 20;
/// Most literal alternatives that are kept as a set.
const LITERALS_LIMIT: usize = 1_000;

/// Why a pattern does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "error parsing regexp {:?}: {}",
            self.pattern, self.reason
        )
    }
}

impl std::error::Error for PatternError {}

/// A compiled pattern. Cloning is cheap.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
    names: Arc<[(String, u32)]>,
    /// Where the pattern is an alternation of plain words, the words.
    literals: Option<Arc<[String]>>,
}

impl Pattern {
    /// Compiles `text`, anchored at both ends.
    ///
    /// # Errors
    /// A syntax error, or a pattern beyond the size limits.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let fail = |reason: String| PatternError {
            pattern: text.to_owned(),
            reason,
        };
        if text.len() > PATTERN_LIMIT_BYTES {
            return Err(fail(format!("longer than {PATTERN_LIMIT_BYTES} bytes")));
        }
        let parsed = syntax::parse(text).map_err(|reason| {
            if reason == syntax::MISSING_PAREN {
                fail(syntax::fail(&reason, text))
            } else {
                fail(reason)
            }
        })?;
        let literals = literals_of(&parsed.hir).map(Into::into);
        let anchored = Hir::concat(vec![
            Hir::look(Look::Start),
            parsed.hir,
            Hir::look(Look::End),
        ]);
        let regex = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(COMPILED_LIMIT_BYTES)))
            .build_from_hir(&anchored)
            .map_err(|_| fail(syntax::fail("expression too large", text)))?;
        Ok(Self {
            text: text.into(),
            regex,
            names: parsed.names.into(),
            literals,
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.literals {
            Some(literals) if literals.len() <= 16 => literals.iter().any(|l| l == text),
            _ => self.regex.is_match(text),
        }
    }

    /// The only texts that can match, where the pattern is an alternation of literals.
    pub fn literals(&self) -> Option<&[String]> {
        self.literals.as_deref()
    }

    /// Matches the whole of `text` and fills `template` with its groups, by Go's rules: `$1`,
    /// `${1}`, `$name`, `$$`; a group that does not exist is empty. `None` without a match.
    pub fn replace(&self, text: &str, template: &str) -> Option<String> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(text, &mut captures);
        captures
            .is_match()
            .then(|| self.expand(template, text, &captures))
    }

    fn expand(&self, template: &str, text: &str, captures: &Captures) -> String {
        let mut out = String::with_capacity(template.len() + text.len());
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = group_name(rest) else {
                out.push('$');
                continue;
            };
            rest = after;
            let span = match name.parse::<usize>() {
                Ok(index) => captures.get_group(index),
                // The first group of that name that took part in the match.
                Err(_) => self
                    .names
                    .iter()
                    .filter(|(have, _)| have == name)
                    .find_map(|(_, index)| captures.get_group(*index as usize)),
            };
            if let Some(span) = span {
                out.push_str(&text[span.range()]);
            }
        }
        out.push_str(rest);
        out
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// The group a `$` refers to, and what follows: a braced name, or the longest run of word
/// characters.
fn group_name(rest: &str) -> Option<(&str, &str)> {
    let is_word = |ch: char| ch == '_' || ch.is_alphanumeric();
    let (name, after) = match rest.strip_prefix('{') {
        Some(braced) => {
            let close = braced.find('}')?;
            (&braced[..close], &braced[close + 1..])
        }
        None => rest.split_at(rest.find(|ch| !is_word(ch)).unwrap_or(rest.len())),
    };
    (!name.is_empty() && name.chars().all(is_word)).then_some((name, after))
}

/// The words of an alternation of literals.
fn literals_of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => literals_of(&capture.sub),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(literals_of(branch)?);
                if all.len() > LITERALS_LIMIT {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let heads = std::mem::take(&mut all);
                let tails = literals_of(part)?;
                if heads.len() * tails.len() > LITERALS_LIMIT {
                    return None;
                }
                for head in &heads {
                    all.extend(tails.iter().map(|tail| format!("{head}{tail}")));
                }
            }
            Some(all)
        }
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_dot_is_every_character() {
        let pattern = Pattern::new("a.c|x").expect("valid");
        for (text, want) in [
            ("abc", true),
            ("a\nc", true),
            ("x", true),
            ("xabc", false),
            ("", false),
        ] {
            assert_eq!(pattern.is_match(text), want, "{text:?}");
        }
    }

    #[test]
    fn literal_alternations_are_found() {
        let literals = |text| {
            Pattern::new(text)
                .expect("valid")
                .literals()
                .map(<[_]>::to_vec)
        };
        assert_eq!(
            literals("a|b"),
            None,
            "regex-syntax folds single characters into a class"
        );
        assert_eq!(literals("foo|bar"), Some(vec!["foo".into(), "bar".into()]));
        assert_eq!(
            literals("fo(o|xy)"),
            Some(vec!["foo".into(), "foxy".into()])
        );
        assert_eq!(literals("foo.*"), None);
        assert_eq!(literals(""), Some(vec![String::new()]));
    }

    #[test]
    fn replacement_follows_go() {
        let pattern = Pattern::new("(?P<host>[^:]+):(.*)").expect("valid");
        for (template, want) in [
            ("$1", Some("h")),
            ("${host}-$2", Some("h-80")),
            ("$1x", Some("")),
            ("$$1", Some("$1")),
            ("$9!", Some("!")),
            ("a$", Some("a$")),
        ] {
            assert_eq!(
                pattern.replace("h:80", template).as_deref(),
                want,
                "{template}"
            );
        }
        assert_eq!(pattern.replace("nothing", "$1"), None);
        let pattern = Pattern::new("(?P<n>a)|(?P<n>b)").expect("names may repeat");
        assert_eq!(pattern.replace("b", "<$n>").as_deref(), Some("<b>"));
    }

    #[test]
    fn errors_are_go_s() {
        for (text, want) in [
            ("a(", "missing closing ): `a(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(a{100}){11}", "invalid repeat count: `{11}`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\<", ""),
            ("[b-a]", "invalid character class range: `b-a`"),
            (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
            ("(?P<n->a)", "invalid named capture: `(?P<n->`"),
            ("\\", "trailing backslash at end of expression: ``"),
        ] {
            let got = Pattern::new(text).map_or_else(|e| e.reason, |_| String::new());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn syntax_is_go_s() {
        for (text, yes, no) in [
            ("{gid}", "{gid}", "gid"),
            (r"[\w-,]+", "a-,", "é"),
            (r"\Qa.b\E+", "a.bb", "axb"),
            ("[[a]", "[", "b"),
            ("a{,5}", "a{,5}", "aaa"),
            (r"\101", "A", "101"),
            (r"\d", "7", "٣"),
            (r"\w", "_", "é"),
            ("[a&&b]", "&", "c"),
            ("(?i)straSSe", "STRASSE", "strase"),
            ("(?i)k", "\u{212a}", "x"),
            ("[^a]", "\n", "a"),
            ("(?-s).", "x", "\n"),
            ("[]a]", "]", "b"),
            ("[a-]", "-", "b"),
            (r"\pL+\p{^Greek}", "aé", "aα"),
            ("[[:^alpha:]]", "1", "b"),
            (r"\x{1F600}", "😀", "x"),
            ("a(?i)b|c", "C", "AB"),
            ("x*?y", "xxy", "x"),
            ("(?m)a$\n^b", "a\nb", "ab"),
        ] {
            let pattern = Pattern::new(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(pattern.is_match(yes), "{text} matches {yes:?}");
            assert!(!pattern.is_match(no), "{text} does not match {no:?}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        for depth in [200, 251, 100_000] {
            let text = format!("{}a{}", "(".repeat(depth / 2), ")".repeat(depth / 2));
            assert_eq!(Pattern::new(&text).is_ok(), depth / 2 < 250, "{depth}");
        }
    }
}
