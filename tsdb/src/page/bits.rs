//! Integers of a fixed number of bits, packed without gaps, least significant bit first.

use crate::bytes::{Malformed, Reader};

/// Bits that hold every value up to `greatest`.
pub(crate) fn width_of(greatest: u64) -> u8 {
    (64 - greatest.leading_zeros()) as u8
}

/// Bytes that `count` values of `width` bits take.
pub(crate) fn packed_bytes(count: usize, width: u8) -> usize {
    (count * usize::from(width)).div_ceil(8)
}

/// Appends values packed to `width` bits.
pub(crate) fn pack(values: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut held, mut filled) = (0u128, 0u32);
    for value in values {
        held |= u128::from(value) << filled;
        filled += u32::from(width);
        while filled >= 8 {
            out.push(held as u8);
            held >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(held as u8);
    }
}

/// Values unpacked at once.
const GROUP: usize = 8;
/// Widths up to this fit one load of eight bytes wherever they begin in a byte.
const LOAD_LIMIT: u8 = 57;

/// Fills `values` with values of `width` bits.
pub(crate) fn unpack_into(
    reader: &mut Reader<'_>,
    width: u8,
    values: &mut [i64],
) -> Result<(), Malformed> {
    if width > 64 {
        return Err(reader.fail("more than 64 bits per value"));
    }
    let bytes = reader.take(packed_bytes(values.len(), width))?;
    if width == 0 {
        values.fill(0);
        return Ok(());
    }
    if width > LOAD_LIMIT {
        unpack_wide(bytes, width, values);
        return Ok(());
    }
    let step = usize::from(width);
    // A group takes `width` bytes and reads up to eight further ones; the last groups get theirs
    // from a copy.
    let done = unpack_groups(bytes, width, values);
    let mut at = done / GROUP * step;
    for group in values[done..].chunks_mut(GROUP) {
        let Some(window) = bytes.get(at..at + step + 8) else {
            let mut copy = [0; LOAD_LIMIT as usize + 8];
            let left = &bytes[at.min(bytes.len())..];
            let left = &left[..left.len().min(step)];
            copy[..left.len()].copy_from_slice(left);
            unpack_group(&copy, width, group);
            at += step;
            continue;
        };
        unpack_group(window, width, group);
        at += step;
    }
    Ok(())
}

/// Unpacks whole groups that have eight bytes behind them; tells how many values that were.
fn unpack_groups(bytes: &[u8], width: u8, values: &mut [i64]) -> usize {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_groups_of::<$width>(bytes, values),)*
                _ => 0,
            }
        };
    }
    // Those of most pages; others are unpacked group by group.
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24)
}

/// The same for one width: where values begin is known when this is compiled.
fn unpack_groups_of<const WIDTH: usize>(bytes: &[u8], values: &mut [i64]) -> usize {
    let mask = u64::MAX >> (64 - WIDTH);
    let (mut at, mut done) = (0, 0);
    for group in values.chunks_exact_mut(GROUP) {
        let Some(window) = bytes.get(at..at + WIDTH + 8) else {
            break;
        };
        for (index, value) in group.iter_mut().enumerate() {
            let bit = index * WIDTH;
            let mut word = [0; 8];
            word.copy_from_slice(&window[bit / 8..bit / 8 + 8]);
            *value = (u64::from_le_bytes(word) >> (bit % 8) & mask) as i64;
        }
        at += WIDTH;
        done += GROUP;
    }
    done
}

/// Unpacks up to eight values from the beginning of `window`, which goes on for eight bytes after
/// them.
#[inline]
fn unpack_group(window: &[u8], width: u8, values: &mut [i64]) {
    let mask = u64::MAX >> (64 - width);
    let mut bit = 0;
    for value in values {
        let start = bit / 8;
        let mut word = [0; 8];
        word.copy_from_slice(&window[start..start + 8]);
        *value = (u64::from_le_bytes(word) >> (bit % 8) & mask) as i64;
        bit += usize::from(width);
    }
}

fn unpack_wide(bytes: &[u8], width: u8, values: &mut [i64]) {
    let mask = u64::MAX >> (64 - width);
    let mut bit = 0;
    for value in values {
        let start = bit / 8;
        let mut word = [0; 16];
        let rest = &bytes[start..bytes.len().min(start + 16)];
        word[..rest.len()].copy_from_slice(rest);
        *value = ((u128::from_le_bytes(word) >> (bit % 8)) as u64 & mask) as i64;
        bit += usize::from(width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_values_survive(values in prop::collection::vec(any::<u64>(), 0..300), width in 0u8..=64) {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let values: Vec<u64> = values.iter().map(|v| v & mask).collect();
            let mut out = Vec::new();
            pack(values.iter().copied(), width, &mut out);
            prop_assert_eq!(out.len(), packed_bytes(values.len(), width));
            let mut back = vec![1; values.len()];
            unpack_into(&mut Reader::new(&out), width, &mut back).expect("just packed");
            let back: Vec<u64> = back.into_iter().map(|v| v as u64).collect();
            prop_assert_eq!(back, values);
        }
    }
}
