//! Linear regression and smoothing.

use crate::eval::vector::ABSENT;
use crate::gomath::kahan_add;

/// Least squares: slope per second, and the value at `intercept_ms`.
pub(super) fn regression(timestamps_ms: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|value| *value == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let mut count = 0.0;
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_xx) =
        ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for (t, y) in timestamps_ms.iter().zip(values) {
        count += 1.0;
        let x = (t - intercept_ms) as f64 / 1e3;
        sum_x = kahan_add(x, sum_x.0, sum_x.1);
        sum_y = kahan_add(*y, sum_y.0, sum_y.1);
        sum_xy = kahan_add(x * y, sum_xy.0, sum_xy.1);
        sum_xx = kahan_add(x * x, sum_xx.0, sum_xx.1);
    }
    let total = |sum: (f64, f64)| sum.0 + sum.1;
    let (sum_x, sum_y) = (total(sum_x), total(sum_y));
    let covariance = total(sum_xy) - sum_x * sum_y / count;
    let variance = total(sum_xx) - sum_x * sum_x / count;
    let slope = covariance / variance;
    (slope, sum_y / count - slope * sum_x / count)
}

/// Holt's double exponential smoothing; the factors are checked before.
pub(super) fn smoothed(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let [first, second, ..] = values else {
        return ABSENT;
    };
    let (mut before, mut level) = (0.0, *first);
    let mut slope = second - first;
    for (index, value) in values.iter().enumerate().skip(1) {
        let raw = smoothing * value;
        if index > 1 {
            let (new, old) = (trend * (level - before), (1.0 - trend) * slope);
            slope = new + old;
        }
        let expected = (1.0 - smoothing) * (level + slope);
        (before, level) = (level, raw + expected);
    }
    level
}
