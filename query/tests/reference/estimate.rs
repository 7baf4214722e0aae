//! What is estimated from buckets: quantiles, fractions, deviations.

use barograph_model::Labels;
use barograph_query::ast::{Call, NodeKind};

use super::histogram::Plain;
use super::{OPEN, Reference, Result, Row, Val, distinct, has_any, is_about_the_metric};

/// How close, relative to each other, a rank may come to where a bucket ends: beyond, the last bit
/// decides which bucket it is in.
const CLOSE: f64 = 1e-9;

/// What is asked.
#[derive(Clone, Copy)]
enum Question {
    Quantile(f64),
    Fraction(f64, f64),
}

/// A classic histogram: its labels without the bound, and bounds and counts at every step.
type Classic = (Labels, Vec<Vec<(f64, f64)>>);

/// A bucket with its bounds.
struct Bucket {
    lower: f64,
    upper: f64,
    count: f64,
}

impl Reference<'_> {
    /// `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, of native and of
    /// classic histograms.
    pub(super) fn estimate(&self, call: &Call, steps: &[i64]) -> Result<Vec<Row>> {
        let number = |index: usize| Self::scalar(&call.args[index]);
        match call.function.name {
            "histogram_quantile" => {
                let operand = self.vector(&call.args[1], steps)?;
                answers(Question::Quantile(number(0)), operand, steps.len())
            }
            "histogram_quantiles" => {
                let operand = self.vector(&call.args[0], steps)?;
                let NodeKind::String(label) = &call.args[1].unwrap_parens().kind else {
                    return Err("no label");
                };
                let mut all = Vec::new();
                for index in 2..call.args.len() {
                    let q = number(index);
                    let rows = answers(Question::Quantile(q), operand.clone(), steps.len())?;
                    let text = format!("{q:?}");
                    all.extend(rows.into_iter().map(|(labels, slots)| {
                        (labels.to_builder().set(&label.value, &text).build(), slots)
                    }));
                }
                distinct(all)
            }
            _ => {
                let operand = self.vector(&call.args[2], steps)?;
                answers(
                    Question::Fraction(number(0), number(1)),
                    operand,
                    steps.len(),
                )
            }
        }
    }
}

fn answers(question: Question, operand: Vec<Row>, steps: usize) -> Result<Vec<Row>> {
    let mut natives: Vec<Row> = Vec::new();
    let mut classics: Vec<Classic> = Vec::new();
    for (labels, slots) in operand {
        let bound: Option<f64> = match labels.get("le") {
            "+Inf" => Some(f64::INFINITY),
            text => text.parse().ok(),
        };
        let group = labels.without(|name| is_about_the_metric(name) || name == "le");
        let named = labels.without(is_about_the_metric);
        let mut native = vec![None; steps];
        for (step, slot) in slots.into_iter().enumerate() {
            match (slot, bound) {
                (Some(Val::Histogram(histogram)), _) => {
                    native[step] = Some(Val::Float(of_native(question, &histogram)?));
                }
                (Some(Val::Float(count)), Some(bound)) => {
                    let known = classics.iter().position(|(have, _)| *have == group);
                    let place = known.unwrap_or(classics.len());
                    if known.is_none() {
                        classics.push((group.clone(), vec![Vec::new(); steps]));
                    }
                    classics[place].1[step].push((bound, count));
                }
                _ => {}
            }
        }
        natives.push((named, native));
    }
    for (labels, steps) in classics {
        let mut slots = Vec::new();
        for buckets in steps {
            slots.push(if buckets.is_empty() {
                None
            } else {
                Some(Val::Float(of_classic(question, buckets)?))
            });
        }
        natives.push((labels, slots));
    }
    natives.retain(has_any);
    distinct(natives)
}

fn of_native(question: Question, histogram: &Plain) -> Result<f64> {
    match question {
        Question::Quantile(q) if q < 0.0 => Ok(f64::NEG_INFINITY),
        Question::Quantile(q) if q > 1.0 => Ok(f64::INFINITY),
        _ if histogram.count == 0.0 => Ok(f64::NAN),
        Question::Quantile(q) => quantile(q, histogram),
        Question::Fraction(lower, upper) if lower >= upper => Ok(0.0),
        Question::Fraction(lower, upper) => {
            let below = |value: f64| share_below(value, histogram).min(histogram.count);
            Ok((below(upper) - below(lower)) / histogram.count)
        }
    }
}

/// All buckets that hold something, lowest first.
fn buckets(histogram: &Plain) -> Vec<Bucket> {
    let bound = |index: i32| 2f64.powf(f64::from(index) * 2f64.powi(-histogram.schema));
    let mut all = Vec::new();
    if histogram.is_custom() {
        for (index, count) in &histogram.positive {
            let bound_at = |at: i32| {
                usize::try_from(at)
                    .ok()
                    .and_then(|at| histogram.bounds.get(at))
            };
            all.push(Bucket {
                lower: bound_at(index - 1).map_or(f64::NEG_INFINITY, |bound| *bound),
                upper: bound_at(*index).map_or(f64::INFINITY, |bound| *bound),
                count: *count,
            });
        }
    } else {
        for (index, count) in histogram.negative.iter().rev() {
            all.push(Bucket {
                lower: -bound(*index),
                upper: -bound(index - 1),
                count: *count,
            });
        }
        all.push(Bucket {
            lower: -histogram.zero_threshold,
            upper: histogram.zero_threshold,
            count: histogram.zero_count,
        });
        for (index, count) in &histogram.positive {
            all.push(Bucket {
                lower: bound(index - 1),
                upper: bound(*index),
                count: *count,
            });
        }
    }
    all.retain(|bucket| bucket.count != 0.0);
    let is_zero = |bucket: &Bucket| bucket.lower < 0.0 && bucket.upper > 0.0;
    if !histogram.is_custom()
        && let Some(zero) = all.iter_mut().find(|bucket| is_zero(bucket))
    {
        // With observations on one side only, it is taken to lie there as well.
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => zero.lower = 0.0,
            (false, true) => zero.upper = 0.0,
            _ => {}
        }
    }
    all
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= CLOSE * a.abs().max(b.abs())
}

/// The value that so large a part of the observations does not exceed.
fn quantile(q: f64, histogram: &Plain) -> Result<f64> {
    let rank = q * histogram.count;
    let mut below = 0.0;
    for bucket in buckets(histogram) {
        if close(below + bucket.count, rank) {
            return Err(OPEN);
        }
        if below + bucket.count < rank {
            below += bucket.count;
            continue;
        }
        let share = (rank - below) / bucket.count;
        let (lower, upper) = (bucket.lower, bucket.upper);
        return Ok(match (histogram.is_custom(), lower, upper) {
            (true, f64::NEG_INFINITY, upper) if upper <= 0.0 => upper,
            (true, f64::NEG_INFINITY, upper) => upper * share,
            (true, lower, f64::INFINITY) => lower,
            (true, ..) => lower + (upper - lower) * share,
            _ if lower <= 0.0 && upper >= 0.0 => lower + (upper - lower) * share,
            _ => lower * (upper / lower).powf(share),
        });
    }
    Err(OPEN)
}

/// How many observations are not above a value.
fn share_below(value: f64, histogram: &Plain) -> f64 {
    let mut below = 0.0;
    for bucket in buckets(histogram) {
        let (mut lower, upper) = (bucket.lower, bucket.upper);
        if lower == f64::NEG_INFINITY && upper >= 0.0 {
            // What is said of no lower bound is taken not to be negative.
            lower = 0.0;
        }
        if value >= upper {
            below += bucket.count;
            continue;
        }
        if value <= lower {
            break;
        }
        if lower == f64::NEG_INFINITY {
            return bucket.count;
        }
        let share = if upper == f64::INFINITY {
            0.0
        } else if histogram.is_custom() || (lower <= 0.0 && upper >= 0.0) {
            (value - lower) / (upper - lower)
        } else {
            (value / lower).ln() / (upper / lower).ln()
        };
        return below + bucket.count * share;
    }
    below
}

/// `histogram_stdvar`.
pub(super) fn variance(histogram: &Plain) -> f64 {
    let mean = histogram.sum / histogram.count;
    let zero_is_zero = |bucket: &Bucket| bucket.lower <= 0.0 && bucket.upper >= 0.0;
    let of = |bucket: &Bucket| {
        let value = if histogram.is_custom() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if zero_is_zero(bucket) {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        bucket.count * (value - mean) * (value - mean)
    };
    buckets(histogram).iter().map(of).sum::<f64>() / histogram.count
}

fn of_classic(question: Question, mut buckets: Vec<(f64, f64)>) -> Result<f64> {
    match question {
        Question::Quantile(q) if q < 0.0 => return Ok(f64::NEG_INFINITY),
        Question::Quantile(q) if q > 1.0 => return Ok(f64::INFINITY),
        _ => {}
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets[buckets.len() - 1].0 != f64::INFINITY {
        return Ok(f64::NAN);
    }
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (bound, count) in buckets {
        match merged.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => merged.push((bound, count)),
        }
    }
    match question {
        Question::Quantile(q) => classic_quantile(q, merged),
        Question::Fraction(lower, upper) => Ok(classic_fraction(lower, upper, &merged)),
    }
}

fn classic_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> Result<f64> {
    let mut most = buckets[0].1;
    for bucket in &mut buckets[1..] {
        if bucket.1 < most || close(bucket.1, most) {
            bucket.1 = most;
        }
        most = bucket.1;
    }
    let all = buckets[buckets.len() - 1].1;
    if buckets.len() < 2 || all == 0.0 {
        return Ok(f64::NAN);
    }
    let rank = q * all;
    if buckets.iter().any(|bucket| close(bucket.1, rank)) {
        return Err(OPEN);
    }
    let last = buckets.len() - 1;
    let at = buckets[..last].iter().position(|bucket| bucket.1 >= rank);
    Ok(match at {
        None => buckets[last - 1].0,
        Some(0) if buckets[0].0 <= 0.0 => buckets[0].0,
        Some(at) => {
            let (lower, below) = if at > 0 { buckets[at - 1] } else { (0.0, 0.0) };
            let (upper, count) = buckets[at];
            lower + (upper - lower) * ((rank - below) / (count - below))
        }
    })
}

fn classic_fraction(lower: f64, upper: f64, buckets: &[(f64, f64)]) -> f64 {
    let all = buckets[buckets.len() - 1].1;
    if all == 0.0 {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let first = if buckets[0].0 <= 0.0 {
        f64::NEG_INFINITY
    } else {
        0.0
    };
    let below = |value: f64| {
        let (mut begin, mut rank) = (first, 0.0);
        for (end, count) in buckets {
            if begin >= value {
                break;
            }
            if *end > value {
                if begin == f64::NEG_INFINITY {
                    return count.min(all);
                }
                return (rank + (count - rank) * (value - begin) / (end - begin)).min(all);
            }
            (begin, rank) = (*end, *count);
        }
        f64::min(rank, all)
    };
    (below(upper) - below(lower)) / all
}
