//! Series that fell silent leave memory long before the block of their time is cut.
//!
//! Their samples are written to parts, blocks beside the head that compaction merges later. From
//! then on a snapshot finds them twice, which changes no answer; once no snapshot is left that
//! does not have the parts, the series go. One that got a sample meanwhile stays.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use barograph_model::TimeRange;
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::block::view_of;
use crate::catalog::Catalog;
use crate::chunk;
use crate::db::{Inner, Maintenance};
use crate::error::AppendError;
use crate::head::{Group, GroupState, Head};
use crate::track::{DEAD, Track};
use crate::view::{StoredBlock, View};
use crate::wal::record::RecordBuilder;

/// A series may leave so long after its newest sample, by the time of the newest in the head.
const SILENT_MS: i64 = 15 * 60_000;
/// Least time between parts, unless asked for.
const PARTS_INTERVAL: Duration = Duration::from_mins(5);
/// Series leave when they are one in so many.
const SHARE: usize = 16;
/// Most spans of blocks that silent series may reach over; beyond that cutting comes first.
const SPANS_LIMIT: i64 = 8;

/// What is remembered of series that leave.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// When parts were written last.
    written: Option<Instant>,
    /// The newest view without the parts, as long as someone reads through it.
    view: Weak<View>,
    /// By group: track, position, series, row of its newest sample.
    series: BTreeMap<u32, Vec<Silent>>,
}

/// A series that is silent.
#[derive(Clone, Copy, Debug)]
struct Silent {
    track: u32,
    position: u32,
    series: SeriesRef,
    last_row: u32,
}

impl Inner {
    /// Writes parts of what silent series have, where there are enough of them.
    pub(crate) fn write_silent(&self, state: &mut Maintenance, asked: bool) {
        let wait = |written: Instant| !asked && written.elapsed() < PARTS_INTERVAL;
        if !state.leaving.series.is_empty() || state.leaving.written.is_some_and(wait) {
            return;
        }
        let newest_ms = self
            .head
            .max_ms
            .load(Ordering::Relaxed)
            .min(self.clock.now_ms());
        let silent = self.head.silent(newest_ms.saturating_sub(SILENT_MS));
        let count: usize = silent.values().map(Vec::len).sum();
        let total = self.head.catalog().len();
        if count == 0 || count < self.options.retire_series.max(total / SHARE) {
            return;
        }
        state.leaving.written = Some(Instant::now());
        match self.write_silent_parts(&silent) {
            Ok(Some(view)) => {
                state.leaving.view = view;
                state.leaving.series = silent;
            }
            // Too far apart for parts; the next block has them.
            Ok(None) => {}
            Err((path, error)) => {
                self.figures.blocks_failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(path = %path.display(), %error,
                    "cannot write the samples of silent series; they stay in memory");
            }
        }
    }

    /// Lets go of the series whose samples everyone finds in parts. Tells whether there were any.
    pub(crate) fn retire_silent(&self, state: &mut Maintenance) -> bool {
        if state.leaving.series.is_empty() || state.leaving.view.strong_count() > 0 {
            return false;
        }
        let mut gone = 0;
        for (number, silent) in std::mem::take(&mut state.leaving.series) {
            if let Some(group) = self.head.group(number) {
                gone += self.head.retire_from(&group, &silent);
            }
        }
        self.head.drop_dead_tracks();
        self.head.drop_empty_groups();
        tracing::debug!(series = gone, "silent series left memory");
        gone > 0
    }

    /// Writes the parts and puts them in force. Returns the newest view without them, `None` where
    /// nothing was written.
    fn write_silent_parts(
        &self,
        silent: &BTreeMap<u32, Vec<Silent>>,
    ) -> Result<Option<Weak<View>>, (PathBuf, io::Error)> {
        let head_start_ms = self.view.load().head_start_ms;
        let Some(oldest_ms) = self.head.oldest_from(head_start_ms) else {
            return Ok(None);
        };
        let span_ms = self.options.block_span_ms.max(1);
        let newest_ms = self
            .head
            .max_ms
            .load(Ordering::Relaxed)
            .min(self.clock.now_ms());
        let spans = oldest_ms.div_euclid(span_ms)..=newest_ms.div_euclid(span_ms);
        if spans.end().saturating_sub(*spans.start()) > SPANS_LIMIT {
            return Ok(None);
        }
        self.seal_silent(silent)?;
        let source = {
            let catalog = self.head.catalog();
            let series = silent.values().flatten().map(|silent| silent.series);
            let here = series.filter(|series| catalog.locate(*series).is_some());
            here.map(|series| series.slot).collect::<RoaringBitmap>()
        };
        let source = self.head.source(source);
        let mut parts = Vec::new();
        let _deletes = self.deletes();
        for span in spans {
            let span = (span * span_ms, (span + 1) * span_ms);
            let range = TimeRange {
                start_ms: head_start_ms.max(span.0),
                end_ms: span.1 - 1,
            };
            parts.extend(self.write_block(&source, range, span, true)?);
        }
        if parts.is_empty() {
            return Ok(None);
        }
        self.exchange_view(i64::MIN, |old| View {
            head_start_ms: old.head_start_ms,
            ..view_of(
                old.blocks
                    .iter()
                    .cloned()
                    .chain(parts.into_iter().map(StoredBlock::Own))
                    .collect(),
            )
        });
        // Were another view exchanged just now, it has the parts: waiting for it is waiting longer.
        Ok(self.old_views().last().map(|(old, _)| Arc::downgrade(old)))
    }

    /// Seals the tracks whose open rows have samples of series that leave.
    fn seal_silent(&self, silent: &BTreeMap<u32, Vec<Silent>>) -> Result<(), (PathBuf, io::Error)> {
        let mut record = RecordBuilder::default();
        for (number, silent) in silent {
            let Some(group) = self.head.group(*number) else {
                continue;
            };
            let _writer = group.writer();
            let tracks: HashSet<u32> = {
                let state = group.read();
                let catalog = self.head.catalog();
                let components = silent.iter().flat_map(|s| {
                    let components = catalog.components().of(s.series.slot).iter();
                    components.filter_map(|(_, component)| catalog.locate(*component))
                });
                let components = components.map(|at| (at.track, at.position));
                let places = silent.iter().map(|s| (s.track, s.position));
                let places = places.chain(components);
                let is_open = |(track, position): &(u32, u32)| {
                    let track = state.track(*track);
                    track.is_some_and(|track| track.open_rows(*position as usize).is_some())
                };
                places.filter(is_open).map(|(track, _)| track).collect()
            };
            for index in tracks {
                let sealed = self.head.seal_logged(&self.wal, &group, &mut record, index);
                if let Err(AppendError::Log { path, source }) = sealed {
                    return Err((path, source));
                }
            }
        }
        Ok(())
    }
}

impl Head {
    /// Series without a sample at or after an instant, by group; those only that were as silent
    /// when this was asked before, so that a writer who brings old samples keeps its series.
    fn silent(&self, since_ms: i64) -> BTreeMap<u32, Vec<Silent>> {
        let mut silent = BTreeMap::new();
        for group in self.all_groups() {
            let mut found = Vec::new();
            {
                let mut state = group.write();
                for (index, track) in (0..).zip(&mut state.tracks) {
                    if let Some(track) = track {
                        silent_of(index, track, since_ms, &mut found);
                    }
                }
            }
            let catalog = self.catalog();
            found.retain(|s| {
                let at = catalog.locate(s.series);
                at.is_some_and(|at| (at.group, at.track) == (group.number, s.track))
                    && !catalog.is_component(s.series.slot)
            });
            if !found.is_empty() {
                silent.insert(group.number, found);
            }
        }
        silent
    }

    /// Retires series of a group that are still as silent.
    fn retire_from(&self, group: &Group, silent: &[Silent]) -> u64 {
        let _writer = group.writer();
        let mut state = group.write();
        let mut catalog = self.catalog_mut();
        let mut gone = RoaringBitmap::new();
        for one in silent {
            let here = catalog.locate(one.series).is_some_and(|at| {
                let place = (at.group, at.track, at.position);
                place == (group.number, one.track, one.position)
            });
            let track = state.track(one.track);
            let last_row = track.and_then(|track| track.last_row(one.position as usize));
            if !here || last_row != Some(one.last_row) {
                continue;
            }
            let components = catalog.components().of(one.series.slot);
            let components = components.iter().map(|(_, component)| *component);
            let leavers: Vec<SeriesRef> = components.chain([one.series]).collect();
            for series in leavers {
                if leave(&mut state, &catalog, group.number, series) {
                    gone.insert(series.slot);
                }
            }
        }
        self.retire(&mut catalog, &gone);
        for track in state.tracks.iter_mut().flatten() {
            track.close_if_dead();
        }
        gone.len()
    }

    /// Drops tracks without members whose chunks hold nothing of a series that moved on.
    fn drop_dead_tracks(&self) {
        for group in self.all_groups() {
            let _writer = group.writer();
            let mut state = group.write();
            let dead = |track: &Option<Box<Track>>| track.as_ref().is_some_and(|t| t.is_closed());
            if !state.tracks.iter().any(dead) {
                continue;
            }
            let mut catalog = self.catalog_mut();
            let remembered = catalog.remembered_tracks(group.number);
            for (index, slot) in (0..).zip(&mut state.tracks) {
                if dead(slot)
                    && !remembered.contains(&index)
                    && let Some(mut track) = slot.take()
                {
                    self.drop_track(group.number, &mut track);
                    catalog.forget_track((group.number, index));
                }
            }
        }
    }
}

/// Ends the membership of a series, where it is in this group or nowhere.
fn leave(state: &mut GroupState, catalog: &Catalog, group: u32, series: SeriesRef) -> bool {
    match catalog.locate(series) {
        Some(at) if at.group == group => {
            if let Some(track) = state.track_mut(at.track) {
                track.leave(at.position as usize);
            }
            true
        }
        // Components belong to the group of their series.
        _ => false,
    }
}

/// Adds the members of a track that have no sample at or after an instant, nor had one when this
/// was asked before.
fn silent_of(index: u32, track: &mut Track, since_ms: i64, found: &mut Vec<Silent>) {
    let until_row = row_at(track, since_ms).min(track.asked_row);
    track.asked_row = track.next_row();
    for (position, series) in (0..).zip(&track.ids) {
        if let Some(last_row) = track.last_row(position as usize)
            && *series != DEAD
            && last_row < until_row
        {
            found.push(Silent {
                track: index,
                position,
                series: *series,
                last_row,
            });
        }
    }
}

/// The first row at or after an instant.
fn row_at(track: &Track, since_ms: i64) -> u32 {
    if track.timestamps_ms.first().is_some_and(|t| t < since_ms) {
        let before = track.timestamps_ms.count_while(|t| t < since_ms);
        return track.first_row + before as u32;
    }
    let later = track.chunks.iter().find(|chunk| chunk.max_ms >= since_ms);
    let Some(chunk) = later else {
        return track.first_row;
    };
    // What cannot be read is not silent.
    let column = chunk.bytes().read(chunk::timestamps_of).unwrap_or_default();
    chunk.first_row + column.partition_point(|t| *t < since_ms) as u32
}
