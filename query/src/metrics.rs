//! What the engine says about itself, under Prometheus's names.

use std::time::Duration;

use barograph_instrument::{Buckets, Counter, Family, Gauge, Histogram, Registry, labels};

use crate::eval::SampleCounts;

labels! {
    /// The part of a query that took the time.
    pub(crate) struct Part { slice: &'static str }
}

/// The engine's metrics.
pub(crate) struct Metrics {
    queries: Gauge,
    preparation: Histogram,
    evaluation: Histogram,
    samples: Counter,
    samples_read: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let durations: Family<Part, Histogram> = registry.histogram_family(
            "prometheus_engine_query_duration_histogram_seconds",
            "The duration of various parts of PromQL query execution.",
            Buckets::new([0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0]),
        );
        let part = |slice| durations.with(&Part { slice });
        Self {
            queries: registry.gauge(
                "prometheus_engine_queries",
                "The current number of queries being executed or waiting.",
            ),
            preparation: part("prepare_time"),
            evaluation: part("inner_eval"),
            samples: registry.counter(
                "prometheus_engine_query_samples_total",
                "The total number of samples loaded by all queries.",
            ),
            samples_read: registry.counter(
                "prometheus_engine_query_samples_read_total",
                "The total number of samples read by all queries, however many steps used them.",
            ),
        }
    }

    /// Counts a query as running until the guard goes.
    pub(crate) fn running(&self) -> Running<'_> {
        self.queries.inc();
        Running(&self.queries)
    }

    pub(crate) fn prepared(&self, took: Duration) {
        self.preparation.observe(took.as_secs_f64());
    }

    pub(crate) fn evaluated(&self, took: Duration, counts: &SampleCounts) {
        self.evaluation.observe(took.as_secs_f64());
        self.samples.inc_by(counts.total);
        self.samples_read.inc_by(counts.read);
    }
}

/// A query that runs.
pub(crate) struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
