//! Counter resets between two samples of a series.

use super::bounds::{exponential_bound, is_exponential};
use super::layout::{Cell, cells, coarsen};
use super::{CUSTOM_BOUNDS_SCHEMA, CounterResetHint, FloatHistogram, Span};

impl FloatHistogram {
    /// Whether the counter began anew between `previous` and this one: a count went down, a
    /// populated bucket is gone, or the layout changed as it never does within a counter's life.
    /// A hint decides at once; gauges are compared as if they were counters.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => true,
            CounterResetHint::NotCounterReset => false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => self.falls_since(previous),
        }
    }

    /// [`FloatHistogram::detect_reset`] without regard to the hint.
    pub fn falls_since(&self, previous: &Self) -> bool {
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_bounds() {
            if !previous.has_custom_bounds() {
                return true;
            }
            if self.custom_bounds[..] != previous.custom_bounds[..] {
                return self.falls_within_shared_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let widened = previous.widened_zero(self.zero_threshold, None);
        if widened.threshold != self.zero_threshold || self.zero_count < widened.count {
            return true;
        }
        let falls = |ours: (&[Span], &[f64]), theirs: (&[Span], &[f64])| {
            let ours = cells(ours.0, ours.1, &[]);
            let mut theirs = cells(theirs.0, theirs.1, &[]);
            if previous.schema > self.schema && is_exponential(self.schema) {
                theirs = coarsen(&theirs, previous.schema, self.schema, false);
            }
            any_fell(
                self.outside_zero_cells(&ours),
                self.outside_zero_cells(&theirs),
            )
        };
        falls(
            (&self.positive_spans, &self.positive_buckets),
            (&previous.positive_spans, &previous.positive_buckets),
        ) || falls(
            (&self.negative_spans, &self.negative_buckets),
            (&previous.negative_spans, &previous.negative_buckets),
        )
    }

    /// The cells beyond this histogram's zero bucket.
    fn outside_zero_cells<'a>(&self, cells: &'a [Cell]) -> &'a [Cell] {
        if self.zero_threshold == 0.0 || !is_exponential(self.schema) {
            return cells;
        }
        let inside =
            |cell: &&Cell| exponential_bound(cell.index, self.schema) <= self.zero_threshold;
        &cells[cells.iter().take_while(inside).count()..]
    }

    /// Whether a count between two bounds that both have went down.
    fn falls_within_shared_bounds(&self, previous: &Self) -> bool {
        let cumulate = |histogram: &Self| -> Vec<f64> {
            // Sums between shared bounds, the last up to infinity.
            let mut shared = histogram.sums_between(&self.custom_bounds, &previous.custom_bounds);
            shared.shrink_to_fit();
            shared
        };
        cumulate(self)
            .iter()
            .zip(&cumulate(previous))
            .any(|(now, before)| now < before)
    }

    /// The sums of its buckets between bounds that are in both lists.
    fn sums_between(&self, ones: &[f64], others: &[f64]) -> Vec<f64> {
        let is_shared = |bound: f64| ones.contains(&bound) && others.contains(&bound);
        let mut cells = cells(&self.positive_spans, &self.positive_buckets, &[])
            .into_iter()
            .peekable();
        let mut sums = Vec::new();
        for (index, bound) in (0..).zip(self.custom_bounds.iter()) {
            if !is_shared(*bound) {
                continue;
            }
            let mut sum = 0.0;
            while let Some(cell) = cells.next_if(|cell| cell.index <= index) {
                sum += cell.count;
            }
            sums.push(sum);
        }
        sums.push(
            cells
                .map(|cell| cell.count)
                .fold(0.0, |sum, count| sum + count),
        );
        sums
    }

    /// Whether samples of both can stand in one run of a counter: the layout is the same, so that
    /// only counts tell whether there was a reset.
    pub fn has_layout_of(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && (self.schema != CUSTOM_BOUNDS_SCHEMA
                || self.custom_bounds[..] == other.custom_bounds[..])
    }
}

/// Whether a bucket fell or went away.
fn any_fell(ours: &[Cell], theirs: &[Cell]) -> bool {
    let mut ours = ours.iter().peekable();
    theirs.iter().any(|before| {
        while ours.next_if(|cell| cell.index < before.index).is_some() {}
        match ours.peek().filter(|cell| cell.index == before.index) {
            Some(now) => now.count < before.count,
            None => before.count != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            count: counts.iter().sum(),
            zero_threshold: 0.001,
            positive_spans: vec![Span {
                offset: 0,
                length: counts.len() as u32,
            }],
            positive_buckets: counts.to_vec(),
            ..FloatHistogram::default()
        }
    }

    fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            zero_threshold: 0.0,
            custom_bounds: bounds.into(),
            ..counter(counts)
        }
    }

    #[test]
    fn a_fall_anywhere_is_a_reset() {
        let before = counter(&[1.0, 2.0, 0.0]);
        assert!(!before.detect_reset(&before));
        assert!(!counter(&[1.0, 2.0]).detect_reset(&before));
        assert!(counter(&[4.0]).detect_reset(&before));
        assert!(counter(&[0.0, 9.0]).detect_reset(&before));
        assert!(counter(&[1.0, 1.0]).detect_reset(&before));
        let hinted = |hint, counts: &[f64]| FloatHistogram {
            counter_reset_hint: hint,
            ..counter(counts)
        };
        assert!(hinted(CounterResetHint::CounterReset, &[9.0, 9.0]).detect_reset(&before));
        assert!(!hinted(CounterResetHint::NotCounterReset, &[0.0]).detect_reset(&before));
        assert!(hinted(CounterResetHint::Gauge, &[0.0]).detect_reset(&before));
    }

    #[test]
    fn layouts_change_only_one_way() {
        let before = counter(&[1.0, 2.0, 3.0]);
        let finer = FloatHistogram {
            schema: 1,
            ..counter(&[9.0, 9.0])
        };
        assert!(finer.detect_reset(&before));
        let coarser = FloatHistogram {
            schema: -1,
            ..counter(&[1.0, 5.0])
        };
        assert!(!coarser.detect_reset(&before));
        let wider = |threshold, zero_count, counts: &[f64]| FloatHistogram {
            zero_threshold: threshold,
            zero_count,
            count: 20.0,
            ..counter(counts)
        };
        // The zero bucket takes what lies within it, but cuts no populated bucket.
        assert!(!wider(1.0, 1.0, &[0.0, 2.0, 3.0]).detect_reset(&before));
        assert!(wider(1.0, 0.0, &[0.0, 2.0, 3.0]).detect_reset(&before));
        assert!(wider(1.5, 9.0, &[0.0, 9.0, 9.0]).detect_reset(&before));
        assert!(before.detect_reset(&wider(1.0, 0.0, &[])));
    }

    #[test]
    fn custom_bounds_are_compared_where_shared() {
        let before = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 1.0]);
        assert!(!custom(&[1.0, 5.0], &[1.0, 5.0, 1.0]).detect_reset(&before));
        assert!(custom(&[1.0, 5.0], &[1.0, 4.0, 9.0]).detect_reset(&before));
        assert!(!custom(&[7.0], &[9.0, 9.0]).detect_reset(&before));
        assert!(custom(&[1.0], &[9.0]).detect_reset(&counter(&[1.0])));
        assert!(counter(&[9.0]).detect_reset(&custom(&[1.0], &[1.0])));
    }
}
