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
        let before = &self.input[..self.start.min(self.input.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        write!(f, "{line}:{column}: parse error: {}", self.message)
    }
}

impl std::error::Error for ParseError {}

/// Why a query yields nothing.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no expression, or of a type that cannot be asked for.
    #[error("invalid parameter \"query\": {0}")]
    Parse(#[from] ParseError),
    /// The evaluation met something it cannot answer.
    #[error("{0}")]
    Execution(String),
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
