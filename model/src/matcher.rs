//! Label matchers: `=`, `!=`, `=~`, `!~`.

use std::fmt;

use crate::labels::{is_legacy_label_name, write_quoted};
use crate::pattern::{Pattern, PatternError};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label. An absent label counts as the empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Present exactly for the two regex operators.
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher; compiles `value` for the regex operators.
    ///
    /// # Errors
    /// A pattern that does not compile.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, PatternError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(value)?),
        };
        Ok(Self {
            name: name.to_owned(),
            op,
            value: value.to_owned(),
            pattern,
        })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            op: MatchOp::Equal,
            value: value.to_owned(),
            pattern: None,
        }
    }

    /// The label the condition is on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled pattern of a regex matcher.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Whether a label of this value fits.
    pub fn matches(&self, value: &str) -> bool {
        let positive = match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => self.value == value,
        };
        positive != self.is_negative()
    }

    /// Whether a series without the label fits.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether this is `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write_quoted(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        write_quoted(f, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_is_an_empty_value() {
        for (op, value, want_empty, want_a) in [
            (MatchOp::Equal, "", true, false),
            (MatchOp::NotEqual, "a", true, false),
            (MatchOp::Regex, ".*", true, true),
            (MatchOp::Regex, ".+", false, true),
            (MatchOp::NotRegex, "a|bb", true, false),
        ] {
            let matcher = Matcher::new("x", op, value).expect("valid");
            assert_eq!(
                (matcher.matches_empty(), matcher.matches("a")),
                (want_empty, want_a)
            );
        }
    }

    #[test]
    fn matchers_print_as_promql() {
        let matcher = Matcher::new("a.b", MatchOp::NotRegex, "x\"").expect("valid");
        assert_eq!(matcher.to_string(), r#""a.b"!~"x\"""#);
    }
}
