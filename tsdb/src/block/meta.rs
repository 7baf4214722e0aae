//! The `meta` file: what a block is, in one read.

use barograph_model::TimeRange;

use crate::bytes::{Malformed, Reader, checked_body};

const MAGIC: [u8; 8] = *b"BAROMET\n";
const VERSION: u32 = 1;
/// Size of the file of a block without parents.
const BYTES: usize = 8 + 4 + 4 + 13 * 8 + 4 + 4;
/// Most parents a block may name.
pub(crate) const PARENTS_LIMIT: usize = 4096;

/// What a block says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Tells blocks of one span apart.
    pub(crate) uid: u64,
    /// The span it was cut for; its end is exclusive.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Its oldest and newest sample.
    pub(crate) times: TimeRange,
    pub(crate) samples: u64,
    pub(crate) series: u64,
    pub(crate) pages: u64,
    pub(crate) data_bytes: u64,
    pub(crate) index_bytes: u64,
    /// Whether it holds some series only, and the head still has others of that time.
    pub(crate) part: bool,
    /// How often its samples were compacted; 1 from the head.
    pub(crate) level: u64,
    /// When it was made.
    pub(crate) made_ms: i64,
    /// The blocks it was made of, by `uid`: where one of them is still there, it is not read.
    pub(crate) parents: Vec<u64>,
}

/// Why a meta file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MetaError {
    Malformed(Malformed),
    Version(u32),
}

impl Meta {
    /// Of a block about to be written: its writer fills in what it counts.
    pub(crate) fn begun(uid: u64, start_ms: i64, end_ms: i64) -> Self {
        Self {
            uid,
            start_ms,
            end_ms,
            times: TimeRange::ALL,
            samples: 0,
            series: 0,
            pages: 0,
            data_bytes: 0,
            index_bytes: 0,
            part: false,
            level: 1,
            made_ms: 0,
            parents: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        for field in [
            self.uid,
            self.start_ms as u64,
            self.end_ms as u64,
            self.times.start_ms as u64,
            self.times.end_ms as u64,
            self.samples,
            self.series,
            self.pages,
            self.data_bytes,
            self.index_bytes,
            u64::from(self.part),
            self.level,
            self.made_ms as u64,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&(self.parents.len() as u32).to_le_bytes());
        for parent in &self.parents {
            out.extend_from_slice(&parent.to_le_bytes());
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        Self::read(bytes).unwrap_or_else(|error| Err(MetaError::Malformed(error)))
    }

    fn read(bytes: &[u8]) -> Result<Result<Self, MetaError>, Malformed> {
        // Whatever the version, the checksum of all that is before it comes last: damage does not
        // look like a later version.
        let mut reader = Reader::new(checked_body(bytes)?);
        if reader.take(8)? != MAGIC {
            return Err(Malformed {
                offset: 0,
                what: "not the meta file of a block",
            });
        }
        let version = reader.u32()?;
        if version != VERSION {
            return Ok(Err(MetaError::Version(version)));
        }
        reader.u32()?;
        let mut meta = Self {
            uid: reader.u64()?,
            start_ms: reader.i64()?,
            end_ms: reader.i64()?,
            times: TimeRange {
                start_ms: reader.i64()?,
                end_ms: reader.i64()?,
            },
            samples: reader.u64()?,
            series: reader.u64()?,
            pages: reader.u64()?,
            data_bytes: reader.u64()?,
            index_bytes: reader.u64()?,
            part: reader.u64()? != 0,
            level: reader.u64()?,
            made_ms: reader.i64()?,
            parents: Vec::new(),
        };
        let parents = reader.u32()? as usize;
        if parents > PARENTS_LIMIT {
            return Err(reader.fail("more parents than a block can have"));
        }
        for _ in 0..parents {
            meta.parents.push(reader.u64()?);
        }
        if !reader.is_at_end() {
            return Err(reader.fail("a meta file of another length"));
        }
        Ok(Ok(meta))
    }

    /// The name of its directory.
    pub(crate) fn directory_name(&self) -> String {
        format!("{}-{}-{:016x}", self.start_ms, self.end_ms, self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_notices_damage() {
        let meta = Meta {
            uid: 7,
            start_ms: -5,
            end_ms: 7_200_000,
            times: TimeRange {
                start_ms: -5,
                end_ms: 7_199_999,
            },
            samples: 1,
            series: 2,
            pages: 3,
            data_bytes: 4,
            index_bytes: 5,
            part: true,
            level: 1,
            made_ms: 6,
            parents: vec![8, 9],
        };
        let bytes = meta.encode();
        assert_eq!(bytes.len(), BYTES + 16);
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Meta::decode(&damaged).is_err());
            assert!(Meta::decode(&bytes[..at]).is_err());
        }
        let mut newer = bytes;
        newer[8] = 2;
        let body = newer.len() - 4;
        let sum = crc32c::crc32c(&newer[..body]);
        newer[body..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Meta::decode(&newer), Err(MetaError::Version(2)));
    }
}
