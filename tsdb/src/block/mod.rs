//! Blocks: immutable directories, each with the samples of a stretch of time.

use std::collections::BTreeSet;

use barograph_model::{Labels, Matcher, TimeRange};

use crate::assemble::Assembly;
use crate::error::{ReadError, SelectError};

/// A series of a block in a selection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSeries {
    /// Number of the block in the view.
    pub(crate) block: u32,
    /// Number of the series in the block.
    pub(crate) series: u32,
}

/// An open block.
#[derive(Debug)]
pub(crate) struct Block {
    range: TimeRange,
}

impl Block {
    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    pub(crate) fn select(
        &self,
        _number: u32,
        _matchers: &[Matcher],
        _range: TimeRange,
    ) -> Result<Vec<(Labels, BlockSeries)>, SelectError> {
        Ok(Vec::new())
    }

    pub(crate) fn label_names(
        &self,
        _matchers: &[Matcher],
        _into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        Ok(())
    }

    pub(crate) fn label_values(
        &self,
        _name: &str,
        _matchers: &[Matcher],
        _into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        Ok(())
    }

    pub(crate) fn read(
        &self,
        _series: &BlockSeries,
        _range: TimeRange,
        _assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        Ok(())
    }
}

impl Block {
    pub(crate) fn size_bytes(&self) -> u64 {
        0
    }
}

pub(crate) fn open_blocks(
    _disk: &std::sync::Arc<dyn crate::disk::Disk>,
    _directory: &std::path::Path,
) -> Result<crate::view::View, crate::error::OpenError> {
    Ok(crate::view::View {
        blocks: Vec::new(),
        head_start_ms: i64::MIN,
    })
}
