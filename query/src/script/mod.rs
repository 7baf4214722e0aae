//! PromQL test scripts: data, queries and what they must yield, in Prometheus's `promqltest`
//! language.
//!
//! ```text
//! load 1m
//!   requests_total{path="/"} 0+10x5 _ stale
//!
//! eval instant at 5m rate(requests_total[5m])
//!   {path="/"} 0.16666666666666666
//!
//! clear
//! ```
//!
//! Scripts run against a real [`Db`](barograph_tsdb::Db). Each instant query is asked again with its
//! time fixed by `@` and evaluated at other times, and as a range query around its time: all must
//! agree. What this version does not evaluate is reported as such, never as passed.

mod command;
mod compare;
mod expect;
mod feed;
mod histogram;
mod nhcb;
mod run;
mod series;
mod starts;

use std::fmt;

pub use feed::{Feed, FeedError, parse_histogram, parse_labels};
pub use run::{EvalReport, RunError, RunOptions, Verdict, run};

use command::Command;

/// A script that was read.
#[derive(Debug)]
pub struct Script {
    commands: Vec<Command>,
}

/// Why a text is no script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that does not fit.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        Ok(Self {
            commands: command::parse(text)?,
        })
    }

    /// How many queries it asks.
    pub fn eval_count(&self) -> usize {
        self.commands
            .iter()
            .filter(|command| matches!(command, Command::Eval(_)))
            .count()
    }
}
