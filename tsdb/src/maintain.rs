//! What happens in the background: sealed pages go to head files, the head is checkpointed.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint;
use crate::db::{Inner, Maintenance};

/// How often the background thread looks for spans to cut. Also the time in which a writer that
/// brings its samples series by series, old ones last, can finish before they are too old.
const CUT_INTERVAL: Duration = Duration::from_mins(1);
/// Most chunks written to a head file at once.
const CHUNKS_AT_ONCE: usize = 64;

impl Inner {
    /// One round of maintenance. `cut_always` looks for spans to cut even where it did lately.
    pub(crate) fn maintain(&self, cut_always: bool) {
        let mut state = self
            .maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Failures are counted and logged where they happen; the next round tries again.
        self.flush_chunks(&mut state).ok();
        let spilled = self.spill().is_ok_and(|some| some);
        let mut cut = false;
        if cut_always || state.cut_sought.elapsed() >= CUT_INTERVAL {
            state.cut_sought = Instant::now();
            cut = self.cut_blocks(&mut state).is_ok_and(|count| count > 0);
            self.retain();
        }
        let dropped = self.drop_old();
        let due = state.checkpointed.elapsed() >= self.options.checkpoint_interval;
        let asked = &self.wal.figures.checkpoint_asked;
        let is_asked = asked.swap(false, Ordering::Relaxed);
        if (cut || spilled || dropped || due || is_asked) && self.checkpoint(&mut state).is_err() {
            asked.fetch_or(is_asked, Ordering::Relaxed);
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
                return Ok(());
            }
            if let Err((path, error)) = state.head_files.write(&chunks) {
                self.figures
                    .head_file_failures
                    .fetch_add(1, Ordering::Relaxed);
                tracing::error!(path = %path.display(), %error,
                    "cannot write sealed pages; they stay in memory and in the log");
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

    /// Writes a checkpoint and removes the log it covers.
    pub(crate) fn checkpoint(&self, state: &mut Maintenance) -> Result<(), (PathBuf, io::Error)> {
        let directory = self.wal_directory();
        let began = Instant::now();
        let written = self.wal.rotate().and_then(|number| {
            checkpoint::write(&self.disk, &directory, &self.head, number, || {
                self.flush_chunks(state)
            })
        });
        state.checkpointed = Instant::now();
        match written {
            Ok(before) => {
                self.figures.checkpoints.fetch_add(1, Ordering::Relaxed);
                let removed = self.wal.remove_before(before).map_err(|e| (directory, e))?;
                if removed > 0 {
                    self.figures.wal_truncations.fetch_add(1, Ordering::Relaxed);
                }
                // Only now does nothing refer to head files whose samples are all in blocks.
                state.head_files.remove_before(self.kept_from_ms())?;
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
                tracing::error!(path = %path.display(), %error,
                    "cannot write a checkpoint; the log stays until one succeeds");
                Err((path, error))
            }
        }
    }
}
