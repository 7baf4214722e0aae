//! Space set aside, so that a full disk can be tidied up: removing what is past the retention and
//! the log that a checkpoint covers both need some.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;

/// Of a small disk one part in so many is set aside, where that is less than what is asked for.
const DISK_PARTS: u64 = 100;
/// Less is of no use: a checkpoint takes as much.
const FLOOR_BYTES: u64 = 4 << 20;

/// The file `reserve`: nothing but space.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    size_bytes: u64,
    is_there: bool,
    /// Given up for maintenance; ingestion stays off until it is there again, or it would take the
    /// space and the next tidying up would have none.
    pub(crate) is_released: bool,
}

impl Reserve {
    /// The reserve of a directory: of `size_bytes`, less on a small disk.
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path, size_bytes: u64) -> Self {
        let path = root.join("reserve");
        let size_bytes = match disk.space(root) {
            Ok(space) => size_bytes.min((space.total_bytes / DISK_PARTS).max(FLOOR_BYTES)),
            Err(_) => size_bytes,
        };
        let is_there = disk.size_bytes(&path).is_ok_and(|have| have >= size_bytes);
        Self {
            disk,
            path,
            size_bytes,
            is_there: is_there && size_bytes > 0,
            is_released: false,
        }
    }

    /// How much is set aside.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Sets the space aside, where it is not; `false` where there is none.
    pub(crate) fn take(&mut self) -> bool {
        if self.is_there || self.size_bytes == 0 {
            self.is_released = false;
            return true;
        }
        // One of another size, or one whose making was cut short.
        if self.disk.size_bytes(&self.path).is_ok() && self.disk.remove_file(&self.path).is_err() {
            return false;
        }
        self.is_there = self.disk.create(&self.path, self.size_bytes).is_ok();
        self.is_released &= !self.is_there;
        self.is_there
    }

    /// Gives the space up; `false` where there was none to give.
    pub(crate) fn release(&mut self) -> bool {
        if !self.is_there || self.disk.remove_file(&self.path).is_err() {
            return false;
        }
        self.is_there = false;
        self.is_released = true;
        true
    }
}
