//! Every byte of Prometheus's files, read for checksums and for zeros where nothing else may be.
//!
//! Queries read what they need and trust the rest; this is for whoever asks whether a directory is
//! whole.

use super::index::{CONTENTS_BYTES, HEADER_BYTES, SERIES_ALIGNMENT};
use super::{be32, be64, chunk};
use crate::bytes::{Malformed, Reader};

const HEAD_CHUNKS_MAGIC: u32 = 0x0130_bc91;
/// Most zeros between sections, and one more.
const PADDING_LIMIT_BYTES: usize = SERIES_ALIGNMENT;
/// What stands before a chunk's encoding in a file of the head: series, first and last time.
const HEAD_CHUNK_START_BYTES: usize = 24;

/// An index: its sections one behind the other, zeros between them, nothing else. Returns how many
/// series there are.
pub(super) fn index(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    be32(&mut reader)?;
    let version = reader.u8()?;
    let Some(contents_at) = bytes.len().checked_sub(CONTENTS_BYTES) else {
        return Err(reader.fail("ends too early"));
    };
    let mut contents = Reader::new(&bytes[contents_at..]);
    let mut places = [0; 6];
    for place in &mut places {
        *place = usize::try_from(be64(&mut contents)?).unwrap_or(usize::MAX);
    }
    let [symbols_at, series_at, ..] = places;
    // The sections that follow the series begin where the first of them does.
    let later = places.iter().skip(2).copied().filter(|at| *at > series_at);
    let series_end = later.min().unwrap_or(contents_at).min(contents_at);
    let series_at = series_at.min(series_end);
    zeros(bytes, HEADER_BYTES, symbols_at)?;
    sections(bytes, symbols_at, series_at)?;
    let mut at = series_at;
    let mut count = 0;
    loop {
        at = if version == 1 {
            at
        } else {
            let aligned = at.next_multiple_of(SERIES_ALIGNMENT).min(series_end);
            zeros(bytes, at, aligned)?;
            aligned
        };
        if is_zero(&bytes[at..series_end]) {
            break;
        }
        let mut reader = Reader::new(&bytes[at..series_end]);
        let mut read = || {
            let length = reader.count(1)?;
            checked(&mut reader, length)
        };
        read().map_err(|error| from(at, error))?;
        at += reader.offset();
        count += 1;
    }
    sections(bytes, series_end, contents_at)?;
    Ok(count)
}

/// Sections from one place to another: length, content, checksum; zeros between them.
fn sections(bytes: &[u8], start: usize, end: usize) -> Result<(), Malformed> {
    let mut at = start.min(end);
    while !is_zero(&bytes[at..end]) {
        let here = &bytes[at..end];
        // A length begins with zeros like those that stand before it.
        let paddings =
            (0..PADDING_LIMIT_BYTES.min(here.len())).take_while(|count| is_zero(&here[..*count]));
        let mut found = paddings.filter_map(|count| {
            let mut reader = Reader::new(&here[count..]);
            let length = be32(&mut reader).ok().filter(|length| *length > 0)?;
            checked(&mut reader, length as usize).ok()?;
            Some(count + reader.offset())
        });
        let Some(length) = found.next() else {
            return Err(Malformed {
                offset: at,
                what: "no section whose checksum fits",
            });
        };
        at += length;
    }
    Ok(())
}

/// A file of chunks: one behind the other, zeros at the end. Returns how many.
pub(super) fn chunks(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    reader.take(chunk::HEADER_BYTES)?;
    // Magic and version were checked when it was opened.
    zeros(bytes, 5, chunk::HEADER_BYTES)?;
    each_chunk(bytes, &mut reader, |reader| {
        let length = reader.count(1)?;
        checked(reader, length.saturating_add(1))
    })
}

/// A file of the head's chunks.
pub(super) fn head_chunks(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    if is_zero(bytes) {
        return Ok(0);
    }
    if be32(&mut reader)? != HEAD_CHUNKS_MAGIC {
        return Err(reader.fail("no file of chunks of a head"));
    }
    if reader.u8()? != chunk::VERSION {
        return Err(reader.fail("a file of chunks of an unknown version"));
    }
    zeros(bytes, 5, chunk::HEADER_BYTES)?;
    reader.take(3)?;
    each_chunk(bytes, &mut reader, |reader| {
        // The checksum covers everything before it.
        let mut ahead = Reader::new(&bytes[reader.offset()..]);
        ahead.take(HEAD_CHUNK_START_BYTES + 1)?;
        let length = ahead.count(1)?;
        checked(reader, ahead.offset() + length)
    })
}

fn each_chunk(
    bytes: &[u8],
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<(), Malformed>,
) -> Result<u64, Malformed> {
    let mut count = 0;
    while !is_zero(&bytes[reader.offset()..]) {
        let at = reader.offset();
        read(reader).map_err(|error| Malformed {
            offset: at,
            what: error.what,
        })?;
        count += 1;
    }
    Ok(count)
}

/// So many bytes and their checksum.
fn checked(reader: &mut Reader<'_>, length: usize) -> Result<(), Malformed> {
    let content = reader.take(length)?;
    if crc32c::crc32c(content) == be32(reader)? {
        return Ok(());
    }
    Err(reader.fail("the checksum does not fit"))
}

fn zeros(bytes: &[u8], start: usize, end: usize) -> Result<(), Malformed> {
    let between = bytes.get(start..end).unwrap_or_default();
    match between.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => Err(Malformed {
            offset: start + at,
            what: "padding that is not zero",
        }),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn from(base: usize, error: Malformed) -> Malformed {
    Malformed {
        offset: base + error.offset,
        what: error.what,
    }
}
