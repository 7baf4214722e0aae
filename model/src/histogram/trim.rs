//! Histograms cut off at a value.

use super::{Bucket, FloatHistogram};

/// What of a histogram stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Observations up to a value.
    Below,
    /// Observations from a value on.
    Above,
}

/// What of a bucket stays, and the value that stands for it in the new sum.
struct Kept {
    count: f64,
    midpoint: f64,
}

impl FloatHistogram {
    /// Removes the observations beyond `at`. A bucket that holds `at` is split by interpolation; if
    /// anything went, count and sum are estimated anew from the buckets.
    pub fn trim(&mut self, at: f64, keep: Keep) {
        let mut totals = Totals::default();
        let custom = self.has_custom_bounds();
        let sides = [
            (self.positive().collect::<Vec<_>>(), true),
            (self.negative().collect::<Vec<_>>(), false),
        ];
        let [mut above, mut below] = [false, false];
        for (buckets, is_positive) in sides {
            let counts = if is_positive {
                &mut self.positive_buckets
            } else {
                &mut self.negative_buckets
            };
            for (count, bucket) in counts.iter_mut().zip(buckets) {
                if bucket.count == 0.0 {
                    continue;
                }
                *if is_positive { &mut above } else { &mut below } = true;
                if let Some(kept) = trim_bucket(&bucket, at, keep, is_positive, custom) {
                    totals.take(&kept, count);
                } else {
                    *count = 0.0;
                    totals.trimmed = true;
                }
            }
        }
        if self.zero_count > 0.0 {
            let kept = trim_zero(&self.zero_bucket(), at, keep, below, above);
            totals.take(&kept, &mut self.zero_count);
        }
        if totals.trimmed {
            self.count = totals.count;
            self.sum = totals.sum;
            self.compact();
        }
    }
}

/// Count and sum of what stays.
#[derive(Default)]
struct Totals {
    count: f64,
    sum: f64,
    trimmed: bool,
}

impl Totals {
    fn take(&mut self, kept: &Kept, count: &mut f64) {
        self.count += kept.count;
        self.sum += kept.midpoint * kept.count;
        if *count != kept.count {
            *count = kept.count;
            self.trimmed = true;
        }
    }
}

/// What stays of a bucket; `None` if nothing.
fn trim_bucket(
    bucket: &Bucket,
    at: f64,
    keep: Keep,
    is_positive: bool,
    custom: bool,
) -> Option<Kept> {
    let (whole, partly) = match keep {
        Keep::Below => (bucket.upper <= at, bucket.lower < at),
        Keep::Above => (bucket.lower >= at, bucket.upper > at),
    };
    if whole {
        return Some(Kept {
            count: bucket.count,
            midpoint: midpoint(bucket.lower, bucket.upper, is_positive, custom),
        });
    }
    if !partly {
        return None;
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return Some(split_infinite(bucket, at, keep));
    }
    let under = if at <= bucket.lower {
        0.0
    } else if at >= bucket.upper {
        bucket.count
    } else {
        bucket.count * bucket.fraction_below(at, custom)
    };
    Some(match keep {
        Keep::Below => Kept {
            count: under,
            midpoint: midpoint(bucket.lower, at, is_positive, custom),
        },
        Keep::Above => Kept {
            count: bucket.count - under,
            midpoint: midpoint(at, bucket.upper, is_positive, custom),
        },
    })
}

/// A bucket without end cannot be interpolated: it stays or goes as a whole, except that the lowest
/// custom bucket is taken to begin at zero where that makes sense.
fn split_infinite(bucket: &Bucket, at: f64, keep: Keep) -> Kept {
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    let kept = |count, midpoint| Kept { count, midpoint };
    if bucket.lower == f64::NEG_INFINITY {
        let ends_above_zero = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
        return match keep {
            Keep::Below if at >= bucket.upper => kept(bucket.count, 0.0),
            Keep::Below if at > 0.0 && ends_above_zero => {
                kept(bucket.count * at / bucket.upper, at / 2.0)
            }
            Keep::Below if bucket.upper <= 0.0 => kept(bucket.count, at),
            Keep::Above if at <= bucket.lower => kept(bucket.count, 0.0),
            Keep::Above if at >= 0.0 && bucket.upper > at && ends_above_zero => kept(
                bucket.count * (1.0 - at / bucket.upper),
                f64::midpoint(at, bucket.upper),
            ),
            _ => kept(0.0, finite(bucket.upper)),
        };
    }
    if keep == Keep::Above && at >= bucket.lower {
        return kept(bucket.count, at);
    }
    kept(0.0, finite(bucket.lower))
}

/// The zero bucket, which ends at zero on a side without observations, is split linearly.
fn trim_zero(bucket: &Bucket, at: f64, keep: Keep, has_below: bool, has_above: bool) -> Kept {
    let lower = if has_above && !has_below {
        0.0
    } else {
        bucket.lower
    };
    let upper = if has_below && !has_above {
        0.0
    } else {
        bucket.upper
    };
    let all = Kept {
        count: bucket.count,
        midpoint: f64::midpoint(lower, upper),
    };
    let nothing = Kept {
        count: 0.0,
        midpoint: 0.0,
    };
    match keep {
        Keep::Below if at <= lower => nothing,
        Keep::Below if at >= upper => all,
        Keep::Below => Kept {
            count: bucket.count * ((at - lower) / (upper - lower)),
            midpoint: f64::midpoint(lower, at),
        },
        Keep::Above if at <= lower => all,
        Keep::Above if at >= upper => nothing,
        Keep::Above => Kept {
            count: bucket.count * ((upper - at) / (upper - lower)),
            midpoint: f64::midpoint(at, upper),
        },
    }
}

/// The value that stands for observations between two bounds: the arithmetic mean, or the geometric
/// one within exponential buckets.
fn midpoint(lower: f64, upper: f64, is_positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if is_positive { mean } else { -mean }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CUSTOM_BOUNDS_SCHEMA, Span};
    use super::*;

    fn histogram() -> FloatHistogram {
        FloatHistogram {
            count: 16.0,
            sum: 12.0,
            zero_threshold: 0.5,
            zero_count: 4.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![4.0, 8.0],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn a_bound_cuts_whole_buckets() {
        let mut low = histogram();
        low.trim(1.0, Keep::Below);
        assert_eq!(
            (low.count, low.positive_buckets.as_slice()),
            (8.0, [4.0].as_slice())
        );
        let mut high = histogram();
        high.trim(1.0, Keep::Above);
        assert_eq!((high.count, high.zero_count), (8.0, 0.0));
        assert_eq!(
            high.positive_spans,
            [Span {
                offset: 1,
                length: 1
            }]
        );
        assert!((high.sum - 8.0 * std::f64::consts::SQRT_2).abs() < 1e-12);
    }

    #[test]
    fn what_holds_all_stays_as_it_is() {
        let mut all = histogram();
        all.trim(2.0, Keep::Below);
        all.trim(-7.0, Keep::Above);
        assert!(all.same_data(&histogram()));
    }

    #[test]
    fn the_zero_bucket_ends_at_zero_where_nothing_lies_beyond() {
        let mut half = histogram();
        half.trim(0.25, Keep::Below);
        assert_eq!((half.zero_count, half.count, half.sum), (2.0, 2.0, 0.25));
    }

    #[test]
    fn infinite_buckets_are_not_split() {
        let custom = || FloatHistogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            count: 6.0,
            sum: 10.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![4.0, 2.0],
            custom_bounds: [2.0].into(),
            ..FloatHistogram::default()
        };
        let mut low = custom();
        low.trim(1.0, Keep::Below);
        assert_eq!((low.count, low.sum), (2.0, 1.0));
        let mut high = custom();
        high.trim(3.0, Keep::Above);
        assert_eq!((high.count, high.sum), (2.0, 6.0));
        let mut cut = custom();
        cut.trim(3.0, Keep::Below);
        assert_eq!((cut.count, cut.positive_buckets.len()), (4.0, 1));
    }
}
