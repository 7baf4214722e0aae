//! Reading a segment or checkpoint: every intact record, whatever lies between.

use crate::bytes::Reader;
use crate::wal::header::{self, HEADER_BYTES, HeaderError};
use crate::wal::record::{
    FRAME_BYTES, MARKER_MAGIC, RECORD_LIMIT_BYTES, checksum, kind, operations,
};
use crate::wal::writer::{SEGMENT_MAGIC, SEGMENT_VERSION};

/// A stretch of bytes that is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where it begins.
    pub(crate) offset: usize,
    /// How long it is.
    pub(crate) length: usize,
    /// Whether nothing follows it: the sign of a write that the end of the process cut short.
    pub(crate) at_end: bool,
}

/// Calls `record` with the payload of each intact record and `damage` for what lies between.
/// Returns where the content ends: behind it are only zeros, reserved and never written, or the
/// damage that nothing follows.
pub(crate) fn read_segment<'p>(
    bytes: &'p [u8],
    mut record: impl FnMut(usize, &'p [u8]),
    mut damage: impl FnMut(Damage),
) -> Result<usize, HeaderError> {
    if is_zero(bytes) {
        // Reserved, then the process ended.
        return Ok(0);
    }
    let salt = match header::read(bytes, SEGMENT_MAGIC, SEGMENT_VERSION) {
        // Its making was cut short: nothing was written to it.
        Err(HeaderError::Damaged) if is_zero(bytes.get(HEADER_BYTES..).unwrap_or_default()) => {
            return Ok(0);
        }
        read => read?,
    };
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        if let Some(payload) = frame_at(bytes, at, salt) {
            if !is_marker(payload) {
                record(at, payload);
            }
            at += FRAME_BYTES + payload.len();
            continue;
        }
        if is_zero(&bytes[at..]) {
            return Ok(at);
        }
        let resume = find_frame(bytes, at, salt);
        damage(Damage {
            offset: at,
            length: resume.unwrap_or(bytes.len()) - at,
            at_end: resume.is_none(),
        });
        match resume {
            Some(next) => at = next,
            None => return Ok(at),
        }
    }
    Ok(at)
}

/// Compared in pieces: a segment's reserved tail is tens of megabytes.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|piece| *piece == ZEROS[..piece.len()])
}

/// The payload of an intact frame at `at`.
fn frame_at(bytes: &[u8], at: usize, salt: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes.get(at..)?);
    let length = reader.u32().ok()?;
    let sum = reader.u32().ok()?;
    let size = length as usize;
    if size == 0 || size > RECORD_LIMIT_BYTES {
        return None;
    }
    let payload = reader.take(size).ok()?;
    // The first byte names an operation: a cheap test before the checksum.
    let known = (kind::JOIN..=kind::LAST).contains(&payload[0]);
    (known && checksum(salt, length, payload) == sum).then_some(payload)
}

/// The next intact frame after a damaged place: where the damaged frame's length says, else the
/// first that a byte-wise search finds before the next marker, else the marker.
fn find_frame(bytes: &[u8], at: usize, salt: u32) -> Option<usize> {
    let length = Reader::new(&bytes[at..]).u32().ok()? as usize;
    let after = at.checked_add(FRAME_BYTES + length)?;
    if length > 0 && frame_at(bytes, after, salt).is_some() {
        return Some(after);
    }
    let marker = next_marker(bytes, at + 1, salt);
    let search_end = marker.unwrap_or(bytes.len()).min(at + SEARCH_LIMIT_BYTES);
    // A long record has a marker before it; without that limit, chance lengths would cost a
    // checksum over much of the file each.
    let short = |start: usize| {
        let length = Reader::new(&bytes[start..]).u32();
        length.is_ok_and(|length| length as usize <= SEARCH_LIMIT_BYTES)
    };
    (at + 1..search_end)
        .find(|start| short(*start) && frame_at(bytes, *start, salt).is_some())
        .or(marker)
}

/// A byte-wise search goes no further: a marker comes much earlier, or nothing does.
const SEARCH_LIMIT_BYTES: usize = 1 << 20;

fn next_marker(bytes: &[u8], from: usize, salt: u32) -> Option<usize> {
    let mut at = from;
    while let Some(found) = find(bytes.get(at..)?, &MARKER_MAGIC) {
        let magic_at = at + found;
        // Before the magic: the frame, the kind, a one-byte length.
        if let Some(start) = magic_at.checked_sub(FRAME_BYTES + 2)
            && start >= from
            && frame_at(bytes, start, salt).is_some_and(is_marker)
        {
            return Some(start);
        }
        at = magic_at + 1;
    }
    None
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == needle[0]) {
        if bytes[at + found..].starts_with(needle) {
            return Some(at + found);
        }
        at += found + 1;
    }
    None
}

fn is_marker(payload: &[u8]) -> bool {
    matches!(operations(payload).next(), Some(Ok((kind::MARKER, _))))
}
