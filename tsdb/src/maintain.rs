//! What happens in the background: sealed pages go to head files, the head is checkpointed.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::checkpoint;
use crate::db::{Inner, Maintenance};

impl Inner {
    /// One round of maintenance; `force` checkpoints even where it is not time.
    pub(crate) fn maintain(&self, force: bool) {
        let mut state = self
            .maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.flush_chunks(&mut state).ok();
        let due = state.checkpointed.elapsed() >= self.options.checkpoint_interval;
        let asked = self.wal.figures.rotate_asked.load(Ordering::Relaxed);
        if force || due || asked {
            self.checkpoint(&mut state).ok();
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
        let chunks = self.head.pending().clone();
        let written = state.head_files.write(&chunks);
        match &written {
            Ok(()) => {
                let mut pending = self.head.pending();
                pending.drain(..chunks.len());
            }
            Err((path, error)) => {
                self.figures
                    .head_file_failures
                    .fetch_add(1, Ordering::Relaxed);
                tracing::error!(path = %path.display(), %error,
                    "cannot write sealed pages; they stay in memory and in the log");
            }
        }
        written
    }

    /// Writes a checkpoint and removes the log it covers.
    pub(crate) fn checkpoint(&self, state: &mut Maintenance) -> Result<(), (PathBuf, io::Error)> {
        let directory = self.wal_directory();
        let began = Instant::now();
        let written = self.wal.rotate().and_then(|number| {
            checkpoint::write(&self.disk, &directory, &self.head, number, || {
                self.flush_chunks(state)
            })?;
            Ok(number)
        });
        state.checkpointed = Instant::now();
        match written {
            Ok(number) => {
                self.figures.checkpoints.fetch_add(1, Ordering::Relaxed);
                let removed = self.wal.remove_before(number).map_err(|e| (directory, e))?;
                if removed > 0 {
                    self.figures.wal_truncations.fetch_add(1, Ordering::Relaxed);
                }
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
