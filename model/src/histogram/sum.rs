//! Sums that keep what floats lose to rounding.

use super::FloatHistogram;
use super::add::{Combined, IncompatibleSchemas};

/// A sum of histograms with Neumaier's compensation, component by component.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    /// What was added up so far, without compensation.
    pub total: FloatHistogram,
    compensation: Option<Compensation>,
}

/// What the components of a sum lost to rounding; buckets side by side with those of the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Compensation {
    pub(super) zero_count: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) positive: Vec<f64>,
    pub(super) negative: Vec<f64>,
}

impl HistogramSum {
    /// A sum of one.
    pub fn new(first: FloatHistogram) -> Self {
        Self {
            total: first,
            compensation: None,
        }
    }

    /// Adds another.
    ///
    /// # Errors
    /// One has exponential buckets and the other custom bounds; the sum is what it was.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        let compensation = self.compensation.get_or_insert_with(|| Compensation {
            positive: vec![0.0; self.total.positive_buckets.len()],
            negative: vec![0.0; self.total.negative_buckets.len()],
            ..Compensation::default()
        });
        self.total.combine(other, false, Some(compensation))
    }

    /// Multiplies all of it.
    pub fn multiply(&mut self, factor: f64) {
        self.total.multiply(factor);
        if let Some(compensation) = &mut self.compensation {
            compensation.each(|value| *value *= factor);
        }
    }

    /// Divides all of it.
    pub fn divide(&mut self, divisor: f64) {
        self.total.divide(divisor);
        if let Some(compensation) = &mut self.compensation {
            compensation.each(|value| *value /= divisor);
            if divisor == 0.0 {
                compensation.positive.clear();
                compensation.negative.clear();
            }
        }
    }

    /// The sum, compensated.
    pub fn finish(self) -> FloatHistogram {
        let mut total = self.total;
        if let Some(lost) = self.compensation {
            total.zero_count += lost.zero_count;
            total.count += lost.count;
            total.sum += lost.sum;
            let add = |counts: &mut Vec<f64>, lost: &[f64]| {
                for (count, lost) in counts.iter_mut().zip(lost) {
                    *count += lost;
                }
            };
            add(&mut total.positive_buckets, &lost.positive);
            add(&mut total.negative_buckets, &lost.negative);
        }
        total
    }
}

impl Compensation {
    fn each(&mut self, change: impl Fn(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().for_each(&change);
        self.negative.iter_mut().for_each(&change);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    fn one_bucket(offset: i32, count: f64) -> FloatHistogram {
        FloatHistogram {
            count,
            sum: count,
            positive_spans: vec![Span { offset, length: 1 }],
            positive_buckets: vec![count],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        let mut sum = HistogramSum::new(one_bucket(0, 1e100));
        for (offset, count) in [(0, 1.0), (1, 5.0), (0, -1e100)] {
            sum.add(&one_bucket(offset, count)).expect("same kind");
        }
        let sum = sum.finish();
        assert_eq!((sum.count, sum.sum), (6.0, 6.0));
        assert_eq!(sum.positive_buckets, [1.0, 5.0]);
    }

    #[test]
    fn coarser_histograms_and_wider_zeros_are_compensated_too() {
        let mut fine = one_bucket(1, 1e100);
        fine.schema = 1;
        let mut sum = HistogramSum::new(fine.clone());
        fine.positive_buckets = vec![1.0];
        sum.add(&fine).expect("same kind");
        sum.add(&one_bucket(1, -1e100)).expect("same kind");
        let mut wide = one_bucket(3, 2.0);
        wide.zero_threshold = 2.0;
        wide.zero_count = 3.0;
        sum.add(&wide).expect("same kind");
        let sum = sum.finish();
        assert_eq!((sum.schema, sum.zero_threshold), (0, 2.0));
        assert_eq!(sum.zero_count, 4.0);
        assert_eq!(sum.positive_buckets, [2.0]);
    }
}
