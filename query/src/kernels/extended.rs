//! `rate`, `increase`, `delta`, `changes` and `resets` over `anchored` and `smoothed` selectors:
//! the window brings samples from outside of its range, and nothing is extrapolated.

use barograph_model::Sample;

use super::Input;
use crate::ast::Extension;
use crate::eval::vector::{ABSENT, is_absent};
use crate::functions::Window;
use crate::parse::seconds_of_ms;

/// Computes a window function for all steps. The edges of `input` reach further than its range.
pub(crate) fn run_extended(
    function: Window,
    extension: Extension,
    input: &Input<'_>,
    out: &mut [f64],
) {
    let range_seconds = seconds_of_ms(input.range_ms);
    let began = |step: usize, at: usize| {
        let first = input.edges.spans[step].0 as usize;
        input.starts.is_some_and(|starts| starts.began[first + at])
    };
    input.each(out, |timestamps_ms, values, step| {
        let end_ms = input.times.at_step(input.steps, step);
        let window = Extended {
            timestamps_ms,
            values,
            begin_ms: end_ms.saturating_sub(input.range_ms),
            end_ms,
            smoothed: extension == Extension::Smoothed,
        };
        match function {
            Window::Rate => match window.difference(true) {
                absent if is_absent(absent) => absent,
                difference => difference / range_seconds,
            },
            Window::Increase => window.difference(true),
            Window::Delta => window.difference(false),
            Window::Changes => window
                .count(|before, after, _| before != after && !(before.is_nan() && after.is_nan())),
            Window::Resets => window.count(|before, after, at| after < before || began(step, at)),
            // The plan lets no other through.
            _ => ABSENT,
        }
    });
}

/// The samples of an extended window as a range vector shows them: its ends are samples.
pub(crate) fn extend(
    timestamps_ms: &[i64],
    values: &[f64],
    (begin_ms, end_ms): (i64, i64),
    extension: Extension,
) -> Vec<Sample> {
    let window = Extended {
        timestamps_ms,
        values,
        begin_ms,
        end_ms,
        smoothed: extension == Extension::Smoothed,
    };
    let (first, last) = window.bounds();
    if timestamps_ms[last] <= begin_ms {
        return Vec::new();
    }
    let sample = |timestamp_ms, value| Sample {
        timestamp_ms,
        value,
    };
    let mut samples = vec![sample(begin_ms, window.left(first, false))];
    samples.extend(
        window
            .inside(first, last)
            .map(|at| sample(timestamps_ms[at], values[at])),
    );
    samples.push(sample(end_ms, window.right(last, false)));
    samples
}

/// The value at `at_ms` on the line between two samples. A counter that fell in between rises from
/// zero.
pub(crate) fn interpolate(
    (from_ms, from): (i64, f64),
    (to_ms, to): (i64, f64),
    at_ms: i64,
    is_counter: bool,
) -> f64 {
    let from = if is_counter && to < from { 0.0 } else { from };
    from + (to - from) * ((at_ms - from_ms) as f64) / ((to_ms - from_ms) as f64)
}

/// The samples of one step: never empty, with those before and, if smoothed, behind the range.
struct Extended<'a> {
    timestamps_ms: &'a [i64],
    values: &'a [f64],
    begin_ms: i64,
    end_ms: i64,
    smoothed: bool,
}

/// The sample that stands for a range's start, and the one that stands for its end. There is at
/// least one sample.
pub(super) fn bounds(
    timestamps_ms: &[i64],
    begin_ms: i64,
    end_ms: i64,
    smoothed: bool,
) -> (usize, usize) {
    let last = timestamps_ms.len() - 1;
    let before_last = &timestamps_ms[..last];
    let first = before_last.partition_point(|t| *t <= begin_ms);
    let last = if smoothed {
        before_last.partition_point(|t| *t < end_ms)
    } else {
        last
    };
    (first.saturating_sub(1), last)
}

impl Extended<'_> {
    fn bounds(&self) -> (usize, usize) {
        bounds(
            self.timestamps_ms,
            self.begin_ms,
            self.end_ms,
            self.smoothed,
        )
    }

    fn point(&self, at: usize) -> (i64, f64) {
        (self.timestamps_ms[at], self.values[at])
    }

    fn left(&self, first: usize, is_counter: bool) -> f64 {
        if self.smoothed && self.timestamps_ms[first] < self.begin_ms {
            let (one, other) = (self.point(first), self.point(first + 1));
            return interpolate(one, other, self.begin_ms, is_counter);
        }
        self.values[first]
    }

    fn right(&self, last: usize, is_counter: bool) -> f64 {
        if self.smoothed && last > 0 && self.timestamps_ms[last] > self.end_ms {
            let (one, other) = (self.point(last - 1), self.point(last));
            return interpolate(one, other, self.end_ms, is_counter);
        }
        self.values[last]
    }

    /// The samples strictly inside the range.
    fn inside(&self, first: usize, last: usize) -> std::ops::Range<usize> {
        let from = first + usize::from(self.timestamps_ms[first] <= self.begin_ms);
        let to = last + usize::from(self.timestamps_ms[last] < self.end_ms);
        from..to.max(from)
    }

    fn difference(&self, is_counter: bool) -> f64 {
        let (first, last) = self.bounds();
        if self.timestamps_ms[last] <= self.begin_ms
            || (self.smoothed && self.timestamps_ms[first] > self.end_ms)
        {
            return ABSENT;
        }
        let (left, right) = (self.left(first, is_counter), self.right(last, is_counter));
        let mut difference = right - left;
        if is_counter {
            let mut correction = 0.0;
            let mut before = left;
            for value in self.values[self.inside(first, last)].iter().chain([&right]) {
                if *value < before {
                    correction += before;
                }
                before = *value;
            }
            difference += correction;
        }
        difference
    }

    /// How many neighbours differ so, from the sample at or before the start on.
    fn count(&self, differs: impl Fn(f64, f64, usize) -> bool) -> f64 {
        let behind = self.timestamps_ms.partition_point(|t| *t <= self.begin_ms);
        if behind == self.timestamps_ms.len() {
            return ABSENT;
        }
        let from = behind.saturating_sub(1);
        (from + 1..self.values.len())
            .filter(|at| differs(self.values[at - 1], self.values[*at], *at))
            .count() as f64
    }
}
