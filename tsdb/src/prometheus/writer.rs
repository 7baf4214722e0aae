//! Writing a block of Prometheus: chunk files, index version 2, meta.json, no tombstones.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barograph_model::Labels;

use super::block::is_float;
use super::chunk;
use super::chunk_builder::BuiltChunk;
use super::index::{self, ChunkMeta};
use super::meta::{Meta, Ulid};
use super::tombstones::Tombstones;
use crate::bytes::{put_signed, put_text, put_varint};
use crate::disk::{Disk, DiskFile};

const INDEX_VERSION: u8 = 2;
/// A chunk file is not begun a chunk's length before this.
const CHUNK_FILE_LIMIT_BYTES: u64 = 512 << 20;
/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) type Failure = (PathBuf, io::Error);

/// A block under construction, in a directory whose name Prometheus takes for unfinished too.
pub(crate) struct BlockWriter {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    temporary: PathBuf,
    ulid: Ulid,
    /// Chunk files so far.
    files: u64,
    chunks: Option<Output>,
    /// Texts by first use.
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    series: Vec<Series>,
    samples: [u64; 2],
    chunk_count: u64,
    times: Option<(i64, i64)>,
}

struct Series {
    labels: Box<[(u32, u32)]>,
    chunks: Box<[ChunkMeta]>,
}

impl BlockWriter {
    /// Begins a block below `directory`, which must exist.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        directory: &Path,
        ulid: Ulid,
    ) -> Result<Self, Failure> {
        let temporary = directory.join(format!("{ulid}.tmp-for-creation"));
        let chunks = temporary.join("chunks");
        disk.create_dir_all(&chunks).map_err(|e| (chunks, e))?;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            temporary,
            ulid,
            files: 0,
            chunks: None,
            texts: Vec::new(),
            numbers: HashMap::new(),
            series: Vec::new(),
            samples: [0; 2],
            chunk_count: 0,
            times: None,
        })
    }

    /// Adds a series; series come in order of their labels, chunks in order of time.
    pub(crate) fn series(&mut self, labels: &Labels, chunks: &[BuiltChunk]) -> Result<(), Failure> {
        if chunks.is_empty() {
            return Ok(());
        }
        let mut metas = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            metas.push(ChunkMeta {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                reference: self.put_chunk(chunk)?,
            });
            let kind = usize::from(!is_float(chunk.encoding));
            self.samples[kind] += chunk.samples;
            self.chunk_count += 1;
            let (start, end) = self.times.unwrap_or((chunk.min_ms, chunk.max_ms));
            self.times = Some((start.min(chunk.min_ms), end.max(chunk.max_ms)));
        }
        let labels = labels.iter();
        let labels: Box<[_]> = labels
            .map(|(n, v)| (self.number(n), self.number(v)))
            .collect();
        self.series.push(Series {
            labels,
            chunks: metas.into(),
        });
        Ok(())
    }

    /// How many series so far.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Removes what was written.
    pub(crate) fn abandon(self) {
        if let Err(error) = self.disk.remove_dir_all(&self.temporary) {
            tracing::warn!(path = %self.temporary.display(), %error, "cannot remove an unfinished block");
        }
    }

    /// Writes index and meta.json and gives the block its name. `span` is what the block says it
    /// is about, its end exclusive; the block's own times where there is none.
    pub(crate) fn finish(mut self, span: Option<(i64, i64)>) -> Result<PathBuf, Failure> {
        let finished = self.complete(span);
        if finished.is_err() {
            self.abandon();
        }
        finished
    }

    fn complete(&mut self, span: Option<(i64, i64)>) -> Result<PathBuf, Failure> {
        if let Some(file) = self.chunks.take() {
            file.finish()?;
        }
        self.write_index()?;
        let (start_ms, last_ms) = self.times.unwrap_or_default();
        let (min_ms, max_ms) = span.unwrap_or((start_ms, last_ms.saturating_add(1)));
        let meta = Meta {
            ulid: self.ulid,
            min_ms,
            max_ms,
            samples: self.samples[0] + self.samples[1],
            float_samples: self.samples[0],
            histogram_samples: self.samples[1],
            series: self.series.len() as u64,
            chunks: self.chunk_count,
            level: 1,
            parents: Vec::new(),
            deletable: false,
            out_of_order: false,
        };
        self.write_file("tombstones", &Tombstones::encode_none())?;
        self.write_file("meta.json", &meta.encode())?;
        let target = self.directory.join(self.ulid.to_string());
        let (disk, temporary) = (&self.disk, &self.temporary);
        disk.sync_dir(&temporary.join("chunks"))
            .and_then(|()| disk.sync_dir(temporary))
            .and_then(|()| disk.rename(temporary, &target))
            .and_then(|()| disk.sync_dir(&self.directory))
            .map_err(|e| (target.clone(), e))?;
        Ok(target)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut output = Output::create(&self.disk, self.temporary.join(name))?;
        output.put(bytes)?;
        output.finish()
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let text: Arc<str> = text.into();
        let number = self.texts.len() as u32;
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    /// Writes a chunk; returns its reference.
    fn put_chunk(&mut self, chunk: &BuiltChunk) -> Result<u64, Failure> {
        let mut bytes = Vec::with_capacity(chunk.data.len() + 16);
        put_varint(&mut bytes, chunk.data.len() as u64);
        let covered = bytes.len();
        bytes.push(chunk.encoding);
        bytes.extend_from_slice(&chunk.data);
        let sum = crc32c::crc32c(&bytes[covered..]);
        bytes.extend_from_slice(&sum.to_be_bytes());
        let full = |file: &Output| file.at() + bytes.len() as u64 > CHUNK_FILE_LIMIT_BYTES;
        if let Some(file) = self.chunks.take_if(|file| full(file)) {
            file.finish()?;
        }
        let file = match &mut self.chunks {
            Some(file) => file,
            none => {
                self.files += 1;
                let path = self.temporary.join(format!("chunks/{:06}", self.files));
                let mut file = Output::create(&self.disk, path)?;
                let mut header = chunk::MAGIC.to_be_bytes().to_vec();
                header.push(chunk::VERSION);
                header.resize(chunk::HEADER_BYTES, 0);
                file.put(&header)?;
                none.insert(file)
            }
        };
        let reference = (self.files - 1) << 32 | file.at();
        file.put(&bytes)?;
        Ok(reference)
    }

    fn write_index(&mut self) -> Result<(), Failure> {
        let mut file = Output::create(&self.disk, self.temporary.join("index"))?;
        let mut header = index::MAGIC.to_be_bytes().to_vec();
        header.push(INDEX_VERSION);
        file.put(&header)?;
        // Symbols are numbered in their order.
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_by_key(|number| &self.texts[*number as usize]);
        let mut ranks = vec![0u32; order.len()];
        for (rank, number) in order.iter().enumerate() {
            ranks[*number as usize] = rank as u32;
        }
        let symbols_at = file.at();
        let mut content = (order.len() as u32).to_be_bytes().to_vec();
        for number in &order {
            put_text(&mut content, &self.texts[*number as usize]);
        }
        file.section(&content)?;
        file.align(index::SERIES_ALIGNMENT)?;
        let series_at = file.at();
        let mut postings: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        let mut all = Vec::with_capacity(self.series.len());
        for series in &self.series {
            file.align(index::SERIES_ALIGNMENT)?;
            let reference = u32::try_from(file.at() / index::SERIES_ALIGNMENT as u64)
                .map_err(|_| file.too_large("an index beyond 64 GiB"))?;
            all.push(reference);
            let mut entry = Vec::new();
            put_varint(&mut entry, series.labels.len() as u64);
            for (name, value) in &series.labels {
                let pair = (ranks[*name as usize], ranks[*value as usize]);
                put_varint(&mut entry, u64::from(pair.0));
                put_varint(&mut entry, u64::from(pair.1));
                postings.entry(pair).or_default().push(reference);
            }
            put_chunk_metas(&mut entry, &series.chunks);
            let mut bytes = Vec::with_capacity(entry.len() + 16);
            put_varint(&mut bytes, entry.len() as u64);
            bytes.extend_from_slice(&entry);
            bytes.extend_from_slice(&crc32c::crc32c(&entry).to_be_bytes());
            file.put(&bytes)?;
        }
        file.align(4)?;
        let postings_at = file.at();
        let text = |rank: u32| &*self.texts[order[rank as usize] as usize];
        let mut table = (postings.len() as u32 + 1).to_be_bytes().to_vec();
        let lists = postings
            .iter()
            .map(|((n, v), list)| (text(*n), text(*v), list));
        for (name, value, list) in [("", "", &all)].into_iter().chain(lists) {
            put_varint(&mut table, 2);
            put_text(&mut table, name);
            put_text(&mut table, value);
            put_varint(&mut table, file.at());
            let mut content = (list.len() as u32).to_be_bytes().to_vec();
            for reference in list {
                content.extend_from_slice(&reference.to_be_bytes());
            }
            file.section(&content)?;
        }
        let table_at = file.at();
        file.section(&table)?;
        // Label indices are not written any more; their places say so by being empty.
        let places = [
            symbols_at,
            series_at,
            postings_at,
            table_at,
            postings_at,
            table_at,
        ];
        let mut contents = Vec::with_capacity(index::CONTENTS_BYTES);
        for place in places {
            contents.extend_from_slice(&place.to_be_bytes());
        }
        let sum = crc32c::crc32c(&contents);
        contents.extend_from_slice(&sum.to_be_bytes());
        file.put(&contents)?;
        file.finish()
    }
}

pub(super) fn put_chunk_metas(entry: &mut Vec<u8>, chunks: &[ChunkMeta]) {
    put_varint(entry, chunks.len() as u64);
    let mut last: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match last {
            None => {
                put_signed(entry, chunk.min_ms);
                put_varint(entry, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
                put_varint(entry, chunk.reference);
            }
            Some(last) => {
                put_varint(entry, chunk.min_ms.wrapping_sub(last.max_ms) as u64);
                put_varint(entry, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
                put_signed(entry, chunk.reference.wrapping_sub(last.reference) as i64);
            }
        }
        last = Some(chunk);
    }
}

/// A file written front to back.
struct Output {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
}

impl Output {
    fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Self, Failure> {
        let file = disk.create(&path, 0).map_err(|e| (path.clone(), e))?;
        Ok(Self {
            path,
            file,
            written: 0,
            buffer: Vec::new(),
        })
    }

    /// Where the next byte goes.
    fn at(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Length, content, checksum.
    fn section(&mut self, content: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(content.len())
            .map_err(|_| self.too_large("a section of the index beyond 4 GiB"))?;
        self.put(&length.to_be_bytes())?;
        self.put(content)?;
        self.put(&crc32c::crc32c(content).to_be_bytes())
    }

    fn align(&mut self, to: usize) -> Result<(), Failure> {
        let over = (self.at() % to as u64) as usize;
        if over > 0 {
            self.put(&vec![0; to - over])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(|e| (self.path.clone(), e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        self.file.sync_data().map_err(|e| (self.path, e))
    }

    fn too_large(&self, what: &str) -> Failure {
        (
            self.path.clone(),
            io::Error::new(io::ErrorKind::FileTooLarge, what),
        )
    }
}
