//! The head: groups of tracks in memory, and the catalog that finds them.
//!
//! Locks, in the order they are taken: a group's `writer` (one append at a time), its `state`
//! (held by readers only to copy, by the writer only to apply), the catalog, the map of groups, the
//! marks, a slab, the pending chunks.
//! The log is written under `writer` alone, so a slow disk keeps no query waiting.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use barograph_model::Labels;
use roaring::RoaringBitmap;

use crate::batch::{GroupId, SeriesRef};
use crate::catalog::{Catalog, Location};
use crate::chunk::Chunk;
use crate::error::RegisterError;
use crate::exemplars::Exemplars;
use crate::families::Families;
use crate::layouts::Layouts;
use crate::out_of_order::OutOfOrder;
use crate::page::slab::Slab;
use crate::sort_out::FastHash;
use crate::track::Track;
use crate::workspace::Workspaces;

/// Slabs are shared by groups; so many keep them from waiting for each other.
const SLABS: usize = 8;

type Groups = HashMap<u32, Arc<Group>, FastHash>;

/// Everything in memory.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) catalog: RwLock<Catalog>,
    /// By number.
    pub(crate) groups: RwLock<Groups>,
    /// What a writer's [`GroupId`] stands for.
    handles: RwLock<Groups>,
    slabs: [Mutex<Slab>; SLABS],
    pub(crate) marks: Mutex<Marks>,
    pub(crate) workspaces: Workspaces,
    pub(crate) next_group: AtomicU32,
    pub(crate) next_track: AtomicU32,
    /// Chunks that are not in a head file yet.
    pub(crate) pending: Mutex<Vec<Arc<Chunk>>>,
    /// Samples before this instant are refused: blocks hold that time.
    pub(crate) floor_ms: AtomicI64,
    /// What is older was put into blocks, and is not read from here. Checkpoints say so: the block that
    /// tells may be gone, since all of it was deleted.
    pub(crate) start_ms: AtomicI64,
    /// Oldest instant in memory, `i64::MAX` while empty.
    pub(crate) min_ms: AtomicI64,
    /// Newest instant in memory, `i64::MIN` while empty.
    pub(crate) max_ms: AtomicI64,
    pub(crate) series_limit: usize,
    pub(crate) layouts: Layouts,
    pub(crate) exemplars: Exemplars,
    pub(crate) families: Families,
    /// Samples out of order.
    pub(crate) late: OutOfOrder,
    pub(crate) figures: HeadFigures,
}

/// Counts for the metrics.
#[derive(Debug, Default)]
pub(crate) struct HeadFigures {
    pub(crate) samples: AtomicU64,
    pub(crate) series_created: AtomicU64,
    pub(crate) series_removed: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) retired: AtomicU64,
    pub(crate) too_many_buckets: AtomicU64,
    /// Those of the samples that are histograms.
    pub(crate) histograms: AtomicU64,
}

/// Committed rows of every track: what a snapshot copies.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// One past the newest committed row, by mark.
    pub(crate) rows: Vec<u32>,
    free: Vec<u32>,
}

impl Marks {
    /// A mark for a new track, whose rows begin at or after the returned number: snapshots taken
    /// while the mark belonged to another track see none of them.
    fn allocate(&mut self) -> (u32, u32) {
        let mark = self.free.pop().unwrap_or_else(|| {
            self.rows.push(0);
            self.rows.len() as u32 - 1
        });
        (mark, self.rows[mark as usize])
    }

    fn release(&mut self, mark: u32) {
        self.free.push(mark);
    }
}

/// One writer's tracks.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) number: u32,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) state: RwLock<GroupState>,
    /// Handles that stand for it.
    pub(crate) handles: AtomicU32,
    /// Series registered as its own.
    registered: AtomicU32,
}

/// What appends remember.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Track of the last append.
    pub(crate) hint: u32,
}

/// The tracks of a group; an index stays what it is for the life of its track.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    pub(crate) tracks: Vec<Option<Box<Track>>>,
}

impl GroupState {
    pub(crate) fn track(&self, index: u32) -> Option<&Track> {
        self.tracks.get(index as usize)?.as_deref()
    }

    pub(crate) fn track_mut(&mut self, index: u32) -> Option<&mut Track> {
        self.tracks.get_mut(index as usize)?.as_deref_mut()
    }

    /// Indices without a track, the lowest first; they do not end.
    pub(crate) fn free_indices(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).filter(|at| self.track(*at).is_none())
    }

    /// Puts a track at an index.
    pub(crate) fn put(&mut self, index: u32, track: Box<Track>) {
        let missing = (index as usize + 1).saturating_sub(self.tracks.len());
        if self.tracks.is_empty() {
            // Most have one.
            self.tracks.reserve_exact(missing);
        }
        self.tracks
            .extend(std::iter::repeat_with(|| None).take(missing));
        self.tracks[index as usize] = Some(track);
    }
}

impl Group {
    fn new(number: u32) -> Self {
        Self {
            number,
            writer: Mutex::default(),
            state: RwLock::default(),
            handles: AtomicU32::new(0),
            registered: AtomicU32::new(0),
        }
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, GroupState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, GroupState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head {
    pub(crate) fn new(series_limit: usize) -> Self {
        Self {
            catalog: RwLock::default(),
            groups: RwLock::default(),
            handles: RwLock::default(),
            slabs: Default::default(),
            marks: Mutex::default(),
            workspaces: Workspaces::default(),
            next_group: AtomicU32::new(1),
            next_track: AtomicU32::new(0),
            pending: Mutex::default(),
            floor_ms: AtomicI64::new(i64::MIN),
            start_ms: AtomicI64::new(i64::MIN),
            min_ms: AtomicI64::new(i64::MAX),
            max_ms: AtomicI64::new(i64::MIN),
            series_limit,
            layouts: Layouts::default(),
            exemplars: Exemplars::new(0),
            families: Families::default(),
            late: OutOfOrder::default(),
            figures: HeadFigures::default(),
        }
    }

    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slab(&self, group: u32) -> MutexGuard<'_, Slab> {
        self.slabs[group as usize % SLABS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, Vec<Arc<Chunk>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a group.
    pub(crate) fn open_group(&self) -> GroupId {
        let number = self.next_group.fetch_add(1, Ordering::Relaxed);
        let group = {
            // Held under the map's lock, or the group could be dropped as one nobody holds.
            let mut groups = write(&self.groups);
            let group = groups
                .entry(number)
                .or_insert_with(|| Arc::new(Group::new(number)));
            group.handles.fetch_add(1, Ordering::Relaxed);
            group.clone()
        };
        write(&self.handles).insert(number, group);
        GroupId(number)
    }

    /// Ends a group. Its series stay until they have been silent for long.
    pub(crate) fn close_group(&self, id: GroupId) {
        if let Some(group) = write(&self.handles).remove(&id.0) {
            group.handles.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What a handle stands for.
    pub(crate) fn handle(&self, id: GroupId) -> Option<Arc<Group>> {
        read(&self.handles).get(&id.0).cloned()
    }

    /// A group by number.
    pub(crate) fn group(&self, number: u32) -> Option<Arc<Group>> {
        read(&self.groups).get(&number).cloned()
    }

    /// A group by number, made where absent.
    pub(crate) fn group_or_new(&self, number: u32) -> Arc<Group> {
        write(&self.groups)
            .entry(number)
            .or_insert_with(|| Arc::new(Group::new(number)))
            .clone()
    }

    /// All groups, by number.
    pub(crate) fn all_groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = read(&self.groups).values().cloned().collect();
        groups.sort_unstable_by_key(|group| group.number);
        groups
    }

    /// Forgets groups without tracks that no writer holds.
    pub(crate) fn drop_empty_groups(&self) {
        let used: std::collections::HashSet<u32> = {
            let catalog = self.catalog();
            let slots = catalog.everything().iter();
            slots.map(|s| catalog.location_of_slot(s).group).collect()
        };
        // No group's state is locked under the map: selecting holds the catalog when it asks the
        // map, and an append may hold a group's state when it asks for the catalog.
        let empty: Vec<u32> = self
            .all_groups()
            .into_iter()
            .filter(|group| !used.contains(&group.number) && group.read().tracks.is_empty())
            .map(|group| group.number)
            .collect();
        write(&self.groups).retain(|number, group| {
            // Asked again, since an append and a close may have come in between; without waiting,
            // since nothing may wait for a group's state under the map.
            let still_empty = || {
                group
                    .state
                    .try_read()
                    .is_ok_and(|state| state.tracks.is_empty())
            };
            group.handles.load(Ordering::Relaxed) > 0 || !empty.contains(number) || !still_empty()
        });
    }

    /// The reference of a series, made where there is none.
    pub(crate) fn register(
        &self,
        id: GroupId,
        labels: &Labels,
    ) -> Result<SeriesRef, RegisterError> {
        let group = self.handle(id).ok_or(RegisterError::UnknownGroup)?;
        let found = {
            let catalog = self.catalog();
            catalog
                .find(labels)
                .map(|series| (series, catalog.location_of_slot(series.slot)))
        };
        if let Some((series, location)) = found {
            self.inherit(id, &group, location);
            return Ok(series);
        }
        let mut catalog = self.catalog_mut();
        // Someone may have been faster.
        if let Some(series) = catalog.find(labels) {
            return Ok(series);
        }
        if catalog.len() >= self.series_limit {
            return Err(RegisterError::TooManySeries {
                limit: self.series_limit,
            });
        }
        if !catalog.has_room(labels) {
            return Err(RegisterError::TooMuchText {
                size_bytes: labels.size_bytes(),
            });
        }
        group.registered.fetch_add(1, Ordering::Relaxed);
        self.figures.series_created.fetch_add(1, Ordering::Relaxed);
        Ok(catalog.insert(labels, group.number, None))
    }

    /// Removes series from the catalog.
    pub(crate) fn retire(&self, catalog: &mut Catalog, slots: &RoaringBitmap) {
        self.late.orphan(catalog, slots);
        self.figures
            .series_removed
            .fetch_add(slots.len(), Ordering::Relaxed);
        catalog.retire(slots);
    }

    /// A new track with a number and mark of its own.
    pub(crate) fn new_track(&self) -> Box<Track> {
        let id = self.next_track.fetch_add(1, Ordering::Relaxed);
        let (mark, first_row) = self.marks().allocate();
        Box::new(Track::new(id, mark, first_row))
    }

    /// A restored track: its number and first row are given.
    pub(crate) fn restored_track(&self, id: u32, first_row: u32) -> Box<Track> {
        self.next_track.fetch_max(id + 1, Ordering::Relaxed);
        let (mark, _) = self.marks().allocate();
        Box::new(Track::new(id, mark, first_row))
    }

    /// Gives the memory of a track back.
    pub(crate) fn drop_track(&self, group: u32, track: &mut Track) {
        track.free_pages(&mut self.slab(group));
        let mut marks = self.marks();
        let next = track.next_row();
        let have = &mut marks.rows[track.mark as usize];
        *have = next.max(*have);
        marks.release(track.mark);
    }

    /// Widens the span of time in memory.
    pub(crate) fn cover(&self, min_ms: i64, max_ms: i64) {
        // Plain loads first: nearly every row widens the end only.
        if min_ms < self.min_ms.load(Ordering::Relaxed) {
            self.min_ms.fetch_min(min_ms, Ordering::Relaxed);
        }
        if max_ms > self.max_ms.load(Ordering::Relaxed) {
            self.max_ms.fetch_max(max_ms, Ordering::Relaxed);
        }
    }

    /// Bytes of open pages.
    pub(crate) fn slab_bytes(&self) -> usize {
        (0..SLABS as u32).map(|at| self.slab(at).size_bytes()).sum()
    }

    /// A new writer whose first series belongs to a group that nobody writes any more continues
    /// that group: after a restart, or when a target is discovered again, rows stay whole.
    fn inherit(&self, id: GroupId, group: &Arc<Group>, location: Location) {
        if location.group == group.number
            || group.registered.load(Ordering::Relaxed) > 0
            || !group.read().tracks.is_empty()
        {
            return;
        }
        let other = {
            // Under the map's lock, as in `open_group`.
            let groups = read(&self.groups);
            let other = groups.get(&location.group).filter(|other| {
                let handles = &other.handles;
                let free = handles.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
                free.is_ok()
            });
            other.cloned()
        };
        if let Some(other) = other {
            write(&self.handles).insert(id.0, other);
            group.handles.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
