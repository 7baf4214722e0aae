//! Pages of blocks: the codec that is smallest for the values at hand.
//!
//! Bytes: checksum u32 over the rest; codec u8; scale u8; count (varint); then unless constant the
//! least and the greatest value (f64 each, staleness markers and other NaNs aside; NaN where there
//! is nothing else); the payload.

use std::ops::Range;

use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::page::bits::{pack, packed_bytes, unpack, width_of};
use crate::page::token::{self, SCALE_LIMIT, State, Step};
use crate::page::xor;

/// Most samples in a page.
pub(crate) const PAGE_SAMPLES: usize = 4096;
/// Values between two restarts of the difference codecs: reading a part skips whole stretches.
const STRETCH: usize = 256;
/// Most distinct values of a dictionary.
const DICTIONARY_LIMIT: usize = 64;

const CONSTANT: u8 = 0;
const TOKENS: u8 = 1;
const DELTA: u8 = 2;
const DELTA_DELTA: u8 = 3;
const DICTIONARY: u8 = 4;
const XOR: u8 = 5;

/// Appends a page. `values` is not empty.
pub(crate) fn encode(values: &[u64], out: &mut Vec<u8>) {
    debug_assert!(!values.is_empty() && values.len() <= PAGE_SAMPLES);
    let page_at = out.len();
    out.extend_from_slice(&[0; 4]);
    if values.iter().all(|v| *v == values[0]) {
        out.extend_from_slice(&[CONSTANT, 0]);
        put_varint(out, values.len() as u64);
        out.extend_from_slice(&values[0].to_le_bytes());
    } else {
        let (codec, scale, payload) = smallest(values);
        out.extend_from_slice(&[codec, scale]);
        put_varint(out, values.len() as u64);
        let numbers = || values.iter().map(|v| f64::from_bits(*v));
        // `min` and `max` prefer a number to NaN.
        let least = numbers().fold(f64::NAN, f64::min);
        let greatest = numbers().fold(f64::NAN, f64::max);
        out.extend_from_slice(&least.to_le_bytes());
        out.extend_from_slice(&greatest.to_le_bytes());
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
    let (codec, scale) = (reader.u8()?, reader.u8()?);
    let count = reader.varint()? as usize;
    if count > PAGE_SAMPLES || part.end > count || scale > SCALE_LIMIT {
        return Err(reader.fail("a page of other size than its series says"));
    }
    if codec == CONSTANT {
        let value = f64::from_bits(reader.u64()?);
        values.resize(values.len() + part.len(), value);
        return Ok(());
    }
    reader.take(16)?;
    match codec {
        TOKENS => decode_tokens(&mut reader, part, values),
        DELTA => decode_delta(&mut reader, scale, count, part, values),
        DELTA_DELTA => decode_delta_delta(&mut reader, scale, count, part, values),
        DICTIONARY => decode_dictionary(&mut reader, count, part, values),
        XOR => {
            let mut index = 0;
            xor::decode(&mut reader, part.end, |bits| {
                if index >= part.start {
                    values.push(f64::from_bits(bits));
                }
                index += 1;
            })
        }
        _ => Err(reader.fail("an unknown codec")),
    }
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

fn smallest(values: &[u64]) -> (u8, u8, Vec<u8>) {
    let mut best = (TOKENS, 0, encode_tokens(values));
    let mut offer = |codec, scale, payload: Option<Vec<u8>>| {
        if let Some(payload) = payload
            && payload.len() < best.2.len()
        {
            best = (codec, scale, payload);
        }
    };
    offer(DICTIONARY, 0, encode_dictionary(values));
    if let Some(decimals) = Decimals::of(values) {
        let seconds = encode_delta_delta(&decimals);
        offer(DELTA, decimals.scale, Some(encode_delta(&decimals)));
        offer(DELTA_DELTA, decimals.scale, Some(seconds));
    } else {
        let mut payload = Vec::new();
        xor::encode(values, &mut payload);
        offer(XOR, 0, Some(payload));
    }
    best
}

/// Values as integers at one decimal scale; those that are none keep their bits aside.
struct Decimals {
    scale: u8,
    integers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    /// `None` where too many are no decimals.
    fn of(values: &[u64]) -> Option<Self> {
        let most = values.len() / 16 + 1;
        let mut scale = 0;
        let mut odd = 0;
        for bits in values {
            if token::mantissa(*bits, scale).is_some() {
                continue;
            }
            match (scale + 1..=SCALE_LIMIT).find(|s| token::mantissa(*bits, *s).is_some()) {
                Some(larger) => scale = larger,
                None => odd += 1,
            }
            if odd > most {
                return None;
            }
        }
        let mut decimals = Self {
            scale,
            integers: Vec::with_capacity(values.len()),
            exceptions: Vec::new(),
        };
        let first = values.iter().find_map(|bits| token::mantissa(*bits, scale));
        let mut last = first?;
        for (index, bits) in values.iter().enumerate() {
            match token::mantissa(*bits, scale) {
                Some(integer) => last = integer,
                None => decimals.exceptions.push((index, *bits)),
            }
            decimals.integers.push(last);
        }
        (decimals.exceptions.len() <= most).then_some(decimals)
    }

    fn put_exceptions(&self, out: &mut Vec<u8>) {
        put_varint(out, self.exceptions.len() as u64);
        for (index, bits) in &self.exceptions {
            put_varint(out, *index as u64);
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

fn encode_tokens(values: &[u64]) -> Vec<u8> {
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

fn decode_tokens(
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

/// Each stretch: its first integer, the least difference, the bits per difference, the differences
/// less the least. Then the exceptions.
fn encode_delta(decimals: &Decimals) -> Vec<u8> {
    let mut out = Vec::new();
    for stretch in decimals.integers.chunks(STRETCH) {
        put_signed(&mut out, stretch[0]);
        put_packed(
            &mut out,
            stretch.windows(2).map(|w| w[1].wrapping_sub(w[0])),
        );
    }
    decimals.put_exceptions(&mut out);
    out
}

fn decode_delta(
    reader: &mut Reader<'_>,
    scale: u8,
    count: usize,
    part: Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let base = values.len();
    for start in (0..count).step_by(STRETCH) {
        let length = STRETCH.min(count - start);
        let mut integer = reader.signed()?;
        if start + length <= part.start || start >= part.end {
            skip_packed(reader, length - 1)?;
            continue;
        }
        let mut index = start;
        let mut put = |integer: i64| {
            if part.contains(&index) {
                values.push(f64::from_bits(token::decimal(integer, scale)));
            }
            index += 1;
        };
        put(integer);
        take_packed(reader, length - 1, |difference| {
            integer = integer.wrapping_add(difference);
            put(integer);
        })?;
    }
    put_back_exceptions(reader, &part, &mut values[base..])
}

/// Each stretch: its first integer and first difference, then the differences of differences as
/// above.
fn encode_delta_delta(decimals: &Decimals) -> Vec<u8> {
    let mut out = Vec::new();
    for stretch in decimals.integers.chunks(STRETCH) {
        put_signed(&mut out, stretch[0]);
        if let [first, second, ..] = stretch {
            put_signed(&mut out, second.wrapping_sub(*first));
            let seconds = stretch
                .windows(3)
                .map(|w| (w[2].wrapping_sub(w[1])).wrapping_sub(w[1].wrapping_sub(w[0])));
            put_packed(&mut out, seconds);
        }
    }
    decimals.put_exceptions(&mut out);
    out
}

fn decode_delta_delta(
    reader: &mut Reader<'_>,
    scale: u8,
    count: usize,
    part: Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let base = values.len();
    for start in (0..count).step_by(STRETCH) {
        let length = STRETCH.min(count - start);
        let mut integer = reader.signed()?;
        let mut index = start;
        let mut put = |integer: i64| {
            if part.contains(&index) {
                values.push(f64::from_bits(token::decimal(integer, scale)));
            }
            index += 1;
        };
        put(integer);
        if length < 2 {
            continue;
        }
        let mut difference = reader.signed()?;
        integer = integer.wrapping_add(difference);
        if start + length <= part.start || start >= part.end {
            skip_packed(reader, length - 2)?;
            continue;
        }
        put(integer);
        take_packed(reader, length - 2, |second| {
            difference = difference.wrapping_add(second);
            integer = integer.wrapping_add(difference);
            put(integer);
        })?;
    }
    put_back_exceptions(reader, &part, &mut values[base..])
}

fn put_packed(out: &mut Vec<u8>, values: impl Iterator<Item = i64> + Clone) {
    let (least, greatest) = (values.clone().min(), values.clone().max());
    let (Some(least), Some(greatest)) = (least, greatest) else {
        return;
    };
    // Bytes come in multiples of a page, seconds of a tick: what all values have in common is
    // divided out.
    let above = values.map(|v| v.wrapping_sub(least) as u64);
    let divisor = above.clone().fold(0, greatest_common_divisor).max(1);
    let width = width_of(greatest.wrapping_sub(least) as u64 / divisor);
    put_signed(out, least);
    out.push(width);
    if width > 0 {
        put_varint(out, divisor);
        pack(above.map(|v| v / divisor), width, out);
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn take_packed(
    reader: &mut Reader<'_>,
    count: usize,
    mut each: impl FnMut(i64),
) -> Result<(), Malformed> {
    if count == 0 {
        return Ok(());
    }
    let least = reader.signed()?;
    let width = reader.u8()?;
    let divisor = if width > 0 { reader.varint()? } else { 0 };
    unpack(reader, count, width, |value| {
        each(least.wrapping_add(value.wrapping_mul(divisor) as i64));
    })
}

fn skip_packed(reader: &mut Reader<'_>, count: usize) -> Result<(), Malformed> {
    if count > 0 {
        reader.signed()?;
        let width = reader.u8()?;
        if width > 0 {
            reader.varint()?;
        }
        reader.take(packed_bytes(count, width))?;
    }
    Ok(())
}

fn put_back_exceptions(
    reader: &mut Reader<'_>,
    part: &Range<usize>,
    values: &mut [f64],
) -> Result<(), Malformed> {
    let count = reader.count(9)?;
    for _ in 0..count {
        let index = reader.varint()? as usize;
        let bits = reader.u64()?;
        if part.contains(&index)
            && let Some(value) = values.get_mut(index - part.start)
        {
            *value = f64::from_bits(bits);
        }
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
    part: Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let size = usize::from(reader.u8()?);
    let distinct: Result<Vec<u64>, _> = (0..size).map(|_| reader.u64()).collect();
    let distinct = distinct?;
    if size == 0 {
        return Err(reader.fail("an empty dictionary"));
    }
    let (mut index, mut outside) = (0, false);
    unpack(reader, count, width_of(size as u64 - 1), |number| {
        if part.contains(&index) {
            let bits = distinct.get(number as usize).copied();
            outside |= bits.is_none();
            values.push(f64::from_bits(bits.unwrap_or_default()));
        }
        index += 1;
    })?;
    if outside {
        return Err(reader.fail("an index beyond the dictionary"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use barograph_model::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn check(values: &[u64], part: Range<usize>) -> u8 {
        let mut page = Vec::new();
        encode(values, &mut page);
        let mut back = Vec::new();
        decode(&page, part.clone(), &mut back).expect("just encoded");
        let back: Vec<u64> = back.iter().map(|v| v.to_bits()).collect();
        assert_eq!(back, values[part]);
        for at in 0..page.len().min(60) {
            let mut damaged = page.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged, 0..values.len(), &mut Vec::new()).is_err());
        }
        page[4]
    }

    fn bits(values: impl Iterator<Item = f64>) -> Vec<u64> {
        values.map(f64::to_bits).collect()
    }

    #[test]
    fn each_kind_of_series_gets_its_codec() {
        let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 20);
        let cases = [
            (CONSTANT, bits((0..500).map(|_| 7.5))),
            (TOKENS, bits((0..500).map(|i| f64::from(i / 100 * 12345)))),
            (
                DELTA,
                bits((0..500).map(|i| f64::from(i) * 1000.0 + noise(i))),
            ),
            (
                DELTA_DELTA,
                bits((0..500).map(|i| f64::from(i * i) + noise(i) % 2.0)),
            ),
            (
                DICTIONARY,
                bits((0..500).map(|i| [1e9, 0.123, 77.0][noise(i) as usize % 3])),
            ),
            (XOR, bits((0..500).map(|i| noise(i).sqrt()))),
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
