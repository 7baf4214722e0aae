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
            Self::Selected(selected, index) => {
                let pairs = selected.selection.pairs(index).iter();
                let texts = pairs.map(|pair| selected.selection.pair(*pair));
                let mut names = texts.filter(|(name, _)| *name == METRIC_NAME);
                names.next().map_or("", |(_, value)| value)
            }
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
