//! The store's front: open, register, append, snapshot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use barograph_instrument::Registry;
use barograph_model::{Labels, Sample};

use crate::batch::{Appended, Batch, GroupId, RejectReason, Rejected, SeriesRef};
use crate::error::{AppendError, CloseError, OpenError, RegisterError};
use crate::snapshot::Snapshot;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made where absent.
    pub path: PathBuf,
    /// How long samples are kept, milliseconds; 0 keeps them for ever.
    pub retention_ms: i64,
    /// Most series in memory.
    pub series_limit: usize,
}

impl Options {
    /// The defaults: 15 days, ten million series.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention_ms: 15 * 24 * 3_600_000,
            series_limit: 10_000_000,
        }
    }
}

/// Figures about the store, for `/api/v1/status/tsdb`.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The part in memory.
    pub head: HeadStats,
    /// Series per metric name, largest first.
    pub series_by_metric: Vec<(String, u64)>,
    /// Distinct values per label name, largest first.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of label values per label name, largest first.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series per `name=value`, largest first.
    pub series_by_pair: Vec<(String, u64)>,
}

/// Figures about the part in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadStats {
    /// Series in memory.
    pub series: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Sealed and open pages.
    pub pages: u64,
    /// Oldest sample, or `None` while empty.
    pub min_time_ms: Option<i64>,
    /// Newest sample, or `None` while empty.
    pub max_time_ms: Option<i64>,
}

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    groups: u32,
    slots: Vec<Labels>,
    series: BTreeMap<Labels, (u32, Arc<Vec<Sample>>)>,
}

impl Db {
    /// Opens a directory: takes its lock, loads blocks, replays the log. Registers the store's own
    /// metrics.
    ///
    /// # Errors
    /// The directory is locked, unreadable, unwritable or of a newer format.
    pub fn open(options: Options, registry: &Registry) -> Result<Self, OpenError> {
        let _ = (options, registry);
        Ok(Self {
            inner: Arc::default(),
        })
    }

    /// Begins a group. Close it when its writer goes away.
    pub fn open_group(&self) -> GroupId {
        let mut memory = self.lock();
        memory.groups += 1;
        GroupId(memory.groups)
    }

    /// Ends a group: its pages may be sealed and its memory released.
    pub fn close_group(&self, group: GroupId) {
        let _ = group;
    }

    /// The reference of a series, made where there is none.
    ///
    /// # Errors
    /// Too many series.
    pub fn register(&self, group: GroupId, labels: &Labels) -> Result<SeriesRef, RegisterError> {
        let _ = group;
        let mut memory = self.lock();
        if let Some((slot, _)) = memory.series.get(labels) {
            return Ok(SeriesRef {
                slot: *slot,
                generation: 0,
            });
        }
        let slot = memory.slots.len() as u32;
        memory.slots.push(labels.clone());
        memory.series.insert(labels.clone(), (slot, Arc::default()));
        Ok(SeriesRef {
            slot,
            generation: 0,
        })
    }

    /// Stores a batch: when this returns `Ok`, the accepted samples survive a crash of the process.
    ///
    /// # Errors
    /// The log cannot be written, or the store is closed. Nothing is stored then.
    pub fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let mut memory = self.lock();
        let memory = &mut *memory;
        let mut appended = Appended::default();
        for (index, entry) in batch.entries().iter().enumerate() {
            let reject = |reason| Rejected { index, reason };
            let Some(labels) = memory.slots.get(entry.series.slot as usize) else {
                appended.rejected.push(reject(RejectReason::RetiredSeries));
                continue;
            };
            let Some((_, samples)) = memory.series.get_mut(labels) else {
                continue;
            };
            let sample = Sample {
                timestamp_ms: entry.timestamp_ms,
                value: entry.value,
            };
            match samples.last() {
                Some(last) if last.timestamp_ms > entry.timestamp_ms => {
                    appended.rejected.push(reject(RejectReason::OutOfOrder));
                }
                Some(last) if last.timestamp_ms == entry.timestamp_ms => {
                    if *last != sample {
                        appended
                            .rejected
                            .push(reject(RejectReason::DuplicateTimestamp));
                    }
                }
                _ => {
                    Arc::make_mut(samples).push(sample);
                    appended.accepted += 1;
                }
            }
        }
        Ok(appended)
    }

    /// An immutable view of everything appended before the call.
    pub fn snapshot(&self) -> Snapshot {
        let memory = self.lock();
        Snapshot::new(
            memory
                .series
                .iter()
                .map(|(l, (_, s))| (l.clone(), s.clone()))
                .collect(),
        )
    }

    /// Figures about the store; at most `top` rows per list.
    pub fn stats(&self, top: usize) -> Stats {
        let _ = top;
        Stats::default()
    }

    /// Writes out what closing wants written and releases the directory. Appends fail afterwards.
    ///
    /// # Errors
    /// The disk refuses; what was acknowledged is in the log nevertheless.
    pub fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
