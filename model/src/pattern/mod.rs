//! Regular expressions, always anchored at both ends, `.` matching every character.
//!
//! Prometheus's patterns are RE2's as Go understands them: [`syntax`] reads them, and
//! `regex-automata` runs them in linear time.

mod class;
mod scan;
mod syntax;

use std::fmt;
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind, Look};

pub use scan::{Scan, Scanned};

/// Longest pattern accepted, bytes.
pub const PATTERN_LIMIT_BYTES: usize = 64 * 1024;
/// Most memory one compiled pattern may take, bytes.
const COMPILED_LIMIT_BYTES: usize = 10 << 20;
/// Most literal alternatives that are kept as a set.
const LITERALS_LIMIT: usize = 1_000;
/// Most characters of a class that are taken as so many literals.
const CLASS_LIMIT: usize = 16;

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
    /// What every text that matches begins with.
    prefix: Arc<str>,
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
        let prefix = prefix_of(&parsed.hir).0.into();
        let anchored = anchored(parsed.hir);
        let regex = Regex::builder()
            .configure(Regex::config().nfa_size_limit(Some(COMPILED_LIMIT_BYTES)))
            .build_from_hir(&anchored)
            .map_err(|_| fail(syntax::fail("expression too large", text)))?;
        Ok(Self {
            text: text.into(),
            regex,
            names: parsed.names.into(),
            literals,
            prefix,
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

    /// What every text that matches begins with; may be shorter than it could be.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A way through texts in ascending order; `None` where the pattern does not allow it.
    pub fn scan(&self) -> Option<Scan> {
        let parsed = syntax::parse(&self.text).ok()?;
        Scan::new(&anchored(parsed.hir))
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

fn anchored(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}

/// What every match begins with, and whether that is all of it.
fn prefix_of(hir: &Hir) -> (String, bool) {
    match hir.kind() {
        HirKind::Empty => (String::new(), true),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (String::new(), false),
        },
        HirKind::Capture(capture) => prefix_of(&capture.sub),
        HirKind::Concat(parts) => {
            let mut prefix = String::new();
            for part in parts {
                let (text, whole) = prefix_of(part);
                prefix.push_str(&text);
                if !whole {
                    return (prefix, false);
                }
            }
            (prefix, true)
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            (prefix_of(&repetition.sub).0, false)
        }
        HirKind::Alternation(branches) => {
            let mut prefixes = branches.iter().map(|branch| prefix_of(branch).0);
            let first = prefixes.next().unwrap_or_default();
            let common = prefixes.fold(first, |common, prefix| {
                let shared = common.chars().zip(prefix.chars());
                let shared = shared.take_while(|(a, b)| a == b);
                shared.map(|(ch, _)| ch).collect()
            });
            (common, false)
        }
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => (String::new(), false),
    }
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
        HirKind::Class(Class::Unicode(class)) => {
            let count =
                |range: &ClassUnicodeRange| range.end() as usize - range.start() as usize + 1;
            let all: usize = class.ranges().iter().map(count).sum();
            let chars = class.ranges().iter().flat_map(|r| r.start()..=r.end());
            (all <= CLASS_LIMIT).then(|| chars.map(String::from).collect())
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
        assert_eq!(literals("a|b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            literals("x[0-2]"),
            Some(vec!["x0".into(), "x1".into(), "x2".into()])
        );
        assert_eq!(literals("x[a-z]"), None);
        assert_eq!(literals("foo|bar"), Some(vec!["foo".into(), "bar".into()]));
        assert_eq!(
            literals("fo(o|xy)"),
            Some(vec!["foo".into(), "foxy".into()])
        );
        assert_eq!(literals("foo.*"), None);
        assert_eq!(literals(""), Some(vec![String::new()]));
    }

    #[test]
    fn prefixes_are_never_too_long() {
        for (pattern, want) in [
            ("abc.*", "abc"),
            ("abc*", "ab"),
            ("abc+", "abc"),
            ("abc?d", "ab"),
            ("ab{0,3}", "a"),
            ("(ab)+c", "ab"),
            ("abx|aby.*", "ab"),
            ("éa|éb.", "é"),
            ("ab|cd", ""),
            ("a(b.|c)d", "a"),
            ("a(b)c.", "abc"),
            ("(?i)abc", ""),
            ("a.c", "a"),
            (r"10\.0\.[0-9]+", "10.0."),
            ("", ""),
            ("^ab.$", "ab"),
        ] {
            let pattern = Pattern::new(pattern).expect("valid");
            // Anchors that are there already end the prefix: shorter is allowed.
            let prefix = pattern.prefix();
            assert!(want.starts_with(prefix), "{pattern:?}: {prefix}");
            if !pattern.as_str().starts_with('^') {
                assert_eq!(prefix, want, "{pattern:?}");
            }
        }
    }

    #[test]
    fn scanning_says_what_matching_says() {
        let mut texts: Vec<String> = Vec::new();
        for a in ["", "a", "ab", "b", "host", "host-", "é", "zz"] {
            for b in ["", "1", "12", "b", "é", "\n", "-x"] {
                for c in ["", "0", "a", "bb"] {
                    texts.push(format!("{a}{b}{c}"));
                }
            }
        }
        texts.sort_unstable();
        texts.dedup();
        for pattern in [
            ".*",
            ".+",
            "",
            "a.*",
            "(a|b)+",
            "host-.*",
            ".*b",
            "[^b]*",
            "(?i)HOST.*",
            "x.*",
            "é.*|z+.*",
            r"\w+",
            r".*\b0",
            "host(-x)?(0|a|bb)",
        ] {
            let pattern = Pattern::new(pattern).expect("valid");
            let Some(mut scan) = pattern.scan() else {
                panic!("{pattern:?} can be scanned");
            };
            for text in &texts {
                let matches = pattern.is_match(text);
                match scan.next(text) {
                    None => {}
                    Some(Scanned::Match) => assert!(matches, "{pattern:?} {text:?}"),
                    Some(Scanned::NoMatch) => assert!(!matches, "{pattern:?} {text:?}"),
                    Some(Scanned::NoneWith(length)) => {
                        let prefix = &text.as_bytes()[..length];
                        let mut with = texts.iter().filter(|t| t.as_bytes().starts_with(prefix));
                        assert!(with.all(|t| !pattern.is_match(t)), "{pattern:?} {text:?}");
                    }
                }
            }
        }
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
