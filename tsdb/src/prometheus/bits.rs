//! Bit streams as Prometheus's chunks use them: most significant bit first, with its variable-width
//! integers and XOR-coded floats.

use crate::bytes::{Malformed, unzigzag, zigzag};

/// Widths behind the prefixes `10`, `110` … of a variable-width integer; eight ones stand before 64.
const WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];
/// Says that no XOR window was written yet.
const NO_WINDOW: u32 = 0xff;

/// Reads bits; every read is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(super) fn fail(&self, what: &'static str) -> Malformed {
        Malformed {
            offset: self.at / 8,
            what,
        }
    }

    /// The next bits, the first of them on top; at least 57 are valid, or all that are left.
    #[inline]
    fn peek(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(bytes) => {
                let mut word = [0; 8];
                word.copy_from_slice(bytes);
                u64::from_be_bytes(word)
            }
            None => self.peek_end(byte),
        };
        word << (self.at % 8)
    }

    #[cold]
    fn peek_end(&self, byte: usize) -> u64 {
        let mut word = [0; 8];
        let rest = &self.bytes[byte.min(self.bytes.len())..];
        let length = rest.len().min(8);
        word[..length].copy_from_slice(&rest[..length]);
        u64::from_be_bytes(word)
    }

    /// The next `count` bits, at most 64.
    #[inline]
    pub(super) fn bits(&mut self, count: u32) -> Result<u64, Malformed> {
        if count as usize > self.left() {
            return Err(self.fail("ends too early"));
        }
        if count == 0 {
            return Ok(0);
        }
        if count > 57 {
            let high = self.bits(32)?;
            return Ok(high << (count - 32) | self.bits(count - 32)?);
        }
        let value = self.peek() >> (64 - count);
        self.at += count as usize;
        Ok(value)
    }

    #[inline]
    pub(super) fn bit(&mut self) -> Result<bool, Malformed> {
        Ok(self.bits(1)? == 1)
    }

    /// How many ones come before a zero, which is read too; at most `limit` ones are read.
    #[inline]
    pub(super) fn ones(&mut self, limit: u32) -> Result<u32, Malformed> {
        let ones = self.peek().leading_ones().min(limit);
        let read = ones + u32::from(ones < limit);
        self.bits(read)?;
        Ok(ones)
    }

    pub(super) fn float(&mut self) -> Result<f64, Malformed> {
        self.bits(64).map(f64::from_bits)
    }

    /// An unsigned integer of seven bits a byte, least significant first.
    pub(super) fn uvarint(&mut self) -> Result<u64, Malformed> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.bits(8)?;
            if shift == 63 && byte > 1 {
                return Err(self.fail("integer beyond 64 bits"));
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// The same with its sign in bit 0.
    pub(super) fn varint(&mut self) -> Result<i64, Malformed> {
        self.uvarint().map(unzigzag)
    }

    /// An integer of `width` bits whose range is one further up than down.
    #[inline]
    pub(super) fn upward(&mut self, width: u32) -> Result<i64, Malformed> {
        let bits = self.bits(width)?;
        if width < 64 && bits > 1 << (width - 1) {
            return Ok(bits.wrapping_sub(1 << width) as i64);
        }
        Ok(bits as i64)
    }

    /// A signed integer of variable width.
    #[inline]
    pub(super) fn varbit(&mut self) -> Result<i64, Malformed> {
        match self.ones(8)? {
            0 => Ok(0),
            8 => self.bits(64).map(|bits| bits as i64),
            ones => self.upward(WIDTHS[ones as usize - 1]),
        }
    }

    /// An unsigned integer of variable width.
    #[inline]
    pub(super) fn varbit_unsigned(&mut self) -> Result<u64, Malformed> {
        match self.ones(8)? {
            0 => Ok(0),
            8 => self.bits(64),
            ones => self.bits(WIDTHS[ones as usize - 1]),
        }
    }
}

/// Writes bits.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    pub(super) bytes: Vec<u8>,
    /// Bits still free in the last byte.
    free: u32,
}

impl BitWriter {
    /// A stream behind a header of whole bytes.
    pub(super) fn behind(header: &[u8]) -> Self {
        Self {
            bytes: header.to_vec(),
            free: 0,
        }
    }

    /// Appends the lowest `count` bits of `value`.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let piece = (value >> (left - taken)) & ((1 << taken) - 1);
            self.free -= taken;
            left -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece as u8) << self.free;
            }
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(zigzag(value));
    }

    /// A signed integer of variable width.
    pub(super) fn varbit(&mut self, value: i64) {
        let width = WIDTHS.iter().position(|width| reaches(value, *width));
        self.prefixed(value as u64, width);
    }

    /// An unsigned integer of variable width.
    pub(super) fn varbit_unsigned(&mut self, value: u64) {
        let width = WIDTHS.iter().position(|width| value >> *width == 0);
        self.prefixed(value, width);
    }

    fn prefixed(&mut self, value: u64, width: Option<usize>) {
        match width {
            _ if value == 0 => self.bits(0, 1),
            None => {
                self.bits(0xff, 8);
                self.bits(value, 64);
            }
            Some(at) => {
                let ones = at as u32 + 1;
                self.bits(((1 << ones) - 1) << 1, ones + 1);
                self.bits(value, WIDTHS[at]);
            }
        }
    }
}

/// Whether an integer fits `width` bits whose range is one further up than down.
pub(super) fn reaches(value: i64, width: u32) -> bool {
    let top = 1i64 << (width - 1);
    -(top - 1) <= value && value <= top
}

/// A float coded by its difference to the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct XorValue {
    /// The bits of the last value.
    pub(super) bits: u64,
    leading: u32,
    trailing: u32,
}

impl XorValue {
    /// Beginning with a value that was written in full.
    pub(super) fn new(value: f64) -> Self {
        Self {
            bits: value.to_bits(),
            leading: NO_WINDOW,
            trailing: 0,
        }
    }

    /// Reads the next value: `0` it is the same, `10` its difference is in the window, `11` in a
    /// new window.
    #[inline]
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Malformed> {
        match reader.ones(2)? {
            0 => Ok(()),
            1 => self.read_in_window(reader),
            _ => self.read_window(reader),
        }
    }

    /// Reads a difference inside the window.
    #[inline]
    pub(super) fn read_in_window(&mut self, reader: &mut BitReader<'_>) -> Result<(), Malformed> {
        let leading = if self.leading == NO_WINDOW {
            0
        } else {
            self.leading
        };
        let difference = reader.bits(64 - leading - self.trailing)?;
        self.bits ^= difference << self.trailing;
        Ok(())
    }

    /// Reads a window and a difference inside it.
    pub(super) fn read_window(&mut self, reader: &mut BitReader<'_>) -> Result<(), Malformed> {
        let (leading, width) = (reader.bits(5)? as u32, reader.bits(6)? as u32);
        // 64 does not fit its six bits.
        let width = if width == 0 { 64 } else { width };
        if leading + width > 64 {
            return Err(reader.fail("a value wider than 64 bits"));
        }
        (self.leading, self.trailing) = (leading, 64 - leading - width);
        self.read_in_window(reader)
    }

    /// Writes the next value.
    pub(super) fn write(&mut self, writer: &mut BitWriter, value: f64) {
        match self.go_to(value) {
            None => writer.bits(0, 1),
            Some(difference) => {
                writer.bits(0b10 | u64::from(difference.new_window), 2);
                self.write_difference(writer, difference);
            }
        }
    }

    /// The difference to the next value, which is the last one now; `None` if it is the same.
    pub(super) fn go_to(&mut self, value: f64) -> Option<Difference> {
        let bits = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        if bits == 0 {
            return None;
        }
        let leading = bits.leading_zeros().min(31);
        let trailing = bits.trailing_zeros();
        let new_window =
            self.leading == NO_WINDOW || leading < self.leading || trailing < self.trailing;
        if new_window {
            (self.leading, self.trailing) = (leading, trailing);
        }
        Some(Difference { bits, new_window })
    }

    /// Writes a difference, and the window before it where it is a new one.
    pub(super) fn write_difference(&self, writer: &mut BitWriter, difference: Difference) {
        let width = 64 - self.leading - self.trailing;
        if difference.new_window {
            writer.bits(u64::from(self.leading), 5);
            writer.bits(u64::from(width & 63), 6);
        }
        writer.bits(difference.bits >> self.trailing, width);
    }
}

/// How a value differs from the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    bits: u64,
    /// Whether it does not fit the window that was there.
    pub(super) new_window: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_survive() {
        let integers = [
            0,
            1,
            -1,
            4,
            5,
            -3,
            -4,
            32,
            33,
            -31,
            -32,
            256,
            257,
            2048,
            2049,
            131_072,
            131_073,
            1 << 24,
            (1 << 24) + 1,
            1 << 55,
            (1 << 55) + 1,
            i64::MAX,
            i64::MIN,
        ];
        let floats = [0.0, -0.0, 1.5, 1.5, f64::NAN, f64::MAX, 1e-300, -7.25];
        let mut writer = BitWriter::default();
        let mut state = XorValue::new(3.0);
        for value in integers {
            writer.varbit(value);
            writer.varbit_unsigned(value as u64);
            writer.varint(value);
        }
        for value in floats {
            state.write(&mut writer, value);
        }
        let mut reader = BitReader::new(&writer.bytes);
        for value in integers {
            assert_eq!(reader.varbit(), Ok(value));
            assert_eq!(reader.varbit_unsigned(), Ok(value as u64));
            assert_eq!(reader.varint(), Ok(value));
        }
        let mut state = XorValue::new(3.0);
        for value in floats {
            state.read(&mut reader).expect("a value");
            assert_eq!(state.bits, value.to_bits());
        }
        assert!(reader.left() < 8);
        assert!(reader.bits(8).is_err());
    }
}
