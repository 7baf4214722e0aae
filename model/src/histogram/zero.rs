//! The zero bucket: how it grows over others.

use super::FloatHistogram;
use super::layout::{Cell, cells, spans_of};
use super::sum::Compensation;
use crate::float::kahan_add;

/// What the zero bucket would hold if it were wider.
pub(super) struct Widened {
    pub(super) count: f64,
    /// As wished, or wider where that would cut a populated bucket.
    pub(super) threshold: f64,
    pub(super) compensation: f64,
}

impl FloatHistogram {
    /// The zero bucket if it reached `threshold`, which is no less than what it has.
    pub(super) fn widened_zero(
        &self,
        mut threshold: f64,
        compensation: Option<&Compensation>,
    ) -> Widened {
        let mut lost = compensation.map_or(0.0, |c| c.zero_count);
        if threshold <= self.zero_threshold {
            return Widened {
                count: self.zero_count,
                threshold: self.zero_threshold,
                compensation: lost,
            };
        }
        let of = |counts: Option<&Vec<f64>>, place: usize| {
            counts.and_then(|counts| counts.get(place)).copied()
        };
        'again: loop {
            let mut count = self.zero_count;
            for (place, bucket) in self.positive().enumerate() {
                if bucket.lower >= threshold {
                    break;
                }
                (count, lost) = kahan_add(bucket.count, count, lost);
                if let Some(own) = of(compensation.map(|c| &c.positive), place) {
                    (count, lost) = kahan_add(own, count, lost);
                }
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for (place, bucket) in self.negative().enumerate() {
                if bucket.upper <= -threshold {
                    break;
                }
                (count, lost) = kahan_add(bucket.count, count, lost);
                if let Some(own) = of(compensation.map(|c| &c.negative), place) {
                    (count, lost) = kahan_add(own, count, lost);
                }
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        // What was taken from the positive side is too little now.
                        threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return Widened {
                count,
                threshold,
                compensation: lost,
            };
        }
    }

    /// Widens its zero bucket until it is as wide as the other's would be, neither cutting a
    /// populated bucket. Returns what the other's would hold.
    pub(super) fn reconcile_zero(
        &mut self,
        other: &Self,
        mut compensation: Option<&mut Compensation>,
    ) -> (f64, f64) {
        let (mut count, mut lost) = (other.zero_count, 0.0);
        let mut threshold = other.zero_threshold;
        while threshold != self.zero_threshold {
            if threshold.is_nan() || self.zero_threshold.is_nan() {
                // They would never become equal.
                break;
            }
            if self.zero_threshold > threshold {
                let widened = other.widened_zero(self.zero_threshold, None);
                (count, threshold, lost) = (widened.count, widened.threshold, widened.compensation);
            }
            if threshold > self.zero_threshold {
                let widened = self.widened_zero(threshold, compensation.as_deref());
                self.zero_count = widened.count;
                self.zero_threshold = widened.threshold;
                if let Some(compensation) = compensation.as_deref_mut() {
                    compensation.zero_count = widened.compensation;
                }
                self.trim_in_zero(compensation.as_deref_mut());
            }
        }
        (count, lost)
    }

    /// Removes the buckets that the zero bucket took, and empty ones.
    fn trim_in_zero(&mut self, compensation: Option<&mut Compensation>) {
        let threshold = self.zero_threshold;
        let inside_above = self.positive().take_while(|b| b.lower < threshold).count();
        let inside_below = self.negative().take_while(|b| b.upper > -threshold).count();
        let kept = |cells: Vec<Cell>, inside: usize| -> Vec<Cell> {
            let populated = |cell: &Cell| cell.count != 0.0 || cell.compensation != 0.0;
            cells.into_iter().skip(inside).filter(populated).collect()
        };
        let lost = compensation.as_deref();
        let positive = kept(
            cells(
                &self.positive_spans,
                &self.positive_buckets,
                lost.map_or(&[], |c| &c.positive),
            ),
            inside_above,
        );
        let negative = kept(
            cells(
                &self.negative_spans,
                &self.negative_buckets,
                lost.map_or(&[], |c| &c.negative),
            ),
            inside_below,
        );
        self.positive_spans = spans_of(positive.iter().map(|cell| cell.index));
        self.positive_buckets = positive.iter().map(|cell| cell.count).collect();
        self.negative_spans = spans_of(negative.iter().map(|cell| cell.index));
        self.negative_buckets = negative.iter().map(|cell| cell.count).collect();
        if let Some(compensation) = compensation {
            compensation.positive = positive.iter().map(|cell| cell.compensation).collect();
            compensation.negative = negative.iter().map(|cell| cell.compensation).collect();
        }
    }
}
