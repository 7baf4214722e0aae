//! The value stream: how a series' next value is told from its last.
//!
//! One stream serves the log and the open pages. A value that is a decimal of few digits is a
//! difference of integers at the stream's decimal scale. A sum of such decimals is no decimal any
//! more, but near one: it is that difference, and how many floats further on the value is. Floats of
//! no such kind are the difference of their places in the order of all floats. A repeated value is
//! part of a run; the staleness marker is an event; everything else is its 64 bits. Every step checks
//! that the value comes back with the same bits, so that −0, NaN payloads and infinities survive.
//!
//! Bytes: a variable-length integer `u ≥ 1` is the difference `unzigzag(u − 1)`; a zero byte
//! announces a control byte (the constants below).

use barograph_model::STALE_NAN_BITS;

use crate::bytes::{
    Malformed, Reader, put_mixed_varint, put_varint, unzigzag, varint_bytes, varint_word, zigzag,
};

/// Longest run one control byte tells.
pub(crate) const RUN_LIMIT: u8 = 200;
const RAW: u8 = 201;
const STALE: u8 = 202;
const RESET: u8 = 203;
const GAP: u8 = 204;
const SCALE: u8 = 210;
const LAST_SCALE: u8 = SCALE + ORDER;
/// Largest decimal scale: ten to this power divides the integers.
const SCALE_LIMIT: u8 = 9;
/// Scales from here on are those of decimals (less this) that values are near to.
const NEAR: u8 = 10;
/// The "scale" of differences in the order of floats, and the greatest there is.
pub(crate) const ORDER: u8 = 20;
/// A step that takes no more than what it would save is taken for the sake of those after it.
const STEP_LIMIT_BYTES: usize = 10;
/// A longer step makes another kind worth looking for.
const LONG_STEP_BYTES: usize = 6;
/// What it takes to say that the steps are of another kind from now on.
const SWITCH_BYTES: usize = 2;

/// Most bytes one value can take: a reset, a scale and ten bytes of difference.
pub(crate) const VALUE_LIMIT_BYTES: usize = 14;

const POWERS: [f64; SCALE_LIMIT as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Integers below this are exact as floats.
const EXACT_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Below this, ten to a scale times a value that is a decimal there is off by a quarter at most.
const SURE_LIMIT: f64 = 1_125_899_906_842_624.0;

/// Below this there are 256 floats and more between integers.
const TELLING_LIMIT: f64 = 35_184_372_088_832.0;
/// A value so near an integer, at a scale where these lie far apart, is worth trying the scales.
const NEARNESS: f64 = 1.0 / 32.0;
/// How much smaller the other scale is at which that is asked.
const COARSER_SCALES: u8 = 3;

/// What the next difference refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Bits of the last value; +0.0 at the start.
    pub(crate) last: u64,
    /// Decimal scale of the differences, or one of the other kinds ([`NEAR`], [`ORDER`]).
    pub(crate) scale: u8,
}

/// The newest difference of a row's steps: where the next is the same, the log does not repeat it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Repeated(u64);

/// One step of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next row has the value now in [`State::last`].
    Value,
    /// As many further rows repeat the last value.
    Run(u32),
    /// The series has no sample in as many rows.
    Gap(u32),
}

/// The integer that is `bits` times ten to the `scale`, where dividing gives the same bits back.
#[inline]
pub(crate) fn mantissa(bits: u64, scale: u8) -> Option<i64> {
    let value = f64::from_bits(bits);
    if scale == 0 {
        let whole = value as i64;
        return ((whole as f64).to_bits() == bits && value.abs() < EXACT_LIMIT).then_some(whole);
    }
    let power = POWERS[usize::from(scale)];
    let scaled = value * power;
    if scaled.is_nan() || scaled.abs() >= EXACT_LIMIT {
        return None;
    }
    let whole = (scaled + 0.5f64.copysign(scaled)) as i64;
    (decimal(whole, scale) == bits).then_some(whole)
}

/// The value of an integer at a scale.
#[inline]
pub(crate) fn decimal(whole: i64, scale: u8) -> u64 {
    (whole as f64 / POWERS[usize::from(scale)]).to_bits()
}

/// The difference that leads to a value by a single integer, where there is one.
#[inline]
fn difference(state: State, bits: u64) -> Option<u64> {
    if state.scale > SCALE_LIMIT {
        return None;
    }
    let old = mantissa(state.last, state.scale)?;
    let new = mantissa(bits, state.scale)?;
    Some(zigzag(new - old) + 1)
}

/// Appends the step to a value other than the last.
#[inline]
pub(crate) fn put_value(out: &mut Vec<u8>, state: &mut State, bits: u64) {
    if let Some(unsigned) = difference(*state, bits) {
        put_varint(out, unsigned);
        state.last = bits;
        return;
    }
    put_value_slow(out, state, bits);
}

/// The step to a value other than the last behind `repeats` of that, as the first bytes of a word and
/// their number; `None` where it is of another kind than most, which [`put_run`] and [`put_value`]
/// append. The scale stays.
#[inline]
pub(crate) fn short_step(state: State, repeats: u16, bits: u64) -> Option<(u64, usize)> {
    let (word, length) = varint_word(difference(state, bits)?)?;
    if repeats == 0 {
        return Some((word, length));
    }
    let run = u64::from(repeats) << 8;
    (repeats <= u16::from(RUN_LIMIT)).then_some((word << 16 | run, length + 2))
}

/// As [`put_value`], among the steps of a row: appends nothing and says so where the difference is
/// that of the step before.
#[inline]
pub(crate) fn put_or_repeat(
    out: &mut Vec<u8>,
    state: &mut State,
    repeated: &mut Repeated,
    bits: u64,
) -> bool {
    let Some(unsigned) = difference(*state, bits) else {
        repeated.0 = 0;
        put_value_slow(out, state, bits);
        return false;
    };
    state.last = bits;
    if unsigned == repeated.0 {
        return true;
    }
    put_mixed_varint(out, unsigned);
    repeated.0 = unsigned;
    false
}

/// Reads what [`put_or_repeat`] appended; `is_repeated` is what it said.
#[inline]
pub(crate) fn next_or_repeat(
    reader: &mut Reader<'_>,
    state: &mut State,
    repeated: &mut Repeated,
    is_repeated: bool,
) -> Result<Step, Malformed> {
    if !is_repeated {
        let plain = reader.peek().filter(|byte| *byte != 0);
        if plain.is_none() || state.scale > SCALE_LIMIT {
            repeated.0 = 0;
            return next(reader, state);
        }
        repeated.0 = reader.varint()?;
    }
    if repeated.0 == 0 {
        return Err(reader.fail("a repeated difference behind none"));
    }
    step(reader, state, repeated.0)?;
    Ok(Step::Value)
}

/// Appends a first value, which may be the +0.0 that a stream starts from.
pub(crate) fn put_value_or_zero(out: &mut Vec<u8>, bits: u64) {
    put_value(out, &mut State::default(), bits);
}

/// Appends the news that `rows` further rows repeat the last value.
pub(crate) fn put_run(out: &mut Vec<u8>, mut rows: u32) {
    while rows > 0 {
        let part = rows.min(u32::from(RUN_LIMIT));
        out.extend_from_slice(&[0, part as u8]);
        rows -= part;
    }
}

/// Appends the news that the series is absent from `rows` rows.
pub(crate) fn put_gap(out: &mut Vec<u8>, rows: u32) {
    out.extend_from_slice(&[0, GAP]);
    put_varint(out, u64::from(rows));
}

/// Reads the next step.
#[inline]
pub(crate) fn next(reader: &mut Reader<'_>, state: &mut State) -> Result<Step, Malformed> {
    loop {
        let unsigned = reader.varint()?;
        if unsigned > 0 {
            step(reader, state, unsigned)?;
            return Ok(Step::Value);
        }
        match reader.u8()? {
            rows @ 1..=RUN_LIMIT => return Ok(Step::Run(u32::from(rows))),
            RAW => {
                state.last = reader.u64()?;
                return Ok(Step::Value);
            }
            STALE => {
                state.last = STALE_NAN_BITS;
                return Ok(Step::Value);
            }
            RESET => state.last = 0,
            GAP => return reader.varint_u32().map(Step::Gap),
            scale @ SCALE..=LAST_SCALE => state.scale = scale - SCALE,
            _ => return Err(reader.fail("an unknown control byte")),
        }
    }
}

/// Takes a step of the state's kind.
#[inline]
fn step(reader: &mut Reader<'_>, state: &mut State, unsigned: u64) -> Result<(), Malformed> {
    let by = unzigzag(unsigned.wrapping_sub(1));
    if state.scale <= SCALE_LIMIT {
        let Some(old) = mantissa(state.last, state.scale) else {
            return Err(reader.fail("a difference from a value that is no decimal"));
        };
        state.last = decimal(old.wrapping_add(by), state.scale);
    } else if state.scale < ORDER {
        let scale = state.scale - NEAR;
        let Some(old) = nearest(state.last, scale) else {
            return Err(reader.fail("a difference from a value that is near no decimal"));
        };
        let base = place(decimal(old.wrapping_add(by), scale));
        state.last = at_place(base.wrapping_add(unzigzag(reader.varint()?)));
    } else {
        state.last = at_place(place(state.last).wrapping_add(by));
    }
    Ok(())
}

/// Reads a stream in stretches: the integer that differences add to stays one, instead of being
/// found anew in the last value's bits.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    state: State,
    /// The last value as an integer at the scale, where known.
    whole: Option<i64>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            state: State::default(),
            whole: Some(0),
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Bits of the last value.
    pub(crate) fn last(&self) -> u64 {
        self.state.last
    }

    /// Passes over at most `limit` differences; tells how many there were.
    pub(crate) fn skip(&mut self, limit: usize) -> Result<usize, Malformed> {
        let count = self.differences(std::iter::repeat_n((), limit), |_, ()| {})?;
        Ok(count)
    }

    /// Appends the values of at most `limit` differences; tells how many there were.
    pub(crate) fn take(&mut self, limit: usize, values: &mut Vec<f64>) -> Result<usize, Malformed> {
        if self.state.scale > SCALE_LIMIT {
            return Ok(0);
        }
        let base = values.len();
        // A difference takes a byte at least.
        let limit = limit.min(self.bytes.len() - self.at);
        values.resize(base + limit, 0.0);
        let power = POWERS[usize::from(self.state.scale)];
        let slots = values[base..].iter_mut();
        let count = if self.state.scale == 0 {
            self.differences(slots, |whole, slot| *slot = whole as f64)
        } else {
            self.differences(slots, |whole, slot| *slot = whole as f64 / power)
        }?;
        values.truncate(base + count);
        Ok(count)
    }

    /// Reads the step that is next and no difference of decimals, where there is one.
    pub(crate) fn control(&mut self) -> Result<Step, Malformed> {
        let mut reader = Reader::new(&self.bytes[self.at..]);
        let before = self.state;
        let step = next(&mut reader, &mut self.state).map_err(|error| Malformed {
            offset: self.at + error.offset,
            ..error
        })?;
        self.at += reader.offset();
        if self.state != before {
            self.whole = None;
        }
        Ok(step)
    }

    #[inline]
    fn differences<T>(
        &mut self,
        slots: impl Iterator<Item = T>,
        mut put: impl FnMut(i64, T),
    ) -> Result<usize, Malformed> {
        // Steps of the other kinds are read one by one.
        let is_other = self.state.scale > SCALE_LIMIT;
        if is_other || self.bytes.get(self.at).is_none_or(|byte| *byte == 0) {
            return Ok(0);
        }
        let known = self
            .whole
            .or_else(|| mantissa(self.state.last, self.state.scale));
        let Some(mut whole) = known else {
            return Err(Malformed {
                offset: self.at,
                what: "a difference from a value that is no decimal",
            });
        };
        let (bytes, mut at, mut count) = (self.bytes, self.at, 0);
        for slot in slots {
            // Most differences are of one to three bytes: these are read without a loop.
            let (unsigned, length) = match bytes.get(at..at + 4) {
                Some(&[0, ..]) => break,
                Some(&[a, b, c, d]) => match u32::from_le_bytes([a, b, c, d]) {
                    word if word & 0x80 == 0 => (u64::from(word & 0x7f), 1),
                    word if word & 0x8000 == 0 => (u64::from(word & 0x7f | word >> 1 & 0x3f80), 2),
                    word if word & 0x80_0000 == 0 => {
                        let high = word >> 2 & 0x1f_c000;
                        (u64::from(word & 0x7f | word >> 1 & 0x3f80 | high), 3)
                    }
                    _ => varint_at(bytes, at)?,
                },
                _ if bytes.get(at).is_none_or(|byte| *byte == 0) => break,
                _ => varint_at(bytes, at)?,
            };
            at += length;
            whole = whole.wrapping_add(unzigzag(unsigned.wrapping_sub(1)));
            put(whole, slot);
            count += 1;
        }
        self.at = at;
        self.whole = Some(whole);
        self.state.last = decimal(whole, self.state.scale);
        Ok(count)
    }
}

/// A variable-length integer and how long it is.
#[cold]
fn varint_at(bytes: &[u8], at: usize) -> Result<(u64, usize), Malformed> {
    let mut reader = Reader::new(&bytes[at..]);
    let unsigned = reader.varint().map_err(|error| Malformed {
        offset: at + error.offset,
        ..error
    })?;
    Ok((unsigned, reader.offset()))
}

/// The least scale at which a value is an integer.
fn least_scale(bits: u64) -> Option<u8> {
    (0..=SCALE_LIMIT).find(|scale| mantissa(bits, *scale).is_some())
}

/// Whether a value is an integer at no scale; `false` where that is not told by one or two tests. A
/// value that is one at some scale is one at every greater scale at which integers are exact.
fn is_no_decimal(bits: u64) -> bool {
    let value = f64::from_bits(bits).abs();
    let Some(scale) = (0..=SCALE_LIMIT)
        .rev()
        .find(|scale| value * POWERS[usize::from(*scale)] < SURE_LIMIT)
    else {
        return false;
    };
    // Two scales up integers are beyond what is exact.
    let next = (scale + 1).min(SCALE_LIMIT);
    mantissa(bits, scale).is_none() && mantissa(bits, next).is_none()
}

/// The integer nearest to `bits` times ten to the `scale`.
fn nearest(bits: u64, scale: u8) -> Option<i64> {
    let scaled = f64::from_bits(bits) * POWERS[usize::from(scale)];
    let whole = (scaled + 0.5f64.copysign(scaled)) as i64;
    (scaled.abs() < EXACT_LIMIT).then_some(whole)
}

/// The place of a float in the order of all floats.
fn place(bits: u64) -> i64 {
    let signed = bits as i64;
    signed ^ ((signed >> 63) as u64 >> 1) as i64
}

/// The float at a place.
fn at_place(place: i64) -> u64 {
    (place ^ ((place >> 63) as u64 >> 1) as i64) as u64
}

/// A step to a value near a decimal: the two integers, and how many bytes they take.
fn near_step(last: u64, bits: u64, scale: u8) -> Option<(u64, u64, usize)> {
    let (old, new) = (nearest(last, scale)?, nearest(bits, scale)?);
    let unsigned = zigzag(new - old) + 1;
    let further = zigzag(place(bits).wrapping_sub(place(decimal(new, scale))));
    let length = varint_bytes(unsigned) + varint_bytes(further);
    Some((unsigned, further, length))
}

/// A step in the order of floats, and how many bytes it takes.
fn order_step(last: u64, bits: u64) -> Option<(u64, usize)> {
    let unsigned = zigzag(place(bits).wrapping_sub(place(last))).checked_add(1)?;
    Some((unsigned, varint_bytes(unsigned)))
}

/// Appends a step of the state's kind, where that is none of decimals and it is at most so long.
fn put_other(out: &mut Vec<u8>, state: &mut State, bits: u64, limit_bytes: usize) -> bool {
    if state.scale <= SCALE_LIMIT {
        return false;
    }
    if state.scale < ORDER {
        match near_step(state.last, bits, state.scale - NEAR) {
            Some((unsigned, further, length)) if length <= limit_bytes => {
                put_varint(out, unsigned);
                put_varint(out, further);
            }
            _ => return false,
        }
    } else {
        match order_step(state.last, bits) {
            Some((unsigned, length)) if length <= limit_bytes => put_varint(out, unsigned),
            _ => return false,
        }
    }
    state.last = bits;
    true
}

/// The kind of step that is shortest to a value that is no decimal, and how long it is, with what it
/// takes to say so. Where the value is near no decimal, only the order of floats is looked at.
fn best_other(state: State, bits: u64) -> Option<(u8, usize)> {
    let whole = |scale: u8, length| {
        let is_other = scale != state.scale;
        (scale, length + SWITCH_BYTES * usize::from(is_other))
    };
    let order = order_step(state.last, bits).map(|(_, length)| whole(ORDER, length));
    if !is_near_decimal(bits) {
        return order;
    }
    let mut best: Option<(u8, usize)> = None;
    for scale in 0..=SCALE_LIMIT {
        if let Some((_, _, length)) = near_step(state.last, bits, scale) {
            let near = whole(NEAR + scale, length);
            if best.is_none_or(|best| near.1 < best.1) {
                best = Some(near);
            }
        }
    }
    match (best, order) {
        (Some(near), Some(order)) if order.1 < near.1 => Some(order),
        (near, order) => near.or(order),
    }
}

/// Whether a value may be near a decimal. What is near one is near one at every greater scale too,
/// up to where decimals lie as close as floats do; a sum of many decimals is not that near, so a
/// smaller scale is looked at as well.
fn is_near_decimal(bits: u64) -> bool {
    let value = f64::from_bits(bits).abs();
    let fits = |scale: &u8| value * POWERS[usize::from(*scale)] < TELLING_LIMIT;
    let Some(scale) = (0..=SCALE_LIMIT).rev().find(fits) else {
        return true;
    };
    [scale, scale.saturating_sub(COARSER_SCALES)]
        .into_iter()
        .any(|scale| {
            let scaled = value * POWERS[usize::from(scale)];
            let whole = (scaled + 0.5) as i64;
            (scaled - whole as f64).abs() < NEARNESS
        })
}

#[cold]
fn put_value_slow(out: &mut Vec<u8>, state: &mut State, bits: u64) {
    if bits == STALE_NAN_BITS {
        out.extend_from_slice(&[0, STALE]);
        state.last = bits;
        return;
    }
    if put_other(out, state, bits, LONG_STEP_BYTES) {
        return;
    }
    let exact = if is_no_decimal(bits) {
        None
    } else {
        least_scale(bits)
    };
    let Some(least) = exact else {
        let other = best_other(*state, bits).filter(|(_, length)| *length <= STEP_LIMIT_BYTES);
        if let Some((scale, _)) = other {
            if scale != state.scale {
                out.extend_from_slice(&[0, SCALE + scale]);
                state.scale = scale;
            }
            if put_other(out, state, bits, STEP_LIMIT_BYTES) {
                return;
            }
        }
        out.extend_from_slice(&[0, RAW]);
        out.extend_from_slice(&bits.to_le_bytes());
        state.last = bits;
        return;
    };
    let both = (least..=SCALE_LIMIT)
        .find(|s| mantissa(bits, *s).is_some() && mantissa(state.last, *s).is_some());
    let scale = if let Some(scale) = both {
        scale
    } else {
        out.extend_from_slice(&[0, RESET]);
        state.last = 0;
        least
    };
    if scale != state.scale {
        out.extend_from_slice(&[0, SCALE + scale]);
        state.scale = scale;
    }
    let old = mantissa(state.last, scale).unwrap_or_default();
    let new = mantissa(bits, scale).unwrap_or_default();
    put_varint(out, zigzag(new - old) + 1);
    state.last = bits;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[u64]) {
        let (mut out, mut state) = (Vec::new(), State::default());
        for bits in values {
            let before = out.len();
            put_value(&mut out, &mut state, *bits);
            assert!(out.len() - before <= VALUE_LIMIT_BYTES);
        }
        let (mut reader, mut state) = (Reader::new(&out), State::default());
        for bits in values {
            assert_eq!(next(&mut reader, &mut state), Ok(Step::Value));
            assert_eq!(state.last, *bits, "{:?}", f64::from_bits(*bits));
        }
        assert!(reader.is_at_end());
        let (mut decoder, mut at, mut back) = (Decoder::new(&out), 0, Vec::new());
        while !decoder.is_at_end() {
            // Some are skipped, some are taken.
            let skipped = if at % 3 == 1 { decoder.skip(2) } else { Ok(0) }.expect("just written");
            at += skipped;
            back.clear();
            let taken = decoder.take(5, &mut back).expect("just written");
            let back: Vec<u64> = back.iter().map(|v| v.to_bits()).collect();
            assert_eq!(back, values[at..at + taken]);
            at += taken;
            if skipped + taken == 0 {
                assert_eq!(decoder.control(), Ok(Step::Value));
                at += 1;
            }
            assert_eq!(decoder.last(), values[at - 1]);
        }
        assert_eq!(at, values.len());
    }

    #[test]
    fn odd_values_keep_their_bits() {
        let odd = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            0.3,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(STALE_NAN_BITS),
            f64::from_bits(0x7ff8_dead_beef_0001),
            9_007_199_254_740_991.0,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_991.0,
            5e-324,
            123.456,
            0.1 + 0.2,
        ];
        for a in odd {
            for b in odd {
                for c in odd {
                    check(&[a.to_bits(), b.to_bits(), c.to_bits()]);
                }
            }
        }
    }

    fn check_scale(bits: u64) {
        let value = f64::from_bits(bits);
        let least = least_scale(bits);
        assert!(
            least.is_none() || !is_no_decimal(bits),
            "{value} is one at {least:?}"
        );
    }

    #[test]
    fn no_decimal_is_taken_for_none() {
        for exponent in 0..64 {
            for near in -3i64..4 {
                let whole = (1i64 << exponent.min(62)).wrapping_add(near);
                for scale in 0..=SCALE_LIMIT {
                    check_scale(decimal(whole, scale));
                    check_scale(decimal(-whole, scale));
                }
            }
        }
        assert!(is_no_decimal(std::f64::consts::PI.to_bits()));
        assert!(is_no_decimal(1_234_567.0f64.sqrt().to_bits()));
    }

    proptest! {
        #[test]
        fn any_bits_survive(values in prop::collection::vec(any::<u64>(), 0..50)) {
            check(&values);
        }

        #[test]
        fn sums_of_decimals_survive_and_are_short(
            parts in prop::collection::vec((0i32..1_000_000, 3u8..9), 20..50),
        ) {
            let mut sum = 0.0f64;
            let scale = parts[0].1;
            let mut bits = Vec::new();
            for (part, _) in parts {
                sum += f64::from_bits(decimal(i64::from(part), scale));
                bits.push(sum.to_bits());
            }
            check(&bits);
            let (mut out, mut state) = (Vec::new(), State::default());
            for value in &bits {
                put_value(&mut out, &mut state, *value);
            }
            prop_assert!(out.len() < bits.len() * 6 + 20, "{} bytes", out.len());
        }

        #[test]
        fn close_floats_survive(
            first in any::<u64>(),
            steps in prop::collection::vec(-10_000i64..10_000, 0..50),
        ) {
            let mut at = place(first);
            let bits: Vec<u64> = steps
                .iter()
                .map(|step| {
                    at = at.wrapping_add(*step);
                    at_place(at)
                })
                .collect();
            check(&bits);
        }

        #[test]
        fn rows_survive(
            values in prop::collection::vec((any::<u64>(), any::<i16>(), 0u8..5), 0..100),
        ) {
            // What the positions had, and what they get.
            let pairs: Vec<(u64, u64)> = values
                .iter()
                .map(|(bits, by, kind)| match kind {
                    0 => (*bits, bits.rotate_left(7)),
                    1 => (*bits, STALE_NAN_BITS),
                    2 => (decimal(i64::from(*by), 2), decimal(i64::from(*by) + 5, 2)),
                    3 => (decimal(i64::from(*by), 0), decimal(i64::from(*by) + 5, 0)),
                    _ => (*bits, bits.wrapping_add(*by as u64)),
                })
                .collect();
            let (mut out, mut repeated) = (Vec::new(), Repeated::default());
            let mut told = Vec::new();
            for (last, bits) in &pairs {
                let mut state = State { last: *last, scale: 0 };
                told.push(put_or_repeat(&mut out, &mut state, &mut repeated, *bits));
                prop_assert_eq!(state.last, *bits);
            }
            let (mut reader, mut repeated) = (Reader::new(&out), Repeated::default());
            for ((last, bits), told) in pairs.iter().zip(told) {
                let mut state = State { last: *last, scale: 0 };
                let step = next_or_repeat(&mut reader, &mut state, &mut repeated, told);
                prop_assert_eq!(step, Ok(Step::Value));
                prop_assert_eq!(state.last, *bits);
            }
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn decimals_survive(values in prop::collection::vec((any::<i32>(), 0u8..9), 0..50)) {
            let bits: Vec<u64> = values.iter().map(|(m, s)| decimal(i64::from(*m), *s)).collect();
            check(&bits);
        }

        #[test]
        fn decimals_of_any_size_are_found(whole in any::<i64>(), shift in 0u32..64, scale in 0u8..10) {
            check_scale(decimal(whole >> shift, scale));
            check_scale((whole >> shift) as u64);
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let (mut reader, mut state) = (Reader::new(&bytes), State::default());
            while next(&mut reader, &mut state).is_ok() {}
            let (mut decoder, mut values) = (Decoder::new(&bytes), Vec::new());
            while !decoder.is_at_end()
                && decoder.skip(1).is_ok()
                && decoder.take(3, &mut values).is_ok()
                && decoder.control().is_ok()
            {}
        }
    }
}
