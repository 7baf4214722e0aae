//! Equality of data.

use super::FloatHistogram;
use super::layout::indices;

impl FloatHistogram {
    /// Whether both hold the same data: the same buckets however their spans are written, and every
    /// number bit by bit. Counter reset hints do not matter. Empty buckets do: compact both first
    /// where they should not.
    pub fn same_data(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let counts =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(*a, *b));
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && (!self.has_custom_bounds() || self.custom_bounds[..] == other.custom_bounds[..])
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && counts(&self.positive_buckets, &other.positive_buckets)
            && counts(&self.negative_buckets, &other.negative_buckets)
            && indices(&self.positive_spans).eq(indices(&other.positive_spans))
            && indices(&self.negative_spans).eq(indices(&other.negative_spans))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CounterResetHint, Span};
    use super::*;

    #[test]
    fn only_data_counts() {
        let spans = |spans: &[(i32, u32)]| FloatHistogram {
            positive_spans: spans
                .iter()
                .map(|(offset, length)| Span {
                    offset: *offset,
                    length: *length,
                })
                .collect(),
            positive_buckets: vec![1.0, 2.0],
            sum: f64::NAN,
            ..FloatHistogram::default()
        };
        let one = spans(&[(1, 2)]);
        assert!(one.same_data(&spans(&[(1, 1), (0, 1), (7, 0)])));
        assert!(!one.same_data(&spans(&[(1, 1), (1, 1)])));
        let hinted = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            ..one.clone()
        };
        assert!(one.same_data(&hinted));
        let zero = FloatHistogram {
            zero_count: -0.0,
            ..one.clone()
        };
        assert!(!one.same_data(&zero));
    }
}
