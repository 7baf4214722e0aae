//! The histogram message: classic buckets, native ones, or both.

use barograph_model::histogram::Span;
use barograph_model::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram};

use crate::wire::{Fields, Malformed, Value};

/// A histogram as sent.
#[derive(Default)]
pub(super) struct Message<'a> {
    integer_count: u64,
    float_count: f64,
    pub(super) sum: f64,
    /// Classic buckets.
    pub(super) buckets: Vec<&'a [u8]>,
    /// Since when it counts.
    pub(super) created: Option<Value<'a>>,
    /// Exemplars of the native histogram.
    pub(super) exemplars: Vec<Value<'a>>,
    schema: i64,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    positive: Side,
    negative: Side,
}

#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl<'a> Message<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => read.integer_count = value.integer()?,
                2 => read.sum = value.double()?,
                3 => read.buckets.push(value.bytes()?),
                4 => read.float_count = value.double()?,
                5 => read.schema = value.signed()?,
                6 => read.zero_threshold = value.double()?,
                7 => read.zero_count = value.integer()?,
                8 => read.zero_count_float = value.double()?,
                9 => read.negative.spans.push(read_span(value)?),
                10 => value.signed_list(&mut read.negative.deltas)?,
                11 => value.double_list(&mut read.negative.counts)?,
                12 => read.positive.spans.push(read_span(value)?),
                13 => value.signed_list(&mut read.positive.deltas)?,
                14 => value.double_list(&mut read.positive.counts)?,
                15 => read.created = Some(value),
                16 => read.exemplars.push(value),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Count of all observations.
    pub(super) fn count(&self) -> f64 {
        if self.float_count > 0.0 {
            self.float_count
        } else {
            self.integer_count as f64
        }
    }

    /// Whether it has native buckets.
    pub(super) fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// The native histogram.
    pub(super) fn native(&self, is_gauge: bool) -> Result<Histogram, Malformed> {
        let counter_reset_hint = if is_gauge {
            CounterResetHint::Gauge
        } else {
            CounterResetHint::Unknown
        };
        let schema = self.schema as i32;
        let invalid = Malformed("a native histogram that contradicts itself");
        if self.float_count > 0.0 || self.zero_count_float > 0.0 {
            let mut histogram = FloatHistogram {
                counter_reset_hint,
                schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count: self.float_count,
                sum: self.sum,
                positive_spans: self.positive.spans.clone(),
                positive_buckets: self.positive.counts.clone(),
                negative_spans: self.negative.spans.clone(),
                negative_buckets: self.negative.counts.clone(),
                ..FloatHistogram::default()
            };
            histogram.validate().map_err(|_| invalid)?;
            histogram.compact();
            return Ok(Histogram::Float(histogram));
        }
        let histogram = IntegerHistogram {
            counter_reset_hint,
            schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.integer_count,
            sum: self.sum,
            positive_spans: self.positive.spans.clone(),
            positive_buckets: absolute(&self.positive.deltas)?,
            negative_spans: self.negative.spans.clone(),
            negative_buckets: absolute(&self.negative.deltas)?,
            ..IntegerHistogram::default()
        };
        histogram.validate().map_err(|_| invalid)?;
        Ok(Histogram::Integer(histogram))
    }
}

/// A classic bucket.
pub(super) struct Bucket<'a> {
    pub(super) count: f64,
    pub(super) upper_bound: f64,
    pub(super) exemplar: Option<Value<'a>>,
}

impl<'a> Bucket<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut integer, mut float, mut upper_bound, mut exemplar) = (0, 0.0, 0.0, None);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => integer = value.integer()?,
                2 => upper_bound = value.double()?,
                3 => exemplar = Some(value),
                4 => float = value.double()?,
                _ => {}
            }
        }
        Ok(Self {
            count: if float > 0.0 { float } else { integer as f64 },
            upper_bound,
            exemplar,
        })
    }
}

/// A span of buckets.
pub(crate) fn read_span(value: Value<'_>) -> Result<Span, Malformed> {
    let mut span = Span::default();
    let mut fields = Fields::new(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        let beyond = Malformed("a span beyond 32 bits");
        match number {
            1 => span.offset = i32::try_from(value.signed()?).map_err(|_| beyond)?,
            2 => span.length = u32::try_from(value.integer()?).map_err(|_| beyond)?,
            _ => {}
        }
    }
    Ok(span)
}

/// Counts from the differences between neighbours.
pub(crate) fn absolute(deltas: &[i64]) -> Result<Vec<u64>, Malformed> {
    let mut count = 0i64;
    let counts = deltas.iter().map(|delta| {
        count = count.checked_add(*delta)?;
        u64::try_from(count).ok()
    });
    let counts: Option<Vec<u64>> = counts.collect();
    counts.ok_or(Malformed("a native histogram with a negative bucket"))
}
