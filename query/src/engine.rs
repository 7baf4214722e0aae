//! The engine: evaluates expressions within limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use barograph_instrument::Registry;
use barograph_tsdb::Snapshot;

use crate::ast::Expr;
use crate::error::QueryError;
use crate::value::Outcome;

/// Limits and defaults of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far an instant selector looks back, milliseconds.
    pub lookback_ms: i64,
    /// How long a query may take.
    pub timeout: Duration,
    /// Most samples a query may hold.
    pub max_samples: u64,
    /// The step of a subquery that names none, milliseconds: the global evaluation interval.
    pub default_step_ms: i64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            timeout: Duration::from_secs(120),
            max_samples: 50_000_000,
            default_step_ms: 60_000,
        }
    }
}

/// The steps of a range query: `start_ms`, then every `step_ms` up to and including `end_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSteps {
    /// First step.
    pub start_ms: i64,
    /// No step lies behind it.
    pub end_ms: i64,
    /// Distance of steps, above 0.
    pub step_ms: i64,
}

/// A switch that stops a running query.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the query at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it is to stop.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What one query may ask for.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Instead of the engine's lookback.
    pub lookback_ms: Option<i64>,
    /// When it must be done; the engine's timeout from now where absent.
    pub deadline: Option<Instant>,
    /// Stops it from outside.
    pub cancel: Cancel,
}

/// Evaluates expressions. Cloning shares limits and metrics.
#[derive(Clone)]
pub struct Engine {
    options: Arc<EngineOptions>,
}

impl Engine {
    /// An engine; registers its metrics.
    pub fn new(options: EngineOptions, registry: &Registry) -> Self {
        let _ = registry;
        Self {
            options: Arc::new(options),
        }
    }

    /// Its limits and defaults.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The value at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        time_ms: i64,
        options: &QueryOptions,
    ) -> Result<Outcome, QueryError> {
        let _ = (snapshot, expr, time_ms, options);
        Err(QueryError::Execution("not built".into()))
    }

    /// The values at many times, as a matrix.
    ///
    /// # Errors
    /// See [`QueryError`]; also an expression that is neither scalar nor instant vector.
    pub fn range(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        steps: RangeSteps,
        options: &QueryOptions,
    ) -> Result<Outcome, QueryError> {
        let _ = (snapshot, expr, steps, options);
        Err(QueryError::Execution("not built".into()))
    }
}
