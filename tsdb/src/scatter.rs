//! Appending a batch that is a row of each of several tracks, as of a target whose series have
//! timestamps of their own (cAdvisor): every series is where it was, and is found by its number
//! alone. Samples may repeat what is stored; anything else is left to the general path.

use std::sync::atomic::Ordering;

use crate::append::{log_error, put_seal};
use crate::batch::{Appended, Entry};
use crate::catalog::UNPLACED;
use crate::error::AppendError;
use crate::expand::Rows;
use crate::head::{Group, GroupState, Head};
use crate::row::Row;
use crate::track::Track;
use crate::wal::record::kind;
use crate::wal::writer::Wal;
use crate::workspace::Workspace;

/// The rows of one batch, by track. Kept between batches for its memory.
#[derive(Debug, Default)]
pub(crate) struct Scatter {
    rows: Vec<Row>,
    /// Per row in use: the track, and whether it is sealed before.
    tracks: Vec<(u32, bool)>,
    /// By track: one past the number of its row, 0 where it has none.
    row_of: Vec<u32>,
    /// Instants of the rows, to see which are of the same one.
    instants: Vec<(i64, u32)>,
}

impl Scatter {
    fn clear(&mut self) {
        for (track, _) in self.tracks.drain(..) {
            self.row_of[track as usize] = 0;
        }
    }

    /// Begins a row of a track; `false` where the track is one to leave.
    fn begin(&mut self, index: u32, track: &Track, timestamp_ms: i64) -> bool {
        if track.is_sparse() {
            return false;
        }
        let number = self.tracks.len();
        if self.rows.len() == number {
            self.rows.push(Row::default());
        }
        self.rows[number].reset(timestamp_ms, track.ids.len());
        let amends = timestamp_ms == track.last_ms;
        self.rows[number].amends = amends;
        let seal = !amends && track.timestamps_ms.len() as u32 >= track.seal_at;
        self.tracks.push((index, seal));
        self.row_of[index as usize] = number as u32 + 1;
        true
    }

    /// Whether two of the tracks have had the same instants for some time, and should be one.
    fn some_alike(&mut self, state: &GroupState) -> bool {
        self.instants.clear();
        if self.rows[..self.tracks.len()].iter().any(|row| row.amends) {
            // Tracks become one where each begins a row.
            return false;
        }
        let rows = self.tracks.iter().zip(&self.rows);
        self.instants
            .extend(rows.map(|((track, _), row)| (row.timestamp_ms, *track)));
        self.instants.sort_unstable();
        let same = self.instants.chunk_by(|a, b| a.0 == b.0);
        same.filter(|same| same.len() > 1).any(|same| {
            let mut tracks = same.iter().filter_map(|(_, index)| state.track(*index));
            let first = tracks.next();
            first.is_some_and(|first| tracks.any(|track| track.shares_instants(first)))
        })
    }
}

impl Head {
    /// Stores a batch of rows of tracks that are there. `false` where it is not that, and nothing
    /// was done.
    pub(crate) fn append_rows(
        &self,
        wal: &Wal,
        group: &Group,
        rows: &Rows<'_>,
        appended: &mut Appended,
    ) -> Result<bool, AppendError> {
        let _writer = group.writer();
        let mut space = self.workspaces.take();
        let Workspace {
            scatter, record, ..
        } = &mut *space;
        scatter.clear();
        {
            let state = group.read();
            if !self.scatter(group.number, &state, &rows.entries, scatter)
                || scatter.some_alike(&state)
            {
                return Ok(false);
            }
            record.clear();
            rows.log_layouts(record);
            for ((index, seal), row) in scatter.tracks.iter().zip(&mut scatter.rows) {
                let track = known(state.track(*index));
                if *seal {
                    record.operation(kind::SEAL, |out| put_seal(out, track));
                }
                record.operation(kind::ROW, |out| track.encode_row(row, out));
            }
        }
        let mut written = None;
        if !record.is_empty() {
            written = Some(wal.append(record).map_err(log_error)?);
            rows.layouts_logged();
        }
        let mut state = group.write();
        let mut slab = self.slab(group.number);
        for ((index, seal), row) in scatter.tracks.iter().zip(&scatter.rows) {
            let track = known(state.track_mut(*index));
            if *seal {
                self.sealed(track.seal(&mut slab));
            }
            track.apply(&mut slab, row);
            self.cover(row.timestamp_ms, row.timestamp_ms);
        }
        drop(slab);
        {
            let mut marks = self.marks();
            for (index, _) in &scatter.tracks {
                let track = known(state.track(*index));
                marks.rows[track.mark as usize] = track.next_row();
            }
        }
        drop(state);
        if let Some(written) = written {
            wal.settle(written).map_err(log_error)?;
        }
        appended.accepted = rows.samples;
        Ok(true)
    }

    /// Puts entries into rows of their tracks; `false` where one is no newest sample of a series
    /// that has a place here, nor the same as the newest.
    fn scatter(
        &self,
        group: u32,
        state: &GroupState,
        entries: &[Entry],
        scatter: &mut Scatter,
    ) -> bool {
        let floor_ms = self.floor_ms.load(Ordering::Acquire);
        let catalog = self.catalog();
        scatter.row_of.resize(state.tracks.len(), 0);
        for entry in entries {
            let at = match catalog.locate(entry.series) {
                Some(at) if at.group == group && at.track != UNPLACED => at,
                _ => return false,
            };
            let (timestamp_ms, bits) = (entry.timestamp_ms, entry.value.to_bits());
            let position = at.position as usize;
            let number = match scatter.row_of[at.track as usize] {
                0 => {
                    let track = known(state.track(at.track));
                    if timestamp_ms < floor_ms {
                        return false;
                    }
                    if timestamp_ms <= track.last_ms {
                        if track.is_newest(position, timestamp_ms, bits) {
                            continue;
                        }
                        if timestamp_ms < track.last_ms || !track.can_amend(position) {
                            return false;
                        }
                    }
                    if !scatter.begin(at.track, track, timestamp_ms) {
                        return false;
                    }
                    scatter.tracks.len()
                }
                number => number as usize,
            };
            let row = &mut scatter.rows[number - 1];
            if row.amends && row.timestamp_ms == timestamp_ms {
                let track = known(state.track(at.track));
                if track.is_newest(position, timestamp_ms, bits) {
                    continue;
                }
                if !track.can_amend(position) {
                    return false;
                }
            }
            if row.timestamp_ms != timestamp_ms || !row.set(position, bits) {
                return false;
            }
        }
        true
    }
}

/// A track that a series is on.
fn known<T>(track: Option<T>) -> T {
    match track {
        Some(track) => track,
        None => unreachable!("BUG: a series on a track that is not there"),
    }
}
