//! Whether the series of a stream stay distinct when what describes their metric is dropped.

use std::hash::{BuildHasher, BuildHasherDefault};

use barograph_model::Labels;
use rapidhash::fast::RapidHasher;

use super::key::{Key, Selected};
use super::vector::{FastMap, FastSet, describes_metric};
use crate::memory::Held;

/// Bytes of a series that was seen: a hash, an index, and the room a map leaves.
const SEEN_BYTES: usize = 32;

/// The series that came by. Those of a selection are told apart by the numbers of their label pairs.
pub(super) struct Distinct {
    /// Per number of a pair whether it is dropped, where that is known.
    dropped: Vec<Option<bool>>,
    /// By the hash of what is left of a series, the first with that hash.
    seen: FastMap<u64, usize>,
    /// What is left of those that only share their hash with one seen before.
    others: FastSet<Vec<u32>>,
    labels: FastSet<Labels>,
    own: Vec<u32>,
    other: Vec<u32>,
    memory: Held,
}

impl Distinct {
    pub(super) fn new(memory: Held) -> Self {
        Self {
            dropped: Vec::new(),
            seen: FastMap::default(),
            others: FastSet::default(),
            labels: FastSet::default(),
            own: Vec::new(),
            other: Vec::new(),
            memory,
        }
    }

    /// Notes a series; `false` where one that is left with the same labels was noted before.
    pub(super) fn insert(&mut self, key: Key<'_>) -> bool {
        self.memory.grow(SEEN_BYTES);
        let Key::Selected(selected, index) = key else {
            return self.labels.insert(key.labels().without(describes_metric));
        };
        self.dropped.resize(selected.selection.pair_count(), None);
        let mut own = std::mem::take(&mut self.own);
        self.keep(selected, index, &mut own);
        let hash = BuildHasherDefault::<RapidHasher<'static>>::default().hash_one(own.as_slice());
        let is_new = match self.seen.get(&hash).copied() {
            None => {
                self.seen.insert(hash, index);
                true
            }
            Some(first) => {
                let mut other = std::mem::take(&mut self.other);
                self.keep(selected, first, &mut other);
                let same = own == other;
                self.other = other;
                !same && self.others.insert(own.clone())
            }
        };
        self.own = own;
        is_new
    }

    /// What is left of a series.
    fn keep(&mut self, selected: &Selected, index: usize, left: &mut Vec<u32>) {
        left.clear();
        for pair in selected.selection.pairs(index) {
            let dropped = &mut self.dropped[*pair as usize];
            let describes = || describes_metric(selected.selection.pair(*pair).0);
            if !*dropped.get_or_insert_with(describes) {
                left.push(*pair);
            }
        }
    }
}
