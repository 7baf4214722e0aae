//! Functions of one native histogram.

use std::sync::Arc;

use barograph_model::float::{exp2, kahan_add, log2};
use barograph_model::histogram::Bucket;
use barograph_model::{FloatHistogram, METRIC_NAME};

use super::Evaluator;
use super::vector::{ABSENT, Vector};
use crate::annotations::Annotation;
use crate::ast::Span;
use crate::error::QueryError;
use crate::functions::Native;
use crate::plan::{Steps, VectorPlan};

/// What is to be said about an estimate.
pub(super) type Remark = fn(&str, Span) -> Annotation;

impl Evaluator<'_> {
    /// `histogram_count` and the like: a number of each histogram, nothing of floats.
    pub(super) fn native(
        &mut self,
        function: Native,
        operand: &VectorPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut vector = self.vector(operand, steps)?;
        for index in 0..vector.len() {
            for value in vector.values_mut(index) {
                *value = match self.arena.get(*value) {
                    Some(histogram) => compute(function, &histogram),
                    None => ABSENT,
                };
            }
            let meta = vector.meta_mut(index);
            if self.delayed_names {
                meta.drop_name = true;
            } else {
                // Type and unit stay.
                let labels = meta.labels().without(|name| name == METRIC_NAME);
                meta.set_labels(labels);
            }
        }
        let vector = vector.without_empty();
        if self.delayed_names {
            return Ok(vector);
        }
        vector.merge_equal_labels()
    }
}

fn compute(function: Native, histogram: &Arc<FloatHistogram>) -> f64 {
    match function {
        Native::Count => histogram.count,
        Native::Sum => histogram.sum,
        Native::Avg => histogram.sum / histogram.count,
        Native::Stdvar => variance(histogram),
        Native::Stddev => variance(histogram).sqrt(),
    }
}

/// The variance, each bucket's observations taken to be in its middle.
fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut variance, mut lost) = (0.0, 0.0);
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_bounds() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let mean = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -mean } else { mean }
        };
        let delta = middle - mean;
        (variance, lost) = kahan_add(bucket.count * delta * delta, variance, lost);
    }
    (variance + lost) / histogram.count
}

/// The quantile: linear within custom buckets and the zero bucket, on a logarithmic scale within
/// exponential ones.
pub(super) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, Option<Remark>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    let may_have_nan = histogram.sum.is_nan();
    // From the nearer end; observations of NaN are in no bucket, as if they were above all others.
    let from_below = may_have_nan || q < 0.5;
    let mut rank = if from_below { q } else { 1.0 - q } * histogram.count;
    let custom = histogram.has_custom_bounds();
    let mut buckets = histogram.buckets();
    let mut next = || {
        if from_below {
            buckets.next()
        } else {
            buckets.next_back()
        }
    };
    // Without any bucket, an empty one at zero.
    let mut bucket = Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: true,
        upper_inclusive: true,
        count: 0.0,
    };
    let mut count = 0.0;
    while let Some(found) = next() {
        bucket = found;
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    if !custom && bucket.lower < 0.0 && bucket.upper > 0.0 {
        // Without observations on a side, the zero bucket ends at zero there.
        let (below, above) = sides(histogram);
        if above && !below {
            bucket.lower = 0.0;
        } else if below && !above {
            bucket.upper = 0.0;
        }
    } else if custom {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    }
    if count > histogram.count {
        count = histogram.count;
    }
    if count < rank {
        if may_have_nan {
            return (f64::NAN, Some(Annotation::quantile_of_nan));
        }
        return (bucket.upper, None);
    }
    if from_below {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let mut remark: Option<Remark> = None;
    if may_have_nan {
        let mut last = bucket;
        while let Some(more) = next() {
            count += more.count;
            last = more;
        }
        bucket = last;
        if count < histogram.count {
            remark = Some(Annotation::quantile_skewed_by_nan);
        }
    }
    let fraction = rank / bucket.count;
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        let value = bucket.lower + (bucket.upper - bucket.lower) * fraction;
        return (value, remark);
    }
    let (lower, upper) = (log2(bucket.lower.abs()), log2(bucket.upper.abs()));
    let value = if bucket.lower > 0.0 {
        exp2(lower + (upper - lower) * fraction)
    } else {
        -exp2(upper + (lower - upper) * (1.0 - fraction))
    };
    (value, remark)
}

/// The share of observations between two values.
pub(super) fn fraction(
    lower: f64,
    upper: f64,
    histogram: &FloatHistogram,
) -> (f64, Option<Remark>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let custom = histogram.has_custom_bounds();
    let (below, above) = sides(histogram);
    let (mut count, mut rank) = (0.0, 0.0);
    let mut ranks = [None, None];
    let mut buckets = histogram.buckets();
    for mut bucket in buckets.by_ref() {
        count += bucket.count;
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero && above && !below {
            bucket.lower = 0.0;
        } else if is_zero && below && !above {
            bucket.upper = 0.0;
        }
        for (found, value) in ranks.iter_mut().zip([lower, upper]) {
            if found.is_some() {
                continue;
            }
            if bucket.lower >= value {
                *found = Some(rank);
            } else if bucket.upper > value {
                let linear = custom || is_zero;
                *found = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                    // What lies below no bound cannot be interpolated.
                    bucket.count
                } else {
                    rank + bucket.count * bucket.fraction_below(value, linear)
                });
            }
        }
        if ranks.iter().all(Option::is_some) {
            break;
        }
        rank += bucket.count;
    }
    let mut remark: Option<Remark> = None;
    if histogram.sum.is_nan() {
        count += buckets
            .map(|bucket| bucket.count)
            .fold(0.0, |sum, count| sum + count);
        if count < histogram.count {
            remark = Some(Annotation::fraction_excludes_nan);
        }
    } else {
        count = histogram.count;
    }
    let [lower, upper] = ranks.map(|rank| match rank {
        Some(rank) if rank > count => count,
        Some(rank) => rank,
        None => count,
    });
    ((upper - lower) / histogram.count, remark)
}

/// Whether there are negative and positive buckets.
fn sides(histogram: &FloatHistogram) -> (bool, bool) {
    (
        !histogram.negative_buckets.is_empty(),
        !histogram.positive_buckets.is_empty(),
    )
}
