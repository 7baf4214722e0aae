//! What is appended: one row of one group.

use std::ops::Range;

use barograph_model::{Exemplar, Histogram, is_stale, stale_nan};

use crate::exemplars::ExemplarsAppended;
use crate::layout::{self, HistogramError};

/// A group: one writer's stable list of series (a target, a rule group, a sender). Its series
/// share timestamp columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(crate) u32);

/// A registered series. Valid until the series leaves memory; an append with a retired reference
/// is rejected ([`RejectReason::RetiredSeries`]), and the writer registers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// One sample of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The series.
    pub series: SeriesRef,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value, or the staleness marker. NaN for a histogram.
    pub value: f64,
}

/// What entries have beside a float.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// In order of entries.
    pub(crate) list: Vec<Extra>,
    /// Layouts of the histograms, one after the other.
    layouts: Vec<u8>,
    /// Values of the histograms, one after the other.
    values: Vec<u64>,
    /// Exemplars.
    pub(crate) exemplars: Vec<(SeriesRef, Exemplar)>,
}

/// What one entry has beside a float.
#[derive(Clone, Debug)]
pub(crate) struct Extra {
    /// Index of the entry.
    pub(crate) entry: u32,
    pub(crate) kind: ExtraKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExtraKind {
    /// A start timestamp, in milliseconds.
    Start(i64),
    /// The float has the bits of a marker.
    RawFloat,
    /// A histogram: where its layout and its values are.
    Histogram {
        layout: Range<usize>,
        values: Range<usize>,
    },
}

impl Extras {
    pub(crate) fn layout(&self, range: &Range<usize>) -> &[u8] {
        &self.layouts[range.clone()]
    }

    pub(crate) fn values(&self, range: &Range<usize>) -> &[u64] {
        &self.values[range.clone()]
    }

    /// Indices of the entries that are histograms.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = u32> + '_ {
        let is_histogram = |e: &&Extra| matches!(e.kind, ExtraKind::Histogram { .. });
        self.list.iter().filter(is_histogram).map(|e| e.entry)
    }

    fn clear(&mut self) {
        self.list.clear();
        self.layouts.clear();
        self.values.clear();
        self.exemplars.clear();
    }
}

/// One row: the samples a writer has at one time, in the group's order as far as possible. Reuse
/// it: [`Batch::clear`] keeps its memory.
#[derive(Clone, Debug)]
pub struct Batch {
    group: GroupId,
    entries: Vec<Entry>,
    pub(crate) extras: Extras,
    /// Entries from here on are taken only in order.
    in_order_from: usize,
    /// And these, ascending.
    in_order: Vec<u32>,
}

impl Batch {
    /// An empty batch of `group`.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            entries: Vec::new(),
            extras: Extras::default(),
            in_order_from: usize::MAX,
            in_order: Vec::new(),
        }
    }

    /// Adds one sample.
    #[inline]
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        if layout::is_marker(value.to_bits()) {
            self.extra(ExtraKind::RawFloat);
        }
        self.entries.push(Entry {
            series,
            timestamp_ms,
            value,
        });
    }

    /// Adds one histogram. A series may change between floats and histograms. A histogram whose sum
    /// is the staleness marker is stored as that marker.
    ///
    /// # Errors
    /// Spans and buckets that do not fit each other, or too many of them; nothing is added then.
    pub fn push_histogram(
        &mut self,
        series: SeriesRef,
        timestamp_ms: i64,
        histogram: &Histogram,
    ) -> Result<(), HistogramError> {
        let sum = match histogram {
            Histogram::Integer(histogram) => histogram.sum,
            Histogram::Float(histogram) => histogram.sum,
        };
        if is_stale(sum) {
            self.push(series, timestamp_ms, stale_nan());
            return Ok(());
        }
        let extras = &mut self.extras;
        let (layout, values) = (extras.layouts.len(), extras.values.len());
        let put = layout::put_histogram(histogram, &mut extras.layouts, &mut extras.values);
        if let Err(error) = put {
            extras.layouts.truncate(layout);
            extras.values.truncate(values);
            return Err(error);
        }
        let kind = ExtraKind::Histogram {
            layout: layout..extras.layouts.len(),
            values: values..extras.values.len(),
        };
        self.extra(kind);
        self.entries.push(Entry {
            series,
            timestamp_ms,
            value: f64::NAN,
        });
        Ok(())
    }

    /// Sets the start timestamp of the sample that was added last: since when its counter counts,
    /// in milliseconds since the Unix epoch. 0 is none.
    pub fn set_start(&mut self, start_ms: i64) {
        if start_ms != 0
            && let Some(entry) = self.entries.len().checked_sub(1)
        {
            let (entry, kind) = (entry as u32, ExtraKind::Start(start_ms));
            self.extras.list.push(Extra { entry, kind });
        }
    }

    /// Adds an exemplar of a series. It need not have a sample in this batch.
    pub fn push_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        self.extras.exemplars.push((series, exemplar));
    }

    /// Notes something of the entry that is added next.
    #[cold]
    fn extra(&mut self, kind: ExtraKind) {
        let entry = self.entries.len() as u32;
        self.extras.list.push(Extra { entry, kind });
    }

    /// Samples added from now on, until the batch is emptied, are rejected where they are out of
    /// order, even inside the window: what a writer derives from its own clock (staleness markers,
    /// results of rules) is wrong rather than late then.
    pub fn in_order_from_here(&mut self) {
        self.in_order_from = self.entries.len();
    }

    /// The sample that was added last is rejected where it is out of order, even inside the window.
    pub fn last_in_order(&mut self) {
        let last = self.entries.len().checked_sub(1);
        self.in_order.extend(last.map(|last| last as u32));
    }

    /// Whether the entry is taken only in order.
    pub fn is_in_order_only(&self, index: usize) -> bool {
        index >= self.in_order_from
            || u32::try_from(index).is_ok_and(|at| self.in_order.binary_search(&at).is_ok())
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.extras.clear();
        self.in_order_from = usize::MAX;
        self.in_order.clear();
    }

    /// Empties the batch and gives it to another group, keeping its memory.
    pub fn reset(&mut self, group: GroupId) {
        self.clear();
        self.group = group;
    }

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Its samples.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many samples it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The exemplars it holds.
    pub fn exemplars(&self) -> &[(SeriesRef, Exemplar)] {
        &self.extras.exemplars
    }

    /// Whether it holds no sample.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What became of a batch that was appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// How many samples are stored and will survive a crash of the process.
    pub accepted: usize,
    /// The others, by index into the batch.
    pub rejected: Vec<Rejected>,
    /// What became of the exemplars.
    pub exemplars: ExemplarsAppended,
}

/// A sample that was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in the batch.
    pub index: usize,
    /// Why.
    pub reason: RejectReason,
}

/// Why a sample was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// Older than the newest sample of its series.
    OutOfOrder,
    /// The series has another value at this very time.
    DuplicateTimestamp,
    /// Older than what the store still accepts.
    TooOld,
    /// The reference is of a series that left memory: register it again.
    RetiredSeries,
    /// The store holds as many histogram buckets and start timestamps in memory as it may.
    TooManyBuckets,
    /// Out of order while the memory for that is full. It can be appended again later.
    OutOfOrderFull,
}

impl RejectReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::DuplicateTimestamp => "duplicate_timestamp",
            Self::TooOld => "too_old",
            Self::RetiredSeries => "retired_series",
            Self::TooManyBuckets => "too_many_buckets",
            Self::OutOfOrderFull => "out_of_order_full",
        }
    }
}
