//! Sums, means and variances, compensated as Prometheus compensates them.

use crate::gomath::kahan_add;

/// `sum_over_time`.
pub(super) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in values {
        (sum, compensation) = kahan_add(*value, sum, compensation);
    }
    if sum.is_infinite() {
        sum
    } else {
        sum + compensation
    }
}

/// `avg_over_time`: the sum divided, or an incremental mean from where the sum would overflow.
pub(super) fn average(values: &[f64]) -> f64 {
    let (mut sum, mut mean, mut compensation) = (values[0], 0.0, 0.0);
    let mut count = 1.0;
    let mut incremental = false;
    for (index, value) in values.iter().enumerate().skip(1) {
        count = (index + 1) as f64;
        if !incremental {
            let (new_sum, new_compensation) = kahan_add(*value, sum, compensation);
            if !new_sum.is_infinite() {
                (sum, compensation) = (new_sum, new_compensation);
                continue;
            }
            incremental = true;
            mean = sum / (count - 1.0);
            compensation /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        (mean, compensation) = kahan_add(value / count, share * mean, share * compensation);
    }
    if incremental {
        mean + compensation
    } else {
        sum / count + compensation / count
    }
}

/// `stdvar_over_time`, by Welford's method.
pub(super) fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_compensation) = (0.0, 0.0);
    let (mut squares, mut squares_compensation) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean + mean_compensation);
        (mean, mean_compensation) = kahan_add(delta / count, mean, mean_compensation);
        let square = delta * (value - (mean + mean_compensation));
        (squares, squares_compensation) = kahan_add(square, squares, squares_compensation);
    }
    (squares + squares_compensation) / count
}
