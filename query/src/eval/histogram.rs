//! `histogram_quantile` and `histogram_fraction`, over native histograms and over classic ones:
//! series per bucket, told apart by their `le`.

use barograph_model::{Labels, number};

use super::arena::is_histogram;
use super::matching::Groups;
use super::vector::{ABSENT, Vector, is_absent};
use super::{Evaluator, native};
use crate::annotations::{Annotation, Monotonicity, Notes};
use crate::ast::Span;
use crate::error::QueryError;
use crate::kernels::has_float;
use crate::plan::{Grouping, HistogramQuantilesPlan, ScalarPlan, Steps, VectorPlan};

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

/// What is asked of histograms, per step.
#[derive(Clone, Copy)]
enum Question<'a> {
    /// Their quantiles; at steps with this one only, where one is given.
    Quantile(&'a [f64], Option<f64>),
    /// Their shares of observations between two values.
    Fraction(&'a [f64], &'a [f64]),
}

/// The histograms of a vector.
struct Input<'a> {
    operand: &'a Vector,
    classics: Vec<Classic>,
    /// Per series, the classic histogram of the same labels.
    twins: Vec<Option<usize>>,
    /// Where the vector stands.
    span: Span,
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
        self.check_quantiles(&q, q_span);
        self.estimate_all(operand, operand_span, steps, |evaluator, input, result| {
            evaluator.estimate(input, Question::Quantile(&q, None), None, steps, result)
        })
    }

    pub(super) fn histogram_quantiles(
        &mut self,
        plan: &HistogramQuantilesPlan,
        steps: &Steps,
    ) -> Result<Vector, QueryError> {
        let mut all = Vec::new();
        for (q, span) in &plan.quantiles {
            let q = self.scalar(q, steps)?;
            self.check_quantiles(&q, *span);
            all.push(q);
        }
        self.estimate_all(
            &plan.operand,
            plan.operand_span,
            steps,
            |evaluator, input, result| {
                for q in &all {
                    let mut distinct: Vec<f64> = Vec::new();
                    for q in q {
                        if !distinct.iter().any(|have| have.to_bits() == q.to_bits()) {
                            distinct.push(*q);
                        }
                    }
                    for one in distinct {
                        let mut text = String::new();
                        number::push_open_metrics(&mut text, one);
                        let label = Some((plan.label.as_str(), text.as_str()));
                        let question = Question::Quantile(q, Some(one));
                        evaluator.estimate(input, question, label, steps, result)?;
                    }
                }
                Ok(())
            },
        )
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
        self.estimate_all(operand, operand_span, steps, |evaluator, input, result| {
            let question = Question::Fraction(&lower, &upper);
            evaluator.estimate(input, question, None, steps, result)
        })
    }

    fn check_quantiles(&mut self, q: &[f64], span: Span) {
        for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.annotations.add(Annotation::invalid_quantile(*q, span));
        }
    }

    /// Evaluates the vector, finds its histograms, and collects what is estimated of them.
    fn estimate_all(
        &mut self,
        operand: &VectorPlan,
        span: Span,
        steps: &Steps,
        estimate: impl FnOnce(&mut Self, &Input<'_>, &mut Vector) -> Result<(), QueryError>,
    ) -> Result<Vector, QueryError> {
        let operand = self.vector(operand, steps)?;
        let (classics, twins) = self.classics(&operand, span);
        let input = Input {
            operand: &operand,
            classics,
            twins,
            span,
        };
        let mut result = Vector::new(steps.count, self.limits.held());
        estimate(self, &input, &mut result)?;
        self.limits.release(operand.held());
        self.settle(result.without_empty())
    }

    /// Sorts series into classic histograms; complains about those without a bound. Also tells for
    /// each series which of them has its labels.
    fn classics(&mut self, operand: &Vector, span: Span) -> (Vec<Classic>, Vec<Option<usize>>) {
        let by_le = Grouping {
            without: true,
            labels: vec!["le".to_owned()],
        };
        let mut groups = Groups::new(&by_le);
        // The name tells histograms apart as well, so it goes into the key under a label that
        // cannot be there.
        let keyed = |labels: &Labels| {
            let mut keyed = labels.to_builder();
            keyed.set("\u{0}name", labels.metric_name());
            keyed.build()
        };
        let mut classics: Vec<Classic> = Vec::new();
        let any_native = self.arena.any();
        for (index, (meta, values)) in operand.rows().enumerate() {
            if any_native && !has_float(values) {
                continue;
            }
            let le = meta.labels().get("le");
            let Some(upper) = bound(le) else {
                let metric = self.metric_of(meta.labels());
                self.annotations
                    .add(Annotation::bad_bucket_label(metric, le, span));
                continue;
            };
            let place = groups.place(&keyed(meta.labels()), false);
            if place == classics.len() {
                classics.push(Classic {
                    labels: meta.labels().without(|name| name == "le"),
                    series: Vec::new(),
                });
            }
            classics[place].series.push((upper, index));
        }
        for classic in &mut classics {
            classic.series.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let twins = operand.rows().map(|(meta, values)| {
            let is_native = any_native && values.iter().any(|value| is_histogram(*value));
            if !is_native || meta.labels().has("le") {
                return None;
            }
            let place = groups.place(&keyed(meta.labels()), false);
            (place < classics.len()).then_some(place)
        });
        let twins = if any_native {
            twins.collect()
        } else {
            Vec::new()
        };
        (classics, twins)
    }

    /// The name that remarks give a series: where names are dropped at once, it has none.
    fn metric_of<'l>(&self, labels: &'l Labels) -> &'l str {
        if self.delayed_names {
            labels.metric_name()
        } else {
            ""
        }
    }

    fn estimate(
        &mut self,
        input: &Input<'_>,
        question: Question<'_>,
        label: Option<(&str, &str)>,
        steps: &Steps,
        result: &mut Vector,
    ) -> Result<(), QueryError> {
        let labeled = |labels: &Labels| match label {
            None => labels.clone(),
            Some((name, value)) => labels.to_builder().set(name, value).build(),
        };
        let mut notes = Notes::default();
        // Native histograms that have a classic twin are left out, and so is the twin.
        let mut conflicts = vec![Vec::new(); input.classics.len()];
        if self.arena.any() {
            for (index, (meta, values)) in input.operand.rows().enumerate() {
                let metric = self.metric_of(meta.labels());
                let mut out = vec![ABSENT; steps.count];
                for (step, slot) in out.iter_mut().enumerate() {
                    let Some(histogram) = self.arena.get(values[step]) else {
                        continue;
                    };
                    let twin = input.twins[index];
                    if let Some(twin) = twin.filter(|twin| input.has_buckets(*twin, step)) {
                        notes.add(Annotation::mixed_classic_and_native(metric, input.span));
                        conflicts[twin].push(step);
                        continue;
                    }
                    let (value, remark) = match question {
                        Question::Quantile(q, only) if is_asked(q[step], only) => {
                            native::quantile(q[step], &histogram)
                        }
                        Question::Quantile(..) => continue,
                        Question::Fraction(lower, upper) => {
                            native::fraction(lower[step], upper[step], &histogram)
                        }
                    };
                    if let Some(remark) = remark {
                        notes.add(remark(metric, input.span));
                    }
                    *slot = value;
                }
                if out.iter().any(|value| !is_absent(*value)) {
                    self.limits.hold(steps.count)?;
                    result.push(labeled(meta.labels()), true, &out);
                }
            }
        }
        let mut buckets = Vec::new();
        for (classic, conflicts) in input.classics.iter().zip(&conflicts) {
            self.limits.check()?;
            self.limits.hold(steps.count)?;
            let metric = self.metric_of(&classic.labels);
            result.push_with(labeled(&classic.labels), true, |out| {
                for (step, slot) in out.iter_mut().enumerate() {
                    if conflicts.contains(&step) {
                        continue;
                    }
                    input.buckets(classic, step, &mut buckets);
                    if buckets.is_empty() {
                        continue;
                    }
                    *slot = match question {
                        Question::Quantile(q, only) if is_asked(q[step], only) => {
                            let (value, forced) = bucket_quantile(q[step], &mut buckets);
                            if let Some(mut forced) = forced {
                                let t = steps.at(step);
                                (forced.first_ms, forced.last_ms) = (t, t);
                                let span = input.span;
                                notes.add(Annotation::forced_monotonicity(metric, span, forced));
                            }
                            value
                        }
                        Question::Quantile(..) => continue,
                        Question::Fraction(lower, upper) => {
                            bucket_fraction(lower[step], upper[step], &mut buckets)
                        }
                    };
                }
            });
        }
        self.annotations.merge(notes);
        Ok(())
    }
}

impl Input<'_> {
    fn has_buckets(&self, classic: usize, step: usize) -> bool {
        let is_float = |value: f64| !is_absent(value) && !is_histogram(value);
        let mut series = self.classics[classic].series.iter();
        series.any(|(_, index)| is_float(self.operand.values(*index)[step]))
    }

    /// The buckets of a classic histogram at a step, in order of bounds.
    fn buckets(&self, classic: &Classic, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (upper, index) in &classic.series {
            let count = self.operand.values(*index)[step];
            if !is_absent(count) && !is_histogram(count) {
                buckets.push(Bucket {
                    upper: *upper,
                    count,
                });
            }
        }
    }
}

/// Whether a quantile is the one that is asked for.
fn is_asked(q: f64, only: Option<f64>) -> bool {
    only.is_none_or(|only| only.to_bits() == q.to_bits())
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
