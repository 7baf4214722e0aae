//! Templates of labels and annotations: Go's `text/template` as far as Prometheus's rules use it.
//!
//! The values are typed the way Prometheus passes them, so that numbers print as Go prints them
//! and a missing label is the empty text.

mod ast;
mod eval;
mod functions;
mod humanize;
mod lex;
mod parse;
mod printf;
mod text;
pub(crate) mod time;
mod value;

use barograph_query::VectorSample;

pub(crate) use functions::link;
pub(crate) use lex::unquote;
pub(crate) use value::{AlertData, Value, label_map};

/// What stands before every template of an alert, so that `$labels` and the others exist.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                       {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What the functions of a template see of the world.
pub(crate) struct Environment<'a> {
    /// The time of evaluation, milliseconds since the epoch.
    pub now_ms: i64,
    /// The URL under which people reach this server.
    pub external_url: &'a str,
    /// Evaluates an expression at that time.
    pub query: &'a dyn Fn(&str) -> Result<Vec<VectorSample>, String>,
}

/// A template of an alert's label or annotation.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Without actions; most are.
    Plain(String),
    Parsed {
        source: String,
        parsed: parse::Parsed,
    },
    /// Kept so that a rule with it goes on: it expands to its error.
    Broken(String),
}

impl Template {
    /// Reads a template of the alert `alert`.
    ///
    /// # Errors
    /// What is wrong, worded as Go words it: `template: __alert_X:1: …`.
    pub(crate) fn parse(alert: &str, text: &str) -> Result<Self, String> {
        let name = format!("__alert_{alert}");
        if !text.contains("{{") {
            let kind = Kind::Plain(text.to_owned());
            return Ok(Self { name, kind });
        }
        let source = format!("{PRELUDE}{text}");
        match parse::parse(&source) {
            Ok(parsed) => Ok(Self {
                name,
                kind: Kind::Parsed { source, parsed },
            }),
            Err(fault) => {
                let line = source[..fault.at.min(source.len())].matches('\n').count() + 1;
                Err(format!("template: {name}:{line}: {}", fault.message))
            }
        }
    }

    /// [`Self::parse`]; a template that does not parse expands to its error.
    pub(crate) fn parse_or_broken(alert: &str, text: &str) -> Self {
        Self::parse(alert, text).unwrap_or_else(|error| Self {
            name: format!("__alert_{alert}"),
            kind: Kind::Broken(error),
        })
    }

    /// Fills the template.
    ///
    /// # Errors
    /// What went wrong, with Go's words and position.
    pub(crate) fn expand(
        &self,
        environment: &Environment<'_>,
        data: &Value,
    ) -> Result<String, String> {
        match &self.kind {
            Kind::Plain(text) => Ok(text.clone()),
            Kind::Broken(error) => Err(format!("error parsing template {}: {error}", self.name)),
            Kind::Parsed { source, parsed } => eval::execute(parsed, environment, data)
                .map_err(|error| self.describe(source, &error)),
        }
    }

    fn describe(&self, source: &str, error: &eval::ExecError) -> String {
        let name = &self.name;
        let before = &source[..error.position];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let context = &source[error.start..error.end];
        let quote = if error.quote {
            format!(" {context}")
        } else {
            String::new()
        };
        format!(
            "error executing template {name}: template: {name}:{line}:{column}: \
             executing {name:?} at <{context}>: {}{quote}",
            error.message
        )
    }
}

#[cfg(test)]
mod tests;
