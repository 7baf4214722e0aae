//! A disk that leaves a directory as it is: what is written goes elsewhere and is forgotten.
//!
//! The commands that look into a data directory open it like the server does, which replays logs,
//! keeps damaged pieces and may take over the log of a Prometheus. Here all of that happens in a
//! temporary directory laid over the other one.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Lock, Mapping, ReadAt, SystemDisk};
use crate::wal::header::new_salt;

/// A directory below, a temporary one above.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: PathBuf,
    above: PathBuf,
    removed: Mutex<HashSet<PathBuf>>,
}

impl Overlay {
    /// Lays a new directory under `temporary` over `below`.
    pub(crate) fn new(below: &Path, temporary: &Path) -> io::Result<Self> {
        let name = format!("barograph-{}-{:08x}", std::process::id(), new_salt());
        let above = temporary.join(name);
        SystemDisk.create_dir_all(&above)?;
        Ok(Self {
            below: below.to_owned(),
            above,
            removed: Mutex::default(),
        })
    }

    fn removed(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a path is above.
    fn above(&self, path: &Path) -> io::Result<PathBuf> {
        let inside = path.strip_prefix(&self.below);
        let inside = inside.map_err(|_| io::Error::from(io::ErrorKind::ReadOnlyFilesystem))?;
        Ok(self.above.join(inside))
    }

    /// Where a path can be read.
    fn find(&self, path: &Path) -> io::Result<PathBuf> {
        let above = self.above(path)?;
        if above.exists() {
            return Ok(above);
        }
        let removed = self.removed();
        if path.ancestors().any(|path| removed.contains(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(path.to_owned())
    }

    fn remove(&self, path: &Path) {
        self.removed().insert(path.to_owned());
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What is mapped stays readable.
        if let Err(error) = SystemDisk.remove_dir_all(&self.above) {
            tracing::warn!(path = %self.above.display(), %error, "cannot remove a temporary directory");
        }
    }
}

impl Disk for Overlay {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(&self.above(path)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = BTreeSet::new();
        let above = SystemDisk.list(&self.above(path)?);
        let below = SystemDisk.list(path);
        let found = above.is_ok();
        names.extend(above.unwrap_or_default());
        match below {
            Ok(below) => {
                let removed = self.removed();
                names.extend(
                    below
                        .into_iter()
                        .filter(|name| !removed.contains(&path.join(name))),
                );
            }
            Err(_) if found => {}
            Err(error) => return Err(error),
        }
        Ok(names.into_iter().collect())
    }

    fn create(&self, path: &Path, _size_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let above = self.above(path)?;
        if let Some(parent) = above.parent() {
            SystemDisk.create_dir_all(parent)?;
        }
        SystemDisk.create(&above, 0)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(&self.find(path)?)
    }

    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        SystemDisk.size_bytes(&self.find(path)?)
    }

    fn map(&self, path: &Path, length: u64) -> io::Result<Mapping> {
        SystemDisk.map(&self.find(path)?, length)
    }

    fn open(&self, path: &Path, length: u64) -> io::Result<Arc<dyn ReadAt>> {
        SystemDisk.open(&self.find(path)?, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (above, target) = (self.above(from)?, self.above(to)?);
        if above.exists() {
            if let Some(parent) = target.parent() {
                SystemDisk.create_dir_all(parent)?;
            }
            return SystemDisk.rename(&above, &target);
        }
        // Nothing below is given another name that is read again: it is about to be removed.
        self.remove(from);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let found = self.find(path)?;
        if found == path {
            SystemDisk.size_bytes(path)?;
            self.remove(path);
            return Ok(());
        }
        SystemDisk.remove_file(&found)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let above = self.above(path)?;
        if above.exists() {
            SystemDisk.remove_dir_all(&above)?;
        }
        self.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        // Nothing below is written: a server may go on there.
        SystemDisk.lock(&self.above(path)?)
    }
}
