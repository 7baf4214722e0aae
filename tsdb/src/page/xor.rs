//! True floats: each value XORed with the one before, as in Facebook's Gorilla (VLDB 2015).
//!
//! Bits, most significant first: `0` repeats the value; `10` reuses the last window of meaningful
//! bits; `11` gives a new one (5 bits of leading zeros, 6 bits of length − 1).

use crate::bytes::{Malformed, Reader};

/// Appends the values.
pub(crate) fn encode(values: &[u64], out: &mut Vec<u8>) {
    let mut bits = BitWriter {
        out,
        held: 0,
        filled: 0,
    };
    let mut last = 0u64;
    let (mut window_lead, mut window_length) = (0u32, 0u32);
    for value in values {
        let xor = value ^ last;
        last = *value;
        if xor == 0 {
            bits.put(0, 1);
            continue;
        }
        let lead = xor.leading_zeros().min(31);
        let trail = xor.trailing_zeros();
        let fits =
            window_length > 0 && lead >= window_lead && trail >= 64 - window_lead - window_length;
        if fits {
            bits.put(0b10, 2);
        } else {
            (window_lead, window_length) = (lead, 64 - lead - trail);
            bits.put(0b11, 2);
            bits.put(u64::from(window_lead), 5);
            bits.put(u64::from(window_length - 1), 6);
        }
        bits.put(xor >> (64 - window_lead - window_length), window_length);
    }
    bits.finish();
}

/// Calls `each` with the first `count` values.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    count: usize,
    mut each: impl FnMut(u64),
) -> Result<(), Malformed> {
    let mut bits = BitReader {
        reader,
        held: 0,
        filled: 0,
    };
    let mut last = 0u64;
    let (mut window_lead, mut window_length) = (0u32, 0u32);
    for _ in 0..count {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                window_lead = bits.take(5)? as u32;
                window_length = bits.take(6)? as u32 + 1;
            }
            if window_length == 0 || window_lead + window_length > 64 {
                return Err(bits.reader.fail("a window beyond 64 bits"));
            }
            last ^= bits.take(window_length)? << (64 - window_lead - window_length);
        }
        each(last);
    }
    Ok(())
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u128,
    filled: u32,
}

impl BitWriter<'_> {
    fn put(&mut self, value: u64, width: u32) {
        self.held = self.held << width | u128::from(value);
        self.filled += width;
        while self.filled >= 8 {
            self.filled -= 8;
            self.out.push((self.held >> self.filled) as u8);
        }
        self.held &= (1 << self.filled) - 1;
    }

    fn finish(&mut self) {
        if self.filled > 0 {
            self.put(0, 8 - self.filled);
        }
    }
}

struct BitReader<'a, 'b> {
    reader: &'a mut Reader<'b>,
    held: u128,
    filled: u32,
}

impl BitReader<'_, '_> {
    fn take(&mut self, width: u32) -> Result<u64, Malformed> {
        while self.filled < width {
            self.held = self.held << 8 | u128::from(self.reader.u8()?);
            self.filled += 8;
        }
        self.filled -= width;
        let value = (self.held >> self.filled) as u64;
        self.held &= (1 << self.filled) - 1;
        Ok(if width == 64 {
            value
        } else {
            value & ((1 << width) - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_survive(values in prop::collection::vec(
            prop_oneof![any::<u64>(), Just(0), any::<f32>().prop_map(|f| f64::from(f).to_bits())], 0..100,
        )) {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            encode(&values, &mut out);
            decode(&mut Reader::new(&out), values.len(), |v| back.push(v)).expect("just encoded");
            prop_assert_eq!(back, values);
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            decode(&mut Reader::new(&bytes), 100, |_| {}).ok();
        }
    }
}
