//! The three kinds of metric. Each is a handle: clone it freely, hold it, update it from anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A value that only rises.
#[derive(Clone, Default)]
pub struct Counter {
    cell: Arc<AtomicU64>,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Adds a whole number.
    pub fn inc_by(&self, count: u64) {
        self.add(count as f64);
    }

    /// Adds `amount`; a negative or NaN amount is ignored, since a counter cannot fall.
    pub fn add(&self, amount: f64) {
        if amount > 0.0 {
            add_float(&self.cell, amount);
        }
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.cell.load(Relaxed))
    }
}

/// A value that goes up and down.
#[derive(Clone, Default)]
pub struct Gauge {
    cell: Arc<AtomicU64>,
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.cell.store(value.to_bits(), Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: f64) {
        add_float(&self.cell, amount);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts one.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.cell.load(Relaxed))
    }
}

/// Upper bounds of a histogram's buckets, ascending, without the implied `+Inf`.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(pub(crate) Arc<[f64]>);

impl Buckets {
    /// Bounds in any order; duplicates, NaN and infinities are dropped.
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let mut bounds: Vec<f64> = bounds.into_iter().filter(|b| b.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        Self(bounds.into())
    }

    /// `count` bounds from `start`, each `factor` times the one before.
    pub fn exponential(start: f64, factor: f64, count: usize) -> Self {
        Self::new((0..count).map(|i| start * factor.powi(i as i32)))
    }

    /// Bounds in seconds that suit web requests, 5 ms to 10 s.
    pub fn web() -> Self {
        Self::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])
    }
}

/// Counts observations in buckets, and sums them.
#[derive(Clone)]
pub struct Histogram {
    inner: Arc<HistogramCells>,
}

struct HistogramCells {
    bounds: Arc<[f64]>,
    /// One per bound, and one for `+Inf`.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram over `buckets`.
    pub fn new(buckets: &Buckets) -> Self {
        let counts = (0..=buckets.0.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            inner: Arc::new(HistogramCells {
                bounds: buckets.0.clone(),
                counts,
                sum: AtomicU64::new(0),
            }),
        }
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let bucket = self.inner.bounds.partition_point(|bound| *bound < value);
        self.inner.counts[bucket].fetch_add(1, Relaxed);
        add_float(&self.inner.sum, value);
    }

    /// Bounds (without `+Inf`), the count of each bucket (not cumulative, `+Inf` last), the sum.
    pub fn read(&self) -> (&[f64], Vec<u64>, f64) {
        let counts = self.inner.counts.iter().map(|c| c.load(Relaxed)).collect();
        (
            &self.inner.bounds,
            counts,
            f64::from_bits(self.inner.sum.load(Relaxed)),
        )
    }
}

fn add_float(cell: &AtomicU64, amount: f64) {
    let mut old = cell.load(Relaxed);
    loop {
        let new = (f64::from_bits(old) + amount).to_bits();
        match cell.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}
