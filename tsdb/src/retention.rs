//! What is kept: by age, by bytes, by share of the disk.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::block::view_of;
use crate::db::{Inner, Maintenance};
use crate::view::{StoredBlock, View};

/// How much is kept. A block goes as a whole, the oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retention {
    /// For how long, milliseconds; 0 keeps everything.
    pub time_ms: i64,
    /// Most bytes of the data directory, log and head included; 0 sets no limit.
    pub size_bytes: u64,
    /// Most bytes as a share of the file system, 0 to 100; 0 sets no limit. Where it is set, it
    /// counts instead of `size_bytes`.
    pub disk_percent: f64,
}

impl Retention {
    /// Everything for so long.
    pub fn of_time(time_ms: i64) -> Self {
        Self {
            time_ms,
            ..Self::default()
        }
    }
}

impl Inner {
    /// The retention in force.
    pub(crate) fn retention(&self) -> Retention {
        *self
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes blocks beyond the retention.
    pub(crate) fn retain(&self, state: &mut Maintenance, is_tidying: bool) {
        let retention = self.retention();
        let old = self.too_old(retention);
        let excess = self.too_many(retention);
        // The head's files may have samples of which only these blocks tell that they are done with.
        // Where the disk is full, that they may come back once is the lesser evil.
        let gone = || old.iter().chain(&excess);
        if !is_tidying && self.are_last_to_tell(gone()) && self.renew_checkpoints(state).is_err() {
            // Counted and logged there; the next round tries again.
            return;
        }
        let removed = self.remove_blocks(&old, "a block is past the retention and was removed");
        if removed > 0 {
            self.figures
                .retention_deletions
                .fetch_add(removed, Ordering::Relaxed);
        }
        let removed = self.remove_blocks(
            &self.too_many(retention),
            "the data directory is larger than the retention allows: its oldest block was removed",
        );
        if removed > 0 {
            self.figures
                .size_retentions
                .fetch_add(removed, Ordering::Relaxed);
        }
    }

    fn too_old(&self, retention: Retention) -> Vec<StoredBlock> {
        if retention.time_ms <= 0 {
            return Vec::new();
        }
        let view = self.view.load_full();
        let newest_ms = view
            .blocks
            .iter()
            .map(|block| block.range().end_ms)
            .chain([self.head.max_ms.load(Ordering::Relaxed)])
            .max();
        // By the data's own time, unless that is ahead of the clock.
        let now_ms = newest_ms.unwrap_or(i64::MIN).min(self.clock.now_ms());
        let oldest_ms = now_ms.saturating_sub(retention.time_ms);
        let is_old = |block: &&StoredBlock| block.range().end_ms < oldest_ms;
        view.blocks.iter().filter(is_old).cloned().collect()
    }

    fn too_many(&self, retention: Retention) -> Vec<StoredBlock> {
        let Some(limit) = self.limit_bytes(retention) else {
            return Vec::new();
        };
        let view = self.view.load_full();
        let mut blocks = view.blocks.clone();
        blocks.sort_by_key(|block| std::cmp::Reverse((block.range().end_ms, block.uid())));
        let mut bytes = self.head_bytes();
        let mut gone = Vec::new();
        for block in blocks {
            bytes = bytes.saturating_add(block.size_bytes());
            // Nor is anything kept that is older than what goes.
            if bytes > limit || !gone.is_empty() {
                gone.push(block);
            }
        }
        gone
    }

    /// Most bytes allowed, where there is a limit.
    fn limit_bytes(&self, retention: Retention) -> Option<u64> {
        if retention.disk_percent > 0.0 {
            match self.disk.space(&self.options.path) {
                Ok(space) => {
                    let share = retention.disk_percent.min(100.0) / 100.0;
                    return Some((space.total_bytes as f64 * share) as u64);
                }
                Err(error) => {
                    tracing::warn!(path = %self.options.path.display(), %error,
                        "cannot find out the size of the file system; the retention by its share is left out");
                }
            }
        }
        (retention.size_bytes > 0).then_some(retention.size_bytes)
    }

    /// Bytes of the log, the checkpoint and head files.
    pub(crate) fn head_bytes(&self) -> u64 {
        let of = |directory: &Path| -> u64 {
            let names = self.disk.list(directory).unwrap_or_default();
            let sizes = names.iter().map(|name| {
                let size = self.disk.size_bytes(&directory.join(name));
                size.unwrap_or_default()
            });
            sizes.sum()
        };
        of(&self.wal_directory()) + of(&self.options.path.join("head"))
    }

    /// Takes blocks out of the view and removes their files; returns how many.
    fn remove_blocks(&self, gone: &[StoredBlock], message: &'static str) -> u64 {
        if gone.is_empty() {
            return 0;
        }
        let is_kept = |block: &&StoredBlock| gone.iter().all(|g| g.uid() != block.uid());
        self.exchange_view(i64::MIN, |old| View {
            head_start_ms: old.head_start_ms,
            ..view_of(old.blocks.iter().filter(is_kept).cloned().collect())
        });
        let mut removed = 0;
        for block in gone {
            // Maps stay readable for snapshots that hold them.
            match self.remove_directory(block.path(), block.uid()) {
                Ok(()) => {
                    removed += 1;
                    tracing::info!(path = %block.path().display(), bytes = block.size_bytes(), message);
                }
                Err(error) => {
                    tracing::error!(path = %block.path().display(), %error, "cannot remove a block past the retention");
                }
            }
        }
        removed
    }
}
