//! Rebuilding the head from a checkpoint and the log after it.

mod columns;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use barograph_model::Labels;
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::bytes::{Malformed, Reader};
use crate::catalog::{Catalog, KnownPairs, Location, NUMBERS_LIMIT, PairId, SLOTS_LIMIT};
use crate::chunk::Chunk;
use crate::component::Belongs;
use crate::head::{Group, Head};
use crate::out_of_order::{self, Sequences};
use crate::track::{DEAD, Track};
use crate::wal::record::{Counters, Name, ReadJoin, ReadName, kind, operations};
use columns::{Columns, Crew, Task, is_of_columns, with_crew};

/// Applies records, in order.
pub(crate) struct Replay<'a> {
    head: &'a Head,
    /// Group and index of each track.
    tracks: HashMap<u32, (Arc<Group>, u32)>,
    /// Applies what is said of tracks.
    columns: Columns<'a>,
    /// What is left of damaged chunks: better than nothing, and than nothing else.
    saved: Vec<Arc<Chunk>>,
    /// Pairs of the texts of a join, and of a series of it.
    known: KnownPairs,
    pairs: Vec<PairId>,
    /// Most series that the bytes to be read can name.
    series_limit: usize,
    /// Whether something was lost: names may be among it.
    pub(crate) damaged: bool,
    /// Blocks there are: late samples that became one are not restored.
    done: HashSet<u64>,
    /// What happened.
    pub(crate) outcome: ReplayOutcome,
}

/// What a replay met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayOutcome {
    pub(crate) rows: u64,
    pub(crate) samples: u64,
    /// Rows that depended on a record that is lost.
    pub(crate) rows_lost: u64,
    /// Sealed rows that are neither in the log nor in a head file.
    pub(crate) rows_missing: u64,
    /// Operations that made no sense.
    pub(crate) malformed: u64,
}

impl ReplayOutcome {
    /// Counts an operation that makes no sense.
    fn malformed(&mut self, error: Malformed) {
        self.malformed += 1;
        tracing::warn!(
            offset = error.offset,
            what = error.what,
            "a log record passes its checksum but makes no sense; skipped"
        );
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.samples += other.samples;
        self.rows_lost += other.rows_lost;
        self.rows_missing += other.rows_missing;
        self.malformed += other.malformed;
    }
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        head: &'a Head,
        stored: Vec<Arc<Chunk>>,
        saved: Vec<Arc<Chunk>>,
        done: HashSet<u64>,
    ) -> Self {
        let mut by_track: HashMap<u32, Vec<Arc<Chunk>>> = HashMap::new();
        for chunk in stored {
            // Were the record lost that names the track, its number must not be used again.
            let next = chunk.track.saturating_add(1).min(NUMBERS_LIMIT);
            head.next_track
                .fetch_max(next, std::sync::atomic::Ordering::Relaxed);
            by_track.entry(chunk.track).or_default().push(chunk);
        }
        for chunks in by_track.values_mut() {
            *chunks = best_cover(std::mem::take(chunks));
        }
        head.catalog_mut().begin_restore();
        Self {
            head,
            tracks: HashMap::new(),
            columns: Columns::new(head, Arc::new(by_track)),
            saved,
            known: KnownPairs::default(),
            pairs: Vec::new(),
            series_limit: 0,
            damaged: false,
            done,
            outcome: ReplayOutcome::default(),
        }
    }

    /// Says how many bytes of a checkpoint are to come: a count in it must not ask for more memory
    /// than they can fill.
    pub(crate) fn expect(&mut self, size_bytes: usize) {
        self.series_limit = size_bytes / SERIES_BYTES;
    }

    /// Applies the records of a file of so many bytes that `read` calls its argument with. Of a
    /// checkpoint, columns follow the names of all their series.
    pub(crate) fn records<'p, R>(
        &mut self,
        size_bytes: usize,
        is_checkpoint: bool,
        read: impl FnOnce(&mut dyn FnMut(&'p [u8])) -> R,
    ) -> R {
        let columns = Columns::new(self.head, self.columns.stored.clone());
        let (result, outcome) = with_crew(&columns, size_bytes, |crew| {
            read(&mut |payload| self.record(payload, crew, is_checkpoint))
        });
        self.outcome.add(&outcome);
        let own = std::mem::take(&mut self.columns.outcome);
        self.outcome.add(&own);
        result
    }

    /// Applies one record.
    fn record<'p>(&mut self, payload: &'p [u8], crew: &mut Crew<'p>, is_checkpoint: bool) {
        if crew.begin_record(payload) {
            // Records that name series are written twice.
            return;
        }
        for operation in operations(payload) {
            let done = operation.and_then(|(kind, body)| {
                if is_of_columns(kind) {
                    return self.column(kind, body, crew);
                }
                // It may move series between tracks, and give their slots to others.
                if kind == kind::JOIN && !is_checkpoint {
                    crew.wait();
                }
                self.operation(kind, body)
            });
            if let Err(error) = done {
                self.outcome.malformed(error);
                return;
            }
        }
    }

    /// Ends the replay: publishes all rows, makes the next row of every track self-contained.
    pub(crate) fn finish(mut self) -> ReplayOutcome {
        let damaged = self.damaged || self.outcome.malformed > 0 || self.outcome.rows_lost > 0;
        if damaged {
            self.use_new_numbers();
        }
        let mut former: Vec<(SeriesRef, (u32, u32))> = Vec::new();
        for (group, index) in self.tracks.values() {
            let mut state = group.write();
            let Some(track) = state.track_mut(*index) else {
                continue;
            };
            if damaged {
                self.recover(track);
            }
            self.outcome.rows_missing += u64::from(track.missing_rows());
            track.force_key();
            track.close_if_dead();
            let catalog = self.head.catalog();
            let live = track.ids.iter().filter(|series| **series != DEAD);
            let components = live.filter(|series| catalog.is_component(series.slot));
            track.components = components.count() as u32;
            drop(catalog);
            self.head.marks().rows[track.mark as usize] = track.next_row();
            for chunk in track.chunks.iter() {
                self.head.cover(chunk.min_ms, chunk.max_ms);
            }
            if let (Some(first), Some(last)) =
                (track.timestamps_ms.first(), track.timestamps_ms.last())
            {
                self.head.cover(first, last);
            }
            if track.had_leavers {
                for chunk in track.chunks.iter() {
                    let series = crate::chunk::series_of(chunk.bytes().as_slice());
                    for series in series.unwrap_or_default() {
                        former.push((series, (group.number, *index)));
                    }
                }
            }
        }
        let mut catalog = self.head.catalog_mut();
        for (series, track) in former {
            let now = catalog.locate(series).map(|at| (at.group, at.track));
            if now.is_some_and(|now| now != track) {
                catalog.remember(series.slot, track);
            }
        }
        catalog.finish_restore();
        let newest_ms = self.head.max_ms.load(std::sync::atomic::Ordering::Relaxed);
        self.head.layouts.restored(newest_ms);
        self.head.late.finish_restore();
        self.outcome
    }

    /// The record that named a series may be lost while its samples are there: nobody else may get
    /// its number.
    fn use_new_numbers(&self) {
        let chunks = self.columns.stored.values().flatten();
        let newest = chunks
            .flat_map(|chunk| crate::chunk::series_of(chunk.bytes().as_slice()).unwrap_or_default())
            .map(|series| series.generation)
            .max();
        let mut catalog = self.head.catalog_mut();
        let seen = newest.unwrap_or(0).max(catalog.generation());
        catalog.raise_generation(seen.saturating_add(UNSEEN_GENERATIONS));
    }

    /// Rows that the log lost may be in a head file.
    fn recover(&self, track: &mut Track) {
        let stored = self.columns.stored.get(&track.id).into_iter().flatten();
        let sealed = stored.filter(|c| c.end_row() <= track.first_row);
        let saved = self.saved.iter();
        let saved = saved.filter(|c| c.track == track.id && c.end_row() <= track.first_row);
        // Of equal ones the first counts.
        let candidates = sealed.chain(track.chunks.iter()).chain(saved);
        let best = best_cover(candidates.cloned().collect());
        let is_in = |chunks: &[Arc<Chunk>], chunk: &Arc<Chunk>| {
            chunks.iter().any(|have| Arc::ptr_eq(have, chunk))
        };
        let mut pending = self.head.pending();
        pending.retain(|chunk| !is_in(&track.chunks, chunk) || is_in(&best, chunk));
        let saved = best.iter().filter(|chunk| is_in(&self.saved, chunk));
        pending.extend(saved.cloned());
        drop(pending);
        track.chunks = Arc::new(best);
    }

    /// Has an operation on a track applied.
    fn column<'p>(
        &mut self,
        kind: u8,
        body: &'p [u8],
        crew: &mut Crew<'p>,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        let track = reader.varint_u32()?;
        let Some((group, index)) = self.tracks.get(&track) else {
            let is_row = matches!(kind, kind::ROW | kind::PLAIN_ROW);
            self.outcome.rows_lost += u64::from(is_row);
            return Ok(());
        };
        let task = Task {
            kind,
            body: reader.rest(),
            group: group.clone(),
            index: *index,
        };
        if let Some(task) = crew.hand(task) {
            self.columns.apply(&task);
        }
        Ok(())
    }

    fn operation(&mut self, kind: u8, body: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        match kind {
            kind::JOIN => {
                let join = ReadJoin::read(&mut reader)?;
                self.join(&join).map_err(|what| reader.fail(what))
            }
            kind::TRACK => self.track(&mut reader),
            kind::COUNTERS => {
                self.counters(Counters::read(&mut reader)?);
                Ok(())
            }
            kind::LAYOUT => {
                let id = reader.varint()?;
                self.head.layouts.restore(id, &body[reader.offset()..])
            }
            kind::EXEMPLARS => {
                let catalog = self.head.catalog();
                self.head.exemplars.replay(&mut reader, &catalog)
            }
            kind::FAMILIES => self.head.families.replay(&mut reader),
            kind::LATE | kind::LATE_STATE => {
                let is_state = kind == kind::LATE_STATE;
                let sequences = [Sequences::Dropped, Sequences::Kept][usize::from(is_state)];
                let (head, done) = (self.head, &self.done);
                let restored = out_of_order::restore(head, done, sequences, &mut reader)?;
                self.outcome.samples += restored.samples;
                self.outcome.rows_lost += restored.lost;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn counters(&mut self, counters: Counters) {
        use std::sync::atomic::Ordering::Relaxed;
        let head = self.head;
        head.next_track
            .fetch_max(counters.next_track.min(NUMBERS_LIMIT), Relaxed);
        head.next_group
            .fetch_max(counters.next_group.min(NUMBERS_LIMIT), Relaxed);
        head.floor_ms.fetch_max(counters.floor_ms, Relaxed);
        // Nothing is put into a block that is still accepted.
        let start_ms = counters.head_start_ms.min(counters.floor_ms);
        head.start_ms.fetch_max(start_ms, Relaxed);
        let mut catalog = head.catalog_mut();
        catalog.raise_generation(counters.generation);
        catalog.expect((counters.series as usize).min(self.series_limit));
    }

    fn join(&mut self, join: &ReadJoin<'_>) -> Result<(), &'static str> {
        use std::sync::atomic::Ordering::Relaxed;
        let numbers = [join.group, join.track, join.first_row];
        if numbers.iter().any(|number| *number >= NUMBERS_LIMIT) {
            return Err("a number beyond those there can be");
        }
        self.head
            .next_group
            .fetch_max(join.group.saturating_add(1), Relaxed);
        let (group, index) = self.track_of(join);
        let mut state = group.write();
        let known = state.track(index).map_or(0, |t| t.positions() as u64);
        if u64::from(join.position) > known + POSITIONS_LOST_LIMIT {
            return Err("more positions than lost records can have named");
        }
        if let Some(track) = state.track_mut(index)
            && track.positions() as u64 == u64::from(join.position)
        {
            track.reserve(join.series.len());
        }
        let mut catalog = self.head.catalog_mut();
        self.known.clear();
        for (position, (series, name)) in (join.position..).zip(&join.series) {
            let known = state.track(index).map_or(0, |t| t.positions() as u32);
            if position < known {
                continue;
            }
            let naming = match *name {
                ReadName::Known => None,
                ReadName::Component(belongs) => Some(Naming::Component(belongs)),
                ReadName::Labels { at, count } => Some(Naming::Texts {
                    join,
                    at,
                    count,
                    known: &mut self.known,
                    pairs: &mut self.pairs,
                }),
            };
            let series = if *series == DEAD {
                DEAD
            } else {
                known_series(self.head, &mut catalog, *series, naming, group.number)
            };
            if series != DEAD {
                let old = catalog.locate(series);
                let old = old.and_then(|old| Some((state.track_mut(old.track)?, old.position)));
                if let Some((track, position)) = old {
                    track.leave(position as usize);
                    track.had_leavers = true;
                }
            }
            let Some(track) = state.track_mut(index) else {
                return Ok(());
            };
            let missing = (position - known) as usize;
            track.join(std::iter::repeat_n(DEAD, missing).chain([series]));
            if series != DEAD {
                let location = Location {
                    group: group.number,
                    track: index,
                    position,
                };
                catalog.place(series, location);
            }
        }
        Ok(())
    }

    fn track_of(&mut self, join: &ReadJoin<'_>) -> (Arc<Group>, u32) {
        if let Some(found) = self.tracks.get(&join.track) {
            return found.clone();
        }
        let group = self.head.group_or_new(join.group);
        let index = {
            let mut state = group.write();
            let index = state.free_indices().next().unwrap_or_default();
            let mut track = self.head.restored_track(join.track, join.first_row);
            track.expect_key();
            self.attach(&mut track);
            state.put(index, track);
            index
        };
        self.tracks.insert(join.track, (group.clone(), index));
        (group, index)
    }

    fn track(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let id = reader.varint_u32()?;
        let Some((group, index)) = self.tracks.get(&id) else {
            return Ok(());
        };
        let mut state = group.write();
        let Some(track) = state.track_mut(*index) else {
            return Ok(());
        };
        let restored = track.restore(reader);
        self.attach(track);
        restored
    }

    /// Gives a track its chunks from the head files, those before its open rows.
    fn attach(&self, track: &mut Track) {
        let first_row = track.first_row;
        let Some(stored) = self.columns.stored.get(&track.id) else {
            return;
        };
        let chunks: Vec<_> = stored
            .iter()
            .filter(|chunk| chunk.end_row() <= first_row)
            .cloned()
            .collect();
        track.chunks = Arc::new(chunks);
    }
}

/// A series takes at least so many bytes of a checkpoint: its name and the state of its column.
const SERIES_BYTES: usize = 20;

/// Positions that lost records may have named before those that are known: each takes memory.
const POSITIONS_LOST_LIMIT: u64 = 1 << 20;

/// Generations that a lost record may have named beyond those that were seen: each is a round of
/// maintenance between two checkpoints.
const UNSEEN_GENERATIONS: u32 = 1 << 16;

/// Of chunks of one track, those that hold the most rows without overlap; oldest first. Chunks
/// overlap where a seal was lost and the rows were sealed once more, at another place.
fn best_cover(mut chunks: Vec<Arc<Chunk>>) -> Vec<Arc<Chunk>> {
    chunks.sort_by_key(|chunk| (chunk.end_row(), chunk.first_row));
    let is_apart = |pair: &[Arc<Chunk>]| pair[0].end_row() <= pair[1].first_row;
    if chunks.windows(2).all(is_apart) {
        return chunks;
    }
    // Most rows among the first chunks, and whether the last of them is one to take.
    let mut best: Vec<(u64, bool)> = vec![(0, false)];
    let before = |at: usize| chunks[..at].partition_point(|c| c.end_row() <= chunks[at].first_row);
    for at in 0..chunks.len() {
        let with = best[before(at)].0 + u64::from(chunks[at].rows);
        let without = best[at].0;
        best.push((with.max(without), with > without));
    }
    let mut kept = Vec::new();
    let mut left = chunks.len();
    while left > 0 {
        if best[left].1 {
            kept.push(chunks[left - 1].clone());
            left = before(left - 1);
        } else {
            left -= 1;
        }
    }
    kept.reverse();
    kept
}

/// How a record names a series.
pub(crate) enum Naming<'a> {
    /// By its labels.
    Labels(&'a Labels),
    /// By texts of a join.
    Texts {
        join: &'a ReadJoin<'a>,
        at: u32,
        count: u32,
        known: &'a mut KnownPairs,
        pairs: &'a mut Vec<PairId>,
    },
    /// By what it is a component of.
    Component(Belongs),
}

impl<'a> From<&'a Name> for Naming<'a> {
    fn from(name: &'a Name) -> Self {
        match name {
            Name::Labels(labels) => Self::Labels(labels),
            Name::Component(belongs) => Self::Component(*belongs),
        }
    }
}

/// The series of a join: one that is there, one to be made, or a dead position where the record
/// that named it is lost.
pub(crate) fn known_series(
    head: &Head,
    catalog: &mut Catalog,
    series: SeriesRef,
    naming: Option<Naming<'_>>,
    group: u32,
) -> SeriesRef {
    if series.slot >= SLOTS_LIMIT || series.generation >= NUMBERS_LIMIT {
        return DEAD;
    }
    catalog.raise_generation(series.generation + 1);
    if catalog.locate(series).is_some() {
        return series;
    }
    let Some(naming) = naming else {
        return DEAD;
    };
    // Who has the slot, or these labels, left memory before the log's end.
    let occupant = catalog.occupant(series.slot);
    match naming {
        Naming::Labels(labels) => {
            retire_old(head, catalog, [occupant, catalog.find(labels)]);
            // Whoever logged it had room.
            if !catalog.has_room(labels) {
                return DEAD;
            }
            catalog.insert(labels, group, Some(series))
        }
        Naming::Texts {
            join,
            at,
            count,
            known,
            pairs,
        } => {
            if !catalog.restore_pairs(&join.texts, join.labels(at, count), known, pairs) {
                retire_old(head, catalog, [occupant, None]);
                return DEAD;
            }
            retire_old(head, catalog, [occupant, catalog.find_by_pairs(pairs)]);
            catalog.insert_pairs(pairs, group, series)
        }
        Naming::Component(belongs) => {
            retire_old(head, catalog, [occupant, None]);
            catalog.insert_component(belongs, Some(series))
        }
    }
}

fn retire_old(head: &Head, catalog: &mut Catalog, old: [Option<SeriesRef>; 2]) {
    if old == [None, None] {
        return;
    }
    let gone: RoaringBitmap = old.into_iter().flatten().map(|old| old.slot).collect();
    head.late.orphan(catalog, &gone);
    catalog.retire(&gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_with_the_most_rows_are_taken() {
        let chunk = |first_row: u32, end_row: u32| {
            let times: Vec<i64> = (first_row..end_row).map(i64::from).collect();
            Arc::new(crate::chunk::write(
                1,
                first_row,
                &times,
                std::iter::empty(),
            ))
        };
        let cover = |spans: &[(u32, u32)]| {
            let chunks = spans.iter().map(|(first, end)| chunk(*first, *end));
            let kept = best_cover(chunks.collect());
            let spans: Vec<_> = kept.iter().map(|c| (c.first_row, c.end_row())).collect();
            spans
        };
        assert_eq!(cover(&[(0, 100), (0, 120)]), [(0, 120)]);
        assert_eq!(
            cover(&[(0, 120), (0, 100), (120, 240)]),
            [(0, 120), (120, 240)]
        );
        // A seal was lost: the same rows were sealed once more at the limit.
        let twice = [(0, 120), (0, 140), (120, 240), (140, 240)];
        let rows: u32 = cover(&twice).iter().map(|(first, end)| end - first).sum();
        assert_eq!(rows, 240);
        assert_eq!(
            cover(&[(0, 140), (0, 120), (120, 240)]),
            [(0, 120), (120, 240)]
        );
        assert_eq!(cover(&[]), []);
    }
}
