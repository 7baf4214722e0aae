//! From side buffers to parts: small blocks that overlap others in time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use barograph_model::{Labels, TimeRange};

use crate::block::meta::Meta;
use crate::block::writer::{BlockWriter, Piece, text_of};
use crate::block::{Block, view_of};
use crate::component::ComponentKey;
use crate::contest::{self, Candidate, Winners};
use crate::db::Inner;
use crate::head::Head;
use crate::layout;
use crate::merge::{Samples, Tie};
use crate::out_of_order::buffers::{Buffers, Orphan};
use crate::out_of_order::{new_uid, orphan_of};
use crate::view::{StoredBlock, View};

type Failure = (PathBuf, io::Error);

/// Spans of parts, in spans of blocks: those that compaction makes.
const SPANS: [i64; 4] = [1, 4, 12, 84];
/// Most parts of one spill, unless the longest span makes more.
const PARTS: i64 = 16;

/// A series of some buffers, and its entries: of its own column, and of its components.
pub(crate) struct Named {
    labels: Labels,
    own: Vec<u32>,
    components: BTreeMap<ComponentKey, Vec<u32>>,
}

/// How parts get their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// The last one, once it is there, tells that all are: it has the number of the buffers.
    OfBuffers,
    /// By what is in them: what is written again is recognised.
    OfContent,
}

impl Inner {
    /// Writes side buffers that are full or old as parts. Returns whether there were some.
    pub(crate) fn spill(&self) -> Result<bool, Failure> {
        self.spill_older(self.options.out_of_order_spill_interval)
    }

    /// [`Inner::spill`], for side buffers of that age.
    pub(crate) fn spill_older(&self, age: Duration) -> Result<bool, Failure> {
        let late = &self.head.late;
        let _one_at_a_time = late.spilling.lock().unwrap_or_else(PoisonError::into_inner);
        if !late.freeze(age) {
            return Ok(false);
        }
        let frozen = late.lists().frozen.clone();
        for buffers in frozen {
            let names = self.names(&buffers);
            match self.write_parts(&buffers, &names, Numbering::OfBuffers) {
                Ok(parts) => {
                    late.figures.spills.fetch_add(1, Ordering::Relaxed);
                    self.add_parts(parts);
                    late.drop_frozen(buffers.uid);
                }
                Err((path, error)) => {
                    late.figures.spills_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(path = %path.display(), %error,
                        "cannot write late samples to a block; they stay in memory and in the log");
                    return Err((path, error));
                }
            }
        }
        Ok(true)
    }

    /// Makes parts readable.
    pub(crate) fn add_parts(&self, parts: Vec<Arc<Block>>) {
        if parts.is_empty() {
            return;
        }
        let count = parts.len() as u64;
        self.head
            .late
            .figures
            .parts
            .fetch_add(count, Ordering::Relaxed);
        self.exchange_view(i64::MIN, |old| View {
            head_start_ms: old.head_start_ms,
            ..view_of({
                let parts = parts.into_iter().map(StoredBlock::Own);
                old.blocks.iter().cloned().chain(parts).collect()
            })
        });
    }

    /// The series of some buffers.
    fn names(&self, buffers: &Buffers) -> Vec<Named> {
        let mut names = Vec::new();
        {
            let catalog = self.head.catalog();
            let state = buffers.read();
            for (entry, (reference, orphan)) in (0..).zip(state.series()) {
                let live = || {
                    catalog.locate(reference)?;
                    orphan_of(&catalog, reference.slot)
                };
                // A component whose series is gone is of no use.
                if let Some(orphan) = orphan.cloned().or_else(live) {
                    names.push((orphan, entry));
                }
            }
        }
        grouped(names)
    }

    /// Writes the samples of some buffers as parts, one per span of time.
    pub(crate) fn write_parts(
        &self,
        buffers: &Buffers,
        names: &[Named],
        numbering: Numbering,
    ) -> Result<Vec<Arc<Block>>, Failure> {
        let Some(range) = buffers.read().range() else {
            return Ok(Vec::new());
        };
        let pairs = Pairs::of(names);
        let span_ms = span_of(range, self.options.block_span_ms.max(1));
        let (first, last) = (
            range.start_ms.div_euclid(span_ms),
            range.end_ms.div_euclid(span_ms),
        );
        let mut parts: Vec<Arc<Block>> = Vec::new();
        for number in first..=last {
            // The first span there can be begins with time itself, the last one ends with it.
            let start_ms = number.saturating_mul(span_ms);
            let end_ms = start_ms.saturating_add(span_ms);
            let uid = match numbering {
                Numbering::OfBuffers if number == last => Some(buffers.uid),
                Numbering::OfBuffers => Some(new_uid()),
                Numbering::OfContent => None,
            };
            let times = TimeRange {
                start_ms,
                end_ms: if end_ms == i64::MAX {
                    end_ms
                } else {
                    end_ms - 1
                },
            };
            match self.write_part(buffers, names, &pairs, times, end_ms, uid) {
                Ok(part) => parts.extend(part),
                Err(error) => {
                    // The next attempt writes them again; on a full disk they would be in its way.
                    // But were the last one there, or back after a power cut, it would tell that all
                    // are.
                    let is_unfinished = self
                        .uids_on_disk()
                        .is_ok_and(|uids| !uids.contains(&buffers.uid));
                    for part in parts.iter().filter(|_| is_unfinished) {
                        self.remove_directory(&part.path, part.meta.uid).ok();
                    }
                    return Err(error);
                }
            }
        }
        Ok(parts)
    }

    /// Writes one part; `None` where nothing is in its span, or it is there already.
    fn write_part(
        &self,
        buffers: &Buffers,
        names: &[Named],
        pairs: &Pairs,
        times: TimeRange,
        end_ms: i64,
        uid: Option<u64>,
    ) -> Result<Option<Arc<Block>>, Failure> {
        let directory = self.options.path.join("blocks");
        let mut writer = BlockWriter::begin(
            self.disk.clone(),
            &directory,
            uid.unwrap_or_else(new_uid),
            pairs.texts.len(),
            None,
        )?;
        let written = write_series(&self.head, buffers, names, pairs, times, &mut writer);
        let content = match written {
            Ok(content) => content,
            Err(error) => {
                writer.abandon();
                return Err(error);
            }
        };
        let uid = uid.unwrap_or(content);
        let is_known = |block: &StoredBlock| block.uid() == uid;
        if writer.len() == 0 || self.view.load().blocks.iter().any(is_known) {
            writer.abandon();
            return Ok(None);
        }
        let meta = Meta {
            part: true,
            made_ms: self.clock.now_ms(),
            ..Meta::begun(uid, times.start_ms, end_ms)
        };
        let path = writer.finish(|pair| text_of(&pairs.texts, pair), meta)?;
        match Block::open(&self.disk, &path) {
            Ok(block) => Ok(Some(Arc::new(block))),
            Err(error) => Err((path, io::Error::other(error))),
        }
    }
}

/// Label pairs in order, and the number of each.
struct Pairs {
    texts: Vec<(String, String)>,
    numbers: HashMap<(String, String), u32>,
}

impl Pairs {
    fn of(names: &[Named]) -> Self {
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for named in names {
            seen.extend(&named.labels);
        }
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let texts: Vec<_> = seen.into_iter().map(own).collect();
        let numbers = texts.iter().cloned().zip(0..).collect();
        Self { texts, numbers }
    }
}

/// Series of equal labels together, in order.
pub(crate) fn grouped(mut names: Vec<(Orphan, u32)>) -> Vec<Named> {
    names.sort_by(|(a, x), (b, y)| a.labels.cmp(&b.labels).then(x.cmp(y)));
    let mut grouped: Vec<Named> = Vec::with_capacity(names.len());
    for (orphan, entry) in names {
        if grouped.last().is_none_or(|n| n.labels != orphan.labels) {
            grouped.push(Named {
                labels: orphan.labels,
                own: Vec::new(),
                components: BTreeMap::new(),
            });
        }
        let Some(named) = grouped.last_mut() else {
            continue;
        };
        match orphan.key {
            None => named.own.push(entry),
            Some(key) => named.components.entry(key).or_default().push(entry),
        }
    }
    grouped
}

/// The span of parts that cover a range: the shortest that does not make too many.
fn span_of(range: TimeRange, block_span_ms: i64) -> i64 {
    let covered_ms = range.end_ms.saturating_sub(range.start_ms);
    let mut spans = SPANS
        .iter()
        .map(|count| block_span_ms.saturating_mul(*count));
    let fits = |span_ms: &i64| covered_ms / span_ms < PARTS;
    let longest = block_span_ms.saturating_mul(SPANS[SPANS.len() - 1]);
    spans.find(fits).unwrap_or(longest)
}

/// Writes the series' samples inside a range; returns a hash of them all.
fn write_series(
    head: &Head,
    buffers: &Buffers,
    names: &[Named],
    pairs: &Pairs,
    range: TimeRange,
    writer: &mut BlockWriter,
) -> Result<u64, Failure> {
    let mut content = 0;
    let mut key = (String::new(), String::new());
    let mut pair_numbers = Vec::new();
    for named in names {
        let (samples, winners) = if named.components.is_empty() {
            (samples_of(buffers, &named.own, range)?, Winners::default())
        } else {
            let mut own = candidates_of(buffers, &named.own, range)?;
            let keys = || Ok(named.components.keys().copied().collect());
            let winners = Winners::choose(&mut own, keys, |key, range| {
                let entries = named.components.get(&key);
                candidates_of(buffers, entries.map_or(&[], Vec::as_slice), range)
            })?;
            (contest::samples(&own), winners)
        };
        if samples.timestamps_ms.is_empty() {
            continue;
        }
        pair_numbers.clear();
        for (name, value) in &named.labels {
            name.clone_into(&mut key.0);
            value.clone_into(&mut key.1);
            pair_numbers.push(pairs.numbers[&key]);
        }
        mix(&mut content, named.labels.stable_hash());
        for (t, bits) in samples.timestamps_ms.iter().zip(&samples.values) {
            mix(&mut content, *t as u64);
            mix(&mut content, *bits);
        }
        if !named.components.is_empty() {
            write_layouts(head, &samples.values, writer)?;
        }
        let piece = piece_of(samples, writer)?;
        writer.series(&pair_numbers, &[piece])?;
        for (key, entries) in &named.components {
            let mut values = candidates_of(buffers, entries, range)?;
            winners.keep(&mut values);
            let samples = contest::samples(&values);
            if !samples.timestamps_ms.is_empty() {
                for bits in &samples.values {
                    mix(&mut content, *bits);
                }
                let piece = piece_of(samples, writer)?;
                writer.component(*key, &[piece])?;
            }
        }
    }
    Ok(content)
}

/// Writes the layouts of histograms that values name.
fn write_layouts(head: &Head, values: &[u64], writer: &mut BlockWriter) -> Result<(), Failure> {
    let markers = values.iter().filter(|bits| layout::is_marker(**bits));
    let ids: BTreeSet<u64> = markers.map(|bits| layout::marker_id(*bits)).collect();
    for id in ids {
        if let Some(layout) = head.layouts.get(id) {
            writer.layout(id, &layout.bytes)?;
        }
    }
    Ok(())
}

/// The samples of some entries inside a range, in order of time by entry, with the appends that
/// brought them.
fn candidates_of(
    buffers: &Buffers,
    entries: &[u32],
    range: TimeRange,
) -> Result<Vec<Candidate>, Failure> {
    let mut samples = Vec::new();
    let state = buffers.read();
    for entry in entries {
        let mut some = Vec::new();
        state
            .read_placed(*entry, u32::MAX, range, &mut some)
            .map_err(|error| ("head".into(), io::Error::other(error.what)))?;
        samples.extend(some.into_iter().map(|late| Candidate {
            timestamp_ms: late.timestamp_ms,
            place: u64::from(late.sequence),
            bits: late.bits,
        }));
    }
    Ok(samples)
}

/// The samples of some entries without components inside a range, in order.
fn samples_of(
    buffers: &Buffers,
    entries: &[u32],
    range: TimeRange,
) -> Result<Samples<u64>, Failure> {
    let tie = Tie::Value;
    let mut samples = Samples::<u64>::default();
    let state = buffers.read();
    for entry in entries {
        let mut some = Samples::default();
        state
            .read(*entry, u32::MAX, range, tie, &mut some)
            .map_err(|error| ("head".into(), io::Error::other(error.what)))?;
        samples.timestamps_ms.append(&mut some.timestamps_ms);
        samples.values.append(&mut some.values);
    }
    Ok(samples.into_order(tie))
}

/// Samples as a block takes them. There is one at least.
fn piece_of(samples: Samples<u64>, writer: &mut BlockWriter) -> Result<Piece, Failure> {
    let times = &samples.timestamps_ms;
    Ok(Piece {
        column: writer.column(times)?,
        runs: vec![(0, times.len() as u32)],
        start_ms: times.first().copied().unwrap_or_default(),
        end_ms: times.last().copied().unwrap_or_default(),
        values: samples.values,
    })
}

fn mix(hash: &mut u64, word: u64) {
    *hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    *hash ^= *hash >> 29;
}
