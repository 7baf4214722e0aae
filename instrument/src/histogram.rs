//! Counts of observations in buckets, and their sum.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barograph_model::{MetricKind, number};

use crate::cells::Cells;
use crate::encode::Line;
use crate::family::{Cached, Metric};
use crate::sequence;

/// Up to this many bounds are compared one after the other without a branch; more are searched.
const MAX_LINEAR: usize = 16;
/// How often a read of a thread's cells is tried at once when the thread is writing them.
const QUICK_READS: usize = 200;
/// How often after that, with a pause before each: the thread was suspended in the middle of an
/// observation. If it still is then (20 ms later at least), the read may have the observation's
/// bucket and not its value in the sum, or the other way round.
const PATIENT_READS: usize = 400;
/// The pause.
const PAUSE: Duration = Duration::from_micros(50);

/// Upper bounds of a histogram's buckets, ascending, without the implied `+Inf`.
#[derive(Clone)]
pub struct Buckets {
    inner: Arc<Bounds>,
}

pub(crate) struct Bounds {
    pub(crate) values: Box<[f64]>,
    /// Each bound and `+Inf` as the label `le` has it in the formats.
    pub(crate) text: Box<[LeText]>,
}

/// A bound as text: `1` in text 0.0.4, `1.0` in OpenMetrics.
pub(crate) struct LeText {
    pub(crate) text_004: Box<str>,
    pub(crate) open_metrics: Box<str>,
}

impl Buckets {
    /// Bounds in any order; duplicates, NaN and infinities are dropped.
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = bounds.into_iter().filter(|b| b.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let text = values.iter().chain([&f64::INFINITY]).map(|bound| {
            let mut open_metrics = String::new();
            number::push_open_metrics(&mut open_metrics, *bound);
            LeText {
                text_004: number::go_g(*bound).into(),
                open_metrics: open_metrics.into(),
            }
        });
        let text = text.collect();
        Self {
            inner: Arc::new(Bounds {
                values: values.into(),
                text,
            }),
        }
    }

    /// `count` bounds from `start`, each `factor` times the one before.
    pub fn exponential(start: f64, factor: f64, count: usize) -> Self {
        Self::new((0..count).map(|i| start * factor.powi(i as i32)))
    }

    /// `count` bounds from `start`, each `width` above the one before.
    pub fn linear(start: f64, width: f64, count: usize) -> Self {
        Self::new((0..count).map(|i| start + width * i as f64))
    }

    /// Bounds in seconds that suit web requests, 5 ms to 10 s.
    pub fn web() -> Self {
        Self::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])
    }

    /// The bounds, ascending, without `+Inf`.
    pub fn bounds(&self) -> &[f64] {
        &self.inner.values
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.bounds() == other.bounds()
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buckets").field(&self.bounds()).finish()
    }
}

/// Counts observations in buckets, and sums them.
///
/// A handle: clone it freely, hold it, observe from any thread. One scrape sees a count, buckets
/// and a sum that belong together.
#[derive(Clone)]
pub struct Histogram {
    inner: Arc<Inner>,
}

struct Inner {
    bounds: Arc<Bounds>,
    /// Per thread: a sequence number that is odd while the thread writes, the bits of the sum, one
    /// count per bound and one for `+Inf`.
    cells: Option<Cells>,
    /// For threads that have no cells.
    shared: Mutex<Observed>,
}

/// What a histogram has seen.
#[derive(Default)]
struct Observed {
    /// One per bound and one for `+Inf`, not cumulative. Empty until the first observation.
    counts: Vec<u64>,
    sum: f64,
}

const SEQUENCE: usize = 0;
const SUM: usize = 1;
const COUNTS: usize = 2;

impl Histogram {
    /// A histogram over `buckets`.
    pub fn new(buckets: &Buckets) -> Self {
        Self {
            inner: Arc::new(Inner {
                cells: Cells::take(COUNTS + buckets.bounds().len() + 1),
                bounds: buckets.inner.clone(),
                shared: Mutex::default(),
            }),
        }
    }

    /// Counts one observation. NaN belongs to no bucket but `+Inf`, and makes the sum NaN.
    #[inline]
    pub fn observe(&self, value: f64) {
        let bucket = bucket_of(&self.inner.bounds.values, value);
        match self.inner.cells.as_ref().and_then(Cells::of_this_thread) {
            Some(cells) => {
                let (sum, count) = (&cells[SUM], &cells[COUNTS + bucket]);
                sequence::write(&cells[SEQUENCE], || {
                    let total = f64::from_bits(sum.load(Relaxed)) + value;
                    sum.store(total.to_bits(), Relaxed);
                    count.store(count.load(Relaxed) + 1, Relaxed);
                });
            }
            None => self.observe_shared(bucket, value),
        }
    }

    /// Observes the seconds from now until what is returned is dropped: on a return, an error, a
    /// cancelled future, a panic.
    #[must_use = "the time is observed at once if this is not held"]
    pub fn start_timer(&self) -> Timer {
        Timer {
            histogram: Some(self.clone()),
            start: Instant::now(),
        }
    }

    /// Bounds (without `+Inf`), the count of each bucket (not cumulative, `+Inf` last), the sum.
    pub fn read(&self) -> (&[f64], Vec<u64>, f64) {
        let (mut counts, mut own) = (Vec::new(), Vec::new());
        let sum = self.read_into(&mut counts, &mut own);
        (&self.inner.bounds.values, counts, sum)
    }

    /// [`Self::read`] into kept buffers: fills `counts`, returns the sum.
    fn read_into(&self, counts: &mut Vec<u64>, own: &mut Vec<u64>) -> f64 {
        counts.clear();
        let mut sum = {
            let shared = self
                .inner
                .shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            counts.extend_from_slice(&shared.counts);
            shared.sum
        };
        counts.resize(self.inner.bounds.text.len(), 0);
        if let Some(cells) = &self.inner.cells {
            own.resize(counts.len(), 0);
            cells.for_each_slot(|slot| {
                sum += read_slot(slot, own);
                for (count, own) in counts.iter_mut().zip(&*own) {
                    *count += own;
                }
            });
        }
        sum
    }

    #[cold]
    fn observe_shared(&self, bucket: usize, value: f64) {
        let mut shared = self
            .inner
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shared.counts.resize(self.inner.bounds.text.len(), 0);
        shared.counts[bucket] += 1;
        shared.sum += value;
    }
}

/// The index of the first bound that is not below `value`; one past the last for what is above
/// all, and for NaN.
#[inline]
fn bucket_of(bounds: &[f64], value: f64) -> usize {
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is above every bound")]
    let above = |bound: f64| !(value <= bound);
    if bounds.len() <= MAX_LINEAR {
        bounds.iter().map(|bound| usize::from(above(*bound))).sum()
    } else {
        bounds.partition_point(|bound| above(*bound))
    }
}

/// Copies the counts of one thread and returns its sum, both of the same moment.
fn read_slot(cells: &[AtomicU64], counts: &mut [u64]) -> f64 {
    let mut reads = 0;
    loop {
        let (sum, undisturbed) = sequence::read(&cells[SEQUENCE], || {
            for (count, cell) in counts.iter_mut().zip(&cells[COUNTS..]) {
                *count = cell.load(Relaxed);
            }
            f64::from_bits(cells[SUM].load(Relaxed))
        });
        reads += 1;
        if undisturbed || reads == QUICK_READS + PATIENT_READS {
            return sum;
        }
        if reads >= QUICK_READS {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Observes the time since it was made when it is dropped. Made by [`Histogram::start_timer`].
pub struct Timer {
    /// `None` once the measurement is forgotten.
    histogram: Option<Histogram>,
    start: Instant,
}

impl Timer {
    /// Forgets the measurement.
    pub fn discard(mut self) {
        self.histogram = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(histogram) = &self.histogram {
            histogram.observe(self.start.elapsed().as_secs_f64());
        }
    }
}

impl Metric for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;

    fn write(&self, line: &mut Line<'_, '_>) {
        line.histogram(&self.inner.bounds, |counts, own| {
            self.read_into(counts, own)
        });
    }

    fn into_cached(self) -> Cached {
        Cached::Histogram(self)
    }

    fn from_cached(cached: &Cached) -> Option<&Self> {
        match cached {
            Cached::Histogram(histogram) => Some(histogram),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn bounds_are_put_in_order() {
        let buckets = Buckets::new([1.0, f64::NAN, 0.5, 1.0, f64::INFINITY, -0.0, 0.0, -2.0]);
        assert_eq!(buckets.bounds(), [-2.0, 0.0, 0.5, 1.0]);
        assert_eq!(Buckets::exponential(1.0, 2.0, 3).bounds(), [1.0, 2.0, 4.0]);
        assert_eq!(Buckets::linear(1.0, 0.5, 3).bounds(), [1.0, 1.5, 2.0]);
    }

    #[test]
    fn an_observation_belongs_to_the_first_bound_it_does_not_exceed() {
        for count in [3, 40] {
            let bounds: Vec<f64> = (1..=count).map(f64::from).collect();
            let last = bounds.len();
            for (value, want) in [
                (f64::NEG_INFINITY, 0),
                (0.0, 0),
                (1.0, 0),
                (1.5, 1),
                (f64::from(count), last - 1),
                (f64::from(count) + 0.1, last),
                (f64::INFINITY, last),
                (f64::NAN, last),
            ] {
                assert_eq!(bucket_of(&bounds, value), want, "{value} in {count}");
            }
        }
    }

    #[test]
    fn a_histogram_without_bounds_and_one_too_wide_for_cells_count_too() {
        for buckets in [Buckets::new([]), Buckets::linear(0.0, 1.0, 1000)] {
            let histogram = Histogram::new(&buckets);
            histogram.observe(5.5);
            histogram.observe(2000.0);
            let (bounds, counts, sum) = histogram.read();
            assert_eq!(bounds.len() + 1, counts.len());
            assert_eq!(counts.iter().sum::<u64>(), 2);
            assert_eq!(sum, 2005.5);
        }
    }

    #[test]
    fn a_read_sees_sum_and_counts_of_the_same_observations() {
        const OBSERVATIONS: usize = if cfg!(miri) { 30 } else { 20_000 };
        let histogram = Histogram::new(&Buckets::new([1.0, 2.0]));
        let check = || {
            let (_, counts, sum) = histogram.read();
            let want = counts
                .iter()
                .zip([1.0, 2.0, 3.0])
                .map(|(n, v)| *n as f64 * v);
            assert_eq!(sum, want.sum::<f64>(), "{counts:?}");
            counts.iter().sum::<u64>()
        };
        let running = AtomicUsize::new(3);
        std::thread::scope(|scope| {
            for value in [1.0, 2.0, 3.0] {
                let (histogram, running) = (&histogram, &running);
                scope.spawn(move || {
                    for _ in 0..OBSERVATIONS {
                        histogram.observe(value);
                        // Mostly not in the middle of an observation when it is suspended.
                        for _ in 0..100 {
                            std::hint::spin_loop();
                        }
                    }
                    running.fetch_sub(1, Relaxed);
                });
            }
            while running.load(Relaxed) > 0 {
                check();
            }
        });
        assert_eq!(check(), 3 * OBSERVATIONS as u64);
    }

    #[test]
    fn a_timer_observes_when_it_is_dropped() {
        let histogram = Histogram::new(&Buckets::web());
        drop(histogram.start_timer());
        histogram.start_timer().discard();
        assert_eq!(histogram.read().1.iter().sum::<u64>(), 1);
    }
}
