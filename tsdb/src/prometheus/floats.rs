//! Chunks of floats: the encodings XOR and XOR2.

use barograph_model::STALE_NAN_BITS;

use super::bits::{BitReader, BitWriter, XorValue, reaches};
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

/// Start timestamps of a chunk: maybe one of the first sample, and from some sample on one each.
pub(super) struct Starts {
    first: bool,
    from: usize,
    start_ms: i64,
    /// Of the sample before: its predecessor's time less its start.
    distance: i64,
}

impl Starts {
    pub(super) fn read_header(reader: &mut BitReader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            first: reader.bit()?,
            from: reader.bits(7)? as usize,
            start_ms: 0,
            distance: 0,
        })
    }

    /// Reads what follows the sample `index`, at `timestamp_ms`, whose predecessor was at
    /// `before_ms`.
    pub(super) fn read(
        &mut self,
        reader: &mut BitReader<'_>,
        index: usize,
        timestamp_ms: i64,
        before_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), Malformed> {
        if !self.first && self.from == 0 {
            return Ok(());
        }
        if index == 0 {
            if self.first {
                self.start_ms = timestamp_ms.wrapping_sub(reader.varint()?);
            }
        } else if self.from > 0 && index >= self.from {
            let change = reader.varbit()?;
            self.distance = if index == self.from {
                change
            } else {
                self.distance.wrapping_add(change)
            };
            self.start_ms = before_ms.wrapping_sub(self.distance);
        }
        into.push(self.start_ms);
        Ok(())
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

#[cfg(test)]
mod tests {
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
}
