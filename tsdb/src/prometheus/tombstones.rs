//! A block's tombstones: stretches of series that were deleted.

use std::collections::HashMap;

use super::be32;
use crate::bytes::{Malformed, Reader};

const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;

/// Deleted stretches, both ends inclusive, by the reference of the series.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    by_series: HashMap<u64, Vec<(i64, i64)>>,
}

impl Tombstones {
    /// Reads the file `tombstones`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if be32(&mut reader)? != MAGIC {
            return Err(reader.fail("not a tombstones file of Prometheus"));
        }
        if reader.u8()? != VERSION {
            return Err(reader.fail("a tombstones file of an unknown version"));
        }
        let Some(end) = bytes.len().checked_sub(4).filter(|end| *end >= 5) else {
            return Err(reader.fail("ends too early"));
        };
        let sum = be32(&mut Reader::new(&bytes[end..]))?;
        if crc32c::crc32c(&bytes[5..end]) != sum {
            return Err(reader.fail("tombstones whose checksum does not fit"));
        }
        let mut reader = Reader::new(&bytes[..end]);
        reader.take(5)?;
        let mut tombstones = Self::default();
        while !reader.is_at_end() {
            let (series, from_ms, to_ms) = (reader.varint()?, reader.signed()?, reader.signed()?);
            tombstones
                .by_series
                .entry(series)
                .or_default()
                .push((from_ms, to_ms));
        }
        Ok(tombstones)
    }

    /// An empty file.
    pub(super) fn encode_none() -> Vec<u8> {
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&crc32c::crc32c(&[]).to_be_bytes());
        bytes
    }

    /// What of a series is deleted.
    pub(super) fn of(&self, series: u64) -> &[(i64, i64)] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// How many stretches.
    pub(super) fn len(&self) -> usize {
        self.by_series.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::{put_signed, put_varint};

    #[test]
    fn stretches_are_read_and_damage_is_noticed() {
        let mut body = Vec::new();
        for (series, from, to) in [(3u64, -5i64, 7i64), (3, 100, 200), (9, i64::MIN, i64::MAX)] {
            put_varint(&mut body, series);
            put_signed(&mut body, from);
            put_signed(&mut body, to);
        }
        let mut bytes = Tombstones::encode_none();
        assert_eq!(Tombstones::decode(&bytes).expect("none").len(), 0);
        bytes.truncate(5);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        let have = Tombstones::decode(&bytes).expect("the file");
        assert_eq!(have.of(3), [(-5, 7), (100, 200)]);
        assert_eq!(have.of(9), [(i64::MIN, i64::MAX)]);
        assert!(have.of(1).is_empty());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Tombstones::decode(&damaged).is_err(), "byte {at}");
            assert!(Tombstones::decode(&bytes[..at]).is_err());
        }
    }
}
