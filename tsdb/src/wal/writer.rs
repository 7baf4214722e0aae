//! Writing the log: numbered segments, their space reserved before use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile};
use crate::wal::record::{FRAME_BYTES, MARKER_MAGIC, RecordBuilder, kind};

/// First bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"BAROWAL\n";
/// Version of segments and checkpoints.
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// Two copies of: magic, version, salt, number, checksum, reserved. Without the salt no record can
/// be told from damage, so one bad sector must not take it.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 2 * HEADER_COPY_BYTES as u64;
/// Size of one copy.
pub(crate) const HEADER_COPY_BYTES: usize = 32;
/// A marker is written after so many bytes.
const MARKER_INTERVAL_BYTES: u64 = 64 * 1024;
/// After a failed write the disk is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Room kept for a marker.
const MARKER_BYTES: u64 = 48;

/// When written records are made to survive a power cut. They survive the end of the process in
/// every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalSync {
    /// Before each append is acknowledged.
    Always,
    /// So often, by a thread of its own.
    Interval(Duration),
    /// When the system likes.
    Never,
}

/// The log of one directory.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    always_sync: bool,
    dirty: AtomicBool,
    state: Mutex<State>,
    pub(crate) figures: WalFigures,
}

/// Counts for the metrics.
#[derive(Debug, Default)]
pub(crate) struct WalFigures {
    pub(crate) written_bytes: AtomicU64,
    pub(crate) writes_failed: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) syncs_failed: AtomicU64,
    pub(crate) segment: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) rotate_asked: AtomicBool,
    pub(crate) checkpoint_asked: AtomicBool,
}

/// A record that was written but perhaps not made durable.
#[must_use]
pub(crate) struct Written(Option<(Arc<dyn DiskFile>, PathBuf)>);

#[derive(Debug)]
struct State {
    segment: Option<Segment>,
    next_number: u64,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    salt: u32,
    offset: u64,
    size: u64,
    next_marker: u64,
}

#[derive(Debug)]
struct Failure {
    path: PathBuf,
    kind: io::ErrorKind,
    text: String,
    at: Instant,
}

/// The name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:08}.wal")
}

/// The number in a segment's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// The header of a segment or checkpoint.
pub(crate) fn header(salt: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
    bytes.extend_from_slice(&SEGMENT_MAGIC);
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&salt.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.resize(HEADER_COPY_BYTES, 0);
    bytes.repeat(2)
}

/// A number nobody can foresee, for checksums.
pub(crate) fn new_salt() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.finish() as u32
}

impl Wal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        segment_bytes: u64,
        sync: WalSync,
        next_number: u64,
    ) -> Self {
        Self {
            disk,
            directory,
            segment_bytes: segment_bytes.max(1 << 16),
            always_sync: sync == WalSync::Always,
            dirty: AtomicBool::new(false),
            state: Mutex::new(State {
                segment: None,
                next_number,
                failure: None,
            }),
            figures: WalFigures::default(),
        }
    }

    /// Writes a record. When this returns `Ok`, the record survives the end of the process and will
    /// be replayed: the caller does what it says, then calls [`Self::settle`].
    pub(crate) fn append(
        &self,
        record: &mut RecordBuilder,
    ) -> Result<Written, (PathBuf, io::Error)> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure
            && failure.at.elapsed() < RETRY_AFTER
        {
            let error = io::Error::new(failure.kind, failure.text.clone());
            return Err((failure.path.clone(), error));
        }
        match self.write(&mut state, record) {
            Ok(file) => {
                if state.failure.take().is_some() {
                    self.figures.failing.store(false, Ordering::Relaxed);
                    tracing::info!("the log accepts writes again; samples are stored again");
                }
                drop(state);
                if self.always_sync {
                    return Ok(Written(Some(file)));
                }
                self.dirty.store(true, Ordering::Release);
                Ok(Written(None))
            }
            Err((path, error)) => {
                self.figures.writes_failed.fetch_add(1, Ordering::Relaxed);
                self.figures.failing.store(true, Ordering::Relaxed);
                if state.failure.is_none() {
                    tracing::error!(path = %path.display(), %error,
                        "cannot write the log; samples are refused until the disk accepts writes again");
                }
                state.failure = Some(Failure {
                    path: path.clone(),
                    kind: error.kind(),
                    text: error.to_string(),
                    at: Instant::now(),
                });
                Err((path, error))
            }
        }
    }

    /// Makes a written record durable, where that is wanted before it is acknowledged.
    pub(crate) fn settle(&self, written: Written) -> Result<(), (PathBuf, io::Error)> {
        match written.0 {
            Some((file, path)) => self.sync_file(&file).map_err(|error| (path, error)),
            None => Ok(()),
        }
    }

    /// As [`Self::sync`], and waits for a sync that another thread began.
    pub(crate) fn sync_now(&self) -> Result<(), (PathBuf, io::Error)> {
        self.dirty.store(true, Ordering::Release);
        self.sync()
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), (PathBuf, io::Error)> {
        if !self.dirty.swap(false, Ordering::Acquire) {
            return Ok(());
        }
        let (file, path) = match &self.lock().segment {
            Some(segment) => (segment.file.clone(), segment.path.clone()),
            None => return Ok(()),
        };
        self.sync_file(&file).map_err(|error| (path, error))
    }

    /// Continues in a new segment. Returns its number: every record written before is in a segment
    /// of a lower number.
    pub(crate) fn rotate(&self) -> Result<u64, (PathBuf, io::Error)> {
        self.sync()?;
        let mut state = self.lock();
        if let Some(segment) = state.segment.take() {
            // Records between the sync above and here.
            let path = segment.path.clone();
            self.sync_file(&segment.file).map_err(|e| (path, e))?;
        }
        Ok(state.next_number)
    }

    /// Removes segments with numbers below `number`.
    pub(crate) fn remove_before(&self, number: u64) -> io::Result<usize> {
        let mut removed = 0;
        for name in self.disk.list(&self.directory)? {
            if segment_number(&name).is_some_and(|have| have < number) {
                self.disk.remove_file(&self.directory.join(name))?;
                removed += 1;
            }
        }
        if removed > 0 {
            self.disk.sync_dir(&self.directory)?;
        }
        Ok(removed)
    }

    fn write(
        &self,
        state: &mut State,
        record: &mut RecordBuilder,
    ) -> Result<(Arc<dyn DiskFile>, PathBuf), (PathBuf, io::Error)> {
        let needed = record.len() as u64 + MARKER_BYTES;
        if self.figures.rotate_asked.swap(false, Ordering::Relaxed) {
            state.segment = None;
        }
        if let Some(segment) = &state.segment
            && segment.offset + needed > segment.size
        {
            let full = segment.file.clone();
            let path = segment.path.clone();
            self.sync_file(&full).map_err(|error| (path, error))?;
            state.segment = None;
        }
        if state.segment.is_none() {
            let number = state.next_number;
            let path = self.directory.join(segment_name(number));
            let segment = self
                .open_segment(&path, number, needed)
                .map_err(|error| (path, error))?;
            state.next_number += 1;
            state.segment = Some(segment);
        }
        let Some(segment) = &mut state.segment else {
            unreachable!("BUG: the segment was just made");
        };
        segment.put(record).map_err(|e| (segment.path.clone(), e))?;
        let bytes = record.len() as u64;
        self.figures
            .written_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        Ok((segment.file.clone(), segment.path.clone()))
    }

    fn open_segment(&self, path: &Path, number: u64, needed: u64) -> io::Result<Segment> {
        let size = self.segment_bytes.max(SEGMENT_HEADER_BYTES + needed);
        let salt = new_salt();
        let file = self.disk.create(path, size)?;
        let ready = file
            .write_at(&header(salt, number), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.directory));
        if let Err(error) = ready {
            // The next attempt makes the file anew.
            if let Err(also) = self.disk.remove_file(path) {
                tracing::warn!(path = %path.display(), error = %also, "cannot remove an unused log segment");
            }
            return Err(error);
        }
        self.figures.segment.store(number, Ordering::Relaxed);
        Ok(Segment {
            file,
            path: path.to_owned(),
            number,
            salt,
            offset: SEGMENT_HEADER_BYTES,
            size,
            next_marker: SEGMENT_HEADER_BYTES + MARKER_INTERVAL_BYTES,
        })
    }

    fn sync_file(&self, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        self.figures.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data().inspect_err(|error| {
            // What the system dropped from its cache now exists in our memory only: a new segment
            // and a checkpoint bring it to disk again.
            self.figures.syncs_failed.fetch_add(1, Ordering::Relaxed);
            self.figures.rotate_asked.store(true, Ordering::Relaxed);
            self.figures.checkpoint_asked.store(true, Ordering::Relaxed);
            tracing::error!(%error, "cannot make the log durable");
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segment {
    /// Writes a record at the end. After a failure the end has not moved: the next record
    /// overwrites what may be there.
    fn put(&mut self, record: &mut RecordBuilder) -> io::Result<()> {
        if self.offset >= self.next_marker {
            let mut marker = RecordBuilder::default();
            marker.clear();
            marker.operation(kind::MARKER, |out| {
                out.extend_from_slice(&MARKER_MAGIC);
                out.extend_from_slice(&self.number.to_le_bytes());
                out.extend_from_slice(&self.offset.to_le_bytes());
            });
            let bytes = marker.finish(self.salt);
            debug_assert!(bytes.len() as u64 <= MARKER_BYTES && bytes.len() > FRAME_BYTES);
            self.file.write_at(bytes, self.offset)?;
            self.offset += bytes.len() as u64;
            self.next_marker = self.offset + MARKER_INTERVAL_BYTES;
        }
        let bytes = record.finish(self.salt);
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
