//! A snapshot on disk: a directory that can be opened as a data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use crate::db::Inner;
use crate::deletions;
use crate::error::{DeleteError, SnapshotError};
use crate::offline::BlockInfo;
use crate::view::StoredBlock;

/// How often linking begins anew when a block was compacted away meanwhile.
const ATTEMPTS_LIMIT: usize = 10;

impl Inner {
    /// The blocks there are, oldest first.
    pub(crate) fn block_infos(&self) -> Vec<BlockInfo> {
        let view = self.view.load_full();
        let infos = view.blocks.iter().map(|block| {
            let mut info = BlockInfo::of(block);
            info.tombstones += view.deletions.of_block(block.uid()).len() as u64;
            info
        });
        infos.collect()
    }

    /// Writes every block anew that has deleted samples.
    pub(crate) fn clean(&self) -> Result<(), DeleteError> {
        let _running = self.compacting();
        let view = self.view.load_full();
        let blocks = view.deletions.blocks();
        for block in view.blocks.iter().filter(|b| blocks.contains(&b.uid())) {
            self.merge_blocks(std::slice::from_ref(block), false)
                .map_err(|(path, source)| DeleteError::Io { path, source })?;
        }
        Ok(())
    }

    pub(crate) fn write_snapshot(
        &self,
        directory: &Path,
        skip_head: bool,
    ) -> Result<(), SnapshotError> {
        let failed = |(path, source)| SnapshotError { path, source };
        for part in ["", "wal", "head", "blocks"] {
            let path = directory.join(part);
            self.disk
                .create_dir_all(&path)
                .map_err(|source| SnapshotError { path, source })?;
        }
        if skip_head {
            return self.link_blocks(directory).map_err(failed);
        }
        // No cut and no checkpoint between the blocks and the head.
        let mut state = self
            .maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.wal.sync().map_err(failed)?;
        self.checkpoint(&mut state).map_err(failed)?;
        // What is appended from now on goes to other files than those that are linked.
        state.head_files.rotate();
        self.link_blocks(directory).map_err(failed)?;
        self.copy_head(directory).map_err(failed)
    }

    fn link_blocks(&self, directory: &Path) -> Result<(), (PathBuf, io::Error)> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let _deletes = self.deletes();
            let view = self.view.load_full();
            let target = directory.join("blocks");
            let linked = view.blocks.iter().try_for_each(|block| {
                let to = match block {
                    StoredBlock::Own(_) => &target,
                    StoredBlock::Foreign(_) => directory,
                };
                self.link_directory(block.path(), to)
            });
            match linked {
                Ok(()) => {}
                Err((_, error))
                    if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS_LIMIT =>
                {
                    self.disk
                        .remove_dir_all(&target)
                        .and_then(|()| self.disk.create_dir_all(&target))
                        .map_err(|error| (target.clone(), error))?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !view.deletions.is_empty() {
                self.link(
                    &self.options.path.join(deletions::FILE),
                    &directory.join(deletions::FILE),
                )?;
            }
            return self.disk.sync_dir(&target).map_err(|error| (target, error));
        }
    }

    /// Links a block's files, those in directories below it too.
    fn link_directory(&self, from: &Path, into: &Path) -> Result<(), (PathBuf, io::Error)> {
        let to = into.join(from.file_name().unwrap_or_default());
        self.disk
            .create_dir_all(&to)
            .map_err(|error| (to.clone(), error))?;
        let names = self.disk.list(from).map_err(|e| (from.to_owned(), e))?;
        for name in names {
            let path = from.join(&name);
            match self.disk.list(&path) {
                Ok(_) => self.link_directory(&path, &to)?,
                Err(_) => self.link(&path, &to.join(&name))?,
            }
        }
        self.disk.sync_dir(&to).map_err(|error| (to, error))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), (PathBuf, io::Error)> {
        self.disk
            .link(from, to)
            .map_err(|error| (from.to_owned(), error))
    }

    /// Head files and checkpoints do not change; log segments do, and are copied as far as they are
    /// written.
    fn copy_head(&self, directory: &Path) -> Result<(), (PathBuf, io::Error)> {
        for part in ["head", "wal"] {
            let (from, to) = (self.options.path.join(part), directory.join(part));
            let names = self.disk.list(&from).map_err(|e| (from.clone(), e))?;
            for name in names.iter().filter(|name| is_archived(name)) {
                let (from, to) = (from.join(name), to.join(name));
                let segment = crate::wal::writer::segment_number(name);
                if part == "head" || segment.is_none() {
                    self.link(&from, &to)?;
                    continue;
                }
                let copy = || {
                    let bytes = self.disk.read(&from)?;
                    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
                    let file: Arc<_> = self.disk.create(&to, 0)?;
                    file.write_at(&bytes[..end], 0)?;
                    file.sync_data()
                };
                copy().map_err(|error| (from.clone(), error))?;
            }
            self.disk.sync_dir(&to).map_err(|error| (to, error))?;
        }
        Ok(())
    }
}

/// Of the head's files. What protects a segment is still written to.
fn is_archived(name: &str) -> bool {
    !name.contains("tmp") && crate::wal::writer::parity_number(name).is_none()
}
