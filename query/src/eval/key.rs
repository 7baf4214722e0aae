//! What a series of a stream is called. Labels are built only for those who look at them.

use std::cell::OnceCell;
use std::sync::Arc;

use barograph_model::{Labels, METRIC_NAME};
use barograph_tsdb::Selection;

use super::vector::{describes_metric, has_type_or_unit};
use crate::memory::Held;

/// A selection and what is known of the labels in it.
pub(crate) struct Selected {
    pub(super) selection: Selection,
    /// Whether any of its series may have a type or a unit as label.
    may_have_type_or_unit: bool,
    /// About how many bytes the labels of a series are.
    pub(super) labels_bytes: usize,
    /// What is known of its series takes memory for as long as somebody has it.
    _memory: Held,
}

impl Selected {
    pub(super) fn new(selection: Selection, memory: Held) -> Self {
        let describes = |pair| {
            let (name, _) = selection.pair(pair);
            name != METRIC_NAME && describes_metric(name)
        };
        let of_series = |index: usize| -> usize {
            let pairs = selection.pairs(index).iter();
            let bytes = pairs.map(|pair| {
                let (name, value) = selection.pair(*pair);
                name.len() + value.len() + PAIR_BYTES
            });
            bytes.sum()
        };
        let asked = selection.len().min(ASKED_SERIES);
        let asked_bytes: usize = (0..asked).map(of_series).sum();
        Self {
            labels_bytes: asked_bytes / asked.max(1),
            may_have_type_or_unit: (0..selection.pair_count() as u32).any(describes),
            selection,
            _memory: memory,
        }
    }

    /// The name of a series for a stream.
    pub(super) fn key(self: &Arc<Self>, index: usize) -> Key<'_> {
        Key::Selected(self, index)
    }
}

/// Series that are asked for the size of their labels.
const ASKED_SERIES: usize = 8;
/// What a pair takes beside its texts.
const PAIR_BYTES: usize = 2;

/// The labels of a series, made or still to be made.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// Made.
    Labels(&'a Labels),
    /// Those of a series of a selection.
    Selected(&'a Arc<Selected>, usize),
    /// The same without what describes the metric, and room for them.
    Bare(&'a Arc<Selected>, usize, &'a OnceCell<Labels>),
}

impl<'a> Key<'a> {
    /// The labels.
    pub(super) fn labels(self) -> &'a Labels {
        match self {
            Self::Labels(labels) => labels,
            Self::Selected(selected, index) => selected.selection.labels(index),
            Self::Bare(selected, index, labels) => labels.get_or_init(|| {
                let selection = &selected.selection;
                let pairs = selection.pairs(index).iter();
                let pairs = pairs.map(|pair| selection.pair(*pair));
                Labels::from_sorted(pairs.filter(|(name, _)| !describes_metric(name)))
            }),
        }
    }

    /// The series of a selection, and whether what describes its metric is hidden.
    pub(super) fn stored(self) -> Option<(&'a Arc<Selected>, usize, bool)> {
        match self {
            Self::Labels(_) => None,
            Self::Selected(selected, index) => Some((selected, index, false)),
            Self::Bare(selected, index, _) => Some((selected, index, true)),
        }
    }

    /// The metric name, or `""`.
    pub(super) fn metric_name(self) -> &'a str {
        match self {
            Self::Labels(labels) => labels.metric_name(),
            Self::Bare(..) => "",
            Self::Selected(selected, _) => self
                .name_pair()
                .map_or("", |pair| selected.selection.pair(pair).1),
        }
    }

    /// The number of the pair that is the metric name, where pairs have numbers.
    pub(super) fn name_pair(self) -> Option<u32> {
        let Self::Selected(selected, index) = self else {
            return None;
        };
        let mut pairs = selected.selection.pairs(index).iter().copied();
        pairs.find(|pair| selected.selection.pair(*pair).0 == METRIC_NAME)
    }

    /// Whether the series has the pair of a number.
    pub(super) fn has_pair(self, pair: u32) -> bool {
        match self {
            Self::Labels(_) | Self::Bare(..) => false,
            Self::Selected(selected, index) => selected.selection.pairs(index).contains(&pair),
        }
    }

    /// Whether the series has a type or a unit as label.
    pub(super) fn has_type_or_unit(self) -> bool {
        match self {
            Self::Labels(labels) => has_type_or_unit(labels),
            Self::Bare(..) => false,
            Self::Selected(selected, index) => {
                selected.may_have_type_or_unit && has_type_or_unit(selected.selection.labels(index))
            }
        }
    }
}
