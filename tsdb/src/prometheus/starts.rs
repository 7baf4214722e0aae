//! Start timestamps in chunks: maybe one of the first sample, and from some sample on one each.

use super::bits::{BitReader, BitWriter};
use crate::bytes::Malformed;

/// Says in a header that the first sample has a start timestamp.
const FIRST: u8 = 0x80;
/// Greatest number of a sample from which on each has one: what is left of a header's bits.
const FROM_LIMIT: usize = 0x7f;

/// Start timestamps of a chunk as they are read.
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

/// Start timestamps of a chunk as they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct StartsWriter {
    header: u8,
    start_ms: i64,
    distance: i64,
}

impl StartsWriter {
    /// Writes what follows the sample `index`, at `timestamp_ms`, whose predecessor was at
    /// `before_ms`; 0 says that its start is not known.
    pub(super) fn write(
        &mut self,
        out: &mut BitWriter,
        index: usize,
        timestamp_ms: i64,
        before_ms: i64,
        start_ms: i64,
    ) {
        if index == 0 {
            if start_ms != 0 {
                out.varint(timestamp_ms.wrapping_sub(start_ms));
                self.header = FIRST;
            }
        } else if self.header & !FIRST != 0 {
            let distance = before_ms.wrapping_sub(start_ms);
            out.varbit(distance.wrapping_sub(self.distance));
            self.distance = distance;
        } else if start_ms != self.start_ms || index == FROM_LIMIT {
            self.distance = before_ms.wrapping_sub(start_ms);
            out.varbit(self.distance);
            self.header |= index as u8;
        }
        self.start_ms = start_ms;
    }

    /// What says in the chunk's header which samples have one.
    pub(super) fn header(&self) -> u8 {
        self.header
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Start timestamps of samples, the first of which has one: that of all, one of its own at
    /// times, for some none, early and late changes.
    pub(in super::super) fn start_patterns(count: usize) -> Vec<Vec<i64>> {
        let each = |start: fn(i64) -> i64| (0..count as i64).map(start).collect();
        vec![
            each(|_| 999_000),
            each(|row| 999_000 + row / 50 * 700_000),
            each(|row| 1_000_000 + 15_000 * row),
            each(|row| if row % 7 == 3 { 0 } else { -5_000 }),
            each(|row| if row == 1 { 17 } else { 16 }),
            each(|row| if row > 150 { 1 << 55 } else { i64::MAX / 3 }),
            each(|row| i64::from(row == 0)),
        ]
    }
}
