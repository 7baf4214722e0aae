//! Writing the log: numbered segments, their space reserved before use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile};
use crate::parity::{Parity, ParityFile};
use crate::wal::header::{self, HEADER_BYTES, new_salt};
use crate::wal::record::{FRAME_BYTES, MARKER_MAGIC, RECORD_LIMIT_BYTES, RecordBuilder, kind};

/// First bytes of a segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"BAROWAL\n";
/// Version of segments and checkpoints.
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// A marker is written after so many bytes.
const MARKER_INTERVAL_BYTES: u64 = 64 * 1024;
/// After a failed write the disk is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Least space reserved for a segment. One that is filled makes the next twice as large: where
/// little is written, checkpoints come before this much.
const SEGMENT_FLOOR_BYTES: u64 = 4 << 20;
/// Names of segments tried before a write fails because of files that are there.
const NAMES_TRIED: usize = 16;
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
    /// Whether space was made for something else: nothing is tried until that is done.
    held: AtomicBool,
    /// How many of the failed syncs a checkpoint has made good. What the others should have made
    /// durable may be lost, and with it what later records build on. Both counts only grow, so that
    /// a sync that fails while a checkpoint ends is not taken for one before it.
    syncs_restored: AtomicU64,
    /// Held while syncing, so that whoever comes second knows that the first is done.
    syncing: Mutex<()>,
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
    pub(crate) parity_failed: AtomicU64,
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
    /// The segment after this one, made ahead so that no append waits for it.
    spare: Option<Segment>,
    next_number: u64,
    /// Space that the next segment reserves.
    next_bytes: u64,
    /// Times a new segment was asked for: a spare begun before is too old.
    rotations: u64,
    /// Full segments that may not be durable yet.
    full: Vec<Full>,
    failure: Option<Failure>,
}

/// A segment that gets no more records.
#[derive(Debug)]
struct Full {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Where its content ends.
    end: u64,
    parity: Protection,
}

/// What protects a segment from damage.
#[derive(Debug)]
struct Protection {
    parity: Parity,
    file: Arc<ParityFile>,
}

impl Protection {
    fn of(segment: &Path, salt: u32, number: u64) -> Self {
        let path = segment.with_file_name(parity_name(number));
        Self {
            parity: Parity::new(salt),
            file: Arc::new(ParityFile::new(path, salt, number)),
        }
    }
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
    parity: Protection,
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

/// The name of what protects a segment from damage.
pub(crate) fn parity_name(number: u64) -> String {
    format!("{number:08}.parity")
}

/// The number in the name of a segment's parity.
pub(crate) fn parity_number(name: &str) -> Option<u64> {
    name.strip_suffix(".parity")?.parse().ok()
}

/// The header of a segment or checkpoint.
pub(crate) fn segment_header(salt: u32, number: u64) -> Vec<u8> {
    header::write(SEGMENT_MAGIC, SEGMENT_VERSION, salt, number)
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
            held: AtomicBool::new(false),
            syncs_restored: AtomicU64::new(0),
            syncing: Mutex::new(()),
            state: Mutex::new(State {
                segment: None,
                spare: None,
                next_number,
                next_bytes: SEGMENT_FLOOR_BYTES,
                rotations: 0,
                full: Vec::new(),
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
        if record.len() > RECORD_LIMIT_BYTES {
            // It could be written, but not be read again.
            let text = format!("one append of more than {RECORD_LIMIT_BYTES} bytes");
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err((self.directory.clone(), error));
        }
        let mut state = self.lock();
        if let Some(failure) = &state.failure
            && (failure.at.elapsed() < RETRY_AFTER || self.held.load(Ordering::Relaxed))
        {
            let error = io::Error::new(failure.kind, failure.text.clone());
            return Err((failure.path.clone(), error));
        }
        match self.write(&mut state, record) {
            Ok(file) => {
                if record.is_naming() {
                    // Without its names a series is lost until it is named again, so one damaged
                    // place must not take them. Reading both does no harm; without the second, the
                    // first serves.
                    self.write(&mut state, record).ok();
                }
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
            Some((file, path)) => {
                self.sync_file(&file).map_err(|error| (path, error))?;
                self.check_sure()
            }
            None => Ok(()),
        }
    }

    /// Where every record is made durable before it is acknowledged: an error while one before is
    /// not, since records build on those before them.
    pub(crate) fn check_sure(&self) -> Result<(), (PathBuf, io::Error)> {
        let restored = self.syncs_restored.load(Ordering::Acquire);
        if self.always_sync && self.syncs_failed() > restored {
            let text = "an earlier record could not be made durable; the next checkpoint does it";
            return Err((self.directory.clone(), io::Error::other(text)));
        }
        Ok(())
    }

    /// A checkpoint holds everything that was written before it began: call it with what
    /// [`Self::syncs_failed`] was then.
    pub(crate) fn restored(&self, syncs_failed: u64) {
        self.syncs_restored
            .fetch_max(syncs_failed, Ordering::AcqRel);
    }

    /// Times a sync failed.
    pub(crate) fn syncs_failed(&self) -> u64 {
        self.figures.syncs_failed.load(Ordering::Acquire)
    }

    /// As [`Self::sync`], and waits for a sync that another thread began.
    pub(crate) fn sync_now(&self) -> Result<(), (PathBuf, io::Error)> {
        self.dirty.store(true, Ordering::Release);
        self.sync()
    }

    /// Writes what protects the log from damage, as far as it is written. Not durably: it is worth
    /// nothing unless something else goes wrong.
    pub(crate) fn protect(&self) {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.protect_current();
    }

    /// The caller holds `syncing`, so that no older entry takes the place of a newer one.
    fn protect_current(&self) {
        if self.held.load(Ordering::Relaxed) {
            // Space was made for something else.
            return;
        }
        let current = {
            let mut state = self.lock();
            let segment = state.segment.as_mut();
            segment.map(|s| (s.parity.parity.take(), s.parity.file.clone()))
        };
        if let Some((entries, file)) = current {
            self.write_parity(&file, &entries, false);
        }
    }

    fn write_parity(&self, file: &ParityFile, entries: &[(u64, Vec<u8>)], is_last: bool) {
        if let Err(error) = file.write(&self.disk, entries, is_last) {
            // The log itself is whole; later entries are tried again.
            self.figures.parity_failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(path = %file.path().display(), %error, "cannot write the parity of the log");
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), (PathBuf, io::Error)> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.dirty.swap(false, Ordering::Acquire) {
            return Ok(());
        }
        let (full, current) = {
            let mut state = self.lock();
            let full = std::mem::take(&mut state.full);
            (full, state.segment.as_ref().map(Segment::handle))
        };
        let mut result = Ok(());
        for full in full {
            let Full {
                file,
                path,
                end,
                mut parity,
            } = full;
            // All of them are tried: what one refuses is no reason to give up the others.
            let synced = self.sync_file(&file);
            // Gives back what was reserved, and drops the part of a record that a failed write left.
            if let Err(error) = self.disk.truncate(&path, end) {
                tracing::debug!(path = %path.display(), %error, "a full log segment keeps its reserved tail");
            }
            self.write_parity(&parity.file, &parity.parity.take(), true);
            result = result.and(synced.map_err(|error| (path, error)));
        }
        if let Some((file, path)) = current {
            result = result.and(self.sync_file(&file).map_err(|error| (path, error)));
        }
        self.protect_current();
        result
    }

    /// Continues in a new segment. Returns its number: every record written before is in a segment
    /// of a lower number.
    pub(crate) fn rotate(&self) -> Result<u64, (PathBuf, io::Error)> {
        let number = {
            let mut state = self.lock();
            self.retire(&mut state);
            state.rotations += 1;
            let spare = state.spare.as_ref().map(|spare| spare.number);
            spare.unwrap_or(state.next_number)
        };
        self.sync_now()?;
        Ok(number)
    }

    /// Whether the last write failed for lack of space.
    pub(crate) fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let state = self.lock();
        state
            .failure
            .as_ref()
            .is_some_and(|f| full.contains(&f.kind))
    }

    /// After a failure, whether to try again.
    pub(crate) fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Relaxed);
    }

    /// Makes the next segment where the present one is half full. Reserving space takes a while,
    /// during which no append could be written.
    pub(crate) fn prepare(&self) {
        let (number, rotations, size) = {
            let mut state = self.lock();
            let due = state
                .segment
                .as_ref()
                .is_some_and(|s| s.offset > s.size / 2);
            if !due || state.spare.is_some() || state.failure.is_some() {
                return;
            }
            state.next_number += 1;
            let filled = state.segment.as_ref().map_or(0, |s| s.size);
            (state.next_number - 1, state.rotations, 2 * filled)
        };
        let path = self.directory.join(segment_name(number));
        let Ok(segment) = self.open_segment(&path, number, size, 0) else {
            // Whoever needs it meets the same error, and reports it.
            return;
        };
        let mut state = self.lock();
        // Were others faster, it would take records out of their order.
        if state.rotations == rotations && state.next_number == number + 1 {
            state.spare = Some(segment);
            return;
        }
        drop(state);
        if let Err(error) = self.disk.remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove an unused log segment");
        }
    }

    /// Removes segments with numbers below `number`.
    pub(crate) fn remove_before(&self, number: u64) -> io::Result<usize> {
        let mut removed = 0;
        for name in self.disk.list(&self.directory)? {
            let is_covered = |have: Option<u64>| have.is_some_and(|have| have < number);
            if is_covered(segment_number(&name)) {
                self.disk.remove_file(&self.directory.join(name))?;
                removed += 1;
            } else if is_covered(parity_number(&name)) {
                self.disk.remove_file(&self.directory.join(name))?;
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
        let full = |segment: &Segment| segment.offset + needed > segment.size;
        if self.figures.rotate_asked.swap(false, Ordering::Relaxed)
            || state.segment.as_ref().is_some_and(full)
        {
            self.retire(state);
        }
        if state.segment.is_none() {
            state.segment = match state.spare.take() {
                Some(spare) if !full(&spare) => Some(spare),
                _ => Some(self.begin_segment(state, needed)?),
            };
        }
        let Some(segment) = &mut state.segment else {
            unreachable!("BUG: the segment was just made");
        };
        self.figures
            .segment
            .store(segment.number, Ordering::Relaxed);
        segment.put(record).map_err(|e| (segment.path.clone(), e))?;
        let bytes = record.len() as u64;
        self.figures
            .written_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(segment.handle())
    }

    /// Ends the present segment. It is made durable with the next sync.
    fn retire(&self, state: &mut State) {
        if let Some(segment) = state.segment.take() {
            state.next_bytes = 2 * segment.offset;
            state.full.push(Full {
                file: segment.file,
                path: segment.path,
                end: segment.offset,
                parity: segment.parity,
            });
            self.dirty.store(true, Ordering::Release);
        }
    }

    fn begin_segment(
        &self,
        state: &mut State,
        needed: u64,
    ) -> Result<Segment, (PathBuf, io::Error)> {
        let mut size = state.next_bytes;
        // Earlier failures may have left files of these names.
        let mut attempt = 1;
        loop {
            let number = state.next_number;
            let path = self.directory.join(segment_name(number));
            match self.open_segment(&path, number, size, needed) {
                Ok(segment) => {
                    state.next_number += 1;
                    return Ok(segment);
                }
                // A smaller segment is better than none.
                Err(error)
                    if error.kind() == io::ErrorKind::StorageFull && size > SEGMENT_FLOOR_BYTES =>
                {
                    size = (size / 2).max(SEGMENT_FLOOR_BYTES);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && attempt < NAMES_TRIED =>
                {
                    state.next_number += 1;
                    attempt += 1;
                }
                Err(error) => return Err((path, error)),
            }
        }
    }

    /// Makes a segment of about `size` bytes, in which a record of `needed` bytes has room.
    fn open_segment(
        &self,
        path: &Path,
        number: u64,
        size: u64,
        needed: u64,
    ) -> io::Result<Segment> {
        let start = HEADER_BYTES as u64;
        let size = size.max(SEGMENT_FLOOR_BYTES).next_power_of_two();
        let size = size.min(self.segment_bytes).max(start + needed);
        let salt = new_salt();
        let file = self.disk.create(path, size)?;
        let header = segment_header(salt, number);
        let ready = file
            .write_at(&header, 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.directory));
        if let Err(error) = ready {
            // The next attempt makes the file anew, or one of another name.
            if let Err(also) = self.disk.remove_file(path) {
                tracing::warn!(path = %path.display(), error = %also, "cannot remove an unused log segment");
            }
            return Err(error);
        }
        let mut parity = Protection::of(path, salt, number);
        parity.parity.cover(&header);
        Ok(Segment {
            file,
            parity,
            path: path.to_owned(),
            number,
            salt,
            offset: start,
            size,
            next_marker: start + MARKER_INTERVAL_BYTES,
        })
    }

    fn sync_file(&self, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        self.figures.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data().inspect_err(|error| {
            // What the system dropped from its cache now exists in our memory only: a new segment
            // and a checkpoint bring it to disk again.
            self.figures.syncs_failed.fetch_add(1, Ordering::AcqRel);
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
    fn handle(&self) -> (Arc<dyn DiskFile>, PathBuf) {
        (self.file.clone(), self.path.clone())
    }

    /// Writes a record at the end. After a failure the end has not moved: the next record
    /// overwrites what may be there.
    fn put(&mut self, record: &mut RecordBuilder) -> io::Result<()> {
        // Before a long record too: no search goes past one byte by byte.
        if self.offset >= self.next_marker || record.len() as u64 > MARKER_INTERVAL_BYTES {
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
            self.parity.parity.cover(bytes);
            self.offset += bytes.len() as u64;
            self.next_marker = self.offset + MARKER_INTERVAL_BYTES;
        }
        let bytes = record.finish(self.salt);
        self.file.write_at(bytes, self.offset)?;
        self.parity.parity.cover(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
