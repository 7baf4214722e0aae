//! Records of Prometheus's write-ahead log.

use barograph_model::histogram::{CUSTOM_BOUNDS_SCHEMA, Span};
use barograph_model::{
    CounterResetHint, Exemplar, FloatHistogram, Histogram, IntegerHistogram, Labels, Metadata,
    MetricKind,
};

use super::be64;
use super::histograms::is_known_schema;
use crate::bytes::{Malformed, Reader};

/// One entry of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    /// The labels of a reference.
    Series(u64, Labels),
    /// A float.
    Float(At, f64),
    /// A native histogram.
    Histogram(At, Histogram),
    /// A deleted stretch of a series, both ends inclusive.
    Tombstone(u64, i64, i64),
    /// An exemplar of a series.
    Exemplar(u64, Exemplar),
    /// What the family of a series says of itself.
    Metadata(u64, Metadata),
    /// Read over: where Prometheus keeps chunks of its head.
    Other,
}

/// Where a sample belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) reference: u64,
    pub(super) timestamp_ms: i64,
    /// When the counter began, 0 where unknown.
    pub(super) start_ms: i64,
}

/// Types of records.
mod kind {
    pub(super) const SERIES: u8 = 1;
    pub(super) const SAMPLES: u8 = 2;
    pub(super) const TOMBSTONES: u8 = 3;
    pub(super) const EXEMPLARS: u8 = 4;
    pub(super) const MAPPED_CHUNKS: u8 = 5;
    pub(super) const METADATA: u8 = 6;
    pub(super) const HISTOGRAMS: u8 = 7;
    pub(super) const FLOAT_HISTOGRAMS: u8 = 8;
    pub(super) const CUSTOM_HISTOGRAMS: u8 = 9;
    pub(super) const CUSTOM_FLOAT_HISTOGRAMS: u8 = 10;
    pub(super) const SAMPLES_2: u8 = 11;
    pub(super) const HISTOGRAMS_2: u8 = 12;
    pub(super) const FLOAT_HISTOGRAMS_2: u8 = 13;
}

/// What samples of a record hold.
#[derive(Clone, Copy)]
enum Kind {
    Floats,
    Histograms,
    FloatHistograms,
}

/// Calls `each` with the entries of a record.
pub(super) fn decode(record: &[u8], mut each: impl FnMut(Entry)) -> Result<(), Malformed> {
    let mut reader = Reader::new(record);
    match reader.u8()? {
        kind::SERIES => {
            while !reader.is_at_end() {
                let reference = be64(&mut reader)?;
                each(Entry::Series(reference, labels(&mut reader)?));
            }
        }
        kind::SAMPLES => samples(&mut reader, Kind::Floats, &mut each)?,
        kind::HISTOGRAMS | kind::CUSTOM_HISTOGRAMS => {
            samples(&mut reader, Kind::Histograms, &mut each)?;
        }
        kind::FLOAT_HISTOGRAMS | kind::CUSTOM_FLOAT_HISTOGRAMS => {
            samples(&mut reader, Kind::FloatHistograms, &mut each)?;
        }
        kind::SAMPLES_2 => samples_with_starts(&mut reader, Kind::Floats, &mut each)?,
        kind::HISTOGRAMS_2 => samples_with_starts(&mut reader, Kind::Histograms, &mut each)?,
        kind::FLOAT_HISTOGRAMS_2 => {
            samples_with_starts(&mut reader, Kind::FloatHistograms, &mut each)?;
        }
        kind::TOMBSTONES => {
            while !reader.is_at_end() {
                let reference = be64(&mut reader)?;
                let (from_ms, to_ms) = (reader.signed()?, reader.signed()?);
                each(Entry::Tombstone(reference, from_ms, to_ms));
            }
        }
        kind::EXEMPLARS => exemplars(&mut reader, &mut each)?,
        kind::METADATA => {
            while !reader.is_at_end() {
                let reference = reader.varint()?;
                each(Entry::Metadata(reference, metadata(&mut reader)?));
            }
        }
        kind::MAPPED_CHUNKS => each(Entry::Other),
        _ => return Err(reader.fail("a record of an unknown type")),
    }
    Ok(())
}

/// References and times relative to the first, which stand before.
fn samples(
    reader: &mut Reader<'_>,
    kind: Kind,
    each: &mut impl FnMut(Entry),
) -> Result<(), Malformed> {
    if reader.is_at_end() {
        return Ok(());
    }
    let (first, first_ms) = (be64(reader)?, be64(reader)? as i64);
    while !reader.is_at_end() {
        let at = At {
            reference: first.wrapping_add_signed(reader.signed()?),
            timestamp_ms: first_ms.wrapping_add(reader.signed()?),
            start_ms: 0,
        };
        each(value(reader, kind, at)?);
    }
    Ok(())
}

/// References relative to the one before, times and start timestamps to the first.
fn samples_with_starts(
    reader: &mut Reader<'_>,
    kind: Kind,
    each: &mut impl FnMut(Entry),
) -> Result<(), Malformed> {
    if reader.is_at_end() {
        return Ok(());
    }
    let first = At {
        reference: reader.signed()? as u64,
        timestamp_ms: reader.signed()?,
        start_ms: reader.signed()?,
    };
    each(value(reader, kind, first)?);
    let mut last = first;
    while !reader.is_at_end() {
        last = At {
            reference: last.reference.wrapping_add_signed(reader.signed()?),
            timestamp_ms: first.timestamp_ms.wrapping_add(reader.signed()?),
            start_ms: match reader.u8()? {
                0 => 0,
                1 => last.start_ms,
                _ => first.start_ms.wrapping_add(reader.signed()?),
            },
        };
        each(value(reader, kind, last)?);
    }
    Ok(())
}

/// As [`samples`], with labels behind each value.
fn exemplars(reader: &mut Reader<'_>, each: &mut impl FnMut(Entry)) -> Result<(), Malformed> {
    if reader.is_at_end() {
        return Ok(());
    }
    let (first, first_ms) = (be64(reader)?, be64(reader)? as i64);
    while !reader.is_at_end() {
        let reference = first.wrapping_add_signed(reader.signed()?);
        let exemplar = Exemplar {
            timestamp_ms: first_ms.wrapping_add(reader.signed()?),
            value: float(reader)?,
            labels: labels(reader)?,
        };
        each(Entry::Exemplar(reference, exemplar));
    }
    Ok(())
}

/// The kind, and named texts; names that are not known are read over.
fn metadata(reader: &mut Reader<'_>) -> Result<Metadata, Malformed> {
    let kind = match reader.u8()? {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    };
    let mut metadata = Metadata {
        kind,
        ..Metadata::default()
    };
    for _ in 0..reader.count(2)? {
        let (name, text) = (reader.text()?, reader.text()?);
        match name {
            "UNIT" => text.clone_into(&mut metadata.unit),
            "HELP" => text.clone_into(&mut metadata.help),
            _ => {}
        }
    }
    Ok(metadata)
}

fn value(reader: &mut Reader<'_>, kind: Kind, at: At) -> Result<Entry, Malformed> {
    Ok(match kind {
        Kind::Floats => Entry::Float(at, float(reader)?),
        Kind::Histograms => Entry::Histogram(at, integer(reader)?.into()),
        Kind::FloatHistograms => Entry::Histogram(at, float_histogram(reader)?.into()),
    })
}

fn float(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    be64(reader).map(f64::from_bits)
}

fn labels(reader: &mut Reader<'_>) -> Result<Labels, Malformed> {
    let count = reader.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((reader.text()?, reader.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

fn integer(reader: &mut Reader<'_>) -> Result<IntegerHistogram, Malformed> {
    let mut histogram = IntegerHistogram {
        counter_reset_hint: hint(reader)?,
        schema: schema(reader)?,
        zero_threshold: float(reader)?,
        zero_count: reader.varint()?,
        count: reader.varint()?,
        sum: float(reader)?,
        positive_spans: spans(reader)?,
        negative_spans: spans(reader)?,
        ..IntegerHistogram::default()
    };
    // Differences to the bucket before.
    let buckets = |reader: &mut Reader<'_>| {
        let count = reader.count(1)?;
        let (mut buckets, mut last) = (Vec::with_capacity(count), 0i64);
        for _ in 0..count {
            last = last.wrapping_add(reader.signed()?);
            let bucket = u64::try_from(last);
            buckets.push(bucket.map_err(|_| reader.fail("a bucket with a count below zero"))?);
        }
        Ok(buckets)
    };
    histogram.positive_buckets = buckets(reader)?;
    histogram.negative_buckets = buckets(reader)?;
    histogram.custom_bounds = bounds(reader, histogram.schema)?.into();
    Ok(histogram)
}

fn float_histogram(reader: &mut Reader<'_>) -> Result<FloatHistogram, Malformed> {
    let mut histogram = FloatHistogram {
        counter_reset_hint: hint(reader)?,
        schema: schema(reader)?,
        zero_threshold: float(reader)?,
        zero_count: float(reader)?,
        count: float(reader)?,
        sum: float(reader)?,
        positive_spans: spans(reader)?,
        negative_spans: spans(reader)?,
        positive_buckets: floats(reader)?,
        negative_buckets: floats(reader)?,
        ..FloatHistogram::default()
    };
    histogram.custom_bounds = bounds(reader, histogram.schema)?.into();
    Ok(histogram)
}

fn hint(reader: &mut Reader<'_>) -> Result<CounterResetHint, Malformed> {
    Ok(match reader.u8()? {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    })
}

fn schema(reader: &mut Reader<'_>) -> Result<i32, Malformed> {
    let schema = reader.signed()?;
    i32::try_from(schema).map_err(|_| reader.fail("a schema beyond 32 bits"))
}

fn spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = reader.count(2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = i32::try_from(reader.signed()?);
        spans.push(Span {
            offset: offset.map_err(|_| reader.fail("a span beyond 32 bits"))?,
            length: reader.varint_u32()?,
        });
    }
    Ok(spans)
}

fn floats(reader: &mut Reader<'_>) -> Result<Vec<f64>, Malformed> {
    let count = reader.count(8)?;
    (0..count).map(|_| float(reader)).collect()
}

fn bounds(reader: &mut Reader<'_>, schema: i32) -> Result<Vec<f64>, Malformed> {
    match schema {
        CUSTOM_BOUNDS_SCHEMA => floats(reader),
        _ => Ok(Vec::new()),
    }
}

/// Whether its schema is one to read, and its spans have the buckets it has: what a chunk takes for
/// granted.
pub(super) fn is_consistent(histogram: &Histogram) -> bool {
    if !is_known_schema(histogram.schema()) {
        return false;
    }
    let fits = |spans: &[Span], buckets: usize| {
        let count = spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
        count == buckets as u64
    };
    match histogram {
        Histogram::Integer(h) => {
            fits(&h.positive_spans, h.positive_buckets.len())
                && fits(&h.negative_spans, h.negative_buckets.len())
        }
        Histogram::Float(h) => {
            fits(&h.positive_spans, h.positive_buckets.len())
                && fits(&h.negative_spans, h.negative_buckets.len())
        }
    }
}
