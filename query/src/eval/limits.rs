//! What a query may take: time, samples, memory, and the patience of who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::engine::Cancel;
use crate::error::QueryError;
use crate::memory::{Account, Held};

/// Where a query stops, as error messages name it.
const STAGE: &str = "expression evaluation";
/// What is said of too many samples, in Prometheus's words.
const TOO_MANY_SAMPLES: &str =
    "query processing would load too many samples into memory in query execution";

/// The limits of one query and what it has taken of them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Limits {
    deadline: Instant,
    cancel: Cancel,
    max_samples: u64,
    held: Arc<AtomicU64>,
    peak: Arc<AtomicU64>,
    pub(crate) memory: Arc<Account>,
}

impl Limits {
    pub(crate) fn new(
        deadline: Instant,
        cancel: Cancel,
        max_samples: u64,
        memory: Arc<Account>,
    ) -> Self {
        Self {
            deadline,
            cancel,
            max_samples,
            held: Arc::default(),
            peak: Arc::default(),
            memory,
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// Cancelled, out of time, or more bytes taken than allowed.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled(STAGE));
        }
        if Instant::now() > self.deadline {
            return Err(QueryError::Timeout(STAGE));
        }
        self.memory.check()
    }

    /// Takes memory for samples, as Prometheus counts them.
    ///
    /// # Errors
    /// There would be too many, or more bytes were taken than allowed.
    pub(crate) fn hold(&self, samples: usize) -> Result<(), QueryError> {
        let held = self.held.fetch_add(samples as u64, Relaxed) + samples as u64;
        if held > self.max_samples {
            return Err(QueryError::Execution(TOO_MANY_SAMPLES.to_owned()));
        }
        self.peak.fetch_max(held, Relaxed);
        self.memory.check()
    }

    /// Something to hold bytes with.
    pub(crate) fn held(&self) -> Held {
        Held::new(&self.memory)
    }

    /// The limit that made the query fail, as metrics name it.
    pub(crate) fn passed(&self, error: &QueryError) -> Option<&'static str> {
        match error {
            QueryError::Timeout(_) => Some("time"),
            QueryError::Execution(text) if text == TOO_MANY_SAMPLES => Some("samples"),
            _ => self.memory.passed(),
        }
    }

    /// Gives memory back.
    pub(crate) fn release(&self, samples: usize) {
        self.held.fetch_sub(samples as u64, Relaxed);
    }

    /// Most samples held at a time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }
}
