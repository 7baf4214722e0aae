//! A chunk: consecutive rows of one track, sealed. The same bytes in memory and in a head file.
//!
//! Layout (little-endian): track u32, first row u32, rows u32, series u32, least time i64,
//! greatest time i64, timestamp bytes u32, page bytes u32, checksum u32 of all this and of the
//! timestamp column; the timestamp column; one directory entry per series in ascending order of
//! (slot, generation), each with a checksum over itself and its page; the pages.
//!
//! In a head file a checksum over the whole guards the chunk. Those inside serve when it fails: what
//! is damaged is one series' page, and the others are saved.

use std::sync::{Arc, PoisonError, RwLock};

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader};
use crate::map::{Held, Region};
use crate::page::timestamps;
use crate::page::token::{self, Decoder, Step};

const HEADER_BYTES: usize = 44;
/// Where in the header its checksum is.
const SUM_AT: usize = 40;
const ENTRY_BYTES: usize = 24;
/// What of an entry its checksum covers, beside the page.
const ENTRY_CHECKED_BYTES: usize = 20;

/// A sealed chunk.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) track: u32,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    bytes: RwLock<ChunkBytes>,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug)]
pub(crate) enum ChunkBytes {
    /// In memory, not yet in a head file.
    Memory(Arc<[u8]>),
    /// In a head file.
    Mapped {
        /// The mapped prefix of the file.
        region: Arc<Region>,
        /// Where in it.
        offset: usize,
        /// How long.
        length: usize,
    },
    /// They were in a head file and cannot be read any more.
    Gone,
}

impl ChunkBytes {
    /// In memory, where nothing is mapped.
    fn loaded(self) -> Self {
        let Self::Mapped {
            region,
            offset,
            length,
        } = &self
        else {
            return self;
        };
        match region.keep(*offset, *length) {
            Ok(Held::Mapped(_)) => self,
            Ok(Held::Read(bytes)) => Self::Memory(bytes),
            Err(_) => Self::Gone,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Gone => &[],
            Self::Mapped {
                region,
                offset,
                length,
            } => &region.as_slice()[*offset..*offset + *length],
        }
    }

    /// Reads them; an error where bytes of the file were gone meanwhile, whatever was read.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let result = read(self.as_slice());
        let is_gone = match self {
            Self::Memory(_) => false,
            Self::Mapped { region, .. } => region.is_lost(),
            Self::Gone => true,
        };
        if is_gone {
            return Err(Malformed {
                offset: 0,
                what: "bytes of a head file were gone when they were read",
            });
        }
        result
    }
}

/// One series of a chunk under construction.
pub(crate) struct ChunkEntry<'a> {
    pub(crate) series: SeriesRef,
    /// First row with a sample, counted from the chunk's first.
    pub(crate) start: u16,
    /// One past the last row with a sample.
    pub(crate) end: u16,
    /// The value stream; after it, the last value repeats until `end`.
    pub(crate) page: &'a [u8],
    /// For a page without bytes: the constant.
    pub(crate) constant: u64,
}

/// Writes a chunk. `entries` ascend by series.
pub(crate) fn write<'a>(
    track: u32,
    first_row: u32,
    timestamps_ms: &[i64],
    entries: impl Iterator<Item = ChunkEntry<'a>>,
) -> Chunk {
    let mut column = Vec::new();
    timestamps::encode(timestamps_ms, &mut column);
    let (mut directory, mut pages, mut series) = (Vec::new(), Vec::new(), 0u32);
    for entry in entries {
        let (entry_at, offset) = (directory.len(), pages.len() as u32);
        if entry.page.is_empty() {
            token::put_value_or_zero(&mut pages, entry.constant);
        } else {
            pages.extend_from_slice(entry.page);
        }
        directory.extend_from_slice(&entry.series.slot.to_le_bytes());
        directory.extend_from_slice(&entry.series.generation.to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(&(pages.len() as u32 - offset).to_le_bytes());
        directory.extend_from_slice(&entry.start.to_le_bytes());
        directory.extend_from_slice(&entry.end.to_le_bytes());
        let sum = crc32c::crc32c(&directory[entry_at..]);
        let sum = crc32c::crc32c_append(sum, &pages[offset as usize..]);
        directory.extend_from_slice(&sum.to_le_bytes());
        series += 1;
    }
    let (min_ms, max_ms) = (
        timestamps_ms.first().copied().unwrap_or_default(),
        timestamps_ms.last().copied().unwrap_or_default(),
    );
    let rows = timestamps_ms.len() as u32;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + column.len() + directory.len() + pages.len());
    for field in [track, first_row, rows, series] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(&min_ms.to_le_bytes());
    bytes.extend_from_slice(&max_ms.to_le_bytes());
    bytes.extend_from_slice(&(column.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(pages.len() as u32).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &column);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(&column);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(&pages);
    Chunk {
        track,
        first_row,
        rows,
        min_ms,
        max_ms,
        bytes: RwLock::new(ChunkBytes::Memory(bytes.into())),
    }
}

impl Chunk {
    /// A chunk whose bytes are in a file; their checksum was verified.
    pub(crate) fn open(bytes: ChunkBytes) -> Result<Self, Malformed> {
        let header = Header::read(bytes.clone().loaded().as_slice())?;
        Ok(Self {
            track: header.track,
            first_row: header.first_row,
            rows: header.rows,
            min_ms: header.min_ms,
            max_ms: header.max_ms,
            bytes: RwLock::new(bytes),
        })
    }

    /// One past its last row.
    pub(crate) fn end_row(&self) -> u32 {
        self.first_row + self.rows
    }

    /// The bytes; valid for as long as the result is held. None where they cannot be read any more,
    /// which is no chunk.
    pub(crate) fn bytes(&self) -> ChunkBytes {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        bytes.clone().loaded()
    }

    /// Exchanges the bytes in memory for the same bytes in a file.
    pub(crate) fn replace(&self, bytes: ChunkBytes) {
        *self.bytes.write().unwrap_or_else(PoisonError::into_inner) = bytes;
    }
}

/// A page of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkPage<'a> {
    /// First row with a sample, counted from the chunk's first.
    pub(crate) start: u32,
    /// One past the last row with a sample.
    pub(crate) end: u32,
    /// The value stream.
    pub(crate) page: &'a [u8],
}

struct Header {
    track: u32,
    first_row: u32,
    rows: u32,
    series: u32,
    min_ms: i64,
    max_ms: i64,
    column_bytes: usize,
    page_bytes: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = Self::of(bytes)?;
        if header.length() != bytes.len() || header.first_row.checked_add(header.rows).is_none() {
            return Err(Reader::new(bytes).fail("a chunk whose parts do not add up"));
        }
        Ok(header)
    }

    /// The fields, whatever follows them.
    fn of(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            track: reader.u32()?,
            first_row: reader.u32()?,
            rows: reader.u32()?,
            series: reader.u32()?,
            min_ms: reader.i64()?,
            max_ms: reader.i64()?,
            column_bytes: reader.u32()? as usize,
            page_bytes: reader.u32()? as usize,
        })
    }

    /// How long the chunk is.
    fn length(&self) -> usize {
        self.pages_at() + self.page_bytes
    }

    fn directory_at(&self) -> usize {
        HEADER_BYTES + self.column_bytes
    }

    fn pages_at(&self) -> usize {
        self.directory_at() + self.series as usize * ENTRY_BYTES
    }
}

/// Whether the lengths in a chunk's header fit its size.
pub(crate) fn adds_up(bytes: &[u8]) -> bool {
    Header::read(bytes).is_ok()
}

/// How long the chunk is that begins these bytes, by its header.
pub(crate) fn length_of(bytes: &[u8]) -> Option<usize> {
    Header::of(bytes).ok().map(|header| header.length())
}

/// What can be saved of a damaged chunk that begins these bytes: the series whose pages are intact.
/// Returns the chunk, and how many series are lost.
pub(crate) fn salvage(bytes: &[u8]) -> Option<(Chunk, usize)> {
    let bytes = bytes.get(..length_of(bytes)?)?;
    let header = Header::read(bytes).ok()?;
    let column = &bytes[HEADER_BYTES..header.directory_at()];
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..SUM_AT]), column);
    if bytes[SUM_AT..HEADER_BYTES] != sum.to_le_bytes() {
        return None;
    }
    let times = timestamps_of(bytes).ok()?;
    let is_intact = |index: usize, page: &[u8]| {
        let at = header.directory_at() + index * ENTRY_BYTES;
        let (entry, have) = bytes[at..at + ENTRY_BYTES].split_at(ENTRY_CHECKED_BYTES);
        let sum = crc32c::crc32c_append(crc32c::crc32c(entry), page);
        have == sum.to_le_bytes()
    };
    let mut entries = Vec::new();
    for index in 0..header.series as usize {
        let Ok((series, page)) = entry(bytes, &header, index) else {
            continue;
        };
        if is_intact(index, page.page) {
            entries.push(ChunkEntry {
                series,
                start: page.start as u16,
                end: page.end as u16,
                page: page.page,
                constant: 0,
            });
        }
    }
    let lost = header.series as usize - entries.len();
    let chunk = write(header.track, header.first_row, &times, entries.into_iter());
    Some((chunk, lost))
}

/// The timestamps of a chunk.
pub(crate) fn timestamps_of(bytes: &[u8]) -> Result<Vec<i64>, Malformed> {
    let header = Header::read(bytes)?;
    let mut column = Vec::with_capacity(header.rows as usize);
    let mut reader = Reader::new(&bytes[HEADER_BYTES..header.directory_at()]);
    timestamps::decode(&mut reader, header.rows as usize, &mut column)?;
    Ok(column)
}

/// The page of a series, where it has samples in the chunk.
pub(crate) fn find_page(
    bytes: &[u8],
    series: SeriesRef,
) -> Result<Option<ChunkPage<'_>>, Malformed> {
    let header = Header::read(bytes)?;
    let (mut low, mut high) = (0, header.series as usize);
    while low < high {
        let middle = low.midpoint(high);
        let (have, _) = entry(bytes, &header, middle)?;
        match have.cmp(&series) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                return entry(bytes, &header, middle).map(|(_, p)| Some(p));
            }
        }
    }
    Ok(None)
}

/// The series of a chunk.
pub(crate) fn series_of(bytes: &[u8]) -> Result<Vec<SeriesRef>, Malformed> {
    let header = Header::read(bytes)?;
    (0..header.series as usize)
        .map(|index| entry(bytes, &header, index).map(|(series, _)| series))
        .collect()
}

fn entry<'a>(
    bytes: &'a [u8],
    header: &Header,
    index: usize,
) -> Result<(SeriesRef, ChunkPage<'a>), Malformed> {
    let mut reader = Reader::new(&bytes[header.directory_at() + index * ENTRY_BYTES..]);
    let series = SeriesRef {
        slot: reader.u32()?,
        generation: reader.u32()?,
    };
    let (offset, length) = (reader.u32()? as usize, reader.u32()? as usize);
    let (start, end) = (u32::from(reader.u16()?), u32::from(reader.u16()?));
    let page = bytes[header.pages_at()..]
        .get(offset..)
        .and_then(|rest| rest.get(..length));
    match page {
        Some(page) if start < end && end <= header.rows => {
            Ok((series, ChunkPage { start, end, page }))
        }
        _ => Err(reader.fail("a page outside its chunk")),
    }
}

/// Decodes the rows `rows.start..rows.end` of a page that begins at row `start` and ends before
/// `end`: calls `run` with the first row and the number of rows of each stretch without gaps.
/// Values are appended in order.
pub(crate) fn decode_page(
    page: ChunkPage<'_>,
    rows: std::ops::Range<u32>,
    values: &mut Vec<f64>,
    mut run: impl FnMut(u32, u32),
) -> Result<(), Malformed> {
    let end = page.end.min(rows.end);
    let mut decoder = Decoder::new(page.page);
    let mut at = page.start;
    // The stretch being collected.
    let (mut from, mut until) = (0, 0);
    let mut note = |first: u32, count: u32| {
        if first != until {
            if from < until {
                run(from, until - from);
            }
            from = first;
        }
        until = first + count;
    };
    let repeat = |at: u32, count: u32| {
        let (first, last) = (at.max(rows.start), at.saturating_add(count).min(end));
        (first < last).then(|| (first, last - first))
    };
    while at < end && !decoder.is_at_end() {
        let count = if at < rows.start {
            decoder.skip((rows.start - at) as usize)?
        } else {
            let count = decoder.take((end - at) as usize, values)?;
            if count > 0 {
                note(at, count as u32);
            }
            count
        };
        if count > 0 {
            at += count as u32;
            continue;
        }
        let count = match decoder.control()? {
            Step::Value => 1,
            Step::Run(count) => count,
            Step::Gap(count) => {
                at = at.saturating_add(count);
                continue;
            }
        };
        if let Some((first, count)) = repeat(at, count) {
            let value = f64::from_bits(decoder.last());
            values.resize(values.len() + count as usize, value);
            note(first, count);
        }
        at = at.saturating_add(count);
    }
    if let Some((first, count)) = repeat(at, end.saturating_sub(at)) {
        let value = f64::from_bits(decoder.last());
        values.resize(values.len() + count as usize, value);
        note(first, count);
    }
    if from < until {
        run(from, until - from);
    }
    Ok(())
}
