//! What a query may take: time, samples, and the patience of who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::engine::Cancel;
use crate::error::QueryError;

/// Where a query stops, as error messages name it.
const STAGE: &str = "expression evaluation";

/// The limits of one query and what it has taken of them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Limits {
    deadline: Instant,
    cancel: Cancel,
    max_samples: u64,
    held: Arc<AtomicU64>,
    peak: Arc<AtomicU64>,
}

impl Limits {
    pub(crate) fn new(deadline: Instant, cancel: Cancel, max_samples: u64) -> Self {
        Self {
            deadline,
            cancel,
            max_samples,
            held: Arc::default(),
            peak: Arc::default(),
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// Cancelled, or out of time.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled(STAGE));
        }
        if Instant::now() > self.deadline {
            return Err(QueryError::Timeout(STAGE));
        }
        Ok(())
    }

    /// Takes memory for samples.
    ///
    /// # Errors
    /// There would be too many.
    pub(crate) fn hold(&self, samples: usize) -> Result<(), QueryError> {
        let held = self.held.fetch_add(samples as u64, Relaxed) + samples as u64;
        if held > self.max_samples {
            return Err(QueryError::Execution(
                "query processing would load too many samples into memory in query execution"
                    .to_owned(),
            ));
        }
        self.peak.fetch_max(held, Relaxed);
        Ok(())
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
