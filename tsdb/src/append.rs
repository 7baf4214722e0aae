//! Appending a batch: which row of which track each sample becomes.
//!
//! Nearly every batch is one row of one track, in the track's order; that path does no look-up.
//! Some are rows of several tracks that are there (see [`crate::scatter`]). The general path sorts
//! out new series, series that another group made, and several samples of one series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use barograph_model::{Exemplar, Labels, Metadata};

use crate::batch::{Appended, Batch, Entry, RejectReason, SeriesRef};
use crate::catalog::{Catalog, Location, UNPLACED};
use crate::chunk::Chunk;
use crate::error::AppendError;
use crate::exemplars::{self, ExemplarsAppended};
use crate::expand::Rows;
use crate::head::{Group, GroupState, Head};
use crate::out_of_order::Arrival;
use crate::row::Row;
use crate::sort_out::{Claims, Mover, Queue, Queued};
use crate::track::Track;
use crate::wal::record::{Join, RecordBuilder, kind};
use crate::wal::writer::Wal;

/// A track without new rows for so many of its intervals may take in series of other instants.
const IDLE_INTERVALS: i64 = 3;

/// What an append does, decided before the log is written and done afterwards.
#[derive(Default)]
struct Plan {
    seals: Vec<u32>,
    new_tracks: Vec<(u32, Box<Track>)>,
    joins: Vec<(u32, Vec<Mover>)>,
    rows: Vec<(u32, Row)>,
    /// Out of order, by series and time.
    late: Vec<Arrival>,
}

impl Head {
    /// Stores a batch.
    pub(crate) fn append(&self, wal: &Wal, batch: &Batch) -> Result<Appended, AppendError> {
        let group = self
            .handle(batch.group())
            .ok_or(AppendError::UnknownGroup)?;
        let mut appended = Appended::default();
        let rows = self.expand(batch, &mut appended.rejected);
        if !rows.entries.is_empty()
            && !self.append_row(wal, &group, &rows, &mut appended)?
            && !self.append_rows(wal, &group, &rows, &mut appended)?
        {
            self.append_any(wal, &group, batch, &rows, &mut appended)?;
            appended.rejected.sort_by_key(|r| r.index);
            // A sample is refused with any of its components.
            appended.rejected.dedup_by_key(|r| r.index);
            appended.accepted = batch.len() - appended.rejected.len();
        }
        if !batch.exemplars().is_empty() {
            appended.exemplars = self.append_exemplars(wal, batch)?;
        }
        self.count(&appended);
        let refused = |entry: u32| {
            let at = entry as usize;
            appended
                .rejected
                .binary_search_by_key(&at, |r| r.index)
                .is_ok()
        };
        let histograms = batch.extras.histograms().filter(|entry| !refused(*entry));
        let histograms = histograms.count() as u64;
        self.figures
            .histograms
            .fetch_add(histograms, Ordering::Relaxed);
        Ok(appended)
    }

    /// Logs and remembers what a family says of itself.
    pub(crate) fn set_metadata(
        &self,
        wal: &Wal,
        family: &str,
        metadata: &Metadata,
    ) -> Result<bool, AppendError> {
        self.families.set(family, metadata, |body| {
            let mut record = RecordBuilder::default();
            record.clear();
            record.operation(kind::FAMILIES, |out| out.extend_from_slice(body));
            let written = wal.append(&mut record).map_err(log_error)?;
            wal.settle(written).map_err(log_error)
        })
    }

    fn append_exemplars(&self, wal: &Wal, batch: &Batch) -> Result<ExemplarsAppended, AppendError> {
        if self.exemplars.is_off() {
            return Ok(ExemplarsAppended::default());
        }
        let mut references = Vec::with_capacity(batch.exemplars().len());
        let mut named = Vec::with_capacity(batch.exemplars().len());
        {
            let catalog = self.catalog();
            for (series, exemplar) in batch.exemplars() {
                if catalog.locate(*series).is_some() {
                    references.push(*series);
                    named.push((catalog.labels(series.slot), exemplar));
                }
            }
        }
        let log = |wanted: &[usize]| {
            let mut record = RecordBuilder::default();
            record.clear();
            record.operation(kind::EXEMPLARS, |out| {
                let one = |at: &usize| (references[*at], &named[*at].0, named[*at].1);
                exemplars::put_exemplars(out, &self.catalog(), wanted.iter().map(one));
            });
            let written = wal.append(&mut record).map_err(log_error)?;
            wal.settle(written).map_err(log_error)
        };
        let mut outcome = self.exemplars.append(&named, log)?;
        outcome.retired = batch.exemplars().len() - named.len();
        Ok(outcome)
    }

    /// Takes in exemplars of series that need not be in memory.
    pub(crate) fn take_over_exemplars(
        &self,
        wal: &Wal,
        exemplars: &[(Labels, &Exemplar)],
    ) -> Result<(), AppendError> {
        for some in exemplars.chunks(exemplars::EXEMPLARS_PER_RECORD) {
            self.exemplars.append(some, |wanted| {
                let mut record = RecordBuilder::default();
                record.clear();
                record.operation(kind::EXEMPLARS, |out| {
                    let wanted = wanted.iter().map(|at| &some[*at]);
                    exemplars::put_named_exemplars(out, wanted);
                });
                let written = wal.append(&mut record).map_err(log_error)?;
                wal.settle(written).map_err(log_error)
            })?;
        }
        Ok(())
    }

    /// The common case: one new row of one track, or more of its newest row. `false` where it is
    /// not that, and nothing was done.
    fn append_row(
        &self,
        wal: &Wal,
        group: &Group,
        rows: &Rows<'_>,
        appended: &mut Appended,
    ) -> Result<bool, AppendError> {
        let mut writer = group.writer();
        let mut space = self.workspaces.take();
        let space = &mut *space;
        let entries = &rows.entries;
        let timestamp_ms = entries[0].timestamp_ms;
        let seal;
        {
            let state = group.read();
            let first = entries[0].series;
            let begins = |track: &Track| track.ids.first() == Some(&first);
            if !state.track(writer.hint).is_some_and(begins) {
                match self.catalog().locate(first) {
                    Some(at) if at.group == group.number => writer.hint = at.track,
                    _ => return Ok(false),
                }
            }
            let Some(track) = state.track(writer.hint) else {
                return Ok(false);
            };
            if track.is_sparse()
                || timestamp_ms < track.last_ms
                || timestamp_ms < self.floor_ms.load(Ordering::Acquire)
            {
                return Ok(false);
            }
            space.row.reset(timestamp_ms, track.ids.len());
            space.row.amends = timestamp_ms == track.last_ms;
            if !self.fill_row(group.number, writer.hint, track, entries, &mut space.row) {
                return Ok(false);
            }
            space.record.clear();
            rows.log_layouts(&mut space.record);
            seal = !space.row.amends && track.timestamps_ms.len() as u32 >= track.seal_at;
            if seal {
                space
                    .record
                    .operation(kind::SEAL, |out| put_seal(out, track));
            }
            let row = &mut space.row;
            space
                .record
                .operation(kind::ROW, |out| track.encode_row(row, out));
        }
        let written = wal.append(&mut space.record).map_err(log_error)?;
        rows.layouts_logged();
        let mut state = group.write();
        let Some(track) = state.track_mut(writer.hint) else {
            unreachable!("BUG: a track vanished under its writer");
        };
        let mut slab = self.slab(group.number);
        if seal {
            self.sealed(track.seal(&mut slab));
        }
        track.apply(&mut slab, &space.row);
        drop(slab);
        self.marks().rows[track.mark as usize] = track.next_row();
        drop(state);
        self.cover(timestamp_ms, timestamp_ms);
        // Last: the row is in the log, so it must be in memory even where it is not durable.
        wal.settle(written).map_err(log_error)?;
        appended.accepted = rows.samples;
        Ok(true)
    }

    /// Puts entries into a row by position; `false` where one does not belong there.
    fn fill_row(
        &self,
        group: u32,
        index: u32,
        track: &Track,
        entries: &[Entry],
        row: &mut Row,
    ) -> bool {
        let mut guess = 0;
        let mut catalog = None;
        for entry in entries {
            if entry.timestamp_ms != row.timestamp_ms {
                return false;
            }
            if track.ids.get(guess) != Some(&entry.series) {
                let catalog = catalog.get_or_insert_with(|| self.catalog());
                match catalog.locate(entry.series) {
                    Some(at) if (at.group, at.track) == (group, index) => {
                        guess = at.position as usize;
                    }
                    _ => return false,
                }
            }
            if row.amends && !track.can_amend(guess) || !row.set(guess, entry.value.to_bits()) {
                return false;
            }
            guess += 1;
        }
        true
    }

    /// The general case. Samples of one series go in one after the other; each round takes at most
    /// one per series.
    fn append_any(
        &self,
        wal: &Wal,
        handle: &Arc<Group>,
        batch: &Batch,
        rows: &Rows<'_>,
        appended: &mut Appended,
    ) -> Result<(), AppendError> {
        let (queued, mut left) = Queued::new(batch, rows);
        while !left.is_empty() {
            let mut by_group: BTreeMap<u32, Vec<Queue>> = BTreeMap::new();
            {
                let catalog = self.catalog();
                for queue in left.drain(..) {
                    match catalog.locate(queue.series) {
                        Some(at) => by_group.entry(at.group).or_default().push(queue),
                        None => queued.retired(queue, &mut appended.rejected),
                    }
                }
            }
            for (number, queues) in by_group {
                let group = if number == handle.number {
                    Some(handle.clone())
                } else {
                    self.group(number)
                };
                if let Some(group) = group {
                    let round = self.append_round(wal, &group, &queued, queues, appended)?;
                    left.extend(round);
                } else {
                    for queue in queues {
                        queued.retired(queue, &mut appended.rejected);
                    }
                }
            }
            left.sort_unstable_by_key(|queue| queue.next);
        }
        Ok(())
    }

    /// Stores at most one sample in order per series of a group, and those out of order that come
    /// before the next one in order; returns the others.
    fn append_round(
        &self,
        wal: &Wal,
        group: &Group,
        queued: &Queued<'_>,
        queues: Vec<Queue>,
        appended: &mut Appended,
    ) -> Result<Vec<Queue>, AppendError> {
        let _writer = group.writer();
        let mut space = self.workspaces.take();
        let record = &mut space.record;
        let (mut plan, later, mut rejected, admission);
        {
            let state = group.read();
            let catalog = self.catalog();
            let sorted = self.sort_out(group, &state, &catalog, queued, queues);
            (later, rejected) = (sorted.later, sorted.rejected);
            plan = self.place(&state, sorted.claims, sorted.movers, sorted.fresh);
            plan.late = sorted.late;
            record.clear();
            queued.rows.log_layouts(record);
            encode(group, &state, &catalog, &mut plan, record);
            admission = (!plan.late.is_empty()).then(|| self.late.admit());
            if let Some(admission) = &admission {
                let mut names = false;
                record.operation(kind::LATE, |out| {
                    names = admission.encode(&catalog, group.number, &plan.late, out);
                });
                if names {
                    record.set_naming();
                }
            }
        }
        let mut written = None;
        if !record.is_empty() {
            match wal.append(record) {
                Ok(record) => {
                    queued.rows.layouts_logged();
                    written = Some(record);
                }
                Err(error) => {
                    for (_, mut track) in plan.new_tracks {
                        self.drop_track(group.number, &mut track);
                    }
                    return Err(log_error(error));
                }
            }
        }
        if let Some(admission) = admission {
            admission.insert(&plan.late, &self.layouts);
        }
        self.carry_out(group, plan);
        if let Some(written) = written {
            wal.settle(written).map_err(log_error)?;
        }
        appended.rejected.append(&mut rejected);
        Ok(later)
    }

    /// Finds tracks for the series that need one.
    fn place(
        &self,
        state: &GroupState,
        mut claims: Claims,
        mut movers: BTreeMap<i64, Vec<Mover>>,
        fresh: Vec<(i64, Mover)>,
    ) -> Plan {
        let mut plan = Plan::default();
        regroup(state, &mut claims, &mut movers);
        plan.seals = movers
            .values()
            .flatten()
            .filter_map(|mover| Some(mover.from?.0))
            .collect();
        plan.seals.sort_unstable();
        plan.seals.dedup();
        for (timestamp_ms, mover) in fresh {
            movers.entry(timestamp_ms).or_default().push(mover);
        }
        // The widest track that gets a row of the instant; else one that nobody seems to write any
        // more; else a new one.
        let mut widest: BTreeMap<i64, u32> = BTreeMap::new();
        let mut candidates: Vec<u32> = Vec::new();
        if !movers.is_empty() {
            widest = widest_tracks(state, &claims);
            // One that series leave in this very round may be empty, and closed, before others join.
            let is_left = |at: &u32| plan.seals.binary_search(at).is_ok();
            let tracks = (0..state.tracks.len() as u32)
                .filter(|at| !claims.contains_key(at) && !is_left(at));
            candidates = tracks.filter(|at| may_be_idle(state, *at)).collect();
        }
        let mut free = state.free_indices();
        let mut joiners: BTreeMap<u32, Vec<Mover>> = BTreeMap::new();
        for (timestamp_ms, movers) in movers {
            if let Some(index) = widest.get(&timestamp_ms) {
                joiners.insert(*index, movers);
                continue;
            }
            let idle = candidates.iter().position(|index| {
                let track = state.track(*index);
                track.is_some_and(|track| is_idle(track, timestamp_ms))
            });
            let (index, positions) = if let Some(at) = idle {
                let index = candidates.swap_remove(at);
                (index, state.track(index).map_or(0, |t| t.ids.len()))
            } else {
                let Some(index) = free.next() else {
                    unreachable!("BUG: indices do not end");
                };
                plan.new_tracks.push((index, self.new_track()));
                (index, 0)
            };
            let mut row = Row::default();
            row.reset(timestamp_ms, positions);
            claims.insert(index, row);
            joiners.insert(index, movers);
        }
        for (index, movers) in joiners {
            let Some(row) = claims.get_mut(&index) else {
                unreachable!("BUG: series join a track that gets no row");
            };
            let first = row.positions;
            row.grow(first + movers.len());
            for (at, mover) in movers.iter().enumerate() {
                row.set(first + at, mover.bits);
            }
            plan.joins.push((index, movers));
        }
        plan.rows = claims.into_iter().collect();
        plan.rows.sort_unstable_by_key(|(index, _)| *index);
        let mut full_tracks = Vec::new();
        for (index, _) in &plan.rows {
            let full = state
                .track(*index)
                .is_some_and(|t| t.timestamps_ms.len() as u32 >= t.seal_at);
            if full && plan.seals.binary_search(index).is_err() {
                full_tracks.push(*index);
            }
        }
        plan.seals.append(&mut full_tracks);
        plan
    }

    /// Does what was planned and logged.
    fn carry_out(&self, group: &Group, plan: Plan) {
        let mut state = group.write();
        for (index, track) in plan.new_tracks {
            state.put(index, track);
        }
        for index in plan.seals {
            if let Some(track) = state.track_mut(index) {
                self.sealed(track.seal(&mut self.slab(group.number)));
            }
        }
        if !plan.joins.is_empty() {
            let mut catalog = self.catalog_mut();
            for (index, movers) in &plan.joins {
                join(&mut state, &mut catalog, group.number, *index, movers);
            }
        }
        let mut slab = self.slab(group.number);
        let mut commits = Vec::with_capacity(plan.rows.len());
        for (index, row) in &plan.rows {
            let Some(track) = state.track_mut(*index) else {
                unreachable!("BUG: a row for a track that is not there");
            };
            track.apply(&mut slab, row);
            commits.push((track.mark, track.next_row()));
            self.cover(row.timestamp_ms, row.timestamp_ms);
        }
        drop(slab);
        let mut marks = self.marks();
        for (mark, row) in commits {
            marks.rows[mark as usize] = row;
        }
    }

    /// Seals a track now. Used by maintenance, which holds the group's writer.
    pub(crate) fn seal_logged(
        &self,
        wal: &Wal,
        group: &Group,
        record: &mut crate::wal::record::RecordBuilder,
        index: u32,
    ) -> Result<(), AppendError> {
        record.clear();
        {
            let state = group.read();
            match state.track(index) {
                Some(track) if !track.timestamps_ms.is_empty() => {
                    record.operation(kind::SEAL, |out| put_seal(out, track));
                }
                _ => return Ok(()),
            }
        }
        let written = wal.append(record).map_err(log_error)?;
        let mut state = group.write();
        if let Some(track) = state.track_mut(index) {
            self.sealed(track.seal(&mut self.slab(group.number)));
        }
        drop(state);
        wal.settle(written).map_err(log_error)
    }

    /// Queues a sealed chunk for its head file.
    pub(crate) fn sealed(&self, chunk: Option<Arc<Chunk>>) {
        if let Some(chunk) = chunk {
            self.pending().push(chunk);
        }
    }

    fn count(&self, appended: &Appended) {
        let figures = &self.figures;
        figures
            .samples
            .fetch_add(appended.accepted as u64, Ordering::Relaxed);
        for rejected in &appended.rejected {
            let counter = match rejected.reason {
                RejectReason::OutOfOrder => &figures.out_of_order,
                RejectReason::DuplicateTimestamp => &figures.duplicates,
                RejectReason::TooOld if self.late.window_ms() == 0 => {
                    &self.late.figures.out_of_bound
                }
                RejectReason::TooOld => &figures.too_old,
                RejectReason::RetiredSeries => &figures.retired,
                RejectReason::TooManyBuckets => &figures.too_many_buckets,
                // Counted where it is decided.
                RejectReason::OutOfOrderFull => continue,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Adds series to a track and ends their membership elsewhere.
fn join(state: &mut GroupState, catalog: &mut Catalog, group: u32, index: u32, movers: &[Mover]) {
    for (from, position) in movers.iter().filter_map(|mover| mover.from) {
        if let Some(track) = state.track_mut(from) {
            track.leave(position);
            track.had_leavers = true;
            track.close_if_dead();
        }
    }
    let Some(track) = state.track_mut(index) else {
        unreachable!("BUG: series join a track that is not there");
    };
    let first = track.ids.len() as u32;
    track.join(movers.iter().map(|mover| mover.series));
    let components = movers.iter().map(|mover| mover.series.slot);
    let components = components.filter(|slot| catalog.is_component(*slot));
    track.add_components(components.count() as u32);
    for (position, mover) in (first..).zip(movers) {
        let location = Location {
            group,
            track: index,
            position,
        };
        catalog.place(mover.series, location);
    }
}

/// Empties tracks that are not worth staying on, by making movers of those who have a sample: those
/// that are mostly dead, and those that have had the instants of a wider one for some time.
fn regroup(state: &GroupState, claims: &mut Claims, movers: &mut BTreeMap<i64, Vec<Mover>>) {
    let widest = match claims.len() {
        0 | 1 => BTreeMap::new(),
        _ => widest_tracks(state, claims),
    };
    let leave = |(index, row): (&u32, &Row)| {
        let track = state.track(*index)?;
        let wider = widest
            .get(&row.timestamp_ms)
            .filter(|wider| *wider != index);
        let wider = wider.and_then(|wider| state.track(*wider));
        let alike = wider.is_some_and(|wider| wider.shares_instants(track));
        (alike || track.is_sparse()).then_some(*index)
    };
    let mut left: Vec<u32> = claims.iter().filter_map(leave).collect();
    left.sort_unstable();
    for index in left {
        if let (Some(row), Some(track)) = (claims.remove(&index), state.track(index)) {
            let movers = movers.entry(row.timestamp_ms).or_default();
            movers.extend(row.values().map(|(position, bits)| Mover {
                series: track.ids[position],
                bits,
                from: Some((index, position)),
            }));
        }
    }
}

/// Of the tracks that get rows of one instant and are not mostly dead, the one with most members.
fn widest_tracks(state: &GroupState, claims: &Claims) -> BTreeMap<i64, u32> {
    let live = |index: u32| state.track(index).map_or(0, |track| track.live);
    let mut widest: BTreeMap<i64, u32> = BTreeMap::new();
    for (index, row) in claims {
        if state.track(*index).is_some_and(Track::is_sparse) {
            continue;
        }
        widest
            .entry(row.timestamp_ms)
            .and_modify(|have| {
                if (live(*index), *have) > (live(*have), *index) {
                    *have = *index;
                }
            })
            .or_insert(*index);
    }
    widest
}

/// Whether a track may be one that nobody writes any more.
fn may_be_idle(state: &GroupState, index: u32) -> bool {
    state
        .track(index)
        .is_some_and(|track| !track.is_closed() && !track.is_sparse())
}

/// Whether series may move in: nobody seems to write the track any more.
fn is_idle(track: &Track, timestamp_ms: i64) -> bool {
    if track.last_ms >= timestamp_ms {
        return false;
    }
    let rows = &track.timestamps_ms;
    let before = rows.len().checked_sub(2).and_then(|row| rows.get(row));
    match before {
        _ if track.live == 0 => true,
        Some(before_ms) => {
            let interval = track.last_ms.saturating_sub(before_ms);
            timestamp_ms.saturating_sub(track.last_ms) > interval.saturating_mul(IDLE_INTERVALS)
        }
        None => false,
    }
}

/// Writes a plan's operations.
fn encode(
    group: &Group,
    state: &GroupState,
    catalog: &Catalog,
    plan: &mut Plan,
    record: &mut crate::wal::record::RecordBuilder,
) {
    for index in &plan.seals {
        if let Some(track) = state.track(*index)
            && !track.timestamps_ms.is_empty()
        {
            record.operation(kind::SEAL, |out| put_seal(out, track));
        }
    }
    let find = |tracks: &[(u32, Box<Track>)], index: u32| {
        tracks.iter().position(|(have, _)| *have == index)
    };
    for (index, movers) in &plan.joins {
        let track = match find(&plan.new_tracks, *index) {
            Some(at) => Some(&*plan.new_tracks[at].1),
            None => state.track(*index),
        };
        let Some(track) = track else {
            unreachable!("BUG: series join a track that is not there");
        };
        let named = |mover: &Mover| {
            let named = mover.from.is_none() && !is_placed(catalog, mover.series);
            (
                mover.series,
                named.then(|| catalog.name_of(mover.series.slot)),
            )
        };
        let join = Join {
            group: group.number,
            track: track.id,
            first_row: track.first_row,
            position: track.ids.len() as u32,
            series: movers.iter().map(named).collect(),
        };
        record.operation(kind::JOIN, |out| join.write(out));
    }
    for (index, row) in &mut plan.rows {
        let track = match find(&plan.new_tracks, *index) {
            Some(at) => Some(&*plan.new_tracks[at].1),
            None => state.track(*index),
        };
        let Some(track) = track else {
            unreachable!("BUG: a row for a track that is not there");
        };
        record.operation(kind::ROW, |out| track.encode_row(row, out));
    }
}

fn is_placed(catalog: &Catalog, series: SeriesRef) -> bool {
    catalog
        .locate(series)
        .is_some_and(|at| at.track != UNPLACED)
}

/// Body of a seal: the track, and one past its newest row.
pub(crate) fn put_seal(out: &mut Vec<u8>, track: &Track) {
    crate::bytes::put_varint(out, u64::from(track.id));
    crate::bytes::put_varint(out, u64::from(track.next_row()));
}

pub(crate) fn log_error((path, source): (std::path::PathBuf, std::io::Error)) -> AppendError {
    AppendError::Log { path, source }
}
