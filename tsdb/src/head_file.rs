//! Head files: sealed chunks on disk, mapped, until a block has their samples.
//!
//! A file is a header and frames (length u32, checksum u32, chunk). It only grows; what is mapped
//! is a prefix that was written and synced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::Reader;
use crate::chunk::{self, Chunk, ChunkBytes};
use crate::disk::{Disk, DiskFile};
use crate::map::Region;
use crate::quarantine::Quarantine;
use crate::wal::header::{self, HEADER_BYTES, HeaderError, new_salt};
use crate::wal::record::checksum;

/// First bytes of a head file.
pub(crate) const MAGIC: [u8; 8] = *b"BAROHED\n";
pub(crate) const VERSION: u32 = 1;
const FRAME_BYTES: usize = 8;
/// A file is closed at this size.
const FILE_LIMIT_BYTES: u64 = 64 << 20;

/// Writes head files.
#[derive(Debug)]
pub(crate) struct HeadFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    current: Option<Current>,
    next_number: u64,
    /// Finished and current files.
    files: Vec<Kept>,
}

/// A head file, and the oldest and newest instant in it.
#[derive(Debug)]
struct Kept {
    number: u64,
    min_ms: i64,
    max_ms: i64,
}

impl Kept {
    fn new(number: u64) -> Self {
        Self {
            number,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        }
    }

    fn cover(&mut self, chunk: &Chunk) {
        self.min_ms = self.min_ms.min(chunk.min_ms);
        self.max_ms = self.max_ms.max(chunk.max_ms);
    }
}

#[derive(Debug)]
struct Current {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    salt: u32,
    offset: u64,
}

/// What opening the directory found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// What was saved of damaged ones; it is in memory only.
    pub(crate) saved: Vec<Arc<Chunk>>,
    /// Series whose page in a chunk is lost.
    pub(crate) series_lost: u64,
    /// Files with bytes that are no chunk, not counting the torn end of the last write.
    pub(crate) damaged: u64,
}

impl Found {
    fn damage(&mut self, path: &Path, offset: usize, bytes: &[u8], quarantine: &Quarantine) {
        self.damaged += 1;
        tracing::error!(path = %path.display(), offset, bytes = bytes.len(),
            "a damaged chunk in a head file is skipped and kept in quarantine/; its samples come from the log where it still has them");
        quarantine.keep(path, offset, bytes);
    }
}

fn file_name(number: u64) -> String {
    format!("{number:08}.head")
}

fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".head")?.parse().ok()
}

impl HeadFiles {
    /// Opens the files of a directory. A damaged frame ends a file: the log has what follows.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        quarantine: &Quarantine,
    ) -> Result<(Self, Found), (PathBuf, OpenFailure)> {
        let mut files = Self {
            disk,
            directory,
            current: None,
            next_number: 1,
            files: Vec::new(),
        };
        let mut found = Found::default();
        let names = files
            .disk
            .list(&files.directory)
            .map_err(|e| (files.directory.clone(), OpenFailure::Io(e)))?;
        for number in names.iter().filter_map(|name| file_number(name)) {
            files.next_number = files.next_number.max(number + 1);
            let path = files.directory.join(file_name(number));
            let mut kept = Kept::new(number);
            let is_readable = files
                .load(&path, &mut kept, &mut found, quarantine)
                .map_err(|failure| (path.clone(), failure))?;
            if is_readable {
                files.files.push(kept);
            }
        }
        Ok((files, found))
    }

    /// Writes chunks and exchanges their bytes in memory for mapped ones.
    pub(crate) fn write(&mut self, chunks: &[Arc<Chunk>]) -> Result<(), (PathBuf, io::Error)> {
        if chunks.is_empty() {
            return Ok(());
        }
        if self
            .current
            .as_ref()
            .is_some_and(|c| c.offset >= FILE_LIMIT_BYTES)
        {
            self.current = None;
        }
        if self.current.is_none() {
            self.current = Some(self.begin()?);
        }
        let Some(current) = &mut self.current else {
            unreachable!("BUG: the file was just made");
        };
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let content = chunk.bytes();
            let content = content.as_slice();
            let length = content.len() as u32;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&checksum(current.salt, length, content).to_le_bytes());
            places.push((current.offset as usize + bytes.len(), content.len()));
            bytes.extend_from_slice(content);
        }
        let end = current.offset + bytes.len() as u64;
        let written = current
            .file
            .write_at(&bytes, current.offset)
            .and_then(|()| current.file.sync_data())
            .and_then(|()| self.disk.map(&current.path, end));
        let region = match written {
            Ok(mapping) => Arc::new(mapping.0),
            // What the system did not write, if only the header, it will not write with the next
            // sync either: a new file has it all. Nothing beyond the end of this one is mapped.
            Err(error) => {
                let (path, offset) = (current.path.clone(), current.offset);
                self.current = None;
                self.give_back(&path, offset);
                return Err((path, error));
            }
        };
        current.offset = end;
        let number = self.next_number - 1;
        for (chunk, (offset, length)) in chunks.iter().zip(places) {
            chunk.replace(ChunkBytes::Mapped {
                region: region.clone(),
                offset,
                length,
            });
            if let Some(kept) = self.files.iter_mut().find(|kept| kept.number == number) {
                kept.cover(chunk);
            }
        }
        Ok(())
    }

    /// Removes files that hold nothing at or after `floor_ms`. Maps of them stay readable.
    pub(crate) fn remove_before(&mut self, floor_ms: i64) -> Result<(), (PathBuf, io::Error)> {
        let current = self.current.as_ref().map(|_| self.next_number - 1);
        let gone: Vec<u64> = self
            .files
            .iter()
            .filter(|kept| kept.max_ms < floor_ms && Some(kept.number) != current)
            .map(|kept| kept.number)
            .collect();
        for number in gone {
            let path = self.directory.join(file_name(number));
            self.disk.remove_file(&path).map_err(|e| (path, e))?;
            self.files.retain(|kept| kept.number != number);
        }
        Ok(())
    }

    /// The oldest instant in any of them.
    pub(crate) fn oldest_ms(&self) -> i64 {
        let oldest = self.files.iter().map(|kept| kept.min_ms);
        oldest.min().unwrap_or(i64::MAX)
    }

    /// Begins a new file with the next write, so that the present one can be removed later.
    pub(crate) fn rotate(&mut self) {
        self.current = None;
    }

    /// Gives back what an attempt wrote in part: on a full disk, the next one needs the room.
    fn give_back(&mut self, path: &Path, offset: u64) {
        if offset > HEADER_BYTES as u64 {
            self.disk.truncate(path, offset).ok();
        } else if self.disk.remove_file(path).is_ok() {
            self.files.pop();
        }
    }

    fn begin(&mut self) -> Result<Current, (PathBuf, io::Error)> {
        let number = self.next_number;
        let path = self.directory.join(file_name(number));
        let salt = new_salt();
        let header = header::write(MAGIC, VERSION, salt, number);
        let made = self.disk.create(&path, 0).and_then(|file| {
            let ready = file
                .write_at(&header, 0)
                .and_then(|()| self.disk.sync_dir(&self.directory));
            if ready.is_err() {
                self.disk.remove_file(&path).ok();
            }
            ready.map(|()| file)
        });
        let file = made.map_err(|error| (path.clone(), error))?;
        self.next_number += 1;
        self.files.push(Kept::new(number));
        Ok(Current {
            file,
            path,
            salt,
            offset: HEADER_BYTES as u64,
        })
    }

    /// Reads a file; `false` where it cannot be read.
    fn load(
        &self,
        path: &Path,
        kept: &mut Kept,
        found: &mut Found,
        quarantine: &Quarantine,
    ) -> Result<bool, OpenFailure> {
        let length = self.disk.size_bytes(path).map_err(OpenFailure::Io)?;
        if (length as usize) < HEADER_BYTES {
            // Its making was cut short.
            return Ok(true);
        }
        let mapping = self.disk.map(path, length).map_err(OpenFailure::Io)?;
        let region: Arc<Region> = Arc::new(mapping.0);
        let whole = region.read(0, region.len()).map_err(OpenFailure::Io)?;
        let bytes = &whole[..];
        let salt = match header::read(bytes, MAGIC, VERSION) {
            Ok(salt) => salt,
            Err(HeaderError::Version(version)) => return Err(OpenFailure::Version(version)),
            Err(HeaderError::Damaged) => {
                found.damaged += 1;
                tracing::error!(path = %path.display(), offset = 0,
                    "both headers of a head file are damaged; it is moved to quarantine/, its samples come from the log where it still has them");
                quarantine.take(path);
                return Ok(false);
            }
        };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let mut frame = frame_at(bytes, at, salt);
            if frame.is_none() {
                // Only its length is damaged: the chunk knows how long it is.
                if let Some((offset, length)) = frame_without_length(bytes, at, salt) {
                    found.damage(path, at, &bytes[at..offset], quarantine);
                    frame = Some((offset, length));
                }
            }
            let Some((offset, length)) = frame else {
                // A frame that is damaged inside, or the torn end.
                let next = skip(bytes, at, salt);
                let end = next.unwrap_or(bytes.len());
                let saved = bytes.get(at + FRAME_BYTES..end).and_then(chunk::salvage);
                // A write that was cut short ends before its length says; the log has it.
                if next.is_none() && saved.is_none() && is_cut_short(bytes, at) {
                    break;
                }
                found.damage(path, at, &bytes[at..end], quarantine);
                if let Some((chunk, lost)) = saved {
                    tracing::error!(path = %path.display(), offset = at, series = lost,
                        "of the damaged chunk the other series are saved");
                    kept.cover(&chunk);
                    found.series_lost += lost as u64;
                    found.saved.push(Arc::new(chunk));
                }
                at = end;
                continue;
            };
            at = offset + length;
            let chunk = Chunk::open(ChunkBytes::Mapped {
                region: region.clone(),
                offset,
                length,
            });
            match chunk {
                Ok(chunk) => {
                    kept.cover(&chunk);
                    found.chunks.push(Arc::new(chunk));
                }
                Err(_) => found.damage(path, offset, &bytes[offset..at], quarantine),
            }
        }
        Ok(true)
    }
}

/// Why a head file stops the store from opening.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    Io(io::Error),
    Version(u32),
}

/// Offset and length of the content of an intact frame.
fn frame_at(bytes: &[u8], at: usize, salt: u32) -> Option<(usize, usize)> {
    let mut reader = Reader::new(bytes.get(at..)?);
    let length = reader.u32().ok()?;
    let sum = reader.u32().ok()?;
    let content = reader.take(length as usize).ok()?;
    (length > 0 && checksum(salt, length, content) == sum)
        .then_some((at + FRAME_BYTES, content.len()))
}

/// As [`frame_at`], with the length that the chunk's own header adds up to.
fn frame_without_length(bytes: &[u8], at: usize, salt: u32) -> Option<(usize, usize)> {
    let mut reader = Reader::new(bytes.get(at..)?);
    reader.u32().ok()?;
    let sum = reader.u32().ok()?;
    let rest = bytes.get(at + FRAME_BYTES..)?;
    let length = crate::chunk::length_of(rest)?;
    let content = rest.get(..length)?;
    (checksum(salt, u32::try_from(length).ok()?, content) == sum)
        .then_some((at + FRAME_BYTES, length))
}

/// Whether the file ends inside the frame at `at`.
fn is_cut_short(bytes: &[u8], at: usize) -> bool {
    let mut reader = Reader::new(&bytes[at..]);
    let (Ok(length), Ok(_)) = (reader.u32(), reader.u32()) else {
        return true;
    };
    // Space that a power cut left without its bytes.
    let is_empty = || bytes[at..].iter().all(|byte| *byte == 0);
    reader.take(length as usize).is_err() || is_empty()
}

/// The frame after a damaged one: where its length leads, or, were that damaged too, the first one
/// that a byte-wise search finds. The log may be without these chunks for long.
fn skip(bytes: &[u8], at: usize, salt: u32) -> Option<usize> {
    let length = Reader::new(&bytes[at..]).u32().ok()? as usize;
    let next = at.checked_add(FRAME_BYTES + length)?;
    if frame_at(bytes, next, salt).is_some() {
        return Some(next);
    }
    (at + 1..bytes.len()).find(|start| {
        // Lengths that fit are a cheap test before the checksum.
        let mut reader = Reader::new(&bytes[*start..]);
        let length = reader.u32().ok();
        let content = length.and_then(|length| {
            reader.u32().ok()?;
            reader.take(length as usize).ok()
        });
        content.is_some_and(crate::chunk::adds_up) && frame_at(bytes, *start, salt).is_some()
    })
}
