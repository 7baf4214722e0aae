//! Which series of a block fit, and the labels they have.

use std::collections::BTreeSet;

use barograph_model::{Matcher, TimeRange};
use croaring::Bitmap;

use crate::block::index::IndexView;
use crate::block::{Block, BlockSeries, Damaged};
use crate::error::SelectError;
use crate::matches::MatchCache;
use crate::pairs::{List, Pairs};
use crate::select;

impl Block {
    /// Series that fit and may have samples in `range`, in order of their labels.
    pub(crate) fn select(
        &self,
        number: u32,
        matchers: &[Matcher],
        range: TimeRange,
        matches: &MatchCache,
        pairs: &mut Pairs,
    ) -> Result<Vec<(List, BlockSeries)>, SelectError> {
        let mut found = Vec::new();
        let mut source = pairs.begin_source();
        let mut ids = Vec::new();
        let mut select = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = select::select(&index, matchers)?;
            let whole = range.start_ms <= self.meta.times.start_ms
                && self.meta.times.end_ms <= range.end_ms;
            for series in set.to_vec() {
                if whole || self.may_have(&index, series, range)? {
                    let at = BlockSeries {
                        block: number,
                        series,
                    };
                    index.pairs_of_series(series, &mut ids)?;
                    let text = |pair, pairs: &mut Pairs| {
                        index.pair(pair, |name, value| pairs.add(name, value))
                    };
                    let list = source.add(pairs, &ids, text)?;
                    found.push((list, at));
                }
            }
            Ok(())
        };
        select()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))?;
        Ok(found)
    }

    /// Adds the label names of the series that fit.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = fitting(&index, matchers)?;
            index.names(|name, pairs| {
                for pair in pairs {
                    if index.pair_is_in(pair, set.as_ref())? {
                        into.insert(name.to_owned());
                        break;
                    }
                }
                Ok(())
            })
        };
        collect()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))
    }

    /// Adds the values of a label among the series that fit.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            let index = self.index.view().remembering(matches, self.meta.uid);
            let set = fitting(&index, matchers)?;
            for pair in index.pairs_of(name)? {
                if index.pair_is_in(pair, set.as_ref())? {
                    index.pair(pair, |_, value| into.insert(value.to_owned()))?;
                }
            }
            Ok(())
        };
        collect()
            .and_then(|()| self.check_files())
            .map_err(|error| self.select_error(error))
    }

    /// Whether a page of the series has rows of the range. Columns are decoded at most once per
    /// call of the caller's loop; they are short.
    fn may_have(
        &self,
        index: &IndexView<'_>,
        series: u32,
        range: TimeRange,
    ) -> Result<bool, Damaged> {
        let mut pages = index.pages(series)?;
        let mut rows = Vec::new();
        while let Some(page) = pages.next(&mut rows)? {
            let times = index.column(page.column)?;
            if !times.overlaps(range) {
                continue;
            }
            if rows.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() == u64::from(times.rows)
                && range.start_ms <= times.start_ms
                && times.end_ms <= range.end_ms
            {
                return Ok(true);
            }
            let column = index.decoded_column(page.column, || self.column(index, page.column))?;
            let start = column.partition_point(|t| *t < range.start_ms) as u32;
            let end = column.partition_point(|t| *t <= range.end_ms) as u32;
            if rows
                .iter()
                .any(|(row, count)| *row < end && row + count > start)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn select_error(&self, error: Damaged) -> SelectError {
        SelectError::Corrupt {
            path: self.path.join(error.file),
            offset: error.offset,
            what: error.what,
        }
    }
}

/// The series that fit; `None` stands for all.
fn fitting(index: &IndexView<'_>, matchers: &[Matcher]) -> Result<Option<Bitmap>, Damaged> {
    match matchers {
        [] => Ok(None),
        _ => select::select(index, matchers).map(Some),
    }
}
