//! Where damaged bytes are kept for whoever wants to look at them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Disk;

/// Most pieces kept.
const PIECES_LIMIT: usize = 1000;
/// Largest piece kept; of a longer one, the beginning.
pub(crate) const PIECE_LIMIT_BYTES: usize = 16 << 20;
/// Most bytes kept in all.
const LIMIT_BYTES: u64 = 256 << 20;

/// The directory `quarantine/`: pieces of damaged files, each named by its file and offset.
#[derive(Debug)]
pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Pieces kept since the store was opened.
    pub(crate) kept: AtomicU64,
}

impl Quarantine {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self {
            disk,
            directory: root.join("quarantine"),
            kept: AtomicU64::new(0),
        }
    }

    /// Keeps bytes of a file from an offset on. Best effort: a disk that refuses must not keep the
    /// store from opening, and a limit must not let damage fill the disk.
    pub(crate) fn keep(&self, path: &Path, offset: usize, bytes: &[u8]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}.{offset}");
        let piece = &bytes[..bytes.len().min(PIECE_LIMIT_BYTES)];
        match self.write(&name, piece) {
            Ok(true) => {
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), offset, %error, "cannot keep a damaged piece of a file");
            }
        }
    }

    /// Moves a whole file here.
    pub(crate) fn take(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default();
        let moved = self
            .disk
            .create_dir_all(&self.directory)
            .and_then(|()| self.disk.rename(path, &self.directory.join(name)));
        match moved {
            Ok(()) => {
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot move a damaged file to the quarantine");
            }
        }
    }

    /// `false` where the piece is there already, or one limit is reached.
    fn write(&self, name: &str, piece: &[u8]) -> io::Result<bool> {
        self.disk.create_dir_all(&self.directory)?;
        let have = self.disk.list(&self.directory)?;
        if have.iter().any(|have| have == name) {
            return Ok(false);
        }
        let size = |name: &String| self.disk.size_bytes(&self.directory.join(name));
        let used: u64 = have.iter().filter_map(|name| size(name).ok()).sum();
        if have.len() >= PIECES_LIMIT || used + piece.len() as u64 > LIMIT_BYTES {
            tracing::warn!(path = %self.directory.display(), pieces = have.len(), bytes = used,
                "the quarantine is full: another damaged piece is not kept; move the old ones away");
            return Ok(false);
        }
        let path = self.directory.join(name);
        let file = self.disk.create(&path, 0)?;
        let written = file.write_at(piece, 0).and_then(|()| file.sync_data());
        if written.is_err() {
            self.disk.remove_file(&path).ok();
        }
        written.and_then(|()| self.disk.sync_dir(&self.directory))?;
        Ok(true)
    }
}
