//! Whether the series of a stream stay distinct when what describes their metric is dropped.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use barograph_model::Labels;
use barograph_tsdb::Selection;
use rapidhash::fast::RapidHasher;

use super::key::{Key, Selected};
use super::vector::{FastSet, describes_metric};
use crate::memory::Held;

/// Bytes of a series that was noted: its hash, its index, and the room lists leave.
const NOTED_BYTES: usize = 16;

/// The series that came by. Those of a selection are told apart by the numbers of their label pairs,
/// all at once at the end: a table that grows with each would be written to all over, and whatever
/// comes next would wait for that.
pub(super) struct Distinct {
    /// Whose series they are.
    selected: Option<Arc<Selected>>,
    /// Per number of a pair, what it adds to the hash of a series: nothing where it is dropped.
    parts: Vec<u64>,
    /// The hash of what is left of each series.
    hashes: Vec<u64>,
    /// The series.
    indices: Vec<u32>,
    labels: FastSet<Labels>,
    /// Whether two sets of labels were the same.
    any_same: bool,
    memory: Held,
}

impl Distinct {
    pub(super) fn new(memory: Held) -> Self {
        Self {
            selected: None,
            parts: Vec::new(),
            hashes: Vec::new(),
            indices: Vec::new(),
            labels: FastSet::default(),
            any_same: false,
            memory,
        }
    }

    /// Notes a series.
    pub(super) fn note(&mut self, key: Key<'_>) {
        self.memory.grow(NOTED_BYTES);
        let Some((selected, index, _)) = key.stored() else {
            self.any_same |= !self.labels.insert(key.labels().without(describes_metric));
            return;
        };
        let selection = &selected.selection;
        if self.selected.is_none() {
            self.selected = Some(selected.clone());
            self.parts = (0..selection.pair_count() as u32)
                .map(|pair| part(selection, pair))
                .collect();
            self.hashes.reserve(selection.len());
            self.indices.reserve(selection.len());
        }
        let pairs = selection.pairs(index).iter();
        // Pairs of a series differ, and are in order: adding them up tells sets of them apart.
        let parts = pairs.map(|pair| self.parts[*pair as usize]);
        self.hashes.push(parts.fold(0, u64::wrapping_add));
        self.indices.push(index as u32);
    }

    /// Whether each of them is left with labels of its own.
    pub(super) fn all_differ(mut self) -> bool {
        self.hashes.sort_unstable();
        let is_unique = self.hashes.is_sorted_by(|a, b| a < b);
        !self.any_same && (is_unique || self.differ_by_pairs())
    }

    /// The same without hashes, where two are equal: nearly always the series are too.
    fn differ_by_pairs(&self) -> bool {
        let Some(selected) = &self.selected else {
            return true;
        };
        let left = |index: &u32| -> Box<[u32]> {
            let pairs = selected.selection.pairs(*index as usize).iter().copied();
            let left = pairs.filter(|pair| self.parts[*pair as usize] != 0);
            left.collect()
        };
        let mut seen = FastSet::default();
        self.indices.iter().all(|index| seen.insert(left(index)))
    }
}

/// What a pair adds to the hash of its series.
fn part(selection: &Selection, pair: u32) -> u64 {
    if describes_metric(selection.pair(pair).0) {
        return 0;
    }
    let hash = BuildHasherDefault::<RapidHasher<'static>>::default().hash_one(pair);
    hash.max(1)
}
