//! The header of segments, checkpoints and head files: written twice, in two pages of the file.
//!
//! Without the salt no frame can be told from damage, so one bad sector must not take it.

use crate::bytes::{Malformed, Reader};

/// Size of the header: a copy, zeros to the end of the first page, the other copy.
pub(crate) const HEADER_BYTES: usize = SECOND_COPY_AT + COPY_BYTES;
/// Where the second copy begins: in another sector and page than the first.
const SECOND_COPY_AT: usize = 4096;
const COPY_BYTES: usize = 32;
/// What the checksum covers: magic, version, salt, number.
const CHECKED_BYTES: usize = 24;

const MAGIC_BYTES: usize = 8;
const VERSION_BYTES: usize = 4;

/// Why a file cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Both copies are damaged.
    Damaged,
    /// The file is of a later version.
    Version(u32),
}

/// The bytes of a header.
pub(crate) fn write(magic: [u8; 8], version: u32, salt: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&salt.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.resize(SECOND_COPY_AT, 0);
    bytes.extend_from_within(..COPY_BYTES);
    bytes
}

/// The salt of a file, from whichever copy is intact.
pub(crate) fn read(bytes: &[u8], magic: [u8; 8], version: u32) -> Result<u32, HeaderError> {
    match read_copy(bytes, magic, version) {
        Err(HeaderError::Damaged) => {
            let second = bytes.get(SECOND_COPY_AT..).unwrap_or_default();
            read_copy(second, magic, version)
        }
        read => read,
    }
}

/// What a header should be, by whichever copy is intact.
pub(crate) fn whole(bytes: &[u8], magic: [u8; 8], version: u32) -> Option<Vec<u8>> {
    let copies = [bytes, bytes.get(SECOND_COPY_AT..).unwrap_or_default()];
    let intact = copies
        .into_iter()
        .find(|copy| read_copy(copy, magic, version).is_ok())?;
    let mut reader = Reader::new(intact);
    reader.take(MAGIC_BYTES + VERSION_BYTES).ok()?;
    let (salt, number) = (reader.u32().ok()?, reader.u64().ok()?);
    Some(write(magic, version, salt, number))
}

fn read_copy(bytes: &[u8], magic: [u8; 8], version: u32) -> Result<u32, HeaderError> {
    let damaged = |_: Malformed| HeaderError::Damaged;
    let mut reader = Reader::new(bytes);
    let has_magic = reader.take(8).map_err(damaged)? == magic;
    let have = reader.u32().map_err(damaged)?;
    let salt = reader.u32().map_err(damaged)?;
    reader.u64().map_err(damaged)?;
    let sum = reader.u32().map_err(damaged)?;
    if !has_magic || sum != crc32c::crc32c(&bytes[..CHECKED_BYTES]) {
        return Err(HeaderError::Damaged);
    }
    if have != version {
        return Err(HeaderError::Version(have));
    }
    Ok(salt)
}

/// A number nobody can foresee, for checksums.
pub(crate) fn new_salt() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_copy_serves_and_a_later_version_is_named() {
        let magic = *b"MAGICAL\n";
        let bytes = write(magic, 1, 77, 5);
        assert_eq!(bytes.len(), HEADER_BYTES);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged, magic, 1), Ok(77), "byte {at}");
        }
        let mut damaged = bytes.clone();
        damaged[9] ^= 1;
        damaged[SECOND_COPY_AT + 9] ^= 1;
        assert_eq!(read(&damaged, magic, 1), Err(HeaderError::Damaged));
        assert_eq!(read(&bytes[..20], magic, 1), Err(HeaderError::Damaged));
        let later = write(magic, 7, 77, 5);
        assert_eq!(read(&later, magic, 1), Err(HeaderError::Version(7)));
    }
}
