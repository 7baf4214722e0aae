//! Floats: functions over windows and groups, as plainly as they can be said.

use barograph_query::ast::AggregateOp;

pub(super) fn math(name: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match name {
        "abs" => |v, _| v.abs(),
        "ceil" => |v, _| v.ceil(),
        "floor" => |v, _| v.floor(),
        "sqrt" => |v, _| v.sqrt(),
        "clamp_min" => |v, low| if v <= low { low } else { v },
        "clamp_max" => |v, high| if v > high { high } else { v },
        _ => return None,
    })
}

/// A sum that keeps what addition loses.
#[derive(Clone, Copy, Default)]
pub(super) struct Exact {
    pub(super) sum: f64,
    pub(super) lost: f64,
}

impl Exact {
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }
}

fn total(values: &[f64]) -> Exact {
    let mut exact = Exact {
        sum: values[0],
        lost: 0.0,
    };
    for value in &values[1..] {
        exact.add(*value);
    }
    exact
}

/// The sum over the number; from where the sum has no bound, the mean so far is moved instead.
fn mean(values: &[f64]) -> f64 {
    let mut exact = total(&values[..1]);
    for (at, value) in values.iter().enumerate().skip(1) {
        let mut next = exact;
        next.add(*value);
        if !next.sum.is_infinite() {
            exact = next;
            continue;
        }
        let before = at as f64;
        let mut mean = Exact {
            sum: exact.sum / before,
            lost: exact.lost / before,
        };
        for (at, value) in values.iter().enumerate().skip(at) {
            let count = at as f64 + 1.0;
            let share = (count - 1.0) / count;
            mean = Exact {
                sum: share * mean.sum,
                lost: share * mean.lost,
            };
            mean.add(value / count);
        }
        return mean.sum + mean.lost;
    }
    let count = values.len() as f64;
    exact.sum / count + exact.lost / count
}

/// The best value; NaN only where there is nothing else.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if beats(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

fn quantile(q: f64, values: &[f64]) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    // NaN first, −0 before +0.
    sorted.sort_by(|a, b| {
        let order = a.partial_cmp(b);
        let order = order.unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()));
        order.then(b.is_sign_negative().cmp(&a.is_sign_negative()))
    });
    let rank = q * (sorted.len() as f64 - 1.0);
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

pub(super) fn over_window(
    name: &str,
    window: &[(i64, f64)],
    end_ms: i64,
    range_ms: i64,
    parameter: f64,
) -> Option<f64> {
    let values: Vec<f64> = window.iter().map(|(_, value)| *value).collect();
    let count = values.len() as f64;
    let last = values[values.len() - 1];
    Some(match name {
        "rate" => extrapolated(window, end_ms, range_ms, true, true)?,
        "increase" => extrapolated(window, end_ms, range_ms, false, true)?,
        "delta" => extrapolated(window, end_ms, range_ms, false, false)?,
        "idelta" => {
            let [.., (_, before), (_, after)] = window else {
                return None;
            };
            after - before
        }
        "irate" => {
            let [.., (t1, before), (t2, after)] = window else {
                return None;
            };
            let rise = if after < before {
                *after
            } else {
                after - before
            };
            rise / ((t2 - t1) as f64 / 1000.0)
        }
        "resets" => values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64,
        "changes" => values
            .windows(2)
            .filter(|p| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan()))
            .count() as f64,
        "sum_over_time" => {
            let mut exact = Exact::default();
            for value in &values {
                exact.add(*value);
            }
            exact.sum + exact.lost
        }
        "avg_over_time" => mean(&values),
        "min_over_time" => extreme(&values, |new, best| new < best),
        "max_over_time" => extreme(&values, |new, best| new > best),
        "count_over_time" => count,
        "last_over_time" => last,
        "first_over_time" => values[0],
        "present_over_time" => 1.0,
        "quantile_over_time" => quantile(parameter, &values),
        "stdvar_over_time" | "stddev_over_time" => {
            let (mut n, mut mean, mut squares) = (0.0, Exact::default(), Exact::default());
            for value in &values {
                n += 1.0;
                let delta = value - (mean.sum + mean.lost);
                mean.add(delta / n);
                squares.add(delta * (value - (mean.sum + mean.lost)));
            }
            let variance = (squares.sum + squares.lost) / n;
            if name == "stddev_over_time" {
                variance.sqrt()
            } else {
                variance
            }
        }
        _ => return None,
    })
}

/// `increase` or, per second, `rate`.
pub(super) fn extrapolated(
    window: &[(i64, f64)],
    end_ms: i64,
    range_ms: i64,
    per_second: bool,
    is_counter: bool,
) -> Option<f64> {
    let [(_, first), .., (_, last)] = window else {
        return None;
    };
    let mut rise = last - first;
    for pair in window.windows(2) {
        if is_counter && pair[1].1 < pair[0].1 {
            rise += pair[0].1;
        }
    }
    let times: Vec<i64> = window.iter().map(|(t, _)| *t).collect();
    let whole = (is_counter && rise > 0.0 && *first >= 0.0).then(|| first / rise);
    Some(rise * factor(&times, end_ms, range_ms, whole, per_second))
}

/// By how much a rise between samples becomes one over the range. `whole` is how many times the rise
/// the counter's first value is, where it began at zero.
pub(super) fn factor(
    times: &[i64],
    end_ms: i64,
    range_ms: i64,
    whole: Option<f64>,
    per_second: bool,
) -> f64 {
    let (first_ms, last_ms) = (times[0], times[times.len() - 1]);
    let mut to_start = (first_ms - (end_ms - range_ms)) as f64 / 1000.0;
    let mut to_end = (end_ms - last_ms) as f64 / 1000.0;
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let average = sampled / (times.len() - 1) as f64;
    if to_start >= average * 1.1 {
        to_start = average / 2.0;
    }
    if let Some(whole) = whole {
        to_start = to_start.min(sampled * whole);
    }
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= range_ms as f64 / 1000.0;
    }
    factor
}

pub(super) fn of_group(op: AggregateOp, values: &[f64], parameter: f64) -> f64 {
    let count = values.len() as f64;
    match op {
        AggregateOp::Sum => {
            let exact = total(values);
            exact.sum + exact.lost
        }
        AggregateOp::Avg => mean(values),
        AggregateOp::Min => extreme(values, |new, best| new < best),
        AggregateOp::Max => extreme(values, |new, best| new > best),
        AggregateOp::Count => count,
        AggregateOp::Quantile => quantile(parameter, values),
        AggregateOp::Stddev | AggregateOp::Stdvar => {
            let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for value in values {
                n += 1.0;
                let delta = value - mean;
                mean += delta / n;
                squares += delta * (value - mean);
            }
            let variance = squares / n;
            if op == AggregateOp::Stddev {
                variance.sqrt()
            } else {
                variance
            }
        }
        _ => 1.0,
    }
}
