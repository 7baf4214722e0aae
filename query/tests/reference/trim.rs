//! What `</` and `>/` leave of a histogram: observations below or above a value, with what is lost of
//! a bucket that the value lies in estimated.

use super::histogram::Plain;

/// What stays of a bucket: how many observations, and the value they are taken to have.
type Rest = (f64, f64);

/// A side of zero, or both of custom buckets.
struct Side {
    is_positive: bool,
    is_custom: bool,
}

/// The part of a histogram below a value, or that above it.
pub(super) fn trimmed(histogram: &Plain, at: f64, below: bool) -> Plain {
    let mut out = histogram.clone();
    let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
    let bound = |index: i32| 2f64.powf(f64::from(index) * 2f64.powi(-histogram.schema));
    let custom = |at: i32, outside: f64| {
        let at = usize::try_from(at).ok();
        at.and_then(|at| histogram.bounds.get(at))
            .map_or(outside, |bound| *bound)
    };
    let mut keep = |slot: &mut f64, side: &Side, lower: f64, upper: f64| {
        if *slot == 0.0 {
            return;
        }
        let (left, value) = side.rest(lower, upper, *slot, at, below);
        changed |= left != *slot;
        *slot = left;
        count += left;
        if left != 0.0 {
            sum += left * value;
        }
    };
    let is_custom = histogram.is_custom();
    for (index, slot) in &mut out.positive {
        let (lower, upper) = if is_custom {
            let lower = custom(index - 1, f64::NEG_INFINITY);
            (lower, custom(*index, f64::INFINITY))
        } else {
            (bound(index - 1), bound(*index))
        };
        let side = Side {
            is_positive: true,
            is_custom,
        };
        keep(slot, &side, lower, upper);
    }
    for (index, slot) in &mut out.negative {
        let side = Side {
            is_positive: false,
            is_custom,
        };
        keep(slot, &side, -bound(*index), -bound(index - 1));
    }
    if out.zero_count > 0.0 {
        let holds = |side: &std::collections::BTreeMap<i32, f64>| side.values().any(|n| *n != 0.0);
        let (mut lower, mut upper) = (-histogram.zero_threshold, histogram.zero_threshold);
        match (holds(&histogram.negative), holds(&histogram.positive)) {
            (true, false) => upper = 0.0,
            (false, true) => lower = 0.0,
            _ => {}
        }
        let (from, to) = if below { (lower, at) } else { (at, upper) };
        let (from, to) = (from.clamp(lower, upper), to.clamp(lower, upper));
        let left = if to - from >= upper - lower {
            out.zero_count
        } else {
            out.zero_count * (to - from) / (upper - lower)
        };
        changed |= left != out.zero_count;
        out.zero_count = left;
        count += left;
        sum += left * f64::midpoint(from, to);
    }
    if changed {
        (out.count, out.sum) = (count, sum);
    }
    out
}

impl Side {
    fn rest(&self, lower: f64, upper: f64, count: f64, at: f64, below: bool) -> Rest {
        let all = if below { upper <= at } else { lower >= at };
        if all {
            return (count, self.middle(lower, upper));
        }
        let some = if below { lower < at } else { upper > at };
        if !some {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
            return without_bound(lower, upper, count, at, below);
        }
        let share = if self.is_custom {
            (at - lower) / (upper - lower)
        } else {
            (at / lower).ln() / (upper / lower).ln()
        };
        if below {
            (count * share, self.middle(lower, at))
        } else {
            (count * (1.0 - share), self.middle(at, upper))
        }
    }

    /// The value of those between two bounds.
    fn middle(&self, lower: f64, upper: f64) -> f64 {
        if lower == f64::NEG_INFINITY {
            return match upper {
                f64::INFINITY => 0.0,
                _ if upper > 0.0 => upper / 2.0,
                _ => upper,
            };
        }
        if upper == f64::INFINITY {
            return lower;
        }
        if self.is_custom {
            return f64::midpoint(lower, upper);
        }
        let middle = (lower * upper).abs().sqrt();
        if self.is_positive { middle } else { -middle }
    }
}

/// Of a bucket that the value lies in and that has no bound on one side.
fn without_bound(lower: f64, upper: f64, count: f64, at: f64, below: bool) -> Rest {
    if lower == f64::NEG_INFINITY && upper != f64::INFINITY {
        return match below {
            // Such a bucket is taken to begin at 0 where it ends above.
            true if upper > 0.0 && at > 0.0 => (count * at / upper, at / 2.0),
            true if upper <= 0.0 => (count, at),
            false if upper > 0.0 && at >= 0.0 => {
                (count * (1.0 - at / upper), f64::midpoint(at, upper))
            }
            _ => (0.0, 0.0),
        };
    }
    if !below && lower != f64::NEG_INFINITY {
        return (count, at);
    }
    (0.0, 0.0)
}
