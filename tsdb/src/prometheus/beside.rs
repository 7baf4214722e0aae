//! What series of Prometheus's blocks have beside plain floats, put into the columns of a query.

use std::cmp::Reverse;
use std::sync::Arc;

use barograph_model::{Histogram, TimeRange};

use crate::contest::Rank;
use crate::deletions::Place;
use crate::error::ReadError;
use crate::snapshot::{Column, Selection};
use crate::view::StoredBlock;

/// What a block has of one instant that the column of floats does not say.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) timestamp_ms: i64,
    /// When its counter began, 0 where unknown.
    pub(crate) start_ms: i64,
    pub(crate) extra: Extra,
}

/// See [`Beside`].
#[derive(Clone, Debug)]
pub(crate) enum Extra {
    Histogram(Histogram),
    /// A float that a series' own column would take for a marker, or the staleness marker of a
    /// histogram.
    Float(f64),
    /// The float is in the column; only its start timestamp is not.
    Start,
}

/// What blocks have beside plain floats, in order of time, one of each instant.
#[derive(Debug, Default)]
struct Found {
    samples: Vec<Beside>,
    /// Instants of floats and when their counters began.
    starts: Vec<(i64, i64)>,
}

impl Selection {
    /// Adds what blocks of Prometheus have of series `index` to a column that has everything else.
    pub(crate) fn read_foreign(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        let mut found = self.beside(index, range)?;
        let have = &mut column.histograms;
        let gone = found.settle(|t| {
            let float = column.timestamps_ms.binary_search(&t);
            let float = float.map(|row| Rank::of_float(column.values[row]));
            let histogram = have.timestamps_ms.binary_search(&t);
            let histogram = histogram.map(|row| Rank::of_histogram(have.values[row].count));
            float.or(histogram).ok()
        });
        let times = &mut column.timestamps_ms;
        remove(times, &mut column.values, &mut column.starts_ms, &gone);
        let times = &mut have.timestamps_ms;
        remove(times, &mut have.values, &mut have.starts_ms, &gone);
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for sample in found.samples {
            let (t, start_ms) = (sample.timestamp_ms, sample.start_ms);
            match sample.extra {
                Extra::Histogram(histogram) => {
                    histograms.push((t, Arc::new(histogram.to_float()), start_ms));
                }
                Extra::Float(value) => floats.push((t, value, start_ms)),
                Extra::Start => {}
            }
        }
        add(
            &mut column.timestamps_ms,
            &mut column.values,
            &mut column.starts_ms,
            floats,
        );
        set_starts(&column.timestamps_ms, &mut column.starts_ms, &found.starts);
        add(
            &mut have.timestamps_ms,
            &mut have.values,
            &mut have.starts_ms,
            histograms,
        );
        Ok(())
    }

    /// Adds the histograms that blocks of Prometheus have of series `index` to all others, beside
    /// which there are the floats of a column.
    pub(crate) fn read_foreign_histograms(
        &self,
        index: usize,
        range: TimeRange,
        floats: &Column,
        into: &mut Vec<(i64, Histogram)>,
    ) -> Result<(), ReadError> {
        let mut found = self.beside(index, range)?;
        let gone = found.settle(|t| {
            let float = floats.timestamps_ms.binary_search(&t);
            let float = float.map(|row| Rank::of_float(floats.values[row]));
            let histogram = into.binary_search_by_key(&t, |(t, _)| *t);
            let histogram = histogram.map(|at| Rank::of_histogram(into[at].1.count()));
            float.or(histogram).ok()
        });
        into.retain(|(t, _)| gone.binary_search(t).is_err());
        let histograms = found.samples.into_iter();
        into.extend(histograms.filter_map(|sample| match sample.extra {
            Extra::Histogram(histogram) => Some((sample.timestamp_ms, histogram)),
            Extra::Float(_) | Extra::Start => None,
        }));
        into.sort_by_key(|(t, _)| *t);
        Ok(())
    }

    fn beside(&self, index: usize, range: TimeRange) -> Result<Found, ReadError> {
        let mut all = Vec::new();
        for (block, at) in self.foreign(index) {
            let place = Place::Block(StoredBlock::uid_of_foreign(block));
            for range in self.kept(index, place, range).parts() {
                block.beside(at, *range, &mut all)?;
            }
        }
        let mut found = Found::default();
        for sample in all {
            match sample.extra {
                Extra::Start => found.starts.push((sample.timestamp_ms, sample.start_ms)),
                _ => found.samples.push(sample),
            }
        }
        let samples = &mut found.samples;
        if !samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
            samples.sort_by_key(|sample| (sample.timestamp_ms, Reverse(sample.rank())));
            samples.dedup_by_key(|sample| sample.timestamp_ms);
        }
        found.starts.sort_by_key(|(t, start)| (*t, Reverse(*start)));
        found.starts.dedup_by_key(|(t, _)| *t);
        Ok(found)
    }
}

impl Beside {
    fn rank(&self) -> Option<Rank> {
        match &self.extra {
            Extra::Histogram(histogram) => Some(Rank::of_histogram(histogram.count())),
            Extra::Float(value) => Some(Rank::of_float(*value)),
            Extra::Start => None,
        }
    }
}

impl Found {
    /// Leaves the samples that count beside those of which `have` tells the rank; returns the instants
    /// at which these do not, in order.
    fn settle(&mut self, have: impl Fn(i64) -> Option<Rank>) -> Vec<i64> {
        let mut gone = Vec::new();
        self.samples.retain(|sample| {
            let Some(other) = have(sample.timestamp_ms) else {
                return true;
            };
            let counts = sample.rank() > Some(other);
            if counts {
                gone.push(sample.timestamp_ms);
            }
            counts
        });
        gone
    }
}

/// Takes the samples of some instants from a column.
fn remove<T>(
    timestamps_ms: &mut Arc<[i64]>,
    values: &mut Vec<T>,
    starts_ms: &mut Vec<i64>,
    gone: &[i64],
) {
    let stays: Vec<bool> = timestamps_ms
        .iter()
        .map(|t| gone.binary_search(t).is_err())
        .collect();
    if stays.iter().all(|stays| *stays) {
        return;
    }
    let times = timestamps_ms.iter().zip(&stays);
    *timestamps_ms = times
        .filter(|(_, stays)| **stays)
        .map(|(t, _)| *t)
        .collect();
    let mut next = stays.iter();
    values.retain(|_| next.next() == Some(&true));
    let mut next = stays.iter();
    starts_ms.retain(|_| next.next() == Some(&true));
}

/// Merges samples with their start timestamps into a column that has none of their instants.
fn add<T>(
    timestamps_ms: &mut Arc<[i64]>,
    values: &mut Vec<T>,
    starts_ms: &mut Vec<i64>,
    more: Vec<(i64, T, i64)>,
) {
    if more.is_empty() {
        return;
    }
    let starts = std::mem::take(starts_ms);
    let start = |row: usize| starts.get(row).copied().unwrap_or_default();
    let mut all = more;
    if !values.is_empty() {
        let have = timestamps_ms.iter().copied().zip(values.drain(..));
        let have = have
            .enumerate()
            .map(|(row, (t, value))| (t, value, start(row)));
        all.extend(have);
        all.sort_by_key(|(t, ..)| *t);
    }
    *timestamps_ms = all.iter().map(|(t, ..)| *t).collect();
    if all.iter().any(|(.., start_ms)| *start_ms != 0) {
        starts_ms.extend(all.iter().map(|(.., start_ms)| *start_ms));
    }
    values.extend(all.into_iter().map(|(_, value, _)| value));
}

/// Notes start timestamps of samples that a column has.
fn set_starts(timestamps_ms: &[i64], starts_ms: &mut Vec<i64>, starts: &[(i64, i64)]) {
    if starts.is_empty() {
        return;
    }
    starts_ms.resize(timestamps_ms.len(), 0);
    for (t, start_ms) in starts {
        if let Ok(row) = timestamps_ms.binary_search(t)
            && starts_ms[row] == 0
        {
            starts_ms[row] = *start_ms;
        }
    }
}
