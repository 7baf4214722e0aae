//! Compaction: small blocks become larger ones, in a thread of its own.
//!
//! The new block names its parents. It has its final name, durably, before they are removed; where
//! a crash comes in between, opening finds both and reads the new one.

pub(crate) mod merge;
pub(crate) mod pace;
pub(crate) mod plan;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::block::meta::{Meta, PARENTS_LIMIT};
use crate::block::writer::BlockWriter;
use crate::block::{Block, view_of};
use crate::compact::merge::{Input, Merge, TimedDeletion};
use crate::compact::plan::{Candidate, Rules, plan};
use crate::db::{Inner, Maintenance};
use crate::deletions::Place;
use crate::view::{StoredBlock, View};

type Failure = (PathBuf, io::Error);

/// Free space asked for, as a share of the bytes of the inputs.
const SPACE_NUMERATOR: u64 = 12;
const SPACE_DENOMINATOR: u64 = 10;
/// A set that failed waits so long before the next attempt, doubled each time.
const BACKOFF: Duration = Duration::from_mins(1);
/// The longest such wait.
const BACKOFF_LIMIT: Duration = Duration::from_hours(6);
/// Most sets remembered as failed.
const FAILED_LIMIT: usize = 1024;
/// Most merges of one round.
const MERGES_PER_ROUND: usize = 1000;

/// What compaction counts.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) triggered: AtomicU64,
    pub(crate) merged: AtomicU64,
    pub(crate) overlapping: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) samples: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) microseconds: AtomicU64,
    pub(crate) durations: Durations,
    pub(crate) running: AtomicU64,
}

/// How long merges took: how many at most one second, two, four and so on.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; DURATIONS],
    /// All of them.
    pub(crate) count: AtomicU64,
}

/// Bounds of durations, each twice the one before.
pub(crate) const DURATIONS: usize = 14;

impl Durations {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let fitting = self.bounded().position(|(bound, _)| seconds <= bound);
        if let Some(bucket) = fitting {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Bounds in seconds, and how many were within each but not the one before.
    pub(crate) fn bounded(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = (0..DURATIONS).map(|bucket| f64::from(1u32 << bucket));
        bounds.zip(
            self.buckets
                .iter()
                .map(|count| count.load(Ordering::Relaxed)),
        )
    }
}

/// What compaction remembers between rounds.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Held by whoever compacts.
    running: Mutex<()>,
    failed: Mutex<HashMap<Vec<u64>, Attempt>>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    count: u32,
    next: Instant,
}

impl Inner {
    /// Merges until there is nothing to merge. Returns how many merges succeeded.
    pub(crate) fn compact(&self) -> usize {
        let _running = self.compacting();
        let mut done = 0;
        for _ in 0..MERGES_PER_ROUND {
            if self.is_stopping() {
                break;
            }
            let Some(set) = self.next_merge() else {
                break;
            };
            self.compaction_figures
                .triggered
                .fetch_add(1, Ordering::Relaxed);
            match self.merge_blocks(&set, set.len() > 1 && overlaps(&set)) {
                Ok(()) => {
                    self.remember(&set, true);
                    done += 1;
                }
                Err((_, error)) if error.kind() == io::ErrorKind::Interrupted => break,
                Err((path, error)) => {
                    self.compaction_figures
                        .failed
                        .fetch_add(1, Ordering::Relaxed);
                    tracing::error!(path = %path.display(), %error, blocks = set.len(),
                        "cannot compact blocks; they stay as they are and are tried again later");
                    self.remember(&set, false);
                }
            }
        }
        done
    }

    /// Held by whoever compacts.
    pub(crate) fn compacting(&self) -> MutexGuard<'_, ()> {
        let running = &self.compaction.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_merge(&self) -> Option<Vec<StoredBlock>> {
        let view = self.view.load_full();
        let now_ms = self.clock.now_ms();
        let candidates: Vec<Candidate> = view
            .blocks
            .iter()
            .filter(|block| block.untouched_until_ms() <= now_ms)
            .map(|block| Candidate {
                uid: block.uid(),
                start_ms: block.span().0,
                end_ms: block.span().1,
                bytes: block.size_bytes(),
                made_ms: block.made_ms(),
                part: block.is_part(),
                foreign: block.own().is_none(),
            })
            .collect();
        let retention_ms = self.retention().time_ms;
        let rules = Rules {
            span_ms: self.options.block_span_ms.max(1),
            longest_ms: if retention_ms > 0 {
                retention_ms / 10
            } else {
                i64::MAX
            },
            head_start_ms: view.head_start_ms,
            oldest_in_head_ms: self
                .head
                .oldest_from(view.head_start_ms)
                .map_or(now_ms, |oldest_ms| oldest_ms.min(now_ms)),
            now_ms,
        };
        let set = plan(&candidates, rules, |set| self.is_to_wait(set))?;
        let find = |c: &Candidate| {
            let found = view.blocks.iter().find(|block| block.uid() == c.uid);
            found.cloned()
        };
        // In the order of the view, which settles ties.
        let mut blocks: Vec<_> = set.iter().filter_map(find).collect();
        blocks.sort_by_key(|block| (block.range().start_ms, block.uid()));
        Some(blocks)
    }

    /// Merges blocks into one that takes their place.
    pub(crate) fn merge_blocks(
        &self,
        blocks: &[StoredBlock],
        overlapping: bool,
    ) -> Result<(), Failure> {
        let figures = &self.compaction_figures;
        let began = Instant::now();
        let bytes: u64 = blocks.iter().map(StoredBlock::size_bytes).sum();
        self.check_space(bytes)?;
        figures.running.store(1, Ordering::Relaxed);
        let merged = self.write_merged(blocks);
        figures.running.store(0, Ordering::Relaxed);
        let merged = merged?;
        figures.merged.fetch_add(1, Ordering::Relaxed);
        figures.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        figures
            .overlapping
            .fetch_add(u64::from(overlapping), Ordering::Relaxed);
        let took = began.elapsed();
        figures.durations.add(took);
        figures
            .microseconds
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        if let Some(block) = &merged {
            figures
                .written_bytes
                .fetch_add(block.size_bytes(), Ordering::Relaxed);
            figures
                .samples
                .fetch_add(block.meta.samples, Ordering::Relaxed);
            tracing::info!(blocks = blocks.len(), path = %block.path.display(),
                samples = block.meta.samples, bytes_before = bytes, bytes = block.size_bytes(),
                milliseconds = took.as_millis() as u64, "blocks are compacted");
        }
        Ok(())
    }

    /// Makes deletions that were not yet there when a merge began count for the block that it made.
    /// The caller holds [`Inner::deletes`] until the block is in the view.
    fn carry_deletions(
        &self,
        blocks: &[StoredBlock],
        known: &[Vec<TimedDeletion>],
        uid: u64,
    ) -> Result<(), Failure> {
        let known: HashSet<u64> = known.iter().flatten().map(|(_, d)| d.number()).collect();
        let now = self.deletions_of(blocks).into_iter().flatten();
        let later: HashSet<u64> = now
            .map(|(_, deletion)| deletion.number())
            .filter(|number| !known.contains(number))
            .collect();
        if later.is_empty() {
            return Ok(());
        }
        self.count_deletions_for(uid, &later)
    }

    fn deletions_of(&self, blocks: &[StoredBlock]) -> Vec<Vec<TimedDeletion>> {
        let deletions = self.view.load().deletions.clone();
        let of_block = |block: &StoredBlock| {
            let uid = block.uid();
            let counting = deletions.of_block(uid).into_iter();
            counting
                .filter_map(|d| Some((d.range_in(Place::Block(uid))?, d)))
                .collect()
        };
        blocks.iter().map(of_block).collect()
    }

    /// Writes the merged block and puts it in the place of the others; `None` where no sample is
    /// left.
    fn write_merged(&self, blocks: &[StoredBlock]) -> Result<Option<Arc<Block>>, Failure> {
        let deletions = self.deletions_of(blocks);
        let mut inputs = Vec::with_capacity(blocks.len());
        for (block, deletions) in blocks.iter().zip(&deletions) {
            inputs.push((Input::of(block)?, deletions.clone()));
        }
        let merge = Merge::begin(inputs)?;
        let directory = self.options.path.join("blocks");
        let uid = self.new_uid();
        let mut writer = BlockWriter::begin(
            self.disk.clone(),
            &directory,
            uid,
            merge.pairs.len(),
            Some(self.pace.clone()),
        )?;
        let (pairs, merged) = match merge.run(&mut writer, |bytes| self.pace.spend(bytes)) {
            Ok(merged) => merged,
            Err(error) => {
                writer.abandon();
                return Err(error);
            }
        };
        self.compaction_figures
            .duplicates
            .fetch_add(merged.duplicates, Ordering::Relaxed);
        if merged.series == 0
            && self.are_last_to_tell(blocks.iter())
            && let Err(error) = self.renew_checkpoints_now()
        {
            writer.abandon();
            return Err(error);
        }
        // From here to the exchange nothing is deleted: a crash in between leaves the new block. What
        // was deleted while merging counts for it too.
        let _deletes = self.deletes();
        if let Err(error) = self.carry_deletions(blocks, &deletions, uid) {
            writer.abandon();
            return Err(error);
        }
        if merged.series == 0 {
            writer.abandon();
            self.replace(blocks, None);
            self.forget_deletions();
            return Ok(None);
        }
        let head_start_ms = self.view.load().head_start_ms;
        let spans = || blocks.iter().map(StoredBlock::span);
        let end_ms = spans().map(|(_, end)| end).max().unwrap_or_default();
        let start_ms = spans().map(|(start, _)| start).min().unwrap_or_default();
        let path = writer.finish(
            |pair| pairs.get(pair),
            Meta {
                part: end_ms > head_start_ms && blocks.iter().any(StoredBlock::is_part),
                level: blocks
                    .iter()
                    .map(StoredBlock::level)
                    .max()
                    .unwrap_or_default()
                    + 1,
                made_ms: self.clock.now_ms(),
                parents: ancestors(blocks),
                ..Meta::begun(uid, start_ms, end_ms)
            },
        )?;
        let block = Block::open(&self.disk, &path).and_then(|block| {
            block.verify()?;
            Ok(block)
        });
        let given: Option<u64> = blocks.iter().map(StoredBlock::samples).sum();
        let given = given.unwrap_or(u64::MAX);
        match block {
            Ok(block) if block.meta.samples + merged.duplicates <= given => {
                let block = Arc::new(block);
                self.replace(blocks, Some(block.clone()));
                self.forget_deletions();
                Ok(Some(block))
            }
            unusable => {
                // Its parents stay, so it must not.
                let error = match unusable {
                    Err(error) => error.to_string(),
                    Ok(_) => "BUG: it has more samples than it was made of".to_owned(),
                };
                self.remove_directory(&path, uid).ok();
                Err((path, io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Whether the log or the head's files may have samples of which only these blocks tell that they
    /// are done with: late ones that went into one of them or of those they were made of, and, where
    /// none ends later, those of the head.
    pub(crate) fn are_last_to_tell<'a>(
        &self,
        mut blocks: impl Iterator<Item = &'a StoredBlock>,
    ) -> bool {
        let head_start_ms = self.view.load().head_start_ms;
        let has_late = |block: &StoredBlock| {
            let own = block.own();
            block.is_part() || own.is_some_and(|own| !own.meta.parents.is_empty())
        };
        let is_last = |block: &StoredBlock| block.span().1 >= head_start_ms;
        blocks.any(|b| has_late(b) || is_last(b))
    }

    /// Makes both checkpoints anew: they are without the late samples that are in blocks, and say
    /// from when on the head's samples count.
    pub(crate) fn renew_checkpoints(&self, state: &mut Maintenance) -> Result<(), Failure> {
        self.checkpoint(state)?;
        self.checkpoint(state)
    }

    fn renew_checkpoints_now(&self) -> Result<(), Failure> {
        let state = self.maintenance.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        self.renew_checkpoints(&mut state)
    }

    /// Puts a block where others were, and removes these.
    fn replace(&self, old: &[StoredBlock], new: Option<Arc<Block>>) {
        let is_old = |block: &StoredBlock| old.iter().any(|o| o.uid() == block.uid());
        // The retention may have removed all of them meanwhile.
        let mut late = None;
        self.exchange_view(i64::MIN, |view| {
            let some_left = view.blocks.iter().any(is_old);
            let kept = view.blocks.iter().filter(|block| !is_old(block)).cloned();
            let new = new.map(StoredBlock::Own);
            let (placed, unwanted) = if some_left { (new, None) } else { (None, new) };
            late = unwanted;
            View {
                head_start_ms: view.head_start_ms,
                ..view_of(kept.chain(placed).collect())
            }
        });
        for block in old.iter().chain(&late) {
            if let Err(error) = self.remove_directory(block.path(), block.uid()) {
                tracing::warn!(path = %block.path().display(), %error,
                    "cannot remove a block that was compacted; the next start removes it");
            }
        }
    }

    /// Removes a block's directory. Its name goes first, so that a crash leaves no half of a block.
    pub(crate) fn remove_directory(&self, path: &std::path::Path, uid: u64) -> io::Result<()> {
        let grave = self
            .options
            .path
            .join("blocks")
            .join(format!("tmp-{uid:016x}"));
        self.disk
            .rename(path, &grave)
            .and_then(|()| self.disk.remove_dir_all(&grave))
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
    }

    fn check_space(&self, bytes: u64) -> Result<(), Failure> {
        let path = self.options.path.join("blocks");
        let Ok(space) = self.disk.space(&path) else {
            // A file system that does not say is taken at its word when it is full.
            return Ok(());
        };
        let wanted = bytes.saturating_mul(SPACE_NUMERATOR) / SPACE_DENOMINATOR;
        if space.free_bytes >= wanted {
            return Ok(());
        }
        self.compaction_figures
            .skipped
            .fetch_add(1, Ordering::Relaxed);
        let error = format!(
            "{} bytes are free and {wanted} are needed to merge blocks",
            space.free_bytes
        );
        Err((path, io::Error::new(io::ErrorKind::StorageFull, error)))
    }

    fn is_to_wait(&self, set: &[Candidate]) -> bool {
        let key: Vec<u64> = set.iter().map(|c| c.uid).collect();
        let failed = self.compaction.failed.lock();
        let failed = failed.unwrap_or_else(PoisonError::into_inner);
        failed.get(&key).is_some_and(|at| Instant::now() < at.next)
    }

    fn remember(&self, set: &[StoredBlock], succeeded: bool) {
        let mut key: Vec<_> = set.iter().map(|b| (b.span(), b.uid())).collect();
        key.sort_unstable();
        let key: Vec<u64> = key.into_iter().map(|(_, uid)| uid).collect();
        let failed = self.compaction.failed.lock();
        let mut failed = failed.unwrap_or_else(PoisonError::into_inner);
        if succeeded {
            failed.remove(&key);
            return;
        }
        if failed.len() >= FAILED_LIMIT {
            failed.clear();
        }
        let count = failed.get(&key).map_or(0, |at| at.count) + 1;
        let wait = BACKOFF
            .saturating_mul(1 << (count - 1).min(16))
            .min(BACKOFF_LIMIT);
        let next = Instant::now() + wait;
        failed.insert(key, Attempt { count, next });
    }
}

/// The blocks, then those that they were made of, as many as can be named: the log may still have late
/// samples that went into any of them.
fn ancestors(blocks: &[StoredBlock]) -> Vec<u64> {
    let own = blocks.iter().filter_map(StoredBlock::own);
    let before = own.flat_map(|block| block.meta.parents.iter().copied());
    let mut seen = HashSet::new();
    let all = blocks.iter().map(StoredBlock::uid).chain(before);
    all.filter(|uid| seen.insert(*uid))
        .take(PARENTS_LIMIT)
        .collect()
}

fn overlaps(set: &[StoredBlock]) -> bool {
    let mut end_ms = i64::MIN;
    let mut spans: Vec<_> = set.iter().map(StoredBlock::span).collect();
    spans.sort_unstable();
    spans.iter().any(|(start, end)| {
        let overlap = *start < end_ms;
        end_ms = end_ms.max(*end);
        overlap
    })
}
