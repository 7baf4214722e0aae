//! What a series of a stream is called. Labels are built only for those who look at them.

use barograph_model::{Labels, METRIC_NAME};
use barograph_tsdb::Selection;

use super::vector::{describes_metric, has_type_or_unit};
use crate::memory::Held;

/// A selection and what is known of the labels in it.
pub(crate) struct Selected {
    pub(super) selection: Selection,
    /// Whether any of its series may have a type or a unit as label.
    may_have_type_or_unit: bool,
    /// What is known of its series takes memory for as long as somebody has it.
    _memory: Held,
}

impl Selected {
    pub(super) fn new(selection: Selection, memory: Held) -> Self {
        let describes = |pair| {
            let (name, _) = selection.pair(pair);
            name != METRIC_NAME && describes_metric(name)
        };
        Self {
            may_have_type_or_unit: (0..selection.pair_count() as u32).any(describes),
            selection,
            _memory: memory,
        }
    }

    /// The name of a series for a stream.
    pub(super) fn key(&self, index: usize) -> Key<'_> {
        Key::Selected(self, index)
    }
}

/// The labels of a series, made or still to be made.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// Made.
    Labels(&'a Labels),
    /// Those of a series of a selection.
    Selected(&'a Selected, usize),
}

impl<'a> Key<'a> {
    /// The labels.
    pub(super) fn labels(self) -> &'a Labels {
        match self {
            Self::Labels(labels) => labels,
            Self::Selected(selected, index) => selected.selection.labels(index),
        }
    }

    /// The metric name, or `""`.
    pub(super) fn metric_name(self) -> &'a str {
        match self {
            Self::Labels(labels) => labels.metric_name(),
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
            Self::Labels(_) => false,
            Self::Selected(selected, index) => selected.selection.pairs(index).contains(&pair),
        }
    }

    /// Whether the series has a type or a unit as label.
    pub(super) fn has_type_or_unit(self) -> bool {
        match self {
            Self::Labels(labels) => has_type_or_unit(labels),
            Self::Selected(selected, index) => {
                selected.may_have_type_or_unit && has_type_or_unit(selected.selection.labels(index))
            }
        }
    }
}
