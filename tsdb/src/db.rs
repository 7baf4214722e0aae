//! The store's front: open, register, append, snapshot.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use barograph_instrument::Registry;
use barograph_model::{Clock, Labels, Matcher, Metadata, SystemClock, TimeRange};

use crate::batch::{Appended, Batch, GroupId, SeriesRef};
use crate::compact::{self, Compaction, pace::Pace};
use crate::deletions::Deletions;
use crate::disk::{Disk, Lock, SystemDisk};
use crate::error::{AppendError, CloseError, OpenError, RegisterError};
use crate::error::{DeleteError, SnapshotError};
use crate::head::Head;
use crate::head_file::HeadFiles;
use crate::maintain::Complaint;
use crate::metrics::{self, Figures};
use crate::offline::BlockInfo;
use crate::options::{Options, WalSync};
use crate::out_of_order::Backfill;
use crate::progress::{OpeningProgress, OpeningStep, Progress};
use crate::quarantine::Quarantine;
use crate::reserve::Reserve;
use crate::retention::Retention;
use crate::retire::Leaving;
use crate::snapshot::Snapshot;
use crate::stats::{self, Stats};
use crate::view::View;
use crate::wal::writer::Wal;

/// The store. Cloning shares it; the last clone to go closes it.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
}

struct Shared {
    /// Set once the store is open; `None` where it could not be opened.
    inner: OnceLock<Option<Arc<Inner>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How far opening is.
    progress: Progress,
}

/// The work of opening a store that [`Db::prepare`] made.
#[must_use = "the store waits for it"]
pub struct Opening {
    db: Db,
    options: Options,
    registry: Registry,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn ClockDebug>,
}

impl Opening {
    /// Takes the directory's lock, loads blocks, replays the log, registers the store's metrics.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn run(self) -> Result<(), OpenError> {
        let shared = &self.db.shared;
        let progress = &shared.progress;
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let opened = crate::open::open(self.options.clone(), disk, clock, progress);
        let inner = Arc::new(opened?);
        metrics::register(&self.registry, &inner);
        let threads = start_threads(&inner)?;
        *shared
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = threads;
        progress.begin(OpeningStep::Done, 0);
        shared.inner.set(Some(inner)).ok();
        Ok(())
    }
}

impl Drop for Opening {
    /// Who waits goes on: with the store, or knowing that there will be none.
    fn drop(&mut self) {
        self.db.shared.inner.set(None).ok();
    }
}

/// What the store's threads share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn ClockDebug>,
    pub(crate) head: Arc<Head>,
    pub(crate) wal: Wal,
    pub(crate) view: ArcSwap<View>,
    /// Views that others replaced, and the instant up to which the head keeps data for them.
    pub(crate) old_views: Mutex<Vec<(Arc<View>, i64)>>,
    pub(crate) figures: Figures,
    pub(crate) quarantine: Quarantine,
    /// Held by whoever does maintenance.
    pub(crate) maintenance: Mutex<Maintenance>,
    pub(crate) deletes: Mutex<()>,
    /// Samples before this instant are in no head file, no checkpoint and no log segment: nothing
    /// brings them back.
    pub(crate) head_reach_ms: AtomicI64,
    pub(crate) retention: Mutex<Retention>,
    pub(crate) compaction: Compaction,
    pub(crate) compaction_figures: compact::Figures,
    /// The disk budget of compaction.
    pub(crate) pace: Arc<Pace>,
    closed: RwLock<bool>,
    stop: (Mutex<bool>, Condvar),
    lock: Mutex<Option<Lock>>,
}

/// A clock that can be printed, for the sake of [`Inner`]'s own printing.
pub(crate) trait ClockDebug: Clock + std::fmt::Debug {}
impl<T: Clock + std::fmt::Debug> ClockDebug for T {}

/// What maintenance remembers between its rounds.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) head_files: HeadFiles,
    pub(crate) reserve: Reserve,
    pub(crate) checkpointed: Checkpointed,
    pub(crate) cut_sought: Instant,
    pub(crate) leaving: Leaving,
    /// How far back the last two checkpoints and the log since them reach, the older first.
    pub(crate) reach_ms: [i64; 2],
    /// What was said of pages and checkpoints that cannot be written.
    pub(crate) unwritten_pages: Complaint,
    pub(crate) unwritten_checkpoint: Complaint,
}

/// The last attempt to write a checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpointed {
    pub(crate) at: Instant,
    /// Bytes that had been written to the log when it began.
    pub(crate) log_bytes: u64,
    /// Samples that had been stored.
    pub(crate) samples: u64,
    /// Bytes of the last checkpoint that was written; 0 before the first.
    pub(crate) size_bytes: u64,
}

impl Db {
    /// Opens a directory: takes its lock, loads blocks, replays the log. Registers the store's own
    /// metrics.
    ///
    /// # Errors
    /// The directory is locked, unreadable, unwritable or of a newer format.
    pub fn open(options: Options, registry: &Registry) -> Result<Self, OpenError> {
        Self::open_with(options, registry, Arc::new(SystemDisk), SystemClock)
    }

    /// [`Db::open`] on a disk and a clock of the caller's.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_with(
        options: Options,
        registry: &Registry,
        disk: Arc<dyn Disk>,
        clock: impl Clock + std::fmt::Debug,
    ) -> Result<Self, OpenError> {
        let (db, opening) = Self::prepare_with(options, registry, disk, clock);
        opening.run()?;
        Ok(db)
    }

    /// A store that is not open yet, and the work of opening it. Until that is done, in another
    /// thread, every call waits for it: writers may begin at once, and what they bring is stored in
    /// its order behind what the log has. Where opening fails, batches are refused as by a store that
    /// was closed; other calls panic.
    pub fn prepare(options: Options, registry: &Registry) -> (Self, Opening) {
        Self::prepare_with(options, registry, Arc::new(SystemDisk), SystemClock)
    }

    /// [`Db::prepare`] on a disk and a clock of the caller's.
    pub fn prepare_with(
        options: Options,
        registry: &Registry,
        disk: Arc<dyn Disk>,
        clock: impl Clock + std::fmt::Debug,
    ) -> (Self, Opening) {
        let db = Self {
            shared: Arc::new(Shared {
                inner: OnceLock::new(),
                threads: Mutex::default(),
                progress: Progress::default(),
            }),
        };
        let opening = Opening {
            db: db.clone(),
            options,
            registry: registry.clone(),
            disk,
            clock: Arc::new(clock),
        };
        (db, opening)
    }

    /// Whether no call has to wait for the store to be opened; `wait` waits until that is so.
    /// `false` where it cannot be opened, too.
    pub fn is_open(&self, wait: bool) -> bool {
        let inner = if wait {
            Some(self.shared.inner.wait())
        } else {
            self.shared.inner.get()
        };
        inner.is_some_and(Option::is_some)
    }

    /// How far opening it is. Does not wait.
    pub fn opening_progress(&self) -> OpeningProgress {
        self.shared.progress.now()
    }

    /// Begins a group. Close it when its writer goes away.
    pub fn open_group(&self) -> GroupId {
        self.inner().head.open_group()
    }

    /// Ends a group: its pages may be sealed and its memory released.
    pub fn close_group(&self, group: GroupId) {
        self.inner().head.close_group(group);
    }

    /// The reference of a series, made where there is none.
    ///
    /// # Errors
    /// Too many series.
    pub fn register(&self, group: GroupId, labels: &Labels) -> Result<SeriesRef, RegisterError> {
        self.inner().head.register(group, labels)
    }

    /// Stores a batch: when this returns `Ok`, the accepted samples survive a crash of the process.
    ///
    /// # Errors
    /// The log cannot be written, or the store is closed. Nothing is stored then, unless the batch
    /// has several samples of one series or series of several groups: then a part may be. Appending
    /// the same batch again is safe, since a sample that is already stored is accepted again.
    pub fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let Some(inner) = self.shared.inner.wait() else {
            return Err(AppendError::Closed);
        };
        // Held to the end: closing waits for appends that began before.
        let closed = inner.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(AppendError::Closed);
        }
        // Also where all of it is stored already, but perhaps not durably.
        inner
            .wal
            .check_sure()
            .map_err(|(path, source)| AppendError::Log { path, source })?;
        inner.head.append(&inner.wal, batch)
    }

    /// Remembers what a metric family says of itself; `false` where there is no room for it. Nothing
    /// is written where it says nothing new.
    ///
    /// # Errors
    /// The log cannot be written, or the store is closed.
    pub fn set_metadata(&self, family: &str, metadata: &Metadata) -> Result<bool, AppendError> {
        let inner = self.inner();
        let closed = inner.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(AppendError::Closed);
        }
        inner.head.set_metadata(&inner.wal, family, metadata)
    }

    /// What metric families were said to be with [`Db::set_metadata`], by name.
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        self.inner().head.families.all()
    }

    /// Changes how many exemplars are kept; the oldest go where there are more.
    pub fn set_exemplars_limit(&self, limit: usize) {
        self.inner().head.exemplars.set_limit(limit);
    }

    /// An immutable view of everything appended before the call.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        // Late samples first: those that become a part meanwhile are in the view then.
        let late = inner.head.late.views();
        Snapshot::new(inner.head.clone(), inner.view.load_full(), late)
    }

    /// Sets how much older than the newest sample of the store a sample may be that is older than
    /// its series' newest, milliseconds; 0 takes none from now on.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        self.inner().head.late.set_window(window_ms);
    }

    /// Begins an import of samples of any age. They become blocks of their own, without passing the
    /// head and the log.
    pub fn backfill(&self) -> Backfill {
        Backfill::new(self.inner().clone())
    }

    /// A number that grows whenever samples that are not the newest of their series appear inside
    /// `range`, late or imported: what was computed from the range before is out of date then. It
    /// may grow without that.
    pub fn past_generation(&self, range: TimeRange) -> u64 {
        self.inner().head.late.generation(range)
    }

    /// How many blocks could not be opened.
    pub(crate) fn unreadable_blocks(&self) -> u64 {
        self.inner()
            .figures
            .blocks_unreadable
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The blocks in force.
    pub(crate) fn view(&self) -> Arc<View> {
        self.inner().view.load_full()
    }

    /// Figures about the store; at most `top` rows per list.
    pub fn stats(&self, top: usize) -> Stats {
        stats::collect(&self.inner().head, top)
    }

    /// Does now what the background thread does from time to time: writes sealed pages to head
    /// files, cuts blocks, applies the retention, checkpoints when it is time.
    pub fn maintain(&self) {
        self.inner().maintain(true);
    }

    /// Deletes the samples inside `range` of the series that fit every matcher: those there are, not
    /// those that will come. They are gone from answers and after a crash once this returns; their
    /// bytes go when their blocks are compacted.
    ///
    /// # Errors
    /// The disk refuses; nothing is deleted then. Too many deletions wait for compaction.
    pub fn delete_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), DeleteError> {
        self.inner().delete(matchers, range)
    }

    /// Writes every block anew that has deleted samples, without these.
    ///
    /// # Errors
    /// A block cannot be read or written; it stays as it is.
    pub fn clean_tombstones(&self) -> Result<(), DeleteError> {
        self.inner().clean()
    }

    /// Writes what there is now to a new directory that can be opened as a data directory; files
    /// that do not change are shared by hard links.
    ///
    /// # Errors
    /// The disk refuses, or the directory is there already.
    pub fn write_snapshot(&self, directory: &Path, skip_head: bool) -> Result<(), SnapshotError> {
        self.inner().write_snapshot(directory, skip_head)
    }

    /// The blocks there are, oldest first.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        self.inner().block_infos()
    }

    /// Changes how much is kept; it counts from the next round of maintenance on.
    pub fn set_retention(&self, retention: Retention) {
        let mut own = self.inner().retention.lock();
        **own.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut()) = retention;
    }

    /// Does now what the compaction thread does from time to time: merges blocks until there is
    /// nothing to merge. Returns how many merges succeeded.
    pub fn compact(&self) -> usize {
        self.inner().compact()
    }

    /// Writes out what closing wants written and releases the directory. Appends fail afterwards.
    ///
    /// # Errors
    /// The disk refuses; what was acknowledged is in the log nevertheless.
    pub fn close(&self) -> Result<(), CloseError> {
        self.shared.close()
    }

    fn inner(&self) -> &Arc<Inner> {
        match self.shared.inner.wait() {
            Some(inner) => inner,
            None => panic!("BUG: a store is used that could not be opened"),
        }
    }
}

impl Shared {
    fn close(&self) -> Result<(), CloseError> {
        let Some(inner) = self.inner.wait() else {
            return Ok(());
        };
        {
            let mut closed = inner.closed.write().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *closed, true) {
                return Ok(());
            }
        }
        self.stop_threads();
        let result = inner.finish();
        inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        result.map_err(|(path, source)| CloseError { path, source })
    }

    fn stop_threads(&self) {
        let Some(Some(inner)) = self.inner.get() else {
            return;
        };
        let (stop, wake) = &inner.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        inner.pace.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("BUG: a thread of the store panicked");
            }
        }
    }
}

impl Drop for Shared {
    /// Dropping is not closing: it ends like a crash, with everything acknowledged in the log.
    fn drop(&mut self) {
        self.stop_threads();
        if let Some(Some(inner)) = self.inner.get() {
            inner.wal.protect();
        }
    }
}

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "one call, from opening")]
    pub(crate) fn new(
        options: Options,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn ClockDebug>,
        head: Arc<Head>,
        wal: Wal,
        view: View,
        head_files: HeadFiles,
        quarantine: Quarantine,
        figures: Figures,
        lock: Lock,
    ) -> Self {
        let pace = Arc::new(Pace::new(options.compaction_bytes_per_second));
        let reserve = Reserve::new(disk.clone(), &options.path, options.reserve_bytes);
        Self {
            deletes: Mutex::default(),
            head_reach_ms: AtomicI64::new(i64::MIN),
            retention: Mutex::new(Retention {
                time_ms: options.retention_ms,
                size_bytes: options.retention_bytes,
                disk_percent: options.retention_percent,
            }),
            compaction: Compaction::default(),
            compaction_figures: compact::Figures::default(),
            pace,
            options,
            disk,
            clock,
            head,
            wal,
            view: ArcSwap::from_pointee(view),
            old_views: Mutex::default(),
            figures,
            quarantine,
            maintenance: Mutex::new(Maintenance {
                head_files,
                reserve,
                checkpointed: Checkpointed {
                    at: Instant::now(),
                    log_bytes: 0,
                    samples: 0,
                    size_bytes: 0,
                },
                cut_sought: Instant::now(),
                leaving: Leaving::default(),
                reach_ms: [i64::MIN; 2],
                unwritten_pages: Complaint::default(),
                unwritten_checkpoint: Complaint::default(),
            }),
            closed: RwLock::new(false),
            stop: (Mutex::new(false), Condvar::new()),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// Puts another view in force, which `change` makes of the present one. Several threads write
    /// blocks; one after the other comes here. The head keeps data before `until_ms` as long as
    /// someone reads through the view that was.
    pub(crate) fn exchange_view(&self, until_ms: i64, change: impl FnOnce(&View) -> View) {
        let mut old_views = self.old_views();
        let old = self.view.load_full();
        self.view.store(Arc::new(View {
            deletions: old.deletions.clone(),
            matches: old.matches.clone(),
            ..change(&old)
        }));
        let view = self.view.load();
        let is_gone = |uid| view.blocks.iter().all(|block| block.uid() != uid);
        view.matches.forget(is_gone);
        old_views.push((old, until_ms));
    }

    /// Puts other deletions in force.
    pub(crate) fn exchange_deletions(&self, deletions: Arc<Deletions>) {
        let mut old_views = self.old_views();
        let old = self.view.load_full();
        self.view.store(Arc::new(View {
            blocks: old.blocks.clone(),
            head_start_ms: old.head_start_ms,
            deletions,
            matches: old.matches.clone(),
        }));
        old_views.push((old, i64::MIN));
    }

    /// Views that others replaced.
    pub(crate) fn old_views(&self) -> MutexGuard<'_, Vec<(Arc<View>, i64)>> {
        let views = self.old_views.lock();
        views.unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the store from being closed; `None` where it was.
    pub(crate) fn hold_open(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        (!*closed).then_some(closed)
    }

    /// The data directory's part for the log and checkpoints.
    pub(crate) fn wal_directory(&self) -> PathBuf {
        self.options.path.join("wal")
    }

    /// A number for a new block.
    pub(crate) fn new_uid(&self) -> u64 {
        self.clock.now_ms() as u64 ^ (u64::from(crate::wal::header::new_salt()) << 32)
    }

    /// Whether the store is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `true` where the store is to stop.
    fn wait(&self, time: Duration) -> bool {
        let (stop, wake) = &self.stop;
        let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
        if *stop {
            return true;
        }
        match wake.wait_timeout(stop, time) {
            Ok((stop, _)) => *stop,
            Err(poisoned) => *poisoned.into_inner().0,
        }
    }
}

const COMPACTION_THREAD: &str = "tsdb-compact";
/// How far compaction stands back behind queries and ingestion for the processors.
const COMPACTION_NICENESS: i32 = 10;

fn start_threads(inner: &Arc<Inner>) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let mut threads = Vec::new();
    let start = |name: &str, interval: Duration, work: fn(&Inner)| {
        let inner = inner.clone();
        let in_background = name == COMPACTION_THREAD;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if in_background {
                    // Of this thread alone, on Linux. Where it is refused, it goes without.
                    rustix::process::nice(COMPACTION_NICENESS).ok();
                }
                while !inner.wait(interval) {
                    work(&inner);
                }
            });
        thread.map_err(|source| OpenError::Io {
            path: name.into(),
            action: "start the thread",
            source,
        })
    };
    if let WalSync::Interval(interval) = inner.options.wal_sync {
        threads.push(start("tsdb-sync", interval, |inner| {
            // Failures are counted and logged where they happen.
            inner.wal.sync().ok();
            inner.wal.prepare();
        })?);
    }
    if !inner.options.maintenance_interval.is_zero() {
        let interval = inner.options.maintenance_interval;
        threads.push(start("tsdb-maintain", interval, |inner| {
            inner.maintain(false);
        })?);
        threads.push(start(COMPACTION_THREAD, interval, |inner| {
            inner.compact();
        })?);
    }
    Ok(threads)
}
