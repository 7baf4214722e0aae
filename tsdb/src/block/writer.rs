//! Writing a block: pages as they come, then the index, then the name.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::TimeRange;
use croaring::{Bitmap, Portable};

use crate::block::meta::Meta;
use crate::block::{DATA_MAGIC, DATA_VERSION, INDEX_MAGIC, INDEX_VERSION, header, section};
use crate::bytes::{put_signed, put_varint};
use crate::compact::pace::Pace;
use crate::component::ComponentKey;
use crate::disk::{Disk, DiskFile};
use crate::page::codec::{self, Effort};
use crate::page::timestamps;

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A block under construction, in a directory that opening removes should it stay unfinished.
pub(crate) struct BlockWriter {
    disk: Arc<dyn Disk>,
    /// Where all blocks are.
    directory: PathBuf,
    temporary: PathBuf,
    data: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
    columns: Vec<Column>,
    /// Columns by their bytes, so that each is stored once.
    known_columns: HashMap<Box<[u8]>, u32>,
    known_bytes: usize,
    /// Pages by their bytes, likewise.
    known_pages: HashMap<Box<[u8]>, u64>,
    known_page_bytes: usize,
    /// The budget that writing takes from.
    pace: Option<Arc<Pace>>,
    effort: Effort,
    /// The pages of each series, encoded.
    series: Vec<u8>,
    series_offsets: Vec<u32>,
    /// Series that have components, and what these are.
    parents: Vec<u32>,
    components: Vec<Vec<u8>>,
    /// Layouts of histograms, by number.
    layouts: BTreeMap<u64, Box<[u8]>>,
    /// Per pair of the caller: series that have it.
    postings: Vec<Vec<u32>>,
    pair_lists: Vec<Box<[u32]>>,
    samples: u64,
    pages: u64,
    times: TimeRange,
}

/// Bytes of columns that are recognised when they come again. One that was forgotten is stored once
/// more, which costs space and nothing else.
const KNOWN_COLUMNS_LIMIT_BYTES: usize = 64 << 20;

/// The same for pages.
const KNOWN_PAGES_LIMIT_BYTES: usize = 32 << 20;
/// What remembering one costs beside its bytes.
const KNOWN_OVERHEAD_BYTES: usize = 48;

struct Column {
    offset: u64,
    length: u32,
    rows: u32,
    start_ms: i64,
    end_ms: i64,
}

/// Samples of a series that share a column: rows of the column, and a value for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) column: u32,
    /// First row and count of stretches without gaps, ascending.
    pub(crate) runs: Vec<(u32, u32)>,
    pub(crate) values: Vec<u64>,
    /// Its oldest and newest sample.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

type Failure = (PathBuf, io::Error);

impl BlockWriter {
    /// Begins a block below `directory`. `pairs` is how many label pairs its series may use; the
    /// caller numbers them in order of (name, value).
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        directory: &Path,
        uid: u64,
        pairs: usize,
        pace: Option<Arc<Pace>>,
    ) -> Result<Self, Failure> {
        let temporary = directory.join(format!("tmp-{uid:016x}"));
        disk.create_dir_all(&temporary)
            .map_err(|e| (temporary.clone(), e))?;
        let path = temporary.join("data");
        let data = disk.create(&path, 0).map_err(|e| (path, e))?;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            temporary,
            data,
            written: 0,
            buffer: header(DATA_MAGIC, DATA_VERSION),
            columns: Vec::new(),
            known_columns: HashMap::new(),
            known_bytes: 0,
            known_pages: HashMap::new(),
            known_page_bytes: 0,
            // What is compacted, at its own pace, is read less often than what is new.
            effort: match pace {
                Some(_) => Effort::Thorough,
                None => Effort::Quick,
            },
            pace,
            series: Vec::new(),
            series_offsets: vec![0],
            parents: Vec::new(),
            components: Vec::new(),
            layouts: BTreeMap::new(),
            postings: vec![Vec::new(); pairs],
            pair_lists: Vec::new(),
            samples: 0,
            pages: 0,
            times: TimeRange {
                start_ms: i64::MAX,
                end_ms: i64::MIN,
            },
        })
    }

    /// The number of a timestamp column, stored once however often it comes.
    pub(crate) fn column(&mut self, timestamps_ms: &[i64]) -> Result<u32, Failure> {
        let mut bytes = vec![0; 4];
        timestamps::encode(timestamps_ms, &mut bytes);
        let sum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        // The number of rows is not in the bytes.
        bytes.extend_from_slice(&(timestamps_ms.len() as u32).to_le_bytes());
        if let Some(number) = self.known_columns.get(&bytes[..]) {
            return Ok(*number);
        }
        let number = self.columns.len() as u32;
        let length = bytes.len() - 4;
        let offset = self.put(&bytes[..length])?;
        self.columns.push(Column {
            offset,
            length: length as u32,
            rows: timestamps_ms.len() as u32,
            start_ms: timestamps_ms.first().copied().unwrap_or_default(),
            end_ms: timestamps_ms.last().copied().unwrap_or_default(),
        });
        if self.known_bytes > KNOWN_COLUMNS_LIMIT_BYTES {
            self.known_columns.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += bytes.len();
        self.known_columns.insert(bytes.into(), number);
        Ok(number)
    }

    /// Adds a series; series come in order of their labels. `pairs` ascend.
    pub(crate) fn series(&mut self, pairs: &[u32], pieces: &[Piece]) -> Result<(), Failure> {
        let number = self.pair_lists.len() as u32;
        for pair in pairs {
            self.postings[*pair as usize].push(number);
        }
        self.pair_lists.push(pairs.into());
        let mut entry = Vec::new();
        self.samples += self.pages_of(pieces, &mut entry)?;
        for piece in pieces {
            self.times.start_ms = self.times.start_ms.min(piece.start_ms);
            self.times.end_ms = self.times.end_ms.max(piece.end_ms);
        }
        self.series.extend_from_slice(&entry);
        let end = u32::try_from(self.series.len()).map_err(|_| self.too_large())?;
        self.series_offsets.push(end);
        Ok(())
    }

    /// Adds a component of the series that was added last; they come in order of key. Its samples
    /// are at instants at which the series has one.
    pub(crate) fn component(&mut self, key: ComponentKey, pieces: &[Piece]) -> Result<(), Failure> {
        let Some(parent) = (self.pair_lists.len() as u32).checked_sub(1) else {
            unreachable!("BUG: a component before any series");
        };
        let mut pages = Vec::new();
        self.pages_of(pieces, &mut pages)?;
        if self.parents.last() != Some(&parent) {
            self.parents.push(parent);
            self.components.push(Vec::new());
        }
        if let Some(out) = self.components.last_mut() {
            key.write(out);
            put_varint(out, pages.len() as u64);
            out.extend_from_slice(&pages);
        }
        Ok(())
    }

    /// Adds a layout that a series refers to.
    pub(crate) fn layout(&mut self, id: u64, bytes: &[u8]) -> Result<(), Failure> {
        match self.layouts.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(bytes.into());
                Ok(())
            }
            Entry::Occupied(entry) if **entry.get() == *bytes => Ok(()),
            Entry::Occupied(_) => {
                let error = format!("layout {id} of histograms is two different ones");
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                Err((self.temporary.join("index"), error))
            }
        }
    }

    /// Writes pages, and to `entry` where they are. Returns how many samples they have.
    fn pages_of(&mut self, pieces: &[Piece], entry: &mut Vec<u8>) -> Result<u64, Failure> {
        let mut samples = 0;
        let parts: Vec<Piece> = pieces.iter().flat_map(split).collect();
        put_varint(entry, parts.len() as u64);
        let mut page = Vec::new();
        for part in &parts {
            page.clear();
            codec::encode(&part.values, self.effort, &mut page);
            let offset = self.put_page(&page)?;
            put_varint(entry, u64::from(part.column));
            put_varint(entry, offset);
            put_varint(entry, page.len() as u64);
            put_varint(entry, part.runs.len() as u64);
            let mut at = 0;
            for (first, count) in &part.runs {
                put_signed(entry, i64::from(*first) - i64::from(at));
                put_varint(entry, u64::from(*count));
                at = first + count;
            }
            samples += part.values.len() as u64;
            self.pages += 1;
        }
        Ok(samples)
    }

    /// The offset of a page, stored once however often it comes: buckets of a histogram that count
    /// the same, constants.
    fn put_page(&mut self, page: &[u8]) -> Result<u64, Failure> {
        if let Some(offset) = self.known_pages.get(page) {
            return Ok(*offset);
        }
        let offset = self.put(page)?;
        if self.known_page_bytes > KNOWN_PAGES_LIMIT_BYTES {
            self.known_pages.clear();
            self.known_page_bytes = 0;
        }
        self.known_page_bytes += page.len() + KNOWN_OVERHEAD_BYTES;
        self.known_pages.insert(page.into(), offset);
        Ok(offset)
    }

    /// How many series so far.
    pub(crate) fn len(&self) -> usize {
        self.pair_lists.len()
    }

    /// Removes what was written.
    pub(crate) fn abandon(self) {
        if let Err(error) = self.disk.remove_dir_all(&self.temporary) {
            tracing::warn!(path = %self.temporary.display(), %error, "cannot remove an unfinished block");
        }
    }

    /// Writes index and meta and gives the block its name. `pair_texts` names the pairs.
    pub(crate) fn finish(
        mut self,
        pair_texts: &[(String, String)],
        meta: Meta,
    ) -> Result<PathBuf, Failure> {
        let finished = self.complete(pair_texts, meta);
        if finished.is_err() {
            // On a full disk each further attempt would leave another one.
            self.abandon();
        }
        finished
    }

    fn complete(
        &mut self,
        pair_texts: &[(String, String)],
        mut meta: Meta,
    ) -> Result<PathBuf, Failure> {
        self.flush()?;
        let path = self.temporary.join("data");
        self.data.sync_data().map_err(|e| (path, e))?;
        let index = self.index(pair_texts);
        meta.times = self.times;
        meta.series = self.pair_lists.len() as u64;
        meta.samples = self.samples;
        meta.pages = self.pages;
        meta.data_bytes = self.written;
        meta.index_bytes = index.len() as u64;
        self.write_file("index", &index)?;
        self.write_file("meta", &meta.encode())?;
        let name = meta.directory_name();
        let target = self.directory.join(name);
        let (disk, temporary) = (&self.disk, &self.temporary);
        if disk.list(&target).is_ok() {
            // Left by an attempt that failed, see below.
            disk.remove_dir_all(&target)
                .map_err(|e| (target.clone(), e))?;
        }
        disk.sync_dir(temporary)
            .and_then(|()| disk.rename(temporary, &target))
            .map_err(|e| (target.clone(), e))?;
        if let Err(error) = disk.sync_dir(&self.directory) {
            // Who writes it will take it for not there: the next start is not to find it.
            if let Err(error) = disk.rename(&target, temporary) {
                tracing::warn!(path = %target.display(), %error, "a block stays whose writing failed");
            }
            return Err((target, error));
        }
        Ok(target)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.temporary.join(name);
        self.disk
            .create(&path, 0)
            .and_then(|file| file.write_at(bytes, 0).and_then(|()| file.sync_data()))
            .map_err(|e| (path, e))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let offset = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let path = || self.temporary.join("data");
        if let Some(pace) = &self.pace {
            pace.spend(self.buffer.len() as u64)
                .map_err(|e| (path(), e))?;
        }
        self.data
            .write_at(&self.buffer, self.written)
            .map_err(|e| (path(), e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn too_large(&self) -> Failure {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, "a series table beyond 4 GiB");
        (self.temporary.join("index"), error)
    }

    fn index(&self, pair_texts: &[(String, String)]) -> Vec<u8> {
        // Pairs that no series of this block has are left out; the others keep their order.
        let used: Vec<usize> = (0..self.postings.len())
            .filter(|at| !self.postings[*at].is_empty())
            .collect();
        let mut renumbered = vec![0u32; self.postings.len()];
        for (new, old) in used.iter().enumerate() {
            renumbered[*old] = new as u32;
        }
        let mut texts: Vec<&str> = used
            .iter()
            .flat_map(|at| [pair_texts[*at].0.as_str(), pair_texts[*at].1.as_str()])
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let number = |text: &str| texts.binary_search(&text).unwrap_or_default() as u32;
        let mut index = IndexBuilder::new();
        index.section(section::TEXTS, |out| {
            put_table(out, texts.iter().map(|text| text.as_bytes()));
        });
        index.section(section::PAIRS, |out| {
            out.extend_from_slice(&(used.len() as u32).to_le_bytes());
            for at in &used {
                let (name, value) = &pair_texts[*at];
                out.extend_from_slice(&number(name).to_le_bytes());
                out.extend_from_slice(&number(value).to_le_bytes());
            }
        });
        index.section(section::POSTINGS, |out| {
            let bitmaps = used.iter().map(|at| {
                let mut bitmap = Bitmap::of(&self.postings[*at]);
                bitmap.run_optimize();
                bitmap.serialize::<Portable>()
            });
            put_table(out, bitmaps);
        });
        index.section(section::SERIES, |out| {
            let entries = self.pair_lists.iter().enumerate().map(|(at, pairs)| {
                let mut entry = Vec::new();
                put_varint(&mut entry, pairs.len() as u64);
                let mut last = 0;
                for pair in pairs {
                    let pair = renumbered[*pair as usize];
                    put_varint(&mut entry, u64::from(pair - last));
                    last = pair;
                }
                let pages = self.series_offsets[at] as usize..self.series_offsets[at + 1] as usize;
                entry.extend_from_slice(&self.series[pages]);
                entry
            });
            put_table(out, entries);
        });
        index.section(section::COLUMNS, |out| {
            out.extend_from_slice(&(self.columns.len() as u32).to_le_bytes());
            for column in &self.columns {
                out.extend_from_slice(&column.offset.to_le_bytes());
                out.extend_from_slice(&column.length.to_le_bytes());
                out.extend_from_slice(&column.rows.to_le_bytes());
                out.extend_from_slice(&column.start_ms.to_le_bytes());
                out.extend_from_slice(&column.end_ms.to_le_bytes());
            }
        });
        if !self.parents.is_empty() {
            index.section(section::COMPONENTS, |out| {
                let items = self.parents.iter().zip(&self.components);
                let items = items.map(|(parent, components)| {
                    let mut item = parent.to_le_bytes().to_vec();
                    item.extend_from_slice(components);
                    item
                });
                put_table(out, items);
            });
        }
        if !self.layouts.is_empty() {
            index.section(section::LAYOUTS, |out| {
                let items = self.layouts.iter().map(|(id, bytes)| {
                    let mut item = id.to_le_bytes().to_vec();
                    item.extend_from_slice(bytes);
                    item
                });
                put_table(out, items);
            });
        }
        index.finish()
    }
}

/// Cuts a piece into pages of bounded size.
fn split(piece: &Piece) -> Vec<Piece> {
    if piece.values.len() <= codec::PAGE_SAMPLES {
        return vec![piece.clone()];
    }
    let mut parts = Vec::new();
    let mut part = Piece::default();
    let mut values = piece.values.iter().copied();
    for (mut first, mut count) in piece.runs.iter().copied() {
        while count > 0 {
            let room = codec::PAGE_SAMPLES - part.values.len();
            let taken = count.min(room as u32);
            part.runs.push((first, taken));
            part.values.extend(values.by_ref().take(taken as usize));
            first += taken;
            count -= taken;
            if part.values.len() == codec::PAGE_SAMPLES {
                part.column = piece.column;
                parts.push(std::mem::take(&mut part));
            }
        }
    }
    if !part.values.is_empty() {
        part.column = piece.column;
        parts.push(part);
    }
    parts
}

/// Count u32, offsets u32 (one more than the count, relative to the first item), the items.
fn put_table<T: AsRef<[u8]>>(out: &mut Vec<u8>, items: impl Iterator<Item = T>) {
    let (mut offsets, mut bytes) = (vec![0u32], Vec::new());
    for item in items {
        bytes.extend_from_slice(item.as_ref());
        offsets.push(bytes.len() as u32);
    }
    out.extend_from_slice(&(offsets.len() as u32 - 1).to_le_bytes());
    for offset in offsets {
        out.extend_from_slice(&offset.to_le_bytes());
    }
    out.extend_from_slice(&bytes);
}

struct IndexBuilder {
    bytes: Vec<u8>,
    contents: Vec<u8>,
    sections: u32,
}

impl IndexBuilder {
    fn new() -> Self {
        Self {
            bytes: header(INDEX_MAGIC, INDEX_VERSION),
            contents: Vec::new(),
            sections: 0,
        }
    }

    fn section(&mut self, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let offset = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(offset, 0);
        write(&mut self.bytes);
        let content = &self.bytes[offset..];
        self.contents.extend_from_slice(&id.to_le_bytes());
        self.contents
            .extend_from_slice(&crc32c::crc32c(content).to_le_bytes());
        self.contents
            .extend_from_slice(&(offset as u64).to_le_bytes());
        self.contents
            .extend_from_slice(&(content.len() as u64).to_le_bytes());
        self.sections += 1;
    }

    /// The table of contents and the footer: its checksum, the number of sections, magic.
    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&self.contents);
        self.bytes
            .extend_from_slice(&crc32c::crc32c(&self.contents).to_le_bytes());
        self.bytes.extend_from_slice(&self.sections.to_le_bytes());
        self.bytes.extend_from_slice(&INDEX_MAGIC);
        self.bytes
    }
}
