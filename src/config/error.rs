//! Why a configuration does not load: what, in which file, where, with the spot marked.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::closest;

/// Longest line an excerpt shows, characters.
const EXCERPT_LIMIT: usize = 160;
/// Most fields a message lists.
const FIELDS_LIMIT: usize = 16;

/// Why a configuration does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The file; empty for what is built in.
    pub(crate) path: PathBuf,
    /// Line and column, counted from 1, where known.
    pub(crate) position: Option<(usize, usize)>,
    /// What is wrong and, where not obvious, what would fit.
    pub(crate) message: String,
    /// The line in question with a caret under the spot.
    pub(crate) excerpt: Option<String>,
    /// Whether the file at fault is a rule file.
    pub(crate) in_rules: bool,
}

impl ConfigError {
    /// An error about a file as a whole.
    pub(crate) fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            position: None,
            message: message.into(),
            excerpt: None,
            in_rules: false,
        }
    }

    /// An error at a place in a file, marked in an excerpt of its text.
    pub(crate) fn at(
        path: &Path,
        text: &str,
        position: (usize, usize),
        message: impl Into<String>,
    ) -> Self {
        Self {
            position: Some(position),
            excerpt: excerpt(text, position),
            ..Self::whole(path, message)
        }
    }

    /// What the YAML reader says about `text`.
    pub(crate) fn yaml(path: &Path, text: &str, error: &serde_saphyr::Error) -> Self {
        let options = serde_saphyr::render_options! {
            formatter: &serde_saphyr::UserMessageFormatter,
            snippets: serde_saphyr::SnippetMode::Off,
        };
        let rendered = error.render_with_options(options);
        match error.location() {
            Some(at) if at.line() > 0 => {
                let suffix = format!(" at line {}, column {}", at.line(), at.column());
                let message = shorten(&rendered.replace(&suffix, ""));
                Self::at(
                    path,
                    text,
                    (at.line() as usize, at.column() as usize),
                    message,
                )
            }
            _ => Self::whole(path, rendered),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Replaces the list of every known field by the closest one.
fn shorten(message: &str) -> String {
    let Some((what, known)) = message.split_once(", expected one of ") else {
        return message.to_owned();
    };
    let bare = |text: &str| text.trim().trim_matches('`').to_owned();
    let typed = what.strip_prefix("unknown field").map(bare);
    let known: Vec<String> = known.split(',').map(bare).collect();
    let closest = typed
        .as_deref()
        .and_then(|typed| closest(typed, known.iter().map(String::as_str)));
    match closest {
        Some(name) => format!("{what}: did you mean {name}?"),
        None if known.len() > FIELDS_LIMIT => format!("{what}: this section has no such field"),
        None => format!("{what}: this section has {}", known.join(", ")),
    }
}

/// The line at `position` with a caret under its column.
pub(crate) fn excerpt(text: &str, (line, column): (usize, usize)) -> Option<String> {
    let content = text.lines().nth(line.checked_sub(1)?)?.trim_end();
    if content.chars().count() > EXCERPT_LIMIT {
        return None;
    }
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    // Tabs stay tabs, so that the caret stands under its column however wide they are shown.
    let indent: String = content
        .chars()
        .take(column.saturating_sub(1))
        .map(|ch| if ch == '\t' { '\t' } else { ' ' })
        .collect();
    Some(format!(
        " {gutter} |\n {number} | {content}\n {gutter} | {indent}^"
    ))
}
