//! The native histograms of a query.
//!
//! Columns are floats. Where a value is a histogram, the slot holds a NaN that no computation
//! yields and no read lets through (`TAG`), with the place of the histogram in the arena. So
//! whatever only asks whether there is a value — matching, grouping, counting, merging — treats
//! both alike, and a query without histograms pays nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use barograph_model::{FloatHistogram, STALE_NAN_BITS};

use super::limits::Limits;
use super::vector::ABSENT;
use crate::error::QueryError;
use crate::memory::Held;

/// The upper bits of a slot that holds a histogram: those of a signalling NaN, which arithmetic
/// never results in.
const TAG: u64 = 0x7ff4;
/// What makes a signalling NaN a quiet one.
const QUIET_BIT: u64 = 1 << 51;

/// Whether a slot holds a histogram.
#[inline]
pub(crate) fn is_histogram(value: f64) -> bool {
    value.to_bits() >> 48 == TAG
}

/// Whether a value is a signalling NaN, and so may be taken for something else than a float.
#[inline]
pub(crate) fn is_signalling(value: f64) -> bool {
    let unsigned = value.to_bits() << 1;
    unsigned.wrapping_sub((0x7ff0 << 49) + 1) < (1 << 52) - 1
}

/// A stored float as columns hold it: the staleness marker and every number as they are, other
/// signalling NaNs quiet.
#[inline]
pub(crate) fn quiet(value: f64) -> f64 {
    if is_signalling(value) && value.to_bits() != STALE_NAN_BITS {
        f64::from_bits(value.to_bits() | QUIET_BIT)
    } else {
        value
    }
}

/// Empties the slots that hold histograms. Returns whether there were any.
pub(crate) fn drop_histograms(values: &mut [f64]) -> bool {
    let mut any = false;
    for value in values.iter_mut().filter(|value| is_histogram(**value)) {
        *value = ABSENT;
        any = true;
    }
    any
}

/// Keeps the histograms that slots name. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Arena {
    kept: Rc<RefCell<Kept>>,
    limits: Limits,
}

struct Kept {
    histograms: Vec<Arc<FloatHistogram>>,
    size_bytes: usize,
    memory: Held,
}

impl Arena {
    pub(crate) fn new(limits: Limits) -> Self {
        let kept = Kept {
            histograms: Vec::new(),
            size_bytes: 0,
            memory: limits.held(),
        };
        Self {
            kept: Rc::new(RefCell::new(kept)),
            limits,
        }
    }

    /// Whether any slot can hold a histogram.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        !self.kept.borrow().histograms.is_empty()
    }

    /// Keeps a histogram; returns what its slot holds.
    ///
    /// # Errors
    /// The query holds too much.
    pub(crate) fn put(&self, histogram: impl Into<Arc<FloatHistogram>>) -> Result<f64, QueryError> {
        let histogram = histogram.into();
        self.limits.hold(weight(&histogram))?;
        let mut kept = self.kept.borrow_mut();
        let size_bytes = size_bytes(&histogram);
        kept.size_bytes += size_bytes;
        kept.memory.grow(size_bytes);
        kept.histograms.push(histogram);
        Ok(f64::from_bits(
            (TAG << 48) | (kept.histograms.len() - 1) as u64,
        ))
    }

    /// The histogram of a slot; `None` where it holds a float or nothing.
    #[inline]
    pub(crate) fn get(&self, value: f64) -> Option<Arc<FloatHistogram>> {
        if !is_histogram(value) {
            return None;
        }
        let place = value.to_bits() & ((1 << 48) - 1);
        self.kept.borrow().histograms.get(place as usize).cloned()
    }

    /// How many it keeps, to go back to.
    pub(crate) fn mark(&self) -> usize {
        self.kept.borrow().histograms.len()
    }

    /// Forgets those kept since the mark: nobody may hold slots of theirs any more.
    pub(crate) fn forget_since(&self, mark: usize) {
        let mut kept = self.kept.borrow_mut();
        let gone = kept.histograms.drain(mark..);
        let (mut samples, mut bytes) = (0, 0);
        for histogram in gone {
            samples += weight(&histogram);
            bytes += size_bytes(&histogram);
        }
        if bytes > 0 {
            kept.size_bytes -= bytes;
            let left = kept.size_bytes;
            kept.memory.set(left);
        }
        self.limits.release(samples);
    }
}

/// How many samples a histogram counts as: one per 16 bytes.
pub(crate) fn weight(histogram: &FloatHistogram) -> usize {
    const TIMESTAMP_BYTES: usize = 8;
    (counted_bytes(histogram) + TIMESTAMP_BYTES) / 16
}

/// How many samples a histogram counts as in a vector.
pub(super) fn vector_weight(histogram: &FloatHistogram) -> usize {
    1 + counted_bytes(histogram) / 16
}

/// Bytes of a histogram as Prometheus lays it out.
fn counted_bytes(histogram: &FloatHistogram) -> usize {
    const WITHOUT_BUCKETS: usize = 168;
    let parts = histogram.positive_spans.len()
        + histogram.negative_spans.len()
        + histogram.positive_buckets.len()
        + histogram.negative_buckets.len()
        + histogram.custom_bounds.len();
    WITHOUT_BUCKETS + parts * 8
}

/// Bytes of a histogram that somebody keeps.
pub(crate) fn size_bytes(histogram: &FloatHistogram) -> usize {
    /// What points to it, and the two counts of references.
    const POINTER_BYTES: usize = 24;
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
    size_of::<FloatHistogram>()
        + POINTER_BYTES
        + spans * size_of::<barograph_model::histogram::Span>()
        + buckets * size_of::<f64>()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use barograph_instrument::Registry;

    use super::*;
    use crate::engine::Cancel;
    use crate::memory::Budget;
    use crate::pool::Lane;

    #[test]
    fn floats_are_never_taken_for_histograms() {
        for bits in [
            0x7ff0_0000_0000_0001,
            0x7ff4_0000_0000_0000,
            0x7ff4_0000_0000_0007,
            0xfff4_0000_0000_0001,
            0x7ff7_ffff_ffff_ffff,
        ] {
            let value = f64::from_bits(bits);
            assert!(is_signalling(value), "{bits:x}");
            let quiet = quiet(value);
            assert!(quiet.is_nan() && !is_signalling(quiet) && !is_histogram(quiet));
            assert!(!is_histogram(quiet.abs()) && !is_histogram(-quiet));
        }
        for value in [
            0.0,
            -0.0,
            1.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            -f64::NAN,
        ] {
            assert!(!is_signalling(value));
            assert_eq!(quiet(value).to_bits(), value.to_bits());
        }
        assert_eq!(quiet(ABSENT).to_bits(), ABSENT.to_bits());
    }

    #[test]
    fn slots_name_their_histogram() {
        let deadline = Instant::now() + Duration::from_mins(1);
        let budget = Budget::new(0, 0, &Registry::new());
        let account = budget.open(Lane::User);
        let arena = Arena::new(Limits::new(
            deadline,
            Cancel::default(),
            30,
            account.clone(),
        ));
        assert!(!arena.any());
        let of_count = |count| FloatHistogram {
            count,
            ..FloatHistogram::default()
        };
        let one = arena.put(of_count(1.0)).expect("room");
        let mark = arena.mark();
        let two = arena.put(of_count(2.0)).expect("room");
        assert!(arena.put(of_count(3.0)).is_err(), "three are too many");
        assert!(is_histogram(two) && !is_histogram(ABSENT) && !is_histogram(2.0));
        assert_eq!(arena.get(two).map(|h| h.count), Some(2.0));
        arena.forget_since(mark);
        assert_eq!(arena.get(one).map(|h| h.count), Some(1.0));
        assert!(arena.get(two).is_none());
        assert_eq!(account.used(), size_bytes(&of_count(1.0)) as u64);
        let mut values = [1.0, one, ABSENT];
        assert!(drop_histograms(&mut values) && !drop_histograms(&mut values));
    }
}
