//! Functions over windows of one series: a column of samples in, a value per step out.
//!
//! Operations run in Prometheus's order, so that results have the same bits.

mod extended;
mod extended_histogram;
mod extremes;
mod histogram;
mod mean;
mod order;
mod rate;
mod starts;
mod trend;

use barograph_tsdb::{Digest, Wanted};

use crate::eval::vector::ABSENT;
use crate::functions::Window;
use crate::plan::{Steps, Times};

pub(crate) use extended::{extend, interpolate, run_extended};
pub(crate) use extended_histogram::{run_mixed_extended, smoothed_histogram_at};
pub(crate) use histogram::{HistogramMean, HistogramWindows, Remarks, Seen, has_float, run_mixed};
pub(crate) use order::quantile;
pub(crate) use rate::Geometry;
pub(crate) use starts::Starts;

/// Per step, the samples inside its window: from the first index up to and without the second.
#[derive(Debug)]
pub(crate) struct Edges {
    pub(crate) spans: Vec<(u32, u32)>,
    /// How many samples all windows hold together.
    pub(crate) total_samples: u64,
    /// How many of them no window before the step's own held.
    pub(crate) new_samples: u64,
    geometry: std::sync::OnceLock<Vec<Geometry>>,
}

impl Edges {
    /// The windows `(t - range, t]` of all steps.
    pub(crate) fn new(timestamps_ms: &[i64], times: Times, range_ms: i64, steps: &Steps) -> Self {
        let (mut from, mut to) = (0usize, 0usize);
        let (mut total_samples, mut new_samples) = (0, 0);
        let spans = (0..steps.count)
            .map(|step| {
                let end_ms = times.at_step(steps, step);
                let begin_ms = end_ms.saturating_sub(range_ms);
                while timestamps_ms.get(from).is_some_and(|t| *t <= begin_ms) {
                    from += 1;
                }
                to = to.max(from);
                let seen = to;
                while timestamps_ms.get(to).is_some_and(|t| *t <= end_ms) {
                    to += 1;
                }
                total_samples += (to - from) as u64;
                new_samples += (to - seen) as u64;
                (from as u32, to as u32)
            })
            .collect();
        Self {
            spans,
            total_samples,
            new_samples,
            geometry: std::sync::OnceLock::new(),
        }
    }

    /// Bytes it takes, the geometry of rates included.
    pub(crate) fn size_bytes(&self) -> usize {
        self.spans.len() * (size_of::<(u32, u32)>() + size_of::<Geometry>())
    }
}

/// A series and what to compute over its windows.
pub(crate) struct Input<'a> {
    pub(crate) timestamps_ms: &'a [i64],
    /// Without staleness markers.
    pub(crate) values: &'a [f64],
    pub(crate) edges: &'a Edges,
    pub(crate) steps: &'a Steps,
    pub(crate) times: Times,
    pub(crate) range_ms: i64,
    /// Since when its counter counts, where that is known and wanted.
    pub(crate) starts: Option<&'a Starts>,
    /// A column per scalar argument.
    pub(crate) params: &'a [Vec<f64>],
}

impl<'a> Input<'a> {
    /// Fills `out` from each window that is not empty.
    fn each(&self, out: &mut [f64], mut compute: impl FnMut(&'a [i64], &'a [f64], usize) -> f64) {
        for (step, (slot, (from, to))) in out.iter_mut().zip(&self.edges.spans).enumerate() {
            let (from, to) = (*from as usize, *to as usize);
            *slot = if from < to {
                compute(&self.timestamps_ms[from..to], &self.values[from..to], step)
            } else {
                ABSENT
            };
        }
    }

    fn param(&self, index: usize, step: usize) -> f64 {
        self.params[index][step]
    }
}

/// What a window function has to know of a window of floats, where that is less than all samples.
pub(crate) fn digested(function: Window) -> Option<Wanted> {
    match function {
        Window::Min | Window::Max | Window::Count | Window::Present => Some(Wanted::Extremes),
        Window::Rate | Window::Increase | Window::Delta | Window::Resets => Some(Wanted::Counter),
        _ => None,
    }
}

/// Computes a window function of one window, which is not empty, from what is known of it.
pub(crate) fn run_digest(function: Window, digest: &Digest, window_ms: (i64, i64)) -> f64 {
    match function {
        Window::Min => digest.least,
        Window::Max => digest.greatest,
        Window::Count => digest.count as f64,
        Window::Present => 1.0,
        Window::Resets => digest.before_falls.len() as f64,
        Window::Rate => rate::extrapolated_digest(digest, window_ms, true, true),
        Window::Increase => rate::extrapolated_digest(digest, window_ms, true, false),
        Window::Delta => rate::extrapolated_digest(digest, window_ms, false, false),
        _ => ABSENT,
    }
}

/// Computes a window function for all steps.
pub(crate) fn run(function: Window, input: &Input<'_>, out: &mut [f64]) {
    match (function, input.starts) {
        (Window::Irate, Some(starts)) => return starts::instant(input, starts, out),
        (Window::Resets, Some(starts)) => return starts::resets(input, starts, out),
        _ => {}
    }
    match function {
        Window::Rate => rate::extrapolated(input, true, true, out),
        Window::Increase => rate::extrapolated(input, true, false, out),
        Window::Delta => rate::extrapolated(input, false, false, out),
        Window::Irate => input.each(out, |t, v, _| rate::instant(t, v, true)),
        Window::Idelta => input.each(out, |t, v, _| rate::instant(t, v, false)),
        Window::Resets => input.each(out, |_, v, _| {
            v.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
        }),
        Window::Changes => input.each(out, |_, v, _| {
            let changed =
                |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
            v.windows(2).filter(changed).count() as f64
        }),
        Window::Deriv => input.each(out, |t, v, _| {
            if v.len() < 2 {
                ABSENT
            } else {
                trend::regression(t, v, t[0]).0
            }
        }),
        Window::PredictLinear => input.each(out, |t, v, step| {
            if v.len() < 2 {
                return ABSENT;
            }
            let (slope, intercept) = trend::regression(t, v, input.steps.at(step));
            slope * input.param(0, step) + intercept
        }),
        Window::Sum => mean::sums(input, out),
        Window::Avg => mean::averages(input, out),
        Window::Min => extremes::extreme(input, |a, b| a < b, out),
        Window::Max => extremes::extreme(input, |a, b| a > b, out),
        Window::Count => input.each(out, |_, v, _| v.len() as f64),
        Window::First => input.each(out, |_, v, _| v[0]),
        Window::Last => input.each(out, |_, v, _| v[v.len() - 1]),
        Window::Present => input.each(out, |_, _, _| 1.0),
        Window::Stddev => input.each(out, |_, v, _| mean::variance(v).sqrt()),
        Window::Stdvar => input.each(out, |_, v, _| mean::variance(v)),
        Window::Quantile => {
            let mut sorted = Vec::new();
            input.each(out, |_, v, step| {
                let q = input.param(0, step);
                // A counter is sorted already.
                if order::is_sorted(v) {
                    return order::quantile_of_sorted(q, v);
                }
                sorted.clear();
                sorted.extend_from_slice(v);
                quantile(q, &mut sorted)
            });
        }
        Window::Mad => {
            let mut sorted = Vec::new();
            input.each(out, |_, v, _| order::median_deviation(v, &mut sorted));
        }
        Window::TsOfFirst => input.each(out, |t, _, _| t[0] as f64 / 1000.0),
        Window::TsOfLast => input.each(out, |t, _, _| t[t.len() - 1] as f64 / 1000.0),
        Window::TsOfMin => input.each(out, |t, v, _| extremes::time_of(t, v, |a, b| a <= b)),
        Window::TsOfMax => input.each(out, |t, v, _| extremes::time_of(t, v, |a, b| a >= b)),
        Window::DoubleExponentialSmoothing => input.each(out, |_, v, step| {
            trend::smoothed(v, input.param(0, step), input.param(1, step))
        }),
    }
}
