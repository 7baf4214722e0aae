//! Buckets with their bounds.

use super::bounds::upper_bound;
use super::layout::indexed;
use super::{CUSTOM_BOUNDS_SCHEMA, FloatHistogram};
use crate::float::log2;
use crate::number::push_go_g;

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether observations of `lower` are in it.
    pub lower_inclusive: bool,
    /// Whether observations of `upper` are in it.
    pub upper_inclusive: bool,
    /// How many observations are in it.
    pub count: f64,
}

impl Bucket {
    /// The share of its width below `value`, which lies within its finite bounds: linear, or on a
    /// logarithmic scale as within exponential buckets.
    pub fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let lower = log2(self.lower.abs());
        let upper = log2(self.upper.abs());
        let at = log2(value.abs());
        if value > 0.0 {
            (at - lower) / (upper - lower)
        } else {
            1.0 - ((at - upper) / (lower - upper))
        }
    }

    /// Which bounds are included, as the HTTP API numbers it: 0 only the upper, 1 only the lower,
    /// 2 neither, 3 both.
    pub fn boundaries_code(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }

    /// Appends it in interval notation with its count: `(1,2]:3`.
    pub(super) fn push_text(&self, out: &mut String) {
        out.push(if self.lower_inclusive { '[' } else { '(' });
        push_go_g(out, self.lower);
        out.push(',');
        push_go_g(out, self.upper);
        out.push(if self.upper_inclusive { ']' } else { ')' });
        out.push(':');
        push_go_g(out, self.count);
    }
}

impl FloatHistogram {
    /// The bucket around zero, of exponential schemas.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// The buckets of positive values, or of custom bounds, ascending.
    pub fn positive(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.positive_spans, &self.positive_buckets)
            .map(|(index, count)| self.bucket_at(index, count, true))
    }

    /// The buckets of negative values, from zero downwards.
    pub fn negative(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.negative_spans, &self.negative_buckets)
            .map(|(index, count)| self.bucket_at(index, count, false))
    }

    /// All buckets, ascending: negative, zero if it has observations, positive. Where one overlaps
    /// the zero bucket it ends there.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let cells = |spans, counts| indexed(spans, counts).collect::<Vec<(i32, f64)>>();
        let negative = cells(&self.negative_spans, &self.negative_buckets);
        let positive = cells(&self.positive_spans, &self.positive_buckets);
        let zero = (self.zero_count > 0.0 && !self.has_custom_bounds()).then(|| self.zero_bucket());
        let below = negative
            .into_iter()
            .rev()
            .map(|(index, count)| self.bucket_at(index, count, false));
        let above = positive
            .into_iter()
            .map(|(index, count)| self.bucket_at(index, count, true));
        below
            .map(|bucket| self.outside_zero(bucket))
            .chain(zero)
            .chain(above.map(|bucket| self.outside_zero(bucket)))
    }

    /// Whether its bounds are given one by one.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    fn bucket_at(&self, index: i32, count: f64, is_positive: bool) -> Bucket {
        let bound = |index| upper_bound(index, self.schema, &self.custom_bounds);
        let (far, near) = (bound(index), bound(index.wrapping_sub(1)));
        let (lower, upper) = if is_positive {
            (near, far)
        } else {
            (-far, -near)
        };
        let custom = self.has_custom_bounds();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
        }
    }

    fn outside_zero(&self, mut bucket: Bucket) -> Bucket {
        let threshold = self.zero_threshold;
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        } else if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    fn spans(offset: i32, length: u32) -> Vec<Span> {
        vec![Span { offset, length }]
    }

    #[test]
    fn buckets_go_from_lowest_to_highest() {
        let histogram = FloatHistogram {
            zero_threshold: 0.75,
            zero_count: 4.0,
            positive_spans: spans(0, 2),
            positive_buckets: vec![1.0, 2.0],
            negative_spans: spans(1, 1),
            negative_buckets: vec![3.0],
            ..FloatHistogram::default()
        };
        let bounds = |buckets: &mut dyn Iterator<Item = Bucket>| {
            buckets
                .map(|b| (b.lower, b.upper, b.count))
                .collect::<Vec<_>>()
        };
        let mut want = vec![
            (-2.0, -1.0, 3.0),
            (-0.75, 0.75, 4.0),
            (0.75, 1.0, 1.0),
            (1.0, 2.0, 2.0),
        ];
        assert_eq!(bounds(&mut histogram.buckets()), want);
        want.reverse();
        assert_eq!(bounds(&mut histogram.buckets().rev()), want);
        let codes: Vec<u8> = histogram.buckets().map(|b| b.boundaries_code()).collect();
        assert_eq!(codes, [1, 3, 0, 0]);
    }

    #[test]
    fn custom_buckets_begin_at_minus_infinity() {
        let histogram = FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive_spans: spans(0, 3),
            positive_buckets: vec![1.0, 2.0, 3.0],
            custom_bounds: [2.0, 4.0].into(),
            ..FloatHistogram::default()
        };
        let all: Vec<Bucket> = histogram.buckets().collect();
        assert_eq!((all[0].lower, all[0].upper), (f64::NEG_INFINITY, 2.0));
        assert!(all[0].lower_inclusive && !all[1].lower_inclusive);
        assert_eq!((all[2].lower, all[2].upper), (4.0, f64::INFINITY));
    }

    #[test]
    fn fractions_are_linear_or_logarithmic() {
        let bucket = |lower, upper| Bucket {
            lower,
            upper,
            lower_inclusive: false,
            upper_inclusive: true,
            count: 1.0,
        };
        assert_eq!(bucket(2.0, 4.0).fraction_below(3.0, true), 0.5);
        assert_eq!(bucket(1.0, 4.0).fraction_below(2.0, false), 0.5);
        assert_eq!(bucket(-4.0, -1.0).fraction_below(-2.0, false), 0.5);
    }
}
