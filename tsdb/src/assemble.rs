//! Putting a series' samples together from pages, sharing timestamp columns between series.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, PoisonError};

use rapidhash::fast::RapidHasher;

use crate::merge::{Samples, Tie};

/// Which timestamp column a page refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ColumnKey {
    /// Rows of a track from one on.
    Head { track: u32, first_row: u32 },
    /// A column of a block.
    Block { block: u32, column: u32 },
    /// A column that had no number and was given this one by its content.
    Interned(u32),
}

type FastHash = BuildHasherDefault<RapidHasher<'static>>;

/// A column, the first of its rows, how many.
type Run = (ColumnKey, u32, u32);

/// Columns a selection has seen: each is decoded once, and series with the same rows get the same
/// assembled column.
#[derive(Debug, Default)]
pub(crate) struct Timestamps {
    decoded: HashMap<ColumnKey, Arc<[i64]>, FastHash>,
    assembled: HashMap<Vec<Run>, Arc<[i64]>, FastHash>,
    interned: HashMap<Arc<[i64]>, u32>,
    /// Numbers given to columns so far.
    numbers: u32,
    /// Memory for the runs of the next series.
    spare: Runs,
}

/// Most columns kept of either kind.
const COLUMNS_LIMIT: usize = 16 * 1024;
/// A series of more stretches than this is not likely to share them.
const SHARED_RUNS_LIMIT: usize = 512;

/// Rows of columns, in the order in which their values were decoded.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    list: Vec<Run>,
    columns: Vec<Arc<[i64]>>,
    last_ms: Option<i64>,
    /// Whether some rows are not later than those before them.
    overlap: bool,
}

impl Runs {
    fn clear(&mut self) {
        self.list.clear();
        self.columns.clear();
        self.last_ms = None;
        self.overlap = false;
    }

    /// Notes `count` rows of a column, from row `first`.
    pub(crate) fn push(&mut self, key: ColumnKey, column: &Arc<[i64]>, first: u32, count: u32) {
        let rows = &column[first as usize..(first + count) as usize];
        let (Some(from), Some(to)) = (rows.first(), rows.last()) else {
            return;
        };
        self.overlap |= self.last_ms.is_some_and(|last| *from <= last);
        self.last_ms = Some(*to);
        self.list.push((key, first, count));
        self.columns.push(column.clone());
    }
}

/// The samples of one series being collected.
pub(crate) struct Assembly<'a> {
    values: &'a mut Vec<f64>,
    runs: Runs,
    timestamps: &'a Mutex<Timestamps>,
    tie: Tie,
    pages_decoded: u32,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(values: &'a mut Vec<f64>, timestamps: &'a Mutex<Timestamps>) -> Self {
        let mut seen = timestamps.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = std::mem::take(&mut seen.spare);
        drop(seen);
        Self {
            values,
            runs,
            timestamps,
            tie: Tie::Value,
            pages_decoded: 0,
        }
    }

    /// Samples of one instant are settled like that.
    pub(crate) fn with_tie(self, tie: Tie) -> Self {
        Self { tie, ..self }
    }

    /// A column, decoded by `decode` where it was not seen before. Others may use the selection
    /// meanwhile: decoding can wait for the disk, and a reader of the head that waits here holds
    /// its group. What fails is not kept, so that it fails for the next series too.
    pub(crate) fn column<E>(
        &self,
        key: ColumnKey,
        decode: impl FnOnce() -> Result<Arc<[i64]>, E>,
    ) -> Result<Arc<[i64]>, E> {
        let lock = || {
            self.timestamps
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(column) = lock().decoded.get(&key) {
            return Ok(column.clone());
        }
        let column = decode()?;
        let mut seen = lock();
        if seen.decoded.len() >= COLUMNS_LIMIT {
            seen.decoded.clear();
        }
        // Someone may have been faster; all share theirs then.
        Ok(seen.decoded.entry(key).or_insert(column).clone())
    }

    /// A column of a block that does not share its columns: series with the same timestamps get the
    /// same one nevertheless.
    pub(crate) fn interned(&self, timestamps_ms: Vec<i64>) -> (ColumnKey, Arc<[i64]>) {
        let mut seen = self
            .timestamps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((column, number)) = seen.interned.get_key_value(&timestamps_ms[..]) {
            return (ColumnKey::Interned(*number), column.clone());
        }
        if seen.interned.len() >= COLUMNS_LIMIT {
            seen.interned.clear();
        }
        let column: Arc<[i64]> = timestamps_ms.into();
        let number = seen.numbers;
        seen.numbers += 1;
        seen.interned.insert(column.clone(), number);
        (ColumnKey::Interned(number), column)
    }

    /// Adds samples whose timestamps are no column of a track or block.
    pub(crate) fn extend(&mut self, samples: &Samples<u64>) {
        if samples.timestamps_ms.is_empty() {
            return;
        }
        let (key, column) = self.interned(samples.timestamps_ms.clone());
        self.runs.push(key, &column, 0, column.len() as u32);
        let values = samples.values.iter();
        self.values.extend(values.map(|bits| f64::from_bits(*bits)));
    }

    /// Which of several samples of one instant counts.
    pub(crate) fn tie(&self) -> Tie {
        self.tie
    }

    /// Where the values and rows of one more page go.
    pub(crate) fn parts(&mut self) -> (&mut Vec<f64>, &mut Runs) {
        self.pages_decoded += 1;
        (self.values, &mut self.runs)
    }

    /// Pages decoded so far.
    pub(crate) fn pages_decoded(&self) -> u32 {
        self.pages_decoded
    }

    /// The timestamps of the values.
    pub(crate) fn finish(mut self) -> Arc<[i64]> {
        let mut runs = std::mem::take(&mut self.runs);
        if runs.overlap {
            return self.in_order(&runs);
        }
        let shared = runs.list.len() <= SHARED_RUNS_LIMIT;
        let mut seen = self
            .timestamps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(column) = seen.assembled.get(&runs.list) {
            let column = column.clone();
            runs.clear();
            seen.spare = runs;
            return column;
        }
        let column: Arc<[i64]> = match (&runs.list[..], &runs.columns[..]) {
            // The whole of one column: no copy.
            ([(_, 0, count)], [only]) if *count as usize == only.len() => only.clone(),
            _ => rows_of(&runs).collect(),
        };
        if shared {
            if seen.assembled.len() >= COLUMNS_LIMIT {
                seen.assembled.clear();
            }
            seen.assembled.insert(runs.list, column.clone());
        }
        column
    }

    /// Merges samples that came from overlapping places. Series that overlap alike share the
    /// column here too.
    fn in_order(self, runs: &Runs) -> Arc<[i64]> {
        let samples = Samples {
            timestamps_ms: rows_of(runs).collect(),
            values: std::mem::take(self.values),
        };
        let merged = samples.into_order(self.tie);
        *self.values = merged.values;
        let mut seen = self
            .timestamps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(column) = seen.assembled.get(&runs.list) {
            return column.clone();
        }
        let column: Arc<[i64]> = merged.timestamps_ms.into();
        if runs.list.len() <= SHARED_RUNS_LIMIT {
            if seen.assembled.len() >= COLUMNS_LIMIT {
                seen.assembled.clear();
            }
            seen.assembled.insert(runs.list.clone(), column.clone());
        }
        column
    }
}

fn rows_of(runs: &Runs) -> impl Iterator<Item = i64> + '_ {
    runs.list
        .iter()
        .zip(&runs.columns)
        .flat_map(|((_, first, count), column)| {
            column[*first as usize..(*first + *count) as usize].iter()
        })
        .copied()
}
