//! Selecting series of the head: who fits, who has samples in the range.
//!
//! What a selection needs of the catalog is copied in short turns, texts included, so that label
//! sets can be built later, one by one and only for those who are asked for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use barograph_model::{Matcher, TimeRange};
use rapidhash::fast::RapidHasher;
use roaring::RoaringBitmap;

use crate::batch::SeriesRef;
use crate::catalog::{Catalog, Location, UNPLACED};
use crate::chunk::{self, Chunk};
use crate::component::ComponentKey;
use crate::head::{Group, GroupState, Head};
use crate::head_index::HeadIndex;
use crate::pairs::{List, Pairs};
use crate::select;
use crate::track::Track;

type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<RapidHasher<'static>>>;

/// Most series copied from the catalog, or looked at in a group, in one turn.
const SERIES_PER_TURN: usize = 1024;

/// A series of the head, as it was when it was selected.
pub(crate) struct HeadSeries {
    pub(crate) series: SeriesRef,
    /// Index of the group in the selection, index of the track in the group.
    pub(crate) track: (u32, u32),
    pub(crate) position: u32,
    /// Tracks it was on before.
    pub(crate) former: Box<[(u32, u32)]>,
    /// Its components, in order of key.
    pub(crate) parts: Box<[(ComponentKey, HeadSeries)]>,
    /// Its label pairs.
    pub(crate) list: List,
}

impl HeadSeries {
    /// Moves it elsewhere.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            series: self.series,
            track: self.track,
            position: self.position,
            former: std::mem::take(&mut self.former),
            parts: std::mem::take(&mut self.parts),
            list: self.list,
        }
    }

    /// A component.
    pub(crate) fn part(&self, key: ComponentKey) -> Option<&Self> {
        let at = self
            .parts
            .binary_search_by_key(&key, |(key, _)| *key)
            .ok()?;
        Some(&self.parts[at].1)
    }
}

/// Series of the head that fit, in no order.
#[derive(Default)]
pub(crate) struct HeadSelection {
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) series: Vec<HeadSeries>,
}

/// The series that fit every matcher and may have samples in the range. `marks` are the committed
/// rows that the reader sees.
pub(crate) fn select(
    head: &Head,
    matchers: &[Matcher],
    range: TimeRange,
    marks: &[u32],
    pairs: &mut Pairs,
) -> HeadSelection {
    let index = HeadIndex::new(head);
    copy(&index, &slots(&index, matchers), range, marks, pairs)
}

/// The slots of the series that fit every matcher.
pub(crate) fn slots(index: &HeadIndex<'_>, matchers: &[Matcher]) -> RoaringBitmap {
    match select::select(index, matchers) {
        Ok(slots) => slots,
        Err(never) => match never {},
    }
}

/// Those of the slots whose series may have samples in the range.
pub(crate) fn with_samples(
    index: &HeadIndex<'_>,
    slots: &RoaringBitmap,
    range: TimeRange,
    marks: &[u32],
) -> RoaringBitmap {
    let mut kept = RoaringBitmap::new();
    each_turn(index, slots, range, marks, |turn| {
        kept.extend(turn.iter().map(|place| place.series.slot));
    });
    kept
}

fn copy(
    index: &HeadIndex<'_>,
    slots: &RoaringBitmap,
    range: TimeRange,
    marks: &[u32],
    pairs: &mut Pairs,
) -> HeadSelection {
    let mut found = HeadSelection::default();
    let mut groups: FastMap<u32, Option<u32>> = FastMap::default();
    let mut source = pairs.begin_source();
    let count = slots.len() as usize;
    found.series.reserve_exact(count);
    each_turn(index, slots, range, marks, |turn| {
        let mut group_index = |number: u32| {
            *groups.entry(number).or_insert_with(|| {
                found.groups.push(index.head.group(number)?);
                Some(found.groups.len() as u32 - 1)
            })
        };
        let picked: Vec<_> = turn
            .drain(..)
            .filter_map(|place| place.resolve(&mut group_index))
            .collect();
        let catalog = index.head.catalog();
        for mut series in picked {
            let slot = series.series.slot;
            if catalog.occupant(slot) != Some(series.series) {
                continue;
            }
            let ids = catalog.label_ids(slot);
            let text = |id, pairs: &mut Pairs| {
                let (name, value) = catalog.texts(id);
                Ok::<_, Infallible>(pairs.add(name, value))
            };
            let Ok(list) = source.add(pairs, ids, text);
            if found.series.is_empty() {
                // The others have about as many labels.
                pairs.reserve(count, list);
            }
            series.list = list;
            found.series.push(series);
        }
    });
    found
}

/// Where a series is.
struct Place {
    series: SeriesRef,
    at: Location,
    former: Box<[(u32, u32)]>,
    parts: Vec<(ComponentKey, Place)>,
}

impl Place {
    fn of(catalog: &Catalog, series: SeriesRef) -> Option<Self> {
        let at = catalog.locate(series)?;
        (at.track != UNPLACED).then(|| Self {
            series,
            at,
            former: catalog.history(series.slot).into(),
            parts: Vec::new(),
        })
    }

    fn with_parts(catalog: &Catalog, series: SeriesRef) -> Option<Self> {
        let mut place = Self::of(catalog, series)?;
        let parts = catalog.components().of(series.slot).iter();
        let parts = parts.filter_map(|(key, series)| Some((*key, Self::of(catalog, *series)?)));
        place.parts = parts.collect();
        place.parts.dedup_by_key(|(key, _)| *key);
        Some(place)
    }

    /// Names groups by their index in the selection.
    fn resolve(self, group_index: &mut dyn FnMut(u32) -> Option<u32>) -> Option<HeadSeries> {
        let track = (group_index(self.at.group)?, self.at.track);
        let former = self.former.iter();
        let former = former.filter_map(|(number, track)| Some((group_index(*number)?, *track)));
        let former = former.collect();
        let parts = self.parts.into_iter();
        let parts = parts.filter_map(|(key, place)| Some((key, place.resolve(group_index)?)));
        Some(HeadSeries {
            series: self.series,
            track,
            position: self.at.position,
            former,
            parts: parts.collect(),
            list: List::default(),
        })
    }
}

/// Gives the series of the slots that may have samples in the range, some at a time.
fn each_turn(
    index: &HeadIndex<'_>,
    slots: &RoaringBitmap,
    range: TimeRange,
    marks: &[u32],
    mut take: impl FnMut(&mut Vec<Place>),
) {
    let mut check = Check {
        head: index.head,
        range,
        marks,
        rows: FastMap::default(),
    };
    let mut slots = slots.iter().peekable();
    let mut turn = Vec::with_capacity(SERIES_PER_TURN);
    while slots.peek().is_some() {
        {
            let catalog = index.head.catalog();
            let place = |slot| {
                let series = catalog.occupant_since(slot, index.since)?;
                Place::with_parts(&catalog, series)
            };
            turn.extend(slots.by_ref().take(SERIES_PER_TURN).filter_map(place));
        }
        check.keep(&mut turn);
        take(&mut turn);
        turn.clear();
    }
}

/// Tells who may have samples in a range, to the row where a series' first and last are known, and
/// without looking into pages.
struct Check<'a> {
    head: &'a Head,
    range: TimeRange,
    marks: &'a [u32],
    /// Rows of chunks that are inside the range, by track and first row.
    rows: FastMap<(u32, u32), std::ops::Range<u32>>,
}

/// What the open rows say.
enum Verdict {
    Yes,
    /// Sealed chunks have to be asked; rows from the number on are not visible.
    Ask(Arc<Vec<Arc<Chunk>>>, u32),
    No,
}

impl Check<'_> {
    /// Keeps the series that may have samples.
    fn keep(&mut self, turn: &mut Vec<Place>) {
        let mut verdicts = Vec::with_capacity(turn.len());
        for same_group in turn.chunk_by(|a, b| a.at.group == b.at.group) {
            match self.head.group(same_group[0].at.group) {
                Some(group) => self.ask_group(&group.read(), same_group, &mut verdicts),
                None => verdicts.extend(same_group.iter().map(|_| Verdict::No)),
            }
        }
        let mut verdicts = verdicts.into_iter();
        turn.retain(|place| {
            let here = match verdicts.next() {
                Some(Verdict::Yes) => true,
                Some(Verdict::Ask(chunks, limit)) => self.ask_chunks(&chunks, limit, place.series),
                Some(Verdict::No) | None => false,
            };
            here || place.former.iter().any(|(group, track)| {
                let chunks = self.head.group(*group).and_then(|group| {
                    let state = group.read();
                    let track = state.track(*track)?;
                    Some((track.chunks.clone(), self.limit(track)))
                });
                chunks.is_some_and(|(chunks, limit)| self.ask_chunks(&chunks, limit, place.series))
            })
        });
    }

    fn limit(&self, track: &Track) -> u32 {
        self.marks.get(track.mark as usize).copied().unwrap_or(0)
    }

    fn ask_group(&self, state: &GroupState, places: &[Place], verdicts: &mut Vec<Verdict>) {
        for same_track in places.chunk_by(|a, b| a.at.track == b.at.track) {
            let Some(track) = state.track(same_track[0].at.track) else {
                verdicts.extend(same_track.iter().map(|_| Verdict::No));
                continue;
            };
            let limit = self.limit(track);
            let open = track.timestamps_ms.inside(self.range);
            let open = track.first_row + open.start..limit.min(track.first_row + open.end);
            let sealed = track.chunks.iter().any(|chunk| self.overlaps(chunk, limit));
            verdicts.extend(same_track.iter().map(|place| {
                let position = place.at.position as usize;
                let here = track.ids.get(position) == Some(&place.series);
                let rows = here.then(|| track.open_rows(position)).flatten();
                let inside = |(first, last)| first < open.end && last >= open.start;
                if !open.is_empty() && rows.is_some_and(inside) {
                    Verdict::Yes
                } else if sealed {
                    Verdict::Ask(track.chunks.clone(), limit)
                } else {
                    Verdict::No
                }
            }));
        }
    }

    fn overlaps(&self, chunk: &Chunk, limit: u32) -> bool {
        chunk.max_ms >= self.range.start_ms
            && chunk.min_ms <= self.range.end_ms
            && chunk.first_row < limit
    }

    fn ask_chunks(&mut self, chunks: &[Arc<Chunk>], limit: u32, series: SeriesRef) -> bool {
        let range = self.range;
        // Newest first: there a series is found soonest.
        chunks.iter().rev().any(|chunk| {
            if !self.overlaps(chunk, limit) {
                return false;
            }
            let bytes = chunk.bytes();
            let key = (chunk.track, chunk.first_row);
            let rows = self.rows.entry(key).or_insert_with(|| {
                if range.start_ms <= chunk.min_ms && chunk.max_ms <= range.end_ms {
                    return 0..chunk.rows;
                }
                // What is damaged is found to be so by whoever reads the samples.
                let column = bytes.read(chunk::timestamps_of);
                column.map_or(0..chunk.rows, |t| rows_inside(&t, range))
            });
            let end = rows.end.min(limit - chunk.first_row);
            let found = bytes.read(|bytes| {
                let page = chunk::find_page(bytes, series)?;
                Ok(page.map(|page| (page.start, page.end)))
            });
            match found {
                Ok(Some(page)) => page.0 < end && page.1 > rows.start,
                Ok(None) => false,
                Err(_) => true,
            }
        })
    }
}

fn rows_inside(timestamps_ms: &[i64], range: TimeRange) -> std::ops::Range<u32> {
    let start = timestamps_ms.partition_point(|t| *t < range.start_ms);
    let end = timestamps_ms.partition_point(|t| *t <= range.end_ms);
    start as u32..end.max(start) as u32
}
