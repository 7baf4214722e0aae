//! Side buffers: the samples that came late, per series, in memory.
//!
//! A series' few newest arrivals are kept as they are, sorted; every so many become a run of a few
//! bytes each. Buffers are filled until they are frozen; frozen ones are written out as parts and
//! dropped as a whole, so that their memory needs no free list.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use barograph_model::{Labels, TimeRange};
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader};
use crate::component::ComponentKey;
use crate::layout::{self, Layout};
use crate::layouts::Layouts;
use crate::merge::{Samples, Tie};
use crate::out_of_order::run::{self, Late, Sequences};
use crate::track::DEAD;

/// Samples of a series kept as they are.
const RAW_SAMPLES: usize = 32;
/// Bytes of runs are allocated by so many.
const ARENA_BYTES: usize = 64 << 10;
/// What a series takes beside its samples: its entry, the maps that find it.
const SERIES_BYTES: usize = size_of::<Series>() + 32;

/// A sample on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) series: SeriesRef,
    pub(crate) timestamp_ms: i64,
    pub(crate) bits: u64,
    /// Tells the sample from others of its append: its components have the same number.
    pub(crate) sample: u32,
    pub(crate) is_component: bool,
}

/// The samples that came late during some time.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Names them in the log, and the last of the parts that are made of them.
    pub(crate) uid: u64,
    pub(crate) made: Instant,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    series: Vec<Series>,
    by_reference: HashMap<SeriesRef, u32>,
    /// Slots of the series that are in memory otherwise too.
    slots: RoaringBitmap,
    /// Layouts of its histograms: held, the store does not forget them.
    layouts: HashMap<u64, Arc<Layout>>,
    arena: Vec<Vec<u8>>,
    /// Of the next append.
    sequence: u32,
    samples: u64,
    bytes: usize,
    min_ms: i64,
    max_ms: i64,
}

/// A series with late samples.
#[derive(Debug)]
struct Series {
    reference: SeriesRef,
    /// Where the series left memory: who it was.
    orphan: Option<Orphan>,
    raw: Vec<Late>,
    runs: Vec<Run>,
}

impl Series {
    /// The newest samples, as far as they are of an instant.
    fn at(&self, timestamp_ms: i64) -> &[Late] {
        let first = self
            .raw
            .partition_point(|have| have.timestamp_ms < timestamp_ms);
        let rest = &self.raw[first..];
        &rest[..rest.partition_point(|have| have.timestamp_ms == timestamp_ms)]
    }
}

/// Who a series was that left memory.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    /// Its labels, or those of the series it was a component of.
    pub(crate) labels: Labels,
    pub(crate) key: Option<ComponentKey>,
}

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug)]
struct Run {
    min_ms: i64,
    max_ms: i64,
    block: u32,
    offset: u32,
    length: u16,
    count: u16,
}

// A run fits its fields: 32 samples of at most 14 bytes of value, 10 of time, 5 of sequence.
const _: () = assert!(RAW_SAMPLES * (token_limit() + 20) <= u16::MAX as usize);

const fn token_limit() -> usize {
    crate::page::token::VALUE_LIMIT_BYTES
}

impl Buffers {
    pub(crate) fn new(uid: u64) -> Self {
        Self {
            uid,
            made: Instant::now(),
            state: RwLock::new(State {
                min_ms: i64::MAX,
                max_ms: i64::MIN,
                ..State::default()
            }),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the samples of one append in. Readers see all of them or none. Returns how many bytes
    /// the buffers grew by.
    pub(crate) fn insert(&self, arrivals: &[Arrival], layouts: &Layouts) -> usize {
        let mut state = self.write();
        let before = state.bytes;
        let any_components = arrivals.iter().any(|arrival| arrival.is_component);
        if any_components {
            let mut arrivals = arrivals.to_vec();
            arrivals.sort_by_key(|arrival| (arrival.sample, arrival.is_component));
            for sample in arrivals.chunk_by(|a, b| a.sample == b.sample) {
                state.take_in(sample, layouts);
            }
        } else {
            for sample in arrivals.chunks(1) {
                state.take_in(sample, layouts);
            }
        }
        state.sequence = state.sequence.saturating_add(1);
        state.bytes - before
    }

    /// Puts samples of a series back that a checkpoint had.
    pub(crate) fn restore(&self, series: SeriesRef, samples: &[Late], layouts: &Layouts) {
        let mut state = self.write();
        let entry = state.entry(series);
        state.restore(entry, samples, layouts);
    }

    /// As [`Buffers::restore`], for a series that is in no catalog.
    pub(crate) fn restore_named(&self, orphan: Orphan, samples: &[Late], layouts: &Layouts) {
        let mut state = self.write();
        let entry = state.name(orphan);
        state.restore(entry, samples, layouts);
    }

    /// A new entry for a series that is in no catalog.
    pub(crate) fn name(&self, orphan: Orphan) -> u32 {
        self.write().name(orphan)
    }

    /// Takes samples of an entry in.
    pub(crate) fn extend(&self, entry: u32, samples: impl Iterator<Item = (i64, u64)>) -> usize {
        let mut state = self.write();
        let before = state.bytes;
        let sequence = state.sequence;
        for (timestamp_ms, bits) in samples {
            let late = Late {
                timestamp_ms,
                bits,
                sequence,
            };
            if !state.has(entry, timestamp_ms, bits, None) {
                state.insert(entry, late);
            }
        }
        state.sequence = state.sequence.saturating_add(1);
        state.bytes - before
    }

    /// Notes who a series was that leaves memory. Returns how many bytes the buffers grew by.
    pub(crate) fn orphan(
        &self,
        reference: SeriesRef,
        who: impl FnOnce() -> Option<Orphan>,
    ) -> usize {
        let has = self.read().by_reference.contains_key(&reference);
        let Some(orphan) = has.then(who).flatten() else {
            return 0;
        };
        let mut state = self.write();
        let before = state.bytes;
        state.orphan(reference, orphan);
        state.bytes - before
    }
}

impl State {
    /// How many appends there were: readers see what those brought.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// From the oldest to the newest sample, if any.
    pub(crate) fn range(&self) -> Option<TimeRange> {
        (self.samples > 0).then_some(TimeRange {
            start_ms: self.min_ms,
            end_ms: self.max_ms,
        })
    }

    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.range().is_some_and(|own| own.overlaps(&range))
    }

    /// Slots of the series with samples here that are in memory otherwise too.
    pub(crate) fn slots(&self) -> &RoaringBitmap {
        &self.slots
    }

    /// The entry of a series.
    pub(crate) fn find(&self, reference: SeriesRef) -> Option<u32> {
        self.by_reference.get(&reference).copied()
    }

    /// Whether a series has samples inside the range.
    pub(crate) fn has_samples(&self, entry: u32, range: TimeRange) -> bool {
        let Some(series) = self.series.get(entry as usize) else {
            return false;
        };
        let overlaps = |run: &Run| run.min_ms <= range.end_ms && range.start_ms <= run.max_ms;
        series.runs.iter().any(overlaps)
            || series
                .raw
                .iter()
                .any(|late| range.contains(late.timestamp_ms))
    }

    /// Every series: its reference, and who it was where it left memory otherwise.
    pub(crate) fn series(&self) -> impl ExactSizeIterator<Item = (SeriesRef, Option<&Orphan>)> {
        self.series.iter().map(|s| (s.reference, s.orphan.as_ref()))
    }

    /// A series: its reference, and who it was where it left memory otherwise.
    pub(crate) fn series_at(&self, entry: u32) -> (SeriesRef, Option<&Orphan>) {
        let series = &self.series[entry as usize];
        (series.reference, series.orphan.as_ref())
    }

    /// Appends the samples of a series inside `range` that came before `sequence` to `into`, which
    /// is empty: in order, one per instant.
    pub(crate) fn read(
        &self,
        entry: u32,
        sequence: u32,
        range: TimeRange,
        tie: Tie,
        into: &mut Samples<u64>,
    ) -> Result<(), Malformed> {
        let Some(series) = self.series.get(entry as usize) else {
            return Ok(());
        };
        let mut decoded = Vec::with_capacity(RAW_SAMPLES);
        let mut add = |samples: &[Late]| {
            for late in samples {
                if late.sequence < sequence && range.contains(late.timestamp_ms) {
                    into.timestamps_ms.push(late.timestamp_ms);
                    into.values.push(late.bits);
                }
            }
        };
        for run in &series.runs {
            if run.min_ms <= range.end_ms && range.start_ms <= run.max_ms {
                decoded.clear();
                self.decode(run, &mut decoded)?;
                add(&decoded);
            }
        }
        add(&series.raw);
        *into = std::mem::take(into).into_order(tie);
        Ok(())
    }

    /// Appends the samples of a series inside `range` that came before `sequence` to `into`, which
    /// is empty: in order of time, then of arrival.
    pub(crate) fn read_placed(
        &self,
        entry: u32,
        sequence: u32,
        range: TimeRange,
        into: &mut Vec<Late>,
    ) -> Result<(), Malformed> {
        let Some(series) = self.series.get(entry as usize) else {
            return Ok(());
        };
        for run in &series.runs {
            if run.min_ms <= range.end_ms && range.start_ms <= run.max_ms {
                self.decode(run, into)?;
            }
        }
        into.extend_from_slice(&series.raw);
        into.retain(|late| late.sequence < sequence && range.contains(late.timestamp_ms));
        into.sort_by_key(Late::key);
        Ok(())
    }

    /// All samples of a series as they are, for a checkpoint: in no order.
    pub(crate) fn dump(&self, entry: u32, into: &mut Vec<Late>) -> Result<(), Malformed> {
        let Some(series) = self.series.get(entry as usize) else {
            return Ok(());
        };
        for run in &series.runs {
            self.decode(run, into)?;
        }
        into.extend_from_slice(&series.raw);
        Ok(())
    }

    fn decode(&self, run: &Run, into: &mut Vec<Late>) -> Result<(), Malformed> {
        let start = run.offset as usize;
        let bytes = &self.arena[run.block as usize][start..start + usize::from(run.length)];
        let count = usize::from(run.count);
        let mut reader = Reader::new(bytes);
        run::decode(&mut reader, count, run.min_ms, Sequences::Kept, into)
    }

    fn entry(&mut self, reference: SeriesRef) -> u32 {
        if let Some(entry) = self.find(reference) {
            return entry;
        }
        let entry = self.push(reference, None);
        self.by_reference.insert(reference, entry);
        self.slots.insert(reference.slot);
        entry
    }

    fn name(&mut self, orphan: Orphan) -> u32 {
        self.bytes += orphan.labels.size_bytes();
        self.push(DEAD, Some(orphan))
    }

    fn push(&mut self, reference: SeriesRef, orphan: Option<Orphan>) -> u32 {
        self.series.push(Series {
            reference,
            orphan,
            raw: Vec::new(),
            runs: Vec::new(),
        });
        self.bytes += SERIES_BYTES;
        self.series.len() as u32 - 1
    }

    fn orphan(&mut self, reference: SeriesRef, orphan: Orphan) {
        let Some(entry) = self.by_reference.remove(&reference) else {
            return;
        };
        self.slots.remove(reference.slot);
        self.bytes += orphan.labels.size_bytes();
        self.series[entry as usize].orphan = Some(orphan);
    }

    /// Takes in a sample, and its components behind it, unless the very same is among the newest.
    fn take_in(&mut self, sample: &[Arrival], layouts: &Layouts) {
        let [own, parts @ ..] = sample else {
            return;
        };
        // A sender that repeats itself costs nothing.
        if self.is_repeated(own, parts) {
            return;
        }
        for arrival in sample {
            self.hold_layout(arrival.bits, layouts);
            let entry = self.entry(arrival.series);
            let late = Late {
                timestamp_ms: arrival.timestamp_ms,
                bits: arrival.bits,
                sequence: self.sequence,
            };
            self.insert(entry, late);
        }
    }

    /// Whether a sample is here with these components. Where it has more of them, it counts before one
    /// that has these only.
    fn is_repeated(&self, own: &Arrival, parts: &[Arrival]) -> bool {
        let Some(entry) = self.find(own.series) else {
            return false;
        };
        let same = self.series[entry as usize].at(own.timestamp_ms);
        let mut same = same.iter().filter(|have| have.bits == own.bits);
        same.any(|have| {
            parts.iter().all(|part| {
                self.find(part.series).is_some_and(|entry| {
                    self.has(entry, part.timestamp_ms, part.bits, Some(have.sequence))
                })
            })
        })
    }

    /// Whether a value is among the newest of a series; with a sequence, of that append.
    fn has(&self, entry: u32, timestamp_ms: i64, bits: u64, sequence: Option<u32>) -> bool {
        let same = self.series[entry as usize].at(timestamp_ms);
        let is_it = |have: &Late| have.bits == bits && sequence.is_none_or(|s| s == have.sequence);
        same.iter().any(is_it)
    }

    /// Holds the layout of a value that is a histogram.
    fn hold_layout(&mut self, bits: u64, layouts: &Layouts) {
        if layout::is_marker(bits)
            && let Entry::Vacant(unknown) = self.layouts.entry(layout::marker_id(bits))
            && let Some(layout) = layouts.get(*unknown.key())
        {
            unknown.insert(layout);
        }
    }

    fn restore(&mut self, entry: u32, samples: &[Late], layouts: &Layouts) {
        for late in samples {
            self.hold_layout(late.bits, layouts);
            self.insert(entry, *late);
            self.sequence = self.sequence.max(late.sequence.saturating_add(1));
        }
    }

    fn insert(&mut self, entry: u32, late: Late) {
        let timestamp_ms = late.timestamp_ms;
        let series = &mut self.series[entry as usize];
        let raw = &mut series.raw;
        let at = raw.partition_point(|have| have.key() <= late.key());
        let capacity = raw.capacity();
        raw.insert(at, late);
        self.bytes += (raw.capacity() - capacity) * size_of::<Late>();
        self.samples += 1;
        self.min_ms = self.min_ms.min(timestamp_ms);
        self.max_ms = self.max_ms.max(timestamp_ms);
        if raw.len() >= RAW_SAMPLES {
            self.encode(entry);
        }
    }

    /// Makes a run of what a series has as it is.
    fn encode(&mut self, entry: u32) {
        let series = &mut self.series[entry as usize];
        let mut bytes = Vec::with_capacity(RAW_SAMPLES * 8);
        let base_ms = series.raw.first().map_or(0, |late| late.timestamp_ms);
        run::encode(&series.raw, base_ms, Sequences::Kept, &mut bytes);
        let room = |block: &Vec<u8>| block.capacity() - block.len() >= bytes.len();
        if !self.arena.last().is_some_and(room) {
            self.arena.push(Vec::with_capacity(ARENA_BYTES));
            self.bytes += ARENA_BYTES;
        }
        let number = self.arena.len() - 1;
        let block = &mut self.arena[number];
        let (Some(first), Some(last)) = (series.raw.first(), series.raw.last()) else {
            return;
        };
        let run = Run {
            min_ms: first.timestamp_ms,
            max_ms: last.timestamp_ms,
            block: number as u32,
            offset: block.len() as u32,
            length: bytes.len() as u16,
            count: series.raw.len() as u16,
        };
        block.extend_from_slice(&bytes);
        let capacity = series.runs.capacity();
        series.runs.push(run);
        self.bytes += (series.runs.capacity() - capacity) * size_of::<Run>();
        series.raw.clear();
    }
}
