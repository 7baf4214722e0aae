//! Floats as integers: decimals of few digits, sums of such decimals, and plain floats in the order
//! of their values.
//!
//! The decimals are found as in ALP (Afroozeh, Boncz, SIGMOD 2024): a scale whose integers divide
//! back to the very bits, and the few other values aside.

use std::ops::Range;

use crate::bytes::{Malformed, Reader, put_varint};
use crate::page::integers;

/// Largest decimal scale.
const SCALE_LIMIT: u8 = 15;
/// The scale is in the lower bits of a page's form, the order of differences above.
const SCALE_BITS: u8 = 4;

const POWERS: [f64; SCALE_LIMIT as usize + 1] = [
    1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];
/// Integers below this are exact as floats.
const EXACT_LIMIT: f64 = 9_007_199_254_740_992.0;
/// Values looked at to find the scale of sums.
const SAMPLE: usize = 96;

/// The bits as an integer that orders as the float does. Undone by itself.
pub(crate) fn ordered(bits: u64) -> i64 {
    let bits = bits as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The float that [`ordered`] made an integer of.
#[inline]
pub(crate) fn from_ordered(value: i64) -> f64 {
    f64::from_bits((value ^ ((value >> 63) as u64 >> 1) as i64) as u64)
}

/// Values as integers at one decimal scale; those that are none keep their bits aside.
pub(crate) struct Decimals {
    scale: u8,
    integers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    /// `None` where too many are no decimals.
    pub(crate) fn of(values: &[u64]) -> Option<Self> {
        let most = values.len() / 16 + 1;
        let mut scale = 0;
        let mut odd = 0;
        for bits in values {
            if mantissa(*bits, scale).is_some() {
                continue;
            }
            match (scale + 1..=SCALE_LIMIT).find(|s| mantissa(*bits, *s).is_some()) {
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
        let mut last = values.iter().find_map(|bits| mantissa(*bits, scale))?;
        for (index, bits) in values.iter().enumerate() {
            match mantissa(*bits, scale) {
                Some(integer) => last = integer,
                None => decimals.exceptions.push((index, *bits)),
            }
            decimals.integers.push(last);
        }
        (decimals.exceptions.len() <= most).then_some(decimals)
    }

    /// How many values are no decimals.
    pub(crate) fn exceptions(&self) -> usize {
        self.exceptions.len()
    }

    /// The form and the payload.
    pub(crate) fn encode(&self) -> (u8, Vec<u8>) {
        let (order, mut out) = integers::encode_smallest(&self.integers);
        self.put_exceptions(&mut out);
        (self.scale | order << SCALE_BITS, out)
    }

    /// The form and the payload, entropy coded.
    pub(crate) fn encode_pco(&self) -> Option<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        self.put_exceptions(&mut out);
        let config = pco::ChunkConfig::default().with_compression_level(PCO_LEVEL);
        let coded = pco::standalone::simple_compress(&self.integers, &config).ok()?;
        out.extend_from_slice(&coded);
        Some((self.scale, out))
    }

    fn put_exceptions(&self, out: &mut Vec<u8>) {
        put_varint(out, self.exceptions.len() as u64);
        for (index, bits) in &self.exceptions {
            put_varint(out, *index as u64);
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

/// How hard entropy coding tries, of 0 to 12: more costs time and gains little.
const PCO_LEVEL: usize = 8;

/// Decodes what [`Decimals::encode`] wrote.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    form: u8,
    count: usize,
    part: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let base = values.len();
    let power = power_of(form);
    integers::decode(reader, form >> SCALE_BITS, count, part, |stretch| {
        if power == 1.0 {
            values.extend(stretch.iter().map(|v| *v as f64));
        } else {
            values.extend(stretch.iter().map(|v| *v as f64 / power));
        }
    })?;
    take_exceptions(reader, part, &mut values[base..])
}

/// Decodes what [`Decimals::encode_pco`] wrote.
pub(crate) fn decode_pco(
    reader: &mut Reader<'_>,
    form: u8,
    count: usize,
    part: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut exceptions = *reader;
    skip_exceptions(reader)?;
    let power = power_of(form);
    let integers: Vec<i64> = take_pco(reader, count)?;
    let base = values.len();
    values.extend(integers[part.clone()].iter().map(|v| *v as f64 / power));
    take_exceptions(&mut exceptions, part, &mut values[base..])
}

/// Floats, entropy coded; `None` where they would not come back bit for bit.
pub(crate) fn encode_pco_floats(values: &[u64]) -> Option<Vec<u8>> {
    let config = pco::ChunkConfig::default().with_compression_level(PCO_LEVEL);
    let floats: Vec<f64> = values.iter().map(|bits| f64::from_bits(*bits)).collect();
    let coded = pco::standalone::simple_compress(&floats, &config).ok()?;
    let back = pco::standalone::simple_decompress::<f64>(&coded).ok()?;
    let same = back
        .iter()
        .map(|value| value.to_bits())
        .eq(values.iter().copied());
    same.then_some(coded)
}

/// Decodes what [`encode_pco_floats`] wrote.
pub(crate) fn decode_pco_floats(
    reader: &mut Reader<'_>,
    count: usize,
    part: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let floats: Vec<f64> = take_pco(reader, count)?;
    values.extend_from_slice(&floats[part.clone()]);
    Ok(())
}

fn take_pco<T: pco::data_types::Number>(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<T>, Malformed> {
    let coded = reader.rest();
    match pco::standalone::simple_decompress::<T>(coded) {
        Ok(numbers) if numbers.len() == count => Ok(numbers),
        _ => Err(reader.fail("entropy coded values that do not decode")),
    }
}

/// Sums of decimals carry the rounding errors of every addition: an integer at a scale, and how many
/// floats away the value is from the one that the integer gives. `None` where that does not help.
pub(crate) fn encode_sums(values: &[u64]) -> Option<(u8, Vec<u8>)> {
    let scale = scale_of_sums(values)?;
    let mut integers = Vec::with_capacity(values.len());
    let mut distances = Vec::with_capacity(values.len());
    for bits in values {
        let (integer, distance) = nearest(*bits, scale);
        integers.push(integer);
        distances.push(distance);
    }
    let (order, mut out) = integers::encode_smallest(&integers);
    let (order_of_distances, coded) = integers::encode_smallest(&distances);
    out.push(order_of_distances);
    out.extend_from_slice(&coded);
    Some((scale | order << SCALE_BITS, out))
}

/// Decodes what [`encode_sums`] wrote.
pub(crate) fn decode_sums(
    reader: &mut Reader<'_>,
    form: u8,
    count: usize,
    part: &Range<usize>,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let base = values.len();
    let power = power_of(form);
    integers::decode(reader, form >> SCALE_BITS, count, part, |stretch| {
        values.extend(stretch.iter().map(|v| *v as f64 / power));
    })?;
    let order = reader.u8()?;
    let mut rest = values[base..].iter_mut();
    integers::decode(reader, order, count, part, |stretch| {
        // In this order: the other would take a value more than there are distances.
        for (distance, value) in stretch.iter().zip(rest.by_ref()) {
            *value = from_ordered(ordered(value.to_bits()).wrapping_add(*distance));
        }
    })
}

/// The integer next to a value at a scale, and how many floats the value is away from what the
/// integer gives.
fn nearest(bits: u64, scale: u8) -> (i64, i64) {
    let scaled = f64::from_bits(bits) * POWERS[usize::from(scale)];
    let integer = if scaled.abs() < EXACT_LIMIT {
        scaled.round() as i64
    } else {
        0
    };
    let given = (integer as f64 / POWERS[usize::from(scale)]).to_bits();
    (integer, ordered(bits).wrapping_sub(ordered(given)))
}

/// The scale at which integers and distances together take the fewest bits, where that is fewer
/// than the floats' own differences take.
fn scale_of_sums(values: &[u64]) -> Option<u8> {
    let step = (values.len() / SAMPLE).max(1);
    let bits_of = |value: i64| 64 - crate::bytes::zigzag(value).leading_zeros();
    let pairs = || {
        let starts = (0..values.len().saturating_sub(1)).step_by(step);
        starts.map(|at| (values[at], values[at + 1]))
    };
    let plain: u32 = pairs()
        .map(|(a, b)| bits_of(ordered(b).wrapping_sub(ordered(a))))
        .sum();
    let mut best = (plain, None);
    for scale in 0..=SCALE_LIMIT {
        let bits = pairs()
            .map(|(a, b)| {
                let ((a, _), (b, distance)) = (nearest(a, scale), nearest(b, scale));
                bits_of(b.wrapping_sub(a)) + bits_of(distance)
            })
            .sum();
        if bits < best.0 {
            best = (bits, Some(scale));
        }
    }
    best.1
}

fn power_of(form: u8) -> f64 {
    POWERS[usize::from(form & SCALE_LIMIT)]
}

/// The integer that is the value times ten to the `scale`, where dividing gives the same bits back.
fn mantissa(bits: u64, scale: u8) -> Option<i64> {
    let power = POWERS[usize::from(scale)];
    let scaled = f64::from_bits(bits) * power;
    if scaled.is_nan() || scaled.abs() >= EXACT_LIMIT {
        return None;
    }
    let whole = scaled.round() as i64;
    ((whole as f64 / power).to_bits() == bits).then_some(whole)
}

fn take_exceptions(
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

fn skip_exceptions(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    for _ in 0..reader.count(9)? {
        reader.varint()?;
        reader.take(8)?;
    }
    Ok(())
}
