//! Which blocks there are, and from where on the head counts: exchanged as one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use barograph_model::{Matcher, TimeRange};

use crate::assemble::Assembly;
use crate::block::index::Pin;
use crate::block::{Block, BlockSeries};
use crate::component::ComponentKey;
use crate::deletions::Deletions;
use crate::error::{ReadError, SelectError};
use crate::layout::Layout;
use crate::matches::MatchCache;
use crate::pairs::{List, Pairs};
use crate::prometheus::block::ForeignBlock;

/// The blocks, oldest first, and the beginning of what only the head has.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) blocks: Vec<StoredBlock>,
    /// Samples of the head before this instant are in blocks of this view.
    pub(crate) head_start_ms: i64,
    pub(crate) deletions: Arc<Deletions>,
    /// What blocks answered about patterns.
    pub(crate) matches: Arc<MatchCache>,
}

/// A block, whoever wrote it.
#[derive(Clone, Debug)]
pub(crate) enum StoredBlock {
    /// Ours.
    Own(Arc<Block>),
    /// One of Prometheus, read in place until compaction makes it ours.
    Foreign(Arc<ForeignBlock>),
}

impl StoredBlock {
    /// The block, where it is ours.
    pub(crate) fn own(&self) -> Option<&Arc<Block>> {
        match self {
            Self::Own(block) => Some(block),
            Self::Foreign(_) => None,
        }
    }

    /// From its oldest to its newest sample.
    pub(crate) fn range(&self) -> TimeRange {
        match self {
            Self::Own(block) => block.range(),
            Self::Foreign(block) => block.range(),
        }
    }

    /// Keeps in memory what reading its series needs, for as long as the result is held.
    pub(crate) fn pin(&self) -> Pin {
        match self {
            Self::Own(block) => block.pin(),
            Self::Foreign(_) => Pin::default(),
        }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(block) => &block.path,
            Self::Foreign(block) => &block.path,
        }
    }

    /// Tells blocks of one span apart.
    pub(crate) fn uid(&self) -> u64 {
        match self {
            Self::Own(block) => block.meta.uid,
            Self::Foreign(block) => Self::uid_of_foreign(block),
        }
    }

    /// The same for a block of Prometheus.
    pub(crate) fn uid_of_foreign(block: &ForeignBlock) -> u64 {
        block.meta.ulid.0 as u64
    }

    /// The span it was made for; its end is exclusive.
    pub(crate) fn span(&self) -> (i64, i64) {
        match self {
            Self::Own(block) => (block.meta.start_ms, block.meta.end_ms),
            Self::Foreign(block) => (block.meta.min_ms, block.meta.max_ms),
        }
    }

    /// Whether others may have samples of its span too. Where Prometheus stopped within a span, its
    /// last block ends there and the head goes on.
    pub(crate) fn is_part(&self) -> bool {
        match self {
            Self::Own(block) => block.meta.part,
            Self::Foreign(_) => true,
        }
    }

    /// How often its samples were compacted.
    pub(crate) fn level(&self) -> u64 {
        match self {
            Self::Own(block) => block.meta.level,
            Self::Foreign(block) => block.meta.level,
        }
    }

    /// When it was made, milliseconds since the epoch.
    pub(crate) fn made_ms(&self) -> i64 {
        match self {
            Self::Own(block) => block.meta.made_ms,
            Self::Foreign(block) => block.meta.ulid.time_ms(),
        }
    }

    /// How many samples it has; none known to be more where it does not tell.
    pub(crate) fn samples(&self) -> Option<u64> {
        match self {
            Self::Own(block) => Some(block.meta.samples),
            Self::Foreign(_) => None,
        }
    }

    /// Compaction leaves it alone before this instant.
    pub(crate) fn untouched_until_ms(&self) -> i64 {
        match self {
            Self::Own(_) => i64::MIN,
            Self::Foreign(block) => block.untouched_until_ms,
        }
    }

    /// Size of its files.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Own(block) => block.size_bytes(),
            Self::Foreign(block) => block.size_bytes(),
        }
    }

    /// Series that fit and may have samples in `range`, in order of their labels.
    pub(crate) fn select(
        &self,
        number: u32,
        matchers: &[Matcher],
        range: TimeRange,
        matches: &MatchCache,
        pairs: &mut Pairs,
    ) -> Result<Vec<(List, BlockSeries)>, SelectError> {
        match self {
            Self::Own(block) => block.select(number, matchers, range, matches, pairs),
            Self::Foreign(block) => {
                let found = block.select(number, matchers, range)?.into_iter();
                Ok(found
                    .map(|(labels, at)| (pairs.add_labels(&labels), at))
                    .collect())
            }
        }
    }

    /// Adds the label names of the series that fit.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        match self {
            Self::Own(block) => block.label_names(matchers, matches, into),
            Self::Foreign(block) => block.label_names(matchers, into),
        }
    }

    /// Adds the values of a label among the series that fit.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        matches: &MatchCache,
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        match self {
            Self::Own(block) => block.label_values(name, matchers, matches, into),
            Self::Foreign(block) => block.label_values(name, matchers, into),
        }
    }

    /// Whether a series has samples that are not floats, or start timestamps.
    pub(crate) fn has_components(&self, at: BlockSeries) -> bool {
        match self {
            // Damage is met when they are read.
            Self::Own(block) => block.has_components(at.series).unwrap_or(true),
            Self::Foreign(_) => false,
        }
    }

    /// Reads the samples of a component of a series inside `range`.
    pub(crate) fn read_component(
        &self,
        at: BlockSeries,
        key: ComponentKey,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        match self {
            Self::Own(block) => block.read_component(at, key, range, assembly),
            Self::Foreign(_) => Ok(()),
        }
    }

    /// A layout of histograms by number.
    pub(crate) fn layout(&self, id: u64) -> Result<Option<Arc<Layout>>, ReadError> {
        match self {
            Self::Own(block) => block.layout(id),
            Self::Foreign(_) => Ok(None),
        }
    }

    /// Reads the samples of a series inside `range`.
    pub(crate) fn read(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        match self {
            Self::Own(block) => block.read(at, range, assembly),
            Self::Foreign(block) => block.read(at, range, assembly),
        }
    }
}

impl From<Arc<Block>> for StoredBlock {
    fn from(block: Arc<Block>) -> Self {
        Self::Own(block)
    }
}

impl From<Arc<ForeignBlock>> for StoredBlock {
    fn from(block: Arc<ForeignBlock>) -> Self {
        Self::Foreign(block)
    }
}
