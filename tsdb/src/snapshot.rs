//! Reading: an immutable view of the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use barograph_model::{Labels, Matcher, TimeRange};
use roaring::RoaringBitmap;

use crate::assemble::{Assembly, Recent, Timestamps};
use crate::block::BlockSeries;
use crate::block::index::Pin;
use crate::deletions::{self, Deletion, Place};
use crate::digest::Stretch;
use crate::error::{ReadError, SelectError};
use crate::exemplars::SeriesExemplars;
use crate::head::{Group, Head};
use crate::head_index::HeadIndex;
use crate::head_select::{self, HeadSelection, HeadSeries};
use crate::histogram::HistogramColumn;
use crate::layout::Layout;
use crate::out_of_order::{LateColumn, LateView, select as late};
use crate::pairs::{List, Pairs};
use crate::prometheus::block::ForeignBlock;
use crate::view::{StoredBlock, View};

/// An immutable view of the store. Cheap to clone, safe to hold for as long as a query runs.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) head: Arc<Head>,
    /// Blocks, and from where on the head counts. Holding it keeps the head from dropping what
    /// the blocks of this view do not have.
    pub(crate) view: Arc<View>,
    /// Committed rows of every track.
    pub(crate) marks: Arc<[u32]>,
    /// Samples out of order that are in memory.
    pub(crate) late: Arc<[LateView]>,
}

/// The series of one selection, in order of their labels.
pub struct Selection {
    pub(crate) snapshot: Snapshot,
    pub(crate) groups: Vec<Arc<Group>>,
    pairs: Pairs,
    pub(crate) series: Vec<Picked>,
    /// What the series are made of.
    of_head: Vec<HeadSeries>,
    of_blocks: Vec<BlockSeries>,
    of_late: Vec<LateColumn>,
    /// Label sets that someone asked for.
    labels: OnceLock<Box<[OnceLock<Labels>]>>,
    pub(crate) timestamps: Mutex<Timestamps>,
    /// Deletions about a series, by its index.
    deleted: HashMap<usize, Vec<Arc<Deletion>>>,
    /// Indexes of blocks that are not mapped.
    #[expect(
        dead_code,
        reason = "they are held, so that each series does not read them anew"
    )]
    pins: Vec<Pin>,
}

/// A series and where its samples are.
#[derive(Default)]
pub(crate) struct Picked {
    list: List,
    head: Option<u32>,
    /// Which stretch of all of them.
    blocks: (u32, u32),
    late: (u32, u32),
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
    /// Pages of values that were decoded for it.
    pub pages_decoded: u32,
}

/// The parts of a range that are not deleted.
pub(crate) enum Kept {
    All(TimeRange),
    Parts(Vec<TimeRange>),
}

impl Kept {
    pub(crate) fn parts(&self) -> &[TimeRange] {
        match self {
            Self::All(range) => std::slice::from_ref(range),
            Self::Parts(parts) => parts,
        }
    }
}

impl Snapshot {
    pub(crate) fn new(head: Arc<Head>, view: Arc<View>, late: Vec<LateView>) -> Self {
        let marks = head.marks().rows.as_slice().into();
        Self {
            head,
            view,
            marks,
            late: late.into(),
        }
    }

    /// The series that fit every matcher and may have samples in `range`.
    ///
    /// # Errors
    /// A damaged index.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Selection, SelectError> {
        let mut pairs = Pairs::default();
        let mut of_head = HeadSelection::default();
        if self.head_overlaps(range) {
            let range = self.head_range(range);
            of_head = head_select::select(&self.head, matchers, range, &self.marks, &mut pairs);
        }
        let mut of_blocks = Vec::new();
        let mut pins = Vec::new();
        for (number, block) in self.view.blocks.iter().enumerate() {
            if block.range().overlaps(&range) {
                pins.push(block.pin());
                let found = block.select(
                    number as u32,
                    matchers,
                    range,
                    &self.view.matches,
                    &mut pairs,
                )?;
                of_blocks.extend(found);
            }
        }
        let mut of_late = Vec::new();
        if !self.late.is_empty() {
            let found = late::select(&self.head, &self.late, matchers, range).into_iter();
            of_late.extend(found.map(|(labels, column)| (pairs.add_labels(&labels), column)));
        }
        let mut selection = Selection {
            snapshot: self.clone(),
            groups: of_head.groups,
            pairs,
            series: Vec::new(),
            of_head: of_head.series,
            of_blocks: Vec::with_capacity(of_blocks.len()),
            of_late: Vec::with_capacity(of_late.len()),
            labels: OnceLock::new(),
            timestamps: Mutex::default(),
            deleted: HashMap::new(),
            pins,
        };
        selection.put_together(&of_blocks, &of_late);
        if self.view.deletions.overlap(range) {
            selection.apply_deletions(range)?;
        }
        Ok(selection)
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
        for (labels, _) in late::select(&self.head, &self.late, matchers, range) {
            names.extend(labels.iter().map(|(name, _)| name.to_owned()));
        }
        if self.head_overlaps(range) {
            let index = HeadIndex::new(&self.head);
            let slots = self.head_slots(&index, matchers, range);
            for (name, pairs) in index.names() {
                if index.any_in_use(&pairs, slots.as_ref()) {
                    names.insert(name);
                }
            }
        }
        for block in self
            .view
            .blocks
            .iter()
            .filter(|b| b.range().overlaps(&range))
        {
            block.label_names(matchers, &self.view.matches, &mut names)?;
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
        for (labels, _) in late::select(&self.head, &self.late, matchers, range) {
            if labels.has(name) {
                values.insert(labels.get(name).to_owned());
            }
        }
        if self.head_overlaps(range) {
            let index = HeadIndex::new(&self.head);
            let slots = self.head_slots(&index, matchers, range);
            index.values_in_use(name, slots.as_ref(), |value| {
                values.insert(value.to_owned());
            });
        }
        for block in self
            .view
            .blocks
            .iter()
            .filter(|b| b.range().overlaps(&range))
        {
            block.label_values(name, matchers, &self.view.matches, &mut values)?;
        }
        Ok(values.into_iter().collect())
    }

    /// Where in time there may be samples; ranges may overlap.
    pub(crate) fn ranges(&self) -> Vec<TimeRange> {
        use std::sync::atomic::Ordering::Relaxed;
        let head = TimeRange {
            start_ms: self.head.min_ms.load(Relaxed).max(self.view.head_start_ms),
            end_ms: self.head.max_ms.load(Relaxed),
        };
        let blocks = self.view.blocks.iter().map(StoredBlock::range);
        let all = blocks.chain([head]);
        all.filter(|range| range.start_ms <= range.end_ms).collect()
    }

    /// Exemplars inside the range of the series that fit every matcher of one of the sets, in order of
    /// labels. They are those of now, not of when the snapshot was taken.
    pub fn exemplars(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars> {
        self.head.exemplars.select(sets, range)
    }

    fn head_overlaps(&self, range: TimeRange) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        // Not the head's own beginning: it moves on while views are held that need what was before.
        self.view.head_start_ms <= range.end_ms && range.start_ms <= self.head.max_ms.load(Relaxed)
    }

    /// The part of a range that the head answers for.
    pub(crate) fn head_range(&self, range: TimeRange) -> TimeRange {
        TimeRange {
            start_ms: range.start_ms.max(self.view.head_start_ms),
            end_ms: range.end_ms,
        }
    }

    /// The series of the head that fit and may have samples in the range; `None` where any series
    /// will do.
    fn head_slots(
        &self,
        index: &HeadIndex<'_>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Option<RoaringBitmap> {
        use std::sync::atomic::Ordering::Relaxed;
        let range = self.head_range(range);
        let (min_ms, max_ms) = (&self.head.min_ms, &self.head.max_ms);
        let whole = range.start_ms <= min_ms.load(Relaxed).max(self.view.head_start_ms)
            && max_ms.load(Relaxed) <= range.end_ms;
        if whole && matchers.is_empty() {
            return None;
        }
        let slots = head_select::slots(index, matchers);
        Some(head_select::with_samples(index, &slots, range, &self.marks))
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

    /// Bytes of what is known of the series; label sets that were built and columns apart.
    pub fn size_bytes(&self) -> usize {
        self.series.len() * (size_of::<Picked>() + size_of::<OnceLock<Labels>>())
            + self.of_head.len() * size_of::<HeadSeries>()
            + self.of_blocks.len() * size_of::<BlockSeries>()
            + self.of_late.len() * size_of::<LateColumn>()
            + self.pairs.size_bytes()
    }

    /// The labels of series `index`, built at the first call.
    pub fn labels(&self, index: usize) -> &Labels {
        let all = self.labels.get_or_init(|| {
            let none = std::iter::repeat_with(OnceLock::new);
            none.take(self.series.len()).collect()
        });
        all[index].get_or_init(|| self.pairs.labels(self.series[index].list))
    }

    /// The label pairs of series `index` by number, in order of label name. Series of one selection
    /// have equal labels where these lists are equal.
    pub fn pairs(&self, index: usize) -> &[u32] {
        self.pairs.list(self.series[index].list)
    }

    /// How many numbers of pairs there are.
    pub fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    /// Name and value of the pair of a number.
    pub fn pair(&self, number: u32) -> (&str, &str) {
        self.pairs.texts(number)
    }

    /// Whether series `index` has floats only, each in one place, as stored.
    pub(crate) fn is_plain(&self, index: usize, range: TimeRange) -> bool {
        let series = &self.series[index];
        let blocks = &self.snapshot.view.blocks;
        let own = self.blocks(series).iter();
        let mut blocks = own.map(|at| &blocks[at.block as usize]);
        self.late(series).is_empty()
            && !self.deleted.contains_key(&index)
            && blocks.all(|block| block.own().is_some() || !block.range().overlaps(&range))
            && !self.has_parts(index)
    }

    /// What is known of the samples of series `index` in blocks; `false` where blocks overlap.
    pub(crate) fn block_stretches(
        &self,
        index: usize,
        range: TimeRange,
        stretches: &mut Vec<Stretch>,
    ) -> Result<bool, ReadError> {
        let (mut unused, mut recent) = (Vec::new(), Recent::default());
        let mut assembly = Assembly::new(&mut unused, &self.timestamps, &mut recent);
        for at in self.blocks(&self.series[index]) {
            let block = &self.snapshot.view.blocks[at.block as usize];
            if let Some(block) = block.own()
                && block.range().overlaps(&range)
            {
                block.stretches(*at, range, &mut assembly, stretches)?;
            }
        }
        Ok(stretches.is_sorted_by(|a, b| a.end_ms < b.start_ms))
    }

    /// The part of a range that the head may have samples of series `index` in.
    pub(crate) fn head_range(&self, index: usize, range: TimeRange) -> Option<TimeRange> {
        self.series[index].head?;
        let range = self.snapshot.head_range(range);
        (range.start_ms <= range.end_ms).then_some(range)
    }

    /// The blocks of Prometheus that have series `index`, and where.
    pub(crate) fn foreign(
        &self,
        index: usize,
    ) -> impl Iterator<Item = (&ForeignBlock, BlockSeries)> {
        let blocks = self.blocks(&self.series[index]).iter();
        blocks.filter_map(|at| match &self.snapshot.view.blocks[at.block as usize] {
            StoredBlock::Foreign(block) => Some((&**block, *at)),
            StoredBlock::Own(_) => None,
        })
    }

    /// Makes series of what was found in the head, in blocks and among late samples.
    fn put_together(&mut self, blocks: &[(List, BlockSeries)], late: &[(List, LateColumn)]) {
        let mut lists = Vec::with_capacity(self.of_head.len() + blocks.len() + late.len());
        lists.extend(self.of_head.iter().map(|series| series.list));
        lists.extend(blocks.iter().map(|(list, _)| *list));
        lists.extend(late.iter().map(|(list, _)| *list));
        let mut of_head = std::mem::take(&mut self.of_head);
        self.of_head.reserve_exact(of_head.len());
        self.series.reserve(of_head.len().max(blocks.len()));
        // All that is known of series is put in their order: they are mostly read like that.
        let mut arranged = self.pairs.arrangement();
        for at in self.pairs.order(&lists) {
            let pairs = self.pairs.list(lists[at as usize]);
            let last = self.series.last();
            if last.is_none_or(|last| arranged.list(last.list) != pairs) {
                let (block, late) = (self.of_blocks.len() as u32, self.of_late.len() as u32);
                self.series.push(Picked {
                    list: arranged.push(pairs),
                    head: None,
                    blocks: (block, block),
                    late: (late, late),
                });
            }
            let Some(series) = self.series.last_mut() else {
                continue;
            };
            let at = at as usize;
            if let Some(head) = of_head.get_mut(at) {
                series.head = Some(self.of_head.len() as u32);
                self.of_head.push(head.take());
            } else if let Some((_, block)) = blocks.get(at - of_head.len()) {
                self.of_blocks.push(*block);
                series.blocks.1 += 1;
            } else {
                self.of_late.push(late[at - of_head.len() - blocks.len()].1);
                series.late.1 += 1;
            }
        }
        self.pairs.arrange(arranged);
    }

    pub(crate) fn head(&self, series: &Picked) -> Option<&HeadSeries> {
        series.head.map(|at| &self.of_head[at as usize])
    }

    pub(crate) fn blocks(&self, series: &Picked) -> &[BlockSeries] {
        &self.of_blocks[series.blocks.0 as usize..series.blocks.1 as usize]
    }

    pub(crate) fn late(&self, series: &Picked) -> &[LateColumn] {
        &self.of_late[series.late.0 as usize..series.late.1 as usize]
    }

    /// Notes the deletions about each series, and leaves out series that have no sample left.
    fn apply_deletions(&mut self, range: TimeRange) -> Result<(), SelectError> {
        let deletions = self.snapshot.view.deletions.clone();
        for index in 0..self.series.len() {
            let of_series = deletions.of(self.labels(index), range);
            if !of_series.is_empty() {
                self.deleted.insert(index, of_series);
            }
        }
        let mut column = Column::default();
        let mut gone = BTreeSet::new();
        let mut reader = self.reader(range);
        for index in self.deleted.keys() {
            reader.read(*index, &mut column)?;
            if column.values.is_empty() && column.histograms.timestamps_ms.is_empty() {
                gone.insert(*index);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut index = 0;
        self.series.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        self.labels = OnceLock::new();
        let moved = std::mem::take(&mut self.deleted).into_iter();
        let left = moved.filter(|(index, _)| !gone.contains(index));
        self.deleted = left
            .map(|(index, list)| (index - gone.range(..index).count(), list))
            .collect();
        Ok(())
    }

    /// The parts of a range that are not deleted in a place.
    pub(crate) fn kept(&self, index: usize, place: Place, range: TimeRange) -> Kept {
        match self.deleted.get(&index) {
            None => Kept::All(range),
            Some(list) => {
                let gone = list.iter().filter_map(|d| d.range_in(place));
                Kept::Parts(deletions::without(range, gone))
            }
        }
    }

    /// Whether series `index` has components.
    pub(crate) fn has_parts(&self, index: usize) -> bool {
        let series = &self.series[index];
        let blocks = &self.snapshot.view.blocks;
        self.head(series).is_some_and(|s| !s.parts.is_empty())
            || self.late(series).iter().any(|late| late.key.is_some())
            || self
                .blocks(series)
                .iter()
                .any(|at| blocks[at.block as usize].has_components(*at))
    }

    /// A layout of histograms of series `index`.
    pub(crate) fn layout(&self, index: usize, id: u64) -> Result<Option<Arc<Layout>>, ReadError> {
        for at in self.blocks(&self.series[index]) {
            let block = &self.snapshot.view.blocks[at.block as usize];
            if let Some(layout) = block.layout(id)? {
                return Ok(Some(layout));
            }
        }
        Ok(self.snapshot.head.layouts.get(id))
    }
}
