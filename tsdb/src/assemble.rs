//! Putting a series' samples together from pages, sharing timestamp columns between series.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contest::{self, Candidate, Winners};
use crate::merge::{Samples, Tie};
use crate::out_of_order::Late;
use crate::reader::TracksSeen;
use crate::sort_out::FastHash;

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
}

/// What one reader has seen of a selection: it asks what all readers share only for what is new to it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    decoded: HashMap<ColumnKey, Arc<[i64]>, FastHash>,
    assembled: HashMap<Vec<Run>, Arc<[i64]>, FastHash>,
    /// Memory for the runs of the next series.
    spare: Runs,
    /// What is known of tracks of the head.
    pub(crate) tracks: TracksSeen,
    /// Which samples count of the series that is being read, where it has components.
    pub(crate) winners: Winners,
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
    recent: &'a mut Recent,
    tie: Tie,
    /// Where values come from: from which one on, and the place. `None` where nobody asks.
    places: Option<Vec<(usize, u64)>>,
    pages_decoded: u32,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(
        values: &'a mut Vec<f64>,
        timestamps: &'a Mutex<Timestamps>,
        recent: &'a mut Recent,
    ) -> Self {
        Self {
            values,
            runs: std::mem::take(&mut recent.spare),
            timestamps,
            recent,
            tie: Tie::Value,
            places: None,
            pages_decoded: 0,
        }
    }

    /// Samples of one instant are of a series with components: notes where they come from.
    pub(crate) fn note_places(&mut self) {
        self.tie = Tie::Place;
        self.places = Some(Vec::new());
    }

    /// Whether places are noted.
    pub(crate) fn notes_places(&self) -> bool {
        self.places.is_some()
    }

    /// What is added from now on is of this place, where that is noted.
    #[inline]
    pub(crate) fn set_place(&mut self, place: u64) {
        if let Some(places) = &mut self.places {
            places.push((self.values.len(), place));
        }
    }

    /// A column, decoded by `decode` where it was not seen before. Others may use the selection
    /// meanwhile: decoding can wait for the disk, and a reader of the head that waits here holds
    /// its group. What fails is not kept, so that it fails for the next series too.
    pub(crate) fn column<E>(
        &mut self,
        key: ColumnKey,
        decode: impl FnOnce() -> Result<Arc<[i64]>, E>,
    ) -> Result<Arc<[i64]>, E> {
        if let Some(column) = self.recent.decoded.get(&key) {
            return Ok(column.clone());
        }
        let known = self.timestamps().decoded.get(&key).cloned();
        let column = if let Some(column) = known {
            column
        } else {
            let column = decode()?;
            let mut seen = self.timestamps();
            make_room(&mut seen.decoded);
            // Someone may have been faster; all share theirs then.
            seen.decoded.entry(key).or_insert(column).clone()
        };
        make_room(&mut self.recent.decoded);
        self.recent.decoded.insert(key, column.clone());
        Ok(column)
    }

    /// What all readers share.
    fn timestamps(&self) -> MutexGuard<'a, Timestamps> {
        self.timestamps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of tracks of the head.
    pub(crate) fn tracks(&mut self) -> &mut TracksSeen {
        &mut self.recent.tracks
    }

    /// A column of a block that does not share its columns: series with the same timestamps get the
    /// same one nevertheless.
    pub(crate) fn interned(&self, timestamps_ms: Vec<i64>) -> (ColumnKey, Arc<[i64]>) {
        self.timestamps().intern(timestamps_ms)
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

    /// Adds late samples, in order, of which several may be of one instant.
    pub(crate) fn extend_late(&mut self, samples: &[Late], place_of: impl Fn(&Late) -> u64) {
        if samples.is_empty() {
            return;
        }
        let times = samples.iter().map(|late| late.timestamp_ms).collect();
        let (key, column) = self.interned(times);
        self.runs.push(key, &column, 0, column.len() as u32);
        self.runs.overlap |= column.windows(2).any(|w| w[0] >= w[1]);
        for late in samples {
            self.set_place(place_of(late));
            self.values.push(f64::from_bits(late.bits));
        }
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

    /// Whether several values may be of one instant.
    pub(crate) fn overlaps(&self) -> bool {
        self.runs.overlap
    }

    /// Everything that was collected, with its place; it is no column yet.
    pub(crate) fn into_candidates(mut self) -> Vec<Candidate> {
        let places = self.places.take().unwrap_or_default();
        let mut next = places.iter().peekable();
        let mut place = 0;
        let values = std::mem::take(self.values).into_iter().enumerate();
        let candidates = values.zip(rows_of(&self.runs));
        let candidates = candidates.map(|((at, value), timestamp_ms)| {
            while let Some((_, known)) = next.next_if(|(from, _)| *from <= at) {
                place = *known;
            }
            Candidate {
                timestamp_ms,
                place,
                bits: value.to_bits(),
            }
        });
        let candidates = candidates.collect();
        self.runs.clear();
        self.recent.spare = std::mem::take(&mut self.runs);
        candidates
    }

    /// The timestamps of the values.
    pub(crate) fn finish(mut self) -> Arc<[i64]> {
        let mut runs = std::mem::take(&mut self.runs);
        let column = self.timestamps_of(&runs);
        runs.clear();
        self.recent.spare = runs;
        column
    }

    fn timestamps_of(&mut self, runs: &Runs) -> Arc<[i64]> {
        let merged = runs.overlap.then(|| {
            // Samples that came from overlapping places. Series that overlap alike share the column
            // here too.
            let samples = Samples {
                timestamps_ms: rows_of(runs).collect(),
                values: std::mem::take(self.values),
            };
            let merged = samples.into_order(self.tie);
            *self.values = merged.values;
            merged.timestamps_ms
        });
        if let Some(column) = self.recent.assembled.get(&runs.list) {
            return column.clone();
        }
        let known = self.timestamps().assembled.get(&runs.list).cloned();
        let is_known = known.is_some();
        let column = known.unwrap_or_else(|| match merged {
            Some(merged) => merged.into(),
            None => match (&runs.list[..], &runs.columns[..]) {
                // The whole of one column: no copy.
                ([(_, 0, count)], [only]) if *count as usize == only.len() => only.clone(),
                _ => rows_of(runs).collect(),
            },
        });
        if runs.list.len() > SHARED_RUNS_LIMIT {
            return column;
        }
        let column = if is_known {
            column
        } else {
            let mut seen = self.timestamps();
            make_room(&mut seen.assembled);
            // Someone may have been faster; all share theirs then.
            let entry = seen.assembled.entry(runs.list.clone());
            entry.or_insert(column).clone()
        };
        make_room(&mut self.recent.assembled);
        let assembled = &mut self.recent.assembled;
        assembled.insert(runs.list.clone(), column.clone());
        column
    }
}

impl Timestamps {
    /// A column by its content, and its number.
    fn intern(&mut self, timestamps_ms: Vec<i64>) -> (ColumnKey, Arc<[i64]>) {
        if let Some((column, number)) = self.interned.get_key_value(&timestamps_ms[..]) {
            return (ColumnKey::Interned(*number), column.clone());
        }
        if self.interned.len() >= COLUMNS_LIMIT {
            self.interned.clear();
        }
        let column: Arc<[i64]> = timestamps_ms.into();
        let number = self.numbers;
        self.numbers += 1;
        self.interned.insert(column.clone(), number);
        (ColumnKey::Interned(number), column)
    }
}

/// Makes a column of candidates of which one is left per instant. Columns of the same timestamps
/// share them.
pub(crate) fn column_of(
    candidates: &[Candidate],
    timestamps: &Mutex<Timestamps>,
    values: &mut Vec<f64>,
) -> Arc<[i64]> {
    let samples = contest::samples(candidates);
    values.clear();
    values.extend(samples.values.into_iter().map(f64::from_bits));
    let mut seen = timestamps.lock().unwrap_or_else(PoisonError::into_inner);
    seen.intern(samples.timestamps_ms).1
}

/// Forgets everything where no more is to be kept.
fn make_room<K, V>(columns: &mut HashMap<K, V, FastHash>) {
    if columns.len() >= COLUMNS_LIMIT {
        columns.clear();
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
