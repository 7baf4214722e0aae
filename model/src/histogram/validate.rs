//! What makes a histogram valid.

use std::fmt;

use super::bounds::is_exponential;
use super::{
    CUSTOM_BOUNDS_SCHEMA, FloatHistogram, GREATEST_EXPONENTIAL_SCHEMA, IntegerHistogram,
    LEAST_EXPONENTIAL_SCHEMA, Span,
};

/// Why a histogram is not valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InvalidHistogram {
    /// A schema that is neither exponential nor of custom bounds.
    Schema(i32),
    /// A span that begins before the end of the one before; which one, from 1.
    SpanOffset(usize),
    /// Spans of so many buckets, and so many counts.
    Buckets {
        /// What the spans say.
        spans: u64,
        /// What is there.
        counts: usize,
    },
    /// A negative count of observations.
    Negative,
    /// A negative count in a bucket; which one, from 1, or the zero bucket.
    NegativeBucket(Option<usize>),
    /// More observations in buckets than in all.
    CountTooSmall,
    /// Fewer or more observations in buckets than in all.
    CountMismatch,
    /// Custom bounds that do not ascend, are NaN or end in infinity.
    CustomBounds,
    /// Fewer custom bounds than buckets.
    TooFewCustomBounds,
    /// Custom bounds go without zero bucket and negative buckets, and exponential schemas without
    /// custom bounds.
    Mixed,
}

impl fmt::Display for InvalidHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema(schema) => write!(
                f,
                "the histogram has schema {schema}, which must be from {LEAST_EXPONENTIAL_SCHEMA} to {GREATEST_EXPONENTIAL_SCHEMA}, or {CUSTOM_BOUNDS_SCHEMA} for custom buckets"
            ),
            Self::SpanOffset(number) => {
                write!(f, "span {number} of the histogram has a negative offset")
            }
            Self::Buckets { spans, counts } => write!(
                f,
                "the histogram's spans need {spans} buckets, there are {counts}"
            ),
            Self::Negative => f.write_str("the histogram's count of observations is negative"),
            Self::NegativeBucket(Some(number)) => {
                write!(f, "bucket {number} of the histogram has a negative count")
            }
            Self::NegativeBucket(None) => {
                f.write_str("the histogram's zero bucket has a negative count")
            }
            Self::CountTooSmall => f.write_str(
                "the histogram's buckets hold more observations than its count of observations",
            ),
            Self::CountMismatch => f.write_str(
                "the histogram's count of observations differs from that in its buckets",
            ),
            Self::CustomBounds => f.write_str(
                "the histogram's custom bounds must ascend, be numbers and end before infinity",
            ),
            Self::TooFewCustomBounds => {
                f.write_str("the histogram has fewer custom bounds than its spans need")
            }
            Self::Mixed => f.write_str(
                "a histogram has either custom bounds or zero bucket and negative buckets",
            ),
        }
    }
}

impl std::error::Error for InvalidHistogram {}

impl FloatHistogram {
    /// Checks that its parts fit together. Counts of buckets need not add up exactly: they are
    /// floats.
    ///
    /// # Errors
    /// The first fault.
    pub fn validate(&self) -> Result<(), InvalidHistogram> {
        Parts {
            schema: self.schema,
            has_zero: self.zero_count != 0.0 || self.zero_threshold != 0.0,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            custom_bounds: &self.custom_bounds,
        }
        .validate()?;
        let negative = |counts: &[f64]| counts.iter().position(|count| *count < 0.0);
        if let Some(at) = negative(&self.negative_buckets) {
            return Err(InvalidHistogram::NegativeBucket(Some(at + 1)));
        }
        if self.zero_count < 0.0 {
            return Err(InvalidHistogram::NegativeBucket(None));
        }
        if self.count < 0.0 {
            return Err(InvalidHistogram::Negative);
        }
        match negative(&self.positive_buckets) {
            Some(at) => Err(InvalidHistogram::NegativeBucket(Some(at + 1))),
            None => Ok(()),
        }
    }
}

impl IntegerHistogram {
    /// Checks that its parts fit together and that its buckets hold all observations; if the sum is
    /// NaN, some may have been NaN and are in no bucket.
    ///
    /// # Errors
    /// The first fault.
    pub fn validate(&self) -> Result<(), InvalidHistogram> {
        Parts {
            schema: self.schema,
            has_zero: self.zero_count != 0 || self.zero_threshold != 0.0,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            custom_bounds: &self.custom_bounds,
        }
        .validate()?;
        let counts = self.positive_buckets.iter().chain(&self.negative_buckets);
        let in_buckets = counts.fold(self.zero_count, |sum, count| sum.saturating_add(*count));
        if self.sum.is_nan() {
            if in_buckets > self.count {
                return Err(InvalidHistogram::CountTooSmall);
            }
        } else if in_buckets != self.count {
            return Err(InvalidHistogram::CountMismatch);
        }
        Ok(())
    }
}

/// What does not depend on the kind of counts.
struct Parts<'a> {
    schema: i32,
    has_zero: bool,
    positive: (&'a [Span], usize),
    negative: (&'a [Span], usize),
    custom_bounds: &'a [f64],
}

impl Parts<'_> {
    fn validate(&self) -> Result<(), InvalidHistogram> {
        check_spans(self.positive)?;
        if self.schema == CUSTOM_BOUNDS_SCHEMA {
            if self.has_zero || !self.negative.0.is_empty() || self.negative.1 > 0 {
                return Err(InvalidHistogram::Mixed);
            }
            return self.check_custom();
        }
        if !is_exponential(self.schema) {
            return Err(InvalidHistogram::Schema(self.schema));
        }
        if !self.custom_bounds.is_empty() {
            return Err(InvalidHistogram::Mixed);
        }
        check_spans(self.negative)
    }

    fn check_custom(&self) -> Result<(), InvalidHistogram> {
        let bounds = self.custom_bounds;
        let ascends = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| a < b);
        let is_last_finite = bounds.last().is_none_or(|last| *last < f64::INFINITY);
        if !ascends || !is_last_finite {
            return Err(InvalidHistogram::CustomBounds);
        }
        let first = self.positive.0.first();
        if first.is_some_and(|span| span.offset < 0) {
            return Err(InvalidHistogram::SpanOffset(1));
        }
        let reach: u64 = self
            .positive
            .0
            .iter()
            .map(|span| u64::from(span.length) + u64::from(span.offset.unsigned_abs()))
            .sum();
        if bounds.len() as u64 + 1 < reach {
            return Err(InvalidHistogram::TooFewCustomBounds);
        }
        Ok(())
    }
}

fn check_spans((spans, counts): (&[Span], usize)) -> Result<(), InvalidHistogram> {
    let behind = spans.iter().enumerate().skip(1);
    if let Some((at, _)) = behind.into_iter().find(|(_, span)| span.offset < 0) {
        return Err(InvalidHistogram::SpanOffset(at + 1));
    }
    let needed: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if needed != counts as u64 {
        return Err(InvalidHistogram::Buckets {
            spans: needed,
            counts,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> FloatHistogram {
        FloatHistogram {
            count: 3.0,
            positive_spans: vec![Span {
                offset: -3,
                length: 2,
            }],
            positive_buckets: vec![1.0, 2.0],
            ..FloatHistogram::default()
        }
    }

    fn custom(bounds: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            custom_bounds: bounds.into(),
            ..valid()
        }
    }

    #[test]
    fn faults_are_named() {
        use InvalidHistogram as Fault;
        assert_eq!(valid().validate(), Ok(()));
        assert_eq!(custom(&[1.0]).validate(), Ok(()));
        let span = |offset, length| Span { offset, length };
        for (histogram, fault) in [
            (
                FloatHistogram {
                    schema: 9,
                    ..valid()
                },
                Fault::Schema(9),
            ),
            (
                FloatHistogram {
                    positive_spans: vec![span(0, 1), span(-1, 1)],
                    ..valid()
                },
                Fault::SpanOffset(2),
            ),
            (
                FloatHistogram {
                    negative_spans: vec![span(0, 1)],
                    ..valid()
                },
                Fault::Buckets {
                    spans: 1,
                    counts: 0,
                },
            ),
            (
                FloatHistogram {
                    count: -1.0,
                    ..valid()
                },
                Fault::Negative,
            ),
            (
                FloatHistogram {
                    zero_count: -1.0,
                    ..valid()
                },
                Fault::NegativeBucket(None),
            ),
            (
                FloatHistogram {
                    positive_buckets: vec![1.0, -2.0],
                    ..valid()
                },
                Fault::NegativeBucket(Some(2)),
            ),
            (custom(&[2.0, 1.0]), Fault::CustomBounds),
            (custom(&[f64::NAN]), Fault::CustomBounds),
            (custom(&[f64::INFINITY]), Fault::CustomBounds),
            (custom(&[]), Fault::TooFewCustomBounds),
            (
                FloatHistogram {
                    zero_count: 1.0,
                    ..custom(&[1.0])
                },
                Fault::Mixed,
            ),
            (
                FloatHistogram {
                    custom_bounds: [1.0].into(),
                    ..valid()
                },
                Fault::Mixed,
            ),
        ] {
            assert_eq!(histogram.validate(), Err(fault), "{histogram:?}");
        }
    }

    #[test]
    fn whole_counts_add_up() {
        let histogram = |count, sum| IntegerHistogram {
            count,
            sum,
            zero_count: 1,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            positive_buckets: vec![2],
            ..IntegerHistogram::default()
        };
        assert_eq!(histogram(3, 1.0).validate(), Ok(()));
        assert_eq!(
            histogram(4, 1.0).validate(),
            Err(InvalidHistogram::CountMismatch)
        );
        assert_eq!(histogram(4, f64::NAN).validate(), Ok(()));
        assert_eq!(
            histogram(2, f64::NAN).validate(),
            Err(InvalidHistogram::CountTooSmall)
        );
    }
}
