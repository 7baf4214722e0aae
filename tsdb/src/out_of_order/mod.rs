//! Samples out of order: older than the newest of their series, or than what the head still takes.
//!
//! They go, within a window of time, to side buffers beside the head: in memory, in the same log
//! record as the rest of their batch, in checkpoints. Buffers that are full or old are frozen,
//! written as parts (small blocks that overlap others), and dropped. Reading merges the head, the
//! buffers, parts and blocks; of several samples of one instant the same one counts whatever the
//! order of their arrival (see [`crate::merge`]).
//!
//! Locks: an append with late samples holds the `gate`, shared, from before it writes its log
//! record until they are in the buffers that the record names; freezing holds it alone for an
//! instant. Then the lists, then the buffers' own. The catalog is locked before buffers.

mod backfill;
mod buffers;
pub(crate) mod metrics;
mod record;
mod run;
pub(crate) mod select;
mod spill;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use barograph_model::TimeRange;
use roaring::RoaringBitmap;

pub use backfill::{Backfill, BackfillError, Backfilled};
pub(crate) use buffers::Arrival;
use buffers::{Buffers, Orphan};
pub(crate) use record::restore;
pub(crate) use run::{Late, Sequences};
pub(crate) use select::{LateColumn, LateView};

use crate::batch::RejectReason;
use crate::catalog::Catalog;
use crate::db::ClockDebug;
use crate::layouts::Layouts;
use crate::stats::LateStats;

/// Buffers are spilled when they hold so many samples, whatever their bytes: a part is laid out in
/// memory by its timestamps.
const SPILL_SAMPLES: u64 = 4 << 20;
/// Upper bounds of the histogram of how late samples are, in seconds.
pub(crate) const DELAY_BOUNDS_SECONDS: [i64; 7] = [600, 1800, 3600, 7200, 10_800, 21_600, 43_200];
/// Stretches of time whose changes are counted apart.
const GENERATIONS: usize = 256;

/// The side buffers, and what decides about late samples.
#[derive(Debug)]
pub(crate) struct OutOfOrder {
    window_ms: AtomicI64,
    budget_bytes: AtomicUsize,
    span_ms: AtomicI64,
    clock: OnceLock<Arc<dyn ClockDebug>>,
    gate: RwLock<()>,
    lists: Mutex<Lists>,
    /// Bytes of all buffers.
    bytes: AtomicUsize,
    /// Held by whoever spills.
    spilling: Mutex<()>,
    /// Whether the buffers asked to be spilled.
    asked: AtomicBool,
    /// Changes of the past by stretch of time.
    generations: [AtomicU64; GENERATIONS],
    pub(crate) figures: Figures,
}

/// Counts for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) appended: AtomicU64,
    /// Samples by how late they were, beyond each bound, and all.
    pub(crate) delays: [AtomicU64; DELAY_BOUNDS_SECONDS.len() + 1],
    pub(crate) delay_sum_ms: AtomicU64,
    /// Samples refused as too old while there was no window.
    pub(crate) out_of_bound: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) parts: AtomicU64,
    pub(crate) spills: AtomicU64,
    pub(crate) spills_failed: AtomicU64,
    pub(crate) backfilled: AtomicU64,
}

#[derive(Debug)]
struct Lists {
    /// Waiting to be written, oldest first.
    frozen: Vec<Arc<Buffers>>,
    active: Arc<Buffers>,
}

/// The right to put samples into the buffers that a log record names.
pub(crate) struct Admission<'a> {
    owner: &'a OutOfOrder,
    buffers: Arc<Buffers>,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Default for OutOfOrder {
    fn default() -> Self {
        Self {
            window_ms: AtomicI64::new(0),
            budget_bytes: AtomicUsize::new(usize::MAX),
            span_ms: AtomicI64::new(i64::MAX),
            clock: OnceLock::new(),
            gate: RwLock::default(),
            lists: Mutex::new(Lists {
                frozen: Vec::new(),
                active: Arc::new(Buffers::new(new_uid())),
            }),
            bytes: AtomicUsize::new(0),
            spilling: Mutex::default(),
            asked: AtomicBool::new(false),
            generations: std::array::from_fn(|_| AtomicU64::new(0)),
            figures: Figures::default(),
        }
    }
}

impl OutOfOrder {
    /// Sets what does not change while the store is open.
    pub(crate) fn configure(&self, clock: Arc<dyn ClockDebug>, budget_bytes: usize, span_ms: i64) {
        // Set once, by opening.
        self.clock.set(clock).ok();
        self.budget_bytes.store(budget_bytes, Ordering::Relaxed);
        self.span_ms.store(span_ms.max(1), Ordering::Relaxed);
    }

    /// Sets how much older than the newest sample of the store a sample may be; 0 takes none that
    /// is out of order.
    pub(crate) fn set_window(&self, window_ms: i64) {
        self.window_ms.store(window_ms.max(0), Ordering::Relaxed);
    }

    pub(crate) fn window_ms(&self) -> i64 {
        self.window_ms.load(Ordering::Relaxed)
    }

    /// Decides about a sample that is late. `newest_ms` is the newest instant in the head,
    /// `below_floor` whether the head does not take its time any more, `in_order_only` whether its
    /// writer wants it only in order.
    pub(crate) fn verdict(
        &self,
        newest_ms: i64,
        timestamp_ms: i64,
        below_floor: bool,
        in_order_only: bool,
    ) -> Result<(), RejectReason> {
        // A timestamp of the far future must not make the present too old.
        let now_ms = self.clock.get().map_or(i64::MAX, |clock| clock.now_ms());
        let newest_ms = newest_ms.min(now_ms);
        self.figures.observe(newest_ms.saturating_sub(timestamp_ms));
        let window_ms = self.window_ms();
        if window_ms == 0 {
            return Err(if below_floor {
                RejectReason::TooOld
            } else {
                RejectReason::OutOfOrder
            });
        }
        if in_order_only {
            return Err(RejectReason::OutOfOrder);
        }
        if timestamp_ms < newest_ms.saturating_sub(window_ms) {
            return Err(RejectReason::TooOld);
        }
        if self.bytes.load(Ordering::Relaxed) >= self.budget_bytes.load(Ordering::Relaxed) {
            self.ask();
            self.figures.refused_full.fetch_add(1, Ordering::Relaxed);
            return Err(RejectReason::OutOfOrderFull);
        }
        Ok(())
    }

    /// Before a log record with late samples is written.
    pub(crate) fn admit(&self) -> Admission<'_> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        Admission {
            owner: self,
            buffers: self.lists().active.clone(),
            _gate: gate,
        }
    }

    /// What readers see: buffers with samples, and how much of them.
    pub(crate) fn views(&self) -> Vec<LateView> {
        let lists = self.lists();
        let all = lists.frozen.iter().chain([&lists.active]);
        let views = all.map(|buffers| LateView {
            sequence: buffers.read().sequence(),
            buffers: buffers.clone(),
        });
        views
            .filter(|view| !view.buffers.read().is_empty())
            .collect()
    }

    /// What is in the buffers.
    pub(crate) fn stats(&self) -> LateStats {
        let mut stats = LateStats {
            bytes: self.bytes.load(Ordering::Relaxed) as u64,
            window_ms: self.window_ms(),
            ..LateStats::default()
        };
        for view in self.views() {
            let state = view.buffers.read();
            stats.series += state.series().len() as u64;
            stats.samples += state.samples();
            if let Some(own) = state.range() {
                let known = stats.range.get_or_insert(own);
                known.start_ms = known.start_ms.min(own.start_ms);
                known.end_ms = known.end_ms.max(own.end_ms);
            }
        }
        stats
    }

    /// A number that grows whenever samples that are not the newest of their series appear inside
    /// the range. It may grow for others too.
    pub(crate) fn generation(&self, range: TimeRange) -> u64 {
        let span_ms = self.span_ms.load(Ordering::Relaxed);
        let (first, last) = (
            range.start_ms.div_euclid(span_ms),
            range.end_ms.div_euclid(span_ms),
        );
        let load = |slot: &AtomicU64| slot.load(Ordering::Acquire);
        match last.checked_sub(first) {
            Some(0..GENERATIONS_SPAN) => (first..=last)
                .map(|bucket| load(&self.generations[slot_of(bucket)]))
                .sum(),
            _ => self.generations.iter().map(load).sum(),
        }
    }

    /// Notes that the past changed inside a range.
    fn changed_in(&self, range: TimeRange) {
        let span_ms = self.span_ms.load(Ordering::Relaxed);
        let first = range.start_ms.div_euclid(span_ms);
        let last = range.end_ms.div_euclid(span_ms);
        let last = last.min(first.saturating_add(GENERATIONS_SPAN - 1));
        self.changed((first..=last).map(|bucket| bucket.saturating_mul(span_ms)));
    }

    /// Notes that the past changed at these instants.
    fn changed(&self, timestamps_ms: impl Iterator<Item = i64>) {
        let span_ms = self.span_ms.load(Ordering::Relaxed);
        let mut last = None;
        for bucket in timestamps_ms.map(|t| t.div_euclid(span_ms)) {
            if last.replace(bucket) != Some(bucket) {
                self.generations[slot_of(bucket)].fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Slots of the series with late samples.
    pub(crate) fn slots(&self) -> RoaringBitmap {
        let lists = self.lists();
        let all = lists.frozen.iter().chain([&lists.active]);
        all.fold(RoaringBitmap::new(), |all, buffers| {
            all | buffers.read().slots()
        })
    }

    /// Notes who the series were that leave memory.
    pub(crate) fn orphan(&self, catalog: &Catalog, slots: &RoaringBitmap) {
        let lists = self.lists();
        let mut slots = slots.clone();
        if lists.frozen.is_empty() && lists.active.read().is_empty() {
            return;
        }
        // Components are found from their series.
        for slot in slots.clone() {
            let components = catalog.components().of(slot).iter();
            slots.extend(components.map(|(_, series)| series.slot));
        }
        for buffers in lists.frozen.iter().chain([&lists.active]) {
            let here = buffers.read().slots() & &slots;
            for slot in here {
                let grown = buffers.orphan(catalog.reference(slot), || orphan_of(catalog, slot));
                // What is given back when they are dropped was taken before.
                self.bytes.fetch_add(grown, Ordering::Relaxed);
            }
        }
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buffers of a log record, unless parts have what was in them.
    fn restored(&self, uid: u64, done: &HashSet<u64>) -> Option<Arc<Buffers>> {
        if done.contains(&uid) {
            return None;
        }
        let mut lists = self.lists();
        let known = lists.frozen.iter().find(|buffers| buffers.uid == uid);
        let known = known.cloned();
        Some(known.unwrap_or_else(|| {
            let new = Arc::new(Buffers::new(uid));
            lists.frozen.push(new.clone());
            new
        }))
    }

    /// Ends restoring: the newest buffers go on being filled.
    pub(crate) fn finish_restore(&self) {
        let mut lists = self.lists();
        if let Some(newest) = lists.frozen.pop() {
            lists.active = newest;
        }
        let all = lists.frozen.iter().chain([&lists.active]);
        let bytes = all.map(|buffers| buffers.read().size_bytes()).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Freezes the active buffers where that is due; whether something waits to be written then.
    fn freeze(&self, age: Duration) -> bool {
        let asked = self.asked.swap(false, Ordering::Relaxed);
        let due = asked || self.lists().active.made.elapsed() >= age;
        if due {
            // Appends in between have logged their samples for these buffers: they go first.
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let mut lists = self.lists();
            if !lists.active.read().is_empty() {
                let new = Arc::new(Buffers::new(new_uid()));
                let full = std::mem::replace(&mut lists.active, new);
                lists.frozen.push(full);
            }
        }
        !self.lists().frozen.is_empty()
    }

    /// Drops buffers whose samples are elsewhere.
    fn drop_frozen(&self, uid: u64) {
        let mut lists = self.lists();
        let frozen = &mut lists.frozen;
        if let Some(at) = frozen.iter().position(|buffers| buffers.uid == uid) {
            let bytes = frozen.remove(at).read().size_bytes();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Who the series of a slot is, without its slot.
fn orphan_of(catalog: &Catalog, slot: u32) -> Option<Orphan> {
    let belongs = catalog.belongs(slot);
    let labelled = match belongs {
        None if catalog.is_component(slot) => return None,
        None => slot,
        // A component whose series is gone is of no use.
        Some(belongs) => {
            catalog.locate(belongs.parent)?;
            belongs.parent.slot
        }
    };
    Some(Orphan {
        labels: catalog.labels(labelled),
        key: belongs.map(|belongs| belongs.key),
    })
}

/// [`GENERATIONS`], as a difference of bucket numbers.
const GENERATIONS_SPAN: i64 = GENERATIONS as i64;

fn slot_of(bucket: i64) -> usize {
    bucket.rem_euclid(GENERATIONS_SPAN) as usize
}

fn new_uid() -> u64 {
    use crate::wal::header::new_salt;
    u64::from(new_salt()) << 32 | u64::from(new_salt())
}

impl Admission<'_> {
    /// Takes in what was logged.
    pub(crate) fn insert(self, arrivals: &[Arrival], layouts: &Layouts) {
        let owner = self.owner;
        let grown = self.buffers.insert(arrivals, layouts);
        let bytes = owner.bytes.fetch_add(grown, Ordering::Relaxed) + grown;
        let count = arrivals.len() as u64;
        owner.figures.appended.fetch_add(count, Ordering::Relaxed);
        owner.changed(arrivals.iter().map(|arrival| arrival.timestamp_ms));
        let half = owner.budget_bytes.load(Ordering::Relaxed) / 2;
        if bytes >= half || self.buffers.read().samples() >= SPILL_SAMPLES {
            owner.ask();
        }
    }
}

impl Figures {
    fn observe(&self, delay_ms: i64) {
        let bound = DELAY_BOUNDS_SECONDS
            .iter()
            .position(|bound| delay_ms <= bound * 1000);
        let at = bound.unwrap_or(DELAY_BOUNDS_SECONDS.len());
        self.delays[at].fetch_add(1, Ordering::Relaxed);
        self.delay_sum_ms
            .fetch_add(delay_ms.max(0) as u64, Ordering::Relaxed);
    }
}
