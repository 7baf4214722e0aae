//! From head to block: the oldest span is written out, then dropped from memory.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use barograph_model::TimeRange;
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::block::meta::Meta;
use crate::block::writer::{BlockWriter, Piece, text_of};
use crate::block::{Block, view_of};
use crate::catalog::UNPLACED;
use crate::chunk::{self, Chunk};
use crate::db::{Inner, Maintenance};
use crate::error::AppendError;
use crate::head::{Group, Head};
use crate::layout;
use crate::view::{StoredBlock, View};
use crate::wal::record::RecordBuilder;

type Failure = (PathBuf, io::Error);
/// A chunk that cannot be read, and why.
type Damaged = (Arc<Chunk>, crate::bytes::Malformed);
/// Series copied from the catalog under one lock.
const COPY_SERIES: usize = 4096;
/// Most spans cut in one round.
const CUTS_PER_ROUND: usize = 1000;

/// The samples of a span, in the order blocks want them.
pub(crate) struct Source {
    /// Label pairs that occur, sorted.
    pairs: Vec<(String, String)>,
    /// Pair numbers and series, in label order.
    series: Vec<(Box<[u32]>, SeriesRef)>,
}

/// Tracks' parts of the span, as far as they are needed.
type Spans = HashMap<(u32, u32), Option<TrackSpan>>;

/// A track's part of the span.
struct TrackSpan {
    chunks: Vec<Arc<Chunk>>,
    /// Its rows' timestamps inside the span.
    column: Arc<[i64]>,
    /// Number of the column in the block, once it is there.
    number: Option<u32>,
    /// Row number of the first of these rows.
    first_row: u32,
}

impl Inner {
    /// Cuts every span that is complete and old enough.
    pub(crate) fn cut_blocks(&self, state: &mut Maintenance) -> Result<usize, Failure> {
        for cut in 0..CUTS_PER_ROUND {
            let Some((start_ms, end_ms)) = self.next_span() else {
                return Ok(cut);
            };
            let done = self.cut(state, start_ms, end_ms);
            if let Err((path, error)) = done {
                self.figures.blocks_failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(path = %path.display(), %error,
                    "cannot write a block; its samples stay in the head");
                return Err((path, error));
            }
        }
        Ok(CUTS_PER_ROUND)
    }

    /// The oldest span in the head, where it ended half a span ago by the samples' own time. A
    /// timestamp of the far future must not push the present out.
    fn next_span(&self) -> Option<(i64, i64)> {
        let span_ms = self.options.block_span_ms.max(1);
        let max_ms = self
            .head
            .max_ms
            .load(Ordering::Relaxed)
            .min(self.clock.now_ms());
        let min_ms = self.head.oldest_from(self.view.load().head_start_ms)?;
        if min_ms > max_ms {
            return None;
        }
        let number = min_ms.div_euclid(span_ms);
        let end_ms = number.checked_add(1)?.checked_mul(span_ms)?;
        // The first span there can be begins with time itself.
        let start_ms = end_ms.saturating_sub(span_ms);
        (max_ms >= end_ms.checked_add(span_ms / 2)?).then_some((start_ms, end_ms))
    }

    fn cut(&self, state: &mut Maintenance, start_ms: i64, end_ms: i64) -> Result<(), Failure> {
        // From now on nothing of the span is accepted, so what is written is all there will be.
        self.head.floor_ms.fetch_max(end_ms, Ordering::AcqRel);
        self.seal_before(end_ms)?;
        let range = TimeRange {
            start_ms: start_ms.max(self.view.load().head_start_ms),
            end_ms: end_ms - 1,
        };
        let source = self.head.source(self.head.catalog().everything().clone());
        let span = (start_ms, end_ms);
        // From here to the exchange of the view nothing is deleted: it would miss the block.
        let _deletes = self.deletes();
        let block = self.write_block(&source, range, span, false)?;
        if block.is_some() {
            self.figures.blocks_cut.fetch_add(1, Ordering::Relaxed);
        }
        self.exchange_view(end_ms, |old| View {
            head_start_ms: end_ms,
            ..view_of(
                old.blocks
                    .iter()
                    .cloned()
                    .chain(block.map(StoredBlock::Own))
                    .collect(),
            )
        });
        self.head.start_ms.fetch_max(end_ms, Ordering::Relaxed);
        // The present head file ends, so that it can go once its last samples are in a block.
        state.head_files.rotate();
        self.head.min_ms.fetch_max(end_ms, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a block of what the head has of some series in a range; `None` where that is nothing.
    /// The caller holds [`Inner::deletes`] until the block is in the view.
    pub(crate) fn write_block(
        &self,
        source: &Source,
        range: TimeRange,
        (start_ms, end_ms): (i64, i64),
        part: bool,
    ) -> Result<Option<Arc<Block>>, Failure> {
        let uid = self.new_uid();
        let directory = self.options.path.join("blocks");
        let mut writer =
            BlockWriter::begin(self.disk.clone(), &directory, uid, source.pairs.len(), None)?;
        let mut damaged = Vec::new();
        let written = self
            .head
            .write_span(source, range, &mut writer, &mut damaged);
        self.give_up(damaged);
        if let Err(error) = written {
            writer.abandon();
            return Err(error);
        }
        if writer.len() == 0 {
            writer.abandon();
            return Ok(None);
        }
        let meta = Meta {
            part,
            made_ms: self.clock.now_ms(),
            ..Meta::begun(uid, start_ms, end_ms)
        };
        if let Err(error) = self.inherit_deletions(uid, range) {
            writer.abandon();
            return Err(error);
        }
        let path = writer.finish(|pair| text_of(&source.pairs, pair), meta)?;
        let opened = Block::open(&self.disk, &path);
        let block = opened.map_err(|error| (path, io::Error::other(error)))?;
        Ok(Some(Arc::new(block)))
    }

    /// Seals every track that has an open row before the instant.
    fn seal_before(&self, end_ms: i64) -> Result<(), Failure> {
        let mut record = RecordBuilder::default();
        for group in self.head.all_groups() {
            let _writer = group.writer();
            let tracks: Vec<u32> = {
                let state = group.read();
                let old = |index: &u32| {
                    let track = state.track(*index);
                    track.is_some_and(|t| t.timestamps_ms.first().is_some_and(|t| t < end_ms))
                };
                (0..state.tracks.len() as u32).filter(old).collect()
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

    /// Counts and keeps aside chunks that cannot be read; the others of the span are not held up.
    fn give_up(&self, mut damaged: Vec<Damaged>) {
        let place = |(chunk, _): &Damaged| (chunk.track, chunk.first_row);
        damaged.sort_by_key(place);
        damaged.dedup_by_key(|damaged| place(damaged));
        for (chunk, error) in damaged {
            self.figures
                .head_file_corruptions
                .fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!("track-{}", chunk.track));
            tracing::error!(
                track = chunk.track,
                first_row = chunk.first_row,
                rows = chunk.rows,
                offset = error.offset,
                what = error.what,
                "a chunk of the head cannot be read; samples of it are missing from the block, its bytes are kept in quarantine/"
            );
            self.quarantine
                .keep(&name, chunk.first_row as usize, chunk.bytes().as_slice());
        }
    }

    /// Drops from memory what blocks have, once no snapshot needs it. Returns whether anything was
    /// dropped.
    pub(crate) fn drop_old(&self) -> bool {
        let mut old_views = self.old_views();
        let current = Arc::as_ptr(&self.view.load_full());
        let mut until_ms = None;
        while let Some((view, end_ms)) = old_views.first() {
            // Snapshots of this view read the head from before `end_ms`.
            if Arc::as_ptr(view) != current && Arc::strong_count(view) > 1 {
                break;
            }
            until_ms = until_ms.max(Some(*end_ms));
            old_views.remove(0);
        }
        drop(old_views);
        let Some(until_ms) = until_ms else {
            return false;
        };
        self.head.drop_before(until_ms);
        true
    }
}

impl Head {
    /// The instant before which nothing is in the head, and nothing comes to it.
    pub(crate) fn reach_ms(&self) -> i64 {
        let mut reach_ms = self.floor_ms.load(Ordering::Acquire);
        for group in self.all_groups() {
            let state = group.read();
            for track in state.tracks.iter().flatten() {
                let sealed = track.chunks.iter().map(|chunk| chunk.min_ms);
                let oldest = sealed.chain(track.timestamps_ms.first()).min();
                reach_ms = reach_ms.min(oldest.unwrap_or(i64::MAX));
            }
        }
        reach_ms
    }

    /// The oldest instant at or after `from_ms` in the head.
    pub(crate) fn oldest_from(&self, from_ms: i64) -> Option<i64> {
        let mut oldest_ms: Option<i64> = None;
        for group in self.all_groups() {
            let state = group.read();
            for track in state.tracks.iter().flatten() {
                let sealed = track.chunks.iter().find(|chunk| chunk.max_ms >= from_ms);
                let sealed = sealed.map(|chunk| first_row_from(chunk, from_ms));
                let open = track.timestamps_ms.iter().find(|t| *t >= from_ms);
                for t in [sealed, open].into_iter().flatten() {
                    oldest_ms = Some(oldest_ms.map_or(t, |have| have.min(t)));
                }
            }
        }
        oldest_ms
    }

    /// Copies who has these slots, in label order, a few thousand series at a time.
    pub(crate) fn source(&self, slots: RoaringBitmap) -> Source {
        let mut lists: Vec<(Box<[u32]>, SeriesRef)> = Vec::with_capacity(slots.len() as usize);
        let mut texts: HashMap<u32, (String, String)> = HashMap::new();
        let mut slots = slots.into_iter().peekable();
        while slots.peek().is_some() {
            let catalog = self.catalog();
            for slot in slots.by_ref().take(COPY_SERIES) {
                if catalog.occupant(slot).is_none()
                    || catalog.location_of_slot(slot).track == UNPLACED
                {
                    continue;
                }
                let ids = catalog.label_ids(slot);
                for pair in ids {
                    texts.entry(*pair).or_insert_with(|| {
                        let (name, value) = catalog.texts(*pair);
                        (name.to_owned(), value.to_owned())
                    });
                }
                lists.push((ids.into(), catalog.reference(slot)));
            }
        }
        let mut pairs: Vec<(u32, (String, String))> = texts.into_iter().collect();
        pairs.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        let ranks: HashMap<u32, u32> = (0..)
            .zip(&pairs)
            .map(|(rank, (id, _))| (*id, rank))
            .collect();
        for (list, _) in &mut lists {
            for id in list.iter_mut() {
                *id = ranks[id];
            }
        }
        lists.sort_unstable();
        Source {
            pairs: pairs.into_iter().map(|(_, texts)| texts).collect(),
            series: lists,
        }
    }

    fn write_span(
        &self,
        source: &Source,
        range: TimeRange,
        writer: &mut BlockWriter,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(), Failure> {
        let mut spans = Spans::new();
        for (pairs, series) in &source.series {
            let pieces = self.pieces(*series, range, &mut spans, writer, damaged)?;
            if pieces.is_empty() {
                continue;
            }
            writer.series(pairs, &pieces)?;
            let mut components = self.catalog().components().of(series.slot).to_vec();
            components.dedup_by_key(|(key, _)| *key);
            if components.is_empty() {
                continue;
            }
            self.write_layouts(&pieces, writer)?;
            for (key, component) in components {
                let pieces = self.pieces(component, range, &mut spans, writer, damaged)?;
                if !pieces.is_empty() {
                    writer.component(key, &pieces)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the layouts that a series refers to.
    fn write_layouts(&self, pieces: &[Piece], writer: &mut BlockWriter) -> Result<(), Failure> {
        let mut last = None;
        for bits in pieces.iter().flat_map(|piece| &piece.values) {
            // Mostly it is the one of the sample before.
            if layout::is_marker(*bits) && last.replace(*bits) != Some(*bits) {
                let id = layout::marker_id(*bits);
                // Where it is lost, so is the histogram.
                if let Some(layout) = self.layouts.get(id) {
                    writer.layout(id, &layout.bytes)?;
                }
            }
        }
        Ok(())
    }

    /// The samples of a series inside a range.
    fn pieces(
        &self,
        series: SeriesRef,
        range: TimeRange,
        spans: &mut Spans,
        writer: &mut BlockWriter,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<Piece>, Failure> {
        let tracks: Vec<(u32, u32)> = {
            let catalog = self.catalog();
            let Some(at) = catalog.locate(series) else {
                return Ok(Vec::new());
            };
            let former = catalog.history(series.slot).iter().copied();
            former.chain([(at.group, at.track)]).collect()
        };
        let mut pieces = Vec::new();
        let mut values = Vec::new();
        for track in tracks {
            let span = spans
                .entry(track)
                .or_insert_with(|| self.track_span(track, range, damaged));
            let Some(span) = span else { continue };
            let mut piece = Piece::default();
            values.clear();
            collect(span, series, &mut piece.runs, &mut values, damaged);
            if piece.runs.is_empty() {
                continue;
            }
            if span.number.is_none() {
                span.number = Some(writer.column(&span.column)?);
            }
            piece.column = span.number.unwrap_or_default();
            if let (Some((first, _)), Some((last, count))) = (piece.runs.first(), piece.runs.last())
            {
                piece.start_ms = span.column[*first as usize];
                piece.end_ms = span.column[(last + count - 1) as usize];
            }
            piece.values = values.iter().map(|v| v.to_bits()).collect();
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// A track's chunks and timestamps inside a range.
    fn track_span(
        &self,
        (group, index): (u32, u32),
        range: TimeRange,
        damaged: &mut Vec<Damaged>,
    ) -> Option<TrackSpan> {
        let group = self.group(group)?;
        let mut chunks: Vec<Arc<Chunk>> = {
            let state = group.read();
            let inside = |c: &&Arc<Chunk>| c.max_ms >= range.start_ms && c.min_ms <= range.end_ms;
            let chunks = state.track(index)?.chunks.iter();
            chunks.filter(inside).cloned().collect()
        };
        // Row numbers may have holes, where log records were lost; the column keeps them so that
        // its rows are row numbers less the first.
        let mut rows: Vec<i64> = Vec::new();
        let mut first_row = None;
        chunks.retain(|chunk| {
            let column = match chunk.bytes().read(chunk::timestamps_of) {
                Ok(column) => column,
                Err(error) => {
                    damaged.push((chunk.clone(), error));
                    return false;
                }
            };
            for (row, t) in (chunk.first_row..).zip(column) {
                if range.contains(t) {
                    let first_row = *first_row.get_or_insert(row);
                    while rows.len() < (row - first_row) as usize {
                        rows.push(rows.last().copied().unwrap_or(t));
                    }
                    rows.push(t);
                }
            }
            true
        });
        Some(TrackSpan {
            chunks,
            column: rows.into(),
            number: None,
            first_row: first_row?,
        })
    }

    /// Drops chunks whose samples are all before the instant, and retires series that have none
    /// left.
    pub(crate) fn drop_before(&self, until_ms: i64) {
        let mut gone = Vec::new();
        let mut emptied = Vec::new();
        let mut min_ms = i64::MAX;
        for group in self.all_groups() {
            let _writer = group.writer();
            min_ms = min_ms.min(drop_group(&group, until_ms, &mut gone, &mut emptied));
            {
                let mut catalog = self.catalog_mut();
                // By reference, not by slot: a replay may leave a track with a member that was
                // retired, and whose slot another series has by now.
                let here = gone
                    .drain(..)
                    .filter(|series| catalog.locate(*series).is_some());
                let slots: RoaringBitmap = here.map(|series| series.slot).collect();
                self.retire(&mut catalog, &slots);
            }
            let mut state = group.write();
            for index in emptied.drain(..) {
                let empty = state.track(index).is_some_and(|t| {
                    t.live == 0 && t.chunks.is_empty() && t.timestamps_ms.is_empty()
                });
                if empty && let Some(mut track) = state.tracks[index as usize].take() {
                    self.drop_track(group.number, &mut track);
                    self.catalog_mut().forget_track((group.number, index));
                }
            }
        }
        let idle = self.catalog_mut().sweep_unplaced();
        for (number, mut slots) in idle {
            let group = self.group(number);
            // An append may be about to place one of them.
            let _writer = group.as_ref().map(|group| group.writer());
            let mut catalog = self.catalog_mut();
            let placed = slots
                .iter()
                .filter(|slot| catalog.location_of_slot(*slot).track != UNPLACED);
            slots -= placed.collect::<RoaringBitmap>();
            slots -= self.late.slots();
            self.retire(&mut catalog, &slots);
        }
        self.layouts.forget_before(until_ms);
        self.drop_empty_groups();
        if min_ms != i64::MAX {
            self.min_ms.fetch_max(min_ms, Ordering::Relaxed);
        }
    }
}

/// The oldest instant of a chunk at or after `from_ms`. A chunk may reach over a long silence, which
/// must not be cut into empty spans one by one.
fn first_row_from(chunk: &Chunk, from_ms: i64) -> i64 {
    if chunk.min_ms >= from_ms {
        return chunk.min_ms;
    }
    let column = chunk.bytes().read(chunk::timestamps_of).unwrap_or_default();
    let first = column.into_iter().find(|t| *t >= from_ms);
    first.unwrap_or(from_ms)
}

/// Drops a group's old chunks; notes the series without samples and the tracks without series.
/// Returns the oldest instant left.
fn drop_group(
    group: &Group,
    until_ms: i64,
    gone: &mut Vec<SeriesRef>,
    emptied: &mut Vec<u32>,
) -> i64 {
    let mut min_ms = i64::MAX;
    let mut state = group.write();
    for index in 0..state.tracks.len() {
        let Some(track) = state.tracks[index].as_deref_mut() else {
            continue;
        };
        if track.chunks.iter().any(|chunk| chunk.max_ms < until_ms) {
            let kept = track.chunks.iter().filter(|c| c.max_ms >= until_ms);
            track.chunks = Arc::new(kept.cloned().collect());
        }
        let first_kept = track
            .chunks
            .first()
            .map_or(track.first_row, |c| c.first_row);
        let oldest = track
            .chunks
            .first()
            .map(|chunk| chunk.min_ms)
            .or(track.timestamps_ms.first());
        min_ms = min_ms.min(oldest.unwrap_or(i64::MAX));
        for position in 0..track.ids.len() {
            let last_row = track.last_row(position);
            if last_row.is_none_or(|row| row < first_kept)
                && track.ids[position] != crate::track::DEAD
            {
                gone.push(track.ids[position]);
                track.leave(position);
            }
        }
        track.close_if_dead();
        emptied.push(index as u32);
    }
    min_ms
}

/// The samples of a series in a track's span: stretches of rows of the column, and values. What
/// cannot be read is noted.
fn collect(
    span: &TrackSpan,
    series: SeriesRef,
    runs: &mut Vec<(u32, u32)>,
    values: &mut Vec<f64>,
    damaged: &mut Vec<Damaged>,
) {
    let end_row = span.first_row + span.column.len() as u32;
    for chunk in &span.chunks {
        let rows = span.first_row.saturating_sub(chunk.first_row)
            ..end_row.saturating_sub(chunk.first_row).min(chunk.rows);
        let before = (runs.len(), runs.last().copied(), values.len());
        let read = chunk.bytes().read(|bytes| {
            let Some(page) = chunk::find_page(bytes, series)? else {
                return Ok(());
            };
            chunk::decode_page(page, rows, values, |first, count| {
                let first = chunk.first_row + first - span.first_row;
                match runs.last_mut() {
                    Some((start, length)) if *start + *length == first => *length += count,
                    _ => runs.push((first, count)),
                }
            })
        });
        if let Err(error) = read {
            runs.truncate(before.0);
            if let (Some(last), Some(run)) = (runs.last_mut(), before.1) {
                *last = run;
            }
            values.truncate(before.2);
            damaged.push((chunk.clone(), error));
        }
    }
}
