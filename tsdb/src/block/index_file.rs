//! Writing an index file: sections one after the other, a few bytes in memory at a time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::index::VERSION;
use crate::block::{INDEX_MAGIC, header};
use crate::compact::pace::Pace;
use crate::disk::{Disk, DiskFile};

type Failure = (PathBuf, io::Error);

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// An index file under construction.
pub(crate) struct IndexFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    pace: Option<Arc<Pace>>,
    written: u64,
    buffer: Vec<u8>,
    contents: Vec<u8>,
    sections: u32,
    /// Where the present section begins, and the checksum of what was flushed of it.
    start: u64,
    sum: u32,
    /// How much of the buffer is in the checksum.
    summed: usize,
}

impl IndexFile {
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        pace: Option<Arc<Pace>>,
    ) -> Result<Self, Failure> {
        let file = disk.create(&path, 0).map_err(|e| (path.clone(), e))?;
        Ok(Self {
            path,
            file,
            pace,
            written: 0,
            buffer: header(INDEX_MAGIC, VERSION),
            contents: Vec::new(),
            sections: 0,
            start: 0,
            sum: 0,
            summed: 0,
        })
    }

    /// Begins a section; the one before has ended.
    pub(crate) fn begin(&mut self) {
        let end = self.end();
        let padding = end.next_multiple_of(8) - end;
        self.buffer.extend((0..padding).map(|_| 0));
        self.start = self.end();
        (self.sum, self.summed) = (0, self.buffer.len());
    }

    /// Adds to the section.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Bytes of the section so far.
    pub(crate) fn section_bytes(&self) -> u64 {
        self.end() - self.start
    }

    /// Ends the section.
    pub(crate) fn end_section(&mut self, id: u32) {
        self.add_to_sum();
        let length = self.section_bytes();
        self.contents.extend_from_slice(&id.to_le_bytes());
        self.contents.extend_from_slice(&self.sum.to_le_bytes());
        self.contents.extend_from_slice(&self.start.to_le_bytes());
        self.contents.extend_from_slice(&length.to_le_bytes());
        self.sections += 1;
    }

    /// Writes a section as a whole.
    pub(crate) fn section(&mut self, id: u32, bytes: &[u8]) -> Result<(), Failure> {
        self.begin();
        self.put(bytes)?;
        self.end_section(id);
        Ok(())
    }

    /// Writes the table of contents and the footer: its checksum, the number of sections, magic.
    /// Returns the size of the file.
    pub(crate) fn finish(mut self) -> Result<u64, Failure> {
        let contents = std::mem::take(&mut self.contents);
        self.buffer.extend_from_slice(&contents);
        let sum = crc32c::crc32c(&contents);
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        self.buffer.extend_from_slice(&self.sections.to_le_bytes());
        self.buffer.extend_from_slice(&INDEX_MAGIC);
        self.flush()?;
        self.file
            .sync_data()
            .map_err(|error| (self.path.clone(), error))?;
        Ok(self.written)
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn add_to_sum(&mut self) {
        self.sum = crc32c::crc32c_append(self.sum, &self.buffer[self.summed..]);
        self.summed = self.buffer.len();
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.add_to_sum();
        let fail = |error| (self.path.clone(), error);
        if let Some(pace) = &self.pace {
            pace.spend(self.buffer.len() as u64).map_err(fail)?;
        }
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(fail)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.summed = 0;
        Ok(())
    }
}
