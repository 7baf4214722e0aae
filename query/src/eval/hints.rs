//! What is known of counter resets between the histograms of a series.

use std::sync::Arc;

use barograph_model::{CounterResetHint, FloatHistogram};
use barograph_tsdb::Column;

/// Gives the histograms of a column the hints that Prometheus's storage gives: a gauge is one; no
/// reset where a sample continues the run of the one before; unknown everywhere else, even where
/// the writer said that there was a reset, because samples may come in between later.
pub(super) fn settle(column: &mut Column) {
    let histograms = &mut column.histograms;
    let mut floats = column.timestamps_ms.iter().peekable();
    let mut before: Option<Arc<FloatHistogram>> = None;
    for (t, histogram) in histograms.timestamps_ms.iter().zip(&mut histograms.values) {
        // A float or a staleness marker in between ends a run.
        let mut apart = false;
        while floats.next_if(|float| *float < t).is_some() {
            apart = true;
        }
        let hint = match (histogram.counter_reset_hint, &before) {
            (CounterResetHint::Gauge, _) => CounterResetHint::Gauge,
            (CounterResetHint::CounterReset, _) | (_, None) => CounterResetHint::Unknown,
            (_, Some(before)) if !apart && continues(before, histogram) => {
                CounterResetHint::NotCounterReset
            }
            _ => CounterResetHint::Unknown,
        };
        if histogram.counter_reset_hint != hint {
            Arc::make_mut(histogram).counter_reset_hint = hint;
        }
        before = Some(histogram.clone());
    }
}

/// Leaves only schema, count and sum of histograms, for whoever asks for no more. What needed the
/// buckets is settled before: whether there was a reset, for all but the first sample since
/// `start_ms`.
pub(super) fn reduce_to_totals(column: &mut Column, start_ms: i64) {
    let histograms = &mut column.histograms;
    let mut before: Option<Arc<FloatHistogram>> = None;
    for (t, histogram) in histograms.timestamps_ms.iter().zip(&mut histograms.values) {
        let hint = match (histogram.counter_reset_hint, &before) {
            (CounterResetHint::Unknown, Some(before)) if histogram.falls_since(before) => {
                CounterResetHint::CounterReset
            }
            (CounterResetHint::Unknown, Some(_)) => CounterResetHint::NotCounterReset,
            (hint, _) => hint,
        };
        let totals = Arc::new(FloatHistogram {
            counter_reset_hint: hint,
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            ..FloatHistogram::default()
        });
        let whole = std::mem::replace(histogram, totals);
        before = (*t >= start_ms).then_some(whole);
    }
}

/// What a subquery passes on: between its steps there may have been others, so that nothing is known.
pub(super) fn forgotten(mut histogram: Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    let hint = histogram.counter_reset_hint;
    if !matches!(hint, CounterResetHint::Gauge | CounterResetHint::Unknown) {
        Arc::make_mut(&mut histogram).counter_reset_hint = CounterResetHint::Unknown;
    }
    histogram
}

/// Whether a counter went on from one sample to the next.
fn continues(before: &FloatHistogram, after: &FloatHistogram) -> bool {
    before.counter_reset_hint != CounterResetHint::Gauge
        && after.has_layout_of(before)
        && !after.falls_since(before)
}
