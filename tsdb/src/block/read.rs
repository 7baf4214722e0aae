//! Reading the samples of a block.

use std::sync::Arc;

use barograph_model::TimeRange;

use crate::assemble::{Assembly, ColumnKey};
use crate::block::index::{IndexView, PageRef, Pages};
use crate::block::{Block, BlockSeries, Damaged, in_data, too_many_rows};
use crate::compact::merge::{InputColumns, InputPiece};
use crate::component::ComponentKey;
use crate::digest::{Extremes, Stretch};
use crate::error::ReadError;
use crate::layout::Layout;
use crate::page::codec;

impl Block {
    /// Reads the samples of a series inside `range`.
    pub(crate) fn read(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let pages = index.pages(at.series);
        pages
            .and_then(|pages| self.read_pages(&index, at.block, pages, range, assembly))
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// Whether a series has components.
    pub(crate) fn has_components(&self, series: u32) -> Result<bool, Damaged> {
        self.index.view().has_components(series)
    }

    /// Reads the samples of a component of a series inside `range`.
    pub(crate) fn read_component(
        &self,
        at: BlockSeries,
        key: ComponentKey,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let mut read = || {
            let mut components = index.components(at.series)?.into_iter();
            match components.find(|(have, _)| *have == key) {
                Some((_, pages)) => self.read_pages(&index, at.block, pages, range, assembly),
                None => Ok(()),
            }
        };
        read()
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// A layout of histograms by number.
    pub(crate) fn layout(&self, id: u64) -> Result<Option<Arc<Layout>>, ReadError> {
        let layout = self.index.view().layout(id);
        layout.map_err(|error| self.read_error(error))
    }

    /// Every layout of histograms, by number.
    pub(crate) fn layouts(&self) -> Result<Vec<Layout>, Damaged> {
        self.index.view().layouts()
    }

    /// The components of a series, in order.
    pub(crate) fn component_keys(&self, series: u32) -> Result<Vec<ComponentKey>, Damaged> {
        let index = self.index.view();
        let components = index.components(series)?.into_iter();
        Ok(components.map(|(key, _)| key).collect())
    }

    pub(crate) fn read_error(&self, error: Damaged) -> ReadError {
        ReadError::Corrupt {
            path: self.path.join(error.file),
            offset: error.offset,
            what: error.what,
        }
    }

    fn read_pages(
        &self,
        index: &IndexView<'_>,
        block: u32,
        mut pages: Pages<'_>,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), Damaged> {
        let mut rows = Vec::new();
        while let Some(page) = pages.next(&mut rows)? {
            if !index.column(page.column)?.overlaps(range) {
                continue;
            }
            let key = ColumnKey::Block {
                block,
                column: page.column,
            };
            let column = assembly.column(key, || self.column(index, page.column))?;
            let start = column.partition_point(|t| *t < range.start_ms) as u32;
            let end = column.partition_point(|t| *t <= range.end_ms) as u32;
            // Samples are numbered through the stretches.
            let (mut number, mut first, mut last) = (0u64, None, 0u64);
            for (row, count) in &mut rows {
                let (from, to) = ((*row).max(start), (*row + *count).min(end));
                if *row as usize + *count as usize > column.len() {
                    return Err(too_many_rows());
                }
                if from < to {
                    first = first.or(Some(number + u64::from(from - *row)));
                    last = number + u64::from(to - *row);
                }
                number += u64::from(*count);
                (*row, *count) = (from, to.saturating_sub(from));
            }
            let Some(first) = first else {
                continue;
            };
            let bytes = self.data_at(page.offset, page.length)?;
            let (values, runs) = assembly.parts();
            codec::decode(&bytes, first as usize..last as usize, values)
                .map_err(|error| in_data(page.offset, &error))?;
            for (row, count) in rows.iter().filter(|(_, count)| *count > 0) {
                runs.push(key, &column, *row, *count);
            }
        }
        Ok(())
    }

    /// Appends what is known of the samples of a series inside `range`, oldest first.
    pub(crate) fn stretches(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
        stretches: &mut Vec<Stretch>,
    ) -> Result<(), ReadError> {
        let index = self.index.view();
        let mut read = || {
            let (mut pages, mut rows) = (index.pages(at.series)?, Vec::new());
            while let Some(page) = pages.next(&mut rows)? {
                let stretch = self.stretch(&index, at.block, &page, &rows, range, assembly)?;
                stretches.extend(stretch);
            }
            Ok(())
        };
        read()
            .and_then(|()| self.check_files())
            .map_err(|error| self.read_error(error))
    }

    /// What is known of a page; nothing where it has no sample inside the range.
    fn stretch(
        &self,
        index: &IndexView<'_>,
        block: u32,
        page: &PageRef,
        rows: &[(u32, u32)],
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<Option<Stretch>, Damaged> {
        let times = index.column(page.column)?;
        let (Some((first, _)), Some((row, count))) = (rows.first(), rows.last()) else {
            return Ok(None);
        };
        if !times.overlaps(range) {
            return Ok(None);
        }
        let last = u64::from(*row) + u64::from(*count);
        let (start_ms, end_ms) = if *first == 0 && last == u64::from(times.rows) {
            (times.start_ms, times.end_ms)
        } else {
            let key = ColumnKey::Block {
                block,
                column: page.column,
            };
            let column = assembly.column(key, || self.column(index, page.column))?;
            let end = column.get((last as usize).wrapping_sub(1));
            match (column.get(*first as usize), end) {
                (Some(start), Some(end)) => (*start, *end),
                _ => return Err(too_many_rows()),
            }
        };
        if end_ms < range.start_ms || range.end_ms < start_ms {
            return Ok(None);
        }
        let mut stretch = Stretch {
            start_ms: start_ms.max(range.start_ms),
            end_ms: end_ms.min(range.end_ms),
            known: None,
        };
        if (stretch.start_ms, stretch.end_ms) != (start_ms, end_ms) {
            return Ok(Some(stretch));
        }
        let bytes = self.data_at(page.offset, page.length)?;
        let summary = codec::verify(&bytes).and_then(|_| codec::summary(&bytes));
        let summary = summary.map_err(|error| in_data(page.offset, &error))?;
        let count: u64 = rows.iter().map(|(_, count)| u64::from(*count)).sum();
        if summary.count as u64 != count {
            return Err(too_many_rows());
        }
        stretch.known = summary.plain.then_some(Extremes {
            count,
            least: summary.least,
            greatest: summary.greatest,
            rising: summary.rising,
        });
        Ok(Some(stretch))
    }

    /// Appends the samples of a series, or of one of its components, page by page; returns how many
    /// bytes that read.
    pub(crate) fn read_pieces(
        &self,
        series: u32,
        component: Option<ComponentKey>,
        columns: &mut InputColumns,
        pieces: &mut Vec<InputPiece>,
    ) -> Result<u64, Damaged> {
        let index = self.index.view();
        let mut pages = match component {
            None => index.pages(series)?,
            Some(key) => {
                let mut components = index.components(series)?.into_iter();
                match components.find(|(have, _)| *have == key) {
                    Some((_, pages)) => pages,
                    None => return Ok(0),
                }
            }
        };
        let (mut runs, mut values, mut read) = (Vec::new(), Vec::new(), 0);
        while let Some(page) = pages.next(&mut runs)? {
            let column = columns.get(page.column, || self.column(&index, page.column))?;
            let fits = |(row, count): &(u32, u32)| {
                row.checked_add(*count)
                    .is_some_and(|end| end as usize <= column.len())
            };
            if !runs.iter().all(fits) {
                return Err(too_many_rows());
            }
            let count = runs.iter().map(|(_, count)| *count as usize).sum();
            let bytes = self.data_at(page.offset, page.length)?;
            values.clear();
            codec::decode(&bytes, 0..count, &mut values)
                .map_err(|error| in_data(page.offset, &error))?;
            read += page.length;
            let values = values.iter().map(|v: &f64| v.to_bits());
            match pieces.last_mut() {
                // A long column has several pages. Two of a series that changed places may take turns
                // in it: these are pieces that overlap.
                Some(last) if last.column == Some(page.column) && is_behind(&last.runs, &runs) => {
                    last.runs.append(&mut runs);
                    last.values.extend(values);
                }
                _ => pieces.push(InputPiece {
                    column: Some(page.column),
                    timestamps_ms: column,
                    runs: std::mem::take(&mut runs),
                    values: values.collect(),
                }),
            }
        }
        Ok(read)
    }
}

/// Whether rows are all behind others.
fn is_behind(before: &[(u32, u32)], rows: &[(u32, u32)]) -> bool {
    match (before.last(), rows.first()) {
        (Some((row, count)), Some((first, _))) => row + count <= *first,
        _ => true,
    }
}
