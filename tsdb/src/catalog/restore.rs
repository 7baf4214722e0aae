//! Filling the catalog from a checkpoint and the log.
//!
//! What follows from the lists of labels is not kept up to date meanwhile, but made once at the end:
//! postings, the set of all series, what is free.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::{COMPONENT, Catalog, PairId, hash};
use crate::batch::SeriesRef;
use crate::postings::{Postings, add_sorted};
use crate::wal::record::TextPair;

/// Slots whose postings are made at a time: the memory that takes is bounded by their labels.
/// Whole containers of a bitmap.
const SLOTS_AT_ONCE: u32 = 1 << 17;
/// "Not looked up yet".
const UNKNOWN: u32 = u32::MAX;

/// The pairs of the texts of one record, found as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct KnownPairs {
    /// By number of the value's text: the number of the name's, and the pair.
    by_value: Vec<(u32, PairId)>,
}

impl KnownPairs {
    /// Begins with another record.
    pub(crate) fn clear(&mut self) {
        self.by_value.clear();
    }
}

impl Catalog {
    /// Begins restoring; ended by [`Self::finish_restore`].
    pub(crate) fn begin_restore(&mut self) {
        self.restoring = true;
    }

    /// Makes room for so many series, which a checkpoint says will come.
    pub(crate) fn expect(&mut self, series: usize) {
        let (arena, slots) = (&self.label_arena, &self.slots);
        self.series_lookup
            .reserve(series, |slot| hash(super::list(arena, slots, *slot)));
        let more = series.saturating_sub(self.slots.len());
        self.slots.reserve_exact(more);
    }

    /// Replaces `ids` by the pairs of a series that is named by texts of a record, which are made
    /// where they are new. `false` where there is no room for them.
    pub(crate) fn restore_pairs(
        &mut self,
        texts: &[&str],
        labels: &[TextPair],
        known: &mut KnownPairs,
        ids: &mut Vec<PairId>,
    ) -> bool {
        debug_assert!(self.restoring, "pairs without series are freed at the end");
        ids.clear();
        known.by_value.resize(texts.len(), (UNKNOWN, 0));
        let size_bytes: usize = labels
            .iter()
            .map(|pair| texts[pair.name as usize].len() + texts[pair.value as usize].len())
            .sum();
        if !self.has_room_for(labels.len(), size_bytes) {
            return false;
        }
        for TextPair { name, value } in labels.iter().copied() {
            let slot = &mut known.by_value[value as usize];
            if slot.0 != name {
                let pair = self.acquire_pair(texts[name as usize], texts[value as usize]);
                *slot = (name, pair);
            }
            ids.push(slot.1);
        }
        true
    }

    /// The series of these pairs.
    pub(crate) fn find_by_pairs(&self, ids: &[PairId]) -> Option<SeriesRef> {
        self.find_slot(ids).map(|slot| self.reference(slot))
    }

    /// Adds a series of these pairs, which are new together, with its reference.
    pub(crate) fn insert_pairs(
        &mut self,
        ids: &[PairId],
        group: u32,
        restored: SeriesRef,
    ) -> SeriesRef {
        let slot = self.reserve(restored.slot);
        let labels_at = self.label_arena.len();
        super::reserve(&mut self.label_arena, ids.len());
        self.label_arena.extend_from_slice(ids);
        self.settle(slot, restored.generation, labels_at, group)
    }

    /// Ends restoring: slots that stayed empty become free, pairs that nobody has too.
    pub(crate) fn finish_restore(&mut self) {
        self.restoring = false;
        self.free_slots = (0..self.slots.len() as u32)
            .rev()
            .filter(|slot| !self.slots[*slot as usize].live)
            .collect();
        self.everything = RoaringBitmap::new();
        let all = self.slots.len() as u32;
        for first in (0..all).step_by(SLOTS_AT_ONCE as usize) {
            self.restore_postings(first..all.min(first + SLOTS_AT_ONCE));
        }
        let mut unused = Vec::new();
        for (id, pair) in (0..).zip(&mut self.pairs) {
            match &mut pair.postings {
                Postings::Many(bitmap) => {
                    bitmap.optimize();
                }
                Postings::Empty => unused.push(id),
                _ => {}
            }
        }
        self.free_pairs(&unused);
        let mut components = std::mem::take(&mut self.components);
        components.relink(|series| self.locate(series).is_some());
        self.components = components;
    }

    /// Adds the series of some slots, the ones behind those that were added, to the postings of
    /// their pairs.
    fn restore_postings(&mut self, slots: Range<u32>) {
        // Components have no labels and are found through their parents.
        let has_labels = |at: &u32| {
            let slot = &self.slots[*at as usize];
            slot.live && slot.labels_count != COMPONENT
        };
        let labelled: Vec<u32> = slots.filter(has_labels).collect();
        add_sorted(&mut self.everything, &labelled);
        // Sorted by pair, and stable: counted, then put in place.
        let mut ends = vec![0u32; self.pairs.len()];
        for at in &labelled {
            for pair in self.label_ids(*at) {
                ends[*pair as usize] += 1;
            }
        }
        let mut total = 0;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        let mut sorted = vec![0u32; total as usize];
        for at in labelled {
            for pair in self.label_ids(at) {
                let end = &mut ends[*pair as usize];
                sorted[*end as usize] = at;
                *end += 1;
            }
        }
        let mut start = 0;
        for (pair, end) in self.pairs.iter_mut().zip(ends) {
            let more = &sorted[start as usize..end as usize];
            if !more.is_empty() {
                pair.postings.extend(more);
            }
            start = end;
        }
    }
}
