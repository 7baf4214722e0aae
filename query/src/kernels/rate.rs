//! `rate`, `increase`, `delta`, `irate`, `idelta`.

use barograph_tsdb::Digest;

use super::{Edges, Input, Starts};
use crate::eval::vector::ABSENT;
use crate::parse::seconds_of_ms;

/// What extrapolation knows from timestamps alone, shared by all series of a timestamp column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// From first to last sample, seconds.
    sampled: f64,
    /// From the window's start to where the series is taken to begin, seconds before the first
    /// sample.
    to_start: f64,
    /// The same at the end.
    to_end: f64,
    /// What a difference is multiplied with where nothing limits the extrapolation.
    factor: f64,
}

impl Edges {
    /// The geometry of every window; filled once.
    fn geometry(&self, input: &Input<'_>) -> &[Geometry] {
        self.geometry.get_or_init(|| {
            self.spans
                .iter()
                .enumerate()
                .map(|(step, (from, to))| {
                    let end_ms = input.times.at_step(input.steps, step);
                    let window = &input.timestamps_ms[*from as usize..*to as usize];
                    Geometry::new(window, end_ms, input.range_ms)
                })
                .collect()
        })
    }
}

impl Input<'_> {
    /// When the counter began, if that is in the window of a step, before its first sample.
    fn started(&self, is_counter: bool, from: usize, to: usize, step: usize) -> Option<i64> {
        let starts = self.starts.filter(|_| is_counter && from < to)?;
        let begin_ms = self
            .times
            .at_step(self.steps, step)
            .saturating_sub(self.range_ms);
        starts.inside(from, self.timestamps_ms[from], begin_ms)
    }
}

impl Geometry {
    /// Of the samples at `timestamps_ms` in the window that ends at `end_ms`.
    pub(super) fn new(timestamps_ms: &[i64], end_ms: i64, range_ms: i64) -> Self {
        match (timestamps_ms.first(), timestamps_ms.last()) {
            (Some(first), Some(last)) => {
                Self::between(*first, *last, timestamps_ms.len(), end_ms, range_ms)
            }
            _ => Self {
                sampled: 0.0,
                to_start: 0.0,
                to_end: 0.0,
                factor: 1.0,
            },
        }
    }

    /// Of `count` samples, the first and the last of which are at these instants.
    fn between(first: i64, last: i64, count: usize, end_ms: i64, range_ms: i64) -> Self {
        let begin_ms = end_ms.saturating_sub(range_ms);
        let mut to_start = (first - begin_ms) as f64 / 1000.0;
        let mut to_end = (end_ms - last) as f64 / 1000.0;
        let sampled = (last - first) as f64 / 1000.0;
        let average = if count > 1 {
            sampled / (count - 1) as f64
        } else {
            0.0
        };
        let threshold = average * 1.1;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut geometry = Self {
            sampled,
            to_start,
            to_end,
            factor: 1.0,
        };
        geometry.factor = geometry.factor_from(to_start);
        geometry
    }

    /// What a difference is multiplied with where nothing limits the extrapolation.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// The same for a counter that rose by `difference` from `first`: it was not below zero before
    /// the window's first sample.
    pub(super) fn factor_of_counter(&self, first: f64, difference: f64) -> f64 {
        let to_zero = self.sampled * (first / difference);
        if to_zero < self.to_start {
            self.factor_from(to_zero)
        } else {
            self.factor
        }
    }

    /// The same for a counter that was zero at `start_ms`, inside the window.
    pub(super) fn factor_since(&self, start_ms: i64, last_ms: i64) -> f64 {
        let sampled = (last_ms - start_ms) as f64 / 1000.0;
        (sampled + self.to_end) / sampled
    }

    fn factor_from(&self, to_start: f64) -> f64 {
        if self.sampled == 0.0 {
            1.0
        } else {
            (self.sampled + to_start + self.to_end) / self.sampled
        }
    }
}

/// The difference over each window, extrapolated to its edges.
pub(super) fn extrapolated(input: &Input<'_>, is_counter: bool, per_second: bool, out: &mut [f64]) {
    let geometry = input.edges.geometry(input);
    let values = input.values;
    let range_seconds = seconds_of_ms(input.range_ms);
    let resets = if is_counter {
        resets(values, input.starts)
    } else {
        Vec::new()
    };
    // The first reset that may lie inside the window.
    let mut next_reset = 0;
    let windows = input.edges.spans.iter().zip(geometry).enumerate();
    for (slot, (step, ((from, to), geometry))) in out.iter_mut().zip(windows) {
        let (from, to) = (*from as usize, *to as usize);
        let started = input.started(is_counter, from, to, step);
        if to < from + 2 && started.is_none() {
            *slot = ABSENT;
            continue;
        }
        let first = values[from];
        let mut difference = values[to - 1] - first;
        let mut factor = geometry.factor;
        if is_counter {
            while resets.get(next_reset).is_some_and(|at| *at <= from) {
                next_reset += 1;
            }
            for at in resets[next_reset..].iter().take_while(|at| **at < to) {
                difference += values[at - 1];
            }
            if let Some(start_ms) = started {
                // It was zero then.
                difference += first;
                factor = geometry.factor_since(start_ms, input.timestamps_ms[to - 1]);
            } else if difference > 0.0 && first >= 0.0 {
                factor = geometry.factor_of_counter(first, difference);
            }
        }
        if per_second {
            factor /= range_seconds;
        }
        *slot = difference * factor;
    }
}

/// The difference over one window of which no more is known than its digest.
pub(super) fn extrapolated_digest(
    digest: &Digest,
    (end_ms, range_ms): (i64, i64),
    is_counter: bool,
    per_second: bool,
) -> f64 {
    if digest.count < 2 {
        return ABSENT;
    }
    let (first_ms, last_ms) = (digest.first_ms, digest.last_ms);
    let geometry = Geometry::between(first_ms, last_ms, digest.count as usize, end_ms, range_ms);
    let first = digest.first;
    let mut difference = digest.last - first;
    let mut factor = geometry.factor;
    if is_counter {
        for value in &digest.before_falls {
            difference += value;
        }
        if difference > 0.0 && first >= 0.0 {
            factor = geometry.factor_of_counter(first, difference);
        }
    }
    if per_second {
        factor /= seconds_of_ms(range_ms);
    }
    difference * factor
}

/// Samples looked at together.
const STRIDE: usize = 64;

/// Where a counter fell or began anew: indices of the samples behind.
fn resets(values: &[f64], starts: Option<&Starts>) -> Vec<usize> {
    let began = |at: usize| starts.is_some_and(|starts| starts.began[at]);
    let fell = |at: &usize| values[*at] < values[at - 1] || began(*at);
    if starts.is_some() {
        return (1..values.len()).filter(fell).collect();
    }
    let mut resets = Vec::new();
    let later = values.get(1..).unwrap_or_default();
    for (number, (before, after)) in values.chunks(STRIDE).zip(later.chunks(STRIDE)).enumerate() {
        // Nearly all strides have none, which is told without a branch per sample.
        let mut any = false;
        for (before, after) in before.iter().zip(after) {
            any |= after < before;
        }
        if any {
            let first = number * STRIDE + 1;
            resets.extend((first..first + after.len()).filter(fell));
        }
    }
    resets
}

/// The difference of the last two samples.
pub(super) fn instant(timestamps_ms: &[i64], values: &[f64], per_second: bool) -> f64 {
    let [.., before, last] = values else {
        return ABSENT;
    };
    let count = timestamps_ms.len();
    let apart_ms = timestamps_ms[count - 1] - timestamps_ms[count - 2];
    if apart_ms == 0 {
        return ABSENT;
    }
    let was_reset = per_second && last < before;
    let difference = if was_reset { *last } else { last - before };
    if per_second {
        difference / (apart_ms as f64 / 1000.0)
    } else {
        difference
    }
}
