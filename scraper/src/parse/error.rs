//! Why a body is no exposition.

/// How much of a line an error quotes, bytes.
const EXCERPT_BYTES: usize = 120;

/// A malformed line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}: {excerpt:?}")]
pub(crate) struct ParseError {
    /// Its number, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) what: String,
    /// How the line begins.
    pub(crate) excerpt: String,
}

impl ParseError {
    /// An error in the line that holds byte `at` of `body`.
    pub(crate) fn new(body: &[u8], at: usize, what: impl Into<String>) -> Self {
        let at = at.min(body.len());
        let start = memchr::memrchr(b'\n', &body[..at]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length);
        let mut excerpt =
            String::from_utf8_lossy(&body[start..end.min(start + EXCERPT_BYTES)]).into_owned();
        if end > start + EXCERPT_BYTES {
            excerpt.push('…');
        }
        let mut what = what.into();
        if body[start..end].ends_with(b"\r") {
            what.push_str(" (the line ends in CR LF; expositions end lines in LF alone)");
        }
        Self {
            line: memchr::memchr_iter(b'\n', &body[..start]).count() + 1,
            what,
            excerpt,
        }
    }
}
