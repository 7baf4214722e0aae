//! What is appended: one row of one group.

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
    /// The value, or the staleness marker.
    pub value: f64,
}

/// One row: the samples a writer has at one time, in the group's order as far as possible. Reuse
/// it: [`Batch::clear`] keeps its memory.
#[derive(Clone, Debug)]
pub struct Batch {
    group: GroupId,
    entries: Vec<Entry>,
}

impl Batch {
    /// An empty batch of `group`.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            entries: Vec::new(),
        }
    }

    /// Adds one sample.
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        self.entries.push(Entry {
            series,
            timestamp_ms,
            value,
        });
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Empties the batch and gives it to another group, keeping its memory.
    pub fn reset(&mut self, group: GroupId) {
        self.entries.clear();
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

    /// Whether it holds none.
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
}

impl RejectReason {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::DuplicateTimestamp => "duplicate_timestamp",
            Self::TooOld => "too_old",
            Self::RetiredSeries => "retired_series",
        }
    }
}
