//! Reading: an immutable view of the store.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use barograph_model::{Labels, Matcher, TimeRange};
use roaring::RoaringBitmap;

use crate::assemble::{Assembly, ColumnKey, Timestamps};
use crate::batch::SeriesRef;
use crate::block::BlockSeries;
use crate::catalog::{Catalog, UNPLACED};
use crate::chunk::{self, Chunk, ChunkPage};
use crate::component::ComponentKey;
use crate::error::{ReadError, SelectError};
use crate::head::{Group, Head};
use crate::head_index::HeadIndex;
use crate::histogram::{HistogramColumn, Part};
use crate::layout::Layout;
use crate::select;
use crate::view::View;

/// An immutable view of the store. Cheap to clone, safe to hold for as long as a query runs.
#[derive(Clone)]
pub struct Snapshot {
    head: Arc<Head>,
    /// Blocks, and from where on the head counts. Holding it keeps the head from dropping what
    /// the blocks of this view do not have.
    view: Arc<View>,
    /// Committed rows of every track.
    marks: Arc<[u32]>,
}

/// The series of one selection, in order of their labels.
pub struct Selection {
    snapshot: Snapshot,
    groups: Vec<Arc<Group>>,
    series: Vec<Picked>,
    timestamps: Mutex<Timestamps>,
}

/// A series and where its samples are.
struct Picked {
    labels: Labels,
    head: Option<HeadSeries>,
    blocks: Vec<BlockSeries>,
}

/// A series of the head.
#[derive(Clone)]
struct HeadSeries {
    series: SeriesRef,
    /// Index of the group in the selection, index of the track in the group.
    track: (u32, u32),
    position: u32,
    /// Tracks it was on before.
    former: Box<[(u32, u32)]>,
    /// Its components, in order of key.
    parts: Box<[(ComponentKey, HeadSeries)]>,
}

/// Samples of one series, oldest first. Reuse it between reads.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Milliseconds since the Unix epoch, ascending. Series of one group share this: two columns
    /// with the same `Arc` have the same window edges.
    pub timestamps_ms: Arc<[i64]>,
    /// A value per timestamp; staleness markers included, those of histograms too.
    pub values: Vec<f64>,
    /// A start timestamp per value, 0 where it has none; empty where none has one.
    pub starts_ms: Vec<i64>,
    /// The samples that are histograms. No timestamp is in both.
    pub histograms: HistogramColumn,
}

impl HeadSeries {
    fn part(&self, key: ComponentKey) -> Option<&Self> {
        let at = self
            .parts
            .binary_search_by_key(&key, |(key, _)| *key)
            .ok()?;
        Some(&self.parts[at].1)
    }
}

impl Snapshot {
    pub(crate) fn new(head: Arc<Head>, view: Arc<View>) -> Self {
        let marks = head.marks().rows.as_slice().into();
        Self { head, view, marks }
    }

    /// The series that fit every matcher and may have samples in `range`.
    ///
    /// # Errors
    /// A damaged index.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Selection, SelectError> {
        let mut groups = Vec::new();
        let mut series = self.select_head(matchers, range, &mut groups);
        for (number, block) in self.view.blocks.iter().enumerate() {
            if block.range().overlaps(&range) {
                let found = block.select(number as u32, matchers, range)?;
                series = merge(series, found);
            }
        }
        Ok(Selection {
            snapshot: self.clone(),
            groups,
            series,
            timestamps: Mutex::default(),
        })
    }

    /// Label names in use by the series that fit, sorted.
    ///
    /// # Errors
    /// A damaged index.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, SelectError> {
        let mut names = BTreeSet::new();
        if self.head_overlaps(range) {
            let catalog = self.head.catalog();
            let slots = (!matchers.is_empty()).then(|| head_slots(&catalog, matchers));
            for (name, pairs) in catalog.names() {
                let used = slots.as_ref().is_none_or(|slots| {
                    let mut has = |pair: &u32| intersects(&catalog, *pair, slots);
                    pairs.iter().any(&mut has)
                });
                if used {
                    names.insert(name.to_owned());
                }
            }
        }
        for block in self
            .view
            .blocks
            .iter()
            .filter(|b| b.range().overlaps(&range))
        {
            block.label_names(matchers, &mut names)?;
        }
        Ok(names.into_iter().collect())
    }

    /// Values of the label `name` among the series that fit, sorted.
    ///
    /// # Errors
    /// A damaged index.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, SelectError> {
        let mut values = BTreeSet::new();
        if self.head_overlaps(range) {
            let catalog = self.head.catalog();
            let slots = (!matchers.is_empty()).then(|| head_slots(&catalog, matchers));
            for pair in catalog.pairs_of(name) {
                let used = slots
                    .as_ref()
                    .is_none_or(|slots| intersects(&catalog, *pair, slots));
                if used {
                    values.insert(catalog.texts(*pair).1.to_owned());
                }
            }
        }
        for block in self
            .view
            .blocks
            .iter()
            .filter(|b| b.range().overlaps(&range))
        {
            block.label_values(name, matchers, &mut values)?;
        }
        Ok(values.into_iter().collect())
    }

    fn head_overlaps(&self, range: TimeRange) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        // Not the head's own beginning: it moves on while views are held that need what was before.
        self.view.head_start_ms <= range.end_ms && range.start_ms <= self.head.max_ms.load(Relaxed)
    }

    fn select_head(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        groups: &mut Vec<Arc<Group>>,
    ) -> Vec<Picked> {
        if !self.head_overlaps(range) {
            return Vec::new();
        }
        let catalog = self.head.catalog();
        let slots = head_slots(&catalog, matchers);
        let all = self
            .head
            .groups
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut indices: HashMap<u32, u32> = HashMap::new();
        let mut index_of = |number: u32| {
            let index = indices.get(&number).copied();
            index.or_else(|| {
                groups.push(all.get(&number)?.clone());
                indices.insert(number, groups.len() as u32 - 1);
                Some(groups.len() as u32 - 1)
            })
        };
        let mut picked = Vec::with_capacity(slots.len() as usize);
        for slot in in_label_order(&catalog, &slots) {
            let mut head_series = |series: SeriesRef| {
                let at = catalog.location_of_slot(series.slot);
                let group = index_of(at.group).filter(|_| at.track != UNPLACED)?;
                let former = catalog.history(series.slot).iter();
                Some(HeadSeries {
                    series,
                    track: (group, at.track),
                    position: at.position,
                    former: former
                        .filter_map(|(number, track)| Some((index_of(*number)?, *track)))
                        .collect(),
                    parts: Box::default(),
                })
            };
            let Some(mut head) = head_series(catalog.reference(slot)) else {
                continue;
            };
            let components = catalog.components().of(slot).iter();
            head.parts = components
                .filter_map(|(key, series)| Some((*key, head_series(*series)?)))
                .collect();
            picked.push(Picked {
                labels: catalog.labels(slot),
                head: Some(head),
                blocks: Vec::new(),
            });
        }
        picked
    }
}

impl Selection {
    /// How many series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The labels of series `index`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    /// Reads the samples of series `index` inside `range` into `column`, replacing what it holds.
    ///
    /// # Errors
    /// A damaged page.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        column.starts_ms.clear();
        column.histograms.clear();
        self.read_own(index, range, column)?;
        let series = &self.series[index];
        let has_parts = series.head.as_ref().is_some_and(|s| !s.parts.is_empty());
        if has_parts || series.blocks.iter().any(|at| self.block_has_parts(*at)) {
            self.read_components(index, range, column)?;
        }
        Ok(())
    }

    /// Reads a series' own column.
    pub(crate) fn read_own(
        &self,
        index: usize,
        range: TimeRange,
        column: &mut Column,
    ) -> Result<(), ReadError> {
        column.values.clear();
        let mut assembly = Assembly::new(&mut column.values, &self.timestamps);
        let series = &self.series[index];
        for at in &series.blocks {
            let block = &self.snapshot.view.blocks[at.block as usize];
            if block.range().overlaps(&range) {
                block.read(*at, range, &mut assembly)?;
            }
        }
        if let Some(series) = &series.head {
            let start_ms = range.start_ms.max(self.snapshot.view.head_start_ms);
            if start_ms <= range.end_ms {
                self.read_head(series, TimeRange { start_ms, ..range }, &mut assembly)?;
            }
        }
        column.timestamps_ms = assembly.finish();
        Ok(())
    }

    /// Whether series `index` may have a component.
    pub(crate) fn has_part(&self, index: usize, key: ComponentKey) -> bool {
        let series = &self.series[index];
        let in_head = series.head.as_ref().is_some_and(|s| s.part(key).is_some());
        in_head || series.blocks.iter().any(|at| self.block_has_parts(*at))
    }

    /// Reads a component of series `index`.
    pub(crate) fn read_part(
        &self,
        index: usize,
        key: ComponentKey,
        range: TimeRange,
    ) -> Result<Part, ReadError> {
        let mut part = Part::default();
        let mut assembly = Assembly::new(&mut part.values, &self.timestamps);
        let series = &self.series[index];
        if let Some(series) = series.head.as_ref().and_then(|s| s.part(key)) {
            let start_ms = range.start_ms.max(self.snapshot.view.head_start_ms);
            if start_ms <= range.end_ms {
                self.read_head(series, TimeRange { start_ms, ..range }, &mut assembly)?;
            }
        }
        part.timestamps_ms = assembly.finish();
        Ok(part)
    }

    /// A layout of histograms of series `index`.
    pub(crate) fn layout(&self, _index: usize, id: u64) -> Result<Option<Arc<Layout>>, ReadError> {
        Ok(self.snapshot.head.layouts.get(id))
    }

    fn block_has_parts(&self, _at: BlockSeries) -> bool {
        false
    }

    fn read_head(
        &self,
        series: &HeadSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let tracks = series.former.iter().chain([&series.track]);
        for (group, index) in tracks {
            let group = &self.groups[*group as usize];
            // Copy what may change; decode without a lock.
            let (chunks, open, limit, track_id);
            {
                let state = group.read();
                let Some(track) = state.track(*index) else {
                    continue;
                };
                let mark = track.mark as usize;
                limit = self.snapshot.marks.get(mark).copied().unwrap_or(0);
                track_id = track.id;
                chunks = track.chunks.clone();
                let position = series.position as usize;
                let here = track.ids.get(position) == Some(&series.series);
                let page = (here && limit > track.first_row && track.last_ms >= range.start_ms)
                    .then(|| track.open_page(&self.snapshot.head.slab(group.number), position));
                open = page.flatten().map(|page| {
                    let key = head_key(track.id, track.first_row);
                    let rows = (limit - track.first_row) as usize;
                    let rows = rows.min(track.timestamps_ms.len());
                    let copy = || Ok::<_, Infallible>(track.timestamps_ms[..rows].into());
                    let Ok(column) = assembly.column(key, copy);
                    (page, track.first_row, key, column)
                });
            }
            let chunks = chunks.iter().filter(|chunk| {
                chunk.max_ms >= range.start_ms
                    && chunk.min_ms <= range.end_ms
                    && chunk.first_row < limit
            });
            for chunk in chunks {
                read_chunk(chunk, series.series, limit, range, assembly)
                    .map_err(|error| damaged_head(track_id, error))?;
            }
            if let Some(((start, end, page), _, key, column)) = open {
                let page = ChunkPage {
                    start,
                    end,
                    page: &page,
                };
                read_page(page, key, &column, range, assembly)
                    .map_err(|error| damaged_head(track_id, error))?;
            }
        }
        Ok(())
    }
}

fn read_chunk(
    chunk: &Chunk,
    series: SeriesRef,
    limit: u32,
    range: TimeRange,
    assembly: &mut Assembly<'_>,
) -> Result<(), crate::bytes::Malformed> {
    let bytes = chunk.bytes();
    let bytes = bytes.as_slice();
    let Some(page) = chunk::find_page(bytes, series)? else {
        return Ok(());
    };
    let key = head_key(chunk.track, chunk.first_row);
    let rows = limit.min(chunk.end_row()) - chunk.first_row;
    let column = assembly.column(key, || {
        let mut column = chunk::timestamps_of(bytes)?;
        column.truncate(rows as usize);
        Ok(column.into())
    })?;
    read_page(page, key, &column, range, assembly)
}

fn read_page(
    page: ChunkPage<'_>,
    key: ColumnKey,
    column: &Arc<[i64]>,
    range: TimeRange,
    assembly: &mut Assembly<'_>,
) -> Result<(), crate::bytes::Malformed> {
    let start = column.partition_point(|t| *t < range.start_ms) as u32;
    let end = column.partition_point(|t| *t <= range.end_ms) as u32;
    let (values, runs) = assembly.parts();
    chunk::decode_page(page, start..end, values, |first, count| {
        runs.push(key, column, first, count);
    })
}

/// Rows of a track before a snapshot's limit never change, sealed or not: one key for both.
fn head_key(track: u32, first_row: u32) -> ColumnKey {
    ColumnKey::Head { track, first_row }
}

fn damaged_head(track: u32, error: crate::bytes::Malformed) -> ReadError {
    ReadError::Corrupt {
        path: format!("head (track {track})").into(),
        offset: error.offset as u64,
        what: error.what.to_owned(),
    }
}

fn head_slots(catalog: &Catalog, matchers: &[Matcher]) -> RoaringBitmap {
    match select::select(&HeadIndex(catalog), matchers) {
        Ok(slots) => slots,
        Err(never) => match never {},
    }
}

fn intersects(catalog: &Catalog, pair: u32, slots: &RoaringBitmap) -> bool {
    let mut some = slots.clone();
    catalog.postings(pair).intersect(&mut some);
    !some.is_empty()
}

/// Slots in order of their labels. Pairs that occur are ranked once; series then compare as lists
/// of numbers.
fn in_label_order(catalog: &Catalog, slots: &RoaringBitmap) -> Vec<u32> {
    let mut ranks: HashMap<u32, u32> = HashMap::new();
    for slot in slots {
        for pair in catalog.label_ids(slot) {
            ranks.entry(*pair).or_default();
        }
    }
    let mut pairs: Vec<u32> = ranks.keys().copied().collect();
    pairs.sort_unstable_by(|a, b| catalog.texts(*a).cmp(&catalog.texts(*b)));
    for (rank, pair) in pairs.iter().enumerate() {
        ranks.insert(*pair, rank as u32);
    }
    let rank = |pair: &u32| ranks[pair];
    let mut order: Vec<(Box<[u32]>, u32)> = slots
        .iter()
        .map(|slot| (catalog.label_ids(slot).iter().map(rank).collect(), slot))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, slot)| slot).collect()
}

/// Joins two lists of series in label order.
fn merge(a: Vec<Picked>, b: Vec<(Labels, BlockSeries)>) -> Vec<Picked> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return merged,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(x), Some(y)) => x.labels.cmp(&y.0),
        };
        let mut one = if order.is_gt() { None } else { a.next() };
        if order.is_ge()
            && let Some((labels, series)) = b.next()
        {
            one.get_or_insert_with(|| Picked {
                labels,
                head: None,
                blocks: Vec::new(),
            })
            .blocks
            .push(series);
        }
        merged.extend(one);
    }
}
