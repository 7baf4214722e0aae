//! Bytes set aside while a block is written, for its index: what is beyond a few megabytes goes to a
//! file, so that memory does not grow with the number of series.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bytes::Reader;
use crate::compact::pace::Pace;
use crate::disk::{Disk, DiskFile};

type Failure = (PathBuf, io::Error);

/// Bytes kept in memory before they go to the file.
const BUFFER_BYTES: usize = 2 << 20;
/// Size of the length before each record.
const LENGTH_BYTES: usize = 4;

/// Records, one after the other.
pub(crate) struct Stage {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    written: u64,
    buffer: Vec<u8>,
    pace: Option<Arc<Pace>>,
}

impl Stage {
    /// Nothing yet; `path` is made when it is needed.
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, pace: Option<Arc<Pace>>) -> Self {
        Self {
            disk,
            path,
            file: None,
            written: 0,
            buffer: Vec::new(),
            pace,
        }
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(record.len()).map_err(|_| {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, "a series beyond 4 GiB");
            (self.path.clone(), error)
        })?;
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(record);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush().map_err(|error| (self.path.clone(), error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(pace) = &self.pace {
            pace.spend(self.buffer.len() as u64)?;
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(self.disk.create(&self.path, 0)?),
        };
        file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Calls `each` with every record, in order, and removes the file.
    pub(crate) fn drain(
        self,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let fail = |error| (self.path.clone(), error);
        if self.file.is_some() {
            let mapped = self.disk.map(&self.path, self.written).map_err(fail)?;
            let mut at = 0;
            while at < mapped.0.len() {
                let length = mapped.0.read(at, LENGTH_BYTES).map_err(fail)?;
                let length = Reader::new(&length).u32().unwrap_or_default() as usize;
                let record = mapped.0.read(at + LENGTH_BYTES, length).map_err(fail)?;
                each(&record)?;
                at += LENGTH_BYTES + length;
            }
            if mapped.0.is_lost() {
                return Err(fail(io::ErrorKind::UnexpectedEof.into()));
            }
            self.disk.remove_file(&self.path).map_err(fail)?;
        }
        let mut reader = Reader::new(&self.buffer);
        while !reader.is_at_end() {
            let read = reader.u32().and_then(|length| reader.take(length as usize));
            let Ok(record) = read else {
                unreachable!("BUG: a record without its end");
            };
            each(record)?;
        }
        Ok(())
    }
}
