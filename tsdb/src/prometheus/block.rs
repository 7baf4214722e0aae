//! A block that Prometheus wrote, read in place.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barograph_model::{Labels, Matcher, TimeRange, is_stale, stale_nan};
use roaring::RoaringBitmap;

use super::Damage;
use super::beside::{Beside, Extra};
use super::chunk::{ChunkFiles, ChunkSamples, OpenChunks, encoding};
use super::import::untouched_until_ms;
use super::index::{ChunkMeta, Index, Series};
use super::meta::{Meta, Ulid};
use super::tombstones::Tombstones;
use crate::assemble::Assembly;
use crate::block::{BlockSeries, view_of};
use crate::disk::Disk;
use crate::error::{OpenError, ReadError, SelectError};
use crate::layout::is_marker;
use crate::select;
use crate::view::{StoredBlock, View};

/// An open block of Prometheus.
#[derive(Debug)]
pub(crate) struct ForeignBlock {
    pub(crate) meta: Meta,
    pub(crate) path: PathBuf,
    /// Compaction leaves it alone before this instant.
    pub(crate) untouched_until_ms: i64,
    /// Size of its small files.
    small_bytes: u64,
    index: Index,
    chunks: ChunkFiles,
    tombstones: Tombstones,
    /// Series whose floats are not all that [`Self::read`] can pass on.
    incomplete: Mutex<RoaringBitmap>,
}

impl ForeignBlock {
    /// Opens a block directory.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, OpenError> {
        let io = |file: &str, action| {
            let path = path.join(file);
            move |source| OpenError::Io {
                path,
                action,
                source,
            }
        };
        let corrupt = |damage: Damage| OpenError::Corrupt {
            path: path.join(damage.file),
            offset: damage.offset,
            what: damage.what,
        };
        let bytes = disk
            .read(&path.join("meta.json"))
            .map_err(io("meta.json", "read"))?;
        let meta =
            Meta::decode(&bytes).map_err(|what| corrupt(Damage::new("meta.json", 0, &what)))?;
        let mut small_bytes = bytes.len() as u64;
        let index_path = path.join("index");
        let index = disk
            .size_bytes(&index_path)
            .and_then(|length| disk.map(&index_path, length))
            .map_err(io("index", "map"))?;
        let index = Index::open(index.0).map_err(corrupt)?;
        let chunks = ChunkFiles::open(disk, path).map_err(|error| match error {
            OpenChunks::Io(source) => io("chunks", "map the files of")(source),
            OpenChunks::Damaged(damage) => corrupt(damage),
        })?;
        let tombstones = match disk.read(&path.join("tombstones")) {
            Ok(bytes) => {
                small_bytes += bytes.len() as u64;
                let read = Tombstones::decode(&bytes);
                read.map_err(|error| corrupt(Damage::at("tombstones", 0, error)))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Tombstones::default(),
            Err(error) => return Err(io("tombstones", "read")(error)),
        };
        Ok(Self {
            meta,
            path: path.to_owned(),
            untouched_until_ms: i64::MIN,
            small_bytes,
            index,
            chunks,
            tombstones,
            incomplete: Mutex::default(),
        })
    }

    /// From its oldest to its newest possible sample.
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange {
            start_ms: self.meta.min_ms,
            // An imported block may hold a single instant.
            end_ms: (self.meta.max_ms - 1).max(self.meta.min_ms),
        }
    }

    /// Size of its files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.index.size_bytes() + self.chunks.size_bytes() + self.small_bytes
    }

    /// How many stretches of its series are deleted.
    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// Series that fit and may have samples in `range`, in order of their labels.
    pub(crate) fn select(
        &self,
        number: u32,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, BlockSeries)>, SelectError> {
        let select = || {
            let set = select::select(&self.index, matchers)?;
            let mut found = Vec::with_capacity(set.cardinality() as usize);
            let mut series = Series::default();
            for reference in set.iter() {
                self.index.series(reference, &mut series)?;
                let deleted = self.tombstones.of(u64::from(reference));
                if series.chunks.iter().any(|c| may_have(c, range, deleted)) {
                    let at = BlockSeries {
                        block: number,
                        series: reference,
                    };
                    found.push((self.index.labels(&series)?, at));
                }
            }
            // Prometheus writes series in this order; the merge with other blocks relies on it.
            if !found.is_sorted_by(|(a, _), (b, _)| a <= b) {
                found.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            Ok(found)
        };
        select().map_err(|damage| self.select_error(damage))
    }

    /// Adds the label names of the series that fit.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            if matchers.is_empty() {
                into.extend(self.index.names()?.map(str::to_owned));
            } else {
                let set = select::select(&self.index, matchers)?;
                into.extend(self.index.names_of(&set)?.into_iter().map(str::to_owned));
            }
            Ok(())
        };
        collect().map_err(|damage| self.select_error(damage))
    }

    /// Adds the values of a label among the series that fit.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        into: &mut BTreeSet<String>,
    ) -> Result<(), SelectError> {
        let mut collect = || {
            let set = match matchers {
                [] => None,
                _ => Some(select::select(&self.index, matchers)?),
            };
            let values = self.index.values(name, set.as_ref())?;
            into.extend(values.into_iter().map(str::to_owned));
            Ok(())
        };
        collect().map_err(|damage| self.select_error(damage))
    }

    /// Reads the floats of a series inside `range`; others are [`Self::beside`].
    pub(crate) fn read(
        &self,
        at: BlockSeries,
        range: TimeRange,
        assembly: &mut Assembly<'_>,
    ) -> Result<(), ReadError> {
        let mut incomplete = false;
        let read = self.each_chunk(at.series, range, is_float, |samples, keep| {
            let ChunkSamples::Floats(samples) = samples else {
                return;
            };
            let (key, column) = assembly.interned(samples.timestamps_ms);
            let (values, runs) = assembly.parts();
            incomplete |= !samples.starts_ms.is_empty();
            for (first, count) in keep {
                let rows = *first as usize..(*first + *count) as usize;
                let taken = &samples.values[rows];
                if !taken.iter().any(|value| is_marker(value.to_bits())) {
                    values.extend_from_slice(taken);
                    runs.push(key, &column, *first, *count);
                    continue;
                }
                incomplete = true;
                for (row, value) in (*first..).zip(taken) {
                    if !is_marker(value.to_bits()) {
                        values.push(*value);
                        runs.push(key, &column, row, 1);
                    }
                }
            }
        });
        if incomplete {
            self.incomplete().insert(at.series);
        }
        read.map_err(|damage| self.read_error(damage))
    }

    /// Reads what the column of a series cannot carry as it is: histograms, floats whose bits mean
    /// something else there, and start timestamps. The floats of the range were read before.
    pub(crate) fn beside(
        &self,
        at: BlockSeries,
        range: TimeRange,
        into: &mut Vec<Beside>,
    ) -> Result<(), ReadError> {
        let floats_too = self.incomplete().contains(at.series);
        let wanted = |encoding| floats_too || !is_float(encoding);
        let read = self.each_chunk(at.series, range, wanted, |samples, keep| {
            let rows = keep
                .iter()
                .flat_map(|(first, count)| *first as usize..(*first + *count) as usize);
            let mut put = |timestamp_ms, extra, starts_ms: &[i64], row: usize| {
                into.push(Beside {
                    timestamp_ms,
                    start_ms: starts_ms.get(row).copied().unwrap_or_default(),
                    extra,
                });
            };
            match samples {
                ChunkSamples::Floats(samples) => {
                    for row in rows {
                        let (t, value) = (samples.timestamps_ms[row], samples.values[row]);
                        let starts_ms = &samples.starts_ms;
                        if is_marker(value.to_bits()) {
                            put(t, Extra::Float(value), starts_ms, row);
                        } else if starts_ms.get(row).is_some_and(|start| *start != 0) {
                            put(t, Extra::Start, starts_ms, row);
                        }
                    }
                }
                ChunkSamples::Histograms(samples) => {
                    for row in rows {
                        let histogram = &samples.histograms[row];
                        let extra = if is_stale(histogram.sum()) {
                            Extra::Float(stale_nan())
                        } else {
                            Extra::Histogram(histogram.clone())
                        };
                        put(samples.timestamps_ms[row], extra, &samples.starts_ms, row);
                    }
                }
            }
        });
        read.map_err(|damage| self.read_error(damage))
    }

    fn incomplete(&self) -> MutexGuard<'_, RoaringBitmap> {
        self.incomplete
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with the chunks of a series that have samples in `range` and whose encoding is
    /// `wanted`, oldest first, and the rows that count: inside the range and not deleted.
    pub(crate) fn each_chunk(
        &self,
        series: u32,
        range: TimeRange,
        wanted: impl Fn(u8) -> bool,
        mut each: impl FnMut(ChunkSamples, &[(u32, u32)]),
    ) -> Result<(), Damage> {
        let mut entry = Series::default();
        self.index.series(series, &mut entry)?;
        let deleted = self.tombstones.of(u64::from(series));
        let mut keep = Vec::new();
        for meta in &entry.chunks {
            if !may_have(meta, range, deleted) {
                continue;
            }
            let chunk = self.chunks.chunk(meta.reference)?;
            if !wanted(chunk.encoding) {
                continue;
            }
            let samples = self.chunks.decode(&chunk)?;
            rows_kept(samples.timestamps_ms(), range, deleted, &mut keep);
            if !keep.is_empty() {
                each(samples, &keep);
            }
        }
        Ok(())
    }

    /// References of all series, in order of their labels.
    pub(crate) fn references(&self) -> Result<Vec<u32>, Damage> {
        let all = select::Index::everything(&self.index)?.to_vec();
        let mut series = Series::default();
        let mut labels = Vec::with_capacity(all.len());
        let mut last = None;
        let mut sorted = true;
        for reference in all {
            self.index.series(reference, &mut series)?;
            let here = self.index.labels(&series)?;
            sorted &= last.as_ref().is_none_or(|last| *last < here);
            last = Some(here);
            labels.push(reference);
        }
        if sorted {
            return Ok(labels);
        }
        let mut order = Vec::with_capacity(labels.len());
        for reference in labels {
            self.index.series(reference, &mut series)?;
            order.push((self.index.labels(&series)?, reference));
        }
        order.sort();
        Ok(order.into_iter().map(|(_, reference)| reference).collect())
    }

    /// Whether some of its samples may be histograms.
    pub(crate) fn may_have_histograms(&self) -> bool {
        // Older versions count samples only.
        self.meta.histogram_samples > 0 || self.meta.float_samples != self.meta.samples
    }

    pub(crate) fn pair_count(&self) -> Result<u32, Damage> {
        self.index.pair_count()
    }

    pub(crate) fn pair(&self, number: u32) -> Result<(&str, &str), Damage> {
        self.index.pair(number)
    }

    pub(crate) fn pairs_of(
        &self,
        reference: u32,
        known: &mut HashMap<(u32, u32), u32>,
    ) -> Result<Vec<u32>, Damage> {
        self.index.pairs_of(reference, known)
    }

    /// Reads everything there is, for its checksums and to see whether it decodes; calls `done`
    /// after each series.
    pub(crate) fn verify(&self, mut done: impl FnMut()) -> Result<(), Damage> {
        self.index.verify()?;
        self.chunks.verify()?;
        self.verify_meta()?;
        let (mut chunks, mut samples_count) = (0, 0);
        let mut entry = Series::default();
        let all = select::Index::everything(&self.index)?;
        for reference in all.iter() {
            self.index.series(reference, &mut entry)?;
            self.index.labels(&entry)?;
            for chunk in &entry.chunks {
                let samples = self.chunks.decode(&self.chunks.chunk(chunk.reference)?)?;
                let times = samples.timestamps_ms();
                chunks += 1;
                samples_count += times.len() as u64;
                let fits = times.first() == Some(&chunk.min_ms)
                    && times.last() == Some(&chunk.max_ms)
                    && times.is_sorted_by(|a, b| a < b);
                if !fits {
                    let what = format!(
                        "a chunk of {} does not have the times the index says",
                        self.index.labels(&entry)?
                    );
                    return Err(Damage::new("index", 0, &what));
                }
            }
            done();
        }
        let counted = [
            ("numSeries", self.meta.series, all.cardinality()),
            ("numChunks", self.meta.chunks, chunks),
            ("numSamples", self.meta.samples, samples_count),
        ];
        // A block that was written without statistics says nothing.
        let says_nothing = counted.iter().all(|(_, said, _)| *said == 0);
        for (name, said, counted) in counted {
            if said != counted && !says_nothing {
                let what = format!("says {name} is {said}, which is {counted}");
                return Err(Damage::new("meta.json", 0, &what));
            }
        }
        Ok(())
    }

    /// The file has no checksum: what can be compared must be the same.
    fn verify_meta(&self) -> Result<(), Damage> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        if Ulid::parse(&name) == Some(self.meta.ulid) {
            return Ok(());
        }
        let what = format!("says the block is {}", self.meta.ulid);
        Err(Damage::new("meta.json", 0, &what))
    }

    fn select_error(&self, damage: Damage) -> SelectError {
        SelectError::Corrupt {
            path: self.path.join(damage.file),
            offset: damage.offset,
            what: damage.what,
        }
    }

    fn read_error(&self, damage: Damage) -> ReadError {
        ReadError::Corrupt {
            path: self.path.join(damage.file),
            offset: damage.offset,
            what: damage.what,
        }
    }
}

/// Adds every block of Prometheus in a data directory to a view, and says how many cannot be read.
/// A damaged one is left alone and not read; the others are.
pub(crate) fn open_beside(
    view: View,
    disk: &Arc<dyn Disk>,
    root: &Path,
) -> Result<(View, u64), OpenError> {
    let names = disk.list(root).map_err(|source| OpenError::Io {
        path: root.to_owned(),
        action: "list",
        source,
    })?;
    let (mut found, mut unreadable) = (Vec::new(), 0);
    let untouched_until_ms = untouched_until_ms(disk, root);
    // Compaction was interrupted before it removed what it had made ours.
    let ours = view.blocks.iter().filter_map(StoredBlock::own);
    let ours: BTreeSet<u64> = ours.flat_map(|block| block.meta.parents.clone()).collect();
    for name in names.iter().filter(|name| Ulid::parse(name).is_some()) {
        match ForeignBlock::open(disk, &root.join(name)) {
            Ok(block) if ours.contains(&(block.meta.ulid.0 as u64)) => {
                let grave = root.join("blocks").join(format!("tmp-{name}"));
                let removed = disk
                    .rename(&block.path, &grave)
                    .and_then(|()| disk.remove_dir_all(&grave));
                if let Err(error) = removed {
                    tracing::warn!(path = %block.path.display(), %error, "cannot remove a block that was compacted");
                }
            }
            Ok(mut block) => {
                block.untouched_until_ms = untouched_until_ms;
                found.push(Arc::new(block));
            }
            Err(error) => {
                unreadable += 1;
                tracing::error!(%error,
                    "a block of Prometheus cannot be opened; its time is missing from answers");
            }
        }
    }
    // Prometheus compacts, then removes what it compacted; it may have been stopped in between.
    let replaced: BTreeSet<Ulid> = found
        .iter()
        .flat_map(|block| block.meta.parents.iter().copied())
        .collect();
    found.retain(|block| !replaced.contains(&block.meta.ulid) && !block.meta.deletable);
    if found.is_empty() {
        return Ok((view, unreadable));
    }
    tracing::info!(
        blocks = found.len(),
        "blocks of Prometheus are read as they are"
    );
    let foreign = found.into_iter().map(StoredBlock::Foreign);
    let joined = View {
        head_start_ms: view.head_start_ms,
        ..view_of(view.blocks.into_iter().chain(foreign).collect())
    };
    Ok((joined, unreadable))
}

/// Whether chunks of an encoding hold floats, or are damaged.
pub(super) fn is_float(encoding: u8) -> bool {
    !matches!(
        encoding,
        encoding::HISTOGRAM
            | encoding::HISTOGRAM_STARTS
            | encoding::FLOAT_HISTOGRAM
            | encoding::FLOAT_HISTOGRAM_STARTS
    )
}

fn may_have(chunk: &ChunkMeta, range: TimeRange, deleted: &[(i64, i64)]) -> bool {
    let (min_ms, max_ms) = (chunk.min_ms, chunk.max_ms);
    max_ms >= range.start_ms
        && min_ms <= range.end_ms
        && !deleted
            .iter()
            .any(|(from, to)| *from <= min_ms && max_ms <= *to)
}

/// Stretches of rows, as first and count, that are inside the range and not deleted.
fn rows_kept(
    timestamps_ms: &[i64],
    range: TimeRange,
    deleted: &[(i64, i64)],
    keep: &mut Vec<(u32, u32)>,
) {
    keep.clear();
    if deleted.is_empty() && timestamps_ms.is_sorted() {
        let start = timestamps_ms.partition_point(|t| *t < range.start_ms) as u32;
        let end = timestamps_ms.partition_point(|t| *t <= range.end_ms) as u32;
        if start < end {
            keep.push((start, end - start));
        }
        return;
    }
    for (row, t) in (0u32..).zip(timestamps_ms) {
        if !range.contains(*t) || deleted.iter().any(|(from, to)| from <= t && t <= to) {
            continue;
        }
        match keep.last_mut() {
            Some((first, count)) if *first + *count == row => *count += 1,
            _ => keep.push((row, 1)),
        }
    }
}
