//! Segments of Prometheus's write-ahead log: records cut into pieces, compressed or not.

use std::borrow::Cow;

use super::be32;
use crate::bytes::{Malformed, Reader};

/// Records are cut into pieces that do not reach over a page.
const PAGE_BYTES: usize = 32 * 1024;
const PIECE_HEADER_BYTES: usize = 7;
const KIND_MASK: u8 = 0b111;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;
/// Largest record after decompression: far beyond what Prometheus writes.
const RECORD_LIMIT_BYTES: usize = 512 << 20;

/// Calls `record` with every intact record of a segment, and `damage` with the offset of each place
/// that cannot be read and what is wrong there; what follows on the next page is read. A segment
/// that was being written when its writer ended may stop anywhere: `last` says that this is one.
pub(super) fn read_segment(
    bytes: &[u8],
    last: bool,
    mut record: impl FnMut(&[u8]) -> Result<(), Malformed>,
    mut damage: impl FnMut(usize, &'static str),
) {
    let mut pieces = Vec::new();
    let mut begun = false;
    // Whether damage was reported since the last piece that was as expected.
    let mut told = false;
    let mut at = 0;
    while at < bytes.len() {
        let in_page = PAGE_BYTES - at % PAGE_BYTES;
        let page = &bytes[at..bytes.len().min(at + in_page)];
        if page[0] & KIND_MASK == 0 {
            // Nothing more on this page.
            if page.iter().any(|byte| *byte != 0) {
                damage(at, "padding that is not zero");
                (begun, told) = (false, true);
            }
            at += in_page;
            continue;
        }
        let piece = match read_piece(page) {
            Ok(piece) => piece,
            Err(what) => {
                // A torn end of the last segment is no damage.
                if !(last && at + in_page >= bytes.len()) {
                    damage(at, what);
                }
                (begun, told) = (false, true);
                at += in_page;
                continue;
            }
        };
        let (flags, content) = piece;
        if begun && matches!(flags & KIND_MASK, 1 | 2) {
            damage(at, "a record before which another has no end");
        }
        let done = match flags & KIND_MASK {
            1 => {
                pieces.clear();
                true
            }
            2 => {
                pieces.clear();
                begun = true;
                false
            }
            3 if begun => false,
            4 if begun => true,
            _ => {
                if !told {
                    damage(at, "a record without its beginning");
                    told = true;
                }
                begun = false;
                at += PIECE_HEADER_BYTES + content.len();
                continue;
            }
        };
        told = false;
        pieces.extend_from_slice(content);
        if done {
            begun = false;
            let read = decompress(flags, &pieces)
                .ok_or("a record that cannot be decompressed")
                .and_then(|bytes| record(&bytes).map_err(|error| error.what));
            if let Err(what) = read {
                damage(at, what);
            }
            pieces.clear();
        }
        at += PIECE_HEADER_BYTES + content.len();
    }
    if begun && !last {
        damage(at, "a record without its end");
    }
}

fn read_piece(page: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    let mut reader = Reader::new(page);
    let mut read = || {
        let flags = reader.u8()?;
        let length = reader.take(2)?;
        let length = u16::from_be_bytes([length[0], length[1]]) as usize;
        let sum = be32(&mut reader)?;
        let content = reader.take(length)?;
        if crc32c::crc32c(content) != sum {
            return Err(reader.fail("a record whose checksum does not fit"));
        }
        Ok((flags, content))
    };
    read().map_err(|error: Malformed| error.what)
}

fn decompress(flags: u8, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    if flags & SNAPPY != 0 {
        let length = snap::raw::decompress_len(bytes).ok()?;
        if length > RECORD_LIMIT_BYTES {
            return None;
        }
        let decoded = snap::raw::Decoder::new().decompress_vec(bytes).ok()?;
        return Some(decoded.into());
    }
    if flags & ZSTD != 0 {
        use std::io::Read as _;
        let mut decoded = Vec::new();
        let stream = ruzstd::decoding::StreamingDecoder::new(bytes).ok()?;
        let mut limited = stream.take(RECORD_LIMIT_BYTES as u64 + 1);
        limited.read_to_end(&mut decoded).ok()?;
        return (decoded.len() <= RECORD_LIMIT_BYTES).then(|| decoded.into());
    }
    Some(bytes.into())
}
