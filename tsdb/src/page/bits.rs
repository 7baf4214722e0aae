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

/// Calls `each` with `count` values of `width` bits.
#[inline]
pub(crate) fn unpack(
    reader: &mut Reader<'_>,
    count: usize,
    width: u8,
    mut each: impl FnMut(u64),
) -> Result<(), Malformed> {
    if width > 64 {
        return Err(reader.fail("more than 64 bits per value"));
    }
    let bytes = reader.take(packed_bytes(count, width))?;
    if width == 0 {
        (0..count).for_each(|_| each(0));
        return Ok(());
    }
    let mask = u64::MAX >> (64 - width);
    let mut at = 0usize;
    // Whole loads while eight bytes are left, narrow enough for one load to hold a value.
    let mut index = 0;
    if width <= 56 {
        while index < count {
            let start = at / 8;
            let Some(word) = bytes.get(start..start + 8) else {
                break;
            };
            let mut array = [0; 8];
            array.copy_from_slice(word);
            each(u64::from_le_bytes(array) >> (at % 8) & mask);
            at += usize::from(width);
            index += 1;
        }
    }
    for _ in index..count {
        let start = at / 8;
        let mut array = [0; 16];
        let rest = &bytes[start..bytes.len().min(start + 16)];
        array[..rest.len()].copy_from_slice(rest);
        each((u128::from_le_bytes(array) >> (at % 8)) as u64 & mask);
        at += usize::from(width);
    }
    Ok(())
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
            let mut back = Vec::new();
            unpack(&mut Reader::new(&out), values.len(), width, |v| back.push(v)).expect("just packed");
            prop_assert_eq!(back, values);
        }
    }
}
