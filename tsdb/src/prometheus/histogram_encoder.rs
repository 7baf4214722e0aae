//! Writing chunks of native histograms.

use barograph_model::histogram::CUSTOM_BOUNDS_SCHEMA;
use barograph_model::{CounterResetHint, FloatHistogram, Histogram, IntegerHistogram, is_stale};

use super::bits::{BitWriter, XorValue};
use super::histograms::{Delta, GAUGE, Layout, NO_RESET, RESET};
use super::starts::StartsWriter;

/// Most samples of a chunk: with start timestamps, the count has 14 bits.
const COUNT_LIMIT: u16 = (1 << 14) - 1;
/// Greatest custom bound stored in thousandths, in thousandths.
const THOUSANDTHS_LIMIT: f64 = 33_554_430.0;

/// A chunk of histograms under construction. All its samples have one layout and, unless they are
/// gauges, no counter reset between them.
#[derive(Clone, Debug)]
pub(crate) struct HistogramEncoder {
    out: BitWriter,
    count: u16,
    flags: u8,
    layout: Layout,
    last: Histogram,
    pub(super) first_ms: i64,
    timestamp_ms: Delta,
    state: State,
    /// In chunks of the encodings that have them.
    starts: Option<StartsWriter>,
}

#[derive(Clone, Debug)]
enum State {
    Integer {
        count: Delta,
        zero_count: Delta,
        sum: XorValue,
        buckets: Vec<Delta>,
    },
    Float(Vec<XorValue>),
}

impl HistogramEncoder {
    /// A chunk that begins with this sample. It can hold start timestamps if this is not 0.
    pub(crate) fn new(timestamp_ms: i64, histogram: &Histogram, start_ms: i64) -> Self {
        let histogram = stripped(histogram);
        let layout = layout_of(&histogram);
        let hint = hint_of(&histogram);
        let flags = match hint {
            CounterResetHint::Gauge => GAUGE,
            CounterResetHint::CounterReset => RESET,
            CounterResetHint::NotCounterReset => NO_RESET,
            CounterResetHint::Unknown => 0,
        };
        // Number of samples, flags; see `finish`.
        let mut out = BitWriter::behind(&[0, 0, 0]);
        write_layout(&mut out, &layout);
        out.varbit(timestamp_ms);
        let state = match &histogram {
            Histogram::Integer(histogram) => begin_integer(&mut out, histogram),
            Histogram::Float(histogram) => begin_float(&mut out, histogram),
        };
        let mut starts = (start_ms != 0).then(StartsWriter::default);
        if let Some(starts) = &mut starts {
            starts.write(&mut out, 0, timestamp_ms, 0, start_ms);
        }
        Self {
            out,
            count: 1,
            flags,
            layout,
            last: histogram,
            first_ms: timestamp_ms,
            timestamp_ms: Delta {
                value: timestamp_ms,
                delta: 0,
            },
            state,
            starts,
        }
    }

    /// How many samples it has.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn last_ms(&self) -> i64 {
        self.timestamp_ms.value
    }

    /// Whether its counts are floats.
    pub(crate) fn is_float(&self) -> bool {
        matches!(self.state, State::Float(_))
    }

    /// Whether its samples may have start timestamps.
    pub(crate) fn has_starts(&self) -> bool {
        self.starts.is_some()
    }

    /// Adds a sample; `false`, and nothing is added, where it needs a chunk of its own.
    pub(crate) fn push(&mut self, timestamp_ms: i64, histogram: &Histogram, start_ms: i64) -> bool {
        if !self.fits(histogram) || start_ms != 0 && !self.has_starts() {
            return false;
        }
        let before_ms = self.timestamp_ms.value;
        let delta = timestamp_ms.wrapping_sub(before_ms);
        self.out.varbit(delta.wrapping_sub(self.timestamp_ms.delta));
        self.timestamp_ms = Delta {
            value: timestamp_ms,
            delta,
        };
        self.write(histogram);
        if let Some(starts) = &mut self.starts {
            let index = usize::from(self.count);
            starts.write(&mut self.out, index, timestamp_ms, before_ms, start_ms);
        }
        self.last = stripped(histogram);
        self.count += 1;
        true
    }

    /// The chunk's data.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let (mut count, mut third) = (self.count, self.flags << 6);
        if let Some(starts) = &self.starts {
            // The flags have moved to where the count has room.
            count |= u16::from(self.flags) << 14;
            third = starts.header();
        }
        self.out.bytes[..2].copy_from_slice(&count.to_be_bytes());
        self.out.bytes[2] = third;
        self.out.bytes
    }

    fn fits(&self, next: &Histogram) -> bool {
        let float = matches!(next, Histogram::Float(_));
        if self.is_float() != float || self.count == COUNT_LIMIT {
            return false;
        }
        if is_stale(sum_of(next)) {
            return true;
        }
        if is_stale(sum_of(&self.last)) {
            return false;
        }
        let gauge = hint_of(next) == CounterResetHint::Gauge;
        let same = self.layout == layout_of(next) && (self.flags == GAUGE) == gauge;
        same && (gauge
            || hint_of(next) != CounterResetHint::CounterReset && !is_reset(&self.last, next))
    }

    fn write(&mut self, histogram: &Histogram) {
        match (&mut self.state, histogram) {
            (
                State::Integer {
                    count,
                    zero_count,
                    sum,
                    buckets,
                },
                Histogram::Integer(histogram),
            ) => {
                if is_stale(histogram.sum) {
                    self.out.bits(0, 2);
                    sum.write(&mut self.out, histogram.sum);
                    return;
                }
                count.write(&mut self.out, histogram.count as i64);
                zero_count.write(&mut self.out, histogram.zero_count as i64);
                sum.write(&mut self.out, histogram.sum);
                for (bucket, value) in buckets.iter_mut().zip(differences(histogram)) {
                    bucket.write(&mut self.out, value);
                }
            }
            (State::Float(values), Histogram::Float(histogram)) => {
                if is_stale(histogram.sum) {
                    for (value, next) in values.iter_mut().zip([0.0, 0.0, histogram.sum]) {
                        value.write(&mut self.out, next);
                    }
                    return;
                }
                for (value, next) in values.iter_mut().zip(floats(histogram)) {
                    value.write(&mut self.out, next);
                }
            }
            _ => unreachable!("BUG: a histogram of the other kind in a chunk"),
        }
    }
}

impl Delta {
    fn write(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        out.varbit(delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }
}

fn begin_integer(out: &mut BitWriter, histogram: &IntegerHistogram) -> State {
    out.varbit_unsigned(histogram.count);
    out.varbit_unsigned(histogram.zero_count);
    out.float(histogram.sum);
    let start = |value| Delta { value, delta: 0 };
    let mut buckets = Vec::new();
    for value in differences(histogram) {
        out.varbit(value);
        buckets.push(start(value));
    }
    State::Integer {
        count: start(histogram.count as i64),
        zero_count: start(histogram.zero_count as i64),
        sum: XorValue::new(histogram.sum),
        buckets,
    }
}

fn begin_float(out: &mut BitWriter, histogram: &FloatHistogram) -> State {
    let mut values = Vec::new();
    for value in floats(histogram) {
        out.float(value);
        values.push(XorValue::new(value));
    }
    State::Float(values)
}

/// Every float of a histogram, in the order of a chunk.
fn floats(histogram: &FloatHistogram) -> impl Iterator<Item = f64> + '_ {
    [histogram.count, histogram.zero_count, histogram.sum]
        .into_iter()
        .chain(histogram.positive_buckets.iter().copied())
        .chain(histogram.negative_buckets.iter().copied())
}

/// The counts of the buckets as differences to the bucket before, on either side of zero.
fn differences(histogram: &IntegerHistogram) -> impl Iterator<Item = i64> + '_ {
    let side = |counts: &'_ [u64]| {
        let mut last = 0i64;
        let each = counts.iter().map(move |count| {
            let difference = (*count as i64).wrapping_sub(last);
            last = *count as i64;
            difference
        });
        each.collect::<Vec<_>>()
    };
    let (positive, negative) = (
        side(&histogram.positive_buckets),
        side(&histogram.negative_buckets),
    );
    positive.into_iter().chain(negative)
}

/// A staleness marker has nothing but its sum.
fn stripped(histogram: &Histogram) -> Histogram {
    match histogram {
        Histogram::Integer(h) if is_stale(h.sum) => IntegerHistogram {
            sum: h.sum,
            ..IntegerHistogram::default()
        }
        .into(),
        Histogram::Float(h) if is_stale(h.sum) => FloatHistogram {
            sum: h.sum,
            ..FloatHistogram::default()
        }
        .into(),
        other => other.clone(),
    }
}

fn layout_of(histogram: &Histogram) -> Layout {
    match histogram {
        Histogram::Integer(h) => Layout {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive: h.positive_spans.clone(),
            negative: h.negative_spans.clone(),
            custom_bounds: h.custom_bounds.clone(),
        },
        Histogram::Float(h) => Layout {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive: h.positive_spans.clone(),
            negative: h.negative_spans.clone(),
            custom_bounds: h.custom_bounds.clone(),
        },
    }
}

fn hint_of(histogram: &Histogram) -> CounterResetHint {
    match histogram {
        Histogram::Integer(h) => h.counter_reset_hint,
        Histogram::Float(h) => h.counter_reset_hint,
    }
}

fn sum_of(histogram: &Histogram) -> f64 {
    match histogram {
        Histogram::Integer(h) => h.sum,
        Histogram::Float(h) => h.sum,
    }
}

/// Whether some count went down, between histograms of one layout.
fn is_reset(last: &Histogram, next: &Histogram) -> bool {
    fn down<T: PartialOrd>(last: &[T], next: &[T]) -> bool {
        last.iter().zip(next).any(|(last, next)| next < last)
    }
    match (last, next) {
        (Histogram::Integer(last), Histogram::Integer(next)) => {
            next.count < last.count
                || next.zero_count < last.zero_count
                || down(&last.positive_buckets, &next.positive_buckets)
                || down(&last.negative_buckets, &next.negative_buckets)
        }
        (Histogram::Float(last), Histogram::Float(next)) => {
            next.count < last.count
                || next.zero_count < last.zero_count
                || down(&last.positive_buckets, &next.positive_buckets)
                || down(&last.negative_buckets, &next.negative_buckets)
        }
        _ => false,
    }
}

fn write_layout(out: &mut BitWriter, layout: &Layout) {
    let bits = layout.zero_threshold.to_bits();
    // A power of two is its exponent alone, with Go's convention of fractions from a half.
    let exponent = (bits >> 52) as i32 - 1022 + 243;
    let power = bits << 12 == 0 && (1..=254).contains(&exponent);
    if layout.zero_threshold == 0.0 {
        out.bits(0, 8);
    } else if power {
        out.bits(exponent as u64, 8);
    } else {
        out.bits(255, 8);
        out.float(layout.zero_threshold);
    }
    out.varbit(i64::from(layout.schema));
    for spans in [&layout.positive, &layout.negative] {
        out.varbit_unsigned(spans.len() as u64);
        for span in spans {
            out.varbit_unsigned(u64::from(span.length));
            out.varbit(i64::from(span.offset));
        }
    }
    if layout.schema == CUSTOM_BOUNDS_SCHEMA {
        out.varbit_unsigned(layout.custom_bounds.len() as u64);
        for bound in layout.custom_bounds.iter() {
            let thousandths = (bound * 1000.0).round();
            let exact = (thousandths / 1000.0).to_bits() == bound.to_bits();
            if exact && (0.0..=THOUSANDTHS_LIMIT).contains(&thousandths) {
                out.varbit_unsigned(thousandths as u64 + 1);
            } else {
                out.bits(0, 1);
                out.float(*bound);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use barograph_model::histogram::Span;
    use barograph_model::stale_nan;

    use super::super::histograms::{decode_float, decode_integer};
    use super::super::starts::tests::start_patterns;
    use super::*;

    fn integer(count: u64, hint: CounterResetHint) -> IntegerHistogram {
        IntegerHistogram {
            counter_reset_hint: hint,
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            zero_count: count,
            count: 4 * count,
            sum: 1.5 * count as f64,
            positive_spans: vec![
                Span {
                    offset: -3,
                    length: 2,
                },
                Span {
                    offset: 1,
                    length: 1,
                },
            ],
            positive_buckets: vec![count, 0, count + 1],
            negative_spans: vec![Span {
                offset: 7,
                length: 1,
            }],
            negative_buckets: vec![2 * count],
            custom_bounds: [].into(),
        }
    }

    fn chunk(samples: &[(i64, Histogram)]) -> Vec<u8> {
        chunk_with_starts(samples, &[])
    }

    fn chunk_with_starts(samples: &[(i64, Histogram)], starts_ms: &[i64]) -> Vec<u8> {
        let start_ms = |row| starts_ms.get(row).copied().unwrap_or_default();
        let mut encoder = HistogramEncoder::new(samples[0].0, &samples[0].1, start_ms(0));
        for (row, (timestamp_ms, histogram)) in samples.iter().enumerate().skip(1) {
            assert!(encoder.push(*timestamp_ms, histogram, start_ms(row)));
        }
        encoder.finish()
    }

    #[test]
    fn histograms_survive() {
        let hint = |index| match index {
            0 => CounterResetHint::Unknown,
            _ => CounterResetHint::NotCounterReset,
        };
        let stale = IntegerHistogram {
            sum: stale_nan(),
            ..IntegerHistogram::default()
        };
        let mut integers: Vec<(i64, Histogram)> = (0..20)
            .map(|i| {
                (
                    1000 * i + i % 3,
                    integer(i as u64 * i as u64, hint(i)).into(),
                )
            })
            .collect();
        integers.push((90_000, stale.into()));
        let have = decode_integer(&chunk(&integers), false).expect("the chunk");
        for (index, (timestamp_ms, want)) in integers.iter().enumerate() {
            assert_eq!(have.timestamps_ms[index], *timestamp_ms);
            assert_eq!(format!("{:?}", have.histograms[index]), format!("{want:?}"));
        }
        let floats: Vec<(i64, Histogram)> = (0..20)
            .map(|i| {
                let mut histogram = integer(100 - i, CounterResetHint::Gauge).to_float();
                histogram.schema = CUSTOM_BOUNDS_SCHEMA;
                histogram.custom_bounds = [-1.0, 0.005, 0.1, 2.5, 40_000.0, 1e300].into();
                (i as i64 * 15_000, histogram.into())
            })
            .collect();
        let have = decode_float(&chunk(&floats), false).expect("the chunk");
        let want: Vec<Histogram> = floats.iter().map(|(_, h)| h.clone()).collect();
        assert_eq!(have.histograms, want);
    }

    #[test]
    fn start_timestamps_survive() {
        let hint = |row| match row {
            0 => CounterResetHint::Unknown,
            _ => CounterResetHint::NotCounterReset,
        };
        let samples = |float: bool| {
            let each = (0..200).map(|row: i64| {
                let histogram = Histogram::from(integer(row as u64, hint(row)));
                let float_histogram = || Histogram::from(histogram.to_float());
                let histogram = if float {
                    float_histogram()
                } else {
                    histogram.clone()
                };
                (1_000_000 + 15_000 * row, histogram)
            });
            each.collect::<Vec<_>>()
        };
        for starts_ms in start_patterns(200) {
            let integers = samples(false);
            let have = decode_integer(&chunk_with_starts(&integers, &starts_ms), true);
            let have = have.expect("the chunk");
            assert_eq!(have.starts_ms, starts_ms);
            let want: Vec<Histogram> = integers.into_iter().map(|(_, h)| h).collect();
            assert_eq!(have.histograms, want);
            let floats = samples(true);
            let have = decode_float(&chunk_with_starts(&floats, &starts_ms), true);
            let have = have.expect("the chunk");
            assert_eq!(have.starts_ms, starts_ms);
            let want: Vec<Histogram> = floats.into_iter().map(|(_, h)| h).collect();
            assert_eq!(have.histograms, want);
        }
    }

    #[test]
    fn what_does_not_fit_needs_a_chunk_of_its_own() {
        let unknown = CounterResetHint::Unknown;
        let mut encoder = HistogramEncoder::new(0, &integer(5, unknown).into(), 0);
        assert!(!encoder.push(1, &integer(4, unknown).into(), 0), "a reset");
        assert!(!encoder.push(1, &integer(5, CounterResetHint::CounterReset).into(), 0));
        assert!(!encoder.push(1, &integer(5, CounterResetHint::Gauge).into(), 0));
        assert!(!encoder.push(1, &integer(5, unknown).to_float().into(), 0));
        let mut other = integer(6, unknown);
        other.schema = 2;
        assert!(!encoder.push(1, &other.into(), 0));
        assert!(encoder.push(1, &integer(6, unknown).into(), 0));
    }

    #[test]
    fn damage_is_no_panic() {
        let samples: Vec<(i64, Histogram)> = (0..5)
            .map(|i| (i, integer(i as u64, CounterResetHint::Unknown).into()))
            .collect();
        let bytes = chunk(&samples);
        for at in 0..bytes.len() {
            for flip in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << flip;
                for with_starts in [false, true] {
                    decode_integer(&damaged, with_starts).ok();
                    decode_float(&damaged, with_starts).ok();
                }
            }
        }
    }
}
