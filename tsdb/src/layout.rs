//! Layouts of native histograms: everything about a histogram but its counts and its sum.
//!
//! A layout is stored once and named by a number of 50 bits. A histogram sample is, in the series'
//! own column, a NaN that carries the number; its counts and its sum are in component columns (see
//! [`crate::component`]). A float that a writer sends and that looks like such a NaN is stored in a
//! component column too, so that every float comes back with its bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use barograph_model::histogram::Span;
use barograph_model::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram};

use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::component::ComponentKey;

/// What the upper 14 bits of a marker are: a negative signalling NaN.
const MARKER_PREFIX: u64 = 0xfff4 >> 2;
/// The bits below carry the number.
const ID_BITS: u32 = 50;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
/// The number that says: a float whose bits are those of a marker.
pub(crate) const RAW_FLOAT: u64 = 0;
/// Most buckets of one histogram.
pub(crate) const BUCKETS_LIMIT: usize = 16 * 1024;
/// Most bounds of one histogram.
const BOUNDS_LIMIT: usize = 16 * 1024;

const FLAG_FLOAT: u8 = 1;
const FLAG_ZERO: u8 = 2;
const HINT_SHIFT: u8 = 2;

/// Whether a value's bits stand for something else in component columns.
#[inline]
pub(crate) fn is_marker(bits: u64) -> bool {
    bits >> ID_BITS == MARKER_PREFIX
}

/// The bits that stand for a histogram of a layout.
pub(crate) fn marker(id: u64) -> u64 {
    MARKER_PREFIX << ID_BITS | id
}

/// The number in a marker.
pub(crate) fn marker_id(bits: u64) -> u64 {
    bits & ID_MASK
}

/// Why a histogram cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Spans and buckets do not say the same.
    #[error("spans name {in_spans} buckets, but there are {buckets}")]
    SpansMismatch {
        /// Buckets that the spans name.
        in_spans: u64,
        /// Buckets that are given.
        buckets: usize,
    },
    /// A span begins before the end of the one before it.
    #[error("span {number} has the negative offset {offset}")]
    NegativeOffset {
        /// Which span, from 0.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket's index is beyond 32 bits.
    #[error("the index of a bucket is beyond 32 bits")]
    IndexOverflow,
    /// Too many buckets or bounds.
    #[error("{count} buckets, more than the {limit} that are allowed")]
    TooManyBuckets {
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// A layout that is stored.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Its number.
    pub(crate) id: u64,
    /// What it says, as written.
    pub(crate) bytes: Box<[u8]>,
    /// Newest sample that has it.
    pub(crate) newest_ms: AtomicI64,
    /// Whether the log names it.
    pub(crate) logged: AtomicBool,
    /// Whether it was used since the head last forgot some.
    pub(crate) used: AtomicBool,
    /// What it says.
    pub(crate) shape: Shape,
}

/// What a layout says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) is_float: bool,
    pub(crate) has_zero: bool,
    pub(crate) hint: CounterResetHint,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) positive_spans: Vec<Span>,
    pub(crate) negative_spans: Vec<Span>,
    pub(crate) custom_bounds: Arc<[f64]>,
}

impl Layout {
    pub(crate) fn new(id: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            id,
            bytes: bytes.into(),
            newest_ms: AtomicI64::new(i64::MIN),
            logged: AtomicBool::new(false),
            used: AtomicBool::new(true),
            shape: Shape::read(bytes)?,
        })
    }

    /// Appends its number and what it says.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.id);
        out.extend_from_slice(&self.bytes);
    }

    /// Notes that a sample has it.
    pub(crate) fn touch(&self, timestamp_ms: i64) {
        if self.newest_ms.load(Ordering::Relaxed) < timestamp_ms {
            self.newest_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
        self.used.store(true, Ordering::Relaxed);
    }
}

impl Shape {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8()?;
        let schema = reader.signed()? as i32;
        let zero_threshold = f64::from_bits(reader.u64()?);
        let positive_spans = read_spans(&mut reader)?;
        let negative_spans = read_spans(&mut reader)?;
        let bounds = reader.count(8)?;
        let mut custom_bounds = Vec::with_capacity(bounds);
        for _ in 0..bounds {
            custom_bounds.push(f64::from_bits(reader.u64()?));
        }
        if !reader.is_at_end() {
            return Err(reader.fail("a layout that goes on after its end"));
        }
        let shape = Self {
            is_float: flags & FLAG_FLOAT != 0,
            has_zero: flags & FLAG_ZERO != 0,
            hint: match flags >> HINT_SHIFT {
                0 => CounterResetHint::Unknown,
                1 => CounterResetHint::CounterReset,
                2 => CounterResetHint::NotCounterReset,
                3 => CounterResetHint::Gauge,
                _ => return Err(reader.fail("a layout of an unknown kind")),
            },
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds: custom_bounds.into(),
        };
        let sides = [&shape.positive_spans, &shape.negative_spans];
        if sides.iter().any(|spans| count_buckets(spans).is_err()) {
            return Err(reader.fail("spans out of order"));
        }
        Ok(shape)
    }

    /// The components of its samples, in the order in which their values are given.
    pub(crate) fn keys(&self) -> Vec<ComponentKey> {
        let mut keys = vec![ComponentKey::COUNT, ComponentKey::SUM];
        if self.has_zero {
            keys.push(ComponentKey::ZERO);
        }
        keys.extend(indices(&self.positive_spans).map(ComponentKey::positive));
        keys.extend(indices(&self.negative_spans).map(ComponentKey::negative));
        keys
    }

    /// A histogram of these values, which are those of [`Self::keys`].
    pub(crate) fn histogram(&self, values: &[u64]) -> Histogram {
        if self.is_float {
            return Histogram::Float(self.float_histogram(values));
        }
        let parts = Parts::of(self, values);
        let counts = |bits: &[u64]| bits.iter().map(|bits| decode_integer(*bits)).collect();
        Histogram::Integer(IntegerHistogram {
            counter_reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: parts.zero.map_or(0, decode_integer),
            count: decode_integer(parts.count),
            sum: f64::from_bits(parts.sum),
            positive_spans: self.positive_spans.clone(),
            positive_buckets: counts(parts.positive),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: counts(parts.negative),
            custom_bounds: self.custom_bounds.clone(),
        })
    }

    /// The same with float counts.
    pub(crate) fn float_histogram(&self, values: &[u64]) -> FloatHistogram {
        let parts = Parts::of(self, values);
        let count = |bits: u64| {
            if self.is_float {
                f64::from_bits(bits)
            } else {
                decode_integer(bits) as f64
            }
        };
        let counts = |bits: &[u64]| bits.iter().map(|bits| count(*bits)).collect();
        FloatHistogram {
            counter_reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: parts.zero.map_or(0.0, count),
            count: count(parts.count),
            sum: f64::from_bits(parts.sum),
            positive_spans: self.positive_spans.clone(),
            positive_buckets: counts(parts.positive),
            negative_spans: self.negative_spans.clone(),
            negative_buckets: counts(parts.negative),
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

/// The values of a histogram, by what they are.
struct Parts<'a> {
    count: u64,
    sum: u64,
    zero: Option<u64>,
    positive: &'a [u64],
    negative: &'a [u64],
}

impl<'a> Parts<'a> {
    fn of(shape: &Shape, values: &'a [u64]) -> Self {
        let zero = shape.has_zero.then(|| values[2]);
        let buckets = &values[2 + usize::from(shape.has_zero)..];
        let positive: u64 = shape
            .positive_spans
            .iter()
            .map(|s| u64::from(s.length))
            .sum();
        let (positive, negative) = buckets.split_at(positive as usize);
        Self {
            count: values[0],
            sum: values[1],
            zero,
            positive,
            negative,
        }
    }
}

/// Writes the layout of a histogram and its values, those of [`Shape::keys`].
pub(crate) fn put_histogram(
    histogram: &Histogram,
    layout: &mut Vec<u8>,
    values: &mut Vec<u64>,
) -> Result<(), HistogramError> {
    match histogram {
        Histogram::Integer(h) => {
            check_spans(&h.positive_spans, h.positive_buckets.len())?;
            check_spans(&h.negative_spans, h.negative_buckets.len())?;
            check_limit(h.custom_bounds.len(), BOUNDS_LIMIT)?;
            let has_zero = h.zero_count != 0;
            values.push(encode_integer(h.count));
            values.push(h.sum.to_bits());
            if has_zero {
                values.push(encode_integer(h.zero_count));
            }
            values.extend(h.positive_buckets.iter().map(|n| encode_integer(*n)));
            values.extend(h.negative_buckets.iter().map(|n| encode_integer(*n)));
            let flags = if has_zero { FLAG_ZERO } else { 0 };
            put_head(
                layout,
                flags,
                h.counter_reset_hint,
                h.schema,
                h.zero_threshold,
            );
            put_spans(layout, &h.positive_spans, &h.negative_spans);
            put_bounds(layout, &h.custom_bounds);
        }
        Histogram::Float(h) => {
            check_spans(&h.positive_spans, h.positive_buckets.len())?;
            check_spans(&h.negative_spans, h.negative_buckets.len())?;
            check_limit(h.custom_bounds.len(), BOUNDS_LIMIT)?;
            let has_zero = h.zero_count.to_bits() != 0;
            values.push(h.count.to_bits());
            values.push(h.sum.to_bits());
            if has_zero {
                values.push(h.zero_count.to_bits());
            }
            values.extend(h.positive_buckets.iter().map(|n| n.to_bits()));
            values.extend(h.negative_buckets.iter().map(|n| n.to_bits()));
            let flags = FLAG_FLOAT | if has_zero { FLAG_ZERO } else { 0 };
            put_head(
                layout,
                flags,
                h.counter_reset_hint,
                h.schema,
                h.zero_threshold,
            );
            put_spans(layout, &h.positive_spans, &h.negative_spans);
            put_bounds(layout, &h.custom_bounds);
        }
    }
    Ok(())
}

/// The number a layout gets unless another has it: a hash, so that blocks of different origin agree
/// on it. FNV-1a of 64 bits, mixed, and cut; never [`RAW_FLOAT`].
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    next_id((hash & ID_MASK).wrapping_sub(1) & ID_MASK)
}

/// The number to try after one that is taken.
pub(crate) fn next_id(id: u64) -> u64 {
    let next = id.wrapping_add(1) & ID_MASK;
    if next == RAW_FLOAT { 1 } else { next }
}

/// Bits of an integer in a component column: the float that is the integer, up to 2⁵³; above, the
/// integer itself. Where that is taken by a smaller one, the two change places, so that no two
/// integers have the same bits.
pub(crate) fn encode_integer(value: u64) -> u64 {
    if value <= EXACT_LIMIT {
        return (value as f64).to_bits();
    }
    whole(value).filter(|small| *small > 0).unwrap_or(value)
}

/// Undoes [`encode_integer`].
pub(crate) fn decode_integer(bits: u64) -> u64 {
    if let Some(value) = whole(bits) {
        return value;
    }
    if bits <= EXACT_LIMIT {
        return (bits as f64).to_bits();
    }
    bits
}

/// Integers up to here are exact as floats.
const EXACT_LIMIT: u64 = 1 << 53;

/// The integer up to 2⁵³ whose float has these bits.
fn whole(bits: u64) -> Option<u64> {
    let value = f64::from_bits(bits);
    let integer = value as u64;
    (integer <= EXACT_LIMIT && (integer as f64).to_bits() == bits).then_some(integer)
}

/// Absolute indices of the buckets that checked spans name.
fn indices(spans: &[Span]) -> impl Iterator<Item = i32> + '_ {
    let mut at = 0i32;
    spans.iter().flat_map(move |span| {
        let first = at.wrapping_add(span.offset);
        at = first.wrapping_add(span.length as i32);
        (0..span.length as i32).map(move |index| first.wrapping_add(index))
    })
}

fn check_spans(spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    check_limit(buckets.max(spans.len()), BUCKETS_LIMIT)?;
    let in_spans = count_buckets(spans)?;
    if in_spans != buckets as u64 {
        return Err(HistogramError::SpansMismatch { in_spans, buckets });
    }
    Ok(())
}

/// How many buckets spans name, where they are in order.
fn count_buckets(spans: &[Span]) -> Result<u64, HistogramError> {
    let (mut at, mut count) = (0i64, 0u64);
    for (number, span) in spans.iter().enumerate() {
        if number > 0 && span.offset < 0 {
            return Err(HistogramError::NegativeOffset {
                number,
                offset: span.offset,
            });
        }
        at += i64::from(span.offset) + i64::from(span.length);
        count += u64::from(span.length);
        if at > i64::from(i32::MAX) {
            return Err(HistogramError::IndexOverflow);
        }
    }
    Ok(count)
}

fn check_limit(count: usize, limit: usize) -> Result<(), HistogramError> {
    if count > limit {
        return Err(HistogramError::TooManyBuckets { count, limit });
    }
    Ok(())
}

fn put_head(
    out: &mut Vec<u8>,
    flags: u8,
    hint: CounterResetHint,
    schema: i32,
    zero_threshold: f64,
) {
    let hint = match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    out.push(flags | hint << HINT_SHIFT);
    put_signed(out, i64::from(schema));
    out.extend_from_slice(&zero_threshold.to_bits().to_le_bytes());
}

fn put_spans(out: &mut Vec<u8>, positive: &[Span], negative: &[Span]) {
    for spans in [positive, negative] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_signed(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
}

fn put_bounds(out: &mut Vec<u8>, bounds: &[f64]) {
    put_varint(out, bounds.len() as u64);
    for bound in bounds {
        out.extend_from_slice(&bound.to_bits().to_le_bytes());
    }
}

fn read_spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let count = reader.count(2)?;
    let mut spans = Vec::with_capacity(count);
    let mut buckets = 0usize;
    for _ in 0..count {
        let offset = i32::try_from(reader.signed()?);
        let length = reader.varint_u32()?;
        let Ok(offset) = offset else {
            return Err(reader.fail("a span beyond 32 bits"));
        };
        buckets += length as usize;
        if buckets > BUCKETS_LIMIT {
            return Err(reader.fail("a layout of more buckets than there can be"));
        }
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_apart() {
        let mut numbers = vec![0, 1, 2, 3, EXACT_LIMIT - 1, EXACT_LIMIT, u64::MAX];
        numbers.extend([EXACT_LIMIT + 1, EXACT_LIMIT + 2, u64::MAX - 1, 1 << 63]);
        for small in [1u64, 2, 3, 77, EXACT_LIMIT] {
            numbers.push((small as f64).to_bits());
            numbers.push((small as f64).to_bits() + 1);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut bits: Vec<u64> = numbers.iter().map(|n| encode_integer(*n)).collect();
        for (bits, number) in bits.iter().zip(&numbers) {
            assert_eq!(decode_integer(*bits), *number);
        }
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(bits.len(), numbers.len());
        assert_eq!(encode_integer(1000), 1000f64.to_bits());
    }

    #[test]
    fn markers_are_told_from_floats() {
        for float in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, f64::MIN] {
            assert!(!is_marker(float.to_bits()));
        }
        assert!(!is_marker(barograph_model::STALE_NAN_BITS));
        assert!(!is_marker(0xfff8_0000_0000_0000), "the NaN of x86");
        for id in [RAW_FLOAT, 1, ID_MASK] {
            assert!(is_marker(marker(id)) && marker_id(marker(id)) == id);
            assert!(f64::from_bits(marker(id)).is_nan());
        }
        assert_eq!(next_id(ID_MASK), 1);
    }

    #[test]
    fn histograms_survive() {
        let span = |offset, length| Span { offset, length };
        let integer = IntegerHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: -4,
            zero_threshold: 1e-128,
            zero_count: 3,
            count: u64::MAX,
            sum: -0.0,
            positive_spans: vec![span(-5, 2), span(0, 0), span(7, 1)],
            positive_buckets: vec![1, EXACT_LIMIT + 1, 0],
            negative_spans: vec![span(i32::MAX - 2, 2)],
            negative_buckets: vec![9, 8],
            custom_bounds: Arc::default(),
        };
        let float = FloatHistogram {
            schema: -53,
            zero_count: -0.0,
            count: 0.5,
            sum: 1e300,
            positive_spans: vec![span(0, 3)],
            positive_buckets: vec![0.25, f64::INFINITY, -1.0],
            custom_bounds: [1.0, 2.0].into(),
            ..FloatHistogram::default()
        };
        for histogram in [Histogram::Integer(integer), Histogram::Float(float)] {
            let (mut bytes, mut values) = (Vec::new(), Vec::new());
            put_histogram(&histogram, &mut bytes, &mut values).expect("valid");
            let layout = Layout::new(hash(&bytes), &bytes).expect("reads");
            assert_eq!(layout.shape.keys().len(), values.len());
            assert_eq!(layout.shape.histogram(&values), histogram);
            assert_eq!(layout.shape.float_histogram(&values), histogram.to_float());
            for cut in 0..bytes.len() {
                assert!(Layout::new(1, &bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn spans_that_lie_are_refused() {
        let mut histogram = IntegerHistogram {
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![1],
            ..IntegerHistogram::default()
        };
        let put = |h: &IntegerHistogram| {
            put_histogram(
                &Histogram::Integer(h.clone()),
                &mut Vec::new(),
                &mut Vec::new(),
            )
        };
        let mismatch = HistogramError::SpansMismatch {
            in_spans: 2,
            buckets: 1,
        };
        assert_eq!(put(&histogram), Err(mismatch));
        histogram.positive_buckets.push(1);
        assert_eq!(put(&histogram), Ok(()));
        histogram.positive_spans.push(Span {
            offset: -1,
            length: 0,
        });
        assert!(matches!(
            put(&histogram),
            Err(HistogramError::NegativeOffset { number: 1, .. })
        ));
        histogram.positive_spans[1].offset = i32::MAX;
        assert_eq!(put(&histogram), Err(HistogramError::IndexOverflow));
    }
}
