//! The series in memory: their labels, how to find them, and where their samples are.

mod restore;

use std::collections::{HashMap, HashSet};

use barograph_model::Labels;
use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::component::{Belongs, ComponentKey, Components};
use crate::postings::Postings;
use crate::symbols::{Symbol, Symbols};
use crate::wal::record::Name;

pub(crate) use restore::KnownPairs;

/// A label pair in use.
pub(crate) type PairId = u32;

/// Where a series' samples go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Number of the group.
    pub(crate) group: u32,
    /// Index of the track in the group, or [`UNPLACED`].
    pub(crate) track: u32,
    /// Position in the track.
    pub(crate) position: u32,
}

/// Numbers of generations, tracks, groups and rows that a file speaks of are below this: each is
/// counted up from there.
pub(crate) const NUMBERS_LIMIT: u32 = 1 << 31;
/// Slots that a file speaks of are below this: there is memory for each up to the greatest.
pub(crate) const SLOTS_LIMIT: u32 = 1 << 27;

/// The track of a series that has no sample yet.
pub(crate) const UNPLACED: u32 = u32::MAX;

/// In place of a count of labels: a series that has none, a component.
const COMPONENT: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    /// Where its labels are; of a component, the number of its parent.
    labels_at: u32,
    /// How many labels, or [`COMPONENT`].
    labels_count: u16,
    live: bool,
    /// Whether a past sweep saw it without a sample.
    idle: bool,
    location: Location,
}

#[derive(Debug, Default)]
struct Pair {
    name: Symbol,
    value: Symbol,
    /// Generation of the catalog when it came into use.
    generation: u32,
    postings: Postings,
}

/// All series in memory. Texts, pairs and label lists are each stored once.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    symbols: Symbols,
    pairs: Vec<Pair>,
    pair_lookup: HashTable<PairId>,
    free_pairs: Vec<PairId>,
    by_name: HashMap<Symbol, Vec<PairId>>,
    slots: Vec<Slot>,
    series_lookup: HashTable<u32>,
    free_slots: Vec<u32>,
    /// Label lists of all series, in order of label name.
    label_arena: Vec<PairId>,
    garbage: usize,
    everything: RoaringBitmap,
    /// Tracks that hold earlier samples of series that moved: (group, index of track).
    history: HashMap<u32, Vec<(u32, u32)>>,
    /// Generation of series made from now on.
    generation: u32,
    /// The series that have no labels.
    components: Components,
    /// Whether postings and what is free are made later.
    restoring: bool,
}

impl Catalog {
    /// The series of these labels, where it is in memory.
    pub(crate) fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let mut ids = Vec::with_capacity(16);
        for (name, value) in labels {
            ids.push(self.find_pair(name, value)?);
        }
        let slot = self.find_slot(&ids)?;
        Some(self.reference(slot))
    }

    /// Whether a series of these labels can be added: texts and lists are addressed by 32 bits.
    pub(crate) fn has_room(&self, labels: &Labels) -> bool {
        self.has_room_for(labels.len(), labels.size_bytes())
    }

    fn has_room_for(&self, labels: usize, size_bytes: usize) -> bool {
        self.symbols.has_room(size_bytes)
            && u32::try_from(self.label_arena.len() + labels).is_ok()
            && labels < usize::from(COMPONENT)
    }

    /// Adds a series whose labels are new and for which there is room, with a given reference when
    /// restoring.
    pub(crate) fn insert(
        &mut self,
        labels: &Labels,
        group: u32,
        restored: Option<SeriesRef>,
    ) -> SeriesRef {
        let slot = match restored {
            Some(reference) => self.reserve(reference.slot),
            None => self.free_slots.pop().unwrap_or_else(|| self.grow()),
        };
        let labels_at = self.label_arena.len();
        reserve(&mut self.label_arena, labels.len());
        for (name, value) in labels {
            let pair = self.acquire_pair(name, value);
            if !self.restoring {
                self.pairs[pair as usize].postings.insert(slot);
            }
            self.label_arena.push(pair);
        }
        if !self.restoring {
            self.everything.insert(slot);
        }
        let generation = restored.map_or(self.generation, |r| r.generation);
        self.settle(slot, generation, labels_at, group)
    }

    /// Gives a slot to the series whose labels are those at the end of the arena.
    fn settle(&mut self, slot: u32, generation: u32, labels_at: usize, group: u32) -> SeriesRef {
        self.slots[slot as usize] = Slot {
            generation,
            labels_at: labels_at as u32,
            labels_count: (self.label_arena.len() - labels_at) as u16,
            live: true,
            idle: false,
            location: Location {
                group,
                track: UNPLACED,
                position: 0,
            },
        };
        let hash = hash(self.label_ids(slot));
        let (arena, slots) = (&self.label_arena, &self.slots);
        self.series_lookup
            .insert_unique(hash, slot, |slot| self::hash(list(arena, slots, *slot)));
        self.reference(slot)
    }

    /// Adds a component, with a given reference when restoring. It belongs to its parent's group.
    pub(crate) fn insert_component(
        &mut self,
        belongs: Belongs,
        restored: Option<SeriesRef>,
    ) -> SeriesRef {
        let slot = match restored {
            Some(reference) => self.reserve(reference.slot),
            None => self.free_slots.pop().unwrap_or_else(|| self.grow()),
        };
        let group = self.locate(belongs.parent).map_or(0, |at| at.group);
        let parent = self.components.parent(belongs.parent);
        self.slots[slot as usize] = Slot {
            generation: restored.map_or(self.generation, |r| r.generation),
            labels_at: parent,
            labels_count: COMPONENT,
            live: true,
            idle: false,
            location: Location {
                group,
                track: UNPLACED,
                position: 0,
            },
        };
        let reference = self.reference(slot);
        self.components.insert(parent, belongs.key, reference);
        reference
    }

    /// Makes room for components of a series.
    pub(crate) fn reserve_components(&mut self, series: SeriesRef, keys: &[ComponentKey]) {
        let known = self.components.of(series.slot).len();
        if known < keys.len() {
            let parent = self.components.parent(series);
            self.components.reserve(parent, keys.len() - known);
        }
    }

    /// Whether what has a slot is a component.
    pub(crate) fn is_component(&self, slot: u32) -> bool {
        let slot = self.slots.get(slot as usize);
        slot.is_some_and(|slot| slot.live && slot.labels_count == COMPONENT)
    }

    /// What a component belongs to; `None` for a series with labels.
    pub(crate) fn belongs(&self, slot: u32) -> Option<Belongs> {
        if !self.is_component(slot) {
            return None;
        }
        let parent = self.slots[slot as usize].labels_at;
        self.components.belongs(parent, self.reference(slot))
    }

    /// The series without labels.
    pub(crate) fn components(&self) -> &Components {
        &self.components
    }

    /// The series without labels.
    pub(crate) fn components_mut(&mut self) -> &mut Components {
        &mut self.components
    }

    /// Removes series: their references are rejected from now on, their slots used again.
    pub(crate) fn retire(&mut self, gone: &RoaringBitmap) {
        if gone.is_empty() {
            return;
        }
        let mut touched = RoaringBitmap::new();
        for slot in gone {
            if !self.restoring {
                touched.extend(self.label_ids(slot).iter().copied());
            }
            let hash = hash(self.label_ids(slot));
            if !self.is_component(slot)
                && let Ok(entry) = self.series_lookup.find_entry(hash, |have| *have == slot)
            {
                entry.remove();
            }
            let state = &mut self.slots[slot as usize];
            if state.labels_count == COMPONENT {
                self.components.remove(state.labels_at, slot);
            } else {
                self.garbage += usize::from(state.labels_count);
                self.components.orphan(slot);
            }
            state.live = false;
            state.labels_count = 0;
            self.history.remove(&slot);
            if !self.restoring {
                self.free_slots.push(slot);
            }
        }
        // Low slots first, so that postings stay dense.
        self.free_slots.sort_unstable_by(|a, b| b.cmp(a));
        self.everything -= gone;
        let mut unused = Vec::new();
        for pair in &touched {
            self.pairs[pair as usize].postings.remove(gone);
            if self.pairs[pair as usize].postings.len() == 0 {
                unused.push(pair);
            }
        }
        self.free_pairs(&unused);
        self.generation += 1;
        if self.garbage > self.label_arena.len() / 2 && self.garbage > 1 << 16 {
            self.compact_arena();
        }
    }

    /// Where a series is, or `None` for a reference that is retired.
    #[inline]
    pub(crate) fn locate(&self, reference: SeriesRef) -> Option<Location> {
        let slot = self.slots.get(reference.slot as usize)?;
        (slot.live && slot.generation == reference.generation).then_some(slot.location)
    }

    /// Places a series on a track; remembers the track it leaves.
    pub(crate) fn place(&mut self, reference: SeriesRef, location: Location) {
        let slot = &mut self.slots[reference.slot as usize];
        let old = std::mem::replace(&mut slot.location, location);
        if old.track != UNPLACED && (old.group, old.track) != (location.group, location.track) {
            self.remember(reference.slot, (old.group, old.track));
        }
    }

    /// Notes that a track holds earlier samples of a series.
    pub(crate) fn remember(&mut self, slot: u32, track: (u32, u32)) {
        let tracks = self.history.entry(slot).or_default();
        if !tracks.contains(&track) {
            tracks.push(track);
        }
    }

    /// Forgets a track that is gone.
    pub(crate) fn forget_track(&mut self, track: (u32, u32)) {
        self.history.retain(|_, tracks| {
            tracks.retain(|have| *have != track);
            !tracks.is_empty()
        });
    }

    /// Tracks of a group that hold earlier samples of series.
    pub(crate) fn remembered_tracks(&self, group: u32) -> HashSet<u32> {
        let tracks = self.history.values().flatten();
        let here = tracks.filter(|(number, _)| *number == group);
        here.map(|(_, track)| *track).collect()
    }

    /// Tracks that hold earlier samples of a series, oldest first.
    pub(crate) fn history(&self, slot: u32) -> &[(u32, u32)] {
        self.history.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Where the live series of a slot is.
    pub(crate) fn location_of_slot(&self, slot: u32) -> Location {
        self.slots[slot as usize].location
    }

    /// The reference of the live series of a slot.
    pub(crate) fn reference(&self, slot: u32) -> SeriesRef {
        SeriesRef {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    /// The live series of a slot, if any.
    pub(crate) fn occupant(&self, slot: u32) -> Option<SeriesRef> {
        let state = self.slots.get(slot as usize)?;
        state.live.then(|| self.reference(slot))
    }

    /// Series without a sample that were so at the last call too; they may be retired.
    /// By group, whose writer must be held to retire them.
    pub(crate) fn sweep_unplaced(&mut self) -> HashMap<u32, RoaringBitmap> {
        let mut gone: HashMap<u32, RoaringBitmap> = HashMap::new();
        for (slot, state) in (0..).zip(&mut self.slots) {
            if !state.live || state.location.track != UNPLACED {
                continue;
            }
            if state.idle {
                gone.entry(state.location.group).or_default().insert(slot);
            }
            state.idle = true;
        }
        gone
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, slot: u32) -> Labels {
        Labels::from_sorted(self.label_ids(slot).iter().map(|pair| self.texts(*pair)))
    }

    /// What a series is called in the log.
    pub(crate) fn name_of(&self, slot: u32) -> Name {
        if !self.is_component(slot) {
            return Name::Labels(self.labels(slot));
        }
        let belongs = self.belongs(slot);
        Name::Component(belongs.unwrap_or(Belongs::NOTHING))
    }

    /// The pair ids of a series, in order of label name.
    pub(crate) fn label_ids(&self, slot: u32) -> &[PairId] {
        list(&self.label_arena, &self.slots, slot)
    }

    /// Name and value of a pair.
    pub(crate) fn texts(&self, pair: PairId) -> (&str, &str) {
        let pair = &self.pairs[pair as usize];
        (self.symbols.get(pair.name), self.symbols.get(pair.value))
    }

    /// Whether what has the number of a pair now is what had it at a generation, for those who
    /// noted the number then and looked away.
    pub(crate) fn is_pair_since(&self, pair: PairId, generation: u32) -> bool {
        let pair = self.pairs.get(pair as usize);
        pair.is_some_and(|pair| pair.generation <= generation)
    }

    /// The series that has a slot, unless it took the slot over after a generation.
    pub(crate) fn occupant_since(&self, slot: u32, generation: u32) -> Option<SeriesRef> {
        let series = self.occupant(slot)?;
        (series.generation <= generation).then_some(series)
    }

    /// Series with a pair.
    pub(crate) fn postings(&self, pair: PairId) -> &Postings {
        &self.pairs[pair as usize].postings
    }

    /// The pair of these texts, where a series has it.
    pub(crate) fn find_pair(&self, name: &str, value: &str) -> Option<PairId> {
        let (name, value) = (self.symbols.find(name)?, self.symbols.find(value)?);
        self.pair_lookup
            .find(hash_pair(name, value), |pair| {
                let pair = &self.pairs[*pair as usize];
                (pair.name, pair.value) == (name, value)
            })
            .copied()
    }

    /// The pairs of a label name, in no order.
    pub(crate) fn pairs_of(&self, name: &str) -> &[PairId] {
        let pairs = self
            .symbols
            .find(name)
            .and_then(|name| self.by_name.get(&name));
        pairs.map_or(&[], Vec::as_slice)
    }

    /// Label names in use with their pairs, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &[PairId])> {
        self.by_name
            .iter()
            .map(|(name, pairs)| (self.symbols.get(*name), pairs.as_slice()))
    }

    /// Every series, by slot.
    pub(crate) fn everything(&self) -> &RoaringBitmap {
        &self.everything
    }

    /// How many series.
    pub(crate) fn len(&self) -> usize {
        self.everything.len() as usize
    }

    /// Number of pairs in use.
    pub(crate) fn pair_count(&self) -> usize {
        self.pairs.len() - self.free_pairs.len()
    }

    /// Bytes of symbol text.
    pub(crate) fn symbol_bytes(&self) -> usize {
        self.symbols.size_bytes()
    }

    /// Generation of series made from now on.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Moves the generation past one that was seen in a file.
    pub(crate) fn raise_generation(&mut self, at_least: u32) {
        self.generation = self.generation.max(at_least.min(NUMBERS_LIMIT));
    }

    fn find_slot(&self, ids: &[PairId]) -> Option<u32> {
        self.series_lookup
            .find(hash(ids), |slot| self.label_ids(*slot) == ids)
            .copied()
    }

    fn grow(&mut self) -> u32 {
        reserve(&mut self.slots, 1);
        self.slots.push(Slot {
            generation: 0,
            labels_at: 0,
            labels_count: 0,
            live: false,
            idle: false,
            location: Location {
                group: 0,
                track: UNPLACED,
                position: 0,
            },
        });
        self.slots.len() as u32 - 1
    }

    fn reserve(&mut self, slot: u32) -> u32 {
        while self.slots.len() <= slot as usize {
            self.grow();
        }
        slot
    }

    fn acquire_pair(&mut self, name: &str, value: &str) -> PairId {
        if let Some(pair) = self.find_pair(name, value) {
            return pair;
        }
        let pair = Pair {
            name: self.symbols.acquire(name),
            value: self.symbols.acquire(value),
            generation: self.generation,
            postings: Postings::Empty,
        };
        let (name, hash) = (pair.name, hash_pair(pair.name, pair.value));
        let id = if let Some(id) = self.free_pairs.pop() {
            self.pairs[id as usize] = pair;
            id
        } else {
            self.pairs.push(pair);
            self.pairs.len() as u32 - 1
        };
        let pairs = &self.pairs;
        self.pair_lookup.insert_unique(hash, id, |id| {
            let pair = &pairs[*id as usize];
            hash_pair(pair.name, pair.value)
        });
        self.by_name.entry(name).or_default().push(id);
        id
    }

    /// Frees pairs that no series has any more.
    fn free_pairs(&mut self, unused: &[PairId]) {
        let mut names = HashSet::new();
        for id in unused.iter().copied() {
            let (name, value) = (self.pairs[id as usize].name, self.pairs[id as usize].value);
            if let Ok(entry) = self
                .pair_lookup
                .find_entry(hash_pair(name, value), |have| *have == id)
            {
                entry.remove();
            }
            names.insert(name);
        }
        // Once per name: there may be as many values as series.
        for name in names {
            if let Some(ids) = self.by_name.get_mut(&name) {
                let pairs = &self.pairs;
                ids.retain(|id| pairs[*id as usize].postings.len() > 0);
                if ids.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
        for id in unused.iter().copied() {
            let (name, value) = (self.pairs[id as usize].name, self.pairs[id as usize].value);
            self.symbols.release(name);
            self.symbols.release(value);
            self.free_pairs.push(id);
        }
    }

    fn compact_arena(&mut self) {
        let mut arena = Vec::with_capacity(self.label_arena.len() - self.garbage);
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| slot.labels_count != COMPONENT)
        {
            let start = slot.labels_at as usize;
            slot.labels_at = arena.len() as u32;
            arena.extend_from_slice(
                &self.label_arena[start..start + usize::from(slot.labels_count)],
            );
        }
        self.label_arena = arena;
        self.garbage = 0;
    }
}

fn list<'a>(arena: &'a [PairId], slots: &[Slot], slot: u32) -> &'a [PairId] {
    let slot = &slots[slot as usize];
    if slot.labels_count == COMPONENT {
        return &[];
    }
    &arena[slot.labels_at as usize..][..usize::from(slot.labels_count)]
}

/// Makes room for more: an eighth, not as much again, of lists that are long for good.
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 8).max(16));
    }
}

fn hash(ids: &[PairId]) -> u64 {
    let mut hash = 0u64;
    for id in ids {
        hash = (hash.rotate_left(23) ^ u64::from(*id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash ^ (hash >> 32)
}

fn hash_pair(name: Symbol, value: Symbol) -> u64 {
    hash(&[name, value])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(metric: &str, instance: &str) -> Labels {
        Labels::from_pairs([("__name__", metric), ("instance", instance)])
    }

    #[test]
    fn series_are_found_and_retired_ones_are_not() {
        let mut catalog = Catalog::default();
        let a = catalog.insert(&labels("up", "a"), 1, None);
        let b = catalog.insert(&labels("up", "b"), 1, None);
        assert_eq!(catalog.find(&labels("up", "a")), Some(a));
        assert_eq!(catalog.labels(b.slot), labels("up", "b"));
        catalog.retire(&[a.slot].into_iter().collect());
        assert_eq!(catalog.find(&labels("up", "a")), None);
        assert_eq!(catalog.locate(a), None);
        assert_eq!(catalog.find_pair("instance", "a"), None);
        let c = catalog.insert(&labels("up", "c"), 1, None);
        assert_eq!(c.slot, a.slot, "the slot is used again");
        assert_eq!(catalog.locate(a), None, "the old reference stays retired");
        assert!(catalog.locate(c).is_some() && catalog.locate(b).is_some());
        assert_eq!(catalog.len(), 2);
    }
}
