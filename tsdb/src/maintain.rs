//! What happens in the background: sealed pages go to head files, the head is checkpointed.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint;
use crate::db::{Checkpointed, Inner, Maintenance};

/// How often the background thread looks for spans to cut. Also the time in which a writer that
/// brings its samples series by series, old ones last, can finish before they are too old.
const CUT_INTERVAL: Duration = Duration::from_mins(1);
/// A checkpoint has the open rows of all series, and names them: it is many times as long as what the
/// log gets in a few minutes. So it waits until the log has one part in so many of its bytes, …
const LOG_SHARE: u64 = 2;
/// … or so many samples, which take about two seconds to replay, …
const LOG_SAMPLES_LIMIT: u64 = 48 << 20;
/// … or the interval has passed so often.
const INTERVALS_LIMIT: u32 = 6;
/// Most chunks written to a head file at once.
const CHUNKS_AT_ONCE: usize = 64;

/// What keeps failing is said so often, rather than with every attempt.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

/// When it was last said that something fails.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Option<Instant>);

impl Complaint {
    /// Whether it is to be said, now that it failed again.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }

    /// It works again: the next failure is said at once.
    fn is_over(&mut self) {
        self.0 = None;
    }
}

/// What happened since a checkpoint.
struct Since {
    elapsed: Duration,
    log_bytes: u64,
    samples: u64,
}

impl Since {
    /// Whether it is time for another, after one of so many bytes.
    fn is_enough(&self, interval: Duration, size_bytes: u64) -> bool {
        self.elapsed >= interval
            && (self.log_bytes >= size_bytes / LOG_SHARE
                || self.samples >= LOG_SAMPLES_LIMIT
                || self.elapsed >= interval.saturating_mul(INTERVALS_LIMIT))
    }
}

impl Inner {
    /// One round of maintenance. `cut_always` looks for spans to cut even where it did lately.
    pub(crate) fn maintain(&self, cut_always: bool) {
        let mut state = self
            .maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_tidying = self.release_reserve(&mut state);
        // For as long as there is no room, not only when the reserve goes: what may be removed
        // changes with time and with the configuration.
        let is_full = self.wal.is_full() || state.reserve.is_released;
        if is_full {
            // What frees most and needs least comes first.
            self.retain(&mut state, true);
        }
        // Failures are counted and logged where they happen; the next round tries again.
        self.flush_chunks(&mut state).ok();
        let spilled = self.spill().is_ok_and(|some| some);
        let mut cut = false;
        if !is_tidying && (cut_always || state.cut_sought.elapsed() >= CUT_INTERVAL) {
            state.cut_sought = Instant::now();
            cut = self.cut_blocks(&mut state).is_ok_and(|count| count > 0);
            self.retain(&mut state, is_full);
            self.write_silent(&mut state, cut_always);
        }
        let dropped = self.drop_old() | self.retire_silent(&mut state);
        let last = &state.checkpointed;
        let since = self.since(last);
        let due = since.is_enough(self.options.checkpoint_interval, last.size_bytes);
        let asked = &self.wal.figures.checkpoint_asked;
        let is_asked = asked.swap(false, Ordering::Relaxed);
        let wanted = cut || spilled || dropped || due || is_asked || is_tidying;
        if wanted && self.checkpoint(&mut state).is_err() {
            asked.fetch_or(is_asked || is_tidying, Ordering::Relaxed);
        }
        self.take_reserve(&mut state);
        self.wal.protect();
    }

    /// What happened since the last checkpoint.
    fn since(&self, last: &Checkpointed) -> Since {
        let (log_bytes, samples) = (
            self.wal.figures.written_bytes.load(Ordering::Relaxed),
            self.head.figures.samples.load(Ordering::Relaxed),
        );
        Since {
            elapsed: last.at.elapsed(),
            log_bytes: log_bytes.saturating_sub(last.log_bytes),
            samples: samples.saturating_sub(last.samples),
        }
    }

    /// Where the disk is full: gives up the reserve, so that what is past the retention and the log
    /// that a checkpoint covers can go. Until there is room for a reserve again no sample is
    /// stored, or the room would be used up at once.
    fn release_reserve(&self, state: &mut Maintenance) -> bool {
        if !self.wal.is_full() || !state.reserve.release() {
            return false;
        }
        self.wal.hold(true);
        tracing::warn!(path = %self.options.path.display(), bytes = state.reserve.size_bytes(),
            "the disk is full: reserved space is used to remove what may go");
        true
    }

    fn take_reserve(&self, state: &mut Maintenance) {
        let was_released = state.reserve.is_released;
        if state.reserve.take() && was_released {
            self.wal.hold(false);
            tracing::info!("there is room on the disk again: the reserve is restored");
        }
    }

    /// What closing does: everything to disk, so that opening reads no log.
    pub(crate) fn finish(&self) -> Result<(), (PathBuf, io::Error)> {
        let mut state = self
            .maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.wal.sync()?;
        self.flush_chunks(&mut state)?;
        self.checkpoint(&mut state)
    }

    /// Writes sealed chunks to the head file.
    fn flush_chunks(&self, state: &mut Maintenance) -> Result<(), (PathBuf, io::Error)> {
        // Chunks sealed from now on wait for the next round: their rows may not be durable yet.
        let mut left = self.head.pending().len();
        if left > 0 {
            // The log first: after a power cut no head file may hold rows that the log has not, or
            // their numbers would be given to other rows.
            self.wal.sync_now()?;
        }
        loop {
            let chunks: Vec<_> = {
                let pending = self.head.pending();
                let count = left.min(CHUNKS_AT_ONCE);
                pending.iter().take(count).cloned().collect()
            };
            if chunks.is_empty() {
                state.unwritten_pages.is_over();
                return Ok(());
            }
            if let Err((path, error)) = state.head_files.write(&chunks) {
                self.figures
                    .head_file_failures
                    .fetch_add(1, Ordering::Relaxed);
                if state.unwritten_pages.is_due() {
                    tracing::error!(path = %path.display(), %error,
                        "cannot write sealed pages; they stay in memory and in the log");
                }
                return Err((path, error));
            }
            // New ones were added at the end only.
            self.head.pending().drain(..chunks.len());
            left -= chunks.len();
        }
    }

    /// The oldest instant that some view reads from the head.
    fn kept_from_ms(&self) -> i64 {
        let old_views = self.old_views();
        let old = old_views.iter().map(|(view, _)| view.head_start_ms);
        let views = old.chain([self.view.load().head_start_ms]);
        views.min().unwrap_or(i64::MIN)
    }

    /// Notes how far back the head's files reach, and forgets deletions of what is gone from them.
    fn note_reach(&self, state: &Maintenance) {
        let files_ms = state.head_files.oldest_ms();
        let reach_ms = state.reach_ms[0].min(files_ms);
        if self.head_reach_ms.swap(reach_ms, Ordering::Relaxed) < reach_ms {
            let _deletes = self.deletes();
            self.forget_deletions();
        }
    }

    /// Writes a checkpoint and removes the log it covers.
    pub(crate) fn checkpoint(&self, state: &mut Maintenance) -> Result<(), (PathBuf, io::Error)> {
        let directory = self.wal_directory();
        let began = Instant::now();
        let (mut syncs_failed, mut newest) = (0, 0);
        let log_bytes = self.wal.figures.written_bytes.load(Ordering::Relaxed);
        let samples = self.head.figures.samples.load(Ordering::Relaxed);
        // What comes from now on is not older than that.
        let reach_ms = self.head.reach_ms();
        let written = self.wal.rotate().and_then(|number| {
            newest = number;
            syncs_failed = self.wal.syncs_failed();
            checkpoint::write(&self.disk, &directory, &self.head, number, || {
                self.flush_chunks(state)
            })
        });
        state.checkpointed.at = Instant::now();
        match written {
            Ok((before, size_bytes)) => {
                state.unwritten_checkpoint.is_over();
                self.figures.checkpoints.fetch_add(1, Ordering::Relaxed);
                self.figures
                    .checkpoint_bytes
                    .fetch_add(size_bytes, Ordering::Relaxed);
                state.checkpointed = Checkpointed {
                    at: Instant::now(),
                    log_bytes,
                    samples,
                    size_bytes,
                };
                self.wal.restored(syncs_failed);
                let before = if self.wal.is_full() {
                    // Samples that can be stored are worth more than a second copy of old ones.
                    let path = directory.join(checkpoint::checkpoint_name(before));
                    if self.disk.size_bytes(&path).is_ok() {
                        self.disk
                            .remove_file(&path)
                            .map_err(|error| (path, error))?;
                    }
                    newest
                } else {
                    before
                };
                let removed = self.wal.remove_before(before).map_err(|e| (directory, e))?;
                if removed > 0 {
                    self.figures.wal_truncations.fetch_add(1, Ordering::Relaxed);
                }
                // Only now does nothing refer to head files whose samples are all in blocks.
                state.head_files.remove_before(self.kept_from_ms())?;
                state.reach_ms = [state.reach_ms[1], reach_ms];
                self.note_reach(state);
                tracing::debug!(
                    milliseconds = began.elapsed().as_millis() as u64,
                    "checkpoint"
                );
                Ok(())
            }
            Err((path, error)) => {
                self.figures
                    .checkpoints_failed
                    .fetch_add(1, Ordering::Relaxed);
                if state.unwritten_checkpoint.is_due() {
                    tracing::error!(path = %path.display(), %error,
                        "cannot write a checkpoint; the log stays until one succeeds");
                }
                Err((path, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_wait_for_a_log_that_is_worth_them() {
        let interval = Duration::from_mins(5);
        let since = |minutes, log_bytes, samples| Since {
            elapsed: Duration::from_mins(minutes),
            log_bytes,
            samples,
        };
        let size_bytes = 60 << 20;
        assert!(!since(4, 100 << 20, 1 << 30).is_enough(interval, size_bytes));
        assert!(!since(5, 29 << 20, 1 << 20).is_enough(interval, size_bytes));
        assert!(since(5, 30 << 20, 1 << 20).is_enough(interval, size_bytes));
        assert!(since(5, 29 << 20, 48 << 20).is_enough(interval, size_bytes));
        assert!(!since(29, 1, 1).is_enough(interval, size_bytes));
        assert!(since(30, 1, 1).is_enough(interval, size_bytes));
        assert!(since(5, 0, 0).is_enough(interval, 0), "the first one");
        assert!(since(0, 0, 0).is_enough(Duration::ZERO, size_bytes));
    }
}
