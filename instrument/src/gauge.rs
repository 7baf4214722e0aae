//! A value that goes up and down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use barograph_model::MetricKind;

use crate::encode::Line;
use crate::family::{Cached, Metric};

/// A value that goes up and down, such as the number of requests in flight.
///
/// A handle: clone it freely, hold it, set it from any thread.
#[derive(Clone, Default)]
pub struct Gauge {
    bits: Arc<AtomicU64>,
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: f64) {
        add_float(&self.bits, amount);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts one.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// Sets the value to the time now, in seconds since 1970.
    pub fn set_to_current_time(&self) {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.set(now.as_secs_f64());
    }

    /// Adds one now, and takes it away when what is returned is dropped: however the work ends, it
    /// is no longer counted as going on.
    #[must_use = "the gauge falls again at once if this is not held"]
    pub fn track(&self) -> InProgress {
        self.inc();
        InProgress {
            gauge: self.clone(),
        }
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Relaxed))
    }
}

/// Work that a gauge counts for as long as this lives. Made by [`Gauge::track`].
pub struct InProgress {
    gauge: Gauge,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Metric for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;

    fn write(&self, line: &mut Line<'_, '_>) {
        line.float("", self.get());
    }

    fn into_cached(self) -> Cached {
        Cached::Gauge(self)
    }

    fn from_cached(cached: &Cached) -> Option<&Self> {
        match cached {
            Cached::Gauge(gauge) => Some(gauge),
            _ => None,
        }
    }
}

/// Adds to a float kept as bits.
pub(crate) fn add_float(bits: &AtomicU64, amount: f64) {
    let mut old = bits.load(Relaxed);
    loop {
        let new = (f64::from_bits(old) + amount).to_bits();
        match bits.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}
