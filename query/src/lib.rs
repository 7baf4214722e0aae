//! PromQL: text to expression to plan to value.
//!
//! [`parse`] is pure. [`Engine`] evaluates an expression over a [`Snapshot`](barograph_tsdb::Snapshot)
//! on the calling thread; the caller keeps it off the threads that serve sockets, for which
//! [`Pool`] is made. [`script`] runs PromQL test scripts.
//!
//! A query goes through `lex` → `parse` → `check` ([`ast`]) → `plan` → `eval` (with `kernels` for
//! windows); `functions` is the table of functions that all of them share.

mod annotations;
mod check;
mod engine;
mod error;
mod eval;
mod gomath;
mod helpers;
mod kernels;
mod lex;
mod memory;
mod metrics;
mod parse;
mod plan;
mod pool;
mod running;
mod value;

pub mod ast;
pub mod functions;
pub mod script;

pub use ast::Expr;
pub use engine::{Cancel, Engine, EngineOptions, QueryOptions, RangeSteps};
pub use error::{ParseError, QueryError};
pub use parse::{
    HEIGHT_LIMIT, NESTING_LIMIT, ParseOptions, QUERY_LIMIT_BYTES, parse, parse_selector, parse_with,
};
pub use pool::{Busy, Lane, Pool};
pub use running::RunningQuery;
pub use value::{
    HistogramSample, Outcome, ProfileNode, QueryStats, Series, StepSamples, Value, VectorSample,
};
