//! A value that only rises.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use barograph_model::MetricKind;

use crate::cells::Cells;
use crate::encode::Line;
use crate::family::{Cached, Metric};

/// A value that only rises, such as the number of requests served.
///
/// A handle: clone it freely, hold it, count from any thread. Counting whole numbers is a load and
/// a store in memory of the counting thread's own; adding fractions is a compare-and-swap that all
/// threads share.
#[derive(Clone)]
pub struct Counter {
    inner: Arc<Inner>,
}

struct Inner {
    cells: Option<Cells>,
    /// Whole numbers counted by threads that have no cell.
    shared: AtomicU64,
    /// The bits of the sum of all fractions.
    fractions: AtomicU64,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                cells: Cells::take(1),
                shared: AtomicU64::new(0),
                fractions: AtomicU64::new(0),
            }),
        }
    }
}

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds a whole number.
    #[inline]
    pub fn inc_by(&self, count: u64) {
        match self
            .inner
            .cells
            .as_ref()
            .and_then(Cells::one_of_this_thread)
        {
            // This thread is the only writer of the cell.
            Some(cell) => cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed),
            None => {
                self.inner.shared.fetch_add(count, Relaxed);
            }
        }
    }

    /// Adds `amount`; a negative or NaN amount is ignored, since a counter cannot fall.
    pub fn add(&self, amount: f64) {
        /// Whole numbers up to here are exact in a float.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        if amount > 0.0 {
            if amount <= MAX_EXACT && amount.fract() == 0.0 {
                self.inc_by(amount as u64);
            } else {
                crate::gauge::add_float(&self.inner.fractions, amount);
            }
        }
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        self.whole() as f64 + f64::from_bits(self.inner.fractions.load(Relaxed))
    }

    fn whole(&self) -> u64 {
        let mut total = self.inner.shared.load(Relaxed);
        if let Some(cells) = &self.inner.cells {
            cells.for_each_slot(|slot| total = total.wrapping_add(slot[0].load(Relaxed)));
        }
        total
    }
}

impl Metric for Counter {
    const KIND: MetricKind = MetricKind::Counter;

    fn write(&self, line: &mut Line<'_, '_>) {
        let fractions = f64::from_bits(self.inner.fractions.load(Relaxed));
        if fractions == 0.0 {
            line.whole("", self.whole());
        } else {
            line.float("", self.whole() as f64 + fractions);
        }
    }

    fn into_cached(self) -> Cached {
        Cached::Counter(self)
    }

    fn from_cached(cached: &Cached) -> Option<&Self> {
        match cached {
            Cached::Counter(counter) => Some(counter),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_counter_cannot_count_is_ignored() {
        let counter = Counter::default();
        counter.add(2.0);
        counter.add(0.5);
        for amount in [-1.0, f64::NAN, 0.0, f64::NEG_INFINITY] {
            counter.add(amount);
        }
        assert_eq!(counter.get(), 2.5);
    }

    #[test]
    fn threads_that_come_and_go_lose_nothing() {
        // Miri takes its time.
        let (rounds, counts) = if cfg!(miri) { (1, 2) } else { (20, 100) };
        let counter = Counter::default();
        for _ in 0..rounds {
            std::thread::scope(|scope| {
                // More than have a slot of their own.
                for _ in 0..150 {
                    scope.spawn(|| {
                        for _ in 0..counts {
                            counter.inc();
                        }
                    });
                }
            });
        }
        assert_eq!(counter.get(), f64::from(rounds * 150 * counts));
    }
}
