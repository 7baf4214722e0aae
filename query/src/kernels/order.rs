//! Quantiles.

use std::cmp::Ordering;

/// Up to so many samples sorting them all is as quick as finding two of them.
const SORT_LIMIT: usize = 32;

/// The quantile between the two nearest samples; brings `values` into another order, NaN first.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.len() <= SORT_LIMIT || !(0.0..=1.0).contains(&q) {
        values.sort_unstable_by(|a, b| nan_first(*a, *b));
        return quantile_of_sorted(q, values);
    }
    let (lower, upper, weight) = nearest(q, values.len());
    let (_, below, rest) = values.select_nth_unstable_by(lower, |a, b| nan_first(*a, *b));
    let below = *below;
    let above = if upper == lower {
        below
    } else {
        let least = rest.iter().copied().min_by(|a, b| nan_first(*a, *b));
        least.unwrap_or(below)
    };
    below * (1.0 - weight) + above * weight
}

/// The same of values in order, NaN first.
pub(super) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let (lower, upper, weight) = nearest(q, values.len());
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// The samples around a quantile of so many, and the weight of the upper one.
fn nearest(q: f64, count: usize) -> (usize, usize, f64) {
    let count = count as f64;
    let rank = q * (count - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(count - 1.0);
    (lower as usize, upper as usize, rank - rank.floor())
}

/// Whether values are in order, NaN first.
pub(super) fn is_sorted(values: &[f64]) -> bool {
    values.is_sorted_by(|a, b| nan_first(*a, *b).is_le())
}

/// `mad_over_time`: the median distance from the median; NaN where any sample is.
pub(super) fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    for value in scratch.iter_mut() {
        *value = (*value - median).abs();
    }
    quantile(0.5, scratch)
}

/// NaN comes first, and −0 before +0: the answer does not depend on the order in which they came.
fn nan_first(a: f64, b: f64) -> Ordering {
    match a.partial_cmp(&b) {
        Some(Ordering::Equal) => b.is_sign_negative().cmp(&a.is_sign_negative()),
        Some(order) => order,
        None => b.is_nan().cmp(&a.is_nan()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_both_signs_have_an_order() {
        for mut values in [[-0.0, -0.0, 0.0], [-0.0, 0.0, -0.0], [0.0, -0.0, -0.0]] {
            assert_eq!(quantile(0.0, &mut values).to_bits(), (-0.0f64).to_bits());
            assert_eq!(values.map(f64::is_sign_negative), [true, true, false]);
        }
    }
}
