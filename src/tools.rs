//! Subcommands that do one thing and end: checks of files, tests of rules and scripts, queries from
//! the shell.

mod check;
mod junit;
mod lint;
mod progress;
mod promql;
mod query;
mod storage;
mod test_file;
mod test_promql;
mod test_rules;
mod web_config;

/// A time as the API takes it: seconds since 1970, or RFC 3339. Returns milliseconds.
pub(crate) fn parse_time_ms(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some((seconds * 1000.0).round() as i64),
        _ => crate::api::parse_rfc3339(text),
    }
}

pub(crate) use check::{Check, Lint, run as check};
pub(crate) use lint::MetricsCheck;
pub(crate) use promql::{Change, Promql, run as promql};
pub(crate) use query::{
    Access, Format, Pictures, Query, Question, Source, ask_server, run as query,
};
pub(crate) use storage::{Backfill, Storage, Target, run as storage};
pub(crate) use test_promql::{PromqlTest, run as test_promql};
pub(crate) use test_rules::{RulesTest, run as test_rules};
