//! Sums, means and variances, compensated as Prometheus compensates them.

use super::Input;
use crate::eval::vector::ABSENT;
use crate::gomath::kahan_add;

/// Windows that are added up side by side: within one, each sum waits for the sum before.
const LANES: usize = 4;

/// A compensated sum under way.
#[derive(Clone, Copy, Default)]
struct Running {
    sum: f64,
    compensation: f64,
}

impl Running {
    /// What an addition loses is a float, and the same however it is found, as long as nothing
    /// overflows: here by Knuth's sum of two, which takes no branch.
    #[inline]
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        let added = total - self.sum;
        let lost = (self.sum - (total - added)) + (value - added);
        self.sum = total;
        self.compensation += lost;
    }

    /// Whether nothing overflowed, and no sample was infinite or a NaN.
    fn is_finite(self) -> bool {
        self.sum.is_finite() && self.compensation.is_finite()
    }
}

/// `sum_over_time`.
pub(super) fn sums(input: &Input<'_>, out: &mut [f64]) {
    let begin = |_| Running::default();
    side_by_side(input, begin, 0, out, |running, window| {
        if running.is_finite() {
            running.sum + running.compensation
        } else {
            overflowing_sum(window)
        }
    });
}

/// `avg_over_time`: the sum divided, or an incremental mean from where the sum would overflow.
pub(super) fn averages(input: &Input<'_>, out: &mut [f64]) {
    let begin = |first| Running {
        sum: first,
        ..Running::default()
    };
    side_by_side(input, begin, 1, out, |running, window| {
        if !running.is_finite() {
            return overflowing_average(window);
        }
        let count = window.len() as f64;
        running.sum / count + running.compensation / count
    });
}

/// Adds up the windows that are not empty, each from the sample at `skip` on, and writes what
/// `finish` makes of the sums.
fn side_by_side(
    input: &Input<'_>,
    begin: impl Fn(f64) -> Running,
    skip: usize,
    out: &mut [f64],
    finish: impl Fn(Running, &[f64]) -> f64,
) {
    let spans = input.edges.spans.chunks(LANES);
    for (out, spans) in out.chunks_mut(LANES).zip(spans) {
        // Where there are fewer than lanes, some are empty.
        let mut windows = [&input.values[..0]; LANES];
        for (window, (from, to)) in windows.iter_mut().zip(spans) {
            *window = &input.values[*from as usize..*to as usize];
        }
        let mut running = windows.map(|window| match window.first() {
            Some(first) => begin(*first),
            None => Running::default(),
        });
        let shortest = windows.iter().map(|window| window.len()).min();
        let done = shortest.unwrap_or(0).max(skip);
        let [a, b, c, d] = windows.map(|window| window.get(skip..done).unwrap_or_default());
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            let values = [*a, *b, *c, *d];
            for (running, value) in running.iter_mut().zip(values) {
                running.add(value);
            }
        }
        let lanes = running.iter_mut().zip(&windows);
        for (slot, (running, window)) in out.iter_mut().zip(lanes) {
            for value in window.get(done..).unwrap_or_default() {
                running.add(*value);
            }
            *slot = if window.is_empty() {
                ABSENT
            } else {
                finish(*running, window)
            };
        }
    }
}

/// The sum of samples that is not finite at some point.
fn overflowing_sum(values: &[f64]) -> f64 {
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

/// The average of samples whose sum is not finite at some point.
fn overflowing_average(values: &[f64]) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Edges;
    use crate::plan::{Steps, Times};

    #[test]
    fn windows_side_by_side_are_added_up_as_one_by_one() {
        let odd = [1e308, -1e308, f64::INFINITY, f64::NAN, -0.0, 1e-300, 0.1];
        let mut state = 11u64;
        for kinds in [0, 2, 7] {
            let values: Vec<f64> = (0..400)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let number = (state >> 33) % 40;
                    odd[..kinds]
                        .get(number as usize)
                        .copied()
                        .unwrap_or(number as f64 / 10.0)
                })
                .collect();
            // Some stretches have gaps.
            let timestamps_ms: Vec<i64> = (0..400).map(|i| i * 10 + i / 50 * 130).collect();
            let steps = Steps::until(0, 6000, 35);
            let times = Times {
                offset_ms: 0,
                at_ms: None,
            };
            let edges = Edges::new(&timestamps_ms, times, 110, &steps);
            let input = Input {
                timestamps_ms: &timestamps_ms,
                values: &values,
                edges: &edges,
                steps: &steps,
                times,
                range_ms: 110,
                starts: None,
                params: &[],
            };
            let (mut have, mut want) = (vec![ABSENT; steps.count], vec![ABSENT; steps.count]);
            let bits = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            averages(&input, &mut have);
            input.each(&mut want, |_, window, _| overflowing_average(window));
            assert_eq!(bits(&have), bits(&want));
            sums(&input, &mut have);
            input.each(&mut want, |_, window, _| overflowing_sum(window));
            assert_eq!(bits(&have), bits(&want));
        }
    }
}
