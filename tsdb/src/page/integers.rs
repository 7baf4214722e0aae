//! Integers in stretches of bit-packed differences: what the codecs of blocks are made of.
//!
//! Per stretch of 256: where it begins, then its differences of the order chosen for the page (none,
//! first, second), packed to a width that holds most of them, less the least of these and divided by
//! what they have in common. The others are patches. (Frame of reference with patches: PFOR,
//! Zukowski et al., ICDE 2006.)

use std::ops::Range;

use crate::bytes::{Malformed, Reader, put_signed, put_varint, unzigzag, zigzag};
use crate::page::bits::{pack, packed_bytes, unpack_into, width_of};

/// Values between two restarts: reading a part skips whole stretches.
pub(crate) const STRETCH: usize = 256;
/// The orders of differences there are.
pub(crate) const ORDERS: usize = 3;
/// Set in the byte of the width where there are patches.
const PATCHED: u8 = 0x80;

/// Appends the values as differences of an order below [`ORDERS`].
pub(crate) fn encode(values: &[i64], order: u8, out: &mut Vec<u8>) {
    let mut heads = [0i64; ORDERS];
    let mut differences = [0i64; STRETCH];
    for stretch in values.chunks(STRETCH) {
        let rest = &mut differences[..stretch.len()];
        rest.copy_from_slice(stretch);
        let heads_here = usize::from(order).min(stretch.len());
        for head in 0..heads_here {
            // Heads change little from stretch to stretch.
            put_signed(out, rest[head].wrapping_sub(heads[head]));
            heads[head] = rest[head];
            for at in (head + 1..rest.len()).rev() {
                rest[at] = rest[at].wrapping_sub(rest[at - 1]);
            }
        }
        put_packed(out, &rest[heads_here..]);
    }
}

/// The smallest of the orders for the values, and its bytes.
pub(crate) fn encode_smallest(values: &[i64]) -> (u8, Vec<u8>) {
    let mut best = (0, Vec::new());
    encode(values, 0, &mut best.1);
    for order in 1..ORDERS as u8 {
        let mut out = Vec::with_capacity(best.1.len());
        encode(values, order, &mut out);
        if out.len() < best.1.len() {
            best = (order, out);
        }
    }
    best
}

/// Decodes the values `part` of `count`, stretch by stretch: `each` gets them in order.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    order: u8,
    count: usize,
    part: &Range<usize>,
    mut each: impl FnMut(&[i64]),
) -> Result<(), Malformed> {
    if usize::from(order) >= ORDERS {
        return Err(reader.fail("an unknown order of differences"));
    }
    let mut heads = [0i64; ORDERS];
    let mut values = [0i64; STRETCH];
    for start in (0..count).step_by(STRETCH) {
        let length = STRETCH.min(count - start);
        let heads_here = usize::from(order).min(length);
        for head in &mut heads[..heads_here] {
            *head = head.wrapping_add(reader.signed()?);
        }
        let rest = length - heads_here;
        if start + length <= part.start || start >= part.end {
            skip_packed(reader, rest)?;
            continue;
        }
        take_packed(reader, &mut values[heads_here..length])?;
        values[..heads_here].copy_from_slice(&heads[..heads_here]);
        for head in (0..heads_here).rev() {
            let mut sum = values[head];
            for value in &mut values[head + 1..length] {
                sum = sum.wrapping_add(*value);
                *value = sum;
            }
        }
        let from = part.start.saturating_sub(start);
        let to = (part.end - start).min(length);
        each(&values[from..to]);
    }
    Ok(())
}

/// Which values are packed, and how.
struct Frame {
    least: i64,
    width: u8,
    divisor: u64,
}

fn put_packed(out: &mut Vec<u8>, values: &[i64]) {
    if values.is_empty() {
        return;
    }
    let frame = frame_of(values);
    let limit = u64::MAX
        .checked_shr(64 - u32::from(frame.width))
        .unwrap_or(0);
    let number = |value: i64| {
        let above = value.wrapping_sub(frame.least) as u64;
        let fits = above.is_multiple_of(frame.divisor) && above / frame.divisor <= limit;
        fits.then_some(above / frame.divisor)
    };
    let patches = values.iter().filter(|v| number(**v).is_none()).count();
    put_signed(out, frame.least);
    out.push(frame.width | if patches > 0 { PATCHED } else { 0 });
    if frame.width > 0 {
        put_varint(out, frame.divisor);
        let numbers = values.iter().map(|v| number(*v).unwrap_or_default());
        pack(numbers, frame.width, out);
    }
    if patches > 0 {
        put_varint(out, patches as u64);
        for (index, value) in values.iter().enumerate() {
            if number(*value).is_none() {
                out.push(index as u8);
                put_varint(out, zigzag(value.wrapping_sub(frame.least)));
            }
        }
    }
}

/// The frame that takes the fewest bytes. For each width, the best place is the one that the most
/// values fit into, which two fingers find in the sorted values.
fn frame_of(values: &[i64]) -> Frame {
    let mut sorted = [0i64; STRETCH];
    let sorted = &mut sorted[..values.len()];
    sorted.copy_from_slice(values);
    sorted.sort_unstable();
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    let common = divisor_of(sorted);
    let widest = width_of(last.wrapping_sub(first) as u64 / common);
    let mut best = (packed_bytes(values.len(), widest), first, widest);
    // Widths that leave out more than a quarter of the values do not pay.
    let least_inside = values.len() - values.len() / 4;
    for width in (0..widest).rev() {
        let limit = u64::MAX.checked_shr(64 - u32::from(width)).unwrap_or(0);
        let limit = limit.saturating_mul(common);
        let (mut from, mut most) = (0, (0, 0));
        for (to, value) in sorted.iter().enumerate() {
            while value.wrapping_sub(sorted[from]) as u64 > limit {
                from += 1;
            }
            if to + 1 - from > most.0 {
                most = (to + 1 - from, from);
            }
        }
        let (inside, at) = most;
        if inside < least_inside {
            break;
        }
        let outside = sorted[..at].iter().chain(&sorted[at + inside..]);
        let patches: usize = outside
            .map(|v| 1 + varint_bytes(zigzag(v.wrapping_sub(sorted[at]))))
            .sum();
        let bytes = packed_bytes(values.len(), width) + patches + 1;
        if bytes < best.0 {
            best = (bytes, sorted[at], width);
        }
    }
    let (_, least, width) = best;
    let limit = u64::MAX.checked_shr(64 - u32::from(width)).unwrap_or(0);
    let limit = limit.saturating_mul(common);
    let start = sorted.partition_point(|v| *v < least);
    let inside = &sorted[start..];
    let end = inside.partition_point(|v| v.wrapping_sub(least) as u64 <= limit);
    let divisor = divisor_of(&inside[..end]);
    let span = inside[end - 1].wrapping_sub(least) as u64;
    Frame {
        least,
        width: width_of(span / divisor),
        divisor,
    }
}

/// What the distances between sorted values have in common.
fn divisor_of(sorted: &[i64]) -> u64 {
    let mut divisor = 0;
    for pair in sorted.windows(2) {
        let (mut a, mut b) = (divisor, pair[1].wrapping_sub(pair[0]) as u64);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1)
}

fn varint_bytes(value: u64) -> usize {
    usize::from(width_of(value)).div_ceil(7).max(1)
}

fn take_packed(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Malformed> {
    if values.is_empty() {
        return Ok(());
    }
    let least = reader.signed()?;
    let byte = reader.u8()?;
    let width = byte & !PATCHED;
    if width == 0 {
        values.fill(least);
    } else {
        let divisor = reader.varint()?;
        unpack_into(reader, width, values)?;
        if divisor == 1 {
            for value in values.iter_mut() {
                *value = least.wrapping_add(*value);
            }
        } else {
            for value in values.iter_mut() {
                *value = least.wrapping_add(value.wrapping_mul(divisor as i64));
            }
        }
    }
    if byte & PATCHED != 0 {
        for _ in 0..reader.count(2)? {
            let index = usize::from(reader.u8()?);
            let value = least.wrapping_add(unzigzag(reader.varint()?));
            match values.get_mut(index) {
                Some(slot) => *slot = value,
                None => return Err(reader.fail("a patch beyond its stretch")),
            }
        }
    }
    Ok(())
}

fn skip_packed(reader: &mut Reader<'_>, count: usize) -> Result<(), Malformed> {
    if count == 0 {
        return Ok(());
    }
    reader.signed()?;
    let byte = reader.u8()?;
    let width = byte & !PATCHED;
    if width > 0 {
        reader.varint()?;
        reader.take(packed_bytes(count, width))?;
    }
    if byte & PATCHED != 0 {
        for _ in 0..reader.count(2)? {
            reader.u8()?;
            reader.varint()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[i64], part: Range<usize>) -> usize {
        let mut least = usize::MAX;
        for order in 0..ORDERS as u8 {
            let mut out = Vec::new();
            encode(values, order, &mut out);
            let mut reader = Reader::new(&out);
            let mut back = Vec::new();
            decode(&mut reader, order, values.len(), &part, |part| {
                back.extend_from_slice(part);
            })
            .expect("just encoded");
            assert_eq!(back, values[part.clone()], "order {order}");
            assert!(reader.is_at_end());
            least = least.min(out.len());
        }
        least
    }

    #[test]
    fn outliers_do_not_widen_the_rest() {
        let mut values: Vec<i64> = (0u32..256)
            .map(|i| 1000 + i64::from(i.wrapping_mul(2_654_435_761) >> 28))
            .collect();
        let calm = check(&values, 0..256);
        assert!((120..=135).contains(&calm), "{calm}");
        (values[17], values[201]) = (-5_000_000_000, 1 << 60);
        let patched = check(&values, 0..256);
        assert!(patched <= calm + 22, "{patched}");
    }

    #[test]
    fn counters_and_ramps_are_small() {
        let counter: Vec<i64> = (0..1000).map(|i| i * 4096 * 3 + i / 7 * 4096).collect();
        assert!(check(&counter, 10..990) < 180);
        let ramp: Vec<i64> = (0..1000).map(|i| i * i).collect();
        assert!(check(&ramp, 0..1000) < 40);
    }

    proptest! {
        #[test]
        fn integers_survive(
            values in prop::collection::vec(prop_oneof![
                3 => -9i64..9, 2 => (0i64..90).prop_map(|v| v * 4096), 1 => any::<i64>(),
                1 => Just(i64::MIN), 1 => Just(i64::MAX),
            ], 1..700),
            from in 0usize..700, length in 1usize..700,
        ) {
            let from = from.min(values.len() - 1);
            let to = (from + length).min(values.len());
            check(&values, from..to);
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), order in 0u8..4) {
            decode(&mut Reader::new(&bytes), order, 600, &(100..500), |_| {}).ok();
        }
    }
}
