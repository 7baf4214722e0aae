//! `min_over_time` and `max_over_time`.

use std::collections::VecDeque;

use super::Input;
use crate::eval::vector::ABSENT;

/// From this many samples per window on, a queue of candidates beats looking at each.
const QUEUE_FROM_SAMPLES: u64 = 16;

/// The sample that `beats` all others; NaN only where there is nothing else. Of equals the first.
pub(super) fn extreme(input: &Input<'_>, beats: impl Fn(f64, f64) -> bool, out: &mut [f64]) {
    let windows = out.len().max(1) as u64;
    if input.edges.total_samples / windows < QUEUE_FROM_SAMPLES {
        input.each(out, |_, values, _| scan(values, &beats));
    } else {
        queue(input, &beats, out);
    }
}

/// Seconds of the last sample that `beats` the best so far.
pub(super) fn time_of(
    timestamps_ms: &[i64],
    values: &[f64],
    beats: impl Fn(f64, f64) -> bool,
) -> f64 {
    let (mut best, mut at_ms) = (values[0], timestamps_ms[0]);
    for (value, t) in values.iter().zip(timestamps_ms) {
        if beats(*value, best) || best.is_nan() {
            (best, at_ms) = (*value, *t);
        }
    }
    at_ms as f64 / 1000.0
}

fn scan(values: &[f64], beats: &impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if beats(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

/// Both edges only move forward, so a sample that a later one beats never matters again: the rest,
/// in order, begins with the answer.
fn queue(input: &Input<'_>, beats: &impl Fn(f64, f64) -> bool, out: &mut [f64]) {
    let values = input.values;
    let mut candidates: VecDeque<usize> = VecDeque::new();
    let mut taken = 0;
    for (slot, (from, to)) in out.iter_mut().zip(&input.edges.spans) {
        let (from, to) = (*from as usize, *to as usize);
        taken = taken.max(from);
        for (at, value) in values.iter().enumerate().take(to).skip(taken) {
            if value.is_nan() {
                continue;
            }
            while candidates
                .back()
                .is_some_and(|last| beats(*value, values[*last]))
            {
                candidates.pop_back();
            }
            candidates.push_back(at);
        }
        taken = taken.max(to);
        while candidates.front().is_some_and(|first| *first < from) {
            candidates.pop_front();
        }
        *slot = match candidates.front() {
            Some(first) => values[*first],
            // Only NaN: which of them does not show, except in its payload.
            None if from < to => values[to - 1],
            None => ABSENT,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Edges;
    use crate::plan::{Steps, Times};

    #[test]
    fn the_queue_agrees_with_looking_at_each() {
        let mut state = 7u64;
        let values: Vec<f64> = (0..500)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                match (state >> 33) % 12 {
                    0 => f64::NAN,
                    1 => -0.0,
                    2 => 0.0,
                    n => n as f64,
                }
            })
            .collect();
        let timestamps_ms: Vec<i64> = (0..500).map(|i| i * 10).collect();
        let steps = Steps::until(0, 6000, 35);
        let times = Times {
            offset_ms: 0,
            at_ms: None,
        };
        let edges = Edges::new(&timestamps_ms, times, 400, &steps);
        let input = Input {
            timestamps_ms: &timestamps_ms,
            values: &values,
            edges: &edges,
            steps: &steps,
            times,
            range_ms: 400,
            starts: None,
            params: &[],
        };
        let (mut one, mut other) = (vec![ABSENT; steps.count], vec![ABSENT; steps.count]);
        let beats = |a: f64, b: f64| a > b;
        queue(&input, &beats, &mut one);
        input.each(&mut other, |_, v, _| scan(v, &beats));
        let bits = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&other));
    }
}
