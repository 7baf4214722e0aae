//! Writing a block: pages as they come, then the index, then the name.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::TimeRange;

use crate::block::index::Place;
use crate::block::index_writer::{Column, IndexWriter, PlacedPage};
use crate::block::meta::Meta;
use crate::block::{DATA_MAGIC, DATA_VERSION, header};
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
    /// Columns by their bytes, so that each is stored once.
    known_columns: HashMap<Box<[u8]>, u32>,
    known_bytes: usize,
    /// Pages by their bytes, likewise.
    known_pages: HashMap<Box<[u8]>, KnownPage>,
    known_page_bytes: usize,
    /// The budget that writing takes from.
    pace: Option<Arc<Pace>>,
    effort: Effort,
    index: IndexWriter,
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

/// A page that was written.
struct KnownPage {
    offset: u64,
    /// How often it came again, and its number among shared pages once that is often enough.
    again: u32,
    shared: Option<u32>,
}

/// A page that came again so often is worth a place in the table of shared ones.
const SHARED_LEAST: u32 = 2;

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
        let index = IndexWriter::new(&disk, &temporary, pairs, pace.clone());
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            temporary,
            data,
            written: 0,
            buffer: header(DATA_MAGIC, DATA_VERSION),
            known_columns: HashMap::new(),
            known_bytes: 0,
            known_pages: HashMap::new(),
            known_page_bytes: 0,
            // What is compacted, at its own pace, is read less often than what is new.
            effort: match pace {
                Some(_) => Effort::Thorough,
                None => Effort::Quick,
            },
            index,
            pace,
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
        let number = self.index.columns.len() as u32;
        let length = bytes.len() - 4;
        let offset = self.put(&bytes[..length])?;
        self.index.columns.push(Column {
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
        let start = self.end();
        let (pages, samples) = self.pages_of(pieces)?;
        self.samples += samples;
        for piece in pieces {
            self.times.start_ms = self.times.start_ms.min(piece.start_ms);
            self.times.end_ms = self.times.end_ms.max(piece.end_ms);
        }
        self.index.series(pairs, start, &pages)
    }

    /// Adds a component of the series that was added last; they come in order of key. Its samples
    /// are at instants at which the series has one.
    pub(crate) fn component(&mut self, key: ComponentKey, pieces: &[Piece]) -> Result<(), Failure> {
        let start = self.end();
        let (pages, _) = self.pages_of(pieces)?;
        self.index.component(key, start, &pages);
        Ok(())
    }

    /// Adds a layout that a series refers to.
    pub(crate) fn layout(&mut self, id: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.index.layout(id, bytes)
    }

    /// Writes pages. Returns where they are and how many samples they have.
    fn pages_of(&mut self, pieces: &[Piece]) -> Result<(Vec<PlacedPage>, u64), Failure> {
        let mut samples = 0;
        let mut placed = Vec::with_capacity(pieces.len());
        let mut page = Vec::new();
        for part in pieces.iter().flat_map(split) {
            page.clear();
            codec::encode(&part.values, self.effort, &mut page);
            placed.push(PlacedPage {
                place: self.put_page(&page)?,
                column: part.column,
                rows: part.runs.clone(),
            });
            samples += part.values.len() as u64;
            self.pages += 1;
        }
        Ok((placed, samples))
    }

    /// Where a page is, stored once however often it comes: buckets of a histogram that count the
    /// same, constants.
    fn put_page(&mut self, page: &[u8]) -> Result<Place, Failure> {
        let length = page.len() as u64;
        if let Some(known) = self.known_pages.get_mut(page) {
            known.again += 1;
            if known.again == SHARED_LEAST {
                known.shared = Some(self.index.share(known.offset, page.len() as u32));
            }
            let offset = known.offset;
            return Ok(match known.shared {
                Some(number) => Place::Shared(number),
                None => Place::At { offset, length },
            });
        }
        let offset = self.put(page)?;
        if self.known_page_bytes > KNOWN_PAGES_LIMIT_BYTES {
            self.known_pages.clear();
            self.known_page_bytes = 0;
        }
        self.known_page_bytes += page.len() + KNOWN_OVERHEAD_BYTES;
        let known = KnownPage {
            offset,
            again: 0,
            shared: None,
        };
        self.known_pages.insert(page.into(), known);
        Ok(Place::At { offset, length })
    }

    /// How many series so far.
    pub(crate) fn len(&self) -> usize {
        self.index.len() as usize
    }

    /// Removes what was written.
    pub(crate) fn abandon(self) {
        remove_unfinished(&self.disk, &self.temporary);
    }

    /// Writes index and meta and gives the block its name. `texts` gives names and values of the
    /// pairs.
    pub(crate) fn finish<'t>(
        self,
        texts: impl Fn(usize) -> (&'t str, &'t str),
        meta: Meta,
    ) -> Result<PathBuf, Failure> {
        let (disk, temporary) = (self.disk.clone(), self.temporary.clone());
        let finished = self.complete(texts, meta);
        if finished.is_err() {
            // On a full disk each further attempt would leave another one.
            remove_unfinished(&disk, &temporary);
        }
        finished
    }

    fn complete<'t>(
        mut self,
        texts: impl Fn(usize) -> (&'t str, &'t str),
        mut meta: Meta,
    ) -> Result<PathBuf, Failure> {
        self.flush()?;
        let path = self.temporary.join("data");
        self.data.sync_data().map_err(|e| (path, e))?;
        meta.times = self.times;
        meta.series = self.len() as u64;
        meta.samples = self.samples;
        meta.pages = self.pages;
        meta.data_bytes = self.written;
        meta.index_bytes = self.index.finish(texts)?;
        let path = self.temporary.join("meta");
        let meta_file = self.disk.create(&path, 0);
        meta_file
            .and_then(|file| {
                file.write_at(&meta.encode(), 0)?;
                file.sync_data()
            })
            .map_err(|e| (path, e))?;
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

    /// Where the data file ends.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let offset = self.end();
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
}

/// Name and value of a pair, for [`BlockWriter::finish`].
pub(crate) fn text_of(pairs: &[(String, String)], pair: usize) -> (&str, &str) {
    let (name, value) = &pairs[pair];
    (name, value)
}

fn remove_unfinished(disk: &Arc<dyn Disk>, path: &Path) {
    if let Err(error) = disk.remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished block");
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
