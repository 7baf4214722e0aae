//! Why a query yields nothing.

use std::fmt;

/// Why a text is no expression. Positions are byte offsets into the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// The text.
    pub input: String,
    /// First byte of the spot.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

impl fmt::Display for ParseError {
    /// `1:7: parse error: …`, line and column counted from 1, as Prometheus writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: parse error: {}",
            position_text(&self.input, self.start),
            self.message
        )
    }
}

impl std::error::Error for ParseError {}

/// Why a query yields nothing.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no expression.
    #[error("invalid parameter \"query\": {0}")]
    Parse(#[from] ParseError),
    /// The expression is valid, but of a type that cannot be asked for, or with a duration that
    /// has no sense at this step and range.
    #[error("invalid parameter \"query\": {0}")]
    Type(String),
    /// The evaluation met something it cannot answer.
    #[error("{0}")]
    Execution(String),
    /// The expression is valid, but uses something this version parses and does not evaluate.
    #[error("{0}")]
    NotBuilt(String),
    /// It took longer than allowed.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// It was cancelled.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// The store failed.
    #[error("{0}")]
    Storage(String),
}

/// `line:column` of the byte `at`, both counted from 1, the column in bytes.
pub(crate) fn position_text(input: &str, at: usize) -> String {
    if input.is_empty() {
        return "unknown position".to_owned();
    }
    let Some(before) = input.as_bytes().get(..at) else {
        return "invalid position".to_owned();
    };
    let line = before.split(|b| *b == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |i| i + 1);
    format!("{line}:{}", at - line_start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_bytes_from_one() {
        assert_eq!(position_text("ab\ncd", 4), "2:2");
        assert_eq!(position_text("ab", 2), "1:3");
        assert_eq!(position_text("ab", 3), "invalid position");
        assert_eq!(position_text("", 0), "unknown position");
    }
}
