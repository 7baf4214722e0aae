//! The native histogram of remote write's messages.

use barograph_model::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram};

use crate::protobuf::histogram::{absolute, read_span};
use crate::wire::{Fields, Malformed, Value};

/// A histogram with its time and start time, both in milliseconds.
pub(super) struct TimedHistogram {
    pub(super) timestamp_ms: i64,
    /// 0 where there is none.
    pub(super) start_ms: i64,
    pub(super) histogram: Histogram,
}

/// Reads a histogram message; what contradicts itself is left to the caller to find.
pub(super) fn read(message: &[u8]) -> Result<TimedHistogram, Malformed> {
    let mut float = FloatHistogram::default();
    let (mut count, mut zero_count, mut is_float) = (0, 0, false);
    let (mut positive_deltas, mut negative_deltas) = (Vec::new(), Vec::new());
    let mut custom_bounds = Vec::new();
    let (mut timestamp_ms, mut start_ms) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => (count, is_float) = (value.integer()?, false),
            2 => (float.count, is_float) = (value.double()?, true),
            3 => float.sum = value.double()?,
            4 => float.schema = schema(value)?,
            5 => float.zero_threshold = value.double()?,
            6 => zero_count = value.integer()?,
            7 => float.zero_count = value.double()?,
            8 => float.negative_spans.push(read_span(value)?),
            9 => value.signed_list(&mut negative_deltas)?,
            10 => value.double_list(&mut float.negative_buckets)?,
            11 => float.positive_spans.push(read_span(value)?),
            12 => value.signed_list(&mut positive_deltas)?,
            13 => value.double_list(&mut float.positive_buckets)?,
            14 => float.counter_reset_hint = hint(value.integer()?),
            15 => timestamp_ms = value.integer()? as i64,
            16 => value.double_list(&mut custom_bounds)?,
            17 => start_ms = value.integer()? as i64,
            _ => {}
        }
    }
    float.custom_bounds = custom_bounds.into();
    let histogram = if is_float {
        Histogram::Float(float)
    } else {
        Histogram::Integer(IntegerHistogram {
            counter_reset_hint: float.counter_reset_hint,
            schema: float.schema,
            zero_threshold: float.zero_threshold,
            zero_count,
            count,
            sum: float.sum,
            positive_buckets: absolute(&positive_deltas)?,
            negative_buckets: absolute(&negative_deltas)?,
            positive_spans: float.positive_spans,
            negative_spans: float.negative_spans,
            custom_bounds: float.custom_bounds,
        })
    };
    Ok(TimedHistogram {
        timestamp_ms,
        start_ms,
        histogram,
    })
}

fn schema(value: Value<'_>) -> Result<i32, Malformed> {
    i32::try_from(value.signed()?).map_err(|_| Malformed("a schema beyond 32 bits"))
}

fn hint(number: u64) -> CounterResetHint {
    match number {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}
