//! The queries that run now: listed, and stopped one by one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use barograph_instrument::{Counter, Registry};

use crate::engine::Cancel;
use crate::memory::Account;

/// A query that runs.
#[derive(Clone, Debug)]
pub struct RunningQuery {
    /// Its number; none is given twice by an engine.
    pub id: u64,
    /// Its text.
    pub text: String,
    /// First step, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Last step.
    pub end_ms: i64,
    /// Distance of steps; 0 for an instant query.
    pub step_ms: i64,
    /// For how long it has been running, seconds.
    pub running_seconds: f64,
    /// Bytes it holds.
    pub memory_bytes: u64,
    /// Most bytes it held at a time so far.
    pub peak_bytes: u64,
}

/// All queries of an engine that run.
pub(crate) struct RunningQueries {
    inner: Arc<Mutex<Inner>>,
    cancelled: Counter,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// By number. As many as threads evaluate.
    queries: BTreeMap<u64, Entry>,
}

struct Entry {
    query: RunningQuery,
    began: Instant,
    cancel: Cancel,
    memory: Arc<Account>,
}

impl RunningQueries {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            inner: Arc::default(),
            cancelled: registry.counter(
                "barograph_engine_queries_cancelled_total",
                "Running queries that someone stopped by their number.",
            ),
        }
    }

    /// Lists a query until the guard goes; `query` needs no number.
    pub(crate) fn begin(
        &self,
        mut query: RunningQuery,
        cancel: Cancel,
        memory: Arc<Account>,
    ) -> Listed {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let id = inner.next;
        query.id = id;
        let entry = Entry {
            query,
            began: Instant::now(),
            cancel,
            memory,
        };
        inner.queries.insert(id, entry);
        Listed {
            inner: self.inner.clone(),
            id,
        }
    }

    /// The longest running first.
    pub(crate) fn list(&self) -> Vec<RunningQuery> {
        let inner = lock(&self.inner);
        let each = inner.queries.values().map(|entry| RunningQuery {
            running_seconds: entry.began.elapsed().as_secs_f64(),
            memory_bytes: entry.memory.used(),
            peak_bytes: entry.memory.peak(),
            ..entry.query.clone()
        });
        each.collect()
    }

    /// Stops a query; false where none has this number.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let inner = lock(&self.inner);
        let Some(entry) = inner.queries.get(&id) else {
            return false;
        };
        entry.cancel.cancel();
        self.cancelled.inc();
        true
    }
}

/// A query that is listed.
pub(crate) struct Listed {
    inner: Arc<Mutex<Inner>>,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.inner).queries.remove(&self.id);
    }
}

fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use crate::pool::Lane;

    #[test]
    fn queries_are_listed_while_they_run_and_stop_by_number() {
        let running = RunningQueries::new(&Registry::new());
        let query = |text: &str| RunningQuery {
            id: 0,
            text: text.to_owned(),
            start_ms: 0,
            end_ms: 0,
            step_ms: 0,
            running_seconds: 0.0,
            memory_bytes: 0,
            peak_bytes: 0,
        };
        let account = || Budget::new(0, 0, &Registry::new()).open(Lane::User);
        let cancel = Cancel::default();
        let first = running.begin(query("a"), Cancel::default(), account());
        let second = running.begin(query("b"), cancel.clone(), account());
        let texts: Vec<String> = running.list().into_iter().map(|q| q.text).collect();
        assert_eq!(texts, ["a", "b"]);
        let id = running.list()[1].id;
        assert!(running.cancel(id) && cancel.is_canceled());
        drop(second);
        assert!(!running.cancel(id));
        drop(first);
        assert!(running.list().is_empty());
    }
}
