//! Chunks of floats: the encodings XOR and XOR2.

use barograph_model::STALE_NAN_BITS;

use super::bits::{BitReader, BitWriter, XorValue, reaches};
use super::starts::{Starts, StartsWriter};
use crate::bytes::Malformed;

/// Samples of a chunk of floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FloatSamples {
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// When the counter behind each sample began, 0 where unknown; empty where all are.
    pub(crate) starts_ms: Vec<i64>,
}

/// Decodes a chunk of the encoding XOR: Gorilla's timestamps and values.
pub(super) fn decode_xor(data: &[u8]) -> Result<FloatSamples, Malformed> {
    let mut reader = BitReader::new(data);
    let count = reader.bits(16)? as usize;
    // Two bits are the least a sample takes.
    let mut samples = FloatSamples::with_capacity(count.min(reader.left() / 2 + 1));
    if count == 0 {
        return Ok(samples);
    }
    let mut timestamp_ms = reader.varint()?;
    let mut value = XorValue::new(reader.float()?);
    samples.push(timestamp_ms, value.bits);
    let mut delta = 0i64;
    for index in 1..count {
        if index == 1 {
            delta = reader.uvarint()? as i64;
        } else {
            let change = match reader.ones(4)? {
                0 => 0,
                1 => reader.upward(14)?,
                2 => reader.upward(17)?,
                3 => reader.upward(20)?,
                _ => reader.bits(64)? as i64,
            };
            delta = delta.wrapping_add(change);
        }
        timestamp_ms = timestamp_ms.wrapping_add(delta);
        value.read(&mut reader)?;
        samples.push(timestamp_ms, value.bits);
    }
    Ok(samples)
}

/// Decodes a chunk of the encoding XOR2: one prefix for both fields, staleness markers apart from
/// the differences, and start timestamps where there are any.
pub(super) fn decode_xor2(data: &[u8]) -> Result<FloatSamples, Malformed> {
    let mut reader = BitReader::new(data);
    let count = reader.bits(16)? as usize;
    let mut starts = Starts::read_header(&mut reader)?;
    let mut samples = FloatSamples::with_capacity(count.min(reader.left() + 1));
    let mut timestamp_ms = 0;
    let mut delta = 0i64;
    let mut value = XorValue::new(0.0);
    for index in 0..count {
        let before_ms = timestamp_ms;
        let mut stale = false;
        match index {
            0 => {
                timestamp_ms = reader.varint()?;
                let bits = reader.bits(64)?;
                stale = bits == STALE_NAN_BITS;
                if !stale {
                    value.bits = bits;
                }
            }
            1 => {
                delta = reader.uvarint()? as i64;
                stale = read_value(&mut reader, &mut value)?;
            }
            _ => {
                let width = match reader.ones(5)? {
                    0 => None,
                    1 => {
                        if reader.bit()? {
                            value.read_window(&mut reader)?;
                        } else {
                            value.read_in_window(&mut reader)?;
                        }
                        None
                    }
                    2 => Some(13),
                    3 => Some(20),
                    4 => Some(64),
                    _ => {
                        stale = true;
                        None
                    }
                };
                if let Some(width) = width {
                    let shift = 64 - width;
                    let change = ((reader.bits(width)? << shift) as i64) >> shift;
                    delta = delta.wrapping_add(change);
                    stale = read_value(&mut reader, &mut value)?;
                }
            }
        }
        if index > 0 {
            timestamp_ms = timestamp_ms.wrapping_add(delta);
        }
        samples.push(
            timestamp_ms,
            if stale { STALE_NAN_BITS } else { value.bits },
        );
        starts.read(
            &mut reader,
            index,
            timestamp_ms,
            before_ms,
            &mut samples.starts_ms,
        )?;
    }
    Ok(samples)
}

/// A value behind a changed interval: `111` is a staleness marker, which leaves the last value.
fn read_value(reader: &mut BitReader<'_>, value: &mut XorValue) -> Result<bool, Malformed> {
    match reader.ones(3)? {
        0 => {}
        1 => value.read_in_window(reader)?,
        2 => value.read_window(reader)?,
        _ => return Ok(true),
    }
    Ok(false)
}

impl FloatSamples {
    fn with_capacity(count: usize) -> Self {
        Self {
            timestamps_ms: Vec::with_capacity(count),
            values: Vec::with_capacity(count),
            starts_ms: Vec::new(),
        }
    }

    fn push(&mut self, timestamp_ms: i64, bits: u64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(f64::from_bits(bits));
    }
}

/// Writes a chunk of the encoding XOR.
#[derive(Clone, Debug)]
pub(crate) struct XorEncoder {
    out: BitWriter,
    count: u16,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    delta: i64,
    value: XorValue,
}

impl XorEncoder {
    pub(crate) fn new() -> Self {
        Self {
            out: BitWriter::behind(&[0, 0]),
            count: 0,
            first_ms: 0,
            last_ms: 0,
            delta: 0,
            value: XorValue::new(0.0),
        }
    }

    /// How many samples it has.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Adds a sample; timestamps ascend.
    pub(crate) fn push(&mut self, timestamp_ms: i64, value: f64) {
        let delta = timestamp_ms.wrapping_sub(self.last_ms);
        match self.count {
            0 => {
                self.out.varint(timestamp_ms);
                self.out.float(value);
                self.value = XorValue::new(value);
                self.first_ms = timestamp_ms;
            }
            1 => {
                self.out.uvarint(delta as u64);
                self.delta = delta;
                self.value.write(&mut self.out, value);
            }
            _ => {
                let change = delta.wrapping_sub(self.delta);
                match change {
                    0 => self.out.bits(0, 1),
                    _ if reaches(change, 14) => self.put(0b10, 2, change, 14),
                    _ if reaches(change, 17) => self.put(0b110, 3, change, 17),
                    _ if reaches(change, 20) => self.put(0b1110, 4, change, 20),
                    _ => self.put(0b1111, 4, change, 64),
                }
                self.delta = delta;
                self.value.write(&mut self.out, value);
            }
        }
        self.last_ms = timestamp_ms;
        self.count += 1;
    }

    fn put(&mut self, prefix: u64, length: u32, change: i64, width: u32) {
        self.out.bits(prefix, length);
        self.out.bits(change as u64, width);
    }

    /// The chunk's data.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.bytes[..2].copy_from_slice(&self.count.to_be_bytes());
        self.out.bytes
    }
}

/// Writes a chunk of the encoding XOR2, for samples with start timestamps.
#[derive(Clone, Debug)]
pub(crate) struct Xor2Encoder {
    out: BitWriter,
    count: u16,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    delta: i64,
    value: XorValue,
    starts: StartsWriter,
}

impl Xor2Encoder {
    pub(crate) fn new() -> Self {
        Self {
            // The number of samples, and the header of the start timestamps.
            out: BitWriter::behind(&[0, 0, 0]),
            count: 0,
            first_ms: 0,
            last_ms: 0,
            delta: 0,
            value: XorValue::new(0.0),
            starts: StartsWriter::default(),
        }
    }

    /// How many samples it has.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Adds a sample; timestamps ascend. A start timestamp of 0 is not known.
    pub(crate) fn push(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        let delta = timestamp_ms.wrapping_sub(self.last_ms);
        match self.count {
            0 => {
                self.out.varint(timestamp_ms);
                self.out.float(value);
                if value.to_bits() != STALE_NAN_BITS {
                    self.value.bits = value.to_bits();
                }
                self.first_ms = timestamp_ms;
            }
            1 => {
                self.out.uvarint(delta as u64);
                self.put_value(value);
                self.delta = delta;
            }
            _ => {
                self.put(delta.wrapping_sub(self.delta), value);
                self.delta = delta;
            }
        }
        self.starts.write(
            &mut self.out,
            self.count.into(),
            timestamp_ms,
            self.last_ms,
            start_ms,
        );
        self.last_ms = timestamp_ms;
        self.count += 1;
    }

    /// One prefix for how much the interval changed and whether the value did.
    fn put(&mut self, change: i64, value: f64) {
        let fits = |width: u32| (-(1i64 << (width - 1))..1 << (width - 1)).contains(&change);
        let (prefix, length, width) = match change {
            0 if value.to_bits() == STALE_NAN_BITS => return self.out.bits(0b11111, 5),
            0 => {
                match self.value.go_to(value) {
                    None => self.out.bits(0, 1),
                    Some(difference) => {
                        self.out.bits(0b100 | u64::from(difference.new_window), 3);
                        self.value.write_difference(&mut self.out, difference);
                    }
                }
                return;
            }
            _ if fits(13) => (0b110, 3, 13),
            _ if fits(20) => (0b1110, 4, 20),
            _ => (0b11110, 5, 64),
        };
        self.out.bits(prefix, length);
        self.out.bits(change as u64, width);
        self.put_value(value);
    }

    /// A value behind a changed interval.
    fn put_value(&mut self, value: f64) {
        if value.to_bits() == STALE_NAN_BITS {
            return self.out.bits(0b111, 3);
        }
        match self.value.go_to(value) {
            None => self.out.bits(0, 1),
            Some(difference) if difference.new_window => {
                self.out.bits(0b110, 3);
                self.value.write_difference(&mut self.out, difference);
            }
            Some(difference) => {
                self.out.bits(0b10, 2);
                self.value.write_difference(&mut self.out, difference);
            }
        }
    }

    /// The chunk's data.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.bytes[..2].copy_from_slice(&self.count.to_be_bytes());
        self.out.bytes[2] = self.starts.header();
        self.out.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::starts::tests::start_patterns;
    use super::*;

    #[test]
    fn samples_survive_and_damage_is_no_panic() {
        let mut encoder = XorEncoder::new();
        let values = [
            1.0,
            1.0,
            2.5,
            f64::from_bits(STALE_NAN_BITS),
            -0.0,
            f64::NAN,
        ];
        let times = [5, 1005, 2005, 3006, 900_000, i64::MAX / 2];
        for (time, value) in times.into_iter().zip(values) {
            encoder.push(time, value);
        }
        let bytes = encoder.finish();
        let have = decode_xor(&bytes).expect("the chunk");
        assert_eq!(have.timestamps_ms, times);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&have.values), bits(&values));
        for at in 0..bytes.len() {
            for flip in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << flip;
                decode_xor(&damaged).ok();
                decode_xor2(&damaged).ok();
            }
            assert!(decode_xor(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn samples_with_start_timestamps_survive() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let values = [1.0, 1.0, 2.5, stale, 2.5, -0.0, 3.75, f64::NAN, 3.75, 1e300];
        for starts_ms in start_patterns(200) {
            for first in 0..4 {
                let mut encoder = Xor2Encoder::new();
                let (mut timestamps_ms, mut bits) = (Vec::new(), Vec::new());
                let mut t = -70_000;
                for (row, start_ms) in starts_ms.iter().enumerate() {
                    // Changes of every width, and none.
                    t += match row % 20 {
                        3 => 15_001,
                        7 => 15_000 - 4096,
                        9 => 15_000 + 4095,
                        11 => 15_000 + 4096,
                        13 => 900_000,
                        17 => 1 << 40,
                        _ => 15_000,
                    };
                    // Values change at every kind of interval.
                    let value = values[(first + row * 3 / 2) % values.len()];
                    encoder.push(t, value, *start_ms);
                    timestamps_ms.push(t);
                    bits.push(value.to_bits());
                }
                assert_eq!(encoder.len(), 200);
                let data = encoder.finish();
                let have = decode_xor2(&data).expect("the chunk");
                assert_eq!(have.timestamps_ms, timestamps_ms);
                let have_bits: Vec<u64> = have.values.iter().map(|v| v.to_bits()).collect();
                assert_eq!(have_bits, bits);
                assert_eq!(have.starts_ms, starts_ms);
                for at in 0..data.len() {
                    assert!(decode_xor2(&data[..at]).is_err());
                }
            }
        }
    }
}
