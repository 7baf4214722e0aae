//! Reading series of a selection one after the other: what many of them need is looked up once.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use barograph_model::TimeRange;

use crate::assemble::{Assembly, ColumnKey, Recent, column_of};
use crate::batch::SeriesRef;
use crate::bytes::Malformed;
use crate::chunk::{self, Chunk, ChunkPage};
use crate::component::ComponentKey;
use crate::contest::Winners;
use crate::deletions::Place;
use crate::error::ReadError;
use crate::head_select::HeadSeries;
use crate::histogram::Part;
use crate::out_of_order::select as late;
use crate::snapshot::{Column, Selection};
use crate::sort_out::FastHash;
use crate::track::Track;
use crate::view::StoredBlock;

/// The head as a place of samples. Blocks have their numbers, which are less; late samples come after.
const IN_HEAD: u64 = 1 << 32;

/// Reads series of a selection inside one range. Each thread has its own.
pub struct Reader<'a> {
    selection: &'a Selection,
    range: TimeRange,
    recent: Recent,
}

impl Reader<'_> {
    /// Reads the samples of series `index` into `column`, replacing what it holds.
    ///
    /// # Errors
    /// A damaged page.
    pub fn read(&mut self, index: usize, column: &mut Column) -> Result<(), ReadError> {
        let (selection, range, recent) = (self.selection, self.range, &mut self.recent);
        column.starts_ms.clear();
        column.histograms.clear();
        column.pages_decoded = 0;
        let has_parts = selection.has_parts(index);
        selection.read_column(index, range, has_parts, column, recent)?;
        if has_parts {
            selection.read_components(index, range, column, recent)?;
        }
        selection.read_foreign(index, range, column)
    }
}

impl Selection {
    /// For reading series inside `range`, one after the other.
    pub fn reader(&self, range: TimeRange) -> Reader<'_> {
        Reader {
            selection: self,
            range,
            recent: Recent::default(),
        }
    }

    /// Reads the samples of series `index` inside `range` into `column`, replacing what it holds. Who
    /// reads several takes a [`Selection::reader`].
    ///
    /// # Errors
    /// A damaged page.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        self.reader(range).read(index, column)
    }

    /// Reads a series' own column.
    pub(crate) fn read_own(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
        recent: &mut Recent,
    ) -> Result<(), ReadError> {
        self.read_column(index, range, self.has_parts(index), column, recent)
    }

    fn read_column(
        &self,
        index: usize,
        range: TimeRange,
        has_parts: bool,
        column: &mut Column,
        recent: &mut Recent,
    ) -> Result<(), ReadError> {
        column.values.clear();
        recent.winners = Winners::default();
        let mut assembly = Assembly::new(&mut column.values, &self.timestamps, recent);
        if has_parts {
            assembly.note_places();
        }
        self.collect(index, None, range, &mut assembly)?;
        column.pages_decoded += assembly.pages_decoded();
        if !has_parts || !assembly.overlaps() {
            column.timestamps_ms = assembly.finish();
            return Ok(());
        }
        let mut own = assembly.into_candidates();
        let keys = || self.component_keys(index);
        recent.winners = Winners::choose(&mut own, keys, |key, range| {
            let mut values = Vec::new();
            let mut assembly = Assembly::new(&mut values, &self.timestamps, recent);
            assembly.note_places();
            self.collect(index, Some(key), range, &mut assembly)?;
            column.pages_decoded += assembly.pages_decoded();
            Ok(assembly.into_candidates())
        })?;
        column.timestamps_ms = column_of(&own, &self.timestamps, &mut column.values);
        Ok(())
    }

    /// Reads a component of series `index`, whose own column was read before.
    pub(crate) fn read_part(
        &self,
        index: usize,
        key: ComponentKey,
        range: TimeRange,
        recent: &mut Recent,
    ) -> Result<Part, ReadError> {
        let mut part = Part::default();
        let winners = std::mem::take(&mut recent.winners);
        let mut assembly = Assembly::new(&mut part.values, &self.timestamps, recent);
        assembly.note_places();
        let collected = self.collect(index, Some(key), range, &mut assembly);
        part.pages_decoded = assembly.pages_decoded();
        if collected.is_ok() {
            if winners.is_empty() && !assembly.overlaps() {
                part.timestamps_ms = assembly.finish();
            } else {
                let mut values = assembly.into_candidates();
                winners.keep(&mut values);
                part.timestamps_ms = column_of(&values, &self.timestamps, &mut part.values);
            }
        }
        recent.winners = winners;
        collected.map(|()| part)
    }

    /// Collects the values of a series' own column, or of a component.
    fn collect(
        &self,
        index: usize,
        key: Option<ComponentKey>,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let series = &self.series[index];
        for at in self.blocks(series) {
            let block = &self.snapshot.view.blocks[at.block as usize];
            if block.range().overlaps(&range) {
                assembly.set_place(u64::from(at.block));
                for range in self.kept(index, Place::Block(block.uid()), range).parts() {
                    match key {
                        None => block.read(*at, *range, assembly)?,
                        Some(key) => block.read_component(*at, key, *range, assembly)?,
                    }
                }
            }
        }
        let head = self.head(series);
        if let Some(series) = match key {
            None => head,
            Some(key) => head.and_then(|series| series.part(key)),
        } {
            assembly.set_place(IN_HEAD);
            self.read_kept_head(index, series, range, assembly)?;
        }
        late::read(
            &self.snapshot.late,
            self.late(series),
            key,
            range,
            IN_HEAD + 1,
            assembly,
        )
    }

    /// The components that series `index` has anywhere.
    fn component_keys(&self, index: usize) -> Result<BTreeSet<ComponentKey>, ReadError> {
        let series = &self.series[index];
        let mut keys = BTreeSet::new();
        for at in self.blocks(series) {
            if let StoredBlock::Own(block) = &self.snapshot.view.blocks[at.block as usize] {
                let found = block.component_keys(at.series);
                keys.extend(found.map_err(|error| block.read_error(error))?);
            }
        }
        if let Some(head) = self.head(series) {
            keys.extend(head.parts.iter().map(|(key, _)| *key));
        }
        keys.extend(self.late(series).iter().filter_map(|late| late.key));
        Ok(keys)
    }

    /// Reads what the head has of series `index`, or of a component of it, and is not deleted.
    fn read_kept_head(
        &self,
        index: usize,
        series: &HeadSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let range = self.snapshot.head_range(range);
        if range.start_ms > range.end_ms {
            return Ok(());
        }
        for range in self.kept(index, Place::Head, range).parts() {
            for track in series.former.iter().chain([&series.track]) {
                self.read_track(series, *track, *range, assembly)?;
            }
        }
        Ok(())
    }

    fn read_track(
        &self,
        series: &HeadSeries,
        at: (u32, u32),
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let group = &self.groups[at.0 as usize];
        let mut stream = std::mem::take(&mut assembly.tracks().stream);
        // Copy what may change; decode without a lock.
        let (chunks, open, limit, id);
        {
            let state = group.read();
            let Some(track) = state.track(at.1) else {
                return Ok(());
            };
            let seen = assembly.tracks().get(at, track, range, || {
                let marks = &self.snapshot.marks;
                marks.get(track.mark as usize).copied().unwrap_or(0)
            });
            (limit, id) = (seen.limit, track.id);
            chunks = seen.any_chunk.then(|| seen.chunks.clone());
            let rows = seen.open.clone();
            let position = series.position as usize;
            let here = !rows.is_empty() && track.ids.get(position) == Some(&series.series);
            let page = here.then(|| {
                let slab = self.snapshot.head.slab(group.number);
                track.open_page(&slab, position, &mut stream)
            });
            open = page.flatten().map(|(start, end)| {
                let key = head_key(track.id, track.first_row);
                let copy = || {
                    let visible = (limit - track.first_row) as usize;
                    let visible = visible.min(track.timestamps_ms.len());
                    Ok::<_, Infallible>(track.timestamps_ms.column(visible))
                };
                let Ok(column) = assembly.column(key, copy);
                (start, end, rows, key, column)
            });
        }
        let read = || {
            for chunk in chunks.iter().flat_map(|chunks| chunks.iter()) {
                if is_inside(chunk, range, limit) {
                    read_chunk(chunk, series.series, limit, range, assembly)?;
                }
            }
            if let Some((start, end, rows, key, column)) = open {
                let page = ChunkPage {
                    start,
                    end,
                    page: &stream,
                };
                read_page(page, key, &column, rows, assembly)?;
            }
            Ok(())
        };
        let result = read();
        assembly.tracks().stream = stream;
        result.map_err(|error| damaged_head(id, &error))
    }
}

/// Tracks of a selection that a reader came across.
#[derive(Debug, Default)]
pub(crate) struct TracksSeen {
    by_place: HashMap<(u32, u32), TrackSeen, FastHash>,
    /// Memory for the bytes of an open page.
    stream: Vec<u8>,
}

/// What reading its series needs to know of a track, while it is the same.
#[derive(Debug)]
struct TrackSeen {
    id: u32,
    range: TimeRange,
    /// Rows from this one on are not visible.
    limit: u32,
    first_row: u32,
    /// The open rows that are visible and inside the range, counted from the first open one.
    open: Range<u32>,
    chunks: Arc<Vec<Arc<Chunk>>>,
    /// Whether one of the chunks has rows inside the range.
    any_chunk: bool,
}

impl TracksSeen {
    /// What is known of the track at a place; `limit` tells which rows are visible.
    fn get(
        &mut self,
        at: (u32, u32),
        track: &Track,
        range: TimeRange,
        limit: impl Fn() -> u32,
    ) -> &TrackSeen {
        let is_same = |seen: &TrackSeen| {
            seen.id == track.id
                && seen.range == range
                && seen.first_row == track.first_row
                && Arc::ptr_eq(&seen.chunks, &track.chunks)
        };
        let seen = self.by_place.entry(at);
        let seen = seen.and_modify(|seen| {
            if !is_same(seen) {
                *seen = TrackSeen::new(track, range, limit());
            }
        });
        seen.or_insert_with(|| TrackSeen::new(track, range, limit()))
    }
}

impl TrackSeen {
    fn new(track: &Track, range: TimeRange, limit: u32) -> Self {
        let inside = track.timestamps_ms.inside(range);
        let visible = limit.saturating_sub(track.first_row);
        Self {
            id: track.id,
            range,
            limit,
            first_row: track.first_row,
            open: inside.start..inside.end.min(visible),
            any_chunk: track.chunks.iter().any(|c| is_inside(c, range, limit)),
            chunks: track.chunks.clone(),
        }
    }
}

fn is_inside(chunk: &Chunk, range: TimeRange, limit: u32) -> bool {
    chunk.max_ms >= range.start_ms && chunk.min_ms <= range.end_ms && chunk.first_row < limit
}

fn read_chunk(
    chunk: &Chunk,
    series: SeriesRef,
    limit: u32,
    range: TimeRange,
    assembly: &mut Assembly<'_>,
) -> Result<(), Malformed> {
    let bytes = chunk.bytes();
    bytes.read(|read| {
        let Some(page) = chunk::find_page(read, series)? else {
            return Ok(());
        };
        let key = head_key(chunk.track, chunk.first_row);
        let rows = limit.min(chunk.end_row()) - chunk.first_row;
        let column = assembly.column(key, || {
            let mut column = bytes.read(chunk::timestamps_of)?;
            column.truncate(rows as usize);
            Ok(column.into())
        })?;
        let start = column.partition_point(|t| *t < range.start_ms) as u32;
        let end = column.partition_point(|t| *t <= range.end_ms) as u32;
        read_page(page, key, &column, start..end, assembly)
    })
}

fn read_page(
    page: ChunkPage<'_>,
    key: ColumnKey,
    column: &Arc<[i64]>,
    rows: Range<u32>,
    assembly: &mut Assembly<'_>,
) -> Result<(), Malformed> {
    let (values, runs) = assembly.parts();
    chunk::decode_page(page, rows, values, |first, count| {
        runs.push(key, column, first, count);
    })
}

/// Rows of a track before a snapshot's limit never change, sealed or not: one key for both.
fn head_key(track: u32, first_row: u32) -> ColumnKey {
    ColumnKey::Head { track, first_row }
}

fn damaged_head(track: u32, error: &Malformed) -> ReadError {
    ReadError::Corrupt {
        path: format!("head (track {track})").into(),
        offset: error.offset as u64,
        what: error.what.to_owned(),
    }
}
