//! What a script expects of a query.

use barograph_model::{Labels, Pattern};

use super::series::Point;

/// A query and what is expected of it.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) expr: String,
    pub(super) when: When,
    pub(super) expected: Vec<Expected>,
    pub(super) scalar: Option<f64>,
    pub(super) string: Option<String>,
    pub(super) ordered: bool,
    pub(super) fail: Option<Text>,
    pub(super) warn: Vec<Text>,
    pub(super) info: Vec<Text>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
}

/// When a query is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Instant {
        at_ms: i64,
        /// The result is a range vector with these steps.
        range: Option<Range>,
    },
    Range(Range),
}

/// The steps of a range query.
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) step_ms: i64,
}

/// A series that is expected.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) labels: Labels,
    pub(super) points: Vec<Point>,
}

/// A text that is expected.
#[derive(Debug)]
pub(super) enum Text {
    Any,
    Exactly(String),
    /// Anywhere in the text.
    Matching(Pattern),
}

impl Text {
    /// From `msg:…`, `regex:…` or nothing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if let Some(message) = text.strip_prefix("msg:") {
            return Ok(Self::Exactly(message.trim().to_owned()));
        }
        match text.strip_prefix("regex:") {
            Some(pattern) => Self::pattern(pattern.trim()),
            None => Err(format!("expected msg:… or regex:…, not {text:?}")),
        }
    }

    pub(super) fn pattern(pattern: &str) -> Result<Self, String> {
        Pattern::new(&format!(".*(?:{pattern}).*"))
            .map(Self::Matching)
            .map_err(|e| e.to_string())
    }

    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(want) => want == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}
