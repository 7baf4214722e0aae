//! What series of Prometheus's blocks have beside plain floats, put into the columns of a query.

use std::sync::Arc;

use barograph_model::{Histogram, TimeRange};

use crate::deletions::Place;
use crate::error::ReadError;
use crate::snapshot::{Column, Selection};
use crate::view::StoredBlock;

/// A histogram, or else a float that a series' own column would take for a marker.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: Result<Histogram, f64>,
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
        for sample in found {
            match sample.value {
                Ok(histogram) => histograms.push((sample.timestamp_ms, histogram)),
                Err(value) => floats.push((sample.timestamp_ms, value)),
            }
        }
        if !floats.is_empty() {
            add(
                &mut column.timestamps_ms,
                &mut column.values,
                &mut column.starts_ms,
                floats,
            );
        }
        // No timestamp is in both; which of the two it is in two places is decided for floats.
        let is_new = |t: i64| column.timestamps_ms.binary_search(&t).is_err();
        let histograms: Vec<_> = histograms
            .into_iter()
            .filter(|(t, _)| is_new(*t))
            .map(|(t, histogram)| (t, Arc::new(histogram.to_float())))
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
        into.extend(
            found
                .into_iter()
                .filter_map(|sample| Some((sample.timestamp_ms, sample.value.ok()?))),
        );
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

/// Merges samples into a column; where it has an instant, that stays.
fn add<T>(
    timestamps_ms: &mut Arc<[i64]>,
    values: &mut Vec<T>,
    starts_ms: &mut Vec<i64>,
    more: Vec<(i64, T)>,
) {
    if more.is_empty() {
        return;
    }
    if values.is_empty() {
        *timestamps_ms = more.iter().map(|(t, _)| *t).collect();
        values.extend(more.into_iter().map(|(_, value)| value));
        return;
    }
    let starts = std::mem::take(starts_ms);
    let start = |row: usize| starts.get(row).copied().unwrap_or_default();
    let have = timestamps_ms.iter().copied().zip(values.drain(..));
    let mut all: Vec<(i64, T, i64)> = have
        .enumerate()
        .map(|(row, (t, value))| (t, value, start(row)))
        .chain(more.into_iter().map(|(t, value)| (t, value, 0)))
        .collect();
    all.sort_by_key(|(t, ..)| *t);
    all.dedup_by_key(|(t, ..)| *t);
    *timestamps_ms = all.iter().map(|(t, ..)| *t).collect();
    if !starts.is_empty() {
        starts_ms.extend(all.iter().map(|(.., start)| *start));
    }
    values.extend(all.into_iter().map(|(_, value, _)| value));
}
