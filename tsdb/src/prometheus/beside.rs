//! What series of Prometheus's blocks have beside plain floats, put into the columns of a query.

use std::sync::Arc;

use barograph_model::{Histogram, TimeRange};

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

impl Selection {
    /// Adds what blocks of Prometheus have of series `index` to a column that has everything else.
    pub(crate) fn read_foreign(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        let found = self.beside(index, range)?;
        if found.is_empty() {
            return Ok(());
        }
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        let mut starts = Vec::new();
        for sample in found {
            let (t, start_ms) = (sample.timestamp_ms, sample.start_ms);
            match sample.extra {
                Extra::Histogram(histogram) => histograms.push((t, histogram, start_ms)),
                Extra::Float(value) => floats.push((t, value, start_ms)),
                Extra::Start => starts.push((t, start_ms)),
            }
        }
        add(
            &mut column.timestamps_ms,
            &mut column.values,
            &mut column.starts_ms,
            floats,
        );
        set_starts(&column.timestamps_ms, &mut column.starts_ms, &starts);
        // No timestamp is in both; which of the two it is in two places is decided for floats.
        let is_new = |t: i64| column.timestamps_ms.binary_search(&t).is_err();
        let histograms: Vec<_> = histograms
            .into_iter()
            .filter(|(t, ..)| is_new(*t))
            .map(|(t, histogram, start_ms)| (t, Arc::new(histogram.to_float()), start_ms))
            .collect();
        let have = &mut column.histograms;
        add(
            &mut have.timestamps_ms,
            &mut have.values,
            &mut have.starts_ms,
            histograms,
        );
        Ok(())
    }

    /// Adds the histograms that blocks of Prometheus have of series `index`.
    pub(crate) fn read_foreign_histograms(
        &self,
        index: usize,
        range: TimeRange,
        into: &mut Vec<(i64, Histogram)>,
    ) -> Result<(), ReadError> {
        let found = self.beside(index, range)?;
        if found.is_empty() {
            return Ok(());
        }
        into.extend(found.into_iter().filter_map(|sample| match sample.extra {
            Extra::Histogram(histogram) => Some((sample.timestamp_ms, histogram)),
            Extra::Float(_) | Extra::Start => None,
        }));
        into.sort_by_key(|(t, _)| *t);
        into.dedup_by_key(|(t, _)| *t);
        Ok(())
    }

    /// In order of time, one of each instant.
    fn beside(&self, index: usize, range: TimeRange) -> Result<Vec<Beside>, ReadError> {
        let mut found = Vec::new();
        for (block, at) in self.foreign(index) {
            let place = Place::Block(StoredBlock::uid_of_foreign(block));
            for range in self.kept(index, place, range).parts() {
                block.beside(at, *range, &mut found)?;
            }
        }
        if !found.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms) {
            found.sort_by_key(|sample| sample.timestamp_ms);
            found.dedup_by_key(|sample| sample.timestamp_ms);
        }
        Ok(found)
    }
}

/// Merges samples with their start timestamps into a column; where it has an instant, that stays.
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
        let mut merged: Vec<(i64, T, i64)> = have.collect();
        merged.append(&mut all);
        // Stable: what the column has comes first.
        merged.sort_by_key(|(t, ..)| *t);
        merged.dedup_by_key(|(t, ..)| *t);
        all = merged;
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
