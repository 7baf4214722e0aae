//! Chunks of native histograms: integer and float counts, with and without start timestamps.

use std::sync::Arc;

use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, RESERVED_EXPONENTIAL_SCHEMAS, Span};
use barograph_model::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram, is_stale};

use super::bits::{BitReader, XorValue};
use super::starts::Starts;
use crate::bytes::Malformed;

/// Flags in the highest two bits of a chunk's header.
pub(super) const RESET: u8 = 0b10;
pub(super) const NO_RESET: u8 = 0b01;
pub(super) const GAUGE: u8 = 0b11;

/// Samples of a chunk of histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HistogramSamples {
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) histograms: Vec<Histogram>,
    /// As in [`super::floats::FloatSamples`].
    pub(crate) starts_ms: Vec<i64>,
}

/// What all samples of a chunk share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive: Vec<Span>,
    pub(super) negative: Vec<Span>,
    pub(super) custom_bounds: Arc<[f64]>,
}

struct Header {
    count: usize,
    flags: u8,
    starts: Option<Starts>,
}

/// Decodes a chunk of histograms with whole counts.
pub(super) fn decode_integer(
    data: &[u8],
    with_starts: bool,
) -> Result<HistogramSamples, Malformed> {
    let mut reader = BitReader::new(data);
    let mut header = read_header(&mut reader, with_starts)?;
    let mut samples = HistogramSamples::default();
    if header.count == 0 {
        return Ok(samples);
    }
    let layout = Layout::read(&mut reader)?;
    let mut timestamp_ms = Delta::default();
    let (mut count, mut zero_count) = (Delta::default(), Delta::default());
    let mut sum = XorValue::new(0.0);
    let mut positive = vec![Delta::default(); bucket_count(&layout.positive)];
    let mut negative = vec![Delta::default(); bucket_count(&layout.negative)];
    for index in 0..header.count {
        let before_ms = timestamp_ms.value;
        if index == 0 {
            timestamp_ms.value = reader.varbit()?;
            count.value = reader.varbit_unsigned()? as i64;
            zero_count.value = reader.varbit_unsigned()? as i64;
            sum = XorValue::new(reader.float()?);
            for bucket in positive.iter_mut().chain(&mut negative) {
                bucket.value = reader.varbit()?;
            }
        } else {
            timestamp_ms.read(&mut reader)?;
            count.read(&mut reader)?;
            zero_count.read(&mut reader)?;
            sum.read(&mut reader)?;
            if !is_stale(f64::from_bits(sum.bits)) {
                for bucket in positive.iter_mut().chain(&mut negative) {
                    bucket.read(&mut reader)?;
                }
            }
        }
        let sum = f64::from_bits(sum.bits);
        let histogram = if is_stale(sum) {
            IntegerHistogram {
                sum,
                ..IntegerHistogram::default()
            }
        } else {
            IntegerHistogram {
                counter_reset_hint: hint(header.flags, index),
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count: zero_count.value as u64,
                count: count.value as u64,
                sum,
                positive_spans: layout.positive.clone(),
                positive_buckets: absolute(&positive, &reader)?,
                negative_spans: layout.negative.clone(),
                negative_buckets: absolute(&negative, &reader)?,
                custom_bounds: layout.custom_bounds.clone(),
            }
        };
        samples.timestamps_ms.push(timestamp_ms.value);
        let mut histogram = Histogram::from(histogram);
        histogram.reduce_reserved_schema();
        samples.histograms.push(histogram);
        read_start(
            &mut header,
            &mut reader,
            index,
            timestamp_ms.value,
            before_ms,
            &mut samples,
        )?;
    }
    Ok(samples)
}

/// Decodes a chunk of histograms with float counts.
pub(super) fn decode_float(data: &[u8], with_starts: bool) -> Result<HistogramSamples, Malformed> {
    let mut reader = BitReader::new(data);
    let mut header = read_header(&mut reader, with_starts)?;
    let mut samples = HistogramSamples::default();
    if header.count == 0 {
        return Ok(samples);
    }
    let layout = Layout::read(&mut reader)?;
    let mut timestamp_ms = Delta::default();
    let positive_count = bucket_count(&layout.positive);
    let negative_count = bucket_count(&layout.negative);
    // Count, count of the zero bucket, sum; then the buckets.
    let mut values = vec![XorValue::new(0.0); 3 + positive_count + negative_count];
    for index in 0..header.count {
        let before_ms = timestamp_ms.value;
        if index == 0 {
            timestamp_ms.value = reader.varbit()?;
            for value in &mut values {
                *value = XorValue::new(reader.float()?);
            }
        } else {
            timestamp_ms.read(&mut reader)?;
            for value in &mut values[..3] {
                value.read(&mut reader)?;
            }
            if !is_stale(f64::from_bits(values[2].bits)) {
                for value in &mut values[3..] {
                    value.read(&mut reader)?;
                }
            }
        }
        let floats = |values: &[XorValue]| values.iter().map(|v| f64::from_bits(v.bits)).collect();
        let (totals, buckets) = values.split_at(3);
        let sum = f64::from_bits(totals[2].bits);
        let histogram = if is_stale(sum) {
            FloatHistogram {
                sum,
                ..FloatHistogram::default()
            }
        } else {
            FloatHistogram {
                counter_reset_hint: hint(header.flags, index),
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count: f64::from_bits(totals[1].bits),
                count: f64::from_bits(totals[0].bits),
                sum,
                positive_spans: layout.positive.clone(),
                positive_buckets: floats(&buckets[..positive_count]),
                negative_spans: layout.negative.clone(),
                negative_buckets: floats(&buckets[positive_count..]),
                custom_bounds: layout.custom_bounds.clone(),
            }
        };
        samples.timestamps_ms.push(timestamp_ms.value);
        let mut histogram = Histogram::from(histogram);
        histogram.reduce_reserved_schema();
        samples.histograms.push(histogram);
        read_start(
            &mut header,
            &mut reader,
            index,
            timestamp_ms.value,
            before_ms,
            &mut samples,
        )?;
    }
    Ok(samples)
}

/// An integer coded by how much its difference to the one before changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    pub(super) value: i64,
    pub(super) delta: i64,
}

impl Delta {
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Malformed> {
        self.delta = self.delta.wrapping_add(reader.varbit()?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

fn read_header(reader: &mut BitReader<'_>, with_starts: bool) -> Result<Header, Malformed> {
    if with_starts {
        return Ok(Header {
            flags: reader.bits(2)? as u8,
            count: reader.bits(14)? as usize,
            starts: Some(Starts::read_header(reader)?),
        });
    }
    let count = reader.bits(16)? as usize;
    Ok(Header {
        count,
        flags: (reader.bits(8)? >> 6) as u8,
        starts: None,
    })
}

fn read_start(
    header: &mut Header,
    reader: &mut BitReader<'_>,
    index: usize,
    timestamp_ms: i64,
    before_ms: i64,
    samples: &mut HistogramSamples,
) -> Result<(), Malformed> {
    match &mut header.starts {
        Some(starts) => starts.read(
            reader,
            index,
            timestamp_ms,
            before_ms,
            &mut samples.starts_ms,
        ),
        None => Ok(()),
    }
}

/// What is known of a reset before a sample. The flag of a chunk's first sample is about the chunk
/// before it, which may be gone by now or not be the one it was: it is not believed, as Prometheus
/// does not.
fn hint(flags: u8, index: usize) -> CounterResetHint {
    match flags {
        GAUGE => CounterResetHint::Gauge,
        _ if index > 0 => CounterResetHint::NotCounterReset,
        _ => CounterResetHint::Unknown,
    }
}

/// Whether histograms of a schema are read at all.
pub(super) fn is_known_schema(schema: i32) -> bool {
    schema == CUSTOM_BOUNDS_SCHEMA || RESERVED_EXPONENTIAL_SCHEMAS.contains(&schema)
}

/// How many buckets the spans have.
pub(super) fn bucket_count(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

/// Buckets are stored as differences to the bucket before.
fn absolute(buckets: &[Delta], reader: &BitReader<'_>) -> Result<Vec<u64>, Malformed> {
    let mut count = 0i64;
    let each = buckets.iter().map(|bucket| {
        count = count.wrapping_add(bucket.value);
        u64::try_from(count).map_err(|_| reader.fail("a bucket with a count below zero"))
    });
    each.collect()
}

impl Layout {
    fn read(reader: &mut BitReader<'_>) -> Result<Self, Malformed> {
        let zero_threshold = match reader.bits(8)? {
            0 => 0.0,
            255 => reader.float()?,
            // A power of two.
            exponent => 0.5 * 2f64.powi(exponent as i32 - 243),
        };
        let schema = reader.varbit()?;
        let known = i32::try_from(schema).is_ok_and(is_known_schema);
        if !known {
            return Err(reader.fail("a histogram of an unknown schema"));
        }
        let positive = read_spans(reader)?;
        let negative = read_spans(reader)?;
        // A bucket takes a bit at least; more of them would only ask for memory.
        if bucket_count(&positive).saturating_add(bucket_count(&negative)) > reader.left() {
            return Err(reader.fail("more buckets than the chunk has bits"));
        }
        let mut custom_bounds = Vec::new();
        if schema == i64::from(CUSTOM_BOUNDS_SCHEMA) {
            let count = read_count(reader)?;
            for _ in 0..count {
                custom_bounds.push(match reader.varbit_unsigned()? {
                    0 => reader.float()?,
                    thousandths => (thousandths - 1) as f64 / 1000.0,
                });
            }
        }
        Ok(Self {
            schema: schema as i32,
            zero_threshold,
            positive,
            negative,
            custom_bounds: custom_bounds.into(),
        })
    }
}

fn read_count(reader: &mut BitReader<'_>) -> Result<usize, Malformed> {
    let count = reader.varbit_unsigned()?;
    if count > reader.left() as u64 {
        return Err(reader.fail("more items than the chunk has bits"));
    }
    Ok(count as usize)
}

fn read_spans(reader: &mut BitReader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = read_count(reader)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u32::try_from(reader.varbit_unsigned()?);
        let offset = i32::try_from(reader.varbit()?);
        let (Ok(length), Ok(offset)) = (length, offset) else {
            return Err(reader.fail("a span beyond 32 bits"));
        };
        spans.push(Span { offset, length });
    }
    Ok(spans)
}
