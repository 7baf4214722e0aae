//! Whether the series of a stream stay distinct when what describes their metric is dropped.

use std::hash::{BuildHasher, BuildHasherDefault};

use barograph_model::Labels;
use barograph_tsdb::Selection;
use hashbrown::HashTable;
use rapidhash::fast::RapidHasher;

use super::key::Key;
use super::vector::{FastSet, describes_metric};
use crate::memory::Held;

/// Bytes of a series that was seen: an index, and the room a table leaves.
const SEEN_BYTES: usize = 16;

/// The series that came by. Those of a selection are told apart by the numbers of their label pairs.
pub(super) struct Distinct {
    /// Per number of a pair, what it adds to the hash of a series: nothing where it is dropped.
    parts: Vec<u64>,
    /// The first series with each hash of what is left, by that hash.
    seen: HashTable<usize>,
    labels: FastSet<Labels>,
    memory: Held,
}

impl Distinct {
    pub(super) fn new(memory: Held) -> Self {
        Self {
            parts: Vec::new(),
            seen: HashTable::new(),
            labels: FastSet::default(),
            memory,
        }
    }

    /// Notes a series; `false` where one that is left with the same labels was noted before.
    pub(super) fn insert(&mut self, key: Key<'_>) -> bool {
        self.memory.grow(SEEN_BYTES);
        let Some((selected, index, _)) = key.stored() else {
            return self.labels.insert(key.labels().without(describes_metric));
        };
        let selection = &selected.selection;
        if self.parts.is_empty() {
            self.parts = (0..selection.pair_count() as u32)
                .map(|pair| part(selection, pair))
                .collect();
            self.seen.reserve(selection.len(), |_| 0);
        }
        let parts = &self.parts;
        let hash = |index: &usize| {
            let pairs = selection.pairs(*index).iter();
            // Pairs of a series differ, and are in order: adding them up tells sets of them apart.
            pairs.fold(0u64, |hash, pair| hash.wrapping_add(parts[*pair as usize]))
        };
        let left = |index: usize| {
            let pairs = selection.pairs(index).iter();
            pairs.filter(|pair| parts[**pair as usize] != 0)
        };
        let own = hash(&index);
        let same = |other: &usize| hash(other) == own && left(*other).eq(left(index));
        if self.seen.find(own, same).is_some() {
            return false;
        }
        self.seen.insert_unique(own, index, hash);
        true
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
