//! Pages of blocks: the codec that is smallest for the values at hand.
//!
//! Bytes: checksum u32 over the rest; codec and marks u8; form u8; count (varint); then unless constant
//! the least and the greatest value (staleness markers and other NaNs aside; NaN where there is nothing
//! else); the payload. `docs/format/block.md` says what the payloads are.

use std::ops::Range;

use crate::bytes::{Malformed, Reader, put_varint};
use crate::page::bits::{pack, packed_bytes, unpack_into, width_of};
use crate::page::decimals::{self, Decimals};
use crate::page::integers;
use crate::page::token::{self, State, Step};
use crate::page::xor;

/// Most samples in a page.
pub(crate) const PAGE_SAMPLES: usize = 4096;
/// Most distinct values of a dictionary.
const DICTIONARY_LIMIT: usize = 64;

const CONSTANT: u8 = 0;
const STEPS: u8 = 1;
const INTEGERS: u8 = 2;
const DICTIONARY: u8 = 3;
const XOR: u8 = 4;
const FLOATS: u8 = 5;
const SUMS: u8 = 6;
const PCO_INTEGERS: u8 = 7;
const PCO_FLOATS: u8 = 8;

/// Added to the codec where no value is a NaN or the negative zero: the least and the greatest value
/// are then exact, and every sample is one that a query counts.
const PLAIN: u8 = 0x80;
/// Added to it where, besides, no value is less than the one before: the first is the least.
const RISING: u8 = 0x40;
/// What is left for the codec.
const CODECS: u8 = 0x1f;

/// Names of the codecs, by number.
pub(crate) const NAMES: [&str; 9] = [
    "constant",
    "steps",
    "integers",
    "dictionary",
    "xor",
    "floats",
    "sums",
    "pco integers",
    "pco floats",
];

/// How much is tried for a small page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Only what is quickly read.
    Quick,
    /// Entropy coding too, which reads several times slower, where it saves a twelfth.
    Thorough,
}

/// What a page's head says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) codec: u8,
    pub(crate) count: usize,
    /// The least and the greatest value; NaN where all values are NaN.
    pub(crate) least: f64,
    pub(crate) greatest: f64,
    /// Whether no value is known to be a NaN or the negative zero.
    pub(crate) plain: bool,
    /// Whether, besides, no value is less than the one before.
    pub(crate) rising: bool,
}

/// Appends a page. `values` is not empty.
pub(crate) fn encode(values: &[u64], effort: Effort, out: &mut Vec<u8>) {
    debug_assert!(!values.is_empty() && values.len() <= PAGE_SAMPLES);
    let page_at = out.len();
    out.extend_from_slice(&[0; 4]);
    if values.iter().all(|v| *v == values[0]) {
        out.extend_from_slice(&[CONSTANT, 0]);
        put_varint(out, values.len() as u64);
        put_float(out, f64::from_bits(values[0]));
    } else {
        let Encoded {
            codec,
            form,
            payload,
        } = smallest(values, effort);
        out.extend_from_slice(&[codec | marks_of(values), form]);
        put_varint(out, values.len() as u64);
        let numbers = || values.iter().map(|v| f64::from_bits(*v));
        // `min` and `max` prefer a number to NaN.
        put_float(out, numbers().fold(f64::NAN, f64::min));
        put_float(out, numbers().fold(f64::NAN, f64::max));
        out.extend_from_slice(&payload);
    }
    let sum = crc32c::crc32c(&out[page_at + 4..]);
    out[page_at..page_at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Appends the samples `part` of a page, by index.
pub(crate) fn decode(
    page: &[u8],
    part: Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut reader = verify(page)?;
    let (codec, form) = (reader.u8()? & CODECS, reader.u8()?);
    let count = reader.varint()? as usize;
    if count > PAGE_SAMPLES || part.end > count || part.start > part.end {
        return Err(reader.fail("a page of other size than its series says"));
    }
    let first = take_float(&mut reader)?;
    if codec == CONSTANT {
        values.resize(values.len() + part.len(), first);
        return Ok(());
    }
    take_float(&mut reader)?;
    values.reserve(part.len());
    match codec {
        STEPS => decode_steps(&mut reader, part, values),
        INTEGERS => decimals::decode(&mut reader, form, count, &part, values),
        DICTIONARY => decode_dictionary(&mut reader, count, &part, values),
        XOR => {
            let mut index = 0;
            xor::decode(&mut reader, part.end, |bits| {
                if index >= part.start {
                    values.push(f64::from_bits(bits));
                }
                index += 1;
            })
        }
        FLOATS => integers::decode(&mut reader, form, count, &part, |stretch| {
            values.extend(stretch.iter().map(|v| decimals::from_ordered(*v)));
        }),
        SUMS => decimals::decode_sums(&mut reader, form, count, &part, values),
        PCO_INTEGERS => decimals::decode_pco(&mut reader, form, count, &part, values),
        PCO_FLOATS => decimals::decode_pco_floats(&mut reader, count, &part, values),
        _ => Err(reader.fail("an unknown codec")),
    }
}

/// Reads the head of a page, whose checksum the caller verified or does without.
pub(crate) fn summary(page: &[u8]) -> Result<Summary, Malformed> {
    let mut reader = Reader::new(page);
    reader.take(4)?;
    let marked = reader.u8()?;
    let codec = marked & CODECS;
    reader.u8()?;
    let count = reader.varint()? as usize;
    let least = take_float(&mut reader)?;
    let (greatest, plain, rising) = if codec == CONSTANT {
        let plain = is_plain(least.to_bits());
        (least, plain, plain)
    } else {
        let plain = marked & PLAIN != 0;
        (
            take_float(&mut reader)?,
            plain,
            plain && marked & RISING != 0,
        )
    };
    Ok(Summary {
        codec,
        count,
        least,
        greatest,
        plain,
        rising,
    })
}

/// What is added to the codec of values that are not all the same.
fn marks_of(values: &[u64]) -> u8 {
    if !values.iter().all(|bits| is_plain(*bits)) {
        return 0;
    }
    let rising = values.is_sorted_by(|a, b| f64::from_bits(*a) <= f64::from_bits(*b));
    PLAIN | if rising { RISING } else { 0 }
}

/// Whether the value is what comparing floats makes of it.
fn is_plain(bits: u64) -> bool {
    !f64::from_bits(bits).is_nan() && bits != (-0.0f64).to_bits()
}

/// Verifies the checksum of a page; returns what is behind it.
pub(crate) fn verify(page: &[u8]) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(page);
    let sum = reader.u32()?;
    if crc32c::crc32c(&page[4..]) != sum {
        return Err(Malformed {
            offset: 0,
            what: "a page whose checksum does not fit",
        });
    }
    Ok(reader)
}

struct Encoded {
    codec: u8,
    form: u8,
    payload: Vec<u8>,
}

impl Encoded {
    fn offer(&mut self, codec: u8, form: u8, payload: Vec<u8>) {
        if payload.len() < self.payload.len() {
            *self = Self {
                codec,
                form,
                payload,
            };
        }
    }
}

fn smallest(values: &[u64], effort: Effort) -> Encoded {
    let mut best = Encoded {
        codec: STEPS,
        form: 0,
        payload: encode_steps(values),
    };
    if let Some(payload) = encode_dictionary(values) {
        best.offer(DICTIONARY, 0, payload);
    }
    let decimals = Decimals::of(values);
    if let Some(decimals) = &decimals {
        let (form, payload) = decimals.encode();
        best.offer(INTEGERS, form, payload);
    }
    if decimals.as_ref().is_none_or(|d| d.exceptions() > 0) {
        let ordered: Vec<i64> = values.iter().map(|bits| decimals::ordered(*bits)).collect();
        let (order, payload) = integers::encode_smallest(&ordered);
        best.offer(FLOATS, order, payload);
        if let Some((form, payload)) = decimals::encode_sums(values) {
            best.offer(SUMS, form, payload);
        }
        let mut payload = Vec::new();
        xor::encode(values, &mut payload);
        best.offer(XOR, 0, payload);
    }
    if effort == Effort::Thorough && best.payload.len() >= PCO_LEAST_BYTES {
        let encoded = |codec, (form, payload)| Encoded {
            codec,
            form,
            payload,
        };
        let floats = decimals::encode_pco_floats(values).map(|payload| (0, payload));
        let integers = decimals.as_ref().and_then(Decimals::encode_pco);
        let entropy = [
            floats.map(|coded| encoded(PCO_FLOATS, coded)),
            integers.map(|coded| encoded(PCO_INTEGERS, coded)),
        ];
        let entropy = entropy.into_iter().flatten();
        if let Some(entropy) = entropy.min_by_key(|coded| coded.payload.len())
            && entropy.payload.len() * 12 <= best.payload.len() * 11
        {
            return entropy;
        }
    }
    best
}

/// Smaller payloads are not worth entropy coding: its tables alone take as much.
const PCO_LEAST_BYTES: usize = 128;

/// Appends a float. Those of few digits have zeros at the end, which come first here.
fn put_float(out: &mut Vec<u8>, value: f64) {
    put_varint(out, value.to_bits().swap_bytes());
}

fn take_float(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    Ok(f64::from_bits(reader.varint()?.swap_bytes()))
}

fn encode_steps(values: &[u64]) -> Vec<u8> {
    let (mut out, mut state, mut run) = (Vec::new(), State::default(), 0);
    for (index, bits) in values.iter().enumerate() {
        if index > 0 && *bits == state.last {
            run += 1;
            continue;
        }
        token::put_run(&mut out, run);
        run = 0;
        token::put_value(&mut out, &mut state, *bits);
    }
    // The last value repeats until the count is reached.
    out
}

fn decode_steps(
    reader: &mut Reader<'_>,
    part: Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let (mut state, mut at) = (State::default(), 0);
    let mut put = |at: usize, count: usize, bits: u64| {
        let (from, to) = (at.max(part.start), (at + count).min(part.end));
        if from < to {
            values.resize(values.len() + to - from, f64::from_bits(bits));
        }
    };
    while at < part.end && !reader.is_at_end() {
        let count = match token::next(reader, &mut state)? {
            Step::Value => 1,
            Step::Run(count) => count as usize,
            Step::Gap(_) => return Err(reader.fail("a gap in a page of a block")),
        };
        put(at, count, state.last);
        at += count;
    }
    if at < part.end {
        put(at, part.end - at, state.last);
    }
    Ok(())
}

/// The number of distinct values, each once, then an index per value.
fn encode_dictionary(values: &[u64]) -> Option<Vec<u8>> {
    let mut distinct: Vec<u64> = Vec::new();
    let mut indices = Vec::with_capacity(values.len());
    for bits in values {
        let index = match distinct.iter().position(|have| have == bits) {
            Some(index) => index,
            None if distinct.len() == DICTIONARY_LIMIT => return None,
            None => {
                distinct.push(*bits);
                distinct.len() - 1
            }
        };
        indices.push(index as u64);
    }
    let mut out = vec![distinct.len() as u8];
    for bits in &distinct {
        out.extend_from_slice(&bits.to_le_bytes());
    }
    let width = width_of(distinct.len() as u64 - 1);
    pack(indices.into_iter(), width, &mut out);
    Some(out)
}

fn decode_dictionary(
    reader: &mut Reader<'_>,
    count: usize,
    part: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let size = usize::from(reader.u8()?);
    if size == 0 || size > DICTIONARY_LIMIT {
        return Err(reader.fail("a dictionary of no possible size"));
    }
    let mut distinct = [0.0; DICTIONARY_LIMIT];
    for value in &mut distinct[..size] {
        *value = f64::from_bits(reader.u64()?);
    }
    let width = width_of(size as u64 - 1);
    // A multiple of eight begins at a byte.
    let start = part.start / 8 * 8;
    reader.take(packed_bytes(start, width))?;
    let mut indices = vec![0; part.end.min(count) - start];
    unpack_into(reader, width, &mut indices)?;
    for index in &indices[part.start - start..] {
        match distinct[..size].get(*index as usize) {
            Some(value) => values.push(*value),
            None => return Err(reader.fail("an index beyond the dictionary")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use barograph_model::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn check(values: &[u64], part: Range<usize>) -> u8 {
        check_with(values, &part, Effort::Thorough);
        check_with(values, &part, Effort::Quick)
    }

    fn check_with(values: &[u64], part: &Range<usize>, effort: Effort) -> u8 {
        let mut page = Vec::new();
        encode(values, effort, &mut page);
        let mut back = Vec::new();
        decode(&page, part.clone(), &mut back).expect("just encoded");
        let back: Vec<u64> = back.iter().map(|v| v.to_bits()).collect();
        let differs = back
            .iter()
            .zip(&values[part.clone()])
            .position(|(a, b)| a != b);
        assert_eq!(
            (differs, back.len()),
            (None, part.len()),
            "codec {} {:?}",
            page[4] & CODECS,
            differs.map(|at| (back[at], values[part.start + at]))
        );
        let summary = summary(&page).expect("just encoded");
        let numbers = || values.iter().map(|v| f64::from_bits(*v));
        assert_eq!(
            (summary.codec, summary.count),
            (page[4] & CODECS, values.len())
        );
        let odd = |v: &u64| f64::from_bits(*v).is_nan() || *v == (-0.0f64).to_bits();
        assert_eq!(summary.plain, !values.iter().any(odd));
        if summary.plain {
            let sorted = values.is_sorted_by(|a, b| f64::from_bits(*a) <= f64::from_bits(*b));
            assert_eq!(summary.rising, sorted);
            let bits = |f: fn(f64, f64) -> f64| numbers_of(values).reduce(f).map(f64::to_bits);
            assert_eq!(Some(summary.least.to_bits()), bits(f64::min));
            assert_eq!(Some(summary.greatest.to_bits()), bits(f64::max));
        }
        for value in numbers().filter(|v| !v.is_nan()) {
            assert!(summary.least <= value && value <= summary.greatest);
        }
        for at in 0..page.len().min(60) {
            let mut damaged = page.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged, 0..values.len(), &mut Vec::new()).is_err());
        }
        page[4] & CODECS
    }

    fn numbers_of(values: &[u64]) -> impl Iterator<Item = f64> {
        values.iter().map(|v| f64::from_bits(*v))
    }

    fn bits(values: impl Iterator<Item = f64>) -> Vec<u64> {
        values.map(f64::to_bits).collect()
    }

    #[test]
    fn each_kind_of_series_gets_its_codec() {
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 20);
        let mut sum = 0.0;
        let sums = (0..500).map(|i| {
            sum += noise(i).floor() / 1000.0;
            sum.to_bits()
        });
        let sums = sums.collect();
        let cases = [
            (CONSTANT, bits((0..500).map(|_| 7.5))),
            (STEPS, bits((0..500).map(|i| f64::from(i / 100 * 12345)))),
            (
                INTEGERS,
                bits((0..500).map(|i| f64::from(i) * 1000.0 + noise(i))),
            ),
            (
                INTEGERS,
                bits((0..500).map(|i| f64::from(i * i) + noise(i) % 2.0)),
            ),
            (
                DICTIONARY,
                bits((0..500).map(|i| [1e9, 0.123, 77.0][noise(i) as usize % 3])),
            ),
            (
                FLOATS,
                bits((0..500).map(|i| 10.0 + f64::from(i).sin() / 8.0)),
            ),
            (SUMS, sums),
            (XOR, bits((0..500).map(|i| noise(i / 3).sqrt()))),
        ];
        for (codec, mut values) in cases {
            assert_eq!(check(&values, 0..500), codec);
            check(&values, 255..258);
            values[300] = STALE_NAN_BITS;
            values[301] = (-0.0f64).to_bits();
            check(&values, 0..500);
            check(&values, 299..302);
        }
    }

    proptest! {
        #[test]
        fn any_values_survive(
            values in prop::collection::vec(prop_oneof![
                3 => (0i32..50).prop_map(|v| f64::from(v).to_bits()),
                2 => (0i32..5000).prop_map(|v| (f64::from(v) / 100.0).to_bits()),
                1 => any::<u64>(),
                1 => Just(STALE_NAN_BITS),
            ], 1..600),
            a in 0usize..600, b in 0usize..600,
        ) {
            let (a, b) = (a.min(values.len()), b.min(values.len()));
            check(&values, a.min(b)..a.max(b));
        }
    }
}
