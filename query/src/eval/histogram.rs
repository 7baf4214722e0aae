//! `histogram_quantile` and `histogram_fraction` over classic histograms: series per bucket, told
//! apart by their `le`.

use barograph_model::Labels;

use super::Evaluator;
use super::matching::Groups;
use super::vector::{Vector, is_absent};
use crate::annotations::{Annotation, Monotonicity};
use crate::ast::Span;
use crate::error::QueryError;
use crate::plan::{Grouping, ScalarPlan, Steps, VectorPlan};

/// Counts of neighbouring buckets that differ relatively by less are taken for equal.
const SMALL_DELTA: f64 = 1e-12;
/// Smallest normal float.
const MIN_NORMAL: f64 = f64::MIN_POSITIVE;

/// A bucket at one step.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// The buckets of one histogram: its labels without `le`, and the series with their bounds.
struct Classic {
    labels: Labels,
    series: Vec<(f64, usize)>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(
        &mut self,
        q: &ScalarPlan,
        q_span: Span,
        operand: &VectorPlan,
        operand_span: Span,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let q = self.scalar(q, steps)?;
        for q in &q {
            if !(0.0..=1.0).contains(q) {
                self.annotations
                    .add(Annotation::invalid_quantile(*q, q_span));
            }
        }
        let operand = self.vector(operand, steps)?;
        let classics = self.classics(&operand, operand_span);
        let delayed_names = self.delayed_names;
        let mut notes = Vec::new();
        let result =
            self.per_classic(&operand, classics, steps, &mut |step, labels, buckets| {
                let (value, forced) = bucket_quantile(q[step], buckets);
                if let Some(mut forced) = forced {
                    let metric = if delayed_names {
                        labels.metric_name()
                    } else {
                        ""
                    };
                    (forced.first_ms, forced.last_ms) = (steps.at(step), steps.at(step));
                    notes.push(Annotation::forced_monotonicity(
                        metric,
                        operand_span,
                        forced,
                    ));
                }
                value
            })?;
        for note in notes {
            self.annotations.add(note);
        }
        Ok(result)
    }

    pub(super) fn histogram_fraction(
        &mut self,
        lower: &ScalarPlan,
        upper: &ScalarPlan,
        operand: &VectorPlan,
        operand_span: Span,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let (lower, upper) = (self.scalar(lower, steps)?, self.scalar(upper, steps)?);
        let operand = self.vector(operand, steps)?;
        let classics = self.classics(&operand, operand_span);
        self.per_classic(&operand, classics, steps, &mut |step, _, buckets| {
            bucket_fraction(lower[step], upper[step], buckets)
        })
    }

    /// Sorts series into histograms; complains about those without a bound.
    fn classics(&mut self, operand: &Vector, span: Span) -> Vec<Classic> {
        let by_le = Grouping {
            without: true,
            labels: vec!["le".to_owned()],
        };
        let mut groups = Groups::new(&by_le);
        let mut classics: Vec<Classic> = Vec::new();
        for (index, (meta, _)) in operand.rows().enumerate() {
            let le = meta.labels.get("le");
            let Some(upper) = bound(le) else {
                let metric = if self.delayed_names {
                    meta.labels.metric_name()
                } else {
                    ""
                };
                self.annotations
                    .add(Annotation::bad_bucket_label(metric, le, span));
                continue;
            };
            // The name tells histograms apart as well, so it goes into the key under a label that
            // cannot be there.
            let mut keyed = meta.labels.to_builder();
            keyed.set("\u{0}name", meta.labels.metric_name());
            let place = groups.place(&keyed.build(), false);
            if place == classics.len() {
                classics.push(Classic {
                    labels: meta.labels.without(|name| name == "le"),
                    series: Vec::new(),
                });
            }
            classics[place].series.push((upper, index));
        }
        classics
    }

    fn per_classic(
        &mut self,
        operand: &Vector,
        classics: Vec<Classic>,
        steps: &Steps,
        compute: &mut dyn FnMut(usize, &Labels, &mut Vec<Bucket>) -> f64,
    ) -> Result<Vector, QueryError> {
        let mut result = Vector::new(steps.count);
        let mut buckets = Vec::new();
        for mut classic in classics {
            self.limits.check()?;
            self.limits.hold(steps.count)?;
            classic.series.sort_by(|a, b| a.0.total_cmp(&b.0));
            result.push_with(classic.labels.clone(), true, |out| {
                for (step, slot) in out.iter_mut().enumerate() {
                    buckets.clear();
                    for (upper, index) in &classic.series {
                        let count = operand.values(*index)[step];
                        if !is_absent(count) {
                            buckets.push(Bucket {
                                upper: *upper,
                                count,
                            });
                        }
                    }
                    if !buckets.is_empty() {
                        *slot = compute(step, &classic.labels, &mut buckets);
                    }
                }
            });
        }
        self.limits.release(operand.held());
        self.settle(result.without_empty())
    }
}

/// The bound that `le` names.
fn bound(le: &str) -> Option<f64> {
    let unsigned = le.strip_prefix(['+', '-']).unwrap_or(le);
    let is_word = |word: &str| unsigned.eq_ignore_ascii_case(word);
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || is_word("inf")
        || is_word("infinity")
        || is_word("nan")
    {
        return le.parse().ok();
    }
    None
}

/// The quantile, and how counts had to be corrected. `buckets` are sorted by bound.
fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Monotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets
        .last()
        .is_none_or(|last| last.upper != f64::INFINITY)
    {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let forced = make_monotonic(buckets);
    let count = buckets.len();
    if count < 2 {
        return (f64::NAN, forced);
    }
    let observations = buckets[count - 1].count;
    if observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    // Not `partition_point`: with NaN among the counts the first that is reached decides.
    let found = search(count - 1, |at| buckets[at].count >= rank);
    if found == count - 1 {
        return (buckets[count - 2].upper, forced);
    }
    if found == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let (mut start, end, mut inside) = (0.0, buckets[found].upper, buckets[found].count);
    if found > 0 {
        start = buckets[found - 1].upper;
        inside -= buckets[found - 1].count;
        rank -= buckets[found - 1].count;
    }
    (start + (end - start) * (rank / inside), forced)
}

/// The share of observations between two values. `buckets` are sorted by bound.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets
        .last()
        .is_none_or(|last| last.upper != f64::INFINITY)
    {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut low = if buckets[0].upper <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let mut rank = 0.0;
    let (mut lower_rank, mut upper_rank) = (None, None);
    for bucket in buckets.iter() {
        let high = bucket.upper;
        let interpolate = |value: f64| {
            if low == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - low) / (high - low)
            }
        };
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && low >= bound {
                *found = Some(rank);
            } else if found.is_none() && low < bound && high > bound {
                *found = Some(interpolate(bound));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = bucket.count;
        low = high;
    }
    let settle = |rank: Option<f64>| match rank {
        Some(rank) if rank > count => count,
        Some(rank) => rank,
        None => count,
    };
    (settle(upper_rank) - settle(lower_rank)) / count
}

/// Makes one of buckets with the same bound.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Smooths away differences that are mere noise, and raises counts that fall.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Monotonicity> {
    let mut forced: Option<Monotonicity> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == before {
            continue;
        }
        if almost_equal(before, count) {
            bucket.count = before;
            continue;
        }
        if count < before {
            bucket.count = before;
            let forced = forced.get_or_insert(Monotonicity {
                first_ms: 0,
                last_ms: 0,
                lowest_bound: f64::INFINITY,
                highest_bound: f64::NEG_INFINITY,
                largest_difference: 0.0,
                samples: 1,
            });
            forced.lowest_bound = forced.lowest_bound.min(bucket.upper);
            forced.highest_bound = forced.highest_bound.max(bucket.upper);
            forced.largest_difference = forced.largest_difference.max(before - count);
            continue;
        }
        before = count;
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < MIN_NORMAL {
        return difference < SMALL_DELTA * MIN_NORMAL;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// Binary search for the first index at which `holds`, `count` where there is none.
fn search(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
